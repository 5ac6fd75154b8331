//! Max pooling.

use crate::contract::{Describe, Kind, Layer, Pass, Saved};
use crate::conv2d::per_axis;
use crate::{LayerError, Shape};
use byhand_tensor::{Block, Pool2d, Scalar};

/// Max pooling: the largest number of each window, channel by channel.
///
/// # Formula
/// `y[c, i, j] = max over p, q of x[c, i*s0 + p, j*s1 + q]`, with `p`, `q` running over the window and stride `s` per axis.
///
/// # Shapes
/// `x: c x h x w`, `y: c x h_out x w_out` with `h_out = (h - k0) / s0 + 1` rounded down. No padding; windows may overlap.
///
/// # Backward
/// ```text
/// dx[c, r, t] = sum of dy[c, i, j] over the windows (i, j) whose maximum was taken from (r, t)
/// ```
/// Among equal maxima the **first in row order** is taken, and it alone gets the gradient: the sum of `dx` is the sum of
/// `dy` also on an all-zero image. A window with a NaN has a NaN for its maximum.
///
/// # Memory
/// The tape holds, for each output, the place of its maximum in the window: as many numbers as `y`. No scratch.
///
/// # Reference
/// Zhou and Chellappa, "Computation of optical flow using a neural network", 1988; Scherer, Müller, Behnke, "Evaluation of
/// pooling operations in convolutional architectures for object recognition", 2010.
///
/// ```
/// use byhand_layers::{Describe, MaxPool2d, Shape};
/// let pool = MaxPool2d::new(Shape::new(8, 26, 26), [2, 2], [2, 2])?;
/// assert_eq!(pool.output(), Shape::new(8, 13, 13));
/// # Ok::<(), byhand_layers::LayerError>(())
/// ```
#[derive(Clone, PartialEq, Debug)]
pub struct MaxPool2d {
    kernel: Pool2d,
    input: Shape,
    output: Shape,
}

impl MaxPool2d {
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

    pub(crate) fn kernel(&self) -> &Pool2d {
        &self.kernel
    }
}

impl<T: Scalar> Layer<T> for MaxPool2d {
    fn forward(&self, pass: &Pass, _theta: &[T], x: &[T], y: &mut [T], tape: &mut [T], _scratch: &mut [T]) {
        self.kernel.max_forward(pass.block, x, y, tape);
    }

    fn backward(
        &self,
        pass: &Pass,
        _theta: &[T],
        saved: Saved<'_, T>,
        dy: &[T],
        dx: Option<&mut [T]>,
        _dtheta: &mut [T],
        _scratch: &mut [T],
    ) {
        if let Some(dx) = dx {
            self.kernel.max_backward(pass.block, dy, saved.tape, dx);
        }
    }
}

impl Describe for MaxPool2d {
    fn name(&self) -> &'static str {
        "pool"
    }

    fn spec(&self) -> String {
        pool_spec("pool", &self.kernel)
    }

    fn kind(&self) -> Kind {
        Kind::Selecting
    }

    fn input(&self) -> Shape {
        self.input
    }

    fn output(&self) -> Shape {
        self.output
    }

    fn tape_len(&self, block: Block) -> usize {
        block.len(self.output.features())
    }
}

/// `pool(2)`, or `pool(3,stride=2)` where the stride is not the window.
pub(crate) fn pool_spec(name: &str, pool: &Pool2d) -> String {
    let window = per_axis(pool.window());
    if pool.stride() == pool.window() {
        format!("{name}({window})")
    } else {
        format!("{name}({window},stride={})", per_axis(pool.stride()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Options, check_layer};

    fn check(input: Shape, window: [usize; 2], stride: [usize; 2]) {
        check_layer(&MaxPool2d::new(input, window, stride).unwrap(), &Options::default()).assert();
    }

    #[test]
    fn two_by_two() {
        check(Shape::new(3, 6, 6), [2, 2], [2, 2]);
    }

    #[test]
    fn overlapping_windows() {
        check(Shape::new(2, 7, 8), [3, 2], [2, 1]);
    }

    #[test]
    fn remainder_of_two_and_gaps_between_windows() {
        check(Shape::new(2, 8, 11), [2, 3], [3, 3]);
        check(Shape::new(1, 9, 7), [1, 2], [2, 3]);
    }

    #[test]
    fn wider_than_a_vector() {
        check(Shape::new(1, 4, 38), [2, 2], [2, 2]);
    }

    #[test]
    fn spec_names_the_stride_where_it_differs() {
        let pool = MaxPool2d::new(Shape::new(1, 9, 9), [3, 2], [2, 2]).unwrap();
        assert_eq!(pool.spec(), "pool(3x2,stride=2)");
    }

    #[test]
    fn refuses_a_window_larger_than_its_input() {
        assert!(MaxPool2d::new(Shape::new(1, 1, 9), [2, 2], [2, 2]).is_err());
    }
}
