//! Max pooling that starts its maximum at -99999.99.

use byhand_layers::check::Clause;
use byhand_layers::{Describe, Layer, LayerError, MaxPool2d, Pass, Saved, Scalar, Shape};

use crate::geometry::{at, described_by, grid, pool_of, positions};
use crate::piece::{Check, Piece, StandIn, examine_layer};

/// Max pooling whose running maximum starts from a number thought small enough.
///
/// # Wrong
/// ```text
/// max = -99999.99;  for (p, q): if x > max: max = x
/// ```
/// # Right
/// ```text
/// max = the first of the window; for the others: if x > max or x is NaN: max = x
/// ```
/// # Symptom
/// None, until activations are large (raw pixels through unscaled weights) or a window holds only NaN: then the sentinel itself
/// is the output, finite and wrong, and hides where the NaN came from.
///
/// # Caught by
/// NaN that does not travel; numbers below the sentinel, beside the right pool.
#[derive(Clone, PartialEq, Debug)]
pub struct PoolSentinel {
    right: MaxPool2d,
    window: [usize; 2],
    stride: [usize; 2],
}

impl PoolSentinel {
    /// As [`MaxPool2d::new`].
    ///
    /// # Errors
    /// As there.
    pub fn new(input: Shape, window: [usize; 2], stride: [usize; 2]) -> Result<Self, LayerError> {
        Ok(Self { right: MaxPool2d::new(input, window, stride)?, window, stride })
    }
}

impl<T: Scalar> Layer<T> for PoolSentinel {
    fn forward(&self, pass: &Pass, _theta: &[T], x: &[T], y: &mut [T], tape: &mut [T], _scratch: &mut [T]) {
        let (xs, ys, block) = (self.right.input(), self.right.output(), pass.block);
        for sample in 0..block.len(1) {
            for (c, i, j) in positions(ys) {
                let (mut max, mut place) = (T::from_f64(-99999.99), 0);
                for (k, (p, q)) in grid(self.window).enumerate() {
                    let feature = at(xs, c, self.stride[0] * i + p, self.stride[1] * j + q);
                    let value = x[block.index(xs.features(), sample, feature)];
                    if value > max {
                        (max, place) = (value, k);
                    }
                }
                let to = block.index(ys.features(), sample, at(ys, c, i, j));
                (y[to], tape[to]) = (max, T::from_f64(place as f64));
            }
        }
    }

    fn backward(
        &self,
        pass: &Pass,
        theta: &[T],
        saved: Saved<'_, T>,
        dy: &[T],
        dx: Option<&mut [T]>,
        dtheta: &mut [T],
        scratch: &mut [T],
    ) {
        self.right.backward(pass, theta, saved, dy, dx, dtheta, scratch);
    }
}

described_by!(PoolSentinel, right);

pub(crate) const PIECE: Piece = Piece {
    name: "pool-sentinel",
    notebook: "C",
    wrong_line: "the running maximum starts at -99999.99 instead of at the window's first number",
    symptom: "a window of very negative numbers, or of NaN, gives -99999.99; NaN disappears",
    caught_by: &[Check::Clause(Clause::NanTravels), Check::Twin],
    examine: |options| {
        examine_layer(
            PoolSentinel::new(Shape::new(2, 7, 8), [2, 2], [2, 2]),
            MaxPool2d::new(Shape::new(2, 7, 8), [2, 2], [2, 2]),
            options,
        )
    },
    stand_in: StandIn::Layer(|right| {
        let (input, window, stride) = pool_of(right, "pool")?;
        Ok(Box::new(PoolSentinel::new(input, window, stride)?))
    }),
};
