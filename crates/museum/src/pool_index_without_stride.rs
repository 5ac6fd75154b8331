//! Max pooling whose backward pass forgets the stride in its index.

use byhand_layers::check::Clause;
use byhand_layers::{Describe, Layer, LayerError, MaxPool2d, Pass, Saved, Scalar, Shape};

use crate::geometry::{at, described_by, grid, pool_of, positions};
use crate::piece::{Check, Piece, StandIn, examine_layer};

/// Max pooling as the first notebook wrote it back: the gradient goes to `(i + p, j + q)`.
///
/// # Wrong
/// ```text
/// if x[c, i*s0 + p, j*s1 + q] == y[c, i, j]:  dx[c, i + p, j + q]  = dy[c, i, j]
/// ```
/// # Right
/// ```text
/// the first maximum of window (i, j), at (p, q):  dx[c, i*s0 + p, j*s1 + q] += dy[c, i, j]
/// ```
/// The forward pass is right, so the network computes what it should; each index is in bounds, so nothing complains. Every window
/// `(i, j)` writes its gradient where window `(i/2, j/2)` lies. The same line has two more mistakes, which have rooms of their own:
/// [`PoolAllTies`](crate::PoolAllTies) and [`PoolAssigns`](crate::PoolAssigns).
///
/// # Symptom
/// Only the top left quarter of the map ever gets a gradient (14 x 14 of 26 x 26 after a 3x3 convolution). It trains all the
/// same, since the dense layer behind the pool learns by itself: some per cent of accuracy less, and nothing that looks broken.
///
/// # Caught by
/// Everything that compares `dx` with a derivative, and the sum of `dx` on a flat image: windows overwrite each other.
#[derive(Clone, PartialEq, Debug)]
pub struct PoolIndexWithoutStride {
    right: MaxPool2d,
    window: [usize; 2],
    stride: [usize; 2],
}

impl PoolIndexWithoutStride {
    /// As [`MaxPool2d::new`].
    ///
    /// # Errors
    /// As there.
    pub fn new(input: Shape, window: [usize; 2], stride: [usize; 2]) -> Result<Self, LayerError> {
        Ok(Self { right: MaxPool2d::new(input, window, stride)?, window, stride })
    }
}

impl<T: Scalar> Layer<T> for PoolIndexWithoutStride {
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
            let x_at = |c, i, j| block.index(xs.features(), sample, at(xs, c, i, j));
            for (c, i, j) in positions(ys) {
                let from = block.index(ys.features(), sample, at(ys, c, i, j));
                for (p, q) in grid(self.window) {
                    if saved.x[x_at(c, self.stride[0] * i + p, self.stride[1] * j + q)] == saved.y[from] {
                        dx[x_at(c, i + p, j + q)] = dy[from];
                    }
                }
            }
        }
    }
}

described_by!(PoolIndexWithoutStride, right);

pub(crate) const PIECE: Piece = Piece {
    name: "pool-index-without-stride",
    notebook: "A",
    wrong_line: "the gradient of window (i, j) goes to (i + p, j + q) instead of (stride*i + p, stride*j + q)",
    symptom: "only the top left quarter of the map gets a gradient; it still trains, to some per cent less",
    caught_by: &[
        Check::Clause(Clause::CentralDifference),
        Check::Clause(Clause::FourPointDifference),
        Check::Clause(Clause::DualNumbers),
        Check::Clause(Clause::TieSum),
        Check::Clause(Clause::Convention),
        Check::Twin,
    ],
    examine: |options| {
        examine_layer(
            PoolIndexWithoutStride::new(Shape::new(2, 7, 8), [2, 2], [2, 2]),
            MaxPool2d::new(Shape::new(2, 7, 8), [2, 2], [2, 2]),
            options,
        )
    },
    stand_in: StandIn::Layer(|right| {
        let (input, window, stride) = pool_of(right, "pool")?;
        Ok(Box::new(PoolIndexWithoutStride::new(input, window, stride)?))
    }),
};
