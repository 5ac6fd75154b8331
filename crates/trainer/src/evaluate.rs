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
/// influence on the result. The loss is `objective` [without label smoothing](Objective::unsmoothed), and no class has a weight.
///
/// # Errors
/// When the weights are not as many as the network has, the images do not fit its input, the data has more classes than
/// it has outputs or no sample, its rows of targets are of another length or such as the loss is not for, or the threads cannot be started.
pub fn evaluate(
    network: &Network<f32>,
    theta: &[f32],
    dataset: &Dataset,
    preprocessing: &Preprocessing,
    objective: Objective,
    threads: usize,
) -> Result<Evaluation, TrainerError> {
    let shown = Shown { network, theta, dataset, preprocessing };
    evaluate_until(shown, objective, threads, &AtomicBool::new(false), |_| ())
        .map(|(evaluation, _)| evaluation)
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

/// As [`evaluate`], and what `network` says of every sample, in the order of `dataset`.
///
/// # Errors
/// As [`evaluate`].
pub fn evaluate_each(
    network: &Network<f32>,
    theta: &[f32],
    dataset: &Dataset,
    preprocessing: &Preprocessing,
    objective: Objective,
    threads: usize,
) -> Result<(Evaluation, Vec<Prediction>), TrainerError> {
    let shown = Shown { network, theta, dataset, preprocessing };
    let stop = AtomicBool::new(false);
    let (evaluation, chunks) = evaluate_until(shown, objective, threads, &stop, |seen| seen.predictions())?;
    Ok((evaluation, chunks.concat()))
}

/// A network with its weights, and what it is shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shown<'a> {
    pub(crate) network: &'a Network<f32>,
    pub(crate) theta: &'a [f32],
    pub(crate) dataset: &'a Dataset,
    pub(crate) preprocessing: &'a Preprocessing,
}

/// Evaluates on threads of its own, unless `stop` becomes true, with what `each` makes of some samples, in their order.
pub(crate) fn evaluate_until<S: Default + Send>(
    shown: Shown<'_>,
    objective: Objective,
    threads: usize,
    stop: &AtomicBool,
    each: impl Fn(&Seen<'_>) -> S + Sync,
) -> Result<(Evaluation, Vec<S>), TrainerError> {
    check_weights(shown.network, shown.theta)?;
    check_data(shown.network, shown.dataset, shown.preprocessing, objective)?;
    let crew = Crew::new(threads);
    crew.start()?;
    let evaluator = Evaluator::new(shown.network, objective, crew.threads());
    crew.enter(|| evaluator.run(shown, &crew, stop, &each)).ok_or(TrainerError::Stopped)
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

    /// What the network says of each sample.
    pub(crate) fn predictions(&self) -> Vec<Prediction> {
        let prediction = |(sample, p): (usize, ArrayView1<'_, f32>)| {
            let class = argmax(p.iter());
            let of_truth = match self.target {
                Target::Labels(Labels(labels)) => p[usize::from(labels[sample])],
                Target::Rows(_) => f32::NAN,
            };
            Prediction { class: class as u16, probability: p[class], of_truth }
        };
        self.probabilities().rows().into_iter().enumerate().map(prediction).collect()
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
        Evaluator { loss: objective.unsmoothed().loss(), chunk: block.samples(), workers }
    }

    /// Evaluates inside the crew, with what `each` makes of every chunk, in their order; `None` when `stop` became true before the end.
    pub(crate) fn run<S: Default + Send>(
        &self,
        shown: Shown<'_>,
        crew: &Crew,
        stop: &AtomicBool,
        each: impl Fn(&Seen<'_>) -> S + Sync,
    ) -> Option<(Evaluation, Vec<S>)> {
        let samples = shown.dataset.len();
        let mut slots = Vec::new();
        slots.resize_with(samples.div_ceil(self.chunk), <(f64, S)>::default);
        let classes = if shown.dataset.targets().is_some() { 0 } else { shown.network.classes() };
        for worker in &self.workers {
            lock(worker).confusion = Confusion::new(classes);
        }
        self.for_each_chunk(shown, crew, stop, &mut slots, |seen, (loss, made)| {
            *made = each(&seen);
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
        let (losses, made): (Vec<f64>, Vec<S>) = slots.into_iter().unzip();
        let loss = losses.iter().fold(0.0, |sum, loss| sum + loss) / samples as f64;
        Some((Evaluation { samples, loss, confusion }, made))
    }

    /// Runs the network on all samples, [`chunk`](Self::chunk) at a time, and hands what came out to `visit`, with a slot for each chunk.
    /// Ends early when `stop` becomes true.
    pub(crate) fn for_each_chunk<S: Send>(
        &self,
        shown: Shown<'_>,
        crew: &Crew,
        stop: &AtomicBool,
        slots: &mut [S],
        visit: impl Fn(Seen<'_>, &mut S) + Sync,
    ) {
        let Shown { network, theta, dataset, preprocessing } = shown;
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
