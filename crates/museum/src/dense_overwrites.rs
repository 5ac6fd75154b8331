//! Dense layer that overwrites dtheta.

use byhand_layers::check::Clause;
use byhand_layers::{Dense, Layer, LayerError, Pass, Saved, Scalar};

use crate::geometry::{dense_of, described_by};
use crate::piece::{Check, Piece, StandIn, examine_layer};

/// Dense layer whose backward pass writes its gradient where it should add it.
///
/// # Wrong
/// ```text
/// dw[o, i]  = sum over samples of dy[o] * x[i]
/// ```
/// # Right
/// ```text
/// dw[o, i] += sum over samples of dy[o] * x[i]
/// ```
/// # Symptom
/// None while a minibatch is one block on one thread. Cut into several blocks, all but the last of them are forgotten, and the
/// accuracy falls a little when the batch grows: the last thing one looks for.
///
/// # Caught by
/// A gradient that already holds numbers; samples given one at a time.
#[derive(Clone, PartialEq, Debug)]
pub struct DenseOverwrites {
    right: Dense,
}

impl DenseOverwrites {
    /// As [`Dense::new`].
    ///
    /// # Errors
    /// As there.
    pub fn new(inputs: usize, outputs: usize, bias: bool) -> Result<Self, LayerError> {
        Ok(Self { right: Dense::new(inputs, outputs, bias)? })
    }
}

impl<T: Scalar> Layer<T> for DenseOverwrites {
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
        dtheta.fill(T::ZERO);
        self.right.backward(pass, theta, saved, dy, dx, dtheta, scratch);
    }
}

described_by!(DenseOverwrites, right);

pub(crate) const PIECE: Piece = Piece {
    name: "dense-overwrites",
    notebook: "classic",
    wrong_line: "dtheta is overwritten, not added to",
    symptom: "of a minibatch in several parts only the last counts",
    caught_by: &[Check::Clause(Clause::Accumulate), Check::Clause(Clause::Layouts)],
    examine: |options| examine_layer(DenseOverwrites::new(7, 5, true), Dense::new(7, 5, true), options),
    stand_in: StandIn::Layer(|right| {
        let (inputs, outputs, bias) = dense_of(right)?;
        Ok(Box::new(DenseOverwrites::new(inputs, outputs, bias)?))
    }),
};
