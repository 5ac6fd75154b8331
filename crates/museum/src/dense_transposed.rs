//! Dense layer whose input gradient takes the weights for their transpose.

use byhand_layers::check::Clause;
use byhand_layers::{Dense, Describe, Layer, LayerError, Params, Pass, Saved, Scalar};

use crate::geometry::{dense_of, described_by};
use crate::piece::{Check, Piece, StandIn, examine_layer};

/// Dense layer that hands back `W dy` where `W^T dy` is due.
///
/// # Wrong
/// ```text
/// dx[i] = sum over o of w[i, o] * dy[o]
/// ```
/// # Right
/// ```text
/// dx[i] = sum over o of w[o, i] * dy[o]
/// ```
/// # Symptom
/// None at the top of a network, whose `dx` it is not; below, random gradients. It only fits when the layer is square, which is why
/// a check of gradients needs square layers too.
///
/// # Caught by
/// Every gradient check and the exact adjoint.
#[derive(Clone, PartialEq, Debug)]
pub struct DenseTransposed {
    right: Dense,
}

impl DenseTransposed {
    /// A square layer of `n` inputs and outputs.
    ///
    /// # Errors
    /// As [`Dense::new`].
    pub fn new(n: usize, bias: bool) -> Result<Self, LayerError> {
        Ok(Self { right: Dense::new(n, n, bias)? })
    }
}

impl<T: Scalar> Layer<T> for DenseTransposed {
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
        let (n, block) = (self.right.input().features(), pass.block);
        let Params { weight: w, .. } = self.right.split(theta);
        dx.fill(T::ZERO);
        for sample in 0..block.samples() {
            for i in 0..n {
                for o in 0..n {
                    dx[block.index(n, sample, i)] += w[i * n + o] * dy[block.index(n, sample, o)];
                }
            }
        }
    }
}

described_by!(DenseTransposed, right);

pub(crate) const PIECE: Piece = Piece {
    name: "dense-transposed",
    notebook: "classic",
    wrong_line: "dx = W dy instead of W^T dy, which only fits on a square layer",
    symptom: "the layers below learn from a random gradient",
    caught_by: &[
        Check::Clause(Clause::Adjoint),
        Check::Clause(Clause::CentralDifference),
        Check::Clause(Clause::FourPointDifference),
        Check::Clause(Clause::DualNumbers),
        Check::Twin,
    ],
    examine: |options| examine_layer(DenseTransposed::new(6, true), Dense::new(6, 6, true), options),
    stand_in: StandIn::Layer(|right| match dense_of(right)? {
        (inputs, outputs, bias) if inputs == outputs => Ok(Box::new(DenseTransposed::new(inputs, bias)?)),
        _ => Err(LayerError::Value {
            layer: "museum",
            what: "the dense layer that is stood in for",
            expected: "square",
            found: right.spec(),
        }),
    }),
};
