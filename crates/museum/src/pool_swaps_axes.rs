//! Max pooling that takes its height for its width.

use byhand_layers::check::Clause;
use byhand_layers::{Describe, Layer, LayerError, MaxPool2d, Pass, Saved, Scalar, Shape};

use crate::geometry::{at, described_by, grid, pool_of, positions};
use crate::piece::{Check, Piece, StandIn, examine_layer};

/// Max pooling that unpacks its shape as `w, h` and so lays its output out in rows of `h_out` numbers.
///
/// # Wrong
/// ```text
/// w_out, h_out = shape;  y[(c*h_out + i)*w_out + j] = max of window (i, j)
/// ```
/// # Right
/// ```text
/// h_out, w_out = shape;  y[(c*h_out + i)*w_out + j] = max of window (i, j)
/// ```
/// # Symptom
/// None on square images, and MNIST is square. On wide ones rows run into each other and part of `y` is never written; on tall
/// ones it reaches outside (in NumPy an `IndexError`, here a panic).
///
/// # Caught by
/// Memory that stays unwritten and the sum of `dx` on a flat image, where the image is not square.
#[derive(Clone, PartialEq, Debug)]
pub struct PoolSwapsAxes {
    right: MaxPool2d,
    window: [usize; 2],
    stride: [usize; 2],
}

impl PoolSwapsAxes {
    /// As [`MaxPool2d::new`].
    ///
    /// # Errors
    /// As there.
    pub fn new(input: Shape, window: [usize; 2], stride: [usize; 2]) -> Result<Self, LayerError> {
        Ok(Self { right: MaxPool2d::new(input, window, stride)?, window, stride })
    }
}

impl<T: Scalar> Layer<T> for PoolSwapsAxes {
    fn forward(&self, pass: &Pass, _theta: &[T], x: &[T], y: &mut [T], _tape: &mut [T], _scratch: &mut [T]) {
        let (xs, ys, block) = (self.right.input(), self.right.output(), pass.block);
        let (w_out, h_out) = (ys.h, ys.w);
        for sample in 0..block.len(1) {
            for (c, i, j) in positions(ys) {
                let window = grid(self.window)
                    .map(|(p, q)| at(xs, c, self.stride[0] * i + p, self.stride[1] * j + q))
                    .map(|feature| x[block.index(xs.features(), sample, feature)]);
                let max = window.reduce(|max, x| if x > max || x.is_nan() { x } else { max });
                y[block.index(ys.features(), sample, (c * h_out + i) * w_out + j)] = max.unwrap_or(T::ZERO);
            }
        }
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
        let (w_out, h_out) = (ys.h, ys.w);
        dx.fill(T::ZERO);
        for sample in 0..block.samples() {
            for (c, i, j) in positions(ys) {
                let from = block.index(ys.features(), sample, (c * h_out + i) * w_out + j);
                let first = grid(self.window)
                    .map(|(p, q)| at(xs, c, self.stride[0] * i + p, self.stride[1] * j + q))
                    .map(|feature| block.index(xs.features(), sample, feature))
                    .find(|&to| saved.x[to] == saved.y[from]);
                if let Some(to) = first {
                    dx[to] += dy[from];
                }
            }
        }
    }
}

described_by!(PoolSwapsAxes, right);

pub(crate) const PIECE: Piece = Piece {
    name: "pool-swaps-axes",
    notebook: "D",
    wrong_line: "height and width change places when the shape is unpacked",
    symptom: "none on square images; on others rows run into each other",
    caught_by: &[Check::Clause(Clause::Overwrite), Check::Clause(Clause::TieSum), Check::Twin],
    examine: |options| {
        examine_layer(
            PoolSwapsAxes::new(Shape::new(2, 6, 14), [2, 2], [2, 2]),
            MaxPool2d::new(Shape::new(2, 6, 14), [2, 2], [2, 2]),
            options,
        )
    },
    stand_in: StandIn::Layer(|right| {
        let (input, window, stride) = pool_of(right, "pool")?;
        Ok(Box::new(PoolSwapsAxes::new(input, window, stride)?))
    }),
};
