//! ReLU whose backward pass lets the gradient through where `y >= 0`: everywhere, since no output is negative.

use byhand_layers::Relu;

use super::prelude::*;

#[derive(Debug)]
struct ReluMaskOfOutput;

impl Mistake for ReluMaskOfOutput {
    type Right = Relu;

    fn shown() -> Result<Relu, LayerError> {
        Ok(Relu::new(Shape::new(3, 5, 7)))
    }

    fn backward<T: Scalar>(_: &Relu, call: Backward<'_, T>) {
        let Backward { saved, dy, dx: Some(dx), .. } = call else { return };
        for i in 0..dx.len() {
            // <wrong>
            dx[i] = if saved.y[i] >= T::ZERO { dy[i] } else { T::ZERO };
            // </wrong>
        }
    }
}

pub(super) const PIECE: Piece = Piece {
    name: "relu-mask-of-output",
    notebook: "classic",
    mistake: "the mask is y >= 0, which is always true, instead of y > 0",
    wrong: "dx = dy where y >= 0, else 0",
    right: "dx = dy where y >  0, else 0",
    symptom: "the gradient passes where the unit is off; it trains, a little worse",
    caught_by: &[
        Check::Clause(Clause::Convention),
        Check::Clause(Clause::CentralDifference),
        Check::Clause(Clause::FourPointDifference),
        Check::Clause(Clause::DualNumbers),
        Check::Twin,
    ],
    example: Example {
        layers: "dense(64) relu dense(64) relu dense(10)",
        layer: Some(2),
        batch_size: 32,
        parts: 1,
    },
    source: include_str!("relu_mask_of_output.rs"),
    make: Make::layer::<ReluMaskOfOutput>(),
};
