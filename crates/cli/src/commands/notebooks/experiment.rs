//! One run of one row: its data, its network with the wrong pieces in place, its training.

use std::{collections::BTreeMap, ops::ControlFlow, path::Path, time::Instant};

use anyhow::Result;
use byhand_datasets::{
    Data, Dataset, Normalize, Preprocessing, Reading,
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
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

use super::preset::{DataChoice, Metric, Order, Pixels, Preset, Row, Teacher};
use crate::{exit::usage, loading::load_data, output::Output, program};

/// What a run found.
pub struct Outcome {
    /// The preset's metric.
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

/// A data set cut as a preset says.
#[derive(Clone)]
pub struct Part {
    pub name: String,
    pub train: Dataset,
    pub validation: Option<Dataset>,
    pub test: Dataset,
}

/// All data sets a preset's rows ask for; the teacher's are made for each seed.
pub struct Prepared {
    sets: BTreeMap<String, Part>,
}

impl Prepared {
    /// The data sets in use.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.sets.values().map(|part| part.name.as_str())
    }

    /// The data set of a row, if it is one that is loaded.
    pub fn of_row(&self, preset: &Preset, row: &Row) -> Option<&Part> {
        self.sets.get(row.set.as_ref().unwrap_or(&preset.data.set))
    }

    /// Images that a run of a row trains on: what it costs, roughly.
    pub fn cost(&self, preset: &Preset, row: &Row) -> u64 {
        let train = self.of_row(preset, row).map_or(preset.data.train.unwrap_or(0), |part| part.train.len());
        let train = row.train.unwrap_or(train).min(train) as u64;
        row.steps.map_or(row.epochs.unwrap_or(1).saturating_mul(train), |steps| steps * row.batch_size as u64)
    }

    fn part(&self, preset: &Preset, row: &Row, seed: u64) -> Result<Part> {
        let set = row.set.as_ref().unwrap_or(&preset.data.set);
        let mut part = match (self.of_row(preset, row), &preset.data.teacher) {
            (Some(part), _) => part.clone(),
            (None, Some(teacher)) => taught(teacher, &preset.data, seed)?,
            (None, None) => {
                return Err(usage(format!("{}: the data set '{set}' needs a teacher", preset.system)));
            }
        };
        part.train = part.train.take(row.train.unwrap_or(usize::MAX));
        part.test = part.test.take(row.test.unwrap_or(usize::MAX));
        Ok(part)
    }
}

/// Loads, once, every data set that the presets name.
pub fn prepare(presets: &[Preset], data_dir: Option<&Path>, output: &Output) -> Result<Vec<Prepared>> {
    let mut loaded = BTreeMap::new();
    let mut prepared = Vec::new();
    for preset in presets {
        let mut sets = BTreeMap::new();
        for set in preset.rows.iter().map(|row| row.set.as_ref().unwrap_or(&preset.data.set)) {
            if set == TEACHER {
                continue;
            }
            if !loaded.contains_key(set) {
                let data: Data = set.parse().map_err(usage)?;
                // The built-in digits are drawn, so no more of them than are asked for.
                let drawn = |n: Option<usize>| n.filter(|_| set == "digits");
                let limits = (drawn(preset.data.train), drawn(preset.data.test));
                let found = load_data(&data, data_dir, Reading::default(), limits, output)?;
                loaded.insert(set.clone(), (found.source.to_string(), found));
            }
            let (name, found) = &loaded[set];
            sets.insert(set.clone(), cut(name, &found.train, &found.test, &preset.data)?);
        }
        prepared.push(Prepared { sets });
    }
    Ok(prepared)
}

/// Trains one row with one seed and measures it.
pub fn run(preset: &Preset, row: &Row, prepared: &Prepared, seed: u64) -> Result<Outcome> {
    let part = prepared.part(preset, row, seed)?;
    let (h, w) = part.train.image_size();
    let network = network(row, Shape::new(1, h, w))?;
    let before: Vec<f32> = init_network_with(&network, seed, |param| match () {
        () if param.is_bias() => Init::Zeros,
        () if param.layer_name == "conv" => row.init_conv.unwrap_or(row.init),
        () => row.init,
    });
    let preprocessing = Preprocessing::from(normalize(row.pixels, &part.train));
    let trained = match (row.steps, &row.loss) {
        (Some(0), _) => Trained { theta: before.clone(), seconds: 0.0, images: 0, curve: Vec::new() },
        (_, Some(loss)) => as_the_notebook_does(row, loss, &network, &before, &part, preprocessing, seed)?,
        (_, None) => with_fit(row, &network, &before, &part, preprocessing, seed)?,
    };
    let measured = evaluate(&network, &trained.theta, &part.test, &preprocessing, Objective::default(), 1)?;
    let metric = match row.metric.unwrap_or(preset.metric) {
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
        data: part.name,
    })
}

/// The row's network, with the pieces of the museum in place.
pub fn network(row: &Row, input: Shape) -> Result<Network<f32>> {
    let mut network: Network<f32> = row.layers.build(input).map_err(usage)?;
    for wrong in &row.wrong {
        let piece = museum(&wrong.piece)?;
        let right = network.layers().get(wrong.layer).ok_or_else(|| {
            usage(format!("{}: there is no layer {} for {}", row.version, wrong.layer, wrong.piece))
        })?;
        let layer = piece.in_place_of(&**right);
        let layer = layer.ok_or_else(|| usage(format!("{} is a loss, not a layer", piece.name)))?;
        network = network.with_layer(wrong.layer, layer.map_err(usage)?)?;
    }
    Ok(network)
}

pub fn normalize(pixels: Pixels, train: &Dataset) -> Normalize {
    match pixels {
        Pixels::Unit => Normalize::unit(),
        Pixels::Centered => Normalize::centered(),
        Pixels::Raw => Normalize { scale: 1.0, shift: 0.0 },
        Pixels::Standard => Normalize::fit(train),
    }
}

const TEACHER: &str = "teacher";

struct Trained {
    theta: Vec<f32>,
    seconds: f64,
    images: u64,
    curve: Vec<Point>,
}

/// Training as this project does it.
fn with_fit(
    row: &Row,
    network: &Network<f32>,
    theta: &[f32],
    part: &Part,
    preprocessing: Preprocessing,
    seed: u64,
) -> Result<Trained> {
    let config = FitConfig {
        // With replacement an epoch is of no meaning: as many as the steps need.
        epochs: row.epochs.unwrap_or(u64::MAX),
        max_steps: row.steps,
        batch_size: row.batch_size,
        sampling: match row.sampling {
            Order::Shuffled => Sampling::Shuffled,
            Order::WithReplacement => Sampling::WithReplacement,
        },
        learning_rate: row.rate,
        preprocessing,
        seed,
        threads: 1,
        log_every: row.window,
        ..FitConfig::default()
    };
    let mut fit = Fit::new(network, theta.to_vec(), &part.train, None, config)?;
    let (mut curve, mut images) = (Vec::new(), 0);
    let window = row.window.filter(|_| part.validation.is_some()).unwrap_or(u64::MAX);
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
    row: &Row,
    loss: &str,
    network: &Network<f32>,
    theta: &[f32],
    part: &Part,
    preprocessing: Preprocessing,
    seed: u64,
) -> Result<Trained> {
    let loss: Box<dyn Loss<f32>> =
        museum(loss)?.loss().ok_or_else(|| usage(format!("{loss} is a layer, not a loss")))?;
    let (train, batch) = (&part.train, row.batch_size.min(part.train.len()));
    let steps_per_epoch = train.len() / batch;
    let steps = row.steps.unwrap_or(row.epochs.unwrap_or(1) * steps_per_epoch as u64);
    let block = Block::for_samples(batch);
    let workspace = Workspace::new(network, block);
    let mut notebook = NotebookStep::new(workspace, theta.to_vec(), row.rate as f32, row.second_forward);
    let mut order = match row.sampling {
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
        let first = match row.sampling {
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
        if row.window.is_some_and(|window| (step + 1) % window == 0) {
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

/// The part of a data set that a preset asks for.
fn cut(name: &str, train: &Dataset, test: &Dataset, choice: &DataChoice) -> Result<Part> {
    let (mut train, mut test) = (train.clone(), test.clone());
    if let Some(classes) = &choice.classes {
        (train, test) = (train.keep_classes(classes)?, test.keep_classes(classes)?);
    }
    if let Some(most) = choice.per_class {
        (train, test) = (train.cap_per_class(most.train), test.cap_per_class(most.test));
    }
    if choice.halve {
        (train, test) = (train.halve()?, test.halve()?);
    }
    train = train.take(choice.train.unwrap_or(usize::MAX));
    test = test.take(choice.test.unwrap_or(usize::MAX));
    let mut validation = None;
    if let Some(n) = choice.validation {
        let (first, last) = train.split_at(train.len().saturating_sub(n))?;
        (train, validation) = (first, Some(last));
    }
    Ok(Part { name: name.to_string(), train, validation, test })
}

/// Random images with the labels that a random network gives them: the first of the networks drawn that says no class more often
/// than `MOST` of the time, once its biases are set. Many random networks say nearly always the same.
fn taught(teacher: &Teacher, choice: &DataChoice, seed: u64) -> Result<Part> {
    // The teacher's weights and the images come from streams that the student's seed does not draw from.
    const TEACHERS_SEED: u64 = 0x7EAC_4E12;
    const MOST: f64 = 0.35;
    const DRAWS: u64 = 200;
    let Shape { h, w, .. } = teacher.input;
    let network: Network<f32> = teacher.layers.build(teacher.input).map_err(usage)?;
    let (train, test) = (choice.train.unwrap_or(10_000), choice.test.unwrap_or(1_000));
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
            return Ok(Part { name: TEACHER.to_string(), train, validation: None, test });
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
