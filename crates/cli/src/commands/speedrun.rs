//! `byhand speedrun`: seconds of training until the mean test accuracy is 99 %.
//!
//! What is trained is data, `recipes/speedrun.toml`. The clock of a seed starts when the images are in memory as bytes
//! and stops when the weights are final: building and initialising the network, starting the threads, ordering, unpacking
//! and training are inside; evaluation is not.

use std::{num::NonZeroUsize, path::PathBuf, time::Instant};

use anyhow::{Result, bail, ensure};
use byhand_datasets::Preprocessing;
use byhand_layers::{Network, init::init_network};
use byhand_models::weights_sha256;
use byhand_tensor::Isa;
use byhand_trainer::{Diverged, Hardest, ImageBatch, StepConfig, Trainer, evaluate};
use clap::Args;
use serde::Deserialize;
use serde_json::json;

use super::train::{Prepared, network_for, prepared_data};
use crate::{
    arguments::{DataArgs, ThreadsArg},
    exit::{DIVERGED, coded, usage},
    interrupt::Interrupt,
    memory,
    output::Output,
    program::in_words,
    recipes,
    settings::{Recipe, Settings, read_text},
    values::at_least_one,
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
    #[command(flatten)]
    data: DataArgs,
    /// Train on N images only; each class keeps its share
    #[arg(long, value_name = "N", value_parser = at_least_one, help_heading = "Data")]
    train_limit: Option<NonZeroUsize>,
    /// Evaluate on N test images only; each class keeps its share
    #[arg(long, value_name = "N", value_parser = at_least_one, help_heading = "Data")]
    test_limit: Option<NonZeroUsize>,
    /// Train the settings of a file with a section [speedrun], instead of those of recipes/speedrun.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    threads: ThreadsArg,
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("expected a share from 0 to 1, such as 0.99".to_string()),
    }
}

/// The section `[speedrun]` of a configuration.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tricks {
    /// Epoch by epoch, the share of the images that is met.
    shares: Vec<f64>,
    freeze: Option<Freeze>,
}

/// The first layers keep their parameters from some share of the steps on.
#[derive(Deserialize, Clone, Copy)]
#[serde(deny_unknown_fields)]
struct Freeze {
    layers: usize,
    from: f64,
}

/// Trains from every seed and prints.
pub fn run(options: &Options, output: &Output) -> Result<()> {
    let interrupt = Interrupt::listen()?;
    let (text, name) = match &options.config {
        Some(path) => (read_text(path)?, path.display().to_string()),
        None => (recipes::SPEEDRUN.to_string(), "recipes/speedrun.toml".to_string()),
    };
    let (mut recipe, tricks) = read(&name, &text, options)?;
    let start = Instant::now();
    let data = prepared_data(&mut recipe, output)?;
    let reading = start.elapsed().as_secs_f64();
    let (spec, network) = network_for(&recipe, data.input, data.train.classes())?;
    tricks.check(&network).map_err(|error| usage(format!("{name}, [speedrun]: {error:#}")))?;
    let run = Run { recipe: &recipe, tricks: &tricks, data: &data, threads: options.threads.asked() };
    memory::check_training(&network, &run.step_config(0), |_| 0, "batch-size")?;

    let (mut accuracies, mut seconds, mut threads) = (Vec::new(), Vec::new(), 0);
    for seed in (u64::from(options.first_seed)..).take(options.seeds as usize) {
        let start = Instant::now();
        let Some((theta, used)) = run.train(seed, &interrupt)? else {
            return Err(coded(interrupt.code(), format!("interrupted in seed {seed}")));
        };
        let time = start.elapsed().as_secs_f64();
        threads = used;
        let test = evaluate(&network, &theta, &data.test, &run.preprocessing(), recipe.loss, threads)?;
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
    output.print(format!("{spec} on {}, {} seeds, {threads} threads", data.name, options.seeds));
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
        "data": data.name,
        "train_images": data.train.len(),
        "test_images": data.test.len(),
        "layers": spec.to_string(),
        "epochs": tricks.shares,
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

/// Reads a configuration with a section `[speedrun]`.
fn read(name: &str, text: &str, options: &Options) -> Result<(Recipe, Tricks)> {
    let mut settings = Settings::parse(name, text)?;
    let section = settings.speedrun.take();
    let section = section.ok_or_else(|| {
        usage(format!("{name}: expected a section [speedrun], as in recipes/speedrun.toml"))
    })?;
    let tricks = Tricks::deserialize(section)
        .map_err(|error| usage(format!("{name}, [speedrun]: {}", in_words(error.to_string().trim_end()))))?;
    let Options { train_limit, test_limit, .. } = *options;
    let recipe = Settings { train_limit, test_limit, ..options.data.settings() }
        .over(settings.absolute()?)?
        .settle("train")?;
    if recipe.validation > 0 || recipe.shift > 0 || recipe.from.is_some() {
        return Err(usage(format!("{name}: speedrun has no validation, shift or from; leave them out")));
    }
    if let Some(weights) = &recipe.class_weights {
        return Err(usage(format!("{name}: speedrun has no class-weights, found {weights}; leave them out")));
    }
    Ok((recipe, tricks))
}

impl Tricks {
    /// That they fit the network.
    fn check(&self, network: &Network) -> Result<()> {
        let Self { shares, freeze } = self;
        ensure!(
            shares.first() == Some(&1.0) && shares.iter().all(|share| (0.0..=1.0).contains(share)),
            "expected shares = [1.0, ...], then shares from 0 to 1"
        );
        ensure!(
            freeze.is_none_or(|freeze| (0.0..=1.0).contains(&freeze.from)),
            "expected freeze = {{ layers = N, from = SHARE }} with a share of the steps from 0 to 1"
        );
        let (layers, frozen) = (network.layers().len(), freeze.map_or(0, |freeze| freeze.layers));
        ensure!(frozen < layers, "expected freeze.layers below {layers}, all that there are, found {frozen}");
        Ok(())
    }
}

/// What the runs from all seeds have in common.
struct Run<'a> {
    recipe: &'a Recipe,
    tricks: &'a Tricks,
    data: &'a Prepared,
    threads: usize,
}

impl Run<'_> {
    fn step_config(&self, seed: u64) -> StepConfig {
        let Recipe { optimizer, loss: objective, batch_size, .. } = *self.recipe;
        StepConfig { optimizer, objective, batch_size: batch_size.get(), threads: self.threads, seed }
    }

    /// What is left to do to images that were halved when they were read.
    fn preprocessing(&self) -> Preprocessing {
        Preprocessing { halve: false, ..self.data.preprocessing }
    }

    /// The weights that one seed leads to, and the threads it took; nothing if it is interrupted. Building the network is part of the
    /// run.
    fn train(&self, seed: u64, interrupt: &Interrupt) -> Result<Option<(Vec<f32>, usize)>> {
        let (images, preprocessing) = (&self.data.train, self.preprocessing());
        let Recipe { lr, schedule, batch_size, init, .. } = *self.recipe;
        let (_, network) = network_for(self.recipe, self.data.input, images.classes())?;
        let theta = init_network(&network, init, seed);
        let mut trainer = Trainer::new(&network, theta, self.step_config(seed))?;
        let mut hardest = Hardest::new(seed, images.len());
        let steps = |&share: &f64| hardest.count(share).div_ceil(batch_size.get()) as u64;
        let total: u64 = self.tricks.shares.iter().map(steps).sum();
        let train = |trainer: &mut Trainer| -> Result<bool, Diverged> {
            let mut order = Vec::with_capacity(images.len());
            for (epoch, &share) in (0..).zip(&self.tricks.shares) {
                order.clear();
                order.extend_from_slice(hardest.epoch(epoch, share));
                for samples in order.chunks(batch_size.get()) {
                    if interrupt.asked() {
                        return Ok(false);
                    }
                    let batch = ImageBatch::new(images, samples, preprocessing);
                    let rate = schedule.rate(lr, trainer.steps(), total);
                    if let Some(Freeze { layers, from }) = self.tricks.freeze
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
        Ok(is_whole.then(|| (trainer.into_theta(), threads)))
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
