//! The gradient of a convolution's outputs, as the weight gradient reads it.

/// The gradient of the outputs of one tile: `rows` of `columns` pixels, `plane` numbers from one channel to the next.
#[derive(Clone, Copy)]
pub(crate) struct Gradient<'a, T> {
    pub(crate) dy: &'a [T],
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) plane: usize,
}

/// Pixels of a group of rows.
const GROUP: usize = 400;

impl<T> Gradient<'_, T> {
    /// Output rows in groups: a row of dy is read once for each input channel and kernel row, so a block's share of a
    /// group must stay in the first cache; and long sums cost less.
    pub(super) fn rows_at_once(&self) -> usize {
        (GROUP / self.columns).max(1)
    }
}
