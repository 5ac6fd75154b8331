//! Tanh that takes `1 - y` for its derivative.

use byhand_layers::Tanh;

use super::prelude::*;

#[derive(Debug)]
struct TanhWithoutSquare;

impl Mistake for TanhWithoutSquare {
    type Right = Tanh;

    fn shown() -> Result<Tanh, LayerError> {
        Ok(Tanh::new(Shape::new(3, 5, 7)))
    }

    fn backward<T: Scalar>(_: &Tanh, call: Backward<'_, T>) {
        let Backward { saved, dy, dx: Some(dx), .. } = call else { return };
        for i in 0..dx.len() {
            // <wrong>
            dx[i] = dy[i] * (T::ONE - saved.y[i]);
            // </wrong>
        }
    }
}

pub(super) const PIECE: Piece = Piece {
    name: "tanh-without-square",
    notebook: "classic",
    mistake: "the derivative is 1 - y instead of 1 - y*y",
    wrong: "dx = dy * (1 - y)",
    right: "dx = dy * (1 - y*y)",
    symptom: "of the right sign and often of the right size, so it trains, to less; negative activations never saturate",
    caught_by: &[
        Check::Clause(Clause::CentralDifference),
        Check::Clause(Clause::FourPointDifference),
        Check::Clause(Clause::DualNumbers),
        Check::Twin,
    ],
    example: Example {
        layers: "dense(64) tanh dense(64) tanh dense(10)",
        layer: Some(2),
        batch_size: 32,
        parts: 1,
    },
    source: include_str!("tanh_without_square.rs"),
    make: Make::layer::<TanhWithoutSquare>(),
};
