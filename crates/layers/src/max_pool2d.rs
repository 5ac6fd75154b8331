//! Max pooling.

use crate::contract::{Describe, Kind, Layer, Pass, Saved};
use crate::pool_options::PoolOptions;
use crate::{LayerError, Shape};
use byhand_tensor::{Block, Pool2d, Scalar};

/// Max pooling: the largest number of each window, channel by channel.
///
/// # Formula
/// `y[c, i, j] = max over p, q of x[c, i*s0 + p*d0 - top, j*s1 + q*d1 - left]`, with `p`, `q` running over the window, of those that lie in
/// the image; stride `s` and dilation `d` per axis. Padding is never the maximum, not even where all of `x` is below 0.
///
/// # Shapes
/// `x: c x h x w`, `y: c x h_out x w_out` with `h_out` and `w_out` as [`PoolOptions`] says. Windows may overlap.
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
    options: PoolOptions,
    input: Shape,
    output: Shape,
}

impl MaxPool2d {
    /// Pooling of `input` over windows of `window` rows and columns, `stride` apart.
    ///
    /// # Errors
    /// As [`with_options`](Self::with_options).
    pub fn new(input: Shape, window: [usize; 2], stride: [usize; 2]) -> Result<Self, LayerError> {
        Self::with_options(input, PoolOptions { stride, ..PoolOptions::new(window) })
    }

    /// The same with padding, dilation, or rounded up.
    ///
    /// # Errors
    /// A size is zero; the padding of a side is as large as a window's reach; a window reaches beyond the padded image, or sees none of it;
    /// or one sample has more than 2^28 numbers.
    pub fn with_options(input: Shape, options: PoolOptions) -> Result<Self, LayerError> {
        let (kernel, output) = options.kernel(input, true)?;
        Ok(Self { kernel, options, input, output })
    }

    /// How windows look and go.
    pub fn options(&self) -> PoolOptions {
        self.options
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
        self.options.spec("pool", "")
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Padding;
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
    fn padding_dilation_and_a_rest_rounded_up() {
        let options =
            |stride, pad, dilation, ceil| PoolOptions { stride, pad, dilation, ceil, window: [3, 2] };
        for options in [
            options([2, 2], Padding::axes([1, 1]), [1, 1], false),
            options([2, 3], Padding::Sides([2, 0, 1, 1]), [1, 1], true),
            options([1, 2], Padding::Same, [2, 3], false),
            options([2, 2], Padding::SameLower, [1, 1], true),
        ] {
            check_layer(&MaxPool2d::with_options(Shape::new(2, 6, 7), options).unwrap(), &Options::default())
                .assert();
        }
    }

    #[test]
    fn spec_names_what_differs() {
        let pool = MaxPool2d::new(Shape::new(1, 9, 9), [3, 2], [2, 2]).unwrap();
        assert_eq!(pool.spec(), "pool(3x2,stride=2)");
    }

    #[test]
    fn refuses_windows_that_see_nothing_of_the_image() {
        let refused = |window, pad, dilation| {
            let options = PoolOptions { pad, dilation, ..PoolOptions::new(window) };
            MaxPool2d::with_options(Shape::new(1, 2, 9), options).unwrap_err().to_string()
        };
        let error = refused([3, 3], Padding::NONE, [1, 1]);
        assert_eq!(
            error,
            "pool: the window must fit into the input, found a window of 3 rows in an input of 2 rows with 0 of padding on each side"
        );
        let error = refused([2, 2], Padding::Sides([0, 0, 0, 2]), [1, 1]);
        assert!(error.contains("found padding 2 for a window of 2 columns"), "{error}");
        let error = refused([2, 2], Padding::axes([2, 0]), [4, 1]);
        assert!(error.contains("found one that steps over all 2 rows with taps 4 apart"), "{error}");
    }
}
