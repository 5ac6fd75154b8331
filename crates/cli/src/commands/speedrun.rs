//! `byhand speedrun`: seconds of training until the mean test accuracy is 99 %.
//!
//! The recipe is data, `speedrun.toml` beside this file. The clock of a seed starts when the images are in memory as bytes
//! and stops when the weights are final: building and initialising the network, starting the threads, ordering, unpacking
//! and training are inside; evaluation is not.

use std::{fmt::Display, fs, path::PathBuf, str::FromStr, time::Instant};

use anyhow::{Result, anyhow, bail, ensure};
use byhand_datasets::{Crop, Data, Dataset, Preprocessing, Reading};
use byhand_layers::{
    Network, Shape,
    init::{Init, init_network},
};
use byhand_models::{Spec, weights_sha256};
use byhand_tensor::Isa;
use byhand_trainer::{
    Diverged, Hardest, ImageBatch, Objective, Optimizer, Schedule, StepConfig, Trainer, evaluate,
};
use clap::Args;
use serde::{Deserialize, Deserializer, de::Error};
use serde_json::json;

use crate::{
    exit::{DIVERGED, coded, usage},
    interrupt::Interrupt,
    loading::{Split, data_option, load_data, warn_of_missing_classes},
    memory,
    output::Output,
};

/// Options of `speedrun`.
#[derive(Args)]
#[command(after_help = "Examples:
  byhand speedrun
  byhand speedrun --seeds 20 --first-seed 100 --threads 2 --json

Trains the same recipe from each seed. Exit code 0 when the mean test accuracy reaches the target, 1 when it does not.")]
pub struct Options {
    /// Mean test accuracy to reach
    #[arg(long, value_name = "SHARE", default_value_t = 0.99, value_parser = share)]
    target: f64,
    /// How many seeds to train from
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    seeds: u32,
    /// The first seed; the others follow it
    #[arg(long, value_name = "N", default_value_t = 0)]
    first_seed: u32,
    /// mnist, fashion-mnist, digits, or a folder
    #[arg(long, value_name = "NAME|DIR", default_value = "mnist", value_parser = data_option())]
    data: Data,
    /// Where the files of the data are
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Use only N training images, each class keeping its share
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    train_limit: Option<u32>,
    /// Use only N test images, each class keeping its share
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    test_limit: Option<u32>,
    /// Another recipe than the built-in one, xtask/src/commands/speedrun.toml
    #[arg(long, value_name = "FILE")]
    recipe: Option<PathBuf>,
    /// Threads, 0 for all cores; no influence on the weights
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(..=1024))]
    threads: u16,
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("expected a share from 0 to 1, such as 0.99".to_string()),
    }
}

/// What is trained and how: `speedrun.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Recipe {
    crop: usize,
    layers: String,
    label_smoothing: f64,
    #[serde(deserialize_with = "spec")]
    optimizer: Optimizer,
    learning_rate: f64,
    #[serde(deserialize_with = "spec")]
    schedule: Schedule,
    batch_size: usize,
    epochs: Vec<f64>,
    freeze: Option<Freeze>,
}

/// The first layers keep their parameters from some share of the steps on.
#[derive(Deserialize, Clone, Copy)]
#[serde(deny_unknown_fields)]
struct Freeze {
    layers: usize,
    from: f64,
}

/// A value that is written as text.
fn spec<'de, D: Deserializer<'de>, T: FromStr<Err: Display>>(from: D) -> Result<T, D::Error> {
    String::deserialize(from)?.parse().map_err(D::Error::custom)
}

const RECIPE: &str = include_str!("speedrun.toml");

/// Trains from every seed and prints.
pub fn run(options: &Options, output: &Output) -> Result<()> {
    let interrupt = Interrupt::listen()?;
    let (text, name) = match &options.recipe {
        Some(path) => {
            let name = path.display().to_string();
            let text = fs::read_to_string(path)
                .map_err(|error| usage(format!("{name}: {error}; expected a recipe like speedrun.toml")))?;
            (text, name)
        }
        None => (RECIPE.to_string(), "speedrun.toml".to_string()),
    };
    let recipe = Recipe::parse(&text).map_err(|error| usage(format!("{name}: {error:#}")))?;
    let start = Instant::now();
    let limits = [options.train_limit, options.test_limit].map(|limit| limit.map(|n| n as usize));
    let loaded =
        load_data(&options.data, options.data_dir.as_deref(), Reading::default(), limits.into(), output)?;
    let reading = start.elapsed().as_secs_f64();
    let data = loaded.source.to_string();
    let train = Split::Stratified.limited(loaded.train, limits[0], 0)?;
    let test = Split::Stratified.limited(loaded.test, limits[1], 0)?;
    warn_of_missing_classes(&[("training", &train), ("testing", &test)], output);

    let Recipe { optimizer, batch_size, .. } = recipe;
    let step = StepConfig { optimizer, batch_size, threads: options.threads.into(), ..StepConfig::default() };
    memory::check_training(&recipe.network()?, &step, |_| 0, "recipe's batch_size")?;

    let (mut accuracies, mut seconds, mut threads) = (Vec::new(), Vec::new(), 0);
    for seed in (u64::from(options.first_seed)..).take(options.seeds as usize) {
        let start = Instant::now();
        let Some(trained) = recipe.train(&train, seed, options.threads.into(), &interrupt)? else {
            return Err(coded(interrupt.code(), format!("interrupted in seed {seed}")));
        };
        let time = start.elapsed().as_secs_f64();
        let Trained { network, theta, preprocessing, objective, threads: used } = trained;
        threads = used;
        let test = evaluate(&network, &theta, &test, &preprocessing, objective, threads)?;
        let accuracy = test.accuracy();
        output.note(format!("seed {seed}: test accuracy {:.2} %, {time:.3} s", 100.0 * accuracy));
        output.event(
            "seed",
            json!({"seed": seed, "accuracy": accuracy, "test_loss": test.loss, "seconds": time,
                "weights_sha256": weights_sha256(&theta)}),
        );
        accuracies.push(accuracy);
        seconds.push(time);
    }

    let (accuracy, time) = (Spread::of(&accuracies), Spread::of(&seconds));
    let reached = accuracy.mean >= options.target;
    output.print(format!("{} on {data}, {} seeds, {threads} threads", recipe.layers, options.seeds));
    output.print(format!(
        "test accuracy: mean {:.3} %, standard deviation {:.3}, worst {:.2} %",
        100.0 * accuracy.mean,
        100.0 * accuracy.std,
        100.0 * accuracy.min
    ));
    output.print(format!(
        "seconds: mean {:.3}, standard deviation {:.3}, worst {:.3}; with reading the files {:.3}",
        time.mean,
        time.std,
        time.max,
        time.mean + reading
    ));
    output.result(json!({
        "target": options.target,
        "reached": reached,
        "seeds": options.seeds,
        "first_seed": options.first_seed,
        "accuracy_mean": accuracy.mean,
        "accuracy_std": accuracy.std,
        "accuracy_min": accuracy.min,
        "seconds_mean": time.mean,
        "seconds_std": time.std,
        "seconds_max": time.max,
        "seconds_with_reading": time.mean + reading,
        "threads": threads,
        "isa": Isa::active().name(),
        "data": data,
        "train_images": train.len(),
        "test_images": test.len(),
        "layers": recipe.layers,
        "epochs": recipe.epochs,
        "recipe": text,
    }));
    if !reached {
        bail!(
            "the mean test accuracy over {} seeds is {:.3} %, below the target of {:.3} %",
            options.seeds,
            100.0 * accuracy.mean,
            100.0 * options.target
        );
    }
    Ok(())
}

/// A trained network, and what it takes to evaluate it.
struct Trained {
    network: Network,
    theta: Vec<f32>,
    preprocessing: Preprocessing,
    objective: Objective,
    threads: usize,
}

impl Recipe {
    /// Reads a recipe and checks that it can be trained.
    fn parse(text: &str) -> Result<Recipe> {
        let recipe: Recipe = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
            anyhow!("line {line}: {}", error.message().replace('\n', " "))
        })?;
        let Recipe { label_smoothing, learning_rate, batch_size, epochs, freeze, .. } = &recipe;
        ensure!(
            (0.0..1.0).contains(label_smoothing),
            "expected a label_smoothing of at least 0 and below 1, found {label_smoothing}"
        );
        ensure!(
            *learning_rate >= 0.0 && learning_rate.is_finite(),
            "expected a learning_rate of at least 0, found {learning_rate}"
        );
        ensure!(
            (1..=StepConfig::MAX_BATCH).contains(batch_size),
            "expected a batch_size of 1 to 2^20, found {batch_size}"
        );
        ensure!(
            epochs.first() == Some(&1.0) && epochs.iter().all(|share| (0.0..=1.0).contains(share)),
            "expected epochs = [1.0, ...], then shares from 0 to 1"
        );
        ensure!(
            freeze.is_none_or(|freeze| (0.0..=1.0).contains(&freeze.from)),
            "expected freeze = {{ layers = N, from = SHARE }} with a share of the steps from 0 to 1"
        );
        let (layers, frozen) = (recipe.network()?.layers().len(), freeze.map_or(0, |freeze| freeze.layers));
        ensure!(frozen < layers, "expected freeze.layers below {layers}, all that there are, found {frozen}");
        Ok(recipe)
    }

    fn network(&self) -> Result<Network> {
        Ok(self.layers.parse::<Spec>()?.build::<f32>(Shape::new(1, self.crop, self.crop))?)
    }

    /// One run of the recipe; nothing if it is interrupted.
    fn train(
        &self,
        images: &Dataset,
        seed: u64,
        threads: usize,
        interrupt: &Interrupt,
    ) -> Result<Option<Trained>> {
        let crop = Some(Crop::center(images.image_size(), self.crop, self.crop));
        let preprocessing = Preprocessing { crop, ..Preprocessing::unit() };
        let network = self.network()?;
        let theta = init_network(&network, Init::HeNormal, seed);
        let objective = Objective::SoftmaxCrossEntropy { label_smoothing: self.label_smoothing };
        let Recipe { optimizer, schedule, batch_size, .. } = *self;
        let config = StepConfig { optimizer, objective, batch_size, threads, seed };
        let mut trainer = Trainer::new(&network, theta, config)?;
        let mut hardest = Hardest::new(seed, images.len());
        let steps = |&share: &f64| hardest.count(share).div_ceil(batch_size) as u64;
        let total: u64 = self.epochs.iter().map(steps).sum();
        let train = |trainer: &mut Trainer| -> Result<bool, Diverged> {
            let mut order = Vec::with_capacity(images.len());
            for (epoch, &share) in (0..).zip(&self.epochs) {
                order.clear();
                order.extend_from_slice(hardest.epoch(epoch, share));
                for samples in order.chunks(batch_size) {
                    if interrupt.asked() {
                        return Ok(false);
                    }
                    let batch = ImageBatch::new(images, samples, preprocessing);
                    let rate = schedule.rate(self.learning_rate, trainer.steps(), total);
                    if let Some(Freeze { layers, from }) = self.freeze
                        && trainer.steps() == (from * total as f64) as u64
                    {
                        trainer.freeze(layers);
                    }
                    trainer.step(rate, &batch)?;
                    hardest.record(samples, trainer.residuals());
                }
            }
            Ok(true)
        };
        let is_whole = trainer.session(train).map_err(|diverged| coded(DIVERGED, diverged))?;
        let threads = trainer.threads();
        let theta = trainer.into_theta();
        Ok(is_whole.then_some(Trained { network, theta, preprocessing, objective, threads }))
    }
}

/// Mean, standard deviation (n - 1; 0 of a single number) and extremes.
struct Spread {
    mean: f64,
    std: f64,
    min: f64,
    max: f64,
}

impl Spread {
    fn of(values: &[f64]) -> Spread {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|v| (v - mean) * (v - mean)).sum();
        Spread {
            mean,
            std: (squares / (n - 1.0).max(1.0)).sqrt(),
            min: values.iter().copied().fold(f64::INFINITY, f64::min),
            max: values.iter().copied().fold(0.0, f64::max),
        }
    }
}
