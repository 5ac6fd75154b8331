//! What can go wrong, in the caller's words.

use std::fmt;

use byhand_layers::{LayerError, Shape};

use crate::trend::Trend;

/// Text that is no optimiser, schedule or objective.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}`: {problem}")]
pub struct SpecError {
    text: String,
    problem: String,
}

impl SpecError {
    pub(crate) fn new(text: &str, problem: impl Into<String>) -> SpecError {
        SpecError { text: text.into(), problem: problem.into() }
    }
}

/// A trainer, a fit or an evaluation that cannot begin.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TrainerError {
    /// A setting is out of its range.
    #[error("{setting}: expected {expected}, found {found}")]
    Setting {
        /// Its name.
        setting: &'static str,
        /// What it may be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// The loss refused its settings.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// There are not as many weights as the network has.
    #[error("expected {expected} weights for this network, found {found}")]
    Weights {
        /// The network's number of parameters.
        expected: usize,
        /// The number of weights given.
        found: usize,
    },
    /// The images do not fit the network's input.
    #[error("{name}: expected images that make an input of {expected}, found {found}")]
    Input {
        /// The data set.
        name: String,
        /// The network's input.
        expected: Shape,
        /// What the images, cropped, make.
        found: Shape,
    },
    /// There are more classes in the data than the network has outputs.
    #[error("{name}: expected at most {expected} classes (the network's outputs), found {found}")]
    Classes {
        /// The data set.
        name: String,
        /// The network's outputs.
        expected: usize,
        /// The classes of the data.
        found: usize,
    },
    /// The rows of a regression are not as long as the network's outputs.
    #[error("{name}: expected target rows of {expected} numbers (the network's outputs), found {found}")]
    Outputs {
        /// The data set.
        name: String,
        /// The network's outputs.
        expected: usize,
        /// Numbers in a row.
        found: usize,
    },
    /// A data set without samples.
    #[error("{name}: expected at least one sample, found none")]
    Empty {
        /// The data set.
        name: String,
    },
    /// Somebody said stop before an evaluation was done.
    #[error("stopped before the evaluation was done")]
    Stopped,
    /// The operating system refused the threads.
    #[error("cannot start {threads} threads: {reason}")]
    Threads {
        /// How many were asked for.
        threads: usize,
        /// What the system said.
        reason: String,
    },
}

impl TrainerError {
    pub(crate) fn setting(
        setting: &'static str,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> TrainerError {
        TrainerError::Setting { setting, expected: expected.into(), found: found.into() }
    }
}

/// Training diverged: a loss or gradient was not finite, or the loss has gone up for good. The update of that step was not applied.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub struct Diverged {
    /// The step, counted from 0.
    pub step: u64,
    /// The epoch, counted from 0, when there are epochs.
    pub epoch: Option<u64>,
    /// The learning rate the step would have used.
    pub learning_rate: f64,
    /// What was not finite.
    pub cause: DivergenceCause,
    /// Where that is seen first, in the order of the computation: "0.weight (conv)" for weights, "the input" or "the output of layer 2
    /// (relu)" where they are not finite, else "3.weight (dense)" for its gradient; none when the loss alone is not finite.
    pub place: Option<String>,
    /// The samples of the minibatch, by their place in the training set, when they are from one.
    pub batch: Vec<u32>,
}

impl Diverged {
    pub(crate) fn new(
        step: u64,
        learning_rate: f64,
        cause: DivergenceCause,
        place: Option<String>,
    ) -> Diverged {
        Diverged { step, epoch: None, learning_rate, cause, place, batch: Vec::new() }
    }
}

/// What was found not finite, or too high.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DivergenceCause {
    /// Weights, before the step: an earlier update overflowed.
    Weights,
    /// The loss.
    Loss,
    /// The gradient (or it is so large that a sum of gradients may overflow).
    Gradient,
    /// The loss has been far above its best for long: see [`FitConfig::stop_diverged`](crate::FitConfig::stop_diverged).
    Trend,
}

impl fmt::Display for Diverged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "training diverged at step {}", self.step)?;
        if let Some(epoch) = self.epoch {
            write!(f, " (epoch {epoch})")?;
        }
        match self.cause {
            DivergenceCause::Weights => f.write_str(": weights are not finite")?,
            DivergenceCause::Loss => f.write_str(": the loss is not finite")?,
            DivergenceCause::Gradient => f.write_str(": the gradient is not finite")?,
            DivergenceCause::Trend => {
                write!(f, ": the loss has been more than ten times its best for {} steps", Trend::STEPS)?;
            }
        }
        if let Some(place) = &self.place {
            write!(f, ", first in {place}")?;
        }
        write!(f, "; the update was not applied. Lower the learning rate (now {})", self.learning_rate)
    }
}

/// A fit that cannot begin or go on.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FitError {
    /// It cannot begin.
    #[error(transparent)]
    Trainer(#[from] TrainerError),
    /// It diverged; the weights are those before the step.
    #[error(transparent)]
    Diverged(#[from] Diverged),
    /// The run is to end before the step that was reached.
    #[error("cannot resume: the checkpoint was taken after {done} steps, found a run of {asked} in all")]
    Beyond {
        /// Steps done.
        done: u64,
        /// Steps of the whole run, as it is asked for now.
        asked: u64,
    },
    /// The checkpoint is of a different fit.
    #[error("cannot resume: the checkpoint's {setting} is {expected}, found {found}")]
    Mismatch {
        /// What differs.
        setting: String,
        /// What it was.
        expected: String,
        /// What it is.
        found: String,
    },
}
