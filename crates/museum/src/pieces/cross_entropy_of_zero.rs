//! Cross-entropy as `-ln(p)`, with a `p` that may have rounded to zero.

use super::prelude::*;
use crate::cross_entropy::{classes, cross_entropy};

#[derive(Debug, Default)]
struct CrossEntropyOfZero;

impl<T: Scalar> Loss<T> for CrossEntropyOfZero {
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
            let z = |class| logits[block.index(classes, sample, class)];
            let larger = |m, z: T| if z > m || z.is_nan() { z } else { m };
            let m = (1..classes).fold(z(0), |m, class| larger(m, z(class)));
            (m, (0..classes).fold(T::ZERO, |sum, class| sum + (z(class) - m).exp()))
        };
        cross_entropy(block, logits, target, scale, dlogits, softmax, |p| {
            // <wrong>
            -p.ln()
            // </wrong>
        })
    }
}

pub(super) const PIECE: Piece = Piece {
    name: "cross-entropy-of-zero",
    notebook: "E",
    mistake: "the loss is -ln(p) of a probability that may have rounded to zero",
    wrong: "loss = -ln(p[label])",
    right: "loss = (m - z[label]) + ln(sum over k of e^(z[k] - m)),   m = max z",
    symptom: "an infinite loss from a network that is wrong and certain, though its gradient is fine",
    caught_by: &[Check::Clause(Clause::Extremes), Check::Twin],
    example: Example { layers: "dense(64) relu dense(10)", layer: None, batch_size: 32, parts: 1 },
    source: include_str!("cross_entropy_of_zero.rs"),
    make: Make::loss::<CrossEntropyOfZero>(),
};
