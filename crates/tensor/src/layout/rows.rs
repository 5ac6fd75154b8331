//! Samples as they come, one after the other, and what a layer may be fed.

use std::ops::Range;

/// How the samples that a layer is fed lie in memory.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a, T> {
    /// As their block says.
    Block(&'a [T]),
    /// One after the other, whatever the block: images as they come.
    Rows(RowView<'a, T>),
}

impl<'a, T> Input<'a, T> {
    /// The samples as their block says.
    ///
    /// # Panics
    /// If they are rows.
    #[track_caller]
    pub fn block(self) -> &'a [T] {
        match self {
            Self::Block(x) => x,
            Self::Rows(_) => panic!("samples laid out as a block are expected, found rows"),
        }
    }
}

/// Samples one after the other, `[sample][feature]`: all features of each, or some that lie side by side.
///
/// ```
/// use byhand_tensor::RowView;
/// let images = RowView::new(3, &[1, 2, 3, 4, 5, 6]);
/// assert_eq!(images.features(1..3).iter().collect::<Vec<_>>(), [&[2, 3], &[5, 6]]);
/// assert_eq!(images.samples(1..2).iter().collect::<Vec<_>>(), [&[4, 5, 6]]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct RowView<'a, T> {
    /// From the first feature of the first sample to the last of the last.
    pub(crate) numbers: &'a [T],
    width: usize,
    /// From one sample to the next.
    pub(crate) stride: usize,
}

impl<'a, T> RowView<'a, T> {
    /// Samples of so many features.
    ///
    /// # Panics
    /// If the numbers are not those of whole samples, or samples have no feature.
    #[track_caller]
    pub fn new(features: usize, numbers: &'a [T]) -> Self {
        let whole = features > 0 && numbers.len().is_multiple_of(features);
        assert!(whole, "{} numbers are no whole rows of {features} features", numbers.len());
        Self { numbers, width: features, stride: features }
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        (self.numbers.len() + self.stride - self.width) / self.stride
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    /// Features of a sample.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Each sample's features.
    pub fn iter(&self) -> impl Iterator<Item = &'a [T]> + use<'a, T> {
        let width = self.width;
        self.numbers.chunks(self.stride).map(move |row| &row[..width])
    }

    /// These features of every sample.
    ///
    /// # Panics
    /// If there are not such, or none.
    #[track_caller]
    pub fn features(self, range: Range<usize>) -> Self {
        let width = range.len();
        assert!(width > 0 && range.end <= self.width, "features {range:?} of {}", self.width);
        let end = self.numbers.len().saturating_sub(self.width - range.end);
        Self { numbers: &self.numbers[range.start.min(end)..end], width, ..self }
    }

    /// These samples.
    ///
    /// # Panics
    /// If there are not such.
    #[track_caller]
    pub fn samples(self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.len(), "samples {range:?} of {}", self.len());
        if range.is_empty() {
            return Self { numbers: &[], ..self };
        }
        let end = (range.end - 1) * self.stride + self.width;
        Self { numbers: &self.numbers[range.start * self.stride..end], ..self }
    }

    /// All of it, where nothing lies between the samples.
    pub fn as_slice(&self) -> Option<&'a [T]> {
        (self.width == self.stride || self.len() < 2).then_some(self.numbers)
    }
}
