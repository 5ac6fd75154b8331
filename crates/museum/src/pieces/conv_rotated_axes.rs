//! Convolution whose `dx` turns the kernel by 180 degrees in the plane of a channel axis and one spatial axis.
//!
//! `rot90(w, 2, axes)` reverses both axes it is given. Here these are the input channel and the row: the columns stay as they are.
//! As a scatter, where the right line uses `w[o, c, p, q]`, this one uses `w[o, C-1 - c, p, k1-1 - q]`.

use byhand_layers::{Conv2d, ConvOptions};

use super::prelude::*;
use crate::places::scatter;

#[derive(Debug)]
struct ConvRotatedAxes;

impl Mistake for ConvRotatedAxes {
    type Right = Conv2d;

    fn shown() -> Result<Conv2d, LayerError> {
        let options = ConvOptions { kernel: [3, 2], ..ConvOptions::square(1) };
        Conv2d::new(Shape::new(2, 9, 11), 3, options)
    }

    fn backward<T: Scalar>(conv: &Conv2d, call: Backward<'_, T>) {
        let (channels, ConvOptions { kernel, stride, .. }) = (conv.input().c, conv.options());
        scatter(conv, call, stride, |[c, p, q]| {
            // <wrong>
            [channels - 1 - c, p, kernel[1] - 1 - q]
            // </wrong>
        });
    }
}

pub(super) const PIECE: Piece = Piece {
    name: "conv-rotated-axes",
    notebook: "C",
    mistake: "the kernel is turned about the channel axis and one spatial axis instead of about both spatial axes",
    wrong: "w180 = rot90(w, 2, axes = (channel, row));  dx = full correlation of dy with w180",
    right: "w180 = rot90(w, 2, axes = (row, column));   dx = full correlation of dy with w180",
    symptom: "the convolution below gets garbage, gradients of another channel, mirrored; the loss falls anyway while the layers above learn",
    caught_by: EVERY_GRADIENT_CHECK,
    example: Example {
        layers: "conv(8,3) relu pool(2) conv(16,3) relu dense(10)",
        layer: Some(3),
        batch_size: 32,
        parts: 1,
    },
    source: include_str!("conv_rotated_axes.rs"),
    make: Make::layer::<ConvRotatedAxes>(),
};
