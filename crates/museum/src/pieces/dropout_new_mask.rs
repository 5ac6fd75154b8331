//! Dropout whose backward pass draws its mask again instead of using the one of forward.

use byhand_layers::Dropout;

use super::prelude::*;

#[derive(Debug)]
struct DropoutNewMask;

impl Mistake for DropoutNewMask {
    type Right = Dropout;

    fn shown() -> Result<Dropout, LayerError> {
        Dropout::new(Shape::new(3, 5, 7), 0.5)
    }

    fn backward<T: Scalar>(dropout: &Dropout, mut call: Backward<'_, T>) {
        // <wrong>
        if let Mode::Train { step, .. } = &mut call.pass.mode {
            *step += 1;
        }
        // </wrong>
        call.run(dropout);
    }
}

pub(super) const PIECE: Piece = Piece {
    name: "dropout-new-mask",
    notebook: "classic",
    mistake: "backward draws a mask of its own",
    wrong: "dx = dy * m(seed, step + 1)",
    right: "dx = dy * m(seed, step)",
    symptom: "gradients go through units that were off and miss some that were on; much noise, no error",
    caught_by: EVERY_GRADIENT_CHECK,
    example: Example {
        layers: "dense(64) relu dropout(0.5) dense(10)",
        layer: Some(3),
        batch_size: 32,
        parts: 1,
    },
    source: include_str!("dropout_new_mask.rs"),
    make: Make::layer::<DropoutNewMask>(),
};
