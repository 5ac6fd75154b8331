//! The shapes of a two-dimensional pooling.

use super::window::{check_input, check_window, windows};
use crate::error::{GeometryError, MAX_ELEMENTS, check_product};

/// The geometry of 2-D pooling (no padding; what no window covers is left out) and its kernels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pool2d {
    // Kernels rely on what `new` checked: nobody outside can change it.
    pub(crate) c: usize,
    pub(crate) h_in: usize,
    pub(crate) w_in: usize,
    pub(crate) window: [usize; 2],
    pub(crate) stride: [usize; 2],
}

impl Pool2d {
    /// Checks the geometry; `input` is `[channels, rows, columns]`.
    ///
    /// # Errors
    /// A zero size, a window larger than the input, or more than 2^28 numbers.
    pub fn new(input: [usize; 3], window: [usize; 2], stride: [usize; 2]) -> Result<Self, GeometryError> {
        const NAME: &str = "pool";
        check_input(NAME, input)?;
        let [c, h_in, w_in] = input;
        check_product(NAME, "the input", &input, MAX_ELEMENTS)?;
        check_window(NAME, [h_in, w_in], window, stride, [0, 0])?;
        Ok(Self { c, h_in, w_in, window, stride })
    }

    /// Channels.
    pub fn c(&self) -> usize {
        self.c
    }

    /// Input rows.
    pub fn h_in(&self) -> usize {
        self.h_in
    }

    /// Input columns.
    pub fn w_in(&self) -> usize {
        self.w_in
    }

    /// Window rows and columns.
    pub fn window(&self) -> [usize; 2] {
        self.window
    }

    /// Stride along rows and columns.
    pub fn stride(&self) -> [usize; 2] {
        self.stride
    }

    /// Output rows.
    #[inline]
    pub fn h_out(&self) -> usize {
        windows(self.h_in, self.window[0], self.stride[0], 0)
    }

    /// Output columns.
    #[inline]
    pub fn w_out(&self) -> usize {
        windows(self.w_in, self.window[1], self.stride[1], 0)
    }

    /// Features of the input.
    #[inline]
    pub fn inputs(&self) -> usize {
        self.c * self.h_in * self.w_in
    }

    /// Features of the output.
    #[inline]
    pub fn outputs(&self) -> usize {
        self.c * self.h_out() * self.w_out()
    }
}
