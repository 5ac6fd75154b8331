//! Cross-entropy that reads its loss from probabilities already turned into the gradient.

use byhand_layers::check::Clause;
use byhand_layers::loss::{Loss, LossStats, SoftmaxCrossEntropy, Target};
use byhand_layers::{Block, Scalar};

use crate::piece::{Check, Piece, StandIn, examine_loss, target_of};

/// Softmax cross-entropy that turns `p` into `p - q` in place, then takes the logarithm of what is left.
///
/// # Wrong
/// ```text
/// p[label] -= 1;  loss = -ln(p[label])
/// ```
/// # Right
/// ```text
/// loss = -ln(p[label]);  dz = p - q
/// ```
/// # Symptom
/// The gradient is right and the loss is NaN: a probability less 1 is negative.
///
/// # Caught by
/// Every check of the loss.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct ProbabilitiesOverwritten;

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
        let classes = logits.len() / block.len(1);
        let mut loss = 0.0;
        for sample in 0..block.samples() {
            for class in 0..classes {
                let q = target_of(target, sample, class, classes);
                if q != T::ZERO {
                    loss -= (q * dlogits[block.index(classes, sample, class)].ln()).to_f64();
                }
            }
        }
        dlogits.iter_mut().for_each(|d| *d *= scale);
        LossStats { loss, ..stats }
    }
}

pub(crate) const PIECE: Piece = Piece {
    name: "probabilities-overwritten",
    notebook: "C",
    wrong_line: "the probabilities are turned into the gradient in place, then the loss is read from them",
    symptom: "the loss is NaN while the accuracy rises",
    caught_by: &[
        Check::Clause(Clause::CentralDifference),
        Check::Clause(Clause::FourPointDifference),
        Check::Clause(Clause::Extremes),
        Check::Twin,
    ],
    examine: |options| examine_loss(&ProbabilitiesOverwritten, &SoftmaxCrossEntropy::default(), options),
    stand_in: StandIn::Loss(|| Box::new(ProbabilitiesOverwritten)),
};
