//! Dense layer whose bias gradient is that of one sample.

use byhand_layers::check::Clause;
use byhand_layers::{Dense, Describe, Layer, LayerError, ParamsMut, Pass, Saved, Scalar};

use crate::geometry::{dense_of, described_by};
use crate::piece::{Check, Piece, StandIn, examine_layer};

/// Dense layer whose bias gradient forgets the sum over the samples.
///
/// # Wrong
/// ```text
/// db[o] += dy[o] of the last sample
/// ```
/// # Right
/// ```text
/// db[o] += sum over samples of dy[o]
/// ```
/// # Symptom
/// None with a batch of 1, where many a backward pass is first written. Later: biases that learn 1/N as fast, or from noise.
///
/// # Caught by
/// Every gradient check and the exact adjoint, with two samples or more; samples given one at a time.
#[derive(Clone, PartialEq, Debug)]
pub struct DenseBiasNotSummed {
    right: Dense,
    /// The same without its bias: what remains when the bias is done by hand.
    product: Dense,
}

impl DenseBiasNotSummed {
    /// As [`Dense::new`], with a bias.
    ///
    /// # Errors
    /// As there.
    pub fn new(inputs: usize, outputs: usize) -> Result<Self, LayerError> {
        Ok(Self { right: Dense::new(inputs, outputs, true)?, product: Dense::new(inputs, outputs, false)? })
    }
}

impl<T: Scalar> Layer<T> for DenseBiasNotSummed {
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
        let ParamsMut { weight: dw, bias: db } = self.right.split_mut(dtheta);
        self.product.backward(pass, self.right.split(theta).weight, saved, dy, dx, dw, scratch);
        let last = pass.block.samples() - 1;
        for (o, db) in db.into_iter().flatten().enumerate() {
            *db += dy[pass.block.index(self.right.output().features(), last, o)];
        }
    }
}

described_by!(DenseBiasNotSummed, right);

pub(crate) const PIECE: Piece = Piece {
    name: "dense-bias-not-summed",
    notebook: "classic",
    wrong_line: "db is the gradient of the last sample, not the sum over all",
    symptom: "none with a batch of 1; else biases learn slowly and from noise",
    caught_by: &[
        Check::Clause(Clause::Adjoint),
        Check::Clause(Clause::Layouts),
        Check::Clause(Clause::CentralDifference),
        Check::Clause(Clause::FourPointDifference),
        Check::Clause(Clause::DualNumbers),
        Check::Twin,
    ],
    examine: |options| examine_layer(DenseBiasNotSummed::new(7, 5), Dense::new(7, 5, true), options),
    stand_in: StandIn::Layer(|right| match dense_of(right)? {
        (inputs, outputs, true) => Ok(Box::new(DenseBiasNotSummed::new(inputs, outputs)?)),
        _ => Err(LayerError::Value {
            layer: "museum",
            what: "the dense layer that is stood in for",
            expected: "one with a bias",
            found: right.spec(),
        }),
    }),
};
