//! Dense layer that hands back `W dy` where `W^T dy` is due.

use byhand_layers::{Dense, Params};

use super::prelude::*;

#[derive(Debug)]
struct DenseTransposed;

impl Mistake for DenseTransposed {
    type Right = Dense;

    fn shown() -> Result<Dense, LayerError> {
        Dense::new(6, 6, true)
    }

    fn unfit(dense: &Dense) -> Option<&'static str> {
        (dense.input() != dense.output()).then_some("a square dense layer")
    }

    fn backward<T: Scalar>(dense: &Dense, call: Backward<'_, T>) {
        let (n, block, theta, dy) = (dense.input().features(), call.pass.block, call.theta, call.dy);
        let Some(dx) = call.run_without_dx(dense) else { return };
        let Params { weight: w, .. } = dense.split(theta);
        dx.fill(T::ZERO);
        for sample in 0..block.samples() {
            for i in 0..n {
                for o in 0..n {
                    // <wrong>
                    dx[block.index(n, sample, i)] += w[i * n + o] * dy[block.index(n, sample, o)];
                    // </wrong>
                }
            }
        }
    }
}

pub(super) const PIECE: Piece = Piece {
    name: "dense-transposed",
    notebook: "classic",
    mistake: "dx = W dy instead of W^T dy, which only fits on a square layer",
    wrong: "dx[i] = sum over o of w[i, o] * dy[o]",
    right: "dx[i] = sum over o of w[o, i] * dy[o]",
    symptom: "none at the top of a network; the layers below learn from a random gradient",
    caught_by: EVERY_GRADIENT_CHECK,
    example: Example {
        layers: "dense(64) relu dense(64) relu dense(10)",
        layer: Some(3),
        batch_size: 32,
        parts: 1,
    },
    source: include_str!("dense_transposed.rs"),
    make: Make::layer::<DenseTransposed>(),
};
