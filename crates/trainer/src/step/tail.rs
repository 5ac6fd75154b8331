//! The layers behind the first, or all of them, shard by shard: forward, loss, backward.

use std::sync::Mutex;

use byhand_layers::exec::{Backward, Input};
use byhand_layers::loss::{Labels, Loss, LossStats, Target};
use byhand_layers::{Block, Buffer, Pass};

use super::StepConfig;
use super::cost;
use super::crew::Crew;
use super::front::Front;
use super::help::Help;
use super::plan::Plan;
use super::segment::{Segment, Shard};
use super::shards::{MAX_SHARDS, Shards};
use super::source::Minibatch;
use super::update::all_below;
use super::worker::{Worker, lock};

/// The tail, and what its shards found.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) segment: Segment,
    cuts: Shards,
    pub(super) loss: Box<dyn Loss<f32>>,
    found: Vec<Found>,
}

/// What a shard found.
#[derive(Debug)]
pub(super) struct Found {
    /// The gradient of the tail's input, where the first layers want it.
    dx: Buffer<f32>,
    dx_len: usize,
    residuals: Vec<f32>,
    stats: LossStats,
    /// All of the gradient that is stored is small enough.
    is_sound: bool,
    /// All operands that were saved are so small that their products are finite.
    is_bounded: bool,
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
}

/// A shard, and where it notes what it finds.
type Job<'a> = (Shard<'a>, &'a mut Found);

impl Tail {
    pub(super) fn new(plan: &Plan, help: &Help, config: &StepConfig, theta: &[f32]) -> Tail {
        let (chain, cuts) = (plan.tail(), *plan.cuts());
        let (shards, largest) = (cuts.shards(plan.batch_size()), cuts.largest_shard(plan.batch_size()));
        let (has_ranks, features) = (plan.has_ranks(), chain.input().features());
        let takes_rows = !has_ranks && chain.takes_rows(features);
        let deferred = plan.defers().to_vec();
        let segment = Segment::new(chain, deferred, shards, largest, takes_rows, &config.optimizer, theta);
        let segment = segment.with_rows();
        let found = || Found {
            dx: Buffer::zeros(if has_ranks { largest.len(features) } else { 0 }),
            dx_len: 0,
            residuals: vec![0.0; largest.tiles() * largest.lanes()],
            stats: LossStats::default(),
            is_sound: true,
            is_bounded: false,
        };
        Tail {
            segment: if help.replicates { segment.with_replica() } else { segment },
            cuts,
            loss: config.objective.loss(),
            found: (0..shards).map(|_| found()).collect(),
        }
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
        let mut found_by = found.iter_mut();
        let mut jobs: [Option<Job<'_>>; MAX_SHARDS] =
            segment.shards().map(|shard| Some((shard?, found_by.next()?)));
        for_each(crew, &mut jobs[..shards], &|(shard, found)| {
            let mut worker = lock(&workers[crew.thread() % workers.len()]);
            shard.run(cuts, &**loss, step, front, &mut worker, found);
        });
        let found = &found[..shards];
        let mut stats = LossStats::default();
        found.iter().for_each(|found| stats += found.stats);
        Outcome {
            is_sound: stats.loss.is_finite() && found.iter().all(|found| found.is_sound),
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

impl Found {
    /// The gradient of the tail's input, block by block.
    pub(super) fn dx(&self) -> &[f32] {
        &self.dx[..self.dx_len]
    }
}

impl Shard<'_> {
    /// Forward, loss and backward, a block at a time.
    fn run(
        self,
        cuts: &Shards,
        loss: &dyn Loss<f32>,
        step: &Step<'_>,
        front: Option<&Front>,
        worker: &mut Worker,
        found: &mut Found,
    ) {
        let Shard { chain, theta, replica, stored, frozen, deferred, gradient, saved } = self;
        let theta = match replica {
            None => theta,
            Some(own) => {
                stored.iter().for_each(|range| own[range.clone()].copy_from_slice(&theta[range.clone()]));
                own
            }
        };
        let Worker { workspace, reader, room } = worker;
        let Step { batch, limit, looks, .. } = step;
        let features = chain.input().features();
        let scale = 1.0 / batch.len as f32;
        let is_below = |numbers: &[f32]| all_below(numbers, *limit);
        let mut is_bounded = *looks;
        let wants_dx = front.is_some_and(Front::is_trained);
        (found.stats, found.dx_len) = (LossStats::default(), 0);
        let mut first = 0;
        for samples in cuts.blocks(saved.samples.clone()) {
            let block = cuts.block(samples.len());
            let pass = Pass::train(block, step.seed, step.number, samples.start as u64);
            workspace.set_block(block);
            let mut rows = None;
            if let Some(front) = front {
                front.sums(samples.start, workspace.input_mut());
                let mut images = front.rows(batch).samples(samples.clone()).iter();
                is_bounded = is_bounded && (batch.is_below(*limit) || images.all(is_below));
            } else if !chain.takes_rows(features) {
                reader.fill(batch.source, samples.clone(), block, workspace.input_mut());
            } else if let Some(given) = batch.rows {
                rows = Some(given.samples(samples.clone()));
            } else {
                // Rows that are saved must stay, others need a place for a while only.
                let room =
                    if saved.rows.is_empty() { &mut **room } else { &mut saved.rows[first * features..] };
                rows = Some(reader.rows(batch.source, samples.clone(), features, room));
            }

            chain.forward(&pass, theta, rows, workspace);
            let target = reader.target(batch.source, samples);
            let (logits, dlogits) = workspace.output_and_grad_mut();
            found.stats += loss.value_and_gradient(block, logits, target, scale, dlogits);
            note_residuals(block, target, dlogits, scale, &mut found.residuals[first..]);

            let dx = &mut found.dx[found.dx_len..];
            let mut dx = wants_dx.then(|| &mut dx[..block.len(features)]);
            let backward = Backward {
                rows,
                dtheta: &mut *gradient,
                dx: dx.as_deref_mut(),
                frozen,
                save: &mut |place, product, x, dy| {
                    if deferred[place] {
                        product.keep(block, x, dy, first, &mut saved.operands[place]);
                        is_bounded = is_bounded
                            && is_below(dy)
                            && match x {
                                Input::Block(x) => is_below(x),
                                Input::Rows(rows) => batch.is_below(*limit) || rows.iter().all(is_below),
                            };
                    }
                    deferred[place]
                },
            };
            chain.backward(&pass, theta, backward, workspace);
            if let Some(dx) = dx {
                is_bounded = is_bounded && is_below(dx);
                found.dx_len += dx.len();
            }
            first += block.samples();
        }
        found.is_bounded = is_bounded;
        found.is_sound =
            stored.iter().all(|range| all_below(&gradient[range.clone()], cost::LARGEST_GRADIENT));
    }
}

/// Writes what [`Tail::residuals`] says of each sample of a block, whose loss was scaled by `scale`.
fn note_residuals(block: Block, target: Target<'_, f32>, dlogits: &[f32], scale: f32, out: &mut [f32]) {
    let outputs = dlogits.len() / block.len(1);
    for (sample, out) in out.iter_mut().enumerate().take(block.samples()) {
        let of = |output: usize| -dlogits[block.index(outputs, sample, output)] / scale;
        *out = match target {
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
