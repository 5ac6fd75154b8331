//! Sigmoid that evaluates `s (1 - s)` with `s` its input.

use byhand_layers::Sigmoid;

use super::prelude::*;

#[derive(Debug)]
struct SigmoidOfInput;

impl Mistake for SigmoidOfInput {
    type Right = Sigmoid;

    fn shown() -> Result<Sigmoid, LayerError> {
        Ok(Sigmoid::new(Shape::new(3, 5, 7)))
    }

    fn backward<T: Scalar>(_: &Sigmoid, call: Backward<'_, T>) {
        let Backward { saved, dy, dx: Some(dx), .. } = call else { return };
        for i in 0..dx.len() {
            // <wrong>
            dx[i] = dy[i] * saved.x[i] * (T::ONE - saved.x[i]);
            // </wrong>
        }
    }
}

pub(super) const PIECE: Piece = Piece {
    name: "sigmoid-of-input",
    notebook: "classic",
    mistake: "the derivative s(1 - s) is taken at the input instead of the output",
    wrong: "dx = dy * x * (1 - x)",
    right: "dx = dy * y * (1 - y)",
    symptom: "the derivative is negative for most inputs: the layers below learn in the wrong direction",
    caught_by: &[
        Check::Clause(Clause::CentralDifference),
        Check::Clause(Clause::FourPointDifference),
        Check::Clause(Clause::DualNumbers),
        Check::Twin,
    ],
    example: Example {
        layers: "dense(64) sigmoid dense(64) sigmoid dense(10)",
        layer: Some(2),
        batch_size: 32,
        parts: 1,
    },
    source: include_str!("sigmoid_of_input.rs"),
    make: Make::layer::<SigmoidOfInput>(),
};
