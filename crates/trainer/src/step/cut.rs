//! The first layers of a dense network, cut in [halves](Halves): of two threads each computes one of them, for all samples.
//!
//! Its parameters stay in a core's caches from step to step. What the cores exchange is less: the sums of both, and their gradient.

use std::ops::{Range, RangeInclusive};

use byhand_layers::{
    Block, Buffer, Half, Halves, Input, Kept, Network, Pass, RowView, Share, Tiles, Workspace,
};

use super::crew::Crew;
use super::plan::{HALVED_SAMPLES, ShardPlan};
use super::share::{MoveRows, is_worth};
use super::source::BatchSource;
use super::update::{Part, Update};
use super::{Shard, all_below, frozen, sample_bytes};
use crate::optimizer::{Optimizer, OptimizerState};

/// Samples of a minibatch for which it pays: of fewer, layers read their weight once for all samples; the images of more are gone from a
/// core's cache when their gradient is made.
const SAMPLES: RangeInclusive<usize> = 17..=256;

/// Samples whose features one thread writes at a time.
const FILLED: usize = 16;

/// The halves of a network's first layers, if it pays to cut them: a function of batch size and network, since sums that are cut have other
/// bits.
pub(super) fn halves(network: &Network<f32>, batch_size: usize) -> Option<Halves<f32>> {
    // Parts of large samples, which come one after the other, would gain nothing.
    let is_single = || ShardPlan::is_single(batch_size, sample_bytes(network), true);
    if !network.is_flat() || !SAMPLES.contains(&batch_size) || is_single() {
        return None;
    }
    let inputs = network.input().features();
    let pays = |cut: &Halves<f32>| {
        let sizes = cut.halves.each_ref().map(|half| half.network().param_len());
        let are_equal = 8 * sizes[0].abs_diff(sizes[1]) <= sizes[0] + sizes[1];
        are_equal
            && cut.halves.iter().all(|half| {
                let mut layers = half.network().deferred();
                let is_worth =
                    layers.all(|(range, layer)| is_worth(batch_size as u64 * layer.flops(), range.len()));
                half.network().takes_rows(inputs) && is_worth
            })
    };
    // Outputs by halves, as the layers of one shard go otherwise, exchange the images instead of the sums.
    let has_few_sums =
        |cut: &Halves<f32>| batch_size > HALVED_SAMPLES || 2 * cut.rest.input().features() <= inputs;
    let by_hidden = Halves::by_hidden(network).filter(pays);
    by_hidden.or_else(|| Halves::by_inputs(network).filter(pays).filter(has_few_sums))
}

/// Both halves.
#[derive(Debug)]
pub(super) struct Cut {
    /// The network before it was cut.
    pub(super) whole: Network<f32>,
    images: Images,
    halves: [Own; 2],
}

/// Where the samples of a minibatch are as rows, if they do not lie in memory as such.
#[derive(Debug)]
struct Images {
    features: usize,
    rows: Buffer<f32>,
}

/// What belongs to a half.
#[derive(Debug)]
struct Own {
    half: Half<f32>,
    theta: Buffer<f32>,
    /// Its gradient, where one is stored.
    dtheta: Buffer<f32>,
    state: OptimizerState<f32>,
    workspace: Workspace<f32>,
    /// The samples of the largest minibatch.
    largest: Block,
    /// What its layers keep of all samples.
    kept: Vec<Buffer<f32>>,
    /// Parameters, from the first on, that are constants.
    frozen: usize,
    /// What was looked at last is as small as it must be.
    is_sound: bool,
}

/// A minibatch: its samples, if they lie in memory as rows, and its shards, which have the gradient of the sums.
#[derive(Clone, Copy)]
pub(super) struct Minibatch<'a> {
    pub(super) rows: Option<RowView<'a, f32>>,
    pub(super) shards: &'a [Shard],
}

impl Cut {
    /// The halves of the first layers of `whole`, whose parameters are `theta`.
    pub(super) fn new(
        whole: &Network<f32>,
        cut: Halves<f32>,
        optimizer: &Optimizer,
        batch_size: usize,
        theta: &[f32],
    ) -> Cut {
        let features = whole.input().features();
        Cut {
            whole: whole.clone(),
            images: Images { features, rows: Buffer::zeros(batch_size * features) },
            halves: cut.halves.map(|half| Own::new(half, optimizer, batch_size, theta)),
        }
    }

    /// Of a training step, a sample.
    pub(super) fn flops(&self) -> u64 {
        self.halves.iter().map(|own| own.half.network().flops()).sum()
    }

    /// The parameters of the layers before layer `layers` are constants.
    pub(super) fn freeze(&mut self, layers: usize) {
        let frozen = frozen(&self.whole, layers);
        for own in &mut self.halves {
            own.frozen = own.half.frozen(frozen);
        }
    }

    /// Whether one of its layers is trained.
    pub(super) fn is_trained(&self) -> bool {
        self.halves.iter().any(|own| own.frozen < own.theta.len())
    }

    /// All parameters of the network, of which those of the other layers are `rest`.
    pub(super) fn theta(&self, rest: &[f32]) -> Vec<f32> {
        self.gather(rest, |own| &own.theta)
    }

    /// Slot `slot` of what the optimiser remembers of all parameters; `rest` is that of the other layers.
    pub(super) fn slot(&self, slot: usize, rest: &[f32]) -> Vec<f32> {
        self.gather(rest, |own| own.state.slot(slot))
    }

    /// The gradient of all parameters that is stored; `rest` is that of the other layers.
    pub(super) fn gradient(&self, rest: &[f32]) -> Vec<f32> {
        self.gather(rest, |own| &own.dtheta)
    }

    /// Leaves the gradients at zero.
    pub(super) fn clear(&mut self) {
        self.halves.iter_mut().for_each(|own| own.dtheta.fill(0.0));
    }

    /// Numbers of both halves and of the other layers, in the network's order.
    fn gather(&self, rest: &[f32], numbers: impl Fn(&Own) -> &[f32]) -> Vec<f32> {
        let mut all = vec![0.0; self.whole.param_len()];
        self.halves.iter().for_each(|own| own.half.put(numbers(own), &mut all));
        let first = all.len() - rest.len();
        all[first..].copy_from_slice(rest);
        all
    }

    /// Makes the parameters those in `theta`, and what the optimiser remembers that in `state`, both of the whole network.
    pub(super) fn restore(&mut self, theta: &[f32], state: &OptimizerState<f32>) {
        for own in &mut self.halves {
            own.half.take(theta, &mut own.theta);
            for slot in 0..own.state.slots() {
                own.half.take(state.slot(slot), own.state.slot_mut(slot));
            }
        }
    }

    /// Has the samples of a minibatch written as rows: by halves of their features, or else by `fill`.
    pub(super) fn fill(
        &mut self,
        crew: &Crew,
        batch: &dyn BatchSource,
        shards: usize,
        fill: &(impl Fn(Range<usize>, &mut [f32]) + Sync),
    ) {
        let Images { features, rows } = &mut self.images;
        let (samples, features) = (0..batch.len(), *features);
        let rows = &mut rows[..samples.len() * features];
        let middle = features / 2;
        let (left, right) = Tiles::new(Block::single(samples.len()), rows).split_at(middle);
        let (mut is_left_done, mut is_right_done) = (false, false);
        crew.join_after(
            shards,
            || is_left_done = batch.fill_part(samples.clone(), 0..middle, left),
            || is_right_done = batch.fill_part(samples.clone(), middle..features, right),
        );
        if !(is_left_done && is_right_done) {
            fill_some(crew, samples, features, rows, fill);
        }
    }

    /// Some samples of a minibatch, whose `rows` are given if they lie in memory.
    pub(super) fn rows<'a>(
        &'a self,
        rows: Option<RowView<'a, f32>>,
        samples: Range<usize>,
    ) -> RowView<'a, f32> {
        self.images.view(rows, samples)
    }

    /// Makes the sums of both halves.
    pub(super) fn forward(&mut self, crew: &Crew, batch: Minibatch<'_>) {
        self.both(crew, batch, || (), |own, rows| own.forward(crew, rows));
    }

    /// The sums of samples from `first` on, the first of a tile, as a block.
    pub(super) fn sums(&self, first: usize, block: Block) -> [&[f32]; 2] {
        self.halves.each_ref().map(|own| {
            let features = own.half.network().classes();
            &own.workspace.output()[first * features..][..block.len(features)]
        })
    }

    /// Whether gradients lie between layers that are cut, of which nobody knows how large they are before the layers went backward.
    pub(super) fn is_deep(&self) -> bool {
        self.halves[0].kept.len() > 1
    }

    /// Goes backward and keeps what moves the parameters. Whether all of that which nobody has looked at before is smaller than `limit`.
    pub(super) fn backward(&mut self, crew: &Crew, batch: Minibatch<'_>, limit: f32) -> bool {
        self.both(crew, batch, || (), |own, rows| own.backward(crew, batch.shards, rows, Some(limit)));
        self.is_sound()
    }

    /// Moves the parameters along what was kept; of layers that are not [deep](Self::is_deep) it is kept now. Whoever moves the first half does
    /// what is left to do, `then`.
    pub(super) fn descend(
        &mut self,
        crew: &Crew,
        batch: Minibatch<'_>,
        rate: f32,
        then: impl FnOnce() + Send,
    ) {
        let is_deep = self.is_deep();
        self.both(crew, batch, then, |own, rows| {
            if !is_deep {
                own.backward(crew, batch.shards, rows, Some(f32::INFINITY));
            }
            own.descend(crew, rows, rate);
        });
    }

    /// Adds the gradient of the parameters to the one that is stored; then, `then`. Whether all of it is smaller than `limit`.
    pub(super) fn store(
        &mut self,
        crew: &Crew,
        batch: Minibatch<'_>,
        limit: f32,
        then: impl FnOnce() + Send,
    ) -> bool {
        self.both(crew, batch, then, |own, rows| {
            own.backward(crew, batch.shards, rows, None);
            own.is_sound = all_below(&own.dtheta, limit);
        });
        self.is_sound()
    }

    /// Moves the parameters along the gradient that is stored, and leaves that at zero; then, `then`.
    pub(super) fn update(&mut self, crew: &Crew, shards: usize, update: Update, then: impl FnOnce() + Send) {
        join(&mut self.halves, crew, shards, then, |own| {
            let Own { theta, dtheta, state, frozen, .. } = own;
            let trained = *frozen..theta.len();
            let state = state.as_mut().range(trained.clone());
            let part = Part::of_one(&mut theta[trained.clone()], &mut dtheta[trained], state);
            if others(crew).is_some() {
                update.share(crew, part);
            } else {
                update.apply(part);
            }
        });
    }

    fn is_sound(&self) -> bool {
        self.halves.iter().all(|own| own.is_sound)
    }

    /// [`join`]s the `work` of both halves on the samples of a minibatch.
    fn both(
        &mut self,
        crew: &Crew,
        batch: Minibatch<'_>,
        then: impl FnOnce() + Send,
        work: impl Fn(&mut Own, RowView<'_, f32>) + Sync,
    ) {
        let samples = batch.shards.last().map_or(0, |shard| shard.samples.end);
        let rows = self.images.view(batch.rows, 0..samples);
        join(&mut self.halves, crew, batch.shards.len(), then, |own| work(own, rows));
    }
}

/// Has each of two threads do the `work` of one half, after a part of the step with so many shards; who does the first does `then` after it.
fn join(
    [a, b]: &mut [Own; 2],
    crew: &Crew,
    shards: usize,
    then: impl FnOnce() + Send,
    work: impl Fn(&mut Own) + Sync,
) {
    let first = || {
        work(a);
        then();
    };
    crew.join_after(shards, first, || work(b));
}

impl Images {
    /// Some samples of a minibatch, whose `rows` are given if they lie in memory.
    fn view<'a>(&'a self, rows: Option<RowView<'a, f32>>, samples: Range<usize>) -> RowView<'a, f32> {
        rows.unwrap_or_else(|| RowView::new(self.features, &self.rows)).samples(samples)
    }
}

impl Own {
    fn new(half: Half<f32>, optimizer: &Optimizer, batch_size: usize, theta: &[f32]) -> Own {
        let (network, largest) = (half.network(), Block::tiled(batch_size));
        let len = network.param_len();
        let layers = network.deferred().enumerate();
        let kept_len = layers.map(|(place, (_, layer))| layer.kept_len(largest, place == 0));
        let mut own = Own {
            theta: Buffer::zeros(len),
            dtheta: Buffer::zeros(len),
            state: OptimizerState::new(optimizer, len),
            workspace: Workspace::new(network, largest).for_halves(),
            largest,
            kept: kept_len.map(Buffer::zeros).collect(),
            frozen: 0,
            is_sound: true,
            half,
        };
        own.half.take(theta, &mut own.theta);
        own
    }

    /// Makes the sums of these samples.
    fn forward(&mut self, crew: &Crew, rows: RowView<'_, f32>) {
        let Own { half, theta, workspace, .. } = self;
        let block = Block::tiled(rows.len());
        workspace.set_block(block);
        let rows = rows.features(half.inputs());
        half.network().forward_shared(&pass(block), theta, Some(rows), workspace, others(crew));
    }

    /// Goes backward from the gradient of the sums. With a limit it keeps what the gradient of the parameters is made of, and looks whether
    /// that is smaller, but for rows and the gradient of the sums; without one it adds the gradient to the one that is stored.
    fn backward(&mut self, crew: &Crew, shards: &[Shard], rows: RowView<'_, f32>, limit: Option<f32>) {
        let Own { half, theta, dtheta, workspace, kept, frozen, is_sound, .. } = self;
        let (block, sums) = (Block::tiled(rows.len()), half.network().classes());
        let mut dsums = workspace.output_grad_mut();
        for shard in shards {
            let (own, rest) = dsums.split_at_mut(Block::tiled(shard.samples.len()).len(sums));
            own.copy_from_slice(&shard.dx[..own.len()]);
            dsums = rest;
        }
        let last = kept.len() - 1;
        *is_sound = true;
        half.network().backward_keeping(
            &pass(block),
            theta,
            Some(rows.features(half.inputs())),
            dtheta,
            None,
            workspace,
            *frozen,
            &mut |place, layer, x, dy| {
                if let Some(limit) = limit {
                    layer.keep(block, x, dy, 0, &mut kept[place]);
                    *is_sound = *is_sound && (place == last || all_below(dy, limit));
                    *is_sound = *is_sound && (matches!(x, Input::Rows(_)) || all_below(x.block(), limit));
                }
                limit.is_some()
            },
            others(crew),
        );
    }

    /// Moves the parameters along what was kept of these samples.
    fn descend(&mut self, crew: &Crew, rows: RowView<'_, f32>, rate: f32) {
        let Own { half, theta, largest, kept, frozen, .. } = self;
        let block = Block::tiled(rows.len());
        let layers = half.network().deferred().zip(kept).enumerate();
        for (place, ((range, layer), kept)) in layers.filter(|(_, ((range, _), _))| range.start >= *frozen) {
            let kept = Kept::new(block, *largest, kept);
            let kept = [if place == 0 { kept.with_rows(rows.features(half.inputs())) } else { kept }];
            let moves = MoveRows::new(layer, range.len(), &kept, rows.len(), Some(rate));
            moves.run_parts(crew, crew.threads() / 2, layer.tensors(&mut theta[range]));
        }
    }
}

/// Nothing in a half is random.
fn pass(block: Block) -> Pass {
    Pass::train(block, 0, 0, 0)
}

/// Who shares the work of a half: threads beside the two.
fn others(crew: &Crew) -> Option<&dyn Share> {
    (crew.threads() > 2).then_some(crew)
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
