//! Softmax cross-entropy that turns `p` into `p - q` in place, then takes the logarithm of what is left.

use byhand_layers::loss::SoftmaxCrossEntropy;

use super::prelude::*;
use crate::cross_entropy::{classes, target_of};

#[derive(Debug, Default)]
struct ProbabilitiesOverwritten;

impl<T: Scalar> Loss<T> for ProbabilitiesOverwritten {
    fn value_and_gradient(
        &self,
        block: Block,
        logits: &[T],
        target: Target<'_, T>,
        scale: T,
        dlogits: &mut [T],
    ) -> LossStats {
        let stats = SoftmaxCrossEntropy::default().value_and_gradient(block, logits, target, T::ONE, dlogits);
        let classes = classes(block, logits);
        let mut loss = 0.0;
        for sample in 0..block.samples() {
            for class in 0..classes {
                let q = target_of(target, sample, class, classes);
                if q != T::ZERO {
                    // <wrong>
                    let p = dlogits[block.index(classes, sample, class)];
                    loss -= (q * p.ln()).to_f64();
                    // </wrong>
                }
            }
        }
        dlogits.iter_mut().for_each(|d| *d *= scale);
        LossStats { loss, ..stats }
    }
}

pub(super) const PIECE: Piece = Piece {
    name: "probabilities-overwritten",
    notebook: "C",
    mistake: "the probabilities are turned into the gradient in place, then the loss is read from them",
    wrong: "p[label] -= 1;  loss = -ln(p[label])",
    right: "loss = -ln(p[label]);  dz = p - q",
    symptom: "the gradient is right and the loss is NaN, since a probability less 1 is negative; the accuracy rises",
    caught_by: &[
        Check::Clause(Clause::CentralDifference),
        Check::Clause(Clause::FourPointDifference),
        Check::Clause(Clause::Extremes),
        Check::Twin,
    ],
    example: Example { layers: "dense(64) relu dense(10)", layer: None, batch_size: 32, parts: 1 },
    source: include_str!("probabilities_overwritten.rs"),
    make: Make::loss::<ProbabilitiesOverwritten>(),
};
