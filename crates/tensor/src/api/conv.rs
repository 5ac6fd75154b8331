//! The passes of a convolution.

use crate::check;
use crate::dispatch::Scalar;
use crate::geometry::Conv2d;
use crate::kernels::conv::{self, BackwardInput, BackwardParams, Forward};
use crate::layout::Block;
use std::ops::Range;

/// The name in messages.
const NAME: &str = "conv";

impl Conv2d {
    /// Scratch that each of the three passes may use. What is in it before does not matter.
    pub fn scratch_len(&self, block: Block) -> usize {
        conv::scratch_len(self, block)
    }

    /// `y = conv(x, w) + b`: `[c_out, h_out, w_out]` from `[c_in, h_in, w_in]`, each a row of lanes. Overwrites `y`.
    ///
    /// # Panics
    /// If a slice has not the length its shape says.
    #[track_caller]
    pub fn forward<T: Scalar>(
        &self,
        block: Block,
        w: &[T],
        b: Option<&[T]>,
        x: &[T],
        y: &mut [T],
        scratch: &mut [T],
    ) {
        self.check(block, w.len(), scratch.len());
        check::features(NAME, "x", x.len(), block, self.inputs());
        check::features(NAME, "y", y.len(), block, self.outputs());
        if let Some(b) = b {
            check::length(NAME, "the bias", b.len(), self.c_out);
        }
        if block.is_empty() {
            return;
        }
        T::conv_forward(Forward { conv: *self, block, w, b, x, y, scratch });
    }

    /// `dx[c, p, q] = sum_{o, u, v} w[o, c, u, v] * dy[o, i, j]` over all `i * stride + u - pad = p`, `j * stride + v - pad = q`.
    /// Overwrites `dx`, which holds the input channels `inputs` and no others.
    ///
    /// Rows `p` with the same `(p + pad) mod stride` see the same kernel rows `u = r, r + stride, ...`: for each such class it
    /// is a correlation of stride 1 with the kernel walked backwards.
    ///
    /// # Panics
    /// If there are not such channels, or a slice has not the length its shape says.
    #[track_caller]
    pub fn backward_input<T: Scalar>(
        &self,
        inputs: Range<usize>,
        block: Block,
        w: &[T],
        dy: &[T],
        dx: &mut [T],
        scratch: &mut [T],
    ) {
        self.check(block, w.len(), scratch.len());
        check::features(NAME, "dy", dy.len(), block, self.outputs());
        check::range(NAME, "input channels", &inputs, self.c_in);
        check::features(NAME, "dx", dx.len(), block, inputs.len() * self.h_in * self.w_in);
        if dx.is_empty() {
            return;
        }
        T::conv_backward_input(BackwardInput { conv: *self, inputs, block, w, dy, dx, scratch });
    }

    /// `dw[o, c, u, v] += sum over samples, i, j of dy[o, i, j] * x[c, i * stride + u - pad, j * stride + v - pad]` and
    /// `db[o] += sum of dy[o, i, j]`. Adds to both.
    ///
    /// # Panics
    /// If a slice has not the length its shape says.
    #[track_caller]
    pub fn backward_params<T: Scalar>(
        &self,
        block: Block,
        x: &[T],
        dy: &[T],
        dw: &mut [T],
        db: Option<&mut [T]>,
        scratch: &mut [T],
    ) {
        self.check(block, dw.len(), scratch.len());
        check::features(NAME, "x", x.len(), block, self.inputs());
        check::features(NAME, "dy", dy.len(), block, self.outputs());
        if let Some(db) = &db {
            check::length(NAME, "db", db.len(), self.c_out);
        }
        if block.is_empty() {
            return;
        }
        T::conv_backward_params(BackwardParams { conv: *self, block, x, dy, dw, db, scratch });
    }

    #[track_caller]
    fn check(&self, block: Block, w: usize, scratch: usize) {
        check::length(NAME, "the weight", w, self.weight_len());
        check::scratch(NAME, scratch, self.scratch_len(block));
    }
}
