//! The products of a dense (fully connected) layer, each by the kernels that suit it: tiles by [matrix products](gemm), but for
//! [few samples](few_samples) and for input gradients [along the inputs](along_inputs); [single samples](single) with vectors along
//! the inputs; the [weight gradient](weight_grad) from operands that were [packed](kept) before.

mod along_inputs;
mod few_samples;
mod gemm;
mod kept;
mod operands;
mod rank_k;
mod single;
mod update;
mod weight_grad;

pub(crate) use kept::Keep;
pub use kept::Kept;
pub(crate) use operands::{BackwardInput, Forward};
pub(crate) use weight_grad::Apply;

use crate::geometry::Dense;
use crate::layout::{Block, LANES};
use crate::number::Number;
use crate::simd::{Kernel, Vector};

/// Scratch of the forward pass: partial sums.
pub(crate) fn forward_len(dense: &Dense, block: Block) -> usize {
    if block.lanes() == 1 {
        single::sums_len(dense, block.samples())
    } else {
        few_samples::scratch_len(dense)
    }
}

/// Scratch of the forward pass that is fed rows: some inputs of them as tiles.
pub(crate) fn forward_rows_len(dense: &Dense, block: Block) -> usize {
    block.len(gemm::row_chunk(dense.inputs, block.tiles()))
}

/// Scratch of the input gradient: a panel of the weight, or dx of a tile, sample by sample.
pub(crate) fn backward_input_len(dense: &Dense, block: Block) -> usize {
    if block.lanes() == 1 { 0 } else { (dense.inputs * LANES).max(dense.outputs * gemm::PANEL) }
}

impl<T: Number> Kernel<T> for Forward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Elem = T>>(self) {
        if self.block.lanes() == 1 {
            self.rows::<V>();
        } else if few_samples::suits(&self.dense, self.block) {
            self.few::<V>();
        } else {
            self.tiles::<V>();
        }
    }
}

impl<T: Number> Kernel<T> for BackwardInput<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Elem = T>>(mut self) {
        if self.block.lanes() == 1 {
            return self.rows::<V>();
        }
        let done = if self.goes_along_inputs::<V>() { self.along_inputs::<V>() } else { 0 };
        self.tiles::<V>(done);
    }
}
