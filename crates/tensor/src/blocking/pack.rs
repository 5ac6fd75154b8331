//! Packing: rows of samples laid out as tiles.

use crate::layout::{Block, LANES, RowView};
use crate::number::Number;
use crate::simd::{Kernel, Vector, prefetch};
use std::ops::Range;

/// Features from the one that is read to the one that is asked for.
const AHEAD: usize = 4 * LANES;

/// Rows of samples, to be laid out as tiles.
pub(crate) struct Pack<'a, T> {
    pub(crate) rows: &'a [T],
    pub(crate) features: usize,
    pub(crate) block: Block,
    pub(crate) out: &'a mut [T],
}

impl<T: Number> Kernel<T> for Pack<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Elem = T>>(self) {
        let Self { rows, features, block, out } = self;
        if block.lanes() == 1 {
            return out.copy_from_slice(rows);
        }
        pack_features::<V>(RowView::new(features, rows), 0..features, block, out);
    }
}

/// Lays features `which` of all rows out as tiles, which hold no others.
#[inline(always)]
pub(crate) fn pack_features<V: Vector>(
    rows: RowView<'_, V::Elem>,
    which: Range<usize>,
    block: Block,
    out: &mut [V::Elem],
) {
    let RowView { numbers, stride, .. } = rows;
    let mut square = [[V::Elem::ZERO; LANES]; LANES];
    for (t, out) in out.chunks_exact_mut(which.len() * LANES).enumerate() {
        for (i, out) in out.chunks_mut(LANES * LANES).enumerate() {
            let width = out.len() / LANES;
            let from = &numbers[t * LANES * stride + which.start + i * LANES..];
            if width == LANES && from.len() >= (LANES - 1) * stride + LANES {
                // Sixteen rows at once are too many streams for the processor to foresee.
                for lane in 0..LANES {
                    prefetch(from.as_ptr().wrapping_add(lane * stride + AHEAD));
                }
                // SAFETY: sixteen rows of sixteen features are there; `out` holds 16 x 16 numbers.
                unsafe { V::transpose16(from.as_ptr(), stride, [LANES; 2], out.as_mut_ptr(), LANES) };
                continue;
            }
            // Dead lanes, or a last panel of fewer features. Of few samples only half a square is transposed.
            let live = block.live(t);
            let half = if live <= LANES / 2 { LANES / 2 } else { LANES };
            for (lane, to) in square.iter_mut().take(half).enumerate() {
                let from = &from[lane.min(live - 1) * stride..];
                match from.first_chunk() {
                    Some(from) => *to = *from,
                    None => to[..width].copy_from_slice(&from[..width]),
                }
            }
            if width == LANES {
                let from = square.as_flattened().as_ptr();
                // SAFETY: both squares hold 16 x 16 numbers.
                unsafe { V::transpose16(from, LANES, [LANES, half], out.as_mut_ptr(), LANES) };
            } else {
                for (feature, out) in out.chunks_exact_mut(LANES).enumerate() {
                    out.iter_mut().zip(&square).for_each(|(to, row)| *to = row[feature]);
                }
            }
            if half < LANES {
                for out in out.as_chunks_mut::<LANES>().0 {
                    let last = out[live - 1];
                    out[half..].fill(last);
                }
            }
        }
    }
}
