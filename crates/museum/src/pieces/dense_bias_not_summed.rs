//! Dense layer whose bias gradient forgets the sum over the samples.

use byhand_layers::Dense;

use super::prelude::*;

#[derive(Debug)]
struct DenseBiasNotSummed;

impl Mistake for DenseBiasNotSummed {
    type Right = Dense;

    fn shown() -> Result<Dense, LayerError> {
        Dense::new(7, 5, true)
    }

    fn unfit(dense: &Dense) -> Option<&'static str> {
        (dense.params().len() < 2).then_some("a dense layer with a bias")
    }

    fn backward<T: Scalar>(dense: &Dense, call: Backward<'_, T>) {
        let (block, dy, outputs) = (call.pass.block, call.dy, dense.output().features());
        let Backward { pass, theta, saved, dx, dtheta, scratch, .. } = call;
        let before = dtheta.to_vec();
        Backward { pass, theta, saved, dy, dx, dtheta: &mut *dtheta, scratch }.run(dense);
        let first = dtheta.len() - outputs;
        for o in 0..outputs {
            // <wrong>
            let last = block.samples() - 1;
            dtheta[first + o] = before[first + o] + dy[block.index(outputs, last, o)];
            // </wrong>
        }
    }
}

pub(super) const PIECE: Piece = Piece {
    name: "dense-bias-not-summed",
    notebook: "classic",
    mistake: "db is the gradient of the last sample, not the sum over all",
    wrong: "db[o] += dy[o] of the last sample",
    right: "db[o] += sum over samples of dy[o]",
    symptom: "none with a batch of 1, where many a backward pass is first written; else biases learn slowly and from noise",
    caught_by: &[
        Check::Clause(Clause::Adjoint),
        Check::Clause(Clause::Layouts),
        Check::Clause(Clause::CentralDifference),
        Check::Clause(Clause::FourPointDifference),
        Check::Clause(Clause::DualNumbers),
        Check::Twin,
    ],
    example: Example {
        layers: "dense(64) relu dense(64) relu dense(10)",
        layer: Some(3),
        batch_size: 32,
        parts: 1,
    },
    source: include_str!("dense_bias_not_summed.rs"),
    make: Make::layer::<DenseBiasNotSummed>(),
};
