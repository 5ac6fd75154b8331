//! The gradient of a convolution's outputs, as the weight gradient reads it.

/// The gradient of the outputs of one tile: `rows` of `columns` pixels, `plane` numbers from one channel to the next.
#[derive(Clone, Copy)]
pub(crate) struct Gradient<'a, T> {
    pub(crate) dy: &'a [T],
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) plane: usize,
}
