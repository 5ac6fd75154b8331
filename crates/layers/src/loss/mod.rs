//! Losses: one number for a minibatch, and its gradient with respect to the network's output.

mod negative_log_likelihood;
mod softmax_cross_entropy;
mod squared_error;
mod weighting;

pub use negative_log_likelihood::NegativeLogLikelihood;
pub use softmax_cross_entropy::SoftmaxCrossEntropy;
pub use squared_error::SquaredError;
pub use weighting::Weighting;

use byhand_tensor::{Block, LANES, Scalar};
use ndarray::{Array2, ArrayView2};
use std::fmt::Debug;
use std::ops::{AddAssign, Range};

/// Integer labels: the class of each live sample of a block.
#[derive(Clone, Copy, Debug)]
pub struct Labels<'a>(pub &'a [u16]);

/// One row `[outputs]` of numbers for each live sample of a block, one row after the other: one-hot, a distribution, or what a regression
/// should give. Losses keep to their formula whatever the rows' sums.
#[derive(Clone, Copy, Debug)]
pub struct TargetRows<'a, T>(pub &'a [T]);

/// What the network should have said. Labels and rows are different types, so that neither is taken for the other.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a, T> {
    /// A class each.
    Labels(Labels<'a>),
    /// A row each.
    Rows(TargetRows<'a, T>),
}

impl<'a, T> From<Labels<'a>> for Target<'a, T> {
    fn from(labels: Labels<'a>) -> Self {
        Self::Labels(labels)
    }
}

impl<'a, T> From<TargetRows<'a, T>> for Target<'a, T> {
    fn from(rows: TargetRows<'a, T>) -> Self {
        Self::Rows(rows)
    }
}

/// What a loss found out about a block.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct LossStats {
    /// Sum over the samples, in their order; not divided by their number.
    pub loss: f64,
    /// Samples whose largest output (the first among equals) is at the target's largest entry.
    pub correct: usize,
}

impl AddAssign for LossStats {
    fn add_assign(&mut self, other: Self) {
        self.loss += other.loss;
        self.correct += other.correct;
    }
}

/// A loss that computes with `T`.
pub trait Loss<T: Scalar>: Debug + Send + Sync {
    /// The loss of a block, and `dlogits = scale * d loss / d logits`, with 0 in dead lanes.
    ///
    /// `scale` is usually `1 / N` for a minibatch of `N` samples, of which the block may be a part; with a
    /// [weighting](Self::weighting) one over what all samples of the minibatch count together. `dlogits` is overwritten. Evaluation makes
    /// the same call and leaves `dlogits` alone.
    ///
    /// # Panics
    /// If the target has not one entry for each live sample, a label that counts is not below the number of classes, or `dlogits` has not
    /// the length of `logits`.
    fn value_and_gradient(
        &self,
        block: Block,
        logits: &[T],
        target: Target<'_, T>,
        scale: T,
        dlogits: &mut [T],
    ) -> LossStats;

    /// What samples count in the mean: by default 1 each.
    fn weighting(&self) -> &Weighting {
        static NONE: Weighting = Weighting::none();
        &NONE
    }
}

impl<'a, T> Target<'a, T> {
    /// The targets of some of the samples, each of which has `outputs` outputs.
    ///
    /// # Panics
    /// If there are not so many samples.
    #[track_caller]
    pub fn of_samples(self, samples: Range<usize>, outputs: usize) -> Self {
        match self {
            Self::Labels(Labels(labels)) => Self::Labels(Labels(&labels[samples])),
            Self::Rows(TargetRows(rows)) => {
                Self::Rows(TargetRows(&rows[samples.start * outputs..samples.end * outputs]))
            }
        }
    }

    /// Whether the targets are classes.
    pub fn is_labels(&self) -> bool {
        matches!(self, Self::Labels(_))
    }
}

/// The softmax of each row of a network's outputs `[samples, outputs]`: `p_j = e^z_j / sum over k of e^z_k`, the probabilities that
/// [`SoftmaxCrossEntropy`] trains. Nothing overflows: the largest `z` of a row is subtracted first.
///
/// ```
/// let p = byhand_layers::loss::softmax(ndarray::array![[0.0f32, 0.0], [1000.0, 0.0]].view());
/// assert_eq!(p, ndarray::array![[0.5, 0.5], [1.0, 0.0]]);
/// ```
pub fn softmax<T: Scalar>(outputs: ArrayView2<'_, T>) -> Array2<T> {
    let (samples, features) = outputs.dim();
    let (z, mut p) = (outputs.as_standard_layout(), Array2::from_elem(outputs.dim(), T::ZERO));
    if !p.is_empty() {
        let z = z.as_slice().expect("in standard layout");
        let p = p.as_slice_mut().expect("in standard layout");
        byhand_tensor::softmax::softmax(Block::single(samples), features, z, p);
    }
    p
}

impl<T: Scalar> Target<'_, T> {
    /// Number of classes, after all lengths are checked.
    #[track_caller]
    fn classes(&self, block: Block, logits: &[T], dlogits: &[T], weighting: &Weighting) -> usize {
        let per_class = block.len(1).max(1);
        let classes = logits.len() / per_class;
        assert_eq!(
            logits.len(),
            block.len(classes),
            "loss: length of logits for {} samples",
            block.samples()
        );
        assert_eq!(dlogits.len(), logits.len(), "loss: length of dlogits against logits");
        let weights = weighting.classes.len();
        assert!(weights == 0 || weights == classes, "loss: {weights} class weights for {classes} classes");
        match self {
            Self::Labels(Labels(labels)) => {
                assert_eq!(labels.len(), block.samples(), "loss: labels against samples of the block");
                for (sample, &label) in
                    labels.iter().enumerate().filter(|(_, l)| weighting.ignore != Some(**l))
                {
                    let label = usize::from(label);
                    assert!(
                        label < classes,
                        "loss: label {label} of sample {sample}: expected below {classes}"
                    );
                }
            }
            Self::Rows(TargetRows(rows)) => {
                let expected = block.samples() * classes;
                assert_eq!(
                    rows.len(),
                    expected,
                    "loss: numbers of target rows for {} samples",
                    block.samples()
                );
            }
        }
        classes
    }

    /// Entry `class` of the row of `sample`.
    #[inline]
    fn at(&self, sample: usize, class: usize, classes: usize) -> T {
        match self {
            Self::Labels(Labels(labels)) if usize::from(labels[sample]) == class => T::ONE,
            Self::Labels(_) => T::ZERO,
            Self::Rows(TargetRows(rows)) => rows[sample * classes + class],
        }
    }

    /// The sum of the row of `sample`, each entry times the weight of its class.
    fn total(&self, sample: usize, classes: usize, weighting: &Weighting) -> f64 {
        match self {
            Self::Labels(Labels(labels)) => weighting.of_class(labels[sample].into()),
            Self::Rows(TargetRows(rows)) => {
                let row = rows[sample * classes..][..classes].iter().enumerate();
                row.fold(0.0, |sum, (class, q)| sum + weighting.of_class(class) * q.to_f64())
            }
        }
    }

    /// The classes of the row of `sample` outside which it is 0.
    fn support(&self, sample: usize, classes: usize) -> Range<usize> {
        match self {
            Self::Labels(Labels(labels)) => usize::from(labels[sample])..usize::from(labels[sample]) + 1,
            Self::Rows(_) => 0..classes,
        }
    }

    /// The class with the largest entry, the first among equals.
    fn class(&self, sample: usize, classes: usize) -> usize {
        match self {
            Self::Labels(Labels(labels)) => usize::from(labels[sample]),
            Self::Rows(TargetRows(rows)) => first_maximum(classes, |class| rows[sample * classes + class]),
        }
    }
}

/// Index of the largest of `n` numbers, the first among equals; NaN is never larger.
fn first_maximum<T: Scalar>(n: usize, at: impl Fn(usize) -> T) -> usize {
    (1..n).fold(0, |best, i| if at(i) > at(best) { i } else { best })
}

/// [`first_maximum`] of the `classes` outputs of each lane of a tile, all lanes at once.
pub(crate) fn maxima<T: Scalar>(block: Block, tile: usize, classes: usize, outputs: &[T]) -> [usize; LANES] {
    let lanes = block.lanes();
    let rows = &outputs[tile * classes * lanes..][..classes * lanes];
    let mut largest = [T::ZERO; LANES];
    largest[..lanes].copy_from_slice(&rows[..lanes]);
    let mut at = [0u32; LANES];
    for (class, row) in rows.chunks_exact(lanes).enumerate() {
        for ((largest, at), &y) in largest.iter_mut().zip(&mut at).zip(row) {
            (*largest, *at) = if y > *largest { (y, class as u32) } else { (*largest, *at) };
        }
    }
    at.map(|class| class as usize)
}

/// Writes 0 into the lanes of the last tile that hold no sample.
fn clear_dead_lanes<T: Scalar>(block: Block, dlogits: &mut [T], classes: usize) {
    let lanes = block.lanes();
    if let Some(last) = block.tiles().checked_sub(1) {
        for row in dlogits[last * classes * lanes..].chunks_exact_mut(lanes) {
            row[block.live(last)..].fill(T::ZERO);
        }
    }
}
