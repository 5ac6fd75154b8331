//! Dense layer that adds to dx what it should write there.

use byhand_layers::check::Clause;
use byhand_layers::{Dense, Describe, Layer, LayerError, Params, Pass, Saved, Scalar};

use crate::geometry::{dense_of, described_by};
use crate::piece::{Check, Piece, StandIn, examine_layer};

/// Dense layer whose backward pass adds to `dx` as it adds to `dtheta`.
///
/// # Wrong
/// ```text
/// dx[i] += w[o, i] * dy[o]        with dx as the caller left it
/// ```
/// # Right
/// ```text
/// dx[i]  = 0, then the same
/// ```
/// # Symptom
/// Right in the first step, when memory is fresh; then gradients of earlier steps and other layers stay in it and grow.
///
/// # Caught by
/// Memory full of NaN: what is not overwritten stays NaN. So does everything that follows.
#[derive(Clone, PartialEq, Debug)]
pub struct DenseAddsToDx {
    right: Dense,
}

impl DenseAddsToDx {
    /// As [`Dense::new`].
    ///
    /// # Errors
    /// As there.
    pub fn new(inputs: usize, outputs: usize, bias: bool) -> Result<Self, LayerError> {
        Ok(Self { right: Dense::new(inputs, outputs, bias)? })
    }
}

impl<T: Scalar> Layer<T> for DenseAddsToDx {
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
        self.right.backward(pass, theta, saved, dy, None, dtheta, scratch);
        let Some(dx) = dx else { return };
        let (inputs, outputs, block) =
            (self.right.input().features(), self.right.output().features(), pass.block);
        let Params { weight: w, .. } = self.right.split(theta);
        for sample in 0..block.samples() {
            for o in 0..outputs {
                for i in 0..inputs {
                    dx[block.index(inputs, sample, i)] +=
                        w[o * inputs + i] * dy[block.index(outputs, sample, o)];
                }
            }
        }
    }
}

described_by!(DenseAddsToDx, right);

pub(crate) const PIECE: Piece = Piece {
    name: "dense-adds-to-dx",
    notebook: "classic",
    wrong_line: "dx is added to, not overwritten",
    symptom: "right in the first step; then old gradients pile up in the buffer",
    caught_by: &[
        Check::Clause(Clause::Overwrite),
        Check::Clause(Clause::Adjoint),
        Check::Clause(Clause::DualNumbers),
    ],
    examine: |options| examine_layer(DenseAddsToDx::new(7, 5, true), Dense::new(7, 5, true), options),
    stand_in: StandIn::Layer(|right| {
        let (inputs, outputs, bias) = dense_of(right)?;
        Ok(Box::new(DenseAddsToDx::new(inputs, outputs, bias)?))
    }),
};
