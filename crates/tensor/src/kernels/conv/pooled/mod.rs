//! Convolution, then ReLU or not, then max-pooling, in one pass: an exact rewrite of the three kernels one after the other.
//!
//! Forward, the convolution's outputs are pooled while they are in registers, or in a few rows in the first cache, and never
//! written to memory; the place of each maximum is kept on the tape. Backward, only these places have a gradient. Every
//! sum is taken in the order of the plain chain, so the results have its bits.

mod backward_planes;
mod backward_tiled;
mod forward;
mod operands;
mod pooling;
mod windows;

pub(crate) use operands::{Backward, Forward};

use super::{direct, passes, weight_grad};
use crate::geometry::{Conv2d, ConvPool2d};
use crate::layout::{Block, LANES};
use crate::number::Number;
use crate::simd::{Kernel, Vector};
use forward::OVERHANG;
use operands::spread_plane;

/// Scratch that either pass may use.
pub(crate) fn scratch_len(chain: &ConvPool2d, block: Block) -> usize {
    let ConvPool2d { conv, pool, .. } = chain;
    let window_row = conv.c_out * pool.window()[0] * conv.w_out();
    if block.lanes() == LANES && !conv.is_winograd() {
        // What is spread, and what is folded of it; or rows of windows.
        let spread = conv.c_out * spread_plane(pool);
        let folded = direct::scratch_len(conv, block).max(weight_grad::fold_len(conv));
        return weight_grad::sums_len(conv) + folded + spread.max(window_row * LANES);
    }
    passes::scratch_len(conv, block) + window_row.max(block.len(conv.outputs()) + OVERHANG)
}

impl<T: Number> Kernel<T> for Forward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Elem = T>>(self) {
        let Conv2d { stride, pad, .. } = self.chain.conv;
        // Two rows by two vectors of neighbouring pixels hold a window of each lane, when a vector's windows lie in a row.
        let fits = self.block.lanes() == LANES || self.chain.pool.w_out() >= V::LANES;
        if self.chain.conv.is_winograd() {
            self.of_planes::<V>();
        } else if self.chain.pool.window() == [2, 2] && stride == [1, 1] && pad == [0, 0] && fits {
            self.in_registers::<V>();
        } else if self.block.lanes() == 1 && stride == [1, 1] {
            self.of_flat_planes::<V>();
        } else {
            self.by_rows::<V>();
        }
    }
}

impl<T: Number> Kernel<T> for Backward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Elem = T>>(self) {
        if self.block.lanes() == LANES && !self.chain.conv.is_winograd() {
            self.tiles::<V>();
        } else {
            self.planes::<V>();
        }
    }
}
