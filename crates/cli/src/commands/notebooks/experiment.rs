//! One run of one version: its data, its network with the wrong pieces in place, its training.

use std::{num::NonZeroUsize, ops::ControlFlow, sync::Arc, time::Instant};

use anyhow::Result;
use byhand_datasets::{
    Dataset, Normalize, Preprocessing,
    batches::{epoch_order_into, with_replacement_into},
    dataset::numbered_classes,
};
use byhand_layers::{
    Block, Network, Pass, Shape, Workspace,
    init::{Init, init_network_with},
    loss::Loss,
};
use byhand_museum::NotebookStep;
use byhand_trainer::{
    BatchSource, Event, Fit, FitConfig, FitError, ImageBatch, Objective, Progress, Sampling, TargetRoom,
    evaluate,
};
use ndarray::{Array3, ArrayView1, ArrayView2};
use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};

use super::notebook::{About, Metric, Notebook, Order, PerClass, Teacher, Version};
use crate::{
    exit::{usage, wrong_spec},
    network::fit_config,
    output::Output,
    prepared::prepared_data,
    program,
    settings::Settings,
};

/// What a run found.
pub struct Outcome {
    /// The version's metric.
    pub metric: f64,
    /// The share of the most frequent class among the test images: what saying always the same is worth.
    pub chance: Option<f64>,
    /// Seconds of training.
    pub seconds: f64,
    /// Images trained on, each counted as often as it was met.
    pub images: u64,
    /// Images there are to train on.
    pub train_len: usize,
    /// The learning curve.
    pub curve: Vec<Point>,
    pub network: Network<f32>,
    pub before: Vec<f32>,
    pub after: Vec<f32>,
    /// The data it was trained on.
    pub data: String,
}

/// A point of a learning curve: over the steps since the last one, before each step's update.
#[derive(Clone, Copy)]
pub struct Point {
    pub step: u64,
    /// Share of the training images said right; none where the run does not watch it.
    pub accuracy: f64,
    pub loss: f64,
    /// Accuracy on the validation images, where there are some, at this step.
    pub validation: Option<f64>,
}

/// A data set cut as a version says.
pub struct Part {
    pub name: String,
    pub train: Dataset,
    pub validation: Option<Dataset>,
    pub test: Dataset,
}

impl Part {
    /// The data of a version, cut as its settings say.
    fn of(version: &Version, per_class: Option<PerClass>, output: &Output) -> Result<Self> {
        let prepared = prepared_data(&mut version.recipe.clone(), output)?;
        let (mut train, mut test) = (prepared.train, prepared.test);
        if let Some(most) = per_class {
            (train, test) = (train.cap_per_class(most.train), test.cap_per_class(most.test));
        }
        Ok(Self { name: prepared.name, train, validation: prepared.validation, test })
    }
}

/// The data of a version; a teacher's are made for each seed.
pub type Prepared = Option<Arc<Part>>;

/// Loads, once, every data set that the versions ask for: those of each notebook.
pub fn prepare(notebooks: &[Notebook], output: &Output) -> Result<Vec<Vec<Prepared>>> {
    let mut loaded: Vec<(Settings, Option<PerClass>, Arc<Part>)> = Vec::new();
    let mut prepare = |about: &About, version: &Version| -> Result<Prepared> {
        if about.teacher.is_some() {
            return Ok(None);
        }
        let choice = version.recipe.choice_of_data();
        let known =
            loaded.iter().find(|(other, per_class, _)| (other, per_class) == (&choice, &about.per_class));
        if let Some((.., part)) = known {
            return Ok(Some(part.clone()));
        }
        let part = Arc::new(Part::of(version, about.per_class, output)?);
        loaded.push((choice, about.per_class, part.clone()));
        Ok(Some(part))
    };
    let of = |notebook: &Notebook| {
        notebook.versions.iter().map(|version| prepare(&notebook.about, version)).collect()
    };
    notebooks.iter().map(of).collect()
}

/// Images that a run of a version trains on: what it costs, roughly.
pub fn cost(about: &About, version: &Version, prepared: &Prepared) -> u64 {
    let teacher = about.teacher.as_ref().map_or(0, |teacher| teacher.train);
    let train = prepared.as_ref().map_or(teacher, |part| part.train.len());
    let train = version.recipe.train_limit.map_or(train, |limit| train.min(limit.get())) as u64;
    let batch = version.recipe.batch_size.get() as u64;
    version.steps.map_or(version.recipe.epochs.get() as u64 * train, |steps| steps * batch)
}

/// Trains one version with one seed and measures it.
pub fn run(about: &About, version: &Version, prepared: &Prepared, seed: u64) -> Result<Outcome> {
    let part = match (prepared, &about.teacher) {
        (Some(part), _) => part.clone(),
        (None, Some(teacher)) => Arc::new(taught(teacher, version.recipe.train_limit, seed)?),
        (None, None) => unreachable!("data is prepared for whatever has no teacher"),
    };
    let (h, w) = part.train.image_size();
    let network = network(version, Shape::new(1, h, w))?;
    let before: Vec<f32> = init_network_with(&network, seed, |param| match () {
        () if param.is_bias() => Init::Zeros,
        () if param.layer_name == "conv" => version.init_conv.unwrap_or(version.recipe.init),
        () => version.recipe.init,
    });
    let preprocessing = Preprocessing::from(version.recipe.normalize.of(&part.train));
    let trained = match (version.steps, &version.wrong_loss) {
        (Some(0), _) => Trained { theta: before.clone(), seconds: 0.0, images: 0, curve: Vec::new() },
        (_, Some(loss)) => {
            as_the_notebook_does(version, loss, &network, &before, &part, preprocessing, seed)?
        }
        (_, None) => with_fit(version, &network, &before, &part, preprocessing, seed)?,
    };
    let measured = evaluate(&network, &trained.theta, &part.test, &preprocessing, Objective::default(), 1)?;
    let metric = match version.metric {
        Metric::TestAccuracy | Metric::Agreement => measured.accuracy(),
        Metric::TestLoss => measured.loss,
    };
    let most = part.test.class_counts().into_iter().max();
    Ok(Outcome {
        metric,
        chance: most.map(|most| most as f64 / part.test.len() as f64),
        seconds: trained.seconds,
        images: trained.images,
        train_len: part.train.len(),
        curve: trained.curve,
        network,
        before,
        after: trained.theta,
        data: part.name.clone(),
    })
}

/// The version's network, with the pieces of the museum in place.
pub fn network(version: &Version, input: Shape) -> Result<Network<f32>> {
    let mut network: Network<f32> =
        version.recipe.layers.build(input).map_err(|error| wrong_spec(&error, &error))?;
    for wrong in &version.wrong {
        let piece = museum(&wrong.piece)?;
        let right = network.layers().get(wrong.layer).ok_or_else(|| {
            usage(format!("{}: there is no layer {} for {}", version.name, wrong.layer, wrong.piece))
        })?;
        let layer = piece.in_place_of(&**right);
        let layer = layer.ok_or_else(|| usage(format!("{} is a loss, not a layer", piece.name)))?;
        network = network.with_layer(wrong.layer, layer.map_err(usage)?)?;
    }
    Ok(network)
}

struct Trained {
    theta: Vec<f32>,
    seconds: f64,
    images: u64,
    curve: Vec<Point>,
}

/// Training as this project does it.
fn with_fit(
    version: &Version,
    network: &Network<f32>,
    theta: &[f32],
    part: &Part,
    preprocessing: Preprocessing,
    seed: u64,
) -> Result<Trained> {
    let recipe = &version.recipe;
    let config = FitConfig {
        // With replacement an epoch is of no meaning: as many as the steps need.
        epochs: version.steps.map_or(recipe.epochs.get() as u64, |_| u64::MAX),
        max_steps: version.steps,
        sampling: match version.sampling {
            Order::Shuffled => Sampling::Shuffled,
            Order::WithReplacement => Sampling::WithReplacement,
        },
        seed,
        log_every: version.window,
        // What a wrong layer makes of the loss is what is to be seen.
        stop_diverged: false,
        ..fit_config(recipe, &part.train, preprocessing, 1)
    };
    let mut fit = Fit::new(network, theta.to_vec(), &part.train, None, config)?;
    let (mut curve, mut images) = (Vec::new(), 0);
    let window = version.window.filter(|_| part.validation.is_some()).unwrap_or(u64::MAX);
    loop {
        let mut observer = |event: &Event| {
            match *event {
                Event::Step { samples, .. } => images += samples as u64,
                Event::Window { step, loss, accuracy: Some(accuracy), .. } => {
                    curve.push(Point { step, accuracy, loss, validation: None });
                }
                _ => {}
            }
            ControlFlow::Continue(())
        };
        let progress = match fit.run_until(fit.step().saturating_add(window), &mut observer) {
            Ok(progress) => progress,
            // What was learnt until then is what it is worth.
            Err(FitError::Diverged(_)) => break,
            Err(error) => return Err(error.into()),
        };
        if let (Some(validation), Some(point)) = (&part.validation, curve.last_mut()) {
            point.validation = Some(fit.evaluate(validation)?.accuracy());
        }
        if progress != Progress::More {
            break;
        }
    }
    Ok(Trained { seconds: fit.train_seconds(), theta: fit.into_theta(), images, curve })
}

/// Training as the notebooks do it, with a loss of the museum and no thought of speed: forward, loss, backward, update. It goes
/// on when the loss is not finite, as they do.
fn as_the_notebook_does(
    version: &Version,
    loss: &str,
    network: &Network<f32>,
    theta: &[f32],
    part: &Part,
    preprocessing: Preprocessing,
    seed: u64,
) -> Result<Trained> {
    let loss: Box<dyn Loss<f32>> =
        museum(loss)?.loss().ok_or_else(|| usage(format!("{loss} is a layer, not a loss")))?;
    let (train, batch) = (&part.train, version.recipe.batch_size.get().min(part.train.len()));
    let steps_per_epoch = train.len() / batch;
    let steps = version.steps.unwrap_or((version.recipe.epochs.get() * steps_per_epoch) as u64);
    let block = Block::for_samples(batch);
    let workspace = Workspace::new(network, block);
    let mut notebook =
        NotebookStep::new(workspace, theta.to_vec(), version.recipe.lr as f32, version.second_forward);
    let mut order = match version.sampling {
        Order::Shuffled => vec![0; train.len()],
        Order::WithReplacement => vec![0; batch],
    };
    let mut room = TargetRoom::new(batch, 0);
    let mut curve = Vec::new();
    let (mut window_loss, mut window_correct, mut window_samples) = (0.0, 0, 0);
    let began = Instant::now();
    let mut watching = 0.0;
    for step in 0..steps {
        let place = step as usize % steps_per_epoch;
        let first = match version.sampling {
            Order::Shuffled => {
                if place == 0 {
                    epoch_order_into(seed, step / steps_per_epoch as u64, &mut order);
                }
                place * batch
            }
            Order::WithReplacement => {
                with_replacement_into(seed, step, train.len() as u32, &mut order);
                0
            }
        };
        let images = ImageBatch::new(train, &order[first..first + batch], preprocessing);
        images.fill(0..batch, block, notebook.input_mut(), &mut []);
        let target = images.target(0..batch, &mut room);
        let stats = notebook.step(network, &*loss, &Pass::train(block, seed, step, 0), target);
        window_loss += stats.loss;
        window_correct += stats.correct;
        window_samples += batch;
        if version.window.is_some_and(|window| (step + 1) % window == 0) {
            let watched = Instant::now();
            let samples = window_samples as f64;
            let validation = match &part.validation {
                Some(set) => Some(
                    evaluate(network, notebook.theta(), set, &preprocessing, Objective::default(), 1)?
                        .accuracy(),
                ),
                None => None,
            };
            curve.push(Point {
                step: step + 1,
                accuracy: window_correct as f64 / samples,
                loss: window_loss / samples,
                validation,
            });
            (window_loss, window_correct, window_samples) = (0.0, 0, 0);
            watching += watched.elapsed().as_secs_f64();
        }
    }
    let seconds = began.elapsed().as_secs_f64() - watching;
    Ok(Trained { theta: notebook.into_theta(), seconds, images: steps * batch as u64, curve })
}

fn museum(name: &str) -> Result<&'static byhand_museum::Piece> {
    byhand_museum::find(name).ok_or_else(|| {
        usage(format!("the museum has no piece '{name}' (see `{} notebooks`)", program::name()))
    })
}

/// Random images with the labels that a random network gives them: the first of the networks drawn that says no class more often
/// than `MOST` of the time, once its biases are set. Many random networks say nearly always the same.
fn taught(teacher: &Teacher, train_limit: Option<NonZeroUsize>, seed: u64) -> Result<Part> {
    // The teacher's weights and the images come from streams that the student's seed does not draw from.
    const TEACHERS_SEED: u64 = 0x7EAC_4E12;
    const MOST: f64 = 0.35;
    const DRAWS: u64 = 200;
    let Shape { h, w, .. } = teacher.input;
    let network: Network<f32> =
        teacher.layers.build(teacher.input).map_err(|error| wrong_spec(&error, &error))?;
    let (train, test) = (teacher.train, teacher.test);
    let (samples, classes) = (train + test, network.classes());
    let mut random = ChaCha8Rng::seed_from_u64(seed ^ TEACHERS_SEED);
    let bytes: Vec<u8> = (0..samples * h * w).map(|_| (random.next_u32() >> 24) as u8).collect();
    let images = Array3::from_shape_vec((samples, h, w), bytes)?;
    let blank = Dataset::new("random", images.clone(), vec![0; samples], numbered_classes(classes))?;
    let normalize = Normalize::fit(&blank);
    let x = images.mapv(|p| normalize.apply(p)).into_shape_with_order((samples, h * w))?;
    for draw in 0..DRAWS {
        let teachers_seed = (seed ^ TEACHERS_SEED).wrapping_add(draw << 32);
        let theta = init_network_with(&network, teachers_seed, |param| {
            if param.is_bias() { Init::Zeros } else { teacher.init }
        });
        let labels = fair_labels(network.predict(&theta, x.view()).view());
        let all = Dataset::new("random", images.clone(), labels, numbered_classes(classes))?;
        let most = all.class_counts().into_iter().max().unwrap_or(0);
        if most as f64 <= MOST * samples as f64 {
            let (train, test) = all.split_at(train)?;
            let train = train.take(train_limit.map_or(usize::MAX, NonZeroUsize::get));
            return Ok(Part { name: "teacher".to_string(), train, validation: None, test });
        }
    }
    Err(usage(format!("none of {DRAWS} teachers says every class often enough; expected a larger teacher")))
}

/// The largest logit of each row, after each class is given the bias with which all are said about equally often.
fn fair_labels(logits: ArrayView2<'_, f32>) -> Vec<u16> {
    const ROUNDS: i32 = 100;
    let (samples, classes) = logits.dim();
    let mut bias: Vec<f32> = logits.columns().into_iter().map(|z| -z.sum() / samples as f32).collect();
    let spread = logits.std(0.0);
    let labels = |bias: &[f32]| -> Vec<u16> {
        let label = |row: ArrayView1<'_, f32>| {
            let z = |class: usize| row[class] + bias[class];
            (1..classes).fold(0, |best, class| if z(class) > z(best) { class } else { best }) as u16
        };
        logits.rows().into_iter().map(label).collect()
    };
    for round in 0..ROUNDS {
        // Ever smaller steps against what is said too often.
        let step = spread * 0.95f32.powi(round);
        let mut shares = vec![0.0; classes];
        labels(&bias).into_iter().for_each(|label| shares[usize::from(label)] += 1.0 / samples as f32);
        bias.iter_mut().zip(shares).for_each(|(bias, share)| *bias -= step * (share - 1.0 / classes as f32));
    }
    labels(&bias)
}
