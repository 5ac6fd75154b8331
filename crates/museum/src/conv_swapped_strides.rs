//! Convolution whose input gradient has its two strides in each other's place.

use byhand_layers::check::Clause;
use byhand_layers::{Conv2d, ConvOptions, Describe, Layer, LayerError, Params, Pass, Saved, Scalar, Shape};

use crate::geometry::{at, conv_of, described_by, grid, positions};
use crate::piece::{Check, Piece, StandIn, examine_layer};

/// Convolution whose backward pass takes the stride along rows for the one along columns.
///
/// # Wrong
/// ```text
/// dx[c, i*s1 + p - p0, j*s0 + q - p1] += w[o, c, p, q] * dy[o, i, j]
/// ```
/// # Right
/// ```text
/// dx[c, i*s0 + p - p0, j*s1 + q - p1] += w[o, c, p, q] * dy[o, i, j]
/// ```
/// # Symptom
/// None with equal strides, and nearly all are equal. Else the layer below learns from gradients of other places.
///
/// # Caught by
/// Every gradient check and the exact adjoint, on strides that differ.
#[derive(Clone, PartialEq, Debug)]
pub struct ConvSwappedStrides {
    right: Conv2d,
}

impl ConvSwappedStrides {
    /// As [`Conv2d::new`].
    ///
    /// # Errors
    /// As there.
    pub fn new(input: Shape, c_out: usize, options: ConvOptions) -> Result<Self, LayerError> {
        Ok(Self { right: Conv2d::new(input, c_out, options)? })
    }
}

impl<T: Scalar> Layer<T> for ConvSwappedStrides {
    fn forward(&self, pass: &Pass, theta: &[T], x: &[T], y: &mut [T], tape: &mut [T], scratch: &mut [T]) {
        self.right.forward(pass, theta, x, y, tape, scratch);
    }

    fn backward(
        &self,
        pass: &Pass,
        theta: &[T],
        saved: Saved<'_, T>,
        dy: &[T],
        dx: Option<&mut [T]>,
        dtheta: &mut [T],
        scratch: &mut [T],
    ) {
        self.right.backward(pass, theta, saved, dy, None, dtheta, scratch);
        let Some(dx) = dx else { return };
        let (xs, ys, block) = (self.right.input(), self.right.output(), pass.block);
        let ConvOptions { kernel, stride, pad, .. } = self.right.options();
        let Params { weight: w, .. } = self.right.split(theta);
        dx.fill(T::ZERO);
        for sample in 0..block.samples() {
            for (o, i, j) in positions(ys) {
                let d = dy[block.index(ys.features(), sample, at(ys, o, i, j))];
                for c in 0..xs.c {
                    for (p, q) in grid(kernel) {
                        let (r, t) = (
                            (i * stride[1] + p).checked_sub(pad[0]),
                            (j * stride[0] + q).checked_sub(pad[1]),
                        );
                        if let (Some(r), Some(t)) = (r, t)
                            && r < xs.h
                            && t < xs.w
                        {
                            let to = block.index(xs.features(), sample, at(xs, c, r, t));
                            dx[to] += w[((o * xs.c + c) * kernel[0] + p) * kernel[1] + q] * d;
                        }
                    }
                }
            }
        }
    }
}

described_by!(ConvSwappedStrides, right);

pub(crate) const PIECE: Piece = Piece {
    name: "conv-swapped-strides",
    notebook: "classic",
    wrong_line: "the strides along rows and along columns change places in dx",
    symptom: "none while both strides are equal",
    caught_by: &[
        Check::Clause(Clause::Adjoint),
        Check::Clause(Clause::CentralDifference),
        Check::Clause(Clause::FourPointDifference),
        Check::Clause(Clause::DualNumbers),
        Check::Twin,
    ],
    examine: |options| {
        let options_of_conv = ConvOptions { kernel: [2, 3], stride: [2, 3], pad: [1, 0], bias: true };
        let input = Shape::new(2, 9, 11);
        examine_layer(
            ConvSwappedStrides::new(input, 3, options_of_conv),
            Conv2d::new(input, 3, options_of_conv),
            options,
        )
    },
    stand_in: StandIn::Layer(|right| Ok(Box::new(ConvSwappedStrides { right: conv_of(right)? }))),
};
