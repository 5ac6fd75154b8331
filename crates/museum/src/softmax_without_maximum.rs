//! Softmax without the maximum subtracted.

use byhand_layers::check::Clause;
use byhand_layers::loss::{Loss, LossStats, SoftmaxCrossEntropy, Target};
use byhand_layers::{Block, Scalar};

use crate::piece::{Check, Piece, StandIn, examine_loss, is_correct, target_of};

/// Softmax cross-entropy that takes the exponential of the logits as they are.
///
/// # Wrong
/// ```text
/// p[j] = e^z[j] / sum over k of e^z[k]
/// ```
/// # Right
/// ```text
/// p[j] = e^(z[j] - m) / sum over k of e^(z[k] - m),   m = max z
/// ```
/// # Symptom
/// None while logits are small. Beyond 88 (in f32) the exponential is infinite and infinity by infinity is NaN, for ever after.
///
/// # Caught by
/// Extreme logits; the right loss beside it, on logits of size 1000.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct SoftmaxWithoutMaximum;

impl<T: Scalar> Loss<T> for SoftmaxWithoutMaximum {
    fn value_and_gradient(
        &self,
        block: Block,
        logits: &[T],
        target: Target<'_, T>,
        scale: T,
        dlogits: &mut [T],
    ) -> LossStats {
        let classes = logits.len() / block.len(1);
        let mut stats = LossStats::default();
        dlogits.fill(T::ZERO);
        for sample in 0..block.samples() {
            let at = |class| block.index(classes, sample, class);
            let sum = (0..classes).fold(T::ZERO, |sum, class| sum + logits[at(class)].exp());
            let mut loss = T::ZERO;
            for class in 0..classes {
                let q = target_of(target, sample, class, classes);
                let p = logits[at(class)].exp() / sum;
                if q != T::ZERO {
                    loss += -q * p.ln();
                }
                dlogits[at(class)] = scale * (p - q);
            }
            stats.loss += loss.to_f64();
            stats.correct += usize::from(is_correct(block, logits, target, sample, classes));
        }
        stats
    }
}

pub(crate) const PIECE: Piece = Piece {
    name: "softmax-without-maximum",
    notebook: "A, B",
    wrong_line: "softmax takes e^z of the logits as they are, without subtracting their maximum",
    symptom: "NaN as soon as a logit exceeds 88",
    caught_by: &[Check::Clause(Clause::Extremes), Check::Twin],
    examine: |options| examine_loss(&SoftmaxWithoutMaximum, &SoftmaxCrossEntropy::default(), options),
    stand_in: StandIn::Loss(|| Box::new(SoftmaxWithoutMaximum)),
};
