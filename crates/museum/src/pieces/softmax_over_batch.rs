//! Softmax whose sum runs over the whole array: all classes of all samples.

use super::prelude::*;
use crate::cross_entropy::{classes, cross_entropy};

#[derive(Debug, Default)]
struct SoftmaxOverBatch;

impl<T: Scalar> Loss<T> for SoftmaxOverBatch {
    fn value_and_gradient(
        &self,
        block: Block,
        logits: &[T],
        target: Target<'_, T>,
        scale: T,
        dlogits: &mut [T],
    ) -> LossStats {
        let classes = classes(block, logits);
        let softmax = |_sample| {
            let z = |sample, class| logits[block.index(classes, sample, class)];
            // <wrong>
            let all = (0..block.samples()).flat_map(|s| (0..classes).map(move |class| (s, class)));
            let sum = all.fold(T::ZERO, |sum, (s, class)| sum + z(s, class).exp());
            // </wrong>
            (T::ZERO, sum)
        };
        cross_entropy(block, logits, target, scale, dlogits, softmax, |p| -p.ln())
    }
}

pub(super) const PIECE: Piece = Piece {
    name: "softmax-over-batch",
    notebook: "B",
    mistake: "the sum of the softmax runs over the whole array, not over the classes of one sample",
    wrong: "p = exp(z) / sum(exp(z))",
    right: "p = exp(z) / sum(exp(z), axis = classes)",
    symptom: "none with a batch of 1; else probabilities sum to 1 over the minibatch, and samples push each other",
    caught_by: &[
        Check::Clause(Clause::SampleIndependence),
        Check::Clause(Clause::CentralDifference),
        Check::Clause(Clause::FourPointDifference),
        Check::Clause(Clause::NanTravels),
        Check::Twin,
    ],
    example: Example { layers: "dense(64) relu dense(10)", layer: None, batch_size: 32, parts: 1 },
    source: include_str!("softmax_over_batch.rs"),
    make: Make::loss::<SoftmaxOverBatch>(),
};
