//! Sigmoid whose derivative takes the input for the output.

use byhand_layers::check::Clause;
use byhand_layers::{Layer, Pass, Saved, Scalar, Shape, Sigmoid};

use crate::geometry::{described_by, expect};
use crate::piece::{Check, Piece, StandIn, examine_layer};

/// Sigmoid that evaluates `s (1 - s)` with `s` its input.
///
/// # Wrong
/// ```text
/// dx = dy * x * (1 - x)
/// ```
/// # Right
/// ```text
/// dx = dy * y * (1 - y)
/// ```
/// # Symptom
/// The derivative is negative for most inputs: the layers below climb the loss instead of descending.
///
/// # Caught by
/// Every gradient check.
#[derive(Clone, PartialEq, Debug)]
pub struct SigmoidOfInput {
    right: Sigmoid,
}

impl SigmoidOfInput {
    /// As [`Sigmoid::new`].
    pub fn new(shape: Shape) -> Self {
        Self { right: Sigmoid::new(shape) }
    }
}

impl<T: Scalar> Layer<T> for SigmoidOfInput {
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
            dx[i] = dy[i] * saved.x[i] * (T::ONE - saved.x[i]);
        }
    }
}

described_by!(SigmoidOfInput, right);

pub(crate) const PIECE: Piece = Piece {
    name: "sigmoid-of-input",
    notebook: "classic",
    wrong_line: "the derivative s(1 - s) is taken at the input instead of the output",
    symptom: "the layers below learn in the wrong direction",
    caught_by: &[
        Check::Clause(Clause::CentralDifference),
        Check::Clause(Clause::FourPointDifference),
        Check::Clause(Clause::DualNumbers),
        Check::Twin,
    ],
    examine: |options| {
        let shape = Shape::new(3, 5, 7);
        examine_layer(Ok(SigmoidOfInput::new(shape)), Ok(Sigmoid::new(shape)), options)
    },
    stand_in: StandIn::Layer(|right| {
        expect(right, "sigmoid")?;
        Ok(Box::new(SigmoidOfInput::new(right.input())))
    }),
};
