//! Where a minibatch is cut: a function of the batch size and the network, never of the number of threads.

use std::ops::Range;

use byhand_layers::{Block, LANES};

use super::cost;

/// The most shards a minibatch is cut into.
pub const MAX_SHARDS: usize = 16;

/// The most tiles a block has, and the fewest, if there are so many: the products of dense layers take four vectors
/// of samples at once. Of single samples some more, that weights are read again from a near cache.
const MAX_BLOCK_TILES: usize = 16;
const LEAST_BLOCK_TILES: usize = 4;
const LEAST_BLOCK_SAMPLES: usize = 8;

/// How a minibatch is cut into shards, and a shard into blocks.
///
/// A *shard* is a run of samples with a gradient of its own; shards may be computed at the same time. A *block* is
/// the run of tiles that layers are handed at once; the blocks of a shard are computed one after the other. Borders
/// of both lie on borders of tiles (16 samples, or one where samples come one after the other, or half of eight).
/// Everything here is a function of the batch size and the network alone, so the sums, and with them the bits, are
/// the same for any number of threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shards {
    lanes: usize,
    /// Samples that a tile takes: as many as it has lanes, or fewer where a minibatch of one tile is cut into two.
    unit: usize,
    max_shards: usize,
    block_tiles: usize,
}

impl Shards {
    /// The plan for minibatches of up to `batch_size` samples.
    ///
    /// - `flops_per_sample`: of a training step ([`Network::flops`](byhand_layers::Network::flops)).
    /// - `param_len`: number of parameters.
    /// - `merged_len`: number of those whose gradient each shard has of its own.
    /// - `sample_bytes`: activations and gradients of one sample, in bytes.
    /// - `is_flat`: whether all layers are [lists of numbers](byhand_layers::exec::Lowered::is_flat).
    /// - `has_stages`: whether normalisations cut a step into stages. Each shard is then one block.
    ///
    /// The number of shards is a power of two, at most the number of tiles and [`MAX_SHARDS`], but for five to eight
    /// samples, which may be two.
    pub(crate) fn new(
        batch_size: usize,
        flops_per_sample: u64,
        param_len: usize,
        merged_len: usize,
        sample_bytes: usize,
        is_flat: bool,
        has_stages: bool,
    ) -> Shards {
        // Between two stages come all other shards, so no sample stays in a cache, however small it is.
        let sample_bytes = if has_stages { 0 } else { sample_bytes };
        let block = if cost::is_single(batch_size, sample_bytes, is_flat || has_stages) {
            Block::single(batch_size)
        } else {
            Block::for_samples(batch_size)
        };
        let work = (batch_size as u64).saturating_mul(flops_per_sample);
        let is_one = is_flat && batch_size <= cost::ONE_SHARD_SAMPLES;
        let pays = |shards: usize| !is_one && cost::pays_shards(shards, work, param_len, merged_len);
        // Convolutions fill the lanes of a tile with four samples as well as with eight.
        let is_tile = !is_flat && block.lanes() == LANES && cost::HALF_TILE_SAMPLES.contains(&batch_size);
        let is_cut = is_tile && work >= cost::HALF_TILES && pays(2);
        let unit = if is_cut { batch_size.div_ceil(2) } else { block.lanes() };
        let tiles = batch_size.div_ceil(unit);
        let mut max_shards = 1;
        while max_shards < MAX_SHARDS && 2 * max_shards <= tiles && pays(2 * max_shards) {
            max_shards *= 2;
        }
        let least = if block.lanes() == LANES { LEAST_BLOCK_TILES } else { LEAST_BLOCK_SAMPLES };
        let room = cost::block_bytes(param_len);
        let block_tiles = (room / (sample_bytes * block.lanes()).max(1)).clamp(least, MAX_BLOCK_TILES);
        let largest_shard = tiles.div_ceil(max_shards).max(1);
        let block_tiles = if has_stages { largest_shard } else { block_tiles.min(largest_shard) };
        Shards { lanes: block.lanes(), unit, max_shards, block_tiles }
    }

    /// The number of shards of a minibatch of `samples`.
    pub(crate) fn shards(&self, samples: usize) -> usize {
        self.max_shards.min(self.tiles(samples)).max(1)
    }

    /// The samples of shard `shard` of a minibatch of `samples`: tiles are dealt out evenly.
    pub(crate) fn shard(&self, samples: usize, shard: usize) -> Range<usize> {
        let (tiles, shards) = (self.tiles(samples), self.shards(samples));
        let border = |shard: usize| (shard * tiles / shards * self.unit).min(samples);
        border(shard)..border(shard + 1)
    }

    /// The samples of the largest shard there is, as one block.
    pub(crate) fn largest_shard(&self, batch_size: usize) -> Block {
        let tiles = self.tiles(batch_size).div_ceil(self.shards(batch_size));
        self.block((tiles * self.unit).min(batch_size))
    }

    /// The blocks of a shard, in order.
    pub(crate) fn blocks(&self, shard: Range<usize>) -> impl Iterator<Item = Range<usize>> {
        let size = self.block_tiles * self.lanes;
        shard.clone().step_by(size).map(move |start| start..(start + size).min(shard.end))
    }

    /// The layout of a block of `samples`.
    pub(crate) fn block(&self, samples: usize) -> Block {
        if self.lanes == LANES { Block::tiled(samples) } else { Block::single(samples) }
    }

    /// The largest block there is.
    pub(crate) fn largest_block(&self) -> Block {
        self.block(self.block_tiles * self.lanes)
    }

    fn tiles(&self, samples: usize) -> usize {
        samples.div_ceil(self.unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_and_blocks_cover_every_batch_in_order_on_tile_borders() {
        for batch_size in [1, 2, 3, 15, 16, 17, 31, 32, 33, 100, 128, 1000, 4096] {
            for (flops, params, bytes) in
                [(2_100_000, 72_000, 100_000), (13_000, 3_000, 2_000), (1 << 40, 10, 1)]
            {
                let plan = Shards::new(batch_size, flops, params, params, bytes, bytes < 2000, false);
                assert!(plan.largest_shard(batch_size).samples() >= plan.shard(batch_size, 0).len());
                for samples in [1, batch_size / 2, batch_size.saturating_sub(1), batch_size] {
                    let mut next = 0;
                    for shard in 0..plan.shards(samples) {
                        let range = plan.shard(samples, shard);
                        assert_eq!(range.start, next);
                        assert!(!range.is_empty() || samples == 0, "{batch_size} {samples} {shard}");
                        for block in plan.blocks(range.clone()) {
                            assert_eq!(block.start, next);
                            assert_eq!(block.start % plan.unit, 0);
                            assert!(!block.is_empty() && block.len() <= plan.largest_block().samples());
                            next = block.end;
                        }
                        assert_eq!(next, range.end);
                    }
                    assert_eq!(next, samples);
                }
            }
        }
    }

    #[test]
    fn the_number_of_shards_follows_the_work() {
        // lenet: 2.1 MFLOP and 72,000 parameters, 3,424 of them in convolutions.
        let shards =
            |batch: usize| Shards::new(batch, 2_100_000, 72_000, 3_424, 100_000, false, false).shards(batch);
        assert_eq!([1, 4, 8, 16, 32, 128, 1000].map(shards), [1, 1, 2, 1, 2, 4, 8]);
        // The same, if every shard had a gradient of all of them: merging is dear.
        let shards =
            |batch: usize| Shards::new(batch, 2_100_000, 72_000, 72_000, 100_000, false, false).shards(batch);
        assert_eq!([1, 4, 8, 16, 32, 128, 1000].map(shards), [1, 1, 2, 1, 2, 4, 8]);
        // A large dense network: nothing to merge, but much to read.
        let shards =
            |batch: usize| Shards::new(batch, 3_200_000, 670_000, 0, 10_000, true, false).shards(batch);
        assert_eq!([16, 128, 1000].map(shards), [1, 4, 4]);
        // A large convolutional network: samples one after the other, so that even eight can be shared.
        let plan = Shards::new(8, 112_000_000, 466_000, 65_000, 1 << 20, false, false);
        assert_eq!((plan.lanes, plan.shards(8)), (1, 4));
        // Normalisations: up to eight samples come one after the other, and more in tiles.
        let with_stages = |batch: usize| Shards::new(batch, 123_000_000, 272_000, 272_000, 0, false, true);
        assert_eq!([4, 8, 9, 16].map(|batch| with_stages(batch).lanes), [1, 1, 16, 16]);
        assert_eq!([4, 8, 16, 32].map(|batch| with_stages(batch).shards(batch)), [2, 4, 1, 2]);
        // A tiny one: ten microseconds of work are just enough to share.
        let shards = |batch: usize| Shards::new(batch, 13_000, 3_000, 0, 2_000, true, false).shards(batch);
        assert_eq!([64, 128].map(shards), [1, 2]);
    }
}
