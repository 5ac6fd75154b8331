//! Batch normalisation whose running variance is that of the minibatch, not an estimate of that of all images.

use byhand_layers::{BatchNorm, Layer};

use super::prelude::*;

#[derive(Debug)]
struct BatchNormBiasedVariance;

impl Mistake for BatchNormBiasedVariance {
    type Right = BatchNorm;

    fn shown() -> Result<BatchNorm, LayerError> {
        BatchNorm::new(Shape::flat(5), 0.1, BatchNorm::MOMENTUM)
    }

    fn remember<T: Scalar>(norm: &BatchNorm, block: Block, tape: &[T], theta: &mut [T]) {
        let mut tape = tape.to_vec();
        // <wrong>
        // n, a mean for each channel, a sum of squared distances for each: what the right layer divides by n - 1 is divided by n.
        let (n, channels) = (tape[0], norm.input().c);
        for squares in &mut tape[1 + channels..] {
            *squares *= (n - T::ONE) / n;
        }
        // </wrong>
        norm.remember(block, &tape, theta);
    }
}

pub(super) const PIECE: Piece = Piece {
    name: "batchnorm-biased-variance",
    notebook: "classic",
    mistake: "the running variance is the mean of the squared distances in the minibatch, which is too small on average: the mean that they \
              are measured from lies among its own numbers",
    wrong: "running_var += momentum * (sum((x - m)^2) / n - running_var)",
    right: "running_var += momentum * (sum((x - m)^2) / (n - 1) - running_var)",
    symptom: "training is as it should be, but evaluation divides by too little: with 4 numbers per channel in a minibatch the numbers behind \
              the layer are 15 % too large, with thousands one sees nothing",
    caught_by: &[Check::Clause(Clause::State), Check::Twin],
    example: Example {
        layers: "dense(64) batchnorm relu dense(10)",
        layer: Some(2),
        batch_size: 4,
        parts: 1,
    },
    source: include_str!("batchnorm_biased_variance.rs"),
    make: Make::layer::<BatchNormBiasedVariance>(),
};
