//! What can be wrong with a geometry, and with arrays.

use std::fmt;
use thiserror::Error;

/// A geometry that no kernel can compute: names the kernel, what was expected and what was found.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GeometryError {
    /// A size that must be at least one is zero.
    #[error("{kernel}: {what} must be at least 1, found 0")]
    Zero {
        /// The kernel that refused.
        kernel: &'static str,
        /// Which size.
        what: &'static str,
    },
    /// The window does not fit into its (padded) input.
    #[error(
        "{kernel}: the window must fit into the input, found a window of {window} {axis} in an input of {input} {axis} \
         with {}", Padding(*pad)
    )]
    WindowTooLarge {
        /// The kernel that refused.
        kernel: &'static str,
        /// `rows` or `columns`.
        axis: &'static str,
        /// What a window reaches over along the axis, the gaps between its taps included.
        window: usize,
        /// Input size along the axis.
        input: usize,
        /// Padding before and behind.
        pad: [usize; 2],
    },
    /// Padding as large as the kernel makes outputs that see nothing but padding.
    #[error(
        "{kernel}: padding must be smaller than the window, found padding {pad} for a window of {window} {axis}"
    )]
    PadTooLarge {
        /// The kernel that refused.
        kernel: &'static str,
        /// `rows` or `columns`.
        axis: &'static str,
        /// What a window reaches over along the axis, the gaps between its taps included.
        window: usize,
        /// Padding of one side.
        pad: usize,
    },
    /// Taps that lie further apart than the image is long make a window that steps over it.
    #[error(
        "{kernel}: each window must see a pixel, found one that steps over all {input} {axis} with taps {dilation} apart"
    )]
    Unseeing {
        /// The kernel that refused.
        kernel: &'static str,
        /// `rows` or `columns`.
        axis: &'static str,
        /// From one tap to the next.
        dilation: usize,
        /// Input size along the axis.
        input: usize,
    },
    /// The sizes multiply to more numbers than a kernel may address.
    #[error("{kernel}: {what} must hold at most {limit} numbers, the given sizes make more")]
    TooLarge {
        /// The kernel that refused.
        kernel: &'static str,
        /// What is too large.
        what: &'static str,
        /// The largest allowed number of elements.
        limit: usize,
    },
}

/// Arrays that no kernel can compute with: names the kernel, what was expected and what was found.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ArrayError {
    /// The sizes make a geometry that cannot be.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    /// An array has another shape than the others ask for.
    #[error("{kernel}: {operand} must have the shape {}, found {}", Shape(expected), Shape(found))]
    Shape {
        /// The kernel that refused.
        kernel: &'static str,
        /// The array.
        operand: &'static str,
        /// Its sizes as the other arrays ask for them.
        expected: Vec<usize>,
        /// Its sizes.
        found: Vec<usize>,
    },
}

/// Padding as people say it: `1 of padding on each side`.
struct Padding([usize; 2]);

impl fmt::Display for Padding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [before, behind] if before == behind => write!(f, "{before} of padding on each side"),
            [before, behind] => write!(f, "{before} and {behind} of padding"),
        }
    }
}

/// Sizes as people write them: `[8, 1, 5, 5]`.
struct Shape<'a>(&'a [usize]);

impl fmt::Display for Shape<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0).finish()
    }
}

/// No operand of one sample, and no weight, may hold more numbers than this: 1 GiB of f32, or less where an address has 32 bits, so that
/// no length of scratch wraps.
pub(crate) const MAX_ELEMENTS: usize = if usize::BITS < 64 { 1 << 24 } else { 1 << 28 };

/// No operand of one sample may take more room than this once kernels have laid it out with padding. Beyond it places in a plane would
/// not fit into 32 bits, with which kernels divide.
pub(crate) const MAX_PADDED: usize = if usize::BITS < 64 { 1 << 24 } else { 1 << 31 };

/// Checks that the product of `sizes` is no more than `limit`; else an error that names `what`.
pub(crate) fn check_product(
    kernel: &'static str,
    what: &'static str,
    sizes: &[usize],
    limit: usize,
) -> Result<(), GeometryError> {
    sizes
        .iter()
        .try_fold(1usize, |product, &size| product.checked_mul(size))
        .filter(|&product| product <= limit)
        .map(|_| ())
        .ok_or(GeometryError::TooLarge { kernel, what, limit })
}
