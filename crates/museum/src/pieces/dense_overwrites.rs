//! Dense layer whose backward pass writes its gradient where it should add it.

use byhand_layers::Dense;

use super::prelude::*;

#[derive(Debug)]
struct DenseOverwrites;

impl Mistake for DenseOverwrites {
    type Right = Dense;

    fn shown() -> Result<Dense, LayerError> {
        Dense::new(7, 5, true)
    }

    fn backward<T: Scalar>(dense: &Dense, call: Backward<'_, T>) {
        // <wrong>
        call.dtheta.fill(T::ZERO);
        // </wrong>
        call.run(dense);
    }
}

pub(super) const PIECE: Piece = Piece {
    name: "dense-overwrites",
    notebook: "classic",
    mistake: "dtheta is overwritten, not added to",
    wrong: "dw[o, i]  = sum over samples of dy[o] * x[i]",
    right: "dw[o, i] += sum over samples of dy[o] * x[i]",
    symptom: "none while a minibatch is one block; of a minibatch in several parts only the last counts, and accuracy falls a little when the batch grows",
    caught_by: &[Check::Clause(Clause::Accumulate), Check::Clause(Clause::Layouts)],
    example: Example {
        layers: "dense(64) relu dense(64) relu dense(10)",
        layer: Some(3),
        batch_size: 32,
        parts: 2,
    },
    source: include_str!("dense_overwrites.rs"),
    make: Make::layer::<DenseOverwrites>(),
};
