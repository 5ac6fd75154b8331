//! Where the numbers of a correlation lie.

use crate::layout::LANES;

/// How a source lies in memory, in numbers: from one target to the next, one tap to the next, one row to the next, one channel
/// to the next; and lanes of a target.
#[derive(Clone, Copy)]
pub(crate) struct Strides {
    pub(crate) pixel: usize,
    pub(crate) tap: usize,
    pub(crate) pitch: usize,
    pub(crate) plane: usize,
    pub(crate) lanes: usize,
}

impl Strides {
    /// Sixteen samples side by side, `rows` of `columns` pixels.
    pub(crate) fn tiled([rows, columns]: [usize; 2]) -> Self {
        let pitch = columns * LANES;
        Self { pixel: LANES, tap: LANES, pitch, plane: rows * pitch, lanes: LANES }
    }

    /// One sample, pixel by pixel.
    pub(crate) fn single([rows, pitch]: [usize; 2]) -> Self {
        Self { pixel: 1, tap: 1, pitch, plane: rows * pitch, lanes: 1 }
    }
}

/// Where the targets of a row lie: output channel 0 of column 0, from a output channel to the next, from a column to the next.
#[derive(Clone, Copy)]
pub(crate) struct Targets<T> {
    pub(crate) y: *mut T,
    pub(crate) plane: usize,
    pub(crate) step: usize,
}
