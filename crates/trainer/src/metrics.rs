//! Figures that say how good predictions are.

use std::fmt;

use ndarray::{Array2, ArrayView2};

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

/// A table: a row a true class, a column a predicted one, and the share recognised.
impl fmt::Display for Confusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.0.iter().max().map_or(1, |most| most.to_string().len()).max(3) + 1;
        write!(f, "true \\ as")?;
        for class in 0..self.0.ncols() {
            write!(f, "{class:>width$}")?;
        }
        writeln!(f, "  recognised")?;
        for ((class, row), share) in self.0.rows().into_iter().enumerate().zip(self.per_class_accuracy()) {
            write!(f, "{class:>9}")?;
            for count in row {
                write!(f, "{count:>width$}")?;
            }
            match share {
                Some(share) => writeln!(f, "  {:>8.2} %", 100.0 * share)?,
                None => writeln!(f, "           -")?,
            }
        }
        Ok(())
    }
}

/// The root of the mean of the squared differences, over all elements: `sqrt(sum (y - t)^2 / (samples * features))`.
///
/// # Panics
/// When the shapes differ.
#[track_caller]
pub fn rmse(y: ArrayView2<'_, f32>, target: ArrayView2<'_, f32>) -> f64 {
    assert!(y.dim() == target.dim(), "predictions of shape {:?}, targets of {:?}", y.dim(), target.dim());
    let squares: f64 = y.iter().zip(target).map(|(&y, &t)| (f64::from(y) - f64::from(t)).powi(2)).sum();
    (squares / y.len() as f64).sqrt()
}

/// The share of rows whose largest prediction is where the largest target is; NaN without rows.
///
/// # Panics
/// When the shapes differ or there are no columns.
#[track_caller]
pub fn accuracy_one_hot(y: ArrayView2<'_, f32>, target: ArrayView2<'_, f32>) -> f64 {
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
pub fn argmax<'a>(values: impl IntoIterator<Item = &'a f32>) -> usize {
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
        let table = confusion.to_string();
        assert!(table.contains("50.00 %") && table.lines().count() == 4, "{table}");
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
