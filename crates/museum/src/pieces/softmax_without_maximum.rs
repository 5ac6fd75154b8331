//! Softmax that takes the exponential of the logits as they are.

use super::prelude::*;
use crate::cross_entropy::{classes, cross_entropy};

#[derive(Debug, Default)]
struct SoftmaxWithoutMaximum;

impl<T: Scalar> Loss<T> for SoftmaxWithoutMaximum {
    fn value_and_gradient(
        &self,
        block: Block,
        logits: &[T],
        target: Target<'_, T>,
        scale: T,
        dlogits: &mut [T],
    ) -> LossStats {
        let classes = classes(block, logits);
        let softmax = |sample| {
            // <wrong>
            let m = T::ZERO;
            // </wrong>
            let z = |class| logits[block.index(classes, sample, class)];
            (m, (0..classes).fold(T::ZERO, |sum, class| sum + (z(class) - m).exp()))
        };
        cross_entropy(block, logits, target, scale, dlogits, softmax, |p| -p.ln())
    }
}

pub(super) const PIECE: Piece = Piece {
    name: "softmax-without-maximum",
    notebook: "A, B",
    mistake: "softmax takes e^z of the logits as they are, without subtracting their maximum",
    wrong: "p[j] = e^z[j] / sum over k of e^z[k]",
    right: "p[j] = e^(z[j] - m) / sum over k of e^(z[k] - m),   m = max z",
    symptom: "none while logits are small; beyond 88 (in f32) the exponential is infinite, infinity by infinity is NaN, and so is everything after it",
    caught_by: &[Check::Clause(Clause::Extremes), Check::Twin],
    example: Example { layers: "dense(64) relu dense(10)", layer: None, batch_size: 32, parts: 1 },
    source: include_str!("softmax_without_maximum.rs"),
    make: Make::loss::<SoftmaxWithoutMaximum>(),
};
