//! The input gradient of tiles with vectors along the inputs: the weight is read as it lies, and what comes out is transposed into
//! the tile.

use super::gemm::columns;
use super::operands::BackwardInput;
use super::single::SamplesByInputs;
use crate::blocking::{best_shape, cover};
use crate::layout::LANES;
use crate::number::Number;
use crate::simd::Vector;

/// Outputs from which on a transpose of each sixteen inputs is little beside their sums.
const MIN_OUTPUTS: usize = 3 * LANES;

/// Tiles from which on packing the weight, once for all of them, costs less than reading it for each.
const MAX_TILES: usize = 4;

impl<T: Number> BackwardInput<'_, T> {
    /// Whether this is faster than [matrix products](super::gemm) over lanes: where a quarter of the lanes or more would be empty, and of
    /// few tiles where blocks are as large as only a set with sixteen lanes has them.
    #[inline(always)]
    pub(super) fn goes_along_inputs<V: Vector<Elem = T>>(&self) -> bool {
        let Self { dense, ref inputs, block, .. } = *self;
        let lanes = columns::<V>(block) * V::LANES;
        let pays = V::LANES == LANES && dense.outputs >= MIN_OUTPUTS && block.tiles() <= MAX_TILES;
        inputs.len() >= 4 * LANES && (pays || 4 * block.samples() <= 3 * lanes)
    }

    /// As many inputs as make up whole sixteens; returns how many. Each number is the sum over outputs in order, as by matrix products
    /// over lanes: the same bits.
    #[inline(always)]
    pub(super) fn along_inputs<V: Vector<Elem = T>>(&mut self) -> usize {
        let Self { dense, ref inputs, block, w, dy, ref dx, dx_features, .. } = *self;
        let done = inputs.len() / LANES * LANES;
        for t in 0..block.tiles() {
            let samples = block.live(t);
            // Of few samples only half a square is transposed.
            let half = if samples <= LANES / 2 { LANES / 2 } else { LANES };
            let rows = &mut self.scratch[..half * done];
            // A lane without a sample has a gradient of zero.
            rows[samples * done..].fill(T::ZERO);
            let rows = rows.as_mut_ptr();
            let product = SamplesByInputs::<_, true> {
                dy: dy[t * dense.outputs * LANES..].as_ptr(),
                dy_row: LANES,
                w: w[inputs.start..].as_ptr(),
                row: dense.inputs,
                outputs: dense.outputs,
                dx: rows,
                dx_row: done,
            };
            let vectors = done / V::LANES;
            // SAFETY: there is room for every sample, and the other lengths were checked against the sizes; the shape fits.
            unsafe {
                cover::<V>(&product, [best_shape::<V>(samples, vectors); 2], samples, (0, vectors));
                for i in (0..done).step_by(LANES) {
                    let to = dx.start.add((t * dx_features + i) * LANES);
                    // Vectors that reach beyond that half.
                    for lane in (0..LANES).step_by(V::LANES).filter(|lane| lane + V::LANES > half) {
                        for feature in 0..LANES {
                            V::splat(T::ZERO).store(to.add(feature * LANES + lane));
                        }
                    }
                    V::transpose16(rows.add(i), done, [LANES, half], to, LANES);
                }
            }
        }
        done
    }
}
