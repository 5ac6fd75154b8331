//! In which order a fit meets its samples, minibatch by minibatch.

use byhand_datasets::batches::{LastBatch, epoch_order_into, sequence_into, with_replacement_into};

use super::config::{FitConfig, Sampling};
use crate::error::TrainerError;

/// The minibatches of a fit, each a function of the step alone.
#[derive(Debug)]
pub(super) struct Order {
    sampling: Sampling,
    seed: u64,
    samples: usize,
    batch_size: usize,
    /// Steps of an epoch.
    pub(super) steps_per_epoch: u64,
    /// Those of an epoch in order, or of a minibatch that was drawn.
    indices: Vec<u32>,
    /// The epoch whose order they are.
    ordered: Option<u64>,
}

impl Order {
    /// Of so many samples.
    pub(super) fn new(config: &FitConfig, samples: usize) -> Result<Order, TrainerError> {
        let FitConfig { sampling, last_batch, batch_size, seed, .. } = *config;
        let full_batches = samples / batch_size;
        let (len, steps_per_epoch) = match (sampling, last_batch) {
            (Sampling::WithReplacement, _) => (batch_size, full_batches.max(1)),
            (_, LastBatch::Keep) => (samples, samples.div_ceil(batch_size)),
            (_, LastBatch::Drop) if full_batches == 0 => {
                let expected =
                    format!("at most the {samples} training samples, as incomplete batches are dropped");
                return Err(TrainerError::setting("batch size", expected, batch_size.to_string()));
            }
            (_, LastBatch::Drop) => (samples, full_batches),
        };
        Ok(Order {
            sampling,
            seed,
            samples,
            batch_size,
            steps_per_epoch: steps_per_epoch as u64,
            indices: vec![0; len],
            ordered: None,
        })
    }

    /// The samples of the next step, when `step` are done.
    pub(super) fn batch(&mut self, step: u64) -> &[u32] {
        let epoch = step / self.steps_per_epoch;
        if self.sampling == Sampling::WithReplacement {
            with_replacement_into(self.seed, step, self.samples as u32, &mut self.indices);
        } else if self.ordered != Some(epoch) {
            match self.sampling {
                Sampling::Shuffled => epoch_order_into(self.seed, epoch, &mut self.indices),
                _ => sequence_into(&mut self.indices),
            }
            self.ordered = Some(epoch);
        }
        let first = match self.sampling {
            Sampling::WithReplacement => 0,
            _ => (step % self.steps_per_epoch) as usize * self.batch_size,
        };
        &self.indices[first..(first + self.batch_size).min(self.indices.len())]
    }
}
