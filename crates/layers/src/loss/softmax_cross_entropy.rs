//! Softmax and cross-entropy, together, on logits.

use super::{Loss, LossStats, Target, Weighting, clear_dead_lanes, maxima};
use crate::error::LayerError;
use byhand_tensor::{Block, Scalar, softmax};

/// Cross-entropy between a target and the softmax of the network's outputs (its logits `z`).
///
/// # Formula
/// `p_j = e^z_j / sum over k of e^z_k`, `loss = - sum over j of q_j * ln(p_j)`, where `q` is the target's row; with label
/// smoothing `s` the row is `(1 - s) * q + s / C` for `C` classes. With [weights](Weighting) `w` of the classes its entries are then
/// `w_j * q_j`.
///
/// It is computed as `loss = sum over j of q_j * (m - z_j) - Q * ln(p_max)`, with `Q` the sum of the `q_j`, `m = max z` and `p_max`, the
/// probability at the maximum, at least `1/C`: nothing overflows, and no logarithm is taken of a probability that rounded to zero. The
/// differences `m - z_j` are taken in f64, so the loss is finite for all finite f32 logits.
///
/// # Shapes
/// Logits and `dlogits`: `[C]` a sample, in the layout of the block.
///
/// # Backward
/// ```text
/// dz_j = scale * (Q * p_j - q_j)        Q = sum over j of q_j, 1 for a label or a distribution
/// ```
///
/// # Memory
/// None: the probabilities are written into `dlogits`, where they become the gradient.
///
/// # Reference
/// Bridle, "Probabilistic interpretation of feedforward classification network outputs", 1990; Szegedy, Vanhoucke, Ioffe,
/// Shlens, Wojna, "Rethinking the Inception architecture", 2016 (label smoothing); Blanchard, Higham, Higham, "Accurately
/// computing the log-sum-exp and softmax functions", 2021.
///
/// ```
/// use byhand_layers::Block;
/// use byhand_layers::loss::{Labels, Loss, SoftmaxCrossEntropy};
/// let (z, mut dz) = ([0.0f32, 0.0], [0.0; 2]);
/// let stats = SoftmaxCrossEntropy::default().value_and_gradient(Block::single(1), &z, Labels(&[1]).into(), 1.0, &mut dz);
/// assert!((stats.loss - f64::ln(2.0)).abs() < 1e-6);
/// assert_eq!(dz, [0.5, -0.5]);
/// ```
#[derive(Clone, PartialEq, Default, Debug)]
pub struct SoftmaxCrossEntropy {
    /// Share of the target that is spread evenly over all classes, at least 0 and below 1. The default is 0.
    pub label_smoothing: f64,
    /// What samples count.
    pub weighting: Weighting,
}

impl SoftmaxCrossEntropy {
    /// That the label smoothing and the weights are in their ranges.
    ///
    /// # Errors
    /// [`LayerError::Value`] when one is not.
    pub fn validate(&self) -> Result<(), LayerError> {
        let layer = "softmax-cross-entropy";
        if (0.0..1.0).contains(&self.label_smoothing) {
            return self.weighting.validate(layer, None);
        }
        let expected = "at least 0 and below 1";
        let found = self.label_smoothing.to_string();
        Err(LayerError::Value { layer, what: "label_smoothing", expected, found })
    }
}

impl<T: Scalar> Loss<T> for SoftmaxCrossEntropy {
    fn value_and_gradient(
        &self,
        block: Block,
        logits: &[T],
        target: Target<'_, T>,
        scale: T,
        dlogits: &mut [T],
    ) -> LossStats {
        let weighting = &self.weighting;
        let classes = target.classes(block, logits, dlogits, weighting);
        let mean = match weighting.classes.len() {
            0 => 1.0,
            n => weighting.classes.iter().fold(0.0, |sum, w| sum + w) / n as f64,
        };
        let keep = T::from_f64(1.0 - self.label_smoothing);
        let spread = T::from_f64(self.label_smoothing / classes as f64);
        softmax::softmax(block, classes, logits, dlogits);
        let mut stats = LossStats::default();
        for tile in 0..block.tiles() {
            let best = maxima(block, tile, classes, logits);
            for (lane, &best) in best.iter().enumerate().take(block.live(tile)) {
                let sample = tile * block.lanes() + lane;
                let at = |class| block.index(classes, sample, class);
                if weighting.ignores(&target, sample) {
                    (0..classes).for_each(|class| dlogits[at(class)] = T::ZERO);
                    continue;
                }
                let m = logits[at(best)].to_f64();
                // Exactly 1 where the row sums to 1 and no class has a weight.
                let total = (1.0 - self.label_smoothing) * target.total(sample, classes, weighting)
                    + self.label_smoothing * mean;
                let mut loss = -total * dlogits[at(best)].ln().to_f64();
                if total != 1.0 {
                    (0..classes).for_each(|class| dlogits[at(class)] *= T::from_f64(total));
                }
                let smooth = spread != T::ZERO;
                for class in if smooth { 0..classes } else { target.support(sample, classes) } {
                    let weight = T::from_f64(weighting.of_class(class));
                    let q = weight * (keep * target.at(sample, class, classes) + spread);
                    if q != T::ZERO {
                        loss += q.to_f64() * (m - logits[at(class)].to_f64());
                        dlogits[at(class)] -= q;
                    }
                }
                stats += LossStats { loss, correct: usize::from(best == target.class(sample, classes)) };
            }
        }
        dlogits.iter_mut().for_each(|d| *d = scale * *d);
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
    use crate::loss::{Labels, TargetRows};

    #[test]
    fn keeps_the_contract() {
        for label_smoothing in [0.0, 0.1] {
            for classes in [2, 5, 10] {
                let weights = (0..classes).map(|class| 0.25 + class as f64).collect();
                for weighting in [Weighting::none(), Weighting { classes: weights, ignore: Some(99) }] {
                    let loss = SoftmaxCrossEntropy { label_smoothing, weighting };
                    check_loss(&loss, classes, &Options::default()).assert();
                }
            }
        }
    }

    #[test]
    fn chance_level_is_the_logarithm_of_the_classes() {
        let mut dz = [0.0f64; 10];
        let stats = SoftmaxCrossEntropy::default().value_and_gradient(
            Block::single(1),
            &[7.5; 10],
            Labels(&[3]).into(),
            1.0,
            &mut dz,
        );
        assert!((stats.loss - 10f64.ln()).abs() < 1e-14, "{}", stats.loss);
        assert_eq!(stats.correct, 0, "the first of equal outputs is class 0");
    }

    #[test]
    fn a_wrong_and_certain_network_has_a_finite_loss_of_the_right_size() {
        let mut dz = [0.0f32; 2];
        let mut loss = |z: [f32; 2], label| {
            let target = Labels(std::slice::from_ref(&label)).into();
            let loss = SoftmaxCrossEntropy::default();
            loss.value_and_gradient(Block::single(1), &z, target, 1.0, &mut dz).loss
        };
        assert_eq!(loss([3e38, -3e38], 1), 2.0 * f64::from(3e38f32));
        assert_eq!(loss([3e38, -3e38], 0), 0.0);
        assert_eq!(loss([1000.0, 0.0], 1), 1000.0);
        assert!(loss([f32::NAN, 0.0], 1).is_nan() && loss([0.0, f32::NAN], 0).is_nan());
    }

    #[test]
    fn rows_of_any_sum_have_the_loss_of_the_formula() {
        let (z, q) = ([0.5f64, -1.0, 2.0], [2.0, 0.5, 0.0]);
        let sum: f64 = z.iter().map(|z| z.exp()).sum();
        let p = z.map(|z| z.exp() / sum);
        for (label_smoothing, q) in [(0.0, q), (0.1, q.map(|q| 0.9 * q + 0.1 / 3.0))] {
            let (mut dz, loss) = ([0.0; 3], SoftmaxCrossEntropy { label_smoothing, ..Default::default() });
            let target = TargetRows(&[2.0, 0.5, 0.0]).into();
            let stats = loss.value_and_gradient(Block::single(1), &z, target, 0.25, &mut dz);
            let total: f64 = q.iter().sum();
            let expected: f64 = q.iter().zip(p).map(|(q, p)| -q * p.ln()).sum();
            assert!((stats.loss - expected).abs() < 1e-14, "{} against {expected}", stats.loss);
            for ((dz, q), p) in dz.iter().zip(q).zip(p) {
                let expected = 0.25 * (total * p - q);
                assert!((dz - expected).abs() < 1e-15, "{dz} against {expected}");
            }
        }
    }

    /// Whatever the label: it need not be a class.
    #[test]
    fn an_ignored_sample_has_no_loss_and_no_gradient() {
        let weighting = Weighting { ignore: Some(7), ..Weighting::none() };
        let (z, mut dz) = ([f32::NAN, 1.0, 0.5, 2.0], [9.0; 4]);
        let loss = SoftmaxCrossEntropy { weighting, ..Default::default() };
        let stats = loss.value_and_gradient(Block::single(2), &z, Labels(&[7, 1]).into(), 1.0, &mut dz);
        assert_eq!((dz[0], dz[1], stats.correct), (0.0, 0.0, 1));
        let alone =
            loss.value_and_gradient(Block::single(1), &z[2..], Labels(&[1]).into(), 1.0, &mut [0.0; 2]);
        assert_eq!(stats, alone);
    }

    #[test]
    fn accurate_for_large_and_close_logits() {
        let mut dz = [0.0f32; 2];
        let loss = SoftmaxCrossEntropy::default().value_and_gradient(
            Block::single(1),
            &[100_000.0, 100_000.5],
            TargetRows(&[1.0, 0.0]).into(),
            1.0,
            &mut dz,
        );
        let exact = 0.5f64.exp().ln_1p();
        assert!((loss.loss - exact).abs() < 1e-6, "{} against {exact}", loss.loss);
    }
}
