//! A recipe trained from several seeds against the clock: what `speedrun` and `records` have in common.

use std::{num::NonZeroUsize, time::Instant};

use anyhow::{Result, ensure};
use byhand_datasets::batches::epoch_order_into;
use byhand_layers::{Network, init::init_network};
use byhand_report::{extremes, mean, std};
use byhand_trainer::{Diverged, Hardest, ImageBatch, StepConfig, Trainer};
use clap::Args;
use indicatif::ProgressBar;
use serde::Deserialize;
use toml::Table;

use crate::{
    arguments::DataArgs,
    exit::{DIVERGED, coded, usage},
    interrupt::Interrupt,
    network::network_for,
    output::Output,
    prepared::Prepared,
    program::in_words,
    settings::{Recipe, Settings},
    values::at_least_one,
};

/// From which seeds.
#[derive(Args, Clone, Copy, Debug)]
pub struct SeedsArgs {
    /// How many seeds to train from
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub seeds: Option<u32>,
    /// The first seed; the others follow it
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub first_seed: u32,
}

impl SeedsArgs {
    /// The seeds; `count` of them, if nobody says how many.
    pub fn all(self, count: u32) -> impl Iterator<Item = u64> {
        (u64::from(self.first_seed)..).take(self.seeds.unwrap_or(count) as usize)
    }
}

/// On which data, and how many of them.
#[derive(Args, Debug)]
pub struct SetArgs {
    #[command(flatten)]
    data: DataArgs,
    /// Train on N images only; each class keeps its share
    #[arg(long, value_name = "N", value_parser = at_least_one, help_heading = "Data")]
    train_limit: Option<NonZeroUsize>,
    /// Evaluate on N test images only; each class keeps its share
    #[arg(long, value_name = "N", value_parser = at_least_one, help_heading = "Data")]
    test_limit: Option<NonZeroUsize>,
}

impl SetArgs {
    /// The recipe of the configuration `name` on these data.
    pub fn recipe(&self, name: &str, settings: Settings) -> Result<Recipe> {
        let Self { data, train_limit, test_limit } = self;
        let asked = Settings { train_limit: *train_limit, test_limit: *test_limit, ..data.settings() };
        let recipe = asked.over(settings.absolute()?)?.settle("train")?;
        check_recipe(name, &recipe)?;
        Ok(recipe)
    }
}

/// The section `[speedrun]` of a configuration: how an epoch is cut short.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tricks {
    /// Epoch by epoch, the share of the images that is met.
    pub shares: Vec<f64>,
    freeze: Option<Freeze>,
}

/// The first layers keep their parameters from some share of the steps on.
#[derive(Deserialize, Clone, Copy)]
#[serde(deny_unknown_fields)]
struct Freeze {
    layers: usize,
    from: f64,
}

impl Tricks {
    /// Reads the section of the configuration `name`.
    pub fn read(name: &str, section: Table) -> Result<Self> {
        Self::deserialize(section).map_err(|error| wrong_section(name, "speedrun", &error))
    }

    /// That they fit the network.
    pub fn check(&self, name: &str, network: &Network) -> Result<()> {
        self.fits(network).map_err(|error| usage(format!("{name}, [speedrun]: {error:#}")))
    }

    fn fits(&self, network: &Network) -> Result<()> {
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

/// Why a section of a configuration cannot be read.
pub fn wrong_section(name: &str, section: &str, error: &toml::de::Error) -> anyhow::Error {
    usage(format!("{name}, [{section}]: {}", in_words(error.to_string().trim_end())))
}

/// Refuses what only a run with its folder has.
fn check_recipe(name: &str, recipe: &Recipe) -> Result<()> {
    let Recipe { validation, from, patience, restore_best, class_weights, schedule, .. } = recipe;
    let waits = *validation > 0 || patience.is_some() || *restore_best || schedule.is_plateau();
    if waits || from.is_some() || class_weights.is_some() {
        let problem = "the last epoch counts: expected no validation, from, patience, restore-best, class-weights or plateau";
        return Err(usage(format!("{name}: {problem}; leave them out")));
    }
    Ok(())
}

/// What the runs from all seeds have in common.
pub struct Timed<'a> {
    recipe: &'a Recipe,
    tricks: Option<&'a Tricks>,
    data: &'a Prepared,
    threads: usize,
    /// Of the steps of a seed.
    bar: ProgressBar,
}

/// What one seed leads to.
pub struct Trained {
    /// The weights; their moving average, if one is kept.
    pub theta: Vec<f32>,
    /// From images in memory as bytes to final weights: building and initialising the network, starting the threads, ordering, unpacking
    /// and training are inside; evaluation is not.
    pub seconds: f64,
    /// Threads that steps took.
    pub threads: usize,
}

impl<'a> Timed<'a> {
    /// Trainings by a recipe, and by tricks if it has some.
    pub fn new(
        recipe: &'a Recipe,
        tricks: Option<&'a Tricks>,
        data: &'a Prepared,
        threads: usize,
        output: &Output,
    ) -> Self {
        let bar = output.bar(0, "seed {prefix} {bar:30} {pos}/{len} steps, {eta} left");
        Self { recipe, tricks, data, threads, bar }
    }

    /// The settings of a step.
    pub fn step_config(&self, seed: u64) -> StepConfig {
        self.recipe.step_config(seed, self.threads)
    }

    /// Trains from a seed. Being interrupted is an error.
    pub fn train(&self, seed: u64, interrupt: &Interrupt) -> Result<Trained> {
        let start = Instant::now();
        let (images, preprocessing) = (&self.data.train, self.data.remaining());
        let Recipe { lr, schedule, batch_size, init, epochs, .. } = *self.recipe;
        let (_, network) = network_for(self.recipe, self.data.input, images.classes())?;
        let theta = init_network(&network, init, seed);
        let mut trainer = Trainer::new(&network, theta, self.step_config(seed))?;
        let mut hardest = self.tricks.map(|_| Hardest::new(seed, images.len()));
        let shares = self.tricks.map_or(vec![1.0; epochs.get()], |tricks| tricks.shares.clone());
        let samples = |&share: &f64| hardest.as_ref().map_or(images.len(), |hardest| hardest.count(share));
        let total: u64 = shares.iter().map(|share| samples(share).div_ceil(batch_size.get()) as u64).sum();
        let freeze = self.tricks.and_then(|tricks| tricks.freeze);
        let augment = self.recipe.augment();
        self.bar.reset();
        self.bar.set_prefix(seed.to_string());
        self.bar.set_length(total);
        let train = |trainer: &mut Trainer| -> Result<bool, Diverged> {
            let mut order = vec![0; images.len()];
            for (epoch, &share) in (0..).zip(&shares) {
                match &mut hardest {
                    Some(hardest) => {
                        order.clear();
                        order.extend_from_slice(hardest.epoch(epoch, share));
                    }
                    None => epoch_order_into(seed, epoch, &mut order),
                }
                for samples in order.chunks(batch_size.get()) {
                    if interrupt.asked() {
                        return Ok(false);
                    }
                    let step = trainer.steps();
                    let batch = ImageBatch::new(images, samples, preprocessing);
                    if let Some(Freeze { layers, from }) = freeze
                        && step == (from * total as f64) as u64
                    {
                        trainer.freeze(layers);
                    }
                    trainer.step(schedule.rate(lr, step, total), &batch.augmented(&augment, seed, step))?;
                    if let Some(hardest) = &mut hardest {
                        hardest.record(samples, trainer.residuals());
                    }
                    self.bar.inc(1);
                }
            }
            Ok(true)
        };
        let ended = trainer.session(train);
        self.bar.finish_and_clear();
        let is_whole = ended.map_err(|diverged| coded(DIVERGED, diverged))?;
        if !is_whole {
            return Err(coded(interrupt.code(), format!("interrupted in seed {seed}")));
        }
        let (threads, theta) = (trainer.threads(), trainer.average().to_vec());
        Ok(Trained { theta, seconds: start.elapsed().as_secs_f64(), threads })
    }
}

/// Mean, standard deviation (n - 1; 0 of a single number) and extremes.
pub struct Spread {
    pub mean: f64,
    pub std: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    /// Of at least one value.
    pub fn of(values: &[f64]) -> Spread {
        let [min, max] = extremes(values).expect("a value of each seed");
        let (mean, std) = (mean(values).unwrap_or(f64::NAN), std(values).unwrap_or(f64::NAN));
        Spread { mean, std, min, max }
    }
}
