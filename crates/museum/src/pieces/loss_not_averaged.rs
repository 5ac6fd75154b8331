//! Softmax cross-entropy that forgets to divide its gradient by the size of the minibatch.

use byhand_layers::loss::SoftmaxCrossEntropy;

use super::prelude::*;

#[derive(Debug, Default)]
struct LossNotAveraged;

impl<T: Scalar> Loss<T> for LossNotAveraged {
    fn value_and_gradient(
        &self,
        block: Block,
        logits: &[T],
        target: Target<'_, T>,
        _scale: T,
        dlogits: &mut [T],
    ) -> LossStats {
        // <wrong>
        let scale = T::ONE;
        // </wrong>
        SoftmaxCrossEntropy::default().value_and_gradient(block, logits, target, scale, dlogits)
    }
}

pub(super) const PIECE: Piece = Piece {
    name: "loss-not-averaged",
    notebook: "classic",
    mistake: "the gradient is not divided by the number of samples",
    wrong: "dz = p - q",
    right: "dz = (p - q) / N",
    symptom: "a larger minibatch acts like a larger learning rate, until it diverges",
    caught_by: &[
        Check::Clause(Clause::CentralDifference),
        Check::Clause(Clause::FourPointDifference),
        Check::Twin,
    ],
    example: Example { layers: "dense(64) relu dense(10)", layer: None, batch_size: 32, parts: 1 },
    source: include_str!("loss_not_averaged.rs"),
    make: Make::loss::<LossNotAveraged>(),
};
