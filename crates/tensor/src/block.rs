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
/// live lane does): [`pack`] fills them so. Of a gradient they hold zeros, since parameters' gradients sum over lanes: losses write
/// zeros there, and [`pack_gradient`] does.
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
    ///
    /// # Panics
    /// If memory cannot hold so many. Kernels rely on it: what has this length was not made by a product that wrapped.
    #[track_caller]
    pub fn len(self, features: usize) -> usize {
        let len = self.tiles().checked_mul(self.lanes).and_then(|places| places.checked_mul(features));
        let Some(len) = len.filter(|&len| len <= isize::MAX as usize) else {
            panic!("{} samples of {features} features are more numbers than memory can hold", self.samples)
        };
        len
    }

    /// Whether there is no sample at all.
    pub fn is_empty(self) -> bool {
        self.samples == 0
    }

    /// Live lanes of a tile: those that belong to a sample.
    pub fn live(self, tile: usize) -> usize {
        self.samples.saturating_sub(tile.saturating_mul(self.lanes)).min(self.lanes)
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
    /// One after the other, whatever the block: images as they come.
    Rows(RowView<'a, T>),
}

impl<'a, T> Input<'a, T> {
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

/// Samples one after the other, `[sample][feature]`: all features of each, or some that lie side by side.
///
/// ```
/// use byhand_tensor::RowView;
/// let images = RowView::new(3, &[1, 2, 3, 4, 5, 6]);
/// assert_eq!(images.features(1..3).iter().collect::<Vec<_>>(), [&[2, 3], &[5, 6]]);
/// assert_eq!(images.samples(1..2).iter().collect::<Vec<_>>(), [&[4, 5, 6]]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct RowView<'a, T> {
    /// From the first feature of the first sample to the last of the last.
    pub(crate) numbers: &'a [T],
    width: usize,
    /// From one sample to the next.
    pub(crate) apart: usize,
}

impl<'a, T> RowView<'a, T> {
    /// Samples of so many features.
    ///
    /// # Panics
    /// If the numbers are not those of whole samples, or samples have no feature.
    #[track_caller]
    pub fn new(features: usize, numbers: &'a [T]) -> Self {
        let whole = features > 0 && numbers.len().is_multiple_of(features);
        assert!(whole, "{} numbers are no whole rows of {features} features", numbers.len());
        Self { numbers, width: features, apart: features }
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        (self.numbers.len() + self.apart - self.width) / self.apart
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    /// Features of a sample.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Each sample's features.
    pub fn iter(&self) -> impl Iterator<Item = &'a [T]> + use<'a, T> {
        let width = self.width;
        self.numbers.chunks(self.apart).map(move |row| &row[..width])
    }

    /// These features of every sample.
    ///
    /// # Panics
    /// If there are not such, or none.
    #[track_caller]
    pub fn features(self, range: Range<usize>) -> Self {
        let width = range.len();
        assert!(width > 0 && range.end <= self.width, "features {range:?} of {}", self.width);
        let end = self.numbers.len().saturating_sub(self.width - range.end);
        Self { numbers: &self.numbers[range.start.min(end)..end], width, ..self }
    }

    /// These samples.
    ///
    /// # Panics
    /// If there are not such.
    #[track_caller]
    pub fn samples(self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.len(), "samples {range:?} of {}", self.len());
        if range.is_empty() {
            return Self { numbers: &[], ..self };
        }
        let end = (range.end - 1) * self.apart + self.width;
        Self { numbers: &self.numbers[range.start * self.apart..end], ..self }
    }

    /// All of it, where nothing lies between the samples.
    pub fn as_slice(&self) -> Option<&'a [T]> {
        (self.width == self.apart || self.len() < 2).then_some(self.numbers)
    }
}

/// Lays the rows of `x` (`[samples, features]`) out as `block` says. Dead lanes repeat the last sample: that is for what a network is
/// fed. For gradients there is [`pack_gradient`].
///
/// # Panics
/// If `x` has not `block.samples()` rows or `out` not `block.len(features)` numbers.
#[track_caller]
pub fn pack<T: Scalar>(x: ArrayView2<'_, T>, block: Block, out: &mut [T]) {
    let (samples, features) = x.dim();
    assert_eq!(samples, block.samples(), "pack: rows of x against samples of the block");
    assert_eq!(out.len(), block.len(features), "pack: length of out for {features} features");
    if out.is_empty() {
        return;
    }
    let x = x.as_standard_layout();
    T::pack(Pack { rows: x.as_slice().expect("standard layout"), features, block, out });
}

/// Lays a gradient (`[samples, features]`) out as `block` says. Dead lanes get zeros: a sample that is not there has no gradient. (If they
/// repeated the last sample as those of [`pack`] do, the gradients of parameters would count it several times.)
///
/// ```
/// use byhand_tensor::{Block, pack_gradient};
/// let mut dy = [f32::NAN; 16];
/// pack_gradient(ndarray::array![[1.0], [2.0]].view(), Block::tiled(2), &mut dy);
/// assert_eq!((&dy[..2], &dy[2..]), (&[1.0, 2.0][..], &[0.0; 14][..]));
/// ```
///
/// # Panics
/// If `dy` has not `block.samples()` rows or `out` not `block.len(features)` numbers.
#[track_caller]
pub fn pack_gradient<T: Scalar>(dy: ArrayView2<'_, T>, block: Block, out: &mut [T]) {
    pack(dy, block, out);
    let last = block.tiles().saturating_sub(1);
    let live = block.live(last);
    for row in out[block.index(dy.ncols(), last * block.lanes(), 0)..].chunks_exact_mut(block.lanes()) {
        row[live..].fill(T::ZERO);
    }
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
    let RowView { numbers, apart, .. } = rows;
    let mut square = [[V::Elem::ZERO; LANES]; LANES];
    for (t, out) in out.chunks_exact_mut(which.len() * LANES).enumerate() {
        for (i, out) in out.chunks_mut(LANES * LANES).enumerate() {
            let width = out.len() / LANES;
            let from = &numbers[t * LANES * apart + which.start + i * LANES..];
            if width == LANES && from.len() >= (LANES - 1) * apart + LANES {
                // Sixteen rows at once are too many streams for the processor to foresee.
                for lane in 0..LANES {
                    prefetch(from.as_ptr().wrapping_add(lane * apart + AHEAD));
                }
                // SAFETY: sixteen rows of sixteen features are there; `out` holds 16 x 16 numbers.
                unsafe { V::transpose16(from.as_ptr(), apart, [LANES; 2], out.as_mut_ptr(), LANES) };
                continue;
            }
            // Dead lanes, or a last panel of fewer features. Of few samples only half a square is transposed.
            let live = block.live(t);
            let half = if live <= LANES / 2 { LANES / 2 } else { LANES };
            for (lane, to) in square.iter_mut().take(half).enumerate() {
                let from = &from[lane.min(live - 1) * apart..];
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
