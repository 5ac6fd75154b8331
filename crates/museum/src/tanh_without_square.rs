//! Tanh whose derivative forgets the square.

use byhand_layers::check::Clause;
use byhand_layers::{Layer, Pass, Saved, Scalar, Shape, Tanh};

use crate::geometry::{described_by, expect};
use crate::piece::{Check, Piece, StandIn, examine_layer};

/// Tanh that takes `1 - y` for its derivative.
///
/// # Wrong
/// ```text
/// dx = dy * (1 - y)
/// ```
/// # Right
/// ```text
/// dx = dy * (1 - y*y)
/// ```
/// # Symptom
/// Of the right sign and often of the right size, so it trains; negative activations never saturate.
///
/// # Caught by
/// Every gradient check.
#[derive(Clone, PartialEq, Debug)]
pub struct TanhWithoutSquare {
    right: Tanh,
}

impl TanhWithoutSquare {
    /// As [`Tanh::new`].
    pub fn new(shape: Shape) -> Self {
        Self { right: Tanh::new(shape) }
    }
}

impl<T: Scalar> Layer<T> for TanhWithoutSquare {
    fn forward(&self, pass: &Pass, theta: &[T], x: &[T], y: &mut [T], tape: &mut [T], scratch: &mut [T]) {
        self.right.forward(pass, theta, x, y, tape, scratch);
    }

    fn backward(
        &self,
        _pass: &Pass,
        _theta: &[T],
        saved: Saved<'_, T>,
        dy: &[T],
        dx: Option<&mut [T]>,
        _dtheta: &mut [T],
        _scratch: &mut [T],
    ) {
        let Some(dx) = dx else { return };
        for i in 0..dx.len() {
            dx[i] = dy[i] * (T::ONE - saved.y[i]);
        }
    }
}

described_by!(TanhWithoutSquare, right);

pub(crate) const PIECE: Piece = Piece {
    name: "tanh-without-square",
    notebook: "classic",
    wrong_line: "the derivative is 1 - y instead of 1 - y*y",
    symptom: "of the right sign, so it trains, to less",
    caught_by: &[
        Check::Clause(Clause::CentralDifference),
        Check::Clause(Clause::FourPointDifference),
        Check::Clause(Clause::DualNumbers),
        Check::Twin,
    ],
    examine: |options| {
        let shape = Shape::new(3, 5, 7);
        examine_layer(Ok(TanhWithoutSquare::new(shape)), Ok(Tanh::new(shape)), options)
    },
    stand_in: StandIn::Layer(|right| {
        expect(right, "tanh")?;
        Ok(Box::new(TanhWithoutSquare::new(right.input())))
    }),
};
