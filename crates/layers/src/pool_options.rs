//! How the windows of a pooling look and go.

use crate::padding::{Padding, per_axis};
use crate::{LayerError, Shape};
use byhand_tensor as tensor;

/// Windows of a pooling along rows and columns, and the padding around the image.
///
/// Window `(i, j)` sees the pixels `(i*s0 + p*d0 - top, j*s1 + q*d1 - left)` with `p`, `q` over the window, stride `s` and dilation `d`.
/// There are `(h + top + bottom - reach) / s0 + 1` of them along rows, with `reach = d0*(k0 - 1) + 1`, rounded down; rounded up with
/// `ceil`, but a last window begins in the image or in the padding before it. As PyTorch and ONNX have it; PyTorch alone allows no more
/// padding than half of a window, here it is less than the window's reach.
///
/// ```
/// use byhand_layers::{Describe, MaxPool2d, Padding, PoolOptions, Shape};
/// let options = PoolOptions { stride: [2, 2], pad: Padding::axes([1, 1]), ..PoolOptions::new([3, 3]) };
/// let pool = MaxPool2d::with_options(Shape::new(64, 112, 112), options)?;
/// assert_eq!((pool.output(), pool.spec()), (Shape::new(64, 56, 56), "pool(3,stride=2,pad=1)".to_owned()));
/// # Ok::<(), byhand_layers::LayerError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PoolOptions {
    /// Rows and columns of a window.
    pub window: [usize; 2],
    /// From one window to the next.
    pub stride: [usize; 2],
    /// Around the image: on each side less than a window's reach.
    pub pad: Padding,
    /// From one pixel of a window to the next; 1 for neighbours.
    pub dilation: [usize; 2],
    /// Whether the number of windows is rounded up.
    pub ceil: bool,
}

impl PoolOptions {
    /// Windows side by side, without padding.
    pub const fn new(window: [usize; 2]) -> Self {
        Self { window, stride: window, pad: Padding::NONE, dilation: [1, 1], ceil: false }
    }

    /// The kernel of these windows over `input`, and its output.
    pub(crate) fn kernel(
        &self,
        input: Shape,
        counts_pad: bool,
    ) -> Result<(tensor::Pool2d, Shape), LayerError> {
        let Self { window, stride, pad, dilation, ceil } = *self;
        let pad = pad.around(input, window, stride, dilation);
        let options = tensor::PoolOptions { window, stride, dilation, pad, ceil, counts_pad };
        let kernel = tensor::Pool2d::with_options([input.c, input.h, input.w], options)?;
        Ok((kernel, Shape::new(input.c, kernel.h_out(), kernel.w_out())))
    }

    /// The arguments of a spec, `(3,stride=2,pad=1)`, and what else differs from its default.
    pub(crate) fn spec(&self, name: &str, other: &str) -> String {
        let Self { window, stride, pad, dilation, ceil } = *self;
        let mut spec = format!("{name}({}", per_axis(window));
        if stride != window {
            spec += &format!(",stride={}", per_axis(stride));
        }
        if pad != Padding::NONE {
            spec += &format!(",pad={pad}");
        }
        if ceil {
            spec += ",ceil=true";
        }
        if dilation != [1, 1] {
            spec += &format!(",dilation={}", per_axis(dilation));
        }
        spec + other + ")"
    }
}
