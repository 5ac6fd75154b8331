//! Dense layer whose backward pass adds to `dx` as it adds to `dtheta`.

use byhand_layers::Dense;

use super::prelude::*;

#[derive(Debug)]
struct DenseAddsToDx;

impl Mistake for DenseAddsToDx {
    type Right = Dense;

    fn shown() -> Result<Dense, LayerError> {
        Dense::new(7, 5, true)
    }

    fn backward<T: Scalar>(dense: &Dense, call: Backward<'_, T>) {
        let Backward { pass, theta, saved, dy, dx: Some(dx), dtheta, scratch } = call else {
            return call.run(dense);
        };
        let mut right = vec![T::ZERO; dx.len()];
        Backward { pass, theta, saved, dy, dx: Some(&mut right), dtheta, scratch }.run(dense);
        // <wrong>
        dx.iter_mut().zip(right).for_each(|(dx, right)| *dx += right);
        // </wrong>
    }
}

pub(super) const PIECE: Piece = Piece {
    name: "dense-adds-to-dx",
    notebook: "classic",
    mistake: "dx is added to, not overwritten",
    wrong: "dx[i] += w[o, i] * dy[o]        with dx as the caller left it",
    right: "dx[i]  = 0, then the same",
    symptom: "right in the first step, when memory is fresh; then gradients of earlier steps and other layers pile up in the buffer",
    caught_by: &[
        Check::Clause(Clause::Overwrite),
        Check::Clause(Clause::Adjoint),
        Check::Clause(Clause::DualNumbers),
    ],
    example: Example {
        layers: "dense(64) relu dense(64) relu dense(10)",
        layer: Some(3),
        batch_size: 32,
        parts: 1,
    },
    source: include_str!("dense_adds_to_dx.rs"),
    make: Make::layer::<DenseAddsToDx>(),
};
