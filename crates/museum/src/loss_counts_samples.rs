//! Cross-entropy whose counter adds 1 instead of the loss.

use byhand_layers::check::Clause;
use byhand_layers::loss::{Loss, LossStats, SoftmaxCrossEntropy, Target};
use byhand_layers::{Block, Scalar};

use crate::piece::{Check, Piece, StandIn, examine_loss};

/// Softmax cross-entropy whose reported loss is the number of samples.
///
/// # Wrong
/// ```text
/// loss += 1
/// ```
/// # Right
/// ```text
/// loss += -ln(p[label])
/// ```
/// # Symptom
/// The average loss prints 0.990, then 1.000 for ever (its first window holds 99 samples), while the accuracy rises.
///
/// # Caught by
/// Differences of the loss, which is constant; a NaN in the logits that does not reach the loss.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct LossCountsSamples;

impl<T: Scalar> Loss<T> for LossCountsSamples {
    fn value_and_gradient(
        &self,
        block: Block,
        logits: &[T],
        target: Target<'_, T>,
        scale: T,
        dlogits: &mut [T],
    ) -> LossStats {
        let stats = SoftmaxCrossEntropy::default().value_and_gradient(block, logits, target, scale, dlogits);
        LossStats { loss: block.samples() as f64, ..stats }
    }
}

pub(crate) const PIECE: Piece = Piece {
    name: "loss-counts-samples",
    notebook: "A",
    wrong_line: "the loss counter adds 1 for every sample instead of the sample's loss",
    symptom: "the average loss prints 1.000 for ever",
    caught_by: &[
        Check::Clause(Clause::CentralDifference),
        Check::Clause(Clause::FourPointDifference),
        Check::Clause(Clause::NanTravels),
        Check::Twin,
    ],
    examine: |options| examine_loss(&LossCountsSamples, &SoftmaxCrossEntropy::default(), options),
    stand_in: StandIn::Loss(|| Box::new(LossCountsSamples)),
};
