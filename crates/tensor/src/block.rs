//! How samples lie in memory: tiles of sixteen side by side, or one sample alone.

use crate::Scalar;
use crate::simd::{Kernel, Vector, prefetch};
use ndarray::{Array2, ArrayView2};
use std::ops::Range;

/// Samples in a tile, side by side: one lane each.
pub const LANES: usize = 16;

/// A group of samples and its layout, `[tile][feature][lane]`.
///
/// A *tiled* block has 16 lanes: feature `f` of sample `s` lies at `((s / 16) * features + f) * 16 + s % 16`. A *single*
/// block has one lane: each sample is a tile of its own and its features are contiguous.
///
/// When the last tile is not full its dead lanes repeat the last live sample (so that they can overflow only where a
/// live lane does), and losses write a gradient of zero there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Block {
    samples: usize,
    lanes: usize,
}

impl Block {
    /// Below this many samples, one sample after the other is faster than a tile with empty lanes.
    const TILED_FROM: usize = 4;

    /// A block of tiles of [`LANES`] samples.
    pub fn tiled(samples: usize) -> Self {
        Self { samples, lanes: LANES }
    }

    /// A block whose samples lie one after the other.
    pub fn single(samples: usize) -> Self {
        Self { samples, lanes: 1 }
    }

    /// The layout the kernels are fastest with for this many samples.
    pub fn for_samples(samples: usize) -> Self {
        if samples < Self::TILED_FROM { Self::single(samples) } else { Self::tiled(samples) }
    }

    /// Number of samples.
    pub fn samples(self) -> usize {
        self.samples
    }

    /// Samples side by side in a tile: 16 or 1.
    pub fn lanes(self) -> usize {
        self.lanes
    }

    /// Number of tiles, the last of which may be partly dead.
    pub fn tiles(self) -> usize {
        self.samples.div_ceil(self.lanes)
    }

    /// Length of a slice that holds `features` numbers for each lane of each tile.
    pub fn len(self, features: usize) -> usize {
        self.tiles() * features * self.lanes
    }

    /// Whether there is no sample at all.
    pub fn is_empty(self) -> bool {
        self.samples == 0
    }

    /// Live lanes of a tile.
    pub fn live(self, tile: usize) -> usize {
        self.lanes.min(self.samples - tile * self.lanes)
    }

    /// Where feature `feature` of sample `sample` lies in a slice of [`Block::len`]`(features)`.
    pub fn index(self, features: usize, sample: usize, feature: usize) -> usize {
        ((sample / self.lanes) * features + feature) * self.lanes + sample % self.lanes
    }
}

/// In how many parts the lanes of a tile can be used, of which so many live.
pub(crate) fn parts(live: usize) -> usize {
    match live {
        0..=4 => 4,
        5..=8 => 2,
        _ => 1,
    }
}

/// The same where vectors would have empty lanes otherwise, else 1.
#[inline(always)]
pub(crate) fn vector_parts<V: Vector>(live: usize) -> usize {
    let parts = parts(live);
    if V::LANES * parts > LANES { parts } else { 1 }
}

/// How the samples that a layer is fed lie in memory.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a, T> {
    /// As their block says.
    Block(&'a [T]),
    /// One after the other, `[sample][feature]`, whatever the block: images as they come.
    Rows(&'a [T]),
}

impl<'a, T> Input<'a, T> {
    /// All numbers, in whatever order.
    pub fn numbers(self) -> &'a [T] {
        match self {
            Self::Block(x) | Self::Rows(x) => x,
        }
    }

    /// The samples as their block says.
    ///
    /// # Panics
    /// If they are rows.
    #[track_caller]
    pub fn block(self) -> &'a [T] {
        match self {
            Self::Block(x) => x,
            Self::Rows(_) => panic!("samples laid out as a block are expected, found rows"),
        }
    }
}

/// Lays the rows of `x` (`[samples, features]`) out as `block` says. Dead lanes repeat the last sample.
///
/// # Panics
/// If `x` has not `block.samples()` rows or `out` not `block.len(features)` numbers.
#[track_caller]
pub fn pack<T: Scalar>(x: ArrayView2<'_, T>, block: Block, out: &mut [T]) {
    let (samples, features) = x.dim();
    assert_eq!(samples, block.samples(), "pack: rows of x against samples of the block");
    assert_eq!(out.len(), block.len(features), "pack: length of out for {features} features");
    let x = x.as_standard_layout();
    T::pack(Pack { rows: x.as_slice().expect("standard layout"), features, block, out });
}

/// Features from the one that is read to the one that is asked for.
const AHEAD: usize = 4 * LANES;

/// Rows of samples, to be laid out as tiles.
pub(crate) struct Pack<'a, T> {
    rows: &'a [T],
    features: usize,
    block: Block,
    out: &'a mut [T],
}

impl<T: Scalar> Kernel<T> for Pack<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Elem = T>>(self) {
        let Self { rows, features, block, out } = self;
        if block.lanes() == 1 {
            return out.copy_from_slice(rows);
        }
        pack_features::<V>(rows, features, 0..features, block, out);
    }
}

/// Lays features `which` of all rows out as tiles, which hold no others.
#[inline(always)]
pub(crate) fn pack_features<V: Vector>(
    rows: &[V::Elem],
    features: usize,
    which: Range<usize>,
    block: Block,
    out: &mut [V::Elem],
) {
    let mut square = [[V::Elem::ZERO; LANES]; LANES];
    for (t, out) in out.chunks_exact_mut(which.len() * LANES).enumerate() {
        for (i, out) in out.chunks_mut(LANES * LANES).enumerate() {
            let width = out.len() / LANES;
            let from = &rows[t * LANES * features + which.start + i * LANES..];
            if width == LANES && from.len() >= (LANES - 1) * features + LANES {
                // Sixteen rows at once are too many streams for the processor to foresee.
                for lane in 0..LANES {
                    prefetch(from.as_ptr().wrapping_add(lane * features + AHEAD));
                }
                // SAFETY: sixteen rows of sixteen features are there; `out` holds 16 x 16 numbers.
                unsafe { V::transpose16(from.as_ptr(), features, [LANES; 2], out.as_mut_ptr(), LANES) };
                continue;
            }
            // Dead lanes, or a last panel of fewer features. Of few samples only half a square is transposed.
            let live = block.live(t);
            let half = if live <= LANES / 2 { LANES / 2 } else { LANES };
            for (lane, to) in square.iter_mut().take(half).enumerate() {
                let from = &from[lane.min(live - 1) * features..];
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

/// The inverse of [`pack`]: `[samples, features]` out of a block.
///
/// # Panics
/// If `x` has not `block.len(features)` numbers.
#[track_caller]
pub fn unpack<T: Scalar>(block: Block, features: usize, x: &[T]) -> Array2<T> {
    assert_eq!(x.len(), block.len(features), "unpack: length of x for {features} features");
    Array2::from_shape_fn((block.samples(), features), |(sample, feature)| {
        x[block.index(features, sample, feature)]
    })
}
