//! The first layers of a dense network on two [ranks](byhand_layers::exec::Split): of two threads each computes one,
//! for all samples.
//!
//! Its parameters stay in a core's caches from step to step. What the cores exchange is less: the sums of both, and
//! their gradient.

use std::iter::once;
use std::ops::Range;
use std::sync::Mutex;

use byhand_layers::exec::{Apply, Backward, Input, Loop, Rank, RowView, Tiles, vectorised};
use byhand_layers::{Block, Buffer, Pass, Workspace};

use super::config::StepConfig;
use super::crew::Crew;
use super::found::Found;
use super::plan::Plan;
use super::segment::{Segment, Shard, Start};
use super::source::Minibatch;
use super::update::{LARGEST_GRADIENT, Update, all_below};
use super::worker::{Worker, lock};

/// Samples whose features one thread writes at a time.
const FILLED: usize = 16;

/// Both ranks.
#[derive(Debug)]
pub(super) struct Front {
    ranks: [Ranked; 2],
    features: usize,
    /// The samples of a minibatch that does not lie in memory, as rows.
    images: Buffer<f32>,
}

/// What belongs to a rank.
#[derive(Debug)]
struct Ranked {
    rank: Rank<f32>,
    segment: Segment,
    workspace: Workspace<f32>,
    /// It went backward in this step, and saved the operands of its gradient.
    is_saved: bool,
    /// What was looked at last is as small as it must be.
    is_below: bool,
}

impl Front {
    /// The first layers of a network, whose parameters are `theta`.
    pub(super) fn new(ranks: &[Rank<f32>; 2], plan: &Plan, config: &StepConfig, start: Start<'_>) -> Front {
        let features = plan.input_features();
        Front {
            ranks: ranks.each_ref().map(|rank| Ranked::new(rank, plan, config, start)),
            features,
            images: Buffer::zeros(plan.batch_size() * features),
        }
    }

    /// The first `frozen` parameters of the network are constants.
    pub(super) fn freeze(&mut self, frozen: usize) {
        self.ranks.iter_mut().for_each(|ranked| ranked.segment.freeze(ranked.rank.frozen(frozen)));
    }

    pub(super) fn is_trained(&self) -> bool {
        self.ranks.iter().any(|ranked| ranked.segment.is_trained())
    }

    /// Leaves the gradients at zero, as a step begins.
    pub(super) fn clear(&mut self) {
        self.ranks.iter_mut().for_each(|ranked| ranked.segment.clear());
    }

    /// Numbers of both ranks, and those of the tail, in the network's order.
    pub(super) fn gather(&self, tail: &[f32], numbers: impl Fn(&Segment) -> &[f32]) -> Vec<f32> {
        let front: usize = self.ranks.iter().map(|ranked| ranked.segment.theta().len()).sum();
        let mut all = vec![0.0; front + tail.len()];
        self.ranks.iter().for_each(|ranked| ranked.rank.gather(numbers(&ranked.segment), &mut all));
        all[front..].copy_from_slice(tail);
        all
    }

    /// Makes the parameters, and the slots of what the optimiser remembers, those of `all` parameters of the network.
    pub(super) fn restore<'a>(&mut self, all: impl Fn(Option<usize>) -> &'a [f32]) {
        for Ranked { rank, segment, .. } in &mut self.ranks {
            segment.restore(|slot, own| rank.scatter(all(slot), own));
        }
    }

    /// Makes the sums of both ranks for a minibatch, after which the tail has so many shards.
    pub(super) fn forward(
        &mut self,
        crew: &Crew,
        batch: &Minibatch<'_>,
        shards: usize,
        workers: &[Mutex<Worker>],
    ) {
        if batch.rows.is_none() {
            self.fill(crew, batch, shards, workers);
        }
        self.both(crew, batch, shards, || (), |ranked, rows| ranked.forward(rows));
    }

    /// Has the samples of a minibatch written as rows: by halves of their features, or else some samples at a time.
    fn fill(&mut self, crew: &Crew, batch: &Minibatch<'_>, shards: usize, workers: &[Mutex<Worker>]) {
        let (samples, features) = (0..batch.len, self.features);
        let rows = &mut self.images[..batch.len * features];
        let middle = features / 2;
        let (left, right) = Tiles::new(Block::single(batch.len), rows).split_at(middle);
        let (mut is_left_done, mut is_right_done) = (false, false);
        crew.join_after(
            shards,
            || is_left_done = batch.source.fill_part(samples.clone(), 0..middle, left),
            || is_right_done = batch.source.fill_part(samples.clone(), middle..features, right),
        );
        if !(is_left_done && is_right_done) {
            fill_some(crew, samples, features, rows, &|samples, rows: &mut [f32]| {
                let mut worker = lock(&workers[crew.thread() % workers.len()]);
                worker.reader.rows(batch.source, samples, features, rows);
            });
        }
    }

    /// The samples of a minibatch.
    pub(super) fn rows<'a>(&'a self, batch: &Minibatch<'a>) -> RowView<'a, f32> {
        rows_of(batch, self.features, &self.images)
    }

    /// Writes the sums of samples from `first` on, the first of a tile, as a block.
    pub(super) fn sums(&self, first: usize, x: &mut [f32]) {
        let sums = self.ranks.each_ref().map(|ranked| {
            let features = ranked.rank.chain().output().features();
            &ranked.workspace.output()[first * features..][..x.len()]
        });
        vectorised(AddUp { sums, x });
    }

    /// Whether gradients lie between layers of a rank, of which nobody knows how large they are before they went
    /// backward.
    pub(super) fn is_deep(&self) -> bool {
        self.ranks[0].rank.chain().products().count() > 1
    }

    /// Goes backward from the gradient of the sums and saves the operands of the parameters' gradient. Whether all
    /// those that nobody has looked at before are smaller than `limit`.
    pub(super) fn backward(
        &mut self,
        crew: &Crew,
        batch: &Minibatch<'_>,
        found: &[Found],
        limit: f32,
    ) -> bool {
        self.both(crew, batch, found.len(), || (), |ranked, rows| ranked.backward(found, rows, Some(limit)));
        self.is_below()
    }

    /// Goes backward, if it has not yet, and applies the gradient of the parameters; whoever does the first rank does
    /// what is left to do, `then`. Whether all of a gradient that was accumulated is small enough.
    pub(super) fn apply(
        &mut self,
        crew: &Crew,
        batch: &Minibatch<'_>,
        found: &[Found],
        apply: Apply<f32>,
        then: impl FnOnce() + Send,
    ) -> bool {
        self.both(crew, batch, found.len(), then, |ranked, rows| {
            ranked.backward(found, rows, None);
            let rows = rows.features(ranked.rank.inputs());
            ranked.segment.apply(apply, Some(rows), crew, crew.threads() / 2);
            ranked.is_below = apply != Apply::Accumulate || ranked.segment.is_below(LARGEST_GRADIENT);
        });
        self.is_below()
    }

    /// Moves the parameters along the gradient that was accumulated, and leaves that at zero; then, `then`.
    pub(super) fn update(&mut self, crew: &Crew, shards: usize, update: Update, then: impl FnOnce() + Send) {
        join(&mut self.ranks, crew, shards, then, |ranked| {
            ranked.segment.update(update, true, crew, crew.threads() / 2)
        });
    }

    /// The sum of the squares of the gradient that was accumulated.
    pub(super) fn squares(&mut self) -> f64 {
        self.ranks.iter_mut().fold(0.0, |sum, ranked| sum + ranked.segment.squares())
    }

    /// Moves the average of the parameters, which is slot `slot`.
    pub(super) fn average(&mut self, slot: usize, decay: f64) {
        self.ranks.iter_mut().for_each(|ranked| ranked.segment.average(slot, decay));
    }

    fn is_below(&self) -> bool {
        self.ranks.iter().all(|ranked| ranked.is_below)
    }

    /// [`join`]s the `work` of both ranks on the samples of a minibatch.
    fn both(
        &mut self,
        crew: &Crew,
        batch: &Minibatch<'_>,
        shards: usize,
        then: impl FnOnce() + Send,
        work: impl Fn(&mut Ranked, RowView<'_, f32>) + Sync,
    ) {
        let rows = rows_of(batch, self.features, &self.images);
        join(&mut self.ranks, crew, shards, then, |ranked| work(ranked, rows));
    }
}

impl Ranked {
    fn new(rank: &Rank<f32>, plan: &Plan, config: &StepConfig, start: Start<'_>) -> Ranked {
        let (chain, largest) = (rank.chain(), plan.block(plan.batch_size()));
        let own = |all: &[f32]| {
            let mut own = vec![0.0; chain.param_len()];
            rank.scatter(all, &mut own);
            own
        };
        let (theta, decays) = (own(start.theta), own(start.decays));
        let start = Start { theta: &theta, decays: &decays };
        let deferred = chain.products().map(|_| true).collect();
        Ranked {
            segment: Segment::new(chain, deferred, 1, largest, true, config, start),
            workspace: Workspace::of(chain, largest),
            is_saved: false,
            is_below: true,
            rank: rank.clone(),
        }
    }

    /// Nothing in a rank is random.
    fn pass(&self, samples: usize) -> Pass {
        let is_single = self.workspace.block().lanes() == 1;
        let block = if is_single { Block::single(samples) } else { Block::tiled(samples) };
        Pass::train(block, 0, 0, 0)
    }

    /// Makes the sums of these samples.
    fn forward(&mut self, rows: RowView<'_, f32>) {
        let pass = self.pass(rows.len());
        self.is_saved = false;
        self.segment.begin(once(0..rows.len()));
        self.workspace.set_block(pass.block);
        let rows = rows.features(self.rank.inputs());
        self.rank.chain().forward(&pass, self.segment.theta(), Some(rows), &mut self.workspace);
    }

    /// Goes backward, once a step, from the gradient of the sums, and saves what the gradient of the parameters is
    /// made of. With a limit it looks whether that is smaller, but for rows and the gradient of the sums.
    fn backward(&mut self, found: &[Found], rows: RowView<'_, f32>, limit: Option<f32>) {
        if std::mem::replace(&mut self.is_saved, true) {
            return;
        }
        let pass = self.pass(rows.len());
        let Ranked { rank, segment, workspace, is_below, .. } = self;
        let mut dsums = workspace.output_grad_mut();
        for found in found {
            let (own, rest) = dsums.split_at_mut(found.dx().len());
            own.copy_from_slice(found.dx());
            dsums = rest;
        }
        let last = rank.chain().products().count() - 1;
        let [Some(shard), ..] = segment.shards() else { unreachable!("a rank has one shard") };
        let Shard { chain, theta, frozen, gradient, saved, .. } = shard;
        *is_below = true;
        let backward = Backward {
            rows: Some(rows.features(rank.inputs())),
            dtheta: gradient,
            dx: None,
            frozen,
            save: &mut |place, product, x, dy| {
                product.keep(pass.block, x, dy, 0, &mut saved.operands[place]);
                if let Some(limit) = limit {
                    *is_below = *is_below && (place == last || all_below(dy, limit));
                    *is_below = *is_below && (matches!(x, Input::Rows(_)) || all_below(x.block(), limit));
                }
                true
            },
        };
        chain.backward(&pass, theta, backward, workspace);
    }
}

/// The samples of a minibatch: where they lie in memory, or where they were written.
fn rows_of<'a>(batch: &Minibatch<'a>, features: usize, images: &'a [f32]) -> RowView<'a, f32> {
    batch.rows.unwrap_or_else(|| RowView::new(features, &images[..batch.len * features]))
}

/// Has each of two threads do the `work` of one rank, after a part of the step with so many shards; who does the
/// first does `then` after it.
fn join(
    [a, b]: &mut [Ranked; 2],
    crew: &Crew,
    shards: usize,
    then: impl FnOnce() + Send,
    work: impl Fn(&mut Ranked) + Sync,
) {
    let first = || {
        work(a);
        then();
    };
    crew.join_after(shards, first, || work(b));
}

/// Has whole samples written, some at a time; any thread may take any.
fn fill_some(
    crew: &Crew,
    samples: Range<usize>,
    features: usize,
    rows: &mut [f32],
    fill: &(impl Fn(Range<usize>, &mut [f32]) + Sync),
) {
    if samples.len() <= FILLED {
        return fill(samples, rows);
    }
    let half = samples.len() / 2;
    let middle = samples.start + half;
    let (a, b) = rows.split_at_mut(half * features);
    crew.join(
        || fill_some(crew, samples.start..middle, features, a, fill),
        || fill_some(crew, middle..samples.end, features, b, fill),
    );
}

/// Both sums together.
struct AddUp<'a> {
    sums: [&'a [f32]; 2],
    x: &'a mut [f32],
}

impl Loop for AddUp<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let [a, b] = self.sums;
        for ((x, &a), &b) in self.x.iter_mut().zip(a).zip(b) {
            *x = a + b;
        }
    }
}
