//! The passes of max and average pooling.

use crate::check;
use crate::dispatch::Scalar;
use crate::geometry::Pool2d;
use crate::kernels::pool::{AvgForward, Backward, MaxForward};
use crate::layout::Block;

/// The name in messages.
const NAME: &str = "pool";

impl Pool2d {
    /// `y[c, i, j] = max over u, v of x[c, i * stride + u * dilation - pad, j * stride + v * dilation - pad]`, of those in the image; NaN if
    /// there is one among them. `tape` receives the place of the **first** maximum (of the last NaN) in row order,
    /// `u * window_columns + v`, as a number.
    ///
    /// # Panics
    /// If a slice has not the length its shape says.
    #[track_caller]
    pub fn max_forward<T: Scalar>(&self, block: Block, x: &[T], y: &mut [T], tape: &mut [T]) {
        self.check(block, x.len(), y.len());
        check::length(NAME, "the tape", tape.len(), y.len());
        T::max_pool(MaxForward { pool: *self, block, x, y, tape });
    }

    /// `dx[c, p, q] = sum of dy[c, i, j]` over the windows whose first maximum lies there.
    /// Overwrites `dx`.
    ///
    /// # Panics
    /// If a slice has not the length its shape says.
    #[track_caller]
    pub fn max_backward<T: Scalar>(&self, block: Block, dy: &[T], tape: &[T], dx: &mut [T]) {
        self.check(block, dx.len(), dy.len());
        check::length(NAME, "the tape", tape.len(), dy.len());
        T::pool_backward(Backward { pool: *self, block, dy, tape: Some(tape), dx });
    }

    /// `y[c, i, j] = sum over u, v of x[c, i * stride + u * dilation - pad, j * stride + v * dilation - pad] / n(i, j)`, zero outside `x`,
    /// with the [divisor](Self::divisor) `n`.
    ///
    /// # Panics
    /// If a slice has not the length its shape says.
    #[track_caller]
    pub fn avg_forward<T: Scalar>(&self, block: Block, x: &[T], y: &mut [T]) {
        self.check(block, x.len(), y.len());
        T::avg_pool(AvgForward { pool: *self, block, x, y });
    }

    /// `dx[c, p, q] = sum of dy[c, i, j] / n(i, j)` over the windows that see `p, q`, with the [divisor](Self::divisor) `n`.
    /// Overwrites `dx`.
    ///
    /// # Panics
    /// If a slice has not the length its shape says.
    #[track_caller]
    pub fn avg_backward<T: Scalar>(&self, block: Block, dy: &[T], dx: &mut [T]) {
        self.check(block, dx.len(), dy.len());
        T::pool_backward(Backward { pool: *self, block, dy, tape: None, dx });
    }

    #[track_caller]
    fn check(&self, block: Block, x: usize, y: usize) {
        check::features(NAME, "x or dx", x, block, self.inputs());
        check::features(NAME, "y or dy", y, block, self.outputs());
    }
}
