//! Average pooling whose backward pass forgets to divide.

use byhand_layers::check::Clause;
use byhand_layers::{AvgPool2d, Describe, Layer, LayerError, Pass, Saved, Scalar, Shape};

use crate::geometry::{at, described_by, grid, pool_of, positions};
use crate::piece::{Check, Piece, StandIn, examine_layer};

/// Average pooling that hands the whole gradient of a window to each of its inputs.
///
/// # Wrong
/// ```text
/// dx[c, i*s0 + p, j*s1 + q] += dy[c, i, j]
/// ```
/// # Right
/// ```text
/// dx[c, i*s0 + p, j*s1 + q] += dy[c, i, j] / (k0*k1)
/// ```
/// # Symptom
/// A gradient too large by the area of the window in everything below the pool: it trains, as if with a larger rate there.
///
/// # Caught by
/// Every gradient check, and the exact adjoint.
#[derive(Clone, PartialEq, Debug)]
pub struct AvgPoolWithoutArea {
    right: AvgPool2d,
    window: [usize; 2],
    stride: [usize; 2],
}

impl AvgPoolWithoutArea {
    /// As [`AvgPool2d::new`].
    ///
    /// # Errors
    /// As there.
    pub fn new(input: Shape, window: [usize; 2], stride: [usize; 2]) -> Result<Self, LayerError> {
        Ok(Self { right: AvgPool2d::new(input, window, stride)?, window, stride })
    }
}

impl<T: Scalar> Layer<T> for AvgPoolWithoutArea {
    fn forward(&self, pass: &Pass, theta: &[T], x: &[T], y: &mut [T], tape: &mut [T], scratch: &mut [T]) {
        self.right.forward(pass, theta, x, y, tape, scratch);
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
        let Some(dx) = dx else { return };
        let (xs, ys, block) = (self.right.input(), self.right.output(), pass.block);
        dx.fill(T::ZERO);
        for sample in 0..block.samples() {
            for (c, i, j) in positions(ys) {
                let from = block.index(ys.features(), sample, at(ys, c, i, j));
                for (p, q) in grid(self.window) {
                    let feature = at(xs, c, self.stride[0] * i + p, self.stride[1] * j + q);
                    dx[block.index(xs.features(), sample, feature)] += dy[from];
                }
            }
        }
    }
}

described_by!(AvgPoolWithoutArea, right);

pub(crate) const PIECE: Piece = Piece {
    name: "avg-pool-without-area",
    notebook: "classic",
    wrong_line: "the gradient of a mean is not divided by the number of its terms",
    symptom: "everything below the pool learns at four times the rate, or more",
    caught_by: &[
        Check::Clause(Clause::Adjoint),
        Check::Clause(Clause::CentralDifference),
        Check::Clause(Clause::FourPointDifference),
        Check::Clause(Clause::DualNumbers),
        Check::Twin,
    ],
    examine: |options| {
        examine_layer(
            AvgPoolWithoutArea::new(Shape::new(2, 7, 8), [2, 2], [2, 2]),
            AvgPool2d::new(Shape::new(2, 7, 8), [2, 2], [2, 2]),
            options,
        )
    },
    stand_in: StandIn::Layer(|right| {
        let (input, window, stride) = pool_of(right, "avgpool")?;
        Ok(Box::new(AvgPoolWithoutArea::new(input, window, stride)?))
    }),
};
