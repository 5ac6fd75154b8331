//! Convolution whose input gradient slides the kernel without turning it.

use byhand_layers::check::Clause;
use byhand_layers::{Conv2d, ConvOptions, Describe, Layer, LayerError, Params, Pass, Saved, Scalar, Shape};

use crate::geometry::{at, conv_of, described_by, grid, positions};
use crate::piece::{Check, Piece, StandIn, examine_layer};

/// Convolution whose `dx` is the full correlation of `dy` with the kernel as it is, not turned by 180 degrees.
///
/// # Wrong
/// ```text
/// dx[c, i*s0 + p - p0, j*s1 + q - p1] += w[o, c, k0-1 - p, k1-1 - q] * dy[o, i, j]
/// ```
/// # Right
/// ```text
/// dx[c, i*s0 + p - p0, j*s1 + q - p1] += w[o, c, p, q] * dy[o, i, j]
/// ```
/// Written as a scatter, the right line needs no turned kernel. It is the gather form, `dx = full correlation of dy with w`, that
/// does: reading `dy[o, r - p, t - q]` for output `(r, t)` runs through the kernel backwards.
///
/// # Symptom
/// It trains: the mistake is invisible in a first layer, which needs no `dx`, and kernels that are symmetric hide it. The layer
/// below learns from a mirrored gradient and adds little.
///
/// # Caught by
/// Every gradient check and the exact adjoint.
#[derive(Clone, PartialEq, Debug)]
pub struct ConvUnflippedKernel {
    right: Conv2d,
}

impl ConvUnflippedKernel {
    /// As [`Conv2d::new`].
    ///
    /// # Errors
    /// As there.
    pub fn new(input: Shape, c_out: usize, options: ConvOptions) -> Result<Self, LayerError> {
        Ok(Self { right: Conv2d::new(input, c_out, options)? })
    }
}

impl<T: Scalar> Layer<T> for ConvUnflippedKernel {
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
                            (i * stride[0] + p).checked_sub(pad[0]),
                            (j * stride[1] + q).checked_sub(pad[1]),
                        );
                        if let (Some(r), Some(t)) = (r, t)
                            && r < xs.h
                            && t < xs.w
                        {
                            let to = block.index(xs.features(), sample, at(xs, c, r, t));
                            let (p, q) = (kernel[0] - 1 - p, kernel[1] - 1 - q);
                            dx[to] += w[((o * xs.c + c) * kernel[0] + p) * kernel[1] + q] * d;
                        }
                    }
                }
            }
        }
    }
}

described_by!(ConvUnflippedKernel, right);

pub(crate) const PIECE: Piece = Piece {
    name: "conv-unflipped-kernel",
    notebook: "classic",
    wrong_line: "dx slides the kernel over dy as it is, where it must be turned by 180 degrees",
    symptom: "the layers below learn from a mirrored gradient",
    caught_by: &[
        Check::Clause(Clause::Adjoint),
        Check::Clause(Clause::CentralDifference),
        Check::Clause(Clause::FourPointDifference),
        Check::Clause(Clause::DualNumbers),
        Check::Twin,
    ],
    examine: |options| {
        let options_of_conv = ConvOptions { kernel: [3, 2], stride: [1, 1], pad: [0, 0], bias: true };
        let input = Shape::new(2, 9, 11);
        examine_layer(
            ConvUnflippedKernel::new(input, 3, options_of_conv),
            Conv2d::new(input, 3, options_of_conv),
            options,
        )
    },
    stand_in: StandIn::Layer(|right| Ok(Box::new(ConvUnflippedKernel { right: conv_of(right)? }))),
};
