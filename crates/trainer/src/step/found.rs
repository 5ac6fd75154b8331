//! What a shard of a step finds.

use byhand_layers::loss::LossStats;
use byhand_layers::{Block, Buffer};

/// What a shard found.
#[derive(Debug)]
pub(super) struct Found {
    /// The gradient of the tail's input, where the first layers want it.
    pub(super) dx: Buffer<f32>,
    pub(super) dx_len: usize,
    pub(super) residuals: Vec<f32>,
    pub(super) stats: LossStats,
    /// All of the gradient that is stored is small enough.
    pub(super) is_sound: bool,
    /// All operands that were saved are so small that their products are finite.
    pub(super) is_bounded: bool,
}

impl Found {
    /// Room for what a shard of up to so many samples finds, with the gradient of an input of so many features, if it is wanted.
    pub(super) fn new(largest: Block, features: Option<usize>) -> Found {
        Found {
            dx: Buffer::zeros(features.map_or(0, |features| largest.len(features))),
            dx_len: 0,
            residuals: vec![0.0; largest.tiles() * largest.lanes()],
            stats: LossStats::default(),
            is_sound: true,
            is_bounded: false,
        }
    }

    /// Forgets the last step; `looks` if anybody will ask whether operands are bounded.
    pub(super) fn begin(&mut self, looks: bool) {
        (self.stats, self.dx_len, self.is_bounded) = (LossStats::default(), 0, looks);
    }

    /// The gradient of the tail's input, block by block.
    pub(super) fn dx(&self) -> &[f32] {
        &self.dx[..self.dx_len]
    }
}
