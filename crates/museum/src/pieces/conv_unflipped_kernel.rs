//! Convolution whose `dx` is the full correlation of `dy` with the kernel as it is, not turned by 180 degrees.
//!
//! Written as a scatter, the right line needs no turned kernel. It is the gather form, `dx = full correlation of dy with w`, that
//! does: reading `dy[o, r - p, t - q]` for output `(r, t)` runs through the kernel backwards.

use byhand_layers::{Conv2d, ConvOptions};

use super::prelude::*;
use crate::places::scatter;

#[derive(Debug)]
struct ConvUnflippedKernel;

impl Mistake for ConvUnflippedKernel {
    type Right = Conv2d;

    fn shown() -> Result<Conv2d, LayerError> {
        let options = ConvOptions { kernel: [3, 2], ..ConvOptions::square(1) };
        Conv2d::new(Shape::new(2, 9, 11), 3, options)
    }

    fn backward<T: Scalar>(conv: &Conv2d, call: Backward<'_, T>) {
        let ConvOptions { kernel, stride, .. } = conv.options();
        scatter(conv, call, stride, |[c, p, q]| {
            // <wrong>
            [c, kernel[0] - 1 - p, kernel[1] - 1 - q]
            // </wrong>
        });
    }
}

pub(super) const PIECE: Piece = Piece {
    name: "conv-unflipped-kernel",
    notebook: "classic",
    mistake: "dx slides the kernel over dy as it is, where it must be turned by 180 degrees",
    wrong: "dx[c, i*s0 + p - p0, j*s1 + q - p1] += w[o, c, k0-1 - p, k1-1 - q] * dy[o, i, j]",
    right: "dx[c, i*s0 + p - p0, j*s1 + q - p1] += w[o, c, p, q] * dy[o, i, j]",
    symptom: "it trains: a first layer needs no dx, and symmetric kernels hide it; the layers below learn from a mirrored gradient and add little",
    caught_by: EVERY_GRADIENT_CHECK,
    example: Example {
        layers: "conv(8,3) relu pool(2) conv(16,3) relu dense(10)",
        layer: Some(3),
        batch_size: 32,
        parts: 1,
    },
    source: include_str!("conv_unflipped_kernel.rs"),
    make: Make::layer::<ConvUnflippedKernel>(),
};
