//! Max pooling that assigns where overlapping windows must add.

use byhand_layers::check::Clause;
use byhand_layers::{Describe, Layer, LayerError, MaxPool2d, Pass, Saved, Scalar, Shape};

use crate::geometry::{at, described_by, grid, pool_of, positions};
use crate::piece::{Check, Piece, StandIn, examine_layer};

/// Max pooling whose backward pass assigns the gradient instead of adding it.
///
/// # Wrong
/// ```text
/// dx[first maximum of window (i, j)]  = dy[i, j]
/// ```
/// # Right
/// ```text
/// dx[first maximum of window (i, j)] += dy[i, j]
/// ```
/// # Symptom
/// None while the stride equals the window. With overlapping windows, one input can be the maximum of several: all their
/// gradients but the last are lost.
///
/// # Caught by
/// Every gradient check, on overlapping windows; the sum of `dx` on a flat image.
#[derive(Clone, PartialEq, Debug)]
pub struct PoolAssigns {
    right: MaxPool2d,
    window: [usize; 2],
    stride: [usize; 2],
}

impl PoolAssigns {
    /// As [`MaxPool2d::new`].
    ///
    /// # Errors
    /// As there.
    pub fn new(input: Shape, window: [usize; 2], stride: [usize; 2]) -> Result<Self, LayerError> {
        Ok(Self { right: MaxPool2d::new(input, window, stride)?, window, stride })
    }
}

impl<T: Scalar> Layer<T> for PoolAssigns {
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
                let first = grid(self.window)
                    .map(|(p, q)| at(xs, c, self.stride[0] * i + p, self.stride[1] * j + q))
                    .map(|feature| block.index(xs.features(), sample, feature))
                    .find(|&to| saved.x[to] == saved.y[from]);
                if let Some(to) = first {
                    dx[to] = dy[from];
                }
            }
        }
    }
}

described_by!(PoolAssigns, right);

pub(crate) const PIECE: Piece = Piece {
    name: "pool-assigns",
    notebook: "A",
    wrong_line: "`=` where windows that overlap need `+=`",
    symptom: "none until windows overlap; then all but the last window's gradient is lost",
    caught_by: &[
        Check::Clause(Clause::CentralDifference),
        Check::Clause(Clause::FourPointDifference),
        Check::Clause(Clause::DualNumbers),
        Check::Twin,
    ],
    examine: |options| {
        examine_layer(
            PoolAssigns::new(Shape::new(2, 7, 8), [3, 2], [2, 1]),
            MaxPool2d::new(Shape::new(2, 7, 8), [3, 2], [2, 1]),
            options,
        )
    },
    stand_in: StandIn::Layer(|right| {
        let (input, window, stride) = pool_of(right, "pool")?;
        Ok(Box::new(PoolAssigns::new(input, window, stride)?))
    }),
};
