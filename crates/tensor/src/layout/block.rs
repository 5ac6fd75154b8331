//! How samples lie in memory: tiles of sixteen side by side, or one sample alone.

/// Samples in a tile, side by side: one lane each.
pub const LANES: usize = 16;

/// A group of samples and its layout, `[tile][feature][lane]`.
///
/// A *tiled* block has 16 lanes: feature `f` of sample `s` lies at `((s / 16) * features + f) * 16 + s % 16`. A *single*
/// block has one lane: each sample is a tile of its own and its features are contiguous.
///
/// When the last tile is not full its dead lanes repeat the last live sample (so that they can overflow only where a
/// live lane does): [`pack`](crate::pack) fills them so. Of a gradient they hold zeros, since parameters' gradients sum over lanes: losses
/// write zeros there, and [`pack_gradient`](crate::pack_gradient) does.
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
    #[inline]
    pub fn tiles(self) -> usize {
        self.samples.div_ceil(self.lanes)
    }

    /// Length of a slice that holds `features` numbers for each lane of each tile.
    ///
    /// # Panics
    /// If memory cannot hold so many. Kernels rely on it: what has this length was not made by a product that wrapped.
    #[inline]
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
    #[inline]
    pub fn live(self, tile: usize) -> usize {
        self.samples.saturating_sub(tile.saturating_mul(self.lanes)).min(self.lanes)
    }

    /// Where feature `feature` of sample `sample` lies in a slice of [`Block::len`]`(features)`.
    pub fn index(self, features: usize, sample: usize, feature: usize) -> usize {
        ((sample / self.lanes) * features + feature) * self.lanes + sample % self.lanes
    }
}

/// In how many parts the lanes of a tile can be used, of which so many live.
#[inline]
pub(crate) fn parts(live: usize) -> usize {
    match live {
        0..=4 => 4,
        5..=8 => 2,
        _ => 1,
    }
}
