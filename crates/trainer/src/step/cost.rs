//! What work costs: the one model by which a step is planned. Costs are floating-point operations of the kernels, a
//! multiply-add is 2; limits were measured on machines of two cores (`crates/tensor/optimization-notes.md`).

use std::ops::RangeInclusive;

/// Work of a half that is worth a hand-off to another thread.
const HAND_OFF: u64 = 800_000;

/// What it costs that a parameter moves from core to core.
const MOVE: u64 = 15;

/// Fewer rows of a weight are no work for a thread, whatever they cost: half of what fills every register tile.
const FEWEST_ROWS: usize = 12;

/// Whether half of some work is worth a hand-off, if it reads so many parameters that another core may have written.
pub(super) fn is_worth(flops: u64, params: usize) -> bool {
    flops + MOVE * params as u64 >= HAND_OFF
}

/// The fewest rows of a weight that are worth a hand-off, if one is so many parameters and sums over so many samples.
pub(super) fn fewest_rows(row: usize, samples: usize) -> usize {
    let cost = 2 * (row * samples) as u64 + MOVE * row as u64;
    (HAND_OFF.div_ceil(cost.max(1)) as usize).max(FEWEST_ROWS)
}

/// Samples of a minibatch for which it pays to have the first layers on two ranks: the images of more are gone from a
/// core's cache when their gradient is made.
pub(super) const RANKED_SAMPLES: RangeInclusive<usize> = 1..=256;

/// Samples up to which a network of dense layers has one shard: with two each core would read all weights, half of
/// which the other has just moved.
pub(super) const ONE_SHARD_SAMPLES: usize = 32;

/// Samples up to which the second of two shards has weights of its own: to move all weights along so few on both
/// threads takes less time than to fetch, in the next step, the half that the other thread moved.
pub(super) const REPLICA_SAMPLES: usize = 32;

/// Whether deferring a parameter gradient pays: what is saved is at most twice the numbers of the parameters. Else
/// adding block by block to a gradient, which stays in a core's cache, moves less memory.
pub(super) fn defers(saved: usize, params: usize) -> bool {
    saved <= 2 * params
}

/// Samples up to which those of a network of dense layers, or of one with stages, come one after the other: kernels then
/// fill vectors with inputs or with pixels, where lanes of a tile would be empty.
const FEW_SAMPLES: usize = 8;

/// Bytes of activations of one sample from which on a tile of them leaves even the last cache, layer by layer:
/// samples then come one after the other, and each stays in a core's cache.
const LARGE_SAMPLE: usize = 256 << 10;

/// Whether a tile of such samples leaves even the last cache.
pub(super) fn is_large(sample_bytes: usize) -> bool {
    sample_bytes >= LARGE_SAMPLE
}

/// Whether samples come one after the other, although there are enough for a tile. `fills_vectors` tells of a network of
/// dense layers or with stages.
pub(super) fn is_single(batch_size: usize, sample_bytes: usize, fills_vectors: bool) -> bool {
    is_large(sample_bytes) || (fills_vectors && batch_size <= FEW_SAMPLES)
}

/// Work that two shards must have together where the samples of one tile are cut in two, and how many these are:
/// dense layers then read their weights twice.
pub(super) const HALF_TILES: u64 = 8_000_000;
pub(super) const HALF_TILE_SAMPLES: RangeInclusive<usize> = 5..=8;

/// What merging the gradient of one parameter of one shard costs: memory traffic, by where the gradients of all
/// shards fit.
const MERGE: [(usize, u64); 3] = [(1 << 20, 24), (8 << 20, 60), (usize::MAX, 120)];

/// What it costs that `shards` shards read a parameter forward and backward, if all parameters take so many bytes.
/// Where they do not stay in a core's cache, all cores read from the same memory, the more often the smaller the
/// shards.
fn read(bytes: usize, shards: u64) -> u64 {
    if bytes <= 1 << 20 { 25 * shards } else { 4 * shards * shards }
}

/// Whether so many shards pay for all work of a minibatch. Twice as many are worth ever less: for `n` shards the work
/// must be `n * n / 2` times a hand-off, and `n * n / 2` times that of reading the parameters for each and merging
/// their gradients, of `merged` parameters.
pub(super) fn pays_shards(shards: usize, work: u64, params: usize, merged: usize) -> bool {
    let n = shards as u64;
    let bytes = shards * merged * size_of::<f32>();
    let fits = MERGE.iter().find(|(room, _)| bytes <= *room);
    let merge = fits.map_or(0, |(_, cost)| cost * (shards * merged) as u64);
    let price = merge + read(size_of::<f32>() * params, n) * params as u64;
    price.max(HAND_OFF) <= 2 * work / (n * n)
}

/// Bytes of activations that a block may have, so that they stay in a core's cache from layer to layer. A block
/// re-reads all weights, forward and backward, so it may take more room than they do.
pub(super) fn block_bytes(params: usize) -> usize {
    (512 << 10).max(3 * size_of::<f32>() * params)
}

/// Parameters a thread updates at a time, at most: threads share the update of more.
pub(super) const CHUNK: usize = 1 << 13;

/// Work beside which the time lost by a call that brings no help is small.
const USELESS_CALL: u64 = 15_000_000;

/// How many steps of such work may leave out a call after calls that brought no help.
pub(super) fn patience(work: u64) -> u32 {
    (USELESS_CALL / work.max(1)).min(255) as u32
}
