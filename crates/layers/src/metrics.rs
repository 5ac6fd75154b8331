//! Figures that say how good predictions are.

use byhand_tensor::Scalar;
use ndarray::{Array2, ArrayView2};

use crate::loss::Target;

/// How good a network is on some samples.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// Samples looked at.
    pub samples: usize,
    /// Mean loss, of what samples count where the loss weighs them; NaN where none counts.
    pub loss: f64,
    /// Who was taken for what. Without classes where targets are rows of numbers.
    pub confusion: Confusion,
}

impl Evaluation {
    /// The share of samples classified correctly; NaN where there are no classes.
    pub fn accuracy(&self) -> f64 {
        self.confusion.accuracy()
    }
}

/// A confusion matrix: how many samples of class `t` were taken for class `p`, at `[t, p]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confusion(Array2<u64>);

impl Confusion {
    /// No sample yet.
    pub fn new(classes: usize) -> Confusion {
        Confusion(Array2::zeros((classes, classes)))
    }

    /// Counts a sample of class `truth` that was taken for `predicted`.
    ///
    /// # Panics
    /// When either is no class.
    #[track_caller]
    pub fn count(&mut self, truth: usize, predicted: usize) {
        let classes = self.0.nrows();
        assert!(truth < classes && predicted < classes, "classes {truth} and {predicted} of {classes}");
        self.0[[truth, predicted]] += 1;
    }

    /// Counts samples whose targets are labels by their outputs, one row `[classes]` each; others not.
    ///
    /// # Panics
    /// When a label is no class.
    #[track_caller]
    pub fn count_outputs<T: Scalar>(&mut self, outputs: &[T], target: Target<'_, T>) {
        self.count_where(|_| true, outputs, target);
    }

    /// The same of those with some labels alone.
    #[track_caller]
    pub(crate) fn count_where<T: Scalar>(
        &mut self,
        counts: impl Fn(u16) -> bool,
        outputs: &[T],
        target: Target<'_, T>,
    ) {
        if let Target::Labels(labels) = target {
            for (row, &label) in
                outputs.chunks_exact(self.0.ncols()).zip(labels.0).filter(|(_, label)| counts(**label))
            {
                self.count(usize::from(label), argmax(row));
            }
        }
    }

    /// Adds the counts of another matrix of the same size.
    ///
    /// # Panics
    /// When the sizes differ.
    #[track_caller]
    pub fn add(&mut self, other: &Confusion) {
        assert!(self.0.dim() == other.0.dim(), "{} classes and {}", self.0.nrows(), other.0.nrows());
        self.0 += &other.0;
    }

    /// The counts, `[true class, predicted class]`.
    pub fn counts(&self) -> ArrayView2<'_, u64> {
        self.0.view()
    }

    /// All samples counted.
    pub fn samples(&self) -> u64 {
        self.0.sum()
    }

    /// Samples taken for what they are.
    pub fn correct(&self) -> u64 {
        self.0.diag().sum()
    }

    /// `correct / samples`; NaN without samples.
    pub fn accuracy(&self) -> f64 {
        self.correct() as f64 / self.samples() as f64
    }

    /// For each class, the share of its samples that was recognised (its recall); none for a class without samples.
    pub fn per_class_accuracy(&self) -> Vec<Option<f64>> {
        let share = |(class, row): (usize, ndarray::ArrayView1<'_, u64>)| {
            let samples = row.sum();
            (samples > 0).then(|| row[class] as f64 / samples as f64)
        };
        self.0.rows().into_iter().enumerate().map(share).collect()
    }
}

/// The root of the mean of the squared differences, over all elements: `sqrt(sum (y - t)^2 / (samples * features))`; NaN without elements.
///
/// # Panics
/// When the shapes differ.
#[track_caller]
pub fn rmse<T: Scalar>(y: ArrayView2<'_, T>, target: ArrayView2<'_, T>) -> f64 {
    assert!(y.dim() == target.dim(), "predictions of shape {:?}, targets of {:?}", y.dim(), target.dim());
    let squares: f64 = y.iter().zip(target).map(|(&y, &t)| (y.to_f64() - t.to_f64()).powi(2)).sum();
    (squares / y.len() as f64).sqrt()
}

/// The share of rows whose largest prediction is where the largest target is; NaN without rows.
///
/// # Panics
/// When the shapes differ or there are no columns.
#[track_caller]
pub fn accuracy_one_hot<T: Scalar>(y: ArrayView2<'_, T>, target: ArrayView2<'_, T>) -> f64 {
    assert!(y.dim() == target.dim(), "predictions of shape {:?}, targets of {:?}", y.dim(), target.dim());
    let correct =
        y.rows().into_iter().zip(target.rows()).filter(|(y, t)| argmax(y.iter()) == argmax(t.iter()));
    correct.count() as f64 / y.nrows() as f64
}

/// Where the first maximum is; a NaN is larger than any number.
///
/// # Panics
/// When there is no value.
#[track_caller]
pub fn argmax<'a, T: Scalar>(values: impl IntoIterator<Item = &'a T>) -> usize {
    let mut values = values.into_iter().enumerate();
    let (mut at, mut most) = values.next().expect("the largest of no values");
    for (i, value) in values {
        if value > most || (value.is_nan() && !most.is_nan()) {
            (at, most) = (i, value);
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn confusion_of_five_samples() {
        let mut confusion = Confusion::new(3);
        for (truth, predicted) in [(0, 0), (0, 1), (1, 1), (1, 1), (1, 0)] {
            confusion.count(truth, predicted);
        }
        assert_eq!(confusion.counts(), array![[1, 1, 0], [1, 2, 0], [0, 0, 0]]);
        assert_eq!((confusion.samples(), confusion.correct()), (5, 3));
        assert_eq!(confusion.accuracy(), 0.6);
        assert_eq!(confusion.per_class_accuracy(), [Some(0.5), Some(2.0 / 3.0), None]);
    }

    #[test]
    fn errors_and_hits_of_rows() {
        let y = array![[0.0, 1.0], [2.0, 0.0], [0.5, 0.5]];
        let target = array![[0.0, 1.0], [0.0, 1.0], [1.0, 0.0]];
        // Squares: 0, 0, 4, 1, 0.25, 0.25.
        assert!((rmse(y.view(), target.view()) - (5.5_f64 / 6.0).sqrt()).abs() < 1e-15);
        assert!((accuracy_one_hot(y.view(), target.view()) - 2.0 / 3.0).abs() < 1e-15);
    }

    #[test]
    fn the_first_maximum_counts_and_nan_travels() {
        assert_eq!(argmax(&[1.0, 3.0, 3.0]), 1);
        assert_eq!(argmax(&[1.0, f32::NAN, 3.0, f32::NAN]), 1);
        assert_eq!(argmax(&[f32::NEG_INFINITY]), 0);
    }
}
