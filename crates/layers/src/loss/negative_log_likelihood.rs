//! Negative log-likelihood, on log-probabilities.

use super::{Loss, LossStats, Target, Weighting, clear_dead_lanes, maxima};
use byhand_tensor::{Block, Scalar};

/// Cross-entropy between a target and a network whose outputs `y` are log-probabilities: those of a
/// [log-softmax](crate::LogSoftmax). Together they are [softmax cross-entropy](super::SoftmaxCrossEntropy), in two passes.
///
/// # Formula
/// `loss = - sum over j of w_j * q_j * y_j`, where `q` is the target's row and `w` the [weights](Weighting) of the classes: for a label `k`
/// it is `- w_k * y_k`.
///
/// # Shapes
/// Outputs and `dlogits`: `[C]` a sample, in the layout of the block.
///
/// # Backward
/// ```text
/// dy_j = - scale * w_j * q_j
/// ```
/// A sample with an output that is NaN has a loss of NaN, and the gradient of that output is NaN, whether its label asks for it or not.
///
/// # Memory
/// None.
///
/// # Reference
/// Bridle, "Probabilistic interpretation of feedforward classification network outputs", 1990.
///
/// ```
/// use byhand_layers::Block;
/// use byhand_layers::loss::{Labels, Loss, NegativeLogLikelihood};
/// let (y, mut dy) = ([-1.0f32, -0.5], [0.0; 2]);
/// let stats = NegativeLogLikelihood::default().value_and_gradient(Block::single(1), &y, Labels(&[0]).into(), 0.5, &mut dy);
/// assert_eq!((stats.loss, stats.correct, dy), (1.0, 0, [-0.5, 0.0]));
/// ```
#[derive(Clone, PartialEq, Default, Debug)]
pub struct NegativeLogLikelihood {
    /// What samples count.
    pub weighting: Weighting,
}

impl<T: Scalar> Loss<T> for NegativeLogLikelihood {
    fn value_and_gradient(
        &self,
        block: Block,
        logits: &[T],
        target: Target<'_, T>,
        scale: T,
        dlogits: &mut [T],
    ) -> LossStats {
        let classes = target.classes(block, logits, dlogits, &self.weighting);
        dlogits.fill(T::ZERO);
        let mut stats = LossStats::default();
        for tile in 0..block.tiles() {
            let best = maxima(block, tile, classes, logits);
            for (lane, &best) in best.iter().enumerate().take(block.live(tile)) {
                let sample = tile * block.lanes() + lane;
                if self.weighting.ignores(&target, sample) {
                    continue;
                }
                let mut loss = 0.0;
                for class in 0..classes {
                    let q = T::from_f64(self.weighting.of_class(class)) * target.at(sample, class, classes);
                    let at = block.index(classes, sample, class);
                    // A probability of 0 that nobody asks for is no loss.
                    if q != T::ZERO || logits[at].is_nan() {
                        loss -= q.to_f64() * logits[at].to_f64();
                        dlogits[at] = if logits[at].is_nan() { logits[at] } else { -(scale * q) };
                    }
                }
                stats += LossStats { loss, correct: usize::from(best == target.class(sample, classes)) };
            }
        }
        clear_dead_lanes(block, dlogits, classes);
        stats
    }

    fn weighting(&self) -> &Weighting {
        &self.weighting
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Options, check_loss};

    #[test]
    fn keeps_the_contract() {
        for classes in [2, 5] {
            check_loss(&NegativeLogLikelihood::default(), classes, &Options::default()).assert();
            let weighting = Weighting {
                classes: (0..classes).map(|class| 0.5 + class as f64).collect(),
                ignore: Some(99),
            };
            check_loss(&NegativeLogLikelihood { weighting }, classes, &Options::default()).assert();
        }
    }
}
