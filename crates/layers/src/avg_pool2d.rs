//! Average pooling.

use crate::contract::{Describe, Kind, Layer, Pass, Saved};
use crate::pool_options::PoolOptions;
use crate::{LayerError, Shape};
use byhand_tensor::{Pool2d, Scalar};

/// Average pooling: the mean of each window, channel by channel.
///
/// # Formula
/// `y[c, i, j] = 1 / n(i, j) * sum over p, q of x[c, i*s0 + p*d0 - top, j*s1 + q*d1 - left]`, with `p < k0`, `q < k1`, stride `s` and
/// dilation `d` per axis, and `x` outside the image 0. Without padding `n = k0*k1`. With padding `n` counts what lies in the image and its
/// padding, or in the image alone; what sticks out of the padding (where windows are rounded up) is never counted.
///
/// # Shapes
/// `x: c x h x w`, `y: c x h_out x w_out` with `h_out` and `w_out` as [`PoolOptions`] says. Windows may overlap.
///
/// # Backward
/// ```text
/// dx[c, r, t] = sum of dy[c, i, j] / n(i, j) over the windows (i, j) that see (r, t)
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
    options: PoolOptions,
    count_pad: bool,
    input: Shape,
    output: Shape,
}

impl AvgPool2d {
    /// Pooling of `input` over windows of `window` rows and columns, `stride` apart.
    ///
    /// # Errors
    /// As [`with_options`](Self::with_options).
    pub fn new(input: Shape, window: [usize; 2], stride: [usize; 2]) -> Result<Self, LayerError> {
        Self::with_options(input, PoolOptions { stride, ..PoolOptions::new(window) }, true)
    }

    /// The same with padding, dilation, or rounded up; `count_pad` says whether a mean counts the zeros of the padding (as PyTorch does
    /// unless it is told otherwise, and ONNX if it is told to).
    ///
    /// # Errors
    /// A size is zero; the padding of a side is as large as a window's reach; a window reaches beyond the padded image, or sees none of it;
    /// or one sample has more than 2^28 numbers.
    pub fn with_options(input: Shape, options: PoolOptions, count_pad: bool) -> Result<Self, LayerError> {
        let (kernel, output) = options.kernel(input, count_pad)?;
        Ok(Self { kernel, options, count_pad, input, output })
    }

    /// How windows look and go.
    pub fn options(&self) -> PoolOptions {
        self.options
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
        self.options.spec("avgpool", if self.count_pad { "" } else { ",count_pad=false" })
    }

    fn kind(&self) -> Kind {
        let is_exact = |i| (0..self.output.w).all(|j| self.kernel.divisor(i, j).is_power_of_two());
        Kind::Bilinear { exact: (0..self.output.h).all(is_exact) }
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
    use crate::Padding;
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

    #[test]
    fn padding_dilation_and_a_rest_rounded_up() {
        let options =
            |stride, pad, dilation, ceil| PoolOptions { stride, pad, dilation, ceil, window: [3, 2] };
        for options in [
            options([2, 2], Padding::axes([1, 1]), [1, 1], false),
            options([2, 3], Padding::Sides([2, 0, 1, 1]), [1, 1], true),
            options([1, 2], Padding::Same, [2, 3], false),
        ] {
            for count_pad in [false, true] {
                let pool = AvgPool2d::with_options(Shape::new(2, 6, 7), options, count_pad).unwrap();
                check_layer(&pool, &Options::default()).assert();
            }
        }
    }

    /// The corner window of a padded image of ones, and a last window that sticks out.
    #[test]
    fn the_divisor_is_the_one_asked_for() {
        let options = PoolOptions {
            stride: [2, 2],
            pad: Padding::axes([1, 1]),
            ceil: true,
            ..PoolOptions::new([3, 3])
        };
        for (count_pad, corner, last) in [(true, 4.0 / 9.0, 1.0 / 4.0), (false, 1.0, 1.0)] {
            let pool = AvgPool2d::with_options(Shape::new(1, 4, 4), options, count_pad).unwrap();
            let mut y = [0.0f32; 9];
            pool.forward(&Pass::eval(crate::Block::single(1)), &[], &[1.0; 16], &mut y, &mut [], &mut []);
            assert_eq!([y[0], y[8]], [corner, last], "{}", pool.spec());
        }
    }
}
