//! Padding of an image: how much of it, or the rule that says how much.

use crate::Shape;
use std::fmt;

/// What is put around an image before windows slide over it: zeros for a convolution or a mean, nothing that counts for a maximum.
///
/// ```
/// use byhand_layers::{Conv2d, ConvOptions, Describe, Padding, Shape};
/// let options = ConvOptions { stride: [2, 2], pad: Padding::Same, ..ConvOptions::square(3) };
/// // 4 rows and columns: one of padding, which goes below and to the right.
/// let conv = Conv2d::new(Shape::new(1, 4, 4), 1, options)?;
/// assert_eq!((conv.output(), conv.pad()), (Shape::new(1, 2, 2), [0, 0, 1, 1]));
/// # Ok::<(), byhand_layers::LayerError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Padding {
    /// Rows above, columns to the left, rows below, columns to the right.
    Sides([usize; 4]),
    /// As much as makes `size / stride` windows, rounded up, fit: `max((n - 1) * stride + reach - size, 0)` along an axis, with `n`
    /// windows. Half of it goes before the image, and of an odd number the one that is left over behind it. ONNX calls it `SAME_UPPER`;
    /// with stride 1 it is PyTorch's and TensorFlow's `same`.
    Same,
    /// The same, but the one that is left over goes before the image: ONNX's `SAME_LOWER`.
    SameLower,
}

impl Padding {
    /// No padding.
    pub const NONE: Self = Self::Sides([0; 4]);

    /// So many rows above and below, so many columns to the left and to the right.
    pub const fn axes([rows, columns]: [usize; 2]) -> Self {
        Self::Sides([rows, columns, rows, columns])
    }

    /// How much that is above, left, below and right of an image, with windows of such taps.
    pub fn around(
        self,
        image: Shape,
        taps: [usize; 2],
        stride: [usize; 2],
        dilation: [usize; 2],
    ) -> [usize; 4] {
        let along = |axis: usize, size: usize| {
            let reach = dilation[axis].saturating_mul(taps[axis].saturating_sub(1)).saturating_add(1);
            // A stride of 0 is refused later.
            let last = size.div_ceil(stride[axis].max(1)).saturating_sub(1).saturating_mul(stride[axis]);
            let all = last.saturating_add(reach).saturating_sub(size);
            (all / 2, all - all / 2)
        };
        let ([less_rows, more_rows], [less_columns, more_columns]) =
            (<[usize; 2]>::from(along(0, image.h)), <[usize; 2]>::from(along(1, image.w)));
        match self {
            Self::Sides(sides) => sides,
            Self::Same => [less_rows, less_columns, more_rows, more_columns],
            Self::SameLower => [more_rows, more_columns, less_rows, less_columns],
        }
    }
}

impl Default for Padding {
    /// None.
    fn default() -> Self {
        Self::NONE
    }
}

/// `2`, `1x2` for rows and columns that differ, `0x1x2x1` for four sides (above, left, below, right), `same`, `same_lower`.
impl fmt::Display for Padding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Sides([top, left, bottom, right]) if (top, left) != (bottom, right) => {
                write!(f, "{top}x{left}x{bottom}x{right}")
            }
            Self::Sides([rows, columns, ..]) => f.write_str(&per_axis([rows, columns])),
            Self::Same => f.write_str("same"),
            Self::SameLower => f.write_str("same_lower"),
        }
    }
}

/// `5` for a pair of equal sizes, `3x5` else.
pub(crate) fn per_axis([rows, columns]: [usize; 2]) -> String {
    if rows == columns { rows.to_string() } else { format!("{rows}x{columns}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of ONNX's operators, and sizes that a stride divides with a rest.
    #[test]
    fn same_is_what_onnx_says() {
        let around = |padding: Padding, [h, w]: [usize; 2], taps, stride, dilation| {
            padding.around(Shape::new(1, h, w), taps, stride, dilation)
        };
        for (image, taps, stride, dilation, same, lower) in [
            ([32, 32], [2, 2], [1, 1], [1, 1], [0, 0, 1, 1], [1, 1, 0, 0]),
            ([5, 5], [3, 3], [2, 2], [1, 1], [1, 1, 1, 1], [1, 1, 1, 1]),
            ([6, 7], [3, 4], [2, 3], [1, 1], [0, 1, 1, 2], [1, 2, 0, 1]),
            ([4, 9], [3, 2], [1, 2], [2, 3], [2, 1, 2, 2], [2, 2, 2, 1]),
            ([9, 4], [1, 2], [4, 4], [1, 1], [0; 4], [0; 4]),
        ] {
            assert_eq!(around(Padding::Same, image, taps, stride, dilation), same);
            assert_eq!(around(Padding::SameLower, image, taps, stride, dilation), lower);
        }
    }
}
