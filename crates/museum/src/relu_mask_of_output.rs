//! ReLU whose mask asks for y >= 0.

use byhand_layers::check::Clause;
use byhand_layers::{Layer, Pass, Relu, Saved, Scalar, Shape};

use crate::geometry::{described_by, expect};
use crate::piece::{Check, Piece, StandIn, examine_layer};

/// ReLU whose backward pass lets the gradient through where `y >= 0`: everywhere, since no output is negative.
///
/// # Wrong
/// ```text
/// dx = dy where y >= 0, else 0
/// ```
/// # Right
/// ```text
/// dx = dy where y >  0, else 0
/// ```
/// # Symptom
/// Dead inputs learn as if they were alive. It trains, a little worse; a derivative of 1 everywhere is that of no ReLU at all.
///
/// # Caught by
/// Every gradient check; the derivative at the kink.
#[derive(Clone, PartialEq, Debug)]
pub struct ReluMaskOfOutput {
    right: Relu,
}

impl ReluMaskOfOutput {
    /// As [`Relu::new`].
    pub fn new(shape: Shape) -> Self {
        Self { right: Relu::new(shape) }
    }
}

impl<T: Scalar> Layer<T> for ReluMaskOfOutput {
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
            dx[i] = if saved.y[i] >= T::ZERO { dy[i] } else { T::ZERO };
        }
    }
}

described_by!(ReluMaskOfOutput, right);

pub(crate) const PIECE: Piece = Piece {
    name: "relu-mask-of-output",
    notebook: "classic",
    wrong_line: "the mask is y >= 0, which is always true, instead of y > 0",
    symptom: "the gradient passes where the unit is off; it trains, a little worse",
    caught_by: &[
        Check::Clause(Clause::Convention),
        Check::Clause(Clause::CentralDifference),
        Check::Clause(Clause::FourPointDifference),
        Check::Clause(Clause::DualNumbers),
        Check::Twin,
    ],
    examine: |options| {
        let shape = Shape::new(3, 5, 7);
        examine_layer(Ok(ReluMaskOfOutput::new(shape)), Ok(Relu::new(shape)), options)
    },
    stand_in: StandIn::Layer(|right| {
        expect(right, "relu")?;
        Ok(Box::new(ReluMaskOfOutput::new(right.input())))
    }),
};
