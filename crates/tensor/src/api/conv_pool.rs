//! The passes of convolution, ReLU and max-pooling in one.

use crate::check;
use crate::dispatch::Scalar;
use crate::geometry::{Conv2d, ConvPool2d};
use crate::kernels::conv::pooled::{self, Backward, Forward};
use crate::layout::Block;
use std::ops::Range;

/// The name in messages.
const NAME: &str = "conv and pool";

impl ConvPool2d {
    /// Scratch that either pass may use. What is in it before does not matter.
    pub fn scratch_len(&self, block: Block) -> usize {
        pooled::scratch_len(self, block)
    }

    /// Forward. Overwrites `y` and `tape`, which receives the place of the first maximum in its window,
    /// `u * window_columns + v`, or the window's size where a ReLU lets nothing through.
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
        tape: &mut [T],
        scratch: &mut [T],
    ) {
        self.check(block, w.len(), x.len(), tape.len(), scratch.len());
        check::features(NAME, "y", y.len(), block, self.pool.outputs());
        if let Some(b) = b {
            check::length(NAME, "the bias", b.len(), self.conv.c_out);
        }
        if block.is_empty() {
            return;
        }
        T::conv_pool_forward(Forward { chain: *self, block, w, b, x, y, tape, scratch });
    }

    /// Backward. Adds to `dw` and `db` and overwrites `dx`, that of the input channels that are named with it, where they are wanted; `db`
    /// is made with `dw` alone.
    ///
    /// # Panics
    /// If there are not such channels, a slice has not the length its shape says, or `db` is wanted without `dw`.
    #[track_caller]
    pub fn backward<T: Scalar>(
        &self,
        block: Block,
        w: &[T],
        x: &[T],
        tape: &[T],
        dy: &[T],
        dx: Option<(Range<usize>, &mut [T])>,
        dw: Option<&mut [T]>,
        db: Option<&mut [T]>,
        scratch: &mut [T],
    ) {
        self.check(block, w.len(), x.len(), tape.len(), scratch.len());
        check::features(NAME, "dy", dy.len(), block, self.pool.outputs());
        let Conv2d { c_in, h_in, w_in, c_out, .. } = self.conv;
        if let Some((inputs, dx)) = &dx {
            check::range(NAME, "input channels", inputs, c_in);
            check::features(NAME, "dx", dx.len(), block, inputs.len() * h_in * w_in);
        }
        if let Some(dw) = &dw {
            check::length(NAME, "dw", dw.len(), w.len());
        }
        if let Some(db) = &db {
            check::length(NAME, "db", db.len(), c_out);
        }
        assert!(dw.is_some() || db.is_none(), "{NAME}: db is made with dw, and not without");
        // The gradient of no channels asks for nothing, and its slice has no address to begin from.
        let dx = dx.filter(|(inputs, _)| !inputs.is_empty());
        if block.is_empty() || (dx.is_none() && dw.is_none()) {
            return;
        }
        T::conv_pool_backward(Backward { chain: *self, block, w, x, tape, dy, dx, dw, db, scratch });
    }

    #[track_caller]
    fn check(&self, block: Block, w: usize, x: usize, tape: usize, scratch: usize) {
        check::length(NAME, "the weight", w, self.conv.weight_len());
        check::features(NAME, "x", x, block, self.conv.inputs());
        check::features(NAME, "the tape", tape, block, self.pool.outputs());
        check::scratch(NAME, scratch, self.scratch_len(block));
    }
}
