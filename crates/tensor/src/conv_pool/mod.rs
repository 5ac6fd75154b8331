//! Convolution, then ReLU or not, then max-pooling, in one pass: an exact rewrite of the three kernels one after the other.
//!
//! Forward, the convolution's outputs are pooled while they are in registers, or in a few rows in the first cache, and never
//! written to memory; the place of each maximum is kept on the tape. Backward, only these places have a gradient. Every
//! sum is taken in the order of the plain chain, so the results have its bits.

pub(crate) mod backward;
pub(crate) mod forward;
mod samples;

use crate::error::{MAX_ELEMENTS, check_product};
use crate::{Block, Conv2d, GeometryError, LANES, Pool2d, Scalar};
use backward::{Backward, spread_plane};
use forward::{Forward, OVERHANG};
use std::ops::Range;

/// `y = max_pool(relu(conv(x, w) + b))`, or without the ReLU: the geometry, and the kernels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConvPool2d {
    conv: Conv2d,
    pool: Pool2d,
    relu: bool,
}

impl ConvPool2d {
    /// Pooling of `conv`'s output by windows that do not overlap.
    ///
    /// # Errors
    /// As [`Pool2d::new`].
    pub fn new(conv: Conv2d, window: [usize; 2], relu: bool) -> Result<Self, GeometryError> {
        let pool = Pool2d::new([conv.c_out, conv.h_out(), conv.w_out()], window, window)?;
        check_product("conv and pool", "a window", &window, MAX_ELEMENTS)?;
        Ok(Self { conv, pool, relu })
    }

    /// The same chain for some of its output channels alone: each channel's numbers have the same bits.
    ///
    /// # Errors
    /// As [`Conv2d::with_outputs`].
    pub fn with_outputs(self, c_out: usize) -> Result<Self, GeometryError> {
        let conv = self.conv.with_outputs(c_out)?;
        Ok(Self { conv, pool: Pool2d { c: c_out, ..self.pool }, ..self })
    }

    /// The convolution.
    pub fn conv(&self) -> &Conv2d {
        &self.conv
    }

    /// The pooling.
    pub fn pool(&self) -> &Pool2d {
        &self.pool
    }

    /// Length of the tape: the place of each maximum.
    pub fn tape_len(&self, block: Block) -> usize {
        block.len(self.pool.outputs())
    }

    /// Scratch that either pass may use.
    pub fn scratch_len(&self, block: Block) -> usize {
        let conv = &self.conv;
        let window_row = conv.c_out * self.pool.window[0] * conv.w_out();
        if block.lanes() == LANES {
            // What is spread, and what is folded of it; or rows of windows.
            let spread = conv.c_out * spread_plane(&self.pool);
            return conv.scratch_len(block) + spread.max(window_row * LANES);
        }
        conv.scratch_len(block) + window_row.max(block.len(conv.outputs()) + OVERHANG)
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
        self.check(block, w.len(), x.len(), y.len(), tape.len(), scratch.len());
        assert!(b.is_none_or(|b| b.len() == self.conv.c_out), "conv and pool: length of the bias");
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
        self.check(block, w.len(), x.len(), dy.len(), tape.len(), scratch.len());
        assert!(dw.as_ref().is_none_or(|dw| dw.len() == w.len()), "conv and pool: length of dw");
        if let Some((inputs, dx)) = &dx {
            self.conv.check_dx("conv and pool", inputs, block, dx.len());
        }
        assert!(db.as_ref().is_none_or(|db| db.len() == self.conv.c_out), "conv and pool: length of db");
        assert!(dw.is_some() || db.is_none(), "conv and pool: db is made with dw, and not without");
        if block.is_empty() {
            return;
        }
        T::conv_pool_backward(Backward { chain: *self, block, w, x, tape, dy, dx, dw, db, scratch });
    }

    #[track_caller]
    fn check(&self, block: Block, w: usize, x: usize, y: usize, tape: usize, scratch: usize) {
        assert_eq!(w, self.conv.weight_len(), "conv and pool: length of the weight");
        assert_eq!(x, block.len(self.conv.inputs()), "conv and pool: length of x for {block:?}");
        assert_eq!(y, block.len(self.pool.outputs()), "conv and pool: length of y or dy for {block:?}");
        assert_eq!(tape, y, "conv and pool: length of the tape");
        assert!(scratch >= self.scratch_len(block), "conv and pool: scratch of {scratch} is too short");
    }
}
