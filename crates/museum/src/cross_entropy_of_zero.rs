//! Cross-entropy that takes the logarithm of a probability that rounded to zero.

use byhand_layers::check::Clause;
use byhand_layers::loss::{Loss, LossStats, SoftmaxCrossEntropy, Target};
use byhand_layers::{Block, Scalar};

use crate::piece::{Check, Piece, StandIn, examine_loss, is_correct, target_of};

/// Cross-entropy as `-ln(p)`, with a `p` that may have rounded to zero.
///
/// # Wrong
/// ```text
/// loss = -ln(p[label])
/// ```
/// # Right
/// ```text
/// loss = (m - z[label]) + ln(sum over k of e^(z[k] - m)),   m = max z
/// ```
/// # Symptom
/// A network that is wrong and certain has an infinite loss, though its gradient is fine.
///
/// # Caught by
/// Extreme logits; the right loss beside it, on logits of size 1000.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct CrossEntropyOfZero;

impl<T: Scalar> Loss<T> for CrossEntropyOfZero {
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
            let m = (1..classes).fold(logits[at(0)], |m, class| {
                let z = logits[at(class)];
                if z > m || z.is_nan() { z } else { m }
            });
            let sum = (0..classes).fold(T::ZERO, |sum, class| sum + (logits[at(class)] - m).exp());
            let mut loss = T::ZERO;
            for class in 0..classes {
                let q = target_of(target, sample, class, classes);
                let p = (logits[at(class)] - m).exp() / sum;
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
    name: "cross-entropy-of-zero",
    notebook: "E",
    wrong_line: "the loss is -ln(p) of a probability that may have rounded to zero",
    symptom: "an infinite loss from a network that is wrong and certain",
    caught_by: &[Check::Clause(Clause::Extremes), Check::Twin],
    examine: |options| examine_loss(&CrossEntropyOfZero, &SoftmaxCrossEntropy::default(), options),
    stand_in: StandIn::Loss(|| Box::new(CrossEntropyOfZero)),
};
