//! Average pooling.

use crate::contract::{Describe, Kind, Layer, Pass, Saved};
use crate::max_pool2d::pool_spec;
use crate::{LayerError, Shape};
use byhand_tensor::{Pool2d, Scalar};

/// Average pooling: the mean of each window, channel by channel.
///
/// # Formula
/// `y[c, i, j] = 1 / (k0*k1) * sum over p, q of x[c, i*s0 + p, j*s1 + q]`, with `p < k0`, `q < k1` and stride `s` per axis.
///
/// # Shapes
/// `x: c x h x w`, `y: c x h_out x w_out` with `h_out = (h - k0) / s0 + 1` rounded down. No padding; windows may overlap.
///
/// # Backward
/// ```text
/// dx[c, r, t] = 1 / (k0*k1) * sum of dy[c, i, j] over the windows (i, j) that contain (r, t)
/// ```
///
/// # Memory
/// No tape, no scratch.
///
/// # Reference
/// LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document recognition", 1998 (sub-sampling).
///
/// ```
/// use byhand_layers::{AvgPool2d, Describe, Shape};
/// let pool = AvgPool2d::new(Shape::new(1, 28, 28), [2, 2], [2, 2])?;
/// assert_eq!(pool.spec(), "avgpool(2)");
/// # Ok::<(), byhand_layers::LayerError>(())
/// ```
#[derive(Clone, PartialEq, Debug)]
pub struct AvgPool2d {
    kernel: Pool2d,
    input: Shape,
    output: Shape,
}

impl AvgPool2d {
    /// Pooling of `input` over windows of `window` rows and columns, `stride` apart.
    ///
    /// # Errors
    /// A size is zero, the window is larger than the input, or one sample has more than 2^28 numbers.
    pub fn new(input: Shape, window: [usize; 2], stride: [usize; 2]) -> Result<Self, LayerError> {
        let kernel = Pool2d::new([input.c, input.h, input.w], window, stride)?;
        let output = Shape::new(input.c, kernel.h_out(), kernel.w_out());
        Ok(Self { kernel, input, output })
    }

    /// Rows and columns of a window.
    pub fn window(&self) -> [usize; 2] {
        self.kernel.window()
    }

    /// Rows and columns from one window to the next.
    pub fn stride(&self) -> [usize; 2] {
        self.kernel.stride()
    }
}

impl<T: Scalar> Layer<T> for AvgPool2d {
    fn forward(&self, pass: &Pass, _theta: &[T], x: &[T], y: &mut [T], _tape: &mut [T], _scratch: &mut [T]) {
        self.kernel.avg_forward(pass.block, x, y);
    }

    fn backward(
        &self,
        pass: &Pass,
        _theta: &[T],
        _saved: Saved<'_, T>,
        dy: &[T],
        dx: Option<&mut [T]>,
        _dtheta: &mut [T],
        _scratch: &mut [T],
    ) {
        if let Some(dx) = dx {
            self.kernel.avg_backward(pass.block, dy, dx);
        }
    }
}

impl Describe for AvgPool2d {
    fn name(&self) -> &'static str {
        "avgpool"
    }

    fn spec(&self) -> String {
        pool_spec("avgpool", &self.kernel)
    }

    fn kind(&self) -> Kind {
        let [k0, k1] = self.kernel.window();
        Kind::Bilinear { exact: (k0 * k1).is_power_of_two() }
    }

    fn input(&self) -> Shape {
        self.input
    }

    fn output(&self) -> Shape {
        self.output
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Options, check_layer};

    fn check(input: Shape, window: [usize; 2], stride: [usize; 2]) {
        check_layer(&AvgPool2d::new(input, window, stride).unwrap(), &Options::default()).assert();
    }

    #[test]
    fn two_by_two() {
        check(Shape::new(3, 6, 6), [2, 2], [2, 2]);
    }

    #[test]
    fn overlapping_windows() {
        check(Shape::new(2, 7, 8), [4, 2], [1, 2]);
    }

    #[test]
    fn window_that_divides_inexactly() {
        check(Shape::new(2, 8, 11), [2, 3], [3, 3]);
    }

    #[test]
    fn wider_than_a_vector() {
        check(Shape::new(1, 4, 38), [2, 2], [2, 2]);
    }
}
