//! Batch normalisation whose backward pass takes mean and variance for constants.

use byhand_layers::{BatchNorm, Mode};

use super::prelude::*;

#[derive(Debug)]
struct BatchNormConstants;

impl Mistake for BatchNormConstants {
    type Right = BatchNorm;

    fn shown() -> Result<BatchNorm, LayerError> {
        BatchNorm::new(Shape::new(3, 5, 7), 0.1, BatchNorm::MOMENTUM)
    }

    fn backward<T: Scalar>(norm: &BatchNorm, mut call: Backward<'_, T>) {
        // <wrong>
        // In evaluation they are constants, and dx = g * r * dy is right.
        call.pass.mode = Mode::Eval;
        // </wrong>
        call.run(norm);
    }
}

pub(super) const PIECE: Piece = Piece {
    name: "batchnorm-constants",
    notebook: "classic",
    mistake: "the backward pass takes mean and variance for constants, but both depend on every x",
    wrong: "dx = g * r * dy",
    right: "dx = g * r * (dy - db / n - (x - m) * r * dg / n)",
    symptom: "the layers below are pushed along directions that the normalisation takes out again: their weights grow from step to step, \
              and training is slower or diverges",
    caught_by: &[
        Check::Clause(Clause::CentralDifference),
        Check::Clause(Clause::FourPointDifference),
        Check::Clause(Clause::DualNumbers),
        Check::Twin,
    ],
    example: Example {
        layers: "conv(8,3) batchnorm relu pool(2) dense(10)",
        layer: Some(1),
        batch_size: 32,
        parts: 1,
    },
    source: include_str!("batchnorm_constants.rs"),
    make: Make::layer::<BatchNormConstants>(),
};
