//! A chain of operations with all that is its own: parameters, what the optimiser remembers, gradients, saved operands.

use std::array;
use std::ops::Range;

use byhand_layers::exec::{Apply, Kept, Lowered, Product, RowView};
use byhand_layers::{Block, Buffer, Workspace};

use super::config::StepConfig;
use super::crew::Crew;
use super::plan::stored;
use super::rows::ApplyRows;
use super::shards::MAX_SHARDS;
use super::update::{Part, Update, all_below, average, sum_up};
use crate::optimizer::OptimizerState;

/// The tail of a network, with a gradient a shard; or the layers of a rank, whose samples are one shard.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) chain: Lowered<f32>,
    pub(super) weights: Weights,
    /// One a shard. Gradients that were deferred are made in the first.
    gradients: Vec<Buffer<f32>>,
    /// What each shard saved.
    saved: Vec<Saved>,
    /// Shards of the last minibatch.
    active: usize,
    /// The chain reads rows, so nothing else is saved of its input.
    takes_rows: bool,
    /// Which products have their gradient deferred, if they are trained.
    deferred: Vec<bool>,
    /// All other parameters that are trained.
    stored: Vec<Range<usize>>,
    /// Parameters that weight decay is for, if there is any.
    decayed: Vec<Range<usize>>,
}

/// What the parameters of a segment begin with: numbers for each of them.
#[derive(Clone, Copy)]
pub(super) struct Start<'a> {
    pub(super) theta: &'a [f32],
    /// Not 0 where weight decay is for the parameter.
    pub(super) decays: &'a [f32],
}

impl<'a> Start<'a> {
    /// Of a range of the parameters.
    pub(super) fn new(theta: &'a [f32], decays: &'a [f32], range: Range<usize>) -> Start<'a> {
        Start { theta: &theta[range.clone()], decays: &decays[range] }
    }
}

/// The parameters of a segment.
#[derive(Debug)]
pub(super) struct Weights {
    theta: Buffer<f32>,
    /// Those of the second shard, if it has its own. Where gradients are deferred both are moved, to the same bits,
    /// so that neither leaves its core; the rest is copied when a step begins.
    replica: Option<Buffer<f32>>,
    state: OptimizerState<f32>,
    /// Parameters, from the first on, that are constants.
    frozen: usize,
}

/// What a shard saves for the gradients that are deferred.
#[derive(Debug)]
pub(super) struct Saved {
    pub(super) samples: Range<usize>,
    /// The largest shard, as one block.
    largest: Block,
    /// Of each product.
    pub(super) operands: Vec<Buffer<f32>>,
    /// The input of a chain that reads and saves rows, where the minibatch does not lie in memory.
    pub(super) rows: Buffer<f32>,
}

/// A shard at work: what it reads of the segment, and what is its own.
pub(super) struct Shard<'a> {
    /// Its place among the shards.
    pub(super) place: usize,
    pub(super) chain: &'a Lowered<f32>,
    pub(super) theta: &'a [f32],
    /// Weights of its own, if it has a replica, and which of them must be copied from the others first.
    pub(super) replica: Option<&'a mut [f32]>,
    pub(super) stored: &'a [Range<usize>],
    pub(super) frozen: usize,
    pub(super) deferred: &'a [bool],
    pub(super) gradient: &'a mut [f32],
    pub(super) saved: &'a mut Saved,
}

impl Segment {
    /// For so many shards of at most `largest`.
    pub(super) fn new(
        chain: &Lowered<f32>,
        deferred: Vec<bool>,
        shards: usize,
        largest: Block,
        takes_rows: bool,
        config: &StepConfig,
        Start { theta, decays }: Start<'_>,
    ) -> Segment {
        let state = OptimizerState::new(&config.optimizer, theta.len());
        let saved = || {
            let operands =
                chain.products().zip(&deferred).enumerate().map(|(place, ((_, _, product), &defers))| {
                    let len = product.kept_len(largest, place == 0 && takes_rows);
                    Buffer::zeros(if defers { len } else { 0 })
                });
            Saved { samples: 0..0, largest, operands: operands.collect(), rows: Buffer::zeros(0) }
        };
        Segment {
            weights: Weights {
                theta: Buffer::from(theta),
                replica: None,
                state: if config.ema.is_some() { state.with_slot(theta) } else { state },
                frozen: 0,
            },
            gradients: (0..shards).map(|_| Buffer::zeros(theta.len())).collect(),
            saved: (0..shards).map(|_| saved()).collect(),
            active: 0,
            takes_rows,
            stored: stored(chain, &deferred, 0),
            decayed: runs(decays),
            deferred,
            chain: chain.clone(),
        }
    }

    /// With room for the rows that a chain reads and saves.
    pub(super) fn with_rows(mut self) -> Segment {
        if self.takes_rows && self.deferred.first() == Some(&true) {
            let features = self.chain.input().features();
            self.saved
                .iter_mut()
                .for_each(|saved| saved.rows = Buffer::zeros(saved.largest.samples() * features));
        }
        self
    }

    /// With a replica of the weights for the second shard.
    pub(super) fn with_replica(mut self) -> Segment {
        self.weights.replica = Some(self.weights.theta.clone());
        self
    }

    /// The first `frozen` parameters are constants from the next step on.
    pub(super) fn freeze(&mut self, frozen: usize) {
        self.weights.frozen = frozen;
        self.stored = stored(&self.chain, &self.deferred, frozen);
        self.renew();
    }

    pub(super) fn is_trained(&self) -> bool {
        self.weights.frozen < self.weights.theta.len()
    }

    /// Leaves the gradients at zero, as a step begins.
    pub(super) fn clear(&mut self) {
        self.gradients.iter_mut().for_each(|gradient| gradient.fill(0.0));
    }

    /// Begins with the shards of a minibatch.
    pub(super) fn begin(&mut self, shards: impl Iterator<Item = Range<usize>>) {
        self.active = 0;
        for (saved, samples) in self.saved.iter_mut().zip(shards) {
            saved.samples = samples;
            self.active += 1;
        }
    }

    /// The shards of the minibatch.
    pub(super) fn shards(&mut self) -> [Option<Shard<'_>>; MAX_SHARDS] {
        let Segment { chain, weights, gradients, saved, active, deferred, stored, .. } = self;
        let Weights { theta, replica, frozen, .. } = weights;
        let mut own = gradients.iter_mut().zip(saved).take(*active);
        let mut replicas = [None, replica.as_deref_mut()].into_iter();
        array::from_fn(|place| {
            let (gradient, saved) = own.next()?;
            let replica = replicas.next().flatten();
            Some(Shard { place, chain, theta, replica, stored, frozen: *frozen, deferred, gradient, saved })
        })
    }

    /// Whether all of the deferred gradients, accumulated, is below `limit`.
    pub(super) fn is_below(&self, limit: f32) -> bool {
        let mut products = products(&self.chain, &self.deferred, self.weights.frozen);
        products.all(|(_, range, _)| all_below(&self.gradients[0][range], limit))
    }

    /// Applies the deferred gradients of a minibatch, whose `rows` are given if they lie in memory. So many threads
    /// share the work.
    pub(super) fn apply(
        &mut self,
        apply: Apply<f32>,
        rows: Option<RowView<'_, f32>>,
        crew: &Crew,
        threads: usize,
    ) {
        let Segment { chain, weights, gradients, saved, active, takes_rows, deferred, .. } = self;
        let Weights { theta, replica, frozen, .. } = weights;
        let (saved, features) = (&saved[..*active], chain.input().features());
        let samples = saved.iter().map(|saved| saved.samples.len()).sum();
        let run = |moved: &mut [f32], threads: usize| {
            for (place, range, product) in products(chain, deferred, *frozen) {
                let mut kept = [Kept::default(); MAX_SHARDS];
                for (kept, saved) in kept.iter_mut().zip(saved) {
                    let own = || RowView::new(features, &saved.rows[..saved.samples.len() * features]);
                    let read = || rows.map_or_else(own, |rows| rows.samples(saved.samples.clone()));
                    *kept = saved.kept(place, (*takes_rows && place == 0).then(read));
                }
                let work = ApplyRows::new(product, range.len(), &kept[..saved.len()], samples, apply);
                if threads > 1 && work.pays() {
                    crew.call_for(saved.len(), threads);
                }
                work.run(crew, threads, product.split_mut(&mut moved[range]));
            }
        };
        match (apply, replica) {
            (Apply::Accumulate, _) => run(&mut gradients[0], threads),
            (Apply::Descend(_), None) => run(theta, threads),
            (Apply::Descend(_), Some(replica)) => crew.join(|| run(theta, 1), || run(replica, 1)),
        }
    }

    /// Moves the parameters along the gradients that are stored, also those that were deferred if they were
    /// `accumulated`; leaves them at zero.
    pub(super) fn update(&mut self, update: Update, accumulated: bool, crew: &Crew, threads: usize) {
        let frozen = self.weights.frozen;
        for range in self.decayed.iter().filter(|range| range.end > frozen) {
            let trained = range.start.max(frozen)..range.end;
            self.weights.theta[trained].iter_mut().for_each(|theta| *theta *= update.keep);
        }
        self.for_each_part(accumulated, |part| {
            if threads > 1 { update.share(crew, part) } else { update.apply(part) }
        });
        if accumulated {
            self.renew();
        }
    }

    /// The sum of the squares of all gradients, those that were deferred being accumulated, in a fixed order. The shards' are added up
    /// on the way.
    pub(super) fn squares(&mut self) -> f64 {
        let mut squares = 0.0;
        self.for_each_part(true, |part| squares += sum_up(part));
        squares
    }

    /// Moves the average of the parameters, which is slot `slot`.
    pub(super) fn average(&mut self, slot: usize, decay: f64) {
        let Weights { theta, state, .. } = &mut self.weights;
        average(state.slot_mut(slot), theta, decay);
    }

    /// Each range of parameters that is trained, with the gradients of all shards that have one of it.
    fn for_each_part(&mut self, accumulated: bool, mut work: impl FnMut(Part<'_>)) {
        let Segment { chain, weights, gradients, active, deferred, stored, .. } = self;
        let deferred = products(chain, deferred, weights.frozen).filter(|_| accumulated);
        let deferred = deferred.map(|(_, range, _)| (range, 1));
        for (range, active) in deferred.chain(stored.iter().map(|range| (range.clone(), *active))) {
            let mut dtheta: [&mut [f32]; MAX_SHARDS] = Default::default();
            for (dtheta, gradient) in dtheta.iter_mut().zip(&mut gradients[..active]) {
                *dtheta = &mut gradient[range.clone()];
            }
            let (theta, state) = (&mut weights.theta[range.clone()], weights.state.as_mut().range(range));
            work(Part { theta, dtheta, state, active });
        }
    }

    /// Has the chain remember what it measured of a minibatch.
    pub(super) fn remember(&mut self, workspace: &Workspace<f32>) {
        let Weights { theta, frozen, .. } = &mut self.weights;
        self.chain.remember(*frozen, theta, workspace);
    }

    /// Makes the replica what the weights are.
    fn renew(&mut self) {
        if let Some(replica) = &mut self.weights.replica {
            replica.copy_from_slice(&self.weights.theta);
        }
    }

    /// The sum of all gradients that are stored.
    pub(super) fn gradient(&self) -> Vec<f32> {
        let mut sum = vec![0.0; self.weights.theta.len()];
        for gradient in &self.gradients {
            sum.iter_mut().zip(&**gradient).for_each(|(sum, &d)| *sum += d);
        }
        sum
    }

    /// The first shard's gradient, which is a rank's only one.
    pub(super) fn first_gradient(&self) -> &[f32] {
        &self.gradients[0]
    }

    /// The samples of each shard of the last minibatch.
    pub(super) fn samples(&self) -> impl Iterator<Item = Range<usize>> {
        self.saved[..self.active].iter().map(|saved| saved.samples.clone())
    }

    pub(super) fn theta(&self) -> &[f32] {
        &self.weights.theta
    }

    pub(super) fn state(&self) -> &OptimizerState<f32> {
        &self.weights.state
    }

    /// Writes other parameters, and what the optimiser remembers of them: `write` is given the slot, or none for the
    /// parameters.
    pub(super) fn restore(&mut self, write: impl Fn(Option<usize>, &mut [f32])) {
        let Weights { theta, state, .. } = &mut self.weights;
        write(None, theta);
        for slot in 0..state.slots() {
            write(Some(slot), state.slot_mut(slot));
        }
        self.renew();
    }
}

impl Saved {
    /// What was saved of a product.
    fn kept<'a>(&'a self, place: usize, rows: Option<RowView<'a, f32>>) -> Kept<'a, f32> {
        let samples = self.samples.len();
        let block = if self.largest.lanes() == 1 { Block::single(samples) } else { Block::tiled(samples) };
        let kept = Kept::new(block, self.largest, &self.operands[place]);
        rows.map_or(kept, |rows| kept.with_rows(rows))
    }
}

/// The products whose gradient is deferred, but for frozen ones: the place of each among all products, its
/// parameters, itself.
fn products<'a>(
    chain: &'a Lowered<f32>,
    deferred: &'a [bool],
    frozen: usize,
) -> impl Iterator<Item = (usize, Range<usize>, &'a Product)> {
    let products = chain.products().zip(deferred).enumerate();
    let deferred = products.filter(move |(_, ((_, range, _), defers))| **defers && range.start >= frozen);
    deferred.map(|(place, ((_, range, product), _))| (place, range, product))
}

/// The ranges in which numbers are not 0.
fn runs(numbers: &[f32]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (at, _) in numbers.iter().enumerate().filter(|(_, number)| **number != 0.0) {
        match runs.last_mut().filter(|run| run.end == at) {
            Some(run) => run.end += 1,
            None => runs.push(at..at + 1),
        }
    }
    runs
}
