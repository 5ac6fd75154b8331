//! Loss and confusion of a network on a data set: parallel over fixed chunks, summed in a fixed order.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use byhand_datasets::{Dataset, Preprocessing};
use byhand_layers::loss::{Labels, Loss, Target, softmax};
use byhand_layers::metrics::{Confusion, Evaluation, argmax};
use byhand_layers::{Block, Network, Pass, Shape};
use ndarray::{Array2, ArrayView1, ArrayView2};

use crate::error::TrainerError;
use crate::objective::Objective;
use crate::step::ImageBatch;
use crate::step::crew::Crew;
use crate::step::worker::{Worker, lock};

/// Evaluates `network` with the weights `theta` on all of `dataset`, on `threads` threads (0: all), which have no
/// influence on the result.
///
/// # Errors
/// When the weights are not as many as the network has, the images do not fit its input, the data has more classes than
/// it has outputs or no sample, or the threads cannot be started.
pub fn evaluate(
    network: &Network<f32>,
    theta: &[f32],
    dataset: &Dataset,
    preprocessing: &Preprocessing,
    objective: Objective,
    threads: usize,
) -> Result<Evaluation, TrainerError> {
    evaluate_until(network, theta, dataset, preprocessing, objective, threads, &AtomicBool::new(false))
}

/// What a network says of one sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prediction {
    /// The class of the largest output.
    pub class: u16,
    /// Its probability, the softmax of the outputs.
    pub probability: f32,
    /// The probability of the sample's own class; NaN where samples have no labels.
    pub of_truth: f32,
}

/// What `network` says of every sample of `dataset`, in its order, on `threads` threads (0: all), which have no influence on the result.
///
/// # Errors
/// As [`evaluate`].
pub fn predictions(
    network: &Network<f32>,
    theta: &[f32],
    dataset: &Dataset,
    preprocessing: &Preprocessing,
    threads: usize,
) -> Result<Vec<Prediction>, TrainerError> {
    let objective = if dataset.targets().is_some() { Objective::SquaredError } else { Objective::default() };
    let crew = ready(network, theta, dataset, preprocessing, objective, threads)?;
    let evaluator = Evaluator::new(network, objective, crew.threads());
    let mut chunks = vec![Vec::new(); dataset.len().div_ceil(evaluator.chunk)];
    let stop = AtomicBool::new(false);
    crew.enter(|| {
        evaluator.for_each_chunk(
            network,
            theta,
            dataset,
            preprocessing,
            &crew,
            &stop,
            &mut chunks,
            |seen, chunk| {
                let target = seen.target;
                *chunk = seen
                    .probabilities()
                    .rows()
                    .into_iter()
                    .enumerate()
                    .map(|(sample, p)| prediction(p, sample, target))
                    .collect();
            },
        );
    });
    Ok(chunks.concat())
}

fn prediction(p: ArrayView1<'_, f32>, sample: usize, target: Target<'_, f32>) -> Prediction {
    let class = argmax(p.iter());
    let of_truth = match target {
        Target::Labels(Labels(labels)) => p[usize::from(labels[sample])],
        Target::Rows(_) => f32::NAN,
    };
    Prediction { class: class as u16, probability: p[class], of_truth }
}

/// The same, unless `stop` becomes true.
pub(crate) fn evaluate_until(
    network: &Network<f32>,
    theta: &[f32],
    dataset: &Dataset,
    preprocessing: &Preprocessing,
    objective: Objective,
    threads: usize,
    stop: &AtomicBool,
) -> Result<Evaluation, TrainerError> {
    let crew = ready(network, theta, dataset, preprocessing, objective, threads)?;
    let evaluator = Evaluator::new(network, objective, crew.threads());
    let evaluation = crew.enter(|| evaluator.run(network, theta, dataset, preprocessing, &crew, stop));
    evaluation.ok_or(TrainerError::Stopped)
}

/// Checks what is asked for, and starts the threads.
fn ready(
    network: &Network<f32>,
    theta: &[f32],
    dataset: &Dataset,
    preprocessing: &Preprocessing,
    objective: Objective,
    threads: usize,
) -> Result<Crew, TrainerError> {
    check_weights(network, theta)?;
    check_data(network, dataset, preprocessing, objective)?;
    let crew = Crew::new(threads);
    crew.start()?;
    Ok(crew)
}

/// Whether there are as many weights as the network has.
pub(crate) fn check_weights(network: &Network<f32>, theta: &[f32]) -> Result<(), TrainerError> {
    if theta.len() == network.param_len() {
        return Ok(());
    }
    Err(TrainerError::Weights { expected: network.param_len(), found: theta.len() })
}

/// Some samples, and what came out.
pub(crate) struct Seen<'a> {
    block: Block,
    /// One row a sample.
    outputs: &'a [f32],
    /// Room for the loss's gradient.
    gradient: &'a mut [f32],
    target: Target<'a, f32>,
    confusion: &'a mut Confusion,
}

impl Seen<'_> {
    /// The softmax of the outputs, a row for each sample.
    pub(crate) fn probabilities(&self) -> Array2<f32> {
        let rows = self.block.samples();
        let outputs = ArrayView2::from_shape((rows, self.outputs.len() / rows), self.outputs);
        softmax(outputs.expect("a row for each sample of a single block"))
    }
}

/// The memory of evaluations, to be used again and again.
#[derive(Debug)]
pub(crate) struct Evaluator {
    loss: Box<dyn Loss<f32>>,
    /// Samples that a thread takes at a time.
    pub(crate) chunk: usize,
    workers: Vec<Mutex<EvaluationWorker>>,
}

impl Evaluator {
    pub(crate) fn new(network: &Network<f32>, objective: Objective, threads: usize) -> Evaluator {
        let block = network.eval_block();
        let worker = || {
            Mutex::new(EvaluationWorker {
                worker: Worker::new(network.lowered(), block),
                confusion: Confusion::new(network.classes()),
            })
        };
        let workers = (0..threads).map(|_| worker()).collect();
        Evaluator { loss: objective.loss(), chunk: block.samples(), workers }
    }

    /// Evaluates inside the crew; `None` when `stop` became true before the end.
    pub(crate) fn run(
        &self,
        network: &Network<f32>,
        theta: &[f32],
        dataset: &Dataset,
        preprocessing: &Preprocessing,
        crew: &Crew,
        stop: &AtomicBool,
    ) -> Option<Evaluation> {
        let mut losses = vec![0.0; dataset.len().div_ceil(self.chunk)];
        let classes = if dataset.targets().is_some() { 0 } else { network.classes() };
        for worker in &self.workers {
            lock(worker).confusion = Confusion::new(classes);
        }
        self.for_each_chunk(network, theta, dataset, preprocessing, crew, stop, &mut losses, |seen, loss| {
            let Seen { block, outputs, gradient, target, confusion } = seen;
            *loss = self.loss.value_and_gradient(block, outputs, target, 1.0, gradient).loss;
            confusion.count_outputs(outputs, target);
        });
        if stop.load(Ordering::Relaxed) {
            return None;
        }
        let mut confusion = Confusion::new(classes);
        for worker in &self.workers {
            confusion.add(&lock(worker).confusion);
        }
        let loss = losses.iter().fold(0.0, |sum, loss| sum + loss) / dataset.len() as f64;
        Some(Evaluation { samples: dataset.len(), loss, confusion })
    }

    /// Runs the network on all samples, [`chunk`](Self::chunk) at a time, and hands what came out to `visit`, with a slot for each chunk.
    /// Ends early when `stop` becomes true.
    pub(crate) fn for_each_chunk<S: Send>(
        &self,
        network: &Network<f32>,
        theta: &[f32],
        dataset: &Dataset,
        preprocessing: &Preprocessing,
        crew: &Crew,
        stop: &AtomicBool,
        slots: &mut [S],
        visit: impl Fn(Seen<'_>, &mut S) + Sync,
    ) {
        let order: Vec<u32> = (0..dataset.len() as u32).collect();
        let evaluate = |chunk: usize, slot: &mut S| {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let start = chunk * self.chunk;
            let samples = start..(start + self.chunk).min(dataset.len());
            let block = Block::single(samples.len());
            let batch = ImageBatch::new(dataset, &order, *preprocessing);
            let mut guard = lock(&self.workers[crew.thread() % self.workers.len()]);
            let EvaluationWorker { worker: Worker { workspace, reader, .. }, confusion } = &mut *guard;
            workspace.set_block(block);
            reader.fill(&batch, samples.clone(), block, workspace.input_mut());
            network.forward(&Pass::eval(block), theta, workspace);
            let target = reader.target(&batch, samples);
            let (outputs, gradient) = workspace.output_and_grad_mut();
            visit(Seen { block, outputs, gradient, target, confusion }, slot);
        };
        crew.call(self.workers.len() - 1, 0);
        for_each(crew, 0, slots, &evaluate);
    }
}

/// Whether `dataset` can be shown to `network`.
///
/// # Errors
/// When the images do not fit its input, the data has more classes than it has outputs, rows of another length or that the loss
/// is not for, or no sample.
pub(crate) fn check_data(
    network: &Network<f32>,
    dataset: &Dataset,
    preprocessing: &Preprocessing,
    objective: Objective,
) -> Result<(), TrainerError> {
    let name = || dataset.name().to_string();
    let crop = preprocessing.crop_of(dataset.image_size());
    let (expected, found) = (network.input(), Shape::new(dataset.channels(), crop.h, crop.w));
    if !expected.takes_image(found) {
        return Err(TrainerError::Input { name: name(), expected, found });
    }
    let expected = network.classes();
    match dataset.targets().map(|targets| targets.ncols()) {
        Some(found) if found != expected => {
            return Err(TrainerError::Outputs { name: name(), expected, found });
        }
        None if dataset.classes() > expected => {
            return Err(TrainerError::Classes { name: name(), expected, found: dataset.classes() });
        }
        _ => {}
    }
    if dataset.is_empty() {
        return Err(TrainerError::Empty { name: name() });
    }
    if let Some(targets) = dataset.targets().filter(|_| objective != Objective::SquaredError) {
        let is_distribution =
            |row: ArrayView1<'_, f32>| row.iter().all(|&q| q >= 0.0) && (row.sum() - 1.0).abs() < 1e-3;
        if !targets.rows().into_iter().all(is_distribution) {
            let expected = "squared-error for target rows that are no distributions";
            return Err(TrainerError::setting("objective", expected, objective.to_string()));
        }
    }
    Ok(())
}

#[derive(Debug)]
struct EvaluationWorker {
    worker: Worker,
    confusion: Confusion,
}

/// Runs `work(number, slot)` for every slot; any thread may take any.
fn for_each<S: Send>(crew: &Crew, first: usize, slots: &mut [S], work: &(impl Fn(usize, &mut S) + Sync)) {
    match slots {
        [] => {}
        [slot] => work(first, slot),
        _ => {
            let mid = slots.len().div_ceil(2);
            let (a, b) = slots.split_at_mut(mid);
            crew.join(|| for_each(crew, first, a, work), || for_each(crew, first + mid, b, work));
        }
    }
}
