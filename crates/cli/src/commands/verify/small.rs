//! A training that takes a moment, for the checks that repeat one ten thousand times, and the chance that they are repeated by.

use std::{
    path::Path,
    sync::{Arc, atomic::AtomicBool},
};

use anyhow::Result;
use byhand_datasets::{
    Dataset,
    digits::{self, Part},
};
use byhand_files::memory::MemoryDisk;
use byhand_layers::{
    Network, Shape,
    init::{Init, init_network},
};
use byhand_models::{Model, Spec, weights_sha256};
use byhand_report::Recorder;
use byhand_trainer::{Fit, FitConfig};
use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};

use crate::{
    output::Output,
    pace::{Every, Pace},
    run_folder::RunFolder,
    training::{Results, train},
    watcher::Watcher,
};

/// The run folder on a disk in memory.
pub const RUN: &str = "run";

/// A network, its data and settings.
pub struct Small {
    pub network: Network<f32>,
    pub train: Dataset,
    pub config: FitConfig,
    spec: Spec,
    every: u64,
}

impl Small {
    /// Twelve steps over three epochs of images of 7x7, with a checkpoint after every fourth.
    pub fn new() -> Result<Self> {
        let train = digits::generate(Part::Train, 30, 5).halve()?.halve()?;
        let spec: Spec = "dense(6) relu dropout(0.2) dense(10)".parse()?;
        let network = spec.build(Shape::new(1, 7, 7))?;
        let config = FitConfig {
            epochs: 3,
            batch_size: 8,
            optimizer: "adam".parse()?,
            learning_rate: 0.01,
            schedule: "one-cycle".parse()?,
            threads: 1,
            ..FitConfig::default()
        };
        Ok(Self { network, train, config, spec, every: 4 })
    }

    /// The fit, begun anew.
    pub fn fit(&self) -> Result<Fit<'_>> {
        let theta = init_network(&self.network, Init::HeNormal, 1);
        Ok(Fit::new(&self.network, theta, &self.train, None, self.config.clone())?)
    }

    /// Trains in a run folder on this disk, from the newest checkpoint if there is one, as the training commands do. The answer is the
    /// digest of the weights in the model file.
    pub fn run(&self, disk: &MemoryDisk) -> Result<String> {
        let folder = RunFolder::on(Arc::new(disk.clone()), Path::new(RUN));
        let mut fit = match folder.newest_checkpoint(&mut |_| ())? {
            Some(checkpoint) => {
                Fit::resume(&self.network, checkpoint, &self.train, None, self.config.clone())?
            }
            None => self.fit()?,
        };
        folder.clear_failure()?;
        let history = folder.history_of(folder.path(), fit.step())?;
        folder.write_config("epochs = 3\n")?;
        let pace = Pace::new(Every::Steps(self.every));
        let mut watcher = Watcher::new(Output::quiet(), false, history, pace, self.config.epochs);
        let FitConfig { preprocessing, objective, .. } = self.config;
        let mut recorder = Recorder::new(&self.network, &self.train, &preprocessing, objective);
        let results =
            Results { model: &|theta, _| self.model(theta), keeps_best: false, restores_best: false };
        train(&mut fit, &mut watcher, &mut recorder, &folder, &AtomicBool::new(false), &results)?;
        Ok(weights_sha256(fit.theta()))
    }

    /// A model of these weights.
    pub fn model(&self, theta: &[f32]) -> Model {
        Model {
            spec: self.spec.clone(),
            input: self.network.input(),
            class_names: (0..10).map(|digit| digit.to_string()).collect(),
            preprocessing: self.config.preprocessing,
            notes: Default::default(),
            theta: theta.to_vec(),
        }
    }
}

/// Chance that is the same in every run of a check.
pub struct Chance(ChaCha8Rng);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.0.next_u64() % n as u64) as usize
    }
}
