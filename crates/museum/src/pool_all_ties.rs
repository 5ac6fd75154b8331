//! Max pooling that sends the whole gradient to every maximum that ties.

use byhand_layers::check::Clause;
use byhand_layers::{Describe, Layer, LayerError, MaxPool2d, Pass, Saved, Scalar, Shape};

use crate::geometry::{at, described_by, grid, pool_of, positions};
use crate::piece::{Check, Piece, StandIn, examine_layer};

/// Max pooling that gives each of several equal maxima the whole gradient.
///
/// # Wrong
/// ```text
/// for every (p, q) with x[c, i*s0 + p, j*s1 + q] == y[c, i, j]:  dx[c, i*s0 + p, j*s1 + q] += dy[c, i, j]
/// ```
/// # Right
/// ```text
/// for the first of them alone:                                   dx[c, i*s0 + p, j*s1 + q] += dy[c, i, j]
/// ```
/// # Symptom
/// Too large a gradient for the convolution below, by up to the size of the window: a flat background is all ties, and
/// four fifths of a digit image is background. It acts like a larger, uneven learning rate.
///
/// # Caught by
/// The sum of `dx` against the sum of `dy` on a flat image, and the convention of the first maximum. **No gradient check on random
/// numbers finds it**: random numbers do not tie.
#[derive(Clone, PartialEq, Debug)]
pub struct PoolAllTies {
    right: MaxPool2d,
    window: [usize; 2],
    stride: [usize; 2],
}

impl PoolAllTies {
    /// As [`MaxPool2d::new`].
    ///
    /// # Errors
    /// As there.
    pub fn new(input: Shape, window: [usize; 2], stride: [usize; 2]) -> Result<Self, LayerError> {
        Ok(Self { right: MaxPool2d::new(input, window, stride)?, window, stride })
    }
}

impl<T: Scalar> Layer<T> for PoolAllTies {
    fn forward(&self, pass: &Pass, theta: &[T], x: &[T], y: &mut [T], tape: &mut [T], scratch: &mut [T]) {
        self.right.forward(pass, theta, x, y, tape, scratch);
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
        let Some(dx) = dx else { return };
        let (xs, ys, block) = (self.right.input(), self.right.output(), pass.block);
        dx.fill(T::ZERO);
        for sample in 0..block.samples() {
            for (c, i, j) in positions(ys) {
                let from = block.index(ys.features(), sample, at(ys, c, i, j));
                for (p, q) in grid(self.window) {
                    let feature = at(xs, c, self.stride[0] * i + p, self.stride[1] * j + q);
                    let to = block.index(xs.features(), sample, feature);
                    if saved.x[to] == saved.y[from] {
                        dx[to] += dy[from];
                    }
                }
            }
        }
    }
}

described_by!(PoolAllTies, right);

pub(crate) const PIECE: Piece = Piece {
    name: "pool-all-ties",
    notebook: "A, B",
    wrong_line: "every input equal to the window's maximum gets the whole gradient, not the first alone",
    symptom: "on flat backgrounds the gradient is up to four times too large; no check on random numbers sees it",
    caught_by: &[Check::Clause(Clause::TieSum), Check::Clause(Clause::Convention)],
    examine: |options| {
        examine_layer(
            PoolAllTies::new(Shape::new(3, 6, 6), [2, 2], [2, 2]),
            MaxPool2d::new(Shape::new(3, 6, 6), [2, 2], [2, 2]),
            options,
        )
    },
    stand_in: StandIn::Layer(|right| {
        let (input, window, stride) = pool_of(right, "pool")?;
        Ok(Box::new(PoolAllTies::new(input, window, stride)?))
    }),
};
