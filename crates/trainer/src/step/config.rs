//! The settings of a step.

use crate::error::TrainerError;
use crate::objective::Objective;
use crate::optimizer::{Optimizer, Sgd};
use crate::spec::{check, check_share, check_weight};

/// Settings of a [`Trainer`](crate::Trainer).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepConfig {
    /// The optimiser.
    pub optimizer: Optimizer,
    /// The loss, the mean of a minibatch.
    pub objective: Objective,
    /// The most samples a minibatch has: 1 to [`MAX_BATCH`](Self::MAX_BATCH). Smaller ones may be trained on, with the same plan.
    pub batch_size: usize,
    /// Number of threads; 0 for as many as the machine runs at once. No influence on results.
    pub threads: usize,
    /// Seed of the random numbers of layers (dropout).
    pub seed: u64,
    /// Decoupled weight decay, at least 0: `theta = (1 - lr * weight_decay) * theta`, and then the optimiser's update. Biases and
    /// normalisations are spared, which is to say tensors of one dimension.
    ///
    /// Loshchilov, Hutter, "Decoupled weight decay regularization", ICLR 2019. An optimiser's own `weight_decay` is PyTorch's, of all
    /// parameters.
    pub weight_decay: f64,
    /// A gradient that is longer than this, which is above 0, is made as long: `g = g * min(1, clip / |g|)`, with the Euclidean norm of all
    /// parameters together. Pascanu, Mikolov, Bengio, "On the difficulty of training recurrent neural networks", 2013.
    pub clip: Option<f64>,
    /// Keep an exponential moving average of the weights: after step `t`, from 0, `average = d * average + (1 - d) * theta`, with `d`
    /// this (at least 0, below 1) or `t / (t + 10)`, whichever is less. The state of layers is averaged too. Polyak, Juditsky, "Acceleration of stochastic
    /// approximation by averaging", 1992.
    pub ema: Option<f64>,
}

impl Default for StepConfig {
    /// Plain SGD on softmax cross-entropy, minibatches of 32, all threads, seed 0.
    fn default() -> StepConfig {
        StepConfig {
            optimizer: Optimizer::Sgd(Sgd::default()),
            objective: Objective::default(),
            batch_size: 32,
            threads: 0,
            seed: 0,
            weight_decay: 0.0,
            clip: None,
            ema: None,
        }
    }
}

impl StepConfig {
    /// The most samples of a minibatch.
    pub const MAX_BATCH: usize = 1 << 20;

    pub(super) fn validate(&self) -> Result<(), TrainerError> {
        if !(1..=Self::MAX_BATCH).contains(&self.batch_size) {
            let (expected, found) = (format!("1 to {}", Self::MAX_BATCH), self.batch_size.to_string());
            return Err(TrainerError::setting("batch size", expected, found));
        }
        check_weight("weight decay", self.weight_decay)?;
        if let Some(most) = self.clip {
            check("clip", most, |v| v > 0.0 && v.is_finite(), "a number above 0")?;
        }
        if let Some(decay) = self.ema {
            check_share("ema", decay)?;
        }
        self.optimizer.validate()?;
        self.objective.validate()
    }

    /// Whether an update is `theta -= lr * gradient` and nothing else.
    pub(super) fn is_plain_descent(&self) -> bool {
        self.optimizer.is_plain_descent() && self.weight_decay == 0.0 && self.clip.is_none()
    }

    /// How many numbers are remembered of a parameter from step to step.
    pub(crate) fn slots(&self) -> usize {
        self.optimizer.slots() + usize::from(self.ema.is_some())
    }
}
