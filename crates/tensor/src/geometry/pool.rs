//! The shapes of a two-dimensional pooling.

use super::window::{Slide, Windows, check_input};
use crate::error::{GeometryError, MAX_ELEMENTS, check_product};

/// The geometry of 2-D pooling and its kernels. Without [options](PoolOptions) there is no padding, and what no window covers is left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pool2d {
    // Kernels rely on what `new` checked: nobody outside can change it.
    pub(crate) c: usize,
    pub(crate) rows: Windows,
    pub(crate) columns: Windows,
    pub(crate) counts_pad: bool,
}

/// Windows of a pooling along rows and columns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PoolOptions {
    /// Rows and columns of a window.
    pub window: [usize; 2],
    /// From one window to the next.
    pub stride: [usize; 2],
    /// From one tap of a window to the next.
    pub dilation: [usize; 2],
    /// Padding above, left, below and right of the image. A maximum never sees it.
    pub pad: [usize; 4],
    /// Whether the number of windows is rounded up: a last window that begins in the image or in the padding above or left of it may
    /// stick out.
    pub ceil: bool,
    /// Whether a mean counts the zeros of the padding; what sticks out of it is never counted.
    pub counts_pad: bool,
}

impl PoolOptions {
    /// Windows that go by so many rows and columns, without padding.
    pub const fn new(window: [usize; 2], stride: [usize; 2]) -> Self {
        Self { window, stride, dilation: [1, 1], pad: [0; 4], ceil: false, counts_pad: true }
    }
}

impl Pool2d {
    /// Checks the geometry; `input` is `[channels, rows, columns]`.
    ///
    /// # Errors
    /// A zero size, a window larger than the input, or more than 2^28 numbers.
    pub fn new(input: [usize; 3], window: [usize; 2], stride: [usize; 2]) -> Result<Self, GeometryError> {
        Self::with_options(input, PoolOptions::new(window, stride))
    }

    /// The same with padding, dilation, or rounded up.
    ///
    /// # Errors
    /// A zero size; padding as large as a window's reach; a window that reaches beyond the padded input, or sees none of it; or more than
    /// 2^28 numbers.
    pub fn with_options(input: [usize; 3], options: PoolOptions) -> Result<Self, GeometryError> {
        const NAME: &str = "pool";
        check_input(NAME, input)?;
        check_product(NAME, "the input", &input, MAX_ELEMENTS)?;
        let PoolOptions { window, stride, dilation, pad: [top, left, bottom, right], ceil, counts_pad } =
            options;
        let along = |axis: usize, name, pad| {
            let slide =
                Slide { taps: window[axis], stride: stride[axis], dilation: dilation[axis], pad, ceil };
            Windows::new(NAME, name, input[1 + axis], slide)
        };
        let (rows, columns) = (along(0, "rows", [top, bottom])?, along(1, "columns", [left, right])?);
        check_product(NAME, "a window", &window, MAX_ELEMENTS)?;
        check_product(NAME, "the output", &[input[0], rows.count(), columns.count()], MAX_ELEMENTS)?;
        Ok(Self { c: input[0], rows, columns, counts_pad })
    }

    /// The same over one channel.
    #[must_use]
    pub fn of_one_channel(&self) -> Self {
        Self { c: 1, ..*self }
    }

    /// Channels.
    pub fn c(&self) -> usize {
        self.c
    }

    /// Input rows.
    #[inline]
    pub fn h_in(&self) -> usize {
        self.rows.input()
    }

    /// Input columns.
    #[inline]
    pub fn w_in(&self) -> usize {
        self.columns.input()
    }

    /// Window rows and columns.
    #[inline]
    pub fn window(&self) -> [usize; 2] {
        [self.rows.slide().taps, self.columns.slide().taps]
    }

    /// Stride along rows and columns: no more than the rows and columns of the padded input or of a window, whatever was asked for.
    #[inline]
    pub fn stride(&self) -> [usize; 2] {
        [self.rows.slide().stride, self.columns.slide().stride]
    }

    /// The windows along rows, and along columns.
    pub fn windows(&self) -> [&Windows; 2] {
        [&self.rows, &self.columns]
    }

    /// Whether every tap of every window sees a pixel, and taps are neighbours.
    pub fn is_plain(&self) -> bool {
        self.rows.is_plain() && self.columns.is_plain()
    }

    /// What the mean of window `(i, j)` divides by: its taps that see a pixel, or those that lie in the image or its padding.
    #[inline]
    pub fn divisor(&self, i: usize, j: usize) -> usize {
        if self.counts_pad {
            self.rows.within(i) * self.columns.within(j)
        } else {
            self.rows.seen(i).len() * self.columns.seen(j).len()
        }
    }

    /// Output rows.
    #[inline]
    pub fn h_out(&self) -> usize {
        self.rows.count()
    }

    /// Output columns.
    #[inline]
    pub fn w_out(&self) -> usize {
        self.columns.count()
    }

    /// Features of the input.
    #[inline]
    pub fn inputs(&self) -> usize {
        self.c * self.h_in() * self.w_in()
    }

    /// Features of the output.
    #[inline]
    pub fn outputs(&self) -> usize {
        self.c * self.h_out() * self.w_out()
    }
}
