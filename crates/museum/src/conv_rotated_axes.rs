//! Convolution whose input gradient turns the kernel about the wrong axes.

use byhand_layers::check::Clause;
use byhand_layers::{Conv2d, ConvOptions, Describe, Layer, LayerError, Params, Pass, Saved, Scalar, Shape};

use crate::geometry::{at, conv_of, described_by, grid, positions};
use crate::piece::{Check, Piece, StandIn, examine_layer};

/// Convolution whose `dx` turns the kernel by 180 degrees in the plane of a channel axis and one spatial axis.
///
/// # Wrong
/// ```text
/// w180 = rot90(w, 2, axes = (channel, row));  dx = full correlation of dy with w180
/// ```
/// # Right
/// ```text
/// w180 = rot90(w, 2, axes = (row, column));   dx = full correlation of dy with w180
/// ```
/// `rot90(w, 2, axes)` reverses both axes it is given. Here these are the input channel and the row: the columns stay as they are.
/// As a scatter, where the right line uses `w[o, c, p, q]`, this one uses `w[o, C-1 - c, p, k1-1 - q]`.
///
/// # Symptom
/// The convolution below gets garbage: gradients of another channel, mirrored along the columns. The loss falls anyway while the
/// layers above learn.
///
/// # Caught by
/// Every gradient check and the exact adjoint.
#[derive(Clone, PartialEq, Debug)]
pub struct ConvRotatedAxes {
    right: Conv2d,
}

impl ConvRotatedAxes {
    /// As [`Conv2d::new`].
    ///
    /// # Errors
    /// As there.
    pub fn new(input: Shape, c_out: usize, options: ConvOptions) -> Result<Self, LayerError> {
        Ok(Self { right: Conv2d::new(input, c_out, options)? })
    }
}

impl<T: Scalar> Layer<T> for ConvRotatedAxes {
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
                if d == T::ZERO {
                    continue; // most places, behind a pool: `seeds` trains with this one
                }
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
                            let (c, q) = (xs.c - 1 - c, kernel[1] - 1 - q);
                            dx[to] += w[((o * xs.c + c) * kernel[0] + p) * kernel[1] + q] * d;
                        }
                    }
                }
            }
        }
    }
}

described_by!(ConvRotatedAxes, right);

pub(crate) const PIECE: Piece = Piece {
    name: "conv-rotated-axes",
    notebook: "C",
    wrong_line: "the kernel is turned about the channel axis and one spatial axis instead of about both spatial axes",
    symptom: "convolutions below the first to be differentiated through get garbage",
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
            ConvRotatedAxes::new(input, 3, options_of_conv),
            Conv2d::new(input, 3, options_of_conv),
            options,
        )
    },
    stand_in: StandIn::Layer(|right| Ok(Box::new(ConvRotatedAxes { right: conv_of(right)? }))),
};
