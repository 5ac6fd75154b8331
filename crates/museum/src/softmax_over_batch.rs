//! Softmax that normalises over the whole minibatch.

use byhand_layers::check::Clause;
use byhand_layers::loss::{Loss, LossStats, SoftmaxCrossEntropy, Target};
use byhand_layers::{Block, Scalar};

use crate::piece::{Check, Piece, StandIn, examine_loss, is_correct, target_of};

/// Softmax whose sum runs over the whole array: all classes of all samples.
///
/// # Wrong
/// ```text
/// p = exp(z) / sum(exp(z))
/// ```
/// # Right
/// ```text
/// p = exp(z) / sum(exp(z), axis = classes)
/// ```
/// # Symptom
/// None with a batch of 1. Else probabilities sum to 1 over the minibatch, and every sample is pushed by all the others.
///
/// # Caught by
/// Samples that depend on each other; differences.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct SoftmaxOverBatch;

impl<T: Scalar> Loss<T> for SoftmaxOverBatch {
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
            let all = (0..block.samples()).flat_map(|s| (0..classes).map(move |class| (s, class)));
            let sum = all.fold(T::ZERO, |sum, (s, class)| sum + logits[block.index(classes, s, class)].exp());
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
    name: "softmax-over-batch",
    notebook: "B",
    wrong_line: "the sum of the softmax runs over the whole array, not over the classes of one sample",
    symptom: "none with a batch of 1; else samples push each other",
    caught_by: &[
        Check::Clause(Clause::SampleIndependence),
        Check::Clause(Clause::CentralDifference),
        Check::Clause(Clause::FourPointDifference),
        Check::Clause(Clause::NanTravels),
        Check::Twin,
    ],
    examine: |options| examine_loss(&SoftmaxOverBatch, &SoftmaxCrossEntropy::default(), options),
    stand_in: StandIn::Loss(|| Box::new(SoftmaxOverBatch)),
};
