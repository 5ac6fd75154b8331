//! Cross-entropy without the 1/N of the minibatch.

use byhand_layers::check::Clause;
use byhand_layers::loss::{Loss, LossStats, SoftmaxCrossEntropy, Target};
use byhand_layers::{Block, Scalar};

use crate::piece::{Check, Piece, StandIn, examine_loss};

/// Softmax cross-entropy that forgets to divide its gradient by the size of the minibatch.
///
/// # Wrong
/// ```text
/// dz = p - q
/// ```
/// # Right
/// ```text
/// dz = (p - q) / N
/// ```
/// # Symptom
/// The learning rate seems to depend on the size of the minibatch, and a larger one diverges.
///
/// # Caught by
/// Differences of the loss that is averaged; the right loss beside it.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct LossNotAveraged;

impl<T: Scalar> Loss<T> for LossNotAveraged {
    fn value_and_gradient(
        &self,
        block: Block,
        logits: &[T],
        target: Target<'_, T>,
        _scale: T,
        dlogits: &mut [T],
    ) -> LossStats {
        // `scale` is 1/N.
        SoftmaxCrossEntropy::default().value_and_gradient(block, logits, target, T::ONE, dlogits)
    }
}

pub(crate) const PIECE: Piece = Piece {
    name: "loss-not-averaged",
    notebook: "classic",
    wrong_line: "the gradient is not divided by the number of samples",
    symptom: "a larger minibatch acts like a larger learning rate, until it diverges",
    caught_by: &[
        Check::Clause(Clause::CentralDifference),
        Check::Clause(Clause::FourPointDifference),
        Check::Twin,
    ],
    examine: |options| examine_loss(&LossNotAveraged, &SoftmaxCrossEntropy::default(), options),
    stand_in: StandIn::Loss(|| Box::new(LossNotAveraged)),
};
