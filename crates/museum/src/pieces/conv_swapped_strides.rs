//! Convolution whose backward pass takes the stride along rows for the one along columns.

use byhand_layers::{Conv2d, ConvOptions, Padding};

use super::prelude::*;
use crate::places::scatter;

#[derive(Debug)]
struct ConvSwappedStrides;

impl Mistake for ConvSwappedStrides {
    type Right = Conv2d;

    fn shown() -> Result<Conv2d, LayerError> {
        let options = ConvOptions {
            kernel: [2, 3],
            stride: [2, 3],
            pad: Padding::axes([1, 0]),
            ..ConvOptions::square(1)
        };
        Conv2d::new(Shape::new(2, 9, 11), 3, options)
    }

    fn backward<T: Scalar>(conv: &Conv2d, call: Backward<'_, T>) {
        // <wrong>
        let [s1, s0] = conv.options().stride;
        // </wrong>
        scatter(conv, call, [s0, s1], |at| at);
    }
}

pub(super) const PIECE: Piece = Piece {
    name: "conv-swapped-strides",
    notebook: "classic",
    mistake: "the strides along rows and along columns change places in dx",
    wrong: "dx[c, i*s1 + p - p0, j*s0 + q - p1] += w[o, c, p, q] * dy[o, i, j]",
    right: "dx[c, i*s0 + p - p0, j*s1 + q - p1] += w[o, c, p, q] * dy[o, i, j]",
    symptom: "none while both strides are equal, and nearly all are; else the layer below learns from gradients of other places",
    caught_by: EVERY_GRADIENT_CHECK,
    example: Example {
        layers: "conv(8,3) relu pool(2) conv(16,3,stride=2x1) relu dense(10)",
        layer: Some(3),
        batch_size: 32,
        parts: 1,
    },
    source: include_str!("conv_swapped_strides.rs"),
    make: Make::layer::<ConvSwappedStrides>(),
};
