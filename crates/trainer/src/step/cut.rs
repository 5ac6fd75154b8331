//! The first layer of a dense network, cut by its inputs: of two threads each has half of the columns of its weight, and of every image.
//!
//! Both stay in a core's caches from step to step. What the cores exchange is less: half of each sum, and the gradient of the sums.

use std::ops::{Range, RangeInclusive};

use byhand_layers::{Block, Buffer, LANES, Network, ParamsPart, Tiles};

use super::crew::Crew;
use super::plan::{HALVED_SAMPLES, ShardPlan};
use super::share::is_worth;
use super::source::BatchSource;
use super::{Shard, sample_bytes};

/// Samples of a minibatch for which it pays: of fewer, layers read their weight once for all samples; the images of more are gone from a
/// core's cache when their gradient is made.
const SAMPLES: RangeInclusive<usize> = 17..=128;

/// Samples whose features one thread writes at a time.
const FILLED: usize = 16;

/// Whether a network's first layer is cut, for an optimiser that moves parameters by plain descent; others move ranges of them, whatever the
/// columns. A function of batch size and network, since sums that are cut have other bits.
pub(super) fn pays(network: &Network<f32>, batch_size: usize) -> bool {
    let Some((range, layer)) = network.row_layer() else { return false };
    let (inputs, outputs) = (network.input().features(), layer.rows());
    // Outputs by halves, as the layers of one shard go otherwise, exchange the images instead of the sums.
    let has_few_sums = batch_size > HALVED_SAMPLES || 2 * outputs <= inputs;
    network.is_flat()
        && SAMPLES.contains(&batch_size)
        && has_few_sums
        && is_worth(batch_size as u64 * layer.flops() / 2, range.len() / 2)
        // Parts of sums are made of tiles.
        && !ShardPlan::is_single(batch_size, sample_bytes(network), true)
}

/// The two halves.
#[derive(Debug)]
pub(super) struct Cut {
    /// Parameters of the layer.
    range: Range<usize>,
    outputs: usize,
    inputs: usize,
    /// Inputs of the first half.
    middle: usize,
    /// The samples of the minibatch as rows, if they do not lie in memory as such.
    rows: Buffer<f32>,
    /// Over each half of the inputs, those of all samples of the minibatch in tiles.
    sums: [Buffer<f32>; 2],
    /// The layer's parameters once more, of which the columns from `middle` on count, and no longer those in `theta`. If both
    /// halves lay side by side, the processor would fetch the beginning of the other core's at the end of each row.
    right: Buffer<f32>,
}

impl Cut {
    /// Of a network for which it [pays].
    pub(super) fn new(network: &Network<f32>, batch_size: usize, theta: &[f32]) -> Option<Cut> {
        let (range, layer) = network.row_layer()?;
        let (inputs, outputs) = (network.input().features(), layer.rows());
        let sums_len = Block::tiled(batch_size).len(outputs);
        Some(Cut {
            outputs,
            inputs,
            middle: inputs.div_ceil(2 * LANES) * LANES,
            rows: Buffer::zeros(batch_size * inputs),
            sums: [0, 1].map(|_| Buffer::zeros(sums_len)),
            right: Buffer::from(&theta[range.clone()]),
            range,
        })
    }

    /// Has the samples of a minibatch written as rows, unless they lie in memory so: by halves of their features, or else by `fill`.
    pub(super) fn fill(
        &mut self,
        crew: &Crew,
        batch: &dyn BatchSource,
        shards: usize,
        fill: &(impl Fn(Range<usize>, &mut [f32]) + Sync),
    ) {
        let (samples, inputs, middle) = (0..batch.len(), self.inputs, self.middle);
        if batch.rows(samples.clone()).is_some() {
            return;
        }
        let rows = &mut self.rows[..samples.len() * inputs];
        let (left, right) = Tiles::new(Block::single(samples.len()), rows).split_at(middle);
        let (mut is_left_done, mut is_right_done) = (false, false);
        crew.join_after(
            shards,
            || is_left_done = batch.fill_part(samples.clone(), 0..middle, left),
            || is_right_done = batch.fill_part(samples.clone(), middle..inputs, right),
        );
        if !(is_left_done && is_right_done) {
            fill_some(crew, samples, inputs, rows, fill);
        }
    }

    /// Samples of the minibatch as rows.
    pub(super) fn rows<'a>(&'a self, batch: &'a dyn BatchSource, samples: Range<usize>) -> &'a [f32] {
        rows_in(batch, samples, &self.rows, self.inputs)
    }

    /// Makes the sums of all samples of these shards: `sum` makes those of one over some inputs, with the layer's parameters, of rows.
    pub(super) fn forward(
        &mut self,
        crew: &Crew,
        batch: &dyn BatchSource,
        shards: &[Shard],
        theta: &[f32],
        sum: &(impl Fn(Range<usize>, &[f32], &[f32], Range<usize>, &mut [f32]) + Sync),
    ) {
        let Cut { range, outputs, inputs, middle, rows, sums: [a, b], right } = self;
        let all = &**rows;
        let (outputs, inputs, middle) = (*outputs, *inputs, *middle);
        let sum_half = |half: Range<usize>, params: &[f32], sums: &mut [f32]| {
            for_each_sum(crew, shards, outputs, sums, &|shard, sums| {
                let samples = shard.samples.clone();
                sum(half.clone(), params, rows_in(batch, samples.clone(), all, inputs), samples, sums);
            });
        };
        crew.join_after(
            shards.len(),
            || sum_half(0..middle, &theta[range.clone()], a),
            || sum_half(middle..inputs, right, b),
        );
    }

    /// The sums of samples from `first` on, the first of a tile, as a block.
    pub(super) fn sums(&self, first: usize, block: Block) -> [&[f32]; 2] {
        [0, 1].map(|half| &self.sums[half][first * self.outputs..][..block.len(self.outputs)])
    }

    /// Of the layer's parameters in `theta` the first half, and of the second half's own ones the second.
    pub(super) fn halves<'a>(
        &self,
        theta: ParamsPart<'a, f32>,
        right: ParamsPart<'a, f32>,
    ) -> [ParamsPart<'a, f32>; 2] {
        [theta.split_inputs(self.middle).0, right.split_inputs(self.middle).1]
    }

    /// The second half's own parameters, to be moved.
    pub(super) fn right_mut(&mut self) -> &mut Buffer<f32> {
        &mut self.right
    }

    /// Writes the second half's own parameters to `theta`.
    pub(super) fn gather(&self, theta: &mut [f32]) {
        let from = self.right.chunks_exact(self.inputs).take(self.outputs);
        for (theta, right) in theta[self.range.clone()].chunks_exact_mut(self.inputs).zip(from) {
            theta[self.middle..].copy_from_slice(&right[self.middle..]);
        }
    }

    /// Makes the second half's own parameters those of `theta`.
    pub(super) fn renew(&mut self, theta: &[f32]) {
        self.right.copy_from_slice(&theta[self.range.clone()]);
    }
}

/// Samples of a minibatch as rows of so many numbers: where they lie in memory, or in a buffer with those of all.
fn rows_in<'a>(
    batch: &'a dyn BatchSource,
    samples: Range<usize>,
    all: &'a [f32],
    inputs: usize,
) -> &'a [f32] {
    let numbers = samples.start * inputs..samples.end * inputs;
    batch.rows(samples).unwrap_or_else(|| &all[numbers])
}

/// Has whole samples written, some at a time; any thread may take any.
fn fill_some(
    crew: &Crew,
    samples: Range<usize>,
    inputs: usize,
    rows: &mut [f32],
    fill: &(impl Fn(Range<usize>, &mut [f32]) + Sync),
) {
    if samples.len() <= FILLED {
        return fill(samples, rows);
    }
    let half = samples.len() / 2;
    let middle = samples.start + half;
    let (a, b) = rows.split_at_mut(half * inputs);
    crew.join(
        || fill_some(crew, samples.start..middle, inputs, a, fill),
        || fill_some(crew, middle..samples.end, inputs, b, fill),
    );
}

/// Hands each shard its part of the sums; any thread may take any.
fn for_each_sum(
    crew: &Crew,
    shards: &[Shard],
    outputs: usize,
    sums: &mut [f32],
    work: &(impl Fn(&Shard, &mut [f32]) + Sync),
) {
    match shards {
        [] => {}
        [shard] => work(shard, sums),
        _ => {
            let (a, b) = shards.split_at(shards.len().div_ceil(2));
            let (sums_a, sums_b) = sums.split_at_mut((b[0].samples.start - a[0].samples.start) * outputs);
            crew.join(
                || for_each_sum(crew, a, outputs, sums_a, work),
                || for_each_sum(crew, b, outputs, sums_b, work),
            );
        }
    }
}
