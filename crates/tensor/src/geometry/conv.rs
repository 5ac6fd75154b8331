//! The shapes of a two-dimensional convolution.

use super::window::{Slide, Windows, check_input, windows};
use crate::error::{GeometryError, MAX_ELEMENTS, MAX_PADDED, check_product};
use crate::layout::LANES;

/// The name in errors.
const NAME: &str = "conv";

/// The largest kernel, in taps.
pub(crate) const MAX_TAPS: usize = 1024;

/// Whether Winograd's transforms are paid for: by sixteen channels or more on each side, unless those that fill up vectors cost what the
/// products save.
fn pays_winograd(c_in: usize, c_out: usize) -> bool {
    let padded = c_in.next_multiple_of(LANES) * c_out.next_multiple_of(LANES);
    c_in.min(c_out) >= LANES && padded < 2 * c_in * c_out
}

/// The geometry of a 2-D convolution (cross-correlation, as in every framework) and its kernels.
///
/// `y[o, i, j] = b[o] + sum_{c, u, v} w[o, c, u, v] * x[c, i * stride + u - pad, j * stride + v - pad]`, zero outside `x`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Conv2d {
    // Kernels rely on what `new` checked: nobody outside can change it.
    pub(crate) c_in: usize,
    pub(crate) h_in: usize,
    pub(crate) w_in: usize,
    pub(crate) c_out: usize,
    pub(crate) kernel: [usize; 2],
    pub(crate) stride: [usize; 2],
    pub(crate) pad: [usize; 2],
    /// Whether single samples are convolved by Winograd's filtering; else every pass multiplies each pixel by each tap, as the
    /// formula reads.
    pub(crate) winograd: bool,
}

impl Conv2d {
    /// Checks the geometry; `input` is `[channels, rows, columns]`.
    ///
    /// # Errors
    /// A zero size, a kernel larger than its padded input, padding as large as the kernel, a kernel of more than
    /// 1024 taps, or more than 2^28 numbers (2^24 where an address has 32 bits).
    pub fn new(
        input: [usize; 3],
        c_out: usize,
        kernel: [usize; 2],
        stride: [usize; 2],
        pad: [usize; 2],
    ) -> Result<Self, GeometryError> {
        check_input(NAME, input)?;
        let ([c_in, h_in, w_in], [kh, kw], [ph, pw]) = (input, kernel, pad);
        check_product(NAME, "the input", &input, MAX_ELEMENTS)?;
        if c_out == 0 {
            return Err(GeometryError::Zero { kernel: NAME, what: "output channels" });
        }
        check_product(NAME, "the weight", &[c_out, c_in, kh, kw], MAX_ELEMENTS)?;
        for (axis, name, input) in [(0, "rows", h_in), (1, "columns", w_in)] {
            let slide =
                Slide { taps: kernel[axis], stride: stride[axis], pad: [pad[axis]; 2], ..Slide::default() };
            Windows::new(NAME, name, input, slide)?;
        }
        check_product(NAME, "a kernel", &kernel, MAX_TAPS)?;
        // A longer stride has the same one output, and would only make numbers large.
        let stride = [stride[0].min(h_in + 2 * ph), stride[1].min(w_in + 2 * pw)];
        let winograd = kernel == [3, 3] && stride == [1, 1] && pays_winograd(c_in, c_out);
        let conv = Self { c_in, h_in, w_in, c_out, kernel, stride, pad, winograd };
        check_product(NAME, "the output", &[c_out, conv.h_out(), conv.w_out()], MAX_ELEMENTS)?;
        // No kernel lays out more: an image with its padding and the reach of the taps.
        let padded = [c_in.max(c_out), h_in + 2 * ph + kh, w_in + 2 * pw + kw];
        check_product(NAME, "the padded image", &padded, MAX_PADDED)?;
        Ok(conv)
    }

    /// Input channels.
    pub fn c_in(&self) -> usize {
        self.c_in
    }

    /// Input rows.
    pub fn h_in(&self) -> usize {
        self.h_in
    }

    /// Input columns.
    pub fn w_in(&self) -> usize {
        self.w_in
    }

    /// Output channels.
    pub fn c_out(&self) -> usize {
        self.c_out
    }

    /// Kernel rows and columns.
    pub fn kernel(&self) -> [usize; 2] {
        self.kernel
    }

    /// Stride along rows and columns: no more than the rows and columns of the padded input, whatever was asked for.
    pub fn stride(&self) -> [usize; 2] {
        self.stride
    }

    /// Zeros added on each side, along rows and columns.
    pub fn pad(&self) -> [usize; 2] {
        self.pad
    }

    /// The same convolution by its direct kernels, never by Winograd's: to compare with.
    #[must_use]
    pub fn direct(self) -> Self {
        Self { winograd: false, ..self }
    }

    /// Whether it is computed by Winograd's minimal filtering: kernels of 3x3, stride 1, many channels.
    pub fn is_winograd(&self) -> bool {
        self.winograd
    }

    /// Output rows.
    #[inline]
    pub fn h_out(&self) -> usize {
        windows(self.h_in, self.kernel[0], self.stride[0], self.pad[0])
    }

    /// Output columns.
    #[inline]
    pub fn w_out(&self) -> usize {
        windows(self.w_in, self.kernel[1], self.stride[1], self.pad[1])
    }

    /// Features of the input.
    #[inline]
    pub fn inputs(&self) -> usize {
        self.c_in * self.h_in * self.w_in
    }

    /// Features of the output.
    #[inline]
    pub fn outputs(&self) -> usize {
        self.c_out * self.h_out() * self.w_out()
    }

    /// Numbers in the weight `[c_out, c_in, kh, kw]`.
    #[inline]
    pub fn weight_len(&self) -> usize {
        self.c_out * self.taps()
    }

    /// Taps of a kernel over all input channels.
    #[inline]
    pub(crate) fn taps(&self) -> usize {
        self.c_in * self.kernel[0] * self.kernel[1]
    }
}
