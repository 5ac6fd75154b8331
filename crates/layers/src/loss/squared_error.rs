//! Half the squared distance between output and target.

use super::{Loss, LossStats, Target, Weighting, clear_dead_lanes, first_maximum};
use byhand_tensor::{Block, Scalar};

/// Half the squared distance between the network's output `y` and the target's row `t`.
///
/// # Formula
/// `loss = 1/2 * sum over j of (y_j - t_j)^2`, a sum over the outputs, not a mean. (A mean over `C` outputs without the half,
/// as in PyTorch's `mse_loss`, is `2/C` times this: give `scale` that factor.)
///
/// # Shapes
/// Outputs and `dlogits`: `[C]` a sample, in the layout of the block. Integer labels stand for their one-hot rows.
///
/// # Backward
/// ```text
/// dy_j = scale * (y_j - t_j)
/// ```
///
/// # Memory
/// None.
///
/// # Reference
/// Rumelhart, Hinton, Williams, "Learning representations by back-propagating errors", 1986.
///
/// ```
/// use byhand_layers::Block;
/// use byhand_layers::loss::{Loss, TargetRows, SquaredError};
/// let (y, mut dy) = ([1.0f32, 3.0], [0.0; 2]);
/// let stats = SquaredError.value_and_gradient(Block::single(1), &y, TargetRows(&[0.0, 1.0]).into(), 1.0, &mut dy);
/// assert_eq!((stats.loss, stats.correct, dy), (2.5, 1, [1.0, 2.0]));
/// ```
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct SquaredError;

impl<T: Scalar> Loss<T> for SquaredError {
    fn value_and_gradient(
        &self,
        block: Block,
        logits: &[T],
        target: Target<'_, T>,
        scale: T,
        dlogits: &mut [T],
    ) -> LossStats {
        let classes = target.classes(block, logits, dlogits, &Weighting::none());
        let mut stats = LossStats::default();
        for sample in 0..block.samples() {
            let at = |class| block.index(classes, sample, class);
            let best = first_maximum(classes, |class| logits[at(class)]);
            let mut loss = 0.0;
            for class in 0..classes {
                let (y, t) = (logits[at(class)], target.at(sample, class, classes));
                let difference = y.to_f64() - t.to_f64();
                loss += 0.5 * difference * difference;
                dlogits[at(class)] = scale * (y - t);
            }
            stats += LossStats { loss, correct: usize::from(best == target.class(sample, classes)) };
        }
        clear_dead_lanes(block, dlogits, classes);
        stats
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Options, check_loss};

    #[test]
    fn keeps_the_contract() {
        for classes in [1, 2, 5, 10] {
            check_loss(&SquaredError, classes, &Options::default()).assert();
        }
    }
}
