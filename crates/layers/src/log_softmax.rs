//! The logarithm of the softmax.

use crate::Shape;
use crate::contract::{Describe, Kind, Layer, Pass, Saved};
use crate::loss::maxima;
use byhand_tensor::{Block, LANES, Scalar, softmax};

/// The logarithm of the softmax of all features: log-probabilities, for a
/// [negative log-likelihood](crate::loss::NegativeLogLikelihood).
///
/// # Formula
/// `y_j = x_j - ln(sum over k of e^x_k)`. With the softmax `p` and the place `b` of the largest `x` it is computed as
/// `(x_j - x_b) + ln p_b`: nothing overflows, and no logarithm is taken of a probability below `1/C`.
///
/// # Shapes
/// `y` has the features of `x`, whatever its channels, rows and columns.
///
/// # Backward
/// ```text
/// dx_j = dy_j - p_j * sum over k of dy_k
/// ```
///
/// # Memory
/// The tape holds `p`: as many numbers as `x`. No scratch.
///
/// # Reference
/// Bridle, "Probabilistic interpretation of feedforward classification network outputs", 1990; Blanchard, Higham, Higham, "Accurately
/// computing the log-sum-exp and softmax functions", 2021.
///
/// ```
/// use byhand_layers::{Describe, LogSoftmax, Shape};
/// assert_eq!(LogSoftmax::new(Shape::flat(10)).output(), Shape::flat(10));
/// ```
#[derive(Clone, PartialEq, Debug)]
pub struct LogSoftmax {
    shape: Shape,
}

impl LogSoftmax {
    /// For samples of this shape.
    pub fn new(shape: Shape) -> Self {
        Self { shape }
    }
}

impl<T: Scalar> Layer<T> for LogSoftmax {
    fn forward(&self, pass: &Pass, _theta: &[T], x: &[T], y: &mut [T], tape: &mut [T], _scratch: &mut [T]) {
        let (block, features, lanes) = (pass.block, self.shape.features(), pass.block.lanes());
        softmax::softmax(block, features, x, tape);
        let tiles = x.chunks_exact(features * lanes).zip(y.chunks_exact_mut(features * lanes));
        for (tile, ((x_tile, y_tile), p)) in tiles.zip(tape.chunks_exact(features * lanes)).enumerate() {
            let (mut largest, mut shift) = ([T::ZERO; LANES], [T::ZERO; LANES]);
            for (lane, best) in maxima(block, tile, features, x).into_iter().enumerate().take(lanes) {
                largest[lane] = x_tile[best * lanes + lane];
                shift[lane] = p[best * lanes + lane].ln();
            }
            for (x, y) in x_tile.chunks_exact(lanes).zip(y_tile.chunks_exact_mut(lanes)) {
                for lane in 0..lanes {
                    y[lane] = (x[lane] - largest[lane]) + shift[lane];
                }
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
        let (features, lanes) = (self.shape.features(), pass.block.lanes());
        let tiles = dy.chunks_exact(features * lanes).zip(dx.chunks_exact_mut(features * lanes));
        for ((dy_tile, dx_tile), p) in tiles.zip(saved.tape.chunks_exact(features * lanes)) {
            let mut sum = [T::ZERO; LANES];
            for dy in dy_tile.chunks_exact(lanes) {
                sum.iter_mut().zip(dy).for_each(|(sum, &dy)| *sum += dy);
            }
            let rows = dx_tile.chunks_exact_mut(lanes).zip(dy_tile.chunks_exact(lanes));
            for ((dx, dy), p) in rows.zip(p.chunks_exact(lanes)) {
                for lane in 0..lanes {
                    dx[lane] = dy[lane] - p[lane] * sum[lane];
                }
            }
        }
    }
}

impl Describe for LogSoftmax {
    fn name(&self) -> &'static str {
        "log_softmax"
    }

    fn kind(&self) -> Kind {
        Kind::Smooth
    }

    fn input(&self) -> Shape {
        self.shape
    }

    fn tape_len(&self, block: Block) -> usize {
        block.len(self.shape.features())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Options, check_layer};

    #[test]
    fn keeps_the_contract() {
        for shape in [Shape::flat(10), Shape::flat(16), Shape::new(3, 5, 7)] {
            check_layer(&LogSoftmax::new(shape), &Options::default()).assert();
        }
    }

    #[test]
    fn large_numbers_do_not_overflow() {
        let (mut y, mut tape) = ([0.0f32; 3], [0.0; 3]);
        let (layer, pass) = (LogSoftmax::new(Shape::flat(3)), Pass::eval(Block::single(1)));
        layer.forward(&pass, &[], &[3e38, -3e38, 3e38], &mut y, &mut tape, &mut []);
        assert_eq!(y, [-std::f32::consts::LN_2, f32::NEG_INFINITY, -std::f32::consts::LN_2]);
    }
}
