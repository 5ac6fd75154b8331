//! The settings of a fit.

use byhand_datasets::batches::LastBatch;
use byhand_datasets::{Augment, Preprocessing};

use crate::error::TrainerError;
use crate::objective::Objective;
use crate::optimizer::{Optimizer, Sgd};
use crate::schedule::Schedule;
use crate::spec::{check, check_share, check_weight};
use crate::step::StepConfig;

/// Settings of a [`Fit`](super::Fit). `threads`, `log_every` and `stop_diverged` have no influence on the weights that come out, and
/// `evaluate_every` one alone where `patience` or the schedule `plateau` waits for a better evaluation. All others decide them.
#[derive(Debug, Clone, PartialEq)]
pub struct FitConfig {
    /// How often the training set is gone through, at least once.
    pub epochs: u64,
    /// Stop after this many steps, at least 1, if that is sooner.
    pub max_steps: Option<u64>,
    /// Samples of a minibatch: 1 to [`StepConfig::MAX_BATCH`].
    pub batch_size: usize,
    /// In which order samples are met.
    pub sampling: Sampling,
    /// What to do with the samples left over at the end of an epoch.
    pub last_batch: LastBatch,
    /// The optimiser.
    pub optimizer: Optimizer,
    /// The peak learning rate, at least 0.
    pub learning_rate: f64,
    /// How the learning rate moves.
    pub schedule: Schedule,
    /// The loss that is trained for. Evaluations leave its label smoothing out: see [`Objective::unsmoothed`].
    pub objective: Objective,
    /// A weight of each class in the training loss, such as [`balanced`](byhand_layers::loss::Weighting::balanced) ones; none: all weigh 1.
    /// Not for squared error. Evaluations weigh nothing.
    pub class_weights: Vec<f64>,
    /// How bytes become the network's input.
    pub preprocessing: Preprocessing,
    /// Random changes of training images.
    pub augment: Augment,
    /// Decoupled weight decay: see [`StepConfig::weight_decay`].
    pub weight_decay: f64,
    /// The longest gradient: see [`StepConfig::clip`].
    pub clip: Option<f64>,
    /// Moving average of the weights: see [`StepConfig::ema`]. Where it is kept, it is what is evaluated, and what is
    /// [given back](super::Fit::theta).
    pub ema: Option<f64>,
    /// Stop after so many epochs in a row, at least 1, that were no better on the test set than the best.
    pub patience: Option<u64>,
    /// Seed of order, augmentation and dropout.
    pub seed: u64,
    /// Number of threads; 0 for as many as the machine runs at once. No influence on results.
    pub threads: usize,
    /// Tell [`Event::Window`](crate::Event::Window) every so many steps, at least 1.
    pub log_every: Option<u64>,
    /// Evaluate on the test set before the first step and then every so many steps, at least 1, besides each epoch's end.
    pub evaluate_every: Option<u64>,
    /// Give up when the loss, over windows of 100 steps, has been ten times above its best, and above half of what it began with, for
    /// 1000 steps: what was learned is forgotten. What is not finite ends a fit in any case.
    pub stop_diverged: bool,
}

impl FitConfig {
    /// The settings of its steps.
    pub(super) fn step(&self) -> StepConfig {
        StepConfig {
            optimizer: self.optimizer,
            objective: self.objective,
            batch_size: self.batch_size,
            threads: self.threads,
            seed: self.seed,
            weight_decay: self.weight_decay,
            clip: self.clip,
            ema: self.ema,
        }
    }

    /// That all but those of its steps are in their range, for a fit with or without a test set.
    pub(super) fn check(&self, is_tested: bool) -> Result<(), TrainerError> {
        self.schedule.validate()?;
        if !is_tested && (self.patience.is_some() || self.schedule.is_plateau()) {
            let setting = if self.patience.is_some() { "patience" } else { "schedule" };
            return Err(TrainerError::setting(
                setting,
                "a test set to be evaluated after each epoch",
                "none",
            ));
        }
        for (setting, count) in [
            ("epochs", Some(self.epochs)),
            ("max_steps", self.max_steps),
            ("log_every", self.log_every),
            ("evaluate_every", self.evaluate_every),
            ("patience", self.patience),
        ] {
            if count == Some(0) {
                return Err(TrainerError::setting(setting, "at least 1", "0"));
            }
        }
        check_weight("learning rate", self.learning_rate)?;
        let Augment { rotate, scale, shear, elastic, mixup, .. } = self.augment;
        check(
            "rotate",
            rotate.into(),
            |v| (0.0..=f64::from(std::f32::consts::PI)).contains(&v),
            "between 0 and pi",
        )?;
        check_share("scale", scale.into())?;
        check_weight("shear", shear.into())?;
        check_weight("elastic", elastic.into())?;
        check("mixup", mixup.into(), |v| (0.0..=1.0).contains(&v), "between 0 and 1")?;
        for number in [self.preprocessing.normalize.scale, self.preprocessing.normalize.shift] {
            check("normalising", number.into(), f64::is_finite, "a finite number")?;
        }
        Ok(())
    }
}

impl Default for FitConfig {
    /// One epoch of minibatches of 32, shuffled, plain SGD with rate 0.1 on softmax cross-entropy, pixels / 255, no
    /// augmentation, seed 0, all threads.
    fn default() -> FitConfig {
        FitConfig {
            epochs: 1,
            max_steps: None,
            batch_size: 32,
            sampling: Sampling::default(),
            last_batch: LastBatch::default(),
            optimizer: Optimizer::Sgd(Sgd::default()),
            learning_rate: 0.1,
            schedule: Schedule::CONSTANT,
            objective: Objective::default(),
            class_weights: Vec::new(),
            preprocessing: Preprocessing::default(),
            augment: Augment::default(),
            weight_decay: 0.0,
            clip: None,
            ema: None,
            patience: None,
            seed: 0,
            threads: 0,
            log_every: None,
            evaluate_every: None,
            stop_diverged: true,
        }
    }
}

/// In which order samples are met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sampling {
    /// Each once an epoch, in an order that is a function of (seed, epoch).
    #[default]
    Shuffled,
    /// Every minibatch drawn from all samples with replacement, as a function of (seed, step). An epoch is
    /// `samples / batch_size` steps, rounded down.
    WithReplacement,
    /// Each once an epoch, in the order of the data set.
    InOrder,
}
