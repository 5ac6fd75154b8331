//! Dropout that draws a new mask in its backward pass.

use byhand_layers::check::Clause;
use byhand_layers::{Dropout, Layer, LayerError, Mode, Pass, Saved, Scalar, Shape};

use crate::geometry::{described_by, expect};
use crate::piece::{Check, Piece, StandIn, examine_layer};

/// Dropout whose backward pass draws its mask again instead of using the one of forward.
///
/// # Wrong
/// ```text
/// dx = dy * m(seed, step + 1)
/// ```
/// # Right
/// ```text
/// dx = dy * m(seed, step)
/// ```
/// # Symptom
/// The gradient goes through units that were off and misses some that were on: noise of twice the size, no error anywhere.
///
/// # Caught by
/// The exact adjoint, differences and dual numbers, which all hold the mask fixed.
#[derive(Clone, PartialEq, Debug)]
pub struct DropoutNewMask {
    right: Dropout,
}

impl DropoutNewMask {
    /// As [`Dropout::new`].
    ///
    /// # Errors
    /// As there.
    pub fn new(shape: Shape, p: f64) -> Result<Self, LayerError> {
        Ok(Self { right: Dropout::new(shape, p)? })
    }
}

impl<T: Scalar> Layer<T> for DropoutNewMask {
    fn forward(&self, pass: &Pass, theta: &[T], x: &[T], y: &mut [T], tape: &mut [T], scratch: &mut [T]) {
        self.right.forward(pass, theta, x, y, tape, scratch);
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
        let mode = match pass.mode {
            Mode::Train { seed, step, first_sample } => Mode::Train { seed, step: step + 1, first_sample },
            Mode::Eval => Mode::Eval,
        };
        self.right.backward(&Pass { mode, ..*pass }, theta, saved, dy, dx, dtheta, scratch);
    }
}

described_by!(DropoutNewMask, right);

pub(crate) const PIECE: Piece = Piece {
    name: "dropout-new-mask",
    notebook: "classic",
    wrong_line: "backward draws a mask of its own",
    symptom: "gradients through units that were off; much noise, no error",
    caught_by: &[
        Check::Clause(Clause::Adjoint),
        Check::Clause(Clause::CentralDifference),
        Check::Clause(Clause::FourPointDifference),
        Check::Clause(Clause::DualNumbers),
        Check::Twin,
    ],
    examine: |options| {
        let shape = Shape::new(3, 5, 7);
        examine_layer(DropoutNewMask::new(shape, 0.5), Dropout::new(shape, 0.5), options)
    },
    stand_in: StandIn::Layer(|right| {
        expect(right, "dropout")?;
        let p = right.spec().trim_start_matches("dropout(").trim_end_matches(')').parse().unwrap_or(0.5);
        Ok(Box::new(DropoutNewMask::new(right.input(), p)?))
    }),
};
