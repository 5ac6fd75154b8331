//! The layers behind the first, or all of them, shard by shard: forward, loss, backward.

use std::array;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard};

use byhand_layers::exec::{Backward, Input, Lowered, RowView};
use byhand_layers::loss::{Labels, Loss, LossStats, Target};
use byhand_layers::{Block, Pass, Workspace};

use super::config::StepConfig;
use super::crew::Crew;
use super::found::Found;
use super::front::Front;
use super::help::Help;
use super::plan::Plan;
use super::segment::{Saved, Segment, Shard, Start};
use super::shards::{MAX_SHARDS, Shards};
use super::source::Minibatch;
use super::update::{LARGEST_GRADIENT, all_below};
use super::worker::{Worker, lock};

/// The tail, and what its shards found.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) segment: Segment,
    cuts: Shards,
    pub(super) loss: Box<dyn Loss<f32>>,
    found: Vec<Found>,
}

/// What all shards found together.
pub(super) struct Outcome {
    pub(super) stats: LossStats,
    /// The loss, and all gradients that are stored, are finite.
    pub(super) is_sound: bool,
    /// Parameters may be moved without a look at their gradient: its factors are known to be small.
    pub(super) is_bounded: bool,
}

/// What the shards of a step have in common.
pub(super) struct Step<'a> {
    pub(super) batch: Minibatch<'a>,
    pub(super) seed: u64,
    pub(super) number: u64,
    /// Operands must stay below this, if anybody looks.
    pub(super) limit: f32,
    pub(super) looks: bool,
    /// What the gradient of each sample's loss is multiplied by: one over what all samples count.
    pub(super) scale: f32,
}

/// A shard, and where it notes what it finds.
type Job<'a> = (Shard<'a>, &'a mut Found);

impl Tail {
    pub(super) fn new(plan: &Plan, help: &Help, config: &StepConfig, start: Start<'_>) -> Tail {
        let (chain, cuts) = (plan.tail(), *plan.cuts());
        let (shards, largest) = (cuts.shards(plan.batch_size()), cuts.largest_shard(plan.batch_size()));
        let (has_ranks, features) = (plan.has_ranks(), chain.input().features());
        let takes_rows = !has_ranks && chain.takes_rows(features);
        let deferred = plan.defers().to_vec();
        let segment = Segment::new(chain, deferred, shards, largest, takes_rows, config, start);
        let segment = segment.with_rows();
        Tail {
            segment: if help.replicates { segment.with_replica() } else { segment },
            cuts,
            loss: config.objective.loss(),
            found: (0..shards).map(|_| Found::new(largest, has_ranks.then_some(features))).collect(),
        }
    }

    /// What the samples of a minibatch count together.
    pub(super) fn weight(&self, batch: &Minibatch<'_>, workers: &[Mutex<Worker>]) -> f64 {
        let weighting = self.loss.weighting();
        if weighting.is_none() {
            return batch.len as f64;
        }
        let (cuts, mut worker, mut weight) = (&self.cuts, lock(&workers[0]), 0.0);
        let shards = (0..cuts.shards(batch.len)).map(|shard| cuts.shard(batch.len, shard));
        for samples in shards.flat_map(|shard| cuts.blocks(shard)) {
            let count = samples.len();
            weight += weighting.total(worker.reader.target(batch.source, samples), count);
        }
        weight
    }

    /// Runs all shards of a minibatch forward and backward; any thread may take any.
    pub(super) fn run(
        &mut self,
        crew: &Crew,
        workers: &[Mutex<Worker>],
        step: &Step<'_>,
        front: Option<&Front>,
    ) -> Outcome {
        let Tail { segment, cuts, loss, found } = self;
        let shards = cuts.shards(step.batch.len);
        segment.begin((0..shards).map(|shard| cuts.shard(step.batch.len, shard)));
        let mut is_measured = true;
        if segment.chain.norms() == 0 {
            for_each(crew, &mut jobs(segment, found)[..shards], &|(shard, found)| {
                let mut worker = lock(&workers[crew.thread() % workers.len()]);
                shard.run(cuts, &**loss, step, front, &mut worker, found);
            });
        } else {
            is_measured = run_in_stages(segment, cuts, &**loss, found, crew, workers, step);
        }
        let found = &found[..shards];
        let mut stats = LossStats::default();
        found.iter().for_each(|found| stats += found.stats);
        Outcome {
            is_sound: is_measured && stats.loss.is_finite() && found.iter().all(|found| found.is_sound),
            is_bounded: found.iter().all(|found| found.is_bounded),
            stats,
        }
    }

    /// What the shards of the last minibatch found, and the segment.
    pub(super) fn found(&mut self) -> (&[Found], &mut Segment) {
        let active = self.segment.samples().count();
        (&self.found[..active], &mut self.segment)
    }

    /// How much more the loss of each sample of the last minibatch wanted of the output of its class.
    pub(super) fn residuals(&self) -> impl Iterator<Item = f32> {
        let each = self.found.iter().zip(self.segment.samples());
        each.flat_map(|(found, samples)| &found.residuals[..samples.len()]).copied()
    }
}

/// Runs all shards up to each batch normalisation, and then from each. Whether all that these measured is finite. Who was done with a stage
/// first may have fallen asleep, and is called for the next.
fn run_in_stages(
    segment: &mut Segment,
    cuts: &Shards,
    loss: &dyn Loss<f32>,
    found: &mut [Found],
    crew: &Crew,
    workers: &[Mutex<Worker>],
    step: &Step<'_>,
) -> bool {
    let (shards, norms) = (cuts.shards(step.batch.len), segment.chain.norms());
    let at = |shard: &Shard<'_>| {
        let samples = shard.saved.samples.clone();
        At { block: cuts.block(samples.len()), samples, first: 0 }
    };
    let workspaces = || -> [Option<MutexGuard<'_, Worker>>; MAX_SHARDS] {
        array::from_fn(|shard| (shard < shards).then(|| lock(&workers[shard])))
    };
    found.iter_mut().for_each(|found| found.begin(step.looks));
    for stage in 0..=norms {
        crew.call_for(shards, crew.threads());
        for_each(crew, &mut jobs(segment, found)[..shards], &|(mut shard, found)| {
            let mut worker = lock(&workers[shard.place]);
            shard.forward(stage, &at(&shard), loss, step, None, &mut worker, found);
        });
        segment.chain.merge(stage, &mut workspaces()[..shards], workspace);
    }
    for stage in (0..=norms).rev() {
        crew.call_for(shards, crew.threads());
        for_each(crew, &mut jobs(segment, found)[..shards], &|(mut shard, found)| {
            let mut worker = lock(&workers[shard.place]);
            shard.backward(stage, &at(&shard), step, None, &mut worker, found);
        });
        if let Some(norm) = stage.checked_sub(1) {
            segment.chain.merge_sums(norm, &mut workspaces()[..shards], workspace);
        }
    }
    segment.chain.is_measured_finite(&lock(&workers[0]).workspace)
}

/// The workspace of a worker that is there.
fn workspace<'a>(worker: &'a mut Option<MutexGuard<'_, Worker>>) -> &'a mut Workspace<f32> {
    &mut worker.as_mut().expect("a worker for every shard").workspace
}

/// The shards of the minibatch, each with where it notes what it finds.
fn jobs<'a>(segment: &'a mut Segment, found: &'a mut [Found]) -> [Option<Job<'a>>; MAX_SHARDS] {
    let mut found = found.iter_mut();
    segment.shards().map(|shard| Some((shard?, found.next()?)))
}

impl Step<'_> {
    fn is_below(&self, numbers: &[f32]) -> bool {
        all_below(numbers, self.limit)
    }
}

/// A block of a shard: its samples, its layout, and the samples of the shard before it.
struct At {
    samples: Range<usize>,
    block: Block,
    first: usize,
}

impl At {
    fn pass(&self, step: &Step<'_>) -> Pass {
        Pass::train(self.block, step.seed, step.number, self.samples.start as u64)
    }
}

impl<'a> Shard<'a> {
    /// Forward, loss and backward, a block at a time.
    fn run(
        mut self,
        cuts: &Shards,
        loss: &dyn Loss<f32>,
        step: &Step<'_>,
        front: Option<&Front>,
        worker: &mut Worker,
        found: &mut Found,
    ) {
        if let Some(own) = self.replica.take() {
            self.stored
                .iter()
                .for_each(|range| own[range.clone()].copy_from_slice(&self.theta[range.clone()]));
            self.theta = own;
        }
        found.begin(step.looks);
        let mut first = 0;
        for samples in cuts.blocks(self.saved.samples.clone()) {
            let at = At { block: cuts.block(samples.len()), samples, first };
            self.forward(0, &at, loss, step, front, worker, found);
            self.backward(0, &at, step, front, worker, found);
            first += at.block.samples();
        }
    }

    /// A stage of the forward pass of a block; the last one makes the loss and its gradient.
    fn forward(
        &mut self,
        stage: usize,
        at: &At,
        loss: &dyn Loss<f32>,
        step: &Step<'_>,
        front: Option<&Front>,
        worker: &mut Worker,
        found: &mut Found,
    ) {
        let Worker { workspace, reader, room } = worker;
        let (chain, batch, samples) = (self.chain, &step.batch, at.samples.clone());
        let features = chain.input().features();
        if stage == 0 {
            workspace.set_block(at.block);
            if let Some(front) = front {
                front.sums(samples.start, workspace.input_mut());
                let mut images = front.rows(batch).samples(samples.clone()).iter();
                found.is_bounded =
                    found.is_bounded && (batch.is_below(step.limit) || images.all(|row| step.is_below(row)));
            } else if !chain.takes_rows(features) {
                reader.fill(batch.source, samples.clone(), at.block, workspace.input_mut());
            } else if batch.rows.is_none() {
                // Rows that are saved must stay, others need a place for a while only.
                let kept = &mut self.saved.rows;
                let room = if kept.is_empty() { &mut **room } else { &mut kept[at.first * features..] };
                reader.rows(batch.source, samples.clone(), features, room);
            }
        }
        let rows = rows_of(chain, at, step, front, &self.saved.rows, room);
        chain.forward_stage(stage, &at.pass(step), self.theta, rows, workspace);
        if stage < chain.norms() {
            return;
        }
        let scale = step.scale;
        let target = reader.target(batch.source, samples);
        let (logits, dlogits) = workspace.output_and_grad_mut();
        found.stats += loss.value_and_gradient(at.block, logits, target, scale, dlogits);
        note_residuals(at.block, target, dlogits, scale, &mut found.residuals[at.first..]);
    }

    /// A stage of the backward pass of a block, last stage first.
    fn backward(
        &mut self,
        stage: usize,
        at: &At,
        step: &Step<'_>,
        front: Option<&Front>,
        worker: &mut Worker,
        found: &mut Found,
    ) {
        let Worker { workspace, room, .. } = worker;
        let Shard { chain, theta, stored, frozen, deferred, gradient, saved, .. } = self;
        let (batch, block, features) = (&step.batch, at.block, chain.input().features());
        let Saved { operands, rows: kept, .. } = &mut **saved;
        let rows = rows_of(chain, at, step, front, kept, room);
        let wants_dx = front.is_some_and(Front::is_trained);
        let dx = &mut found.dx[found.dx_len..];
        let mut dx = wants_dx.then(|| &mut dx[..block.len(features)]);
        let is_bounded = &mut found.is_bounded;
        let backward = Backward {
            rows,
            dtheta: gradient,
            dx: dx.as_deref_mut(),
            frozen: *frozen,
            save: &mut |place, product, x, dy| {
                if deferred[place] {
                    product.keep(block, x, dy, at.first, &mut operands[place]);
                    *is_bounded = *is_bounded
                        && step.is_below(dy)
                        && match x {
                            Input::Block(x) => step.is_below(x),
                            Input::Rows(rows) => {
                                batch.is_below(step.limit) || rows.iter().all(|row| step.is_below(row))
                            }
                        };
                }
                deferred[place]
            },
        };
        chain.backward_stage(stage, &at.pass(step), theta, backward, workspace);
        if let Some(dx) = dx {
            found.is_bounded = found.is_bounded && step.is_below(dx);
            found.dx_len += dx.len();
        }
        if stage == 0 {
            let is_small = |range: &Range<usize>| all_below(&gradient[range.clone()], LARGEST_GRADIENT);
            found.is_sound = stored.iter().all(is_small);
        }
    }
}

/// The rows of a block, where the chain takes such: of a minibatch that lies in memory, or where the forward pass wrote them.
fn rows_of<'a>(
    chain: &Lowered<f32>,
    at: &At,
    step: &Step<'a>,
    front: Option<&Front>,
    kept: &'a [f32],
    room: &'a [f32],
) -> Option<RowView<'a, f32>> {
    let features = chain.input().features();
    if front.is_some() || !chain.takes_rows(features) {
        return None;
    }
    if let Some(given) = step.batch.rows {
        return Some(given.samples(at.samples.clone()));
    }
    let written = if kept.is_empty() { room } else { &kept[at.first * features..] };
    Some(RowView::new(features, &written[..at.samples.len() * features]))
}

/// Writes what [`Tail::residuals`] says of each sample of a block, whose loss was scaled by `scale`.
fn note_residuals(block: Block, target: Target<'_, f32>, dlogits: &[f32], scale: f32, out: &mut [f32]) {
    let outputs = dlogits.len() / block.len(1);
    // A label that is no class is ignored, and so are all where nothing is scaled.
    let is_counted = |label: u16| usize::from(label) < outputs && scale > 0.0;
    for (sample, out) in out.iter_mut().enumerate().take(block.samples()) {
        let of = |output: usize| -dlogits[block.index(outputs, sample, output)] / scale;
        *out = match target {
            Target::Labels(Labels(labels)) if !is_counted(labels[sample]) => 0.0,
            Target::Labels(Labels(labels)) => of(labels[sample].into()),
            Target::Rows(_) => (0..outputs).map(|output| of(output).abs()).fold(0.0, f32::max),
        };
    }
}

/// Runs `work` on every job; any thread may take any.
fn for_each(crew: &Crew, jobs: &mut [Option<Job<'_>>], work: &(impl Fn(Job<'_>) + Sync)) {
    match jobs {
        [] => {}
        [job] => job.take().into_iter().for_each(work),
        _ => {
            let (a, b) = jobs.split_at_mut(jobs.len().div_ceil(2));
            crew.join(|| for_each(crew, a, work), || for_each(crew, b, work));
        }
    }
}
