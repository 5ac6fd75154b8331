//! The training step: forward, loss, backward and update of one minibatch, on any number of threads, with equal bits.
//!
//! A minibatch is cut into shards ([`ShardPlan`]). Each shard accumulates its samples in order into a gradient of its
//! own; the gradients are added pairwise in a fixed binary tree, (0+1)+(2+3)+..., in the same pass over memory in which
//! the optimiser moves the parameters. Layers with large weights keep their operands instead, and have one gradient, made of
//! all shards at the end. Which thread does what is settled while running and changes nothing.

pub(crate) mod crew;
mod cut;
mod plan;
mod share;
mod source;
mod update;
pub(crate) mod worker;

use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock};

use byhand_layers::Block;
use byhand_layers::loss::{Loss, LossStats};
use byhand_layers::{
    Buffer, Deferred, Input, Kept, Loop, NamedParam, Network, Pass, RowView, Share, Workspace, vectorised,
};

use self::crew::Crew;
use self::cut::{Cut, Minibatch};
pub use self::plan::{MAX_SHARDS, ShardPlan};
use self::share::MoveRows;
pub use self::source::{BatchSource, ImageBatch, Preprocess, Rows};
use self::update::{CHUNK, Part, SLICE, Update, add};
use self::worker::{Worker, lock};
use crate::error::{Diverged, DivergenceCause, TrainerError};
use crate::objective::Objective;
use crate::optimizer::{Optimizer, OptimizerState, Sgd};

/// Settings of a [`Trainer`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepConfig {
    /// The optimiser.
    pub optimizer: Optimizer,
    /// The loss.
    pub objective: Objective,
    /// The most samples a minibatch has. Smaller ones may be trained on, with the same plan.
    pub batch_size: usize,
    /// Number of threads; 0 for as many as the machine runs at once. No influence on results.
    pub threads: usize,
    /// Seed of the random numbers of layers (dropout).
    pub seed: u64,
}

impl Default for StepConfig {
    /// Plain SGD on softmax cross-entropy, minibatches of 32, all threads, seed 0.
    fn default() -> StepConfig {
        StepConfig {
            optimizer: Optimizer::Sgd(Sgd::default()),
            objective: Objective::default(),
            batch_size: 32,
            threads: 0,
            seed: 0,
        }
    }
}

/// What a step found, with the weights of before its update.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepStats {
    /// Mean loss of the minibatch.
    pub loss: f64,
    /// Samples whose largest output was that of their class.
    pub correct: usize,
    /// Samples of the minibatch.
    pub samples: usize,
}

/// A network in training: weights, optimiser state, and all memory a step needs.
///
/// After the first step, a step allocates nothing.
///
/// ```
/// use byhand_layers::{Dense, Flatten, Layer, Network, Shape, init::{Init, init_network}};
/// use byhand_trainer::{Rows, StepConfig, Trainer};
/// use ndarray::array;
///
/// // Is the first number larger than the second? Two inputs, two outputs.
/// let network: Network = Network::new(vec![Box::new(Dense::new(2, 2, true)?)])?;
/// let theta = init_network(&network, Init::GlorotUniform, 1);
/// let x = array![[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.4, 0.6]];
/// let batch = Rows::new(x.view(), &[0, 1, 0, 1]);
///
/// let mut trainer = Trainer::new(&network, theta, StepConfig { batch_size: 4, ..StepConfig::default() })?;
/// let last = trainer.session(|trainer| {
///     for _ in 0..200 {
///         trainer.step(0.5, &batch)?;
///     }
///     trainer.step(0.5, &batch)
/// })?;
/// assert_eq!((last.correct, last.samples), (4, 4));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Trainer {
    /// What the shards compute: all layers but those that are [`Cut`] off.
    network: Network<f32>,
    loss: Box<dyn Loss<f32>>,
    config: StepConfig,
    plan: ShardPlan,
    /// Of a step, a sample.
    flops: u64,
    crew: Arc<Crew>,
    /// Of `network`, as is what the optimiser remembers.
    theta: Buffer<f32>,
    /// The first layers, if it pays to cut them in halves.
    cut: Option<Box<Cut>>,
    /// The weights of all layers, if somebody asked since the last step.
    gathered: OnceLock<Vec<f32>>,
    state: OptimizerState<f32>,
    shards: Vec<Shard>,
    /// Shards of the last step.
    active: usize,
    /// Each with room for the rows of a block.
    workers: Vec<Mutex<(Worker, Buffer<f32>)>>,
    /// The network is fed rows.
    takes_rows: bool,
    /// Which of the network's deferred layers keep their operands.
    keeps: Vec<bool>,
    /// The parameters of all other layers that are not frozen.
    stored: Vec<Range<usize>>,
    /// Parameters, from the first on, that are constants.
    frozen: usize,
    /// The optimiser is plain gradient descent: then layers that keep move their parameters without storing a gradient.
    descends: bool,
    /// A range of the parameters is large enough for threads to share its update.
    shares_update: bool,
    /// There is one shard, and most of its work is in layers that threads share.
    shares_layers: bool,
    /// Bytes of scratch that every worker has.
    scratch_len: usize,
    /// A step has begun and not come to its end: gradients hold what it left.
    is_begun: bool,
    steps: u64,
}

impl Trainer {
    /// A trainer of `network` (shared, not copied) that starts from the weights `theta`.
    ///
    /// # Errors
    /// When there are not as many weights as the network has, a batch size of 0, or the threads cannot be started.
    pub fn new(network: &Network<f32>, theta: Vec<f32>, config: StepConfig) -> Result<Trainer, TrainerError> {
        if config.batch_size == 0 {
            return Err(TrainerError::setting("batch size", "at least 1", "0"));
        }
        let param_len = network.param_len();
        if theta.len() != param_len {
            return Err(TrainerError::Weights { expected: param_len, found: theta.len() });
        }
        let descends = config.optimizer.is_plain_descent();
        let halves = cut::halves(network, config.batch_size);
        let rest = halves.as_ref().map_or(network, |cut| &cut.rest).clone();
        let (first, theta) = theta.split_at(param_len - rest.param_len());
        let cut = halves.map(|halves| Cut::new(network, halves, &config.optimizer, config.batch_size, first));
        let cut = cut.map(Box::new);
        let flops = network.flops();
        let (is_cut, network) = (cut.is_some(), &rest);
        let takes_rows = !is_cut && network.takes_rows(network.input().features());
        let keeps = keeps(network, config.batch_size, 0);
        let stored = stored(network, &keeps, 0);
        let merged_len = stored.iter().map(Range::len).sum();
        let own_flops = flops - cut.as_ref().map_or(0, |cut| cut.flops());
        let plan = plan_of(network, own_flops, config.batch_size, merged_len);
        let crew = Arc::new(Crew::new(config.threads));
        let shards = plan.shards(config.batch_size);
        let largest_shard = plan.largest_shard(config.batch_size);
        let updated = kept_layers(network, &keeps).filter(|_| !descends).map(|(_, range, _)| range.len());
        let shares_update = updated.chain(stored.iter().map(Range::len)).any(|len| len > CHUNK);
        let is_shared = (is_cut && crew.threads() > 1) || are_large(network, &crew, largest_shard);
        let shares_layers = shards == 1 && is_shared;
        let threads_used = if shards > 1 || shares_update || shares_layers { crew.threads() } else { 1 };
        if threads_used > 1 {
            crew.start()?;
        }
        let mut shards: Vec<_> =
            (0..shards).map(|_| Shard::new(network, &keeps, is_cut, takes_rows, largest_shard)).collect();
        if let [_, second] = &mut *shards
            && descends
            && !is_cut
            && crew.threads() > 1
            && config.batch_size <= TWICE_SAMPLES
            && keeps.contains(&true)
        {
            second.theta = Buffer::from(theta);
        }
        Ok(Trainer {
            network: network.clone(),
            loss: config.objective.loss(),
            config,
            plan,
            flops,
            state: OptimizerState::new(&config.optimizer, network.param_len()),
            cut,
            shards,
            active: 0,
            workers: (0..threads_used)
                .map(|_| {
                    let block = plan.largest_block();
                    Mutex::new((Worker::new(network, block, shares_layers), Worker::room(network, block)))
                })
                .collect(),
            takes_rows,
            keeps,
            stored,
            frozen: 0,
            descends,
            shares_update,
            shares_layers,
            crew,
            theta: Buffer::from(theta),
            gathered: OnceLock::new(),
            scratch_len: 0,
            is_begun: false,
            steps: 0,
        })
    }

    /// Runs `body` with the threads of this trainer at hand: the thread pool is entered once, not once a step. `body`
    /// runs on a thread of the pool (or on this one, when there is nothing to share).
    pub fn session<R: Send>(&mut self, body: impl FnOnce(&mut Trainer) -> R + Send) -> R {
        let crew = Arc::clone(&self.crew);
        crew.enter(|| body(self))
    }

    /// One training step: forward, loss, backward, update.
    ///
    /// Outside a [`session`](Trainer::session) it enters the thread pool by itself, which costs far more than a small
    /// step.
    ///
    /// # Errors
    /// [`Diverged`] when the loss or a gradient is not finite. The weights and the optimiser's state are then what they
    /// were before the step, and the step is not counted.
    ///
    /// # Panics
    /// When the minibatch is empty or larger than the batch size of the configuration, or a label is no class. Whatever panics in a step,
    /// in the source of its minibatch too, does so before anything moves: the trainer is then what it was before the step.
    #[track_caller]
    pub fn step(&mut self, learning_rate: f64, batch: &impl BatchSource) -> Result<StepStats, Diverged> {
        let (samples, most) = (batch.len(), self.config.batch_size);
        assert!((1..=most).contains(&samples), "a minibatch of {samples} samples, expected 1 to {most}");
        if self.workers.len() > 1 && !self.crew.is_inside() {
            return self.session(|trainer| trainer.step_inside(learning_rate, batch));
        }
        self.step_inside(learning_rate, batch)
    }

    /// From the next step on the layers before layer `layers` keep their parameters as they are, and nothing is computed that
    /// only their gradients need: a step then costs less. The other layers move as if nothing were frozen. 0 trains all layers
    /// again.
    ///
    /// Reference: Brock and others, "FreezeOut: accelerate training by progressively freezing layers", 2017.
    pub fn freeze(&mut self, layers: usize) {
        self.frozen = frozen(&self.network, layers);
        self.keeps = keeps(&self.network, self.config.batch_size, self.frozen);
        self.stored = stored(&self.network, &self.keeps, self.frozen);
        self.renew();
        if let Some(cut) = &mut self.cut {
            cut.freeze(layers);
        }
    }

    /// Makes the own weights of shards those in `theta` again.
    fn renew(&mut self) {
        for shard in self.shards.iter_mut().filter(|shard| !shard.theta.is_empty()) {
            shard.theta.copy_from_slice(&self.theta);
        }
    }

    /// The weights.
    pub fn theta(&self) -> &[f32] {
        match &self.cut {
            None => &self.theta,
            Some(cut) => self.gathered.get_or_init(|| cut.theta(&self.theta)),
        }
    }

    /// The weights, when training is over.
    pub fn into_theta(self) -> Vec<f32> {
        self.theta().to_vec()
    }

    /// What the optimiser remembers.
    pub fn optimizer_state(&self) -> OptimizerState<f32> {
        let Some(cut) = &self.cut else { return self.state.clone() };
        let mut state = OptimizerState::new(&self.config.optimizer, cut.whole.param_len());
        for slot in 0..state.slots() {
            state.slot_mut(slot).copy_from_slice(&cut.slot(slot, self.state.slot(slot)));
        }
        state
    }

    /// Of each sample of the last step, in order: how much more its loss wanted of the output of its class, which is minus
    /// the gradient of the sample's loss by that output. For softmax cross-entropy without smoothing it is 1 - p, with
    /// the probability p that the network gave to the class; the larger, the harder the sample.
    pub fn residuals(&self) -> impl Iterator<Item = f32> {
        self.shards[..self.active].iter().flat_map(|shard| &shard.residuals[..shard.samples.len()]).copied()
    }

    /// Steps done.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// How minibatches are cut.
    pub fn plan(&self) -> &ShardPlan {
        &self.plan
    }

    /// Threads that steps may use: those of the configuration, or 1 when there is nothing to share.
    pub fn threads(&self) -> usize {
        self.workers.len()
    }

    /// Continues another trainer's work.
    pub(crate) fn restore(&mut self, theta: Vec<f32>, state: OptimizerState<f32>, steps: u64) {
        let first = theta.len() - self.theta.len();
        if let Some(cut) = &mut self.cut {
            cut.restore(&theta, &state);
        }
        self.theta.copy_from_slice(&theta[first..]);
        for slot in 0..self.state.slots() {
            self.state.slot_mut(slot).copy_from_slice(&state.slot(slot)[first..]);
        }
        self.gathered.take();
        self.renew();
        self.steps = steps;
    }

    pub(crate) fn crew(&self) -> &Arc<Crew> {
        &self.crew
    }

    fn step_inside(&mut self, learning_rate: f64, batch: &dyn BatchSource) -> Result<StepStats, Diverged> {
        if std::mem::replace(&mut self.is_begun, true) {
            self.clear();
        }
        self.gathered.take();
        let samples = batch.len();
        let features = self.network_input();
        // Once a step: what a source answers twice may differ.
        let given = batch.rows().map(|rows| {
            let expected = samples * features;
            assert!(
                rows.len() == expected,
                "rows of {} numbers, expected {samples} x {features}",
                rows.len()
            );
            RowView::new(features, rows)
        });
        if batch.scratch_len() > self.scratch_len {
            self.scratch_len = batch.scratch_len();
            // Now, and not when a thread is first needed, which may be many steps later.
            self.workers.iter().for_each(|worker| lock(worker).0.reserve(self.scratch_len));
        }
        let active = self.plan.shards(samples);
        self.active = active;
        let shares_layers = self.shares_layers && !self.crew.is_alone();
        if self.workers.len() > 1 && (active > 1 || self.shares_update || shares_layers) {
            let work = samples as u64 * self.flops + self.theta.len() as u64;
            // Halves are two.
            let helpers = if active > 1 || self.shares_update { self.workers.len() - 1 } else { 1 };
            self.crew.call(helpers, (USELESS_CALL / work.max(1)).min(255) as u32);
        }
        if shares_layers {
            self.crew.stay_awake();
        }
        for (i, shard) in self.shards[..active].iter_mut().enumerate() {
            shard.samples = self.plan.shard(samples, i);
        }
        if let Some(cut) = &mut self.cut {
            if given.is_none() {
                let worker = || lock(&self.workers[self.crew.thread() % self.workers.len()]);
                let fill = |samples, rows: &mut [f32]| worker().0.fill_rows(batch, samples, rows);
                cut.fill(&self.crew, batch, active, &fill);
            }
            cut.forward(&self.crew, Minibatch { rows: given, shards: &self.shards[..active] });
        }
        let (theta, shards) = (&self.theta, &mut self.shards[..active]);
        let share = self.shares_layers.then_some(&*self.crew as &dyn Share);
        let scale = 1.0 / samples as f32;
        // A gradient is a sum of as many products as there are samples.
        let largest_factor = (LARGEST_GRADIENT / samples as f32).sqrt() / 2.0;
        let is_input_below = batch.largest() < largest_factor;
        let features = self.network.input().features();
        let accumulate = |shard: &mut Shard| {
            let mut guard = lock(&self.workers[self.crew.thread() % self.workers.len()]);
            let (worker, room) = &mut *guard;
            let Shard {
                samples,
                theta: own,
                dtheta,
                dx,
                rows,
                kept,
                residuals,
                stats,
                is_sound,
                is_bounded,
                ..
            } = shard;
            let theta = if own.is_empty() {
                &**theta
            } else {
                for range in &self.stored {
                    own[range.clone()].copy_from_slice(&theta[range.clone()]);
                }
                &**own
            };
            (*stats, *is_bounded) = (LossStats::default(), self.descends);
            let mut first = 0;
            for samples in self.plan.blocks(samples.clone()) {
                let block = self.plan.block(samples.len());
                let pass = Pass::train(block, self.config.seed, self.steps, samples.start as u64);
                let is_below = |numbers: &[f32]| all_below(numbers, largest_factor);
                let rows = if let Some(cut) = &self.cut {
                    worker.take_sums(block, batch, samples.clone(), cut.sums(samples.start, block));
                    let mut images = cut.rows(given, samples).iter();
                    *is_bounded = *is_bounded && (is_input_below || images.all(is_below));
                    None
                } else {
                    // Rows that are kept must stay, others need a place for a while only.
                    let room = if rows.is_empty() { &mut room[..] } else { &mut rows[first * features..] };
                    worker.take(&self.network, block, batch, samples, given, room)
                };
                let is_dx_wanted = self.cut.as_ref().is_some_and(|cut| cut.is_trained());
                let mut dx = is_dx_wanted.then(|| &mut dx[first * features..][..block.len(features)]);
                *stats += worker.forward(&self.network, &*self.loss, theta, &pass, rows, scale, share);
                worker.residuals(block, scale, &mut residuals[first..]);
                worker.backward(
                    &self.network,
                    theta,
                    &pass,
                    rows,
                    dtheta,
                    dx.as_deref_mut(),
                    self.frozen,
                    &mut |place, layer, x, dy| {
                        if self.keeps[place] {
                            layer.keep(block, x, dy, first, &mut kept[place]);
                            let is_x_below = match x {
                                Input::Block(x) => is_below(x),
                                Input::Rows(rows) => is_input_below || rows.iter().all(is_below),
                            };
                            *is_bounded = *is_bounded && is_x_below && is_below(dy);
                        }
                        self.keeps[place]
                    },
                    share,
                );
                *is_bounded = *is_bounded && dx.is_none_or(|dx| is_below(dx));
                first += block.samples();
            }
            *is_sound = self.stored.iter().all(|range| all_below(&dtheta[range.clone()], LARGEST_GRADIENT));
        };
        for_each_shard(&self.crew, shards, &accumulate);

        let mut stats = LossStats::default();
        for shard in shards.iter() {
            stats += shard.stats;
        }
        let is_sound = stats.loss.is_finite() && shards.iter().all(|shard| shard.is_sound);
        // Parameters may be moved without a look at their gradient if its factors are known to be small.
        let is_bounded = shards.iter().all(|shard| shard.is_bounded);
        let descends = is_sound
            && is_bounded
            && self.with_trained_cut(|trainer, cut| {
                let deep = cut.filter(|cut| cut.is_deep());
                deep.is_none_or(|cut| cut.backward(&trainer.crew, trainer.minibatch(given), largest_factor))
            });
        if descends {
            self.descend(learning_rate as f32, given);
        } else if !(self.store(given) && is_sound) {
            return Err(self.diverged(learning_rate, stats.loss));
        }
        self.update(learning_rate, descends);
        if shares_layers {
            self.crew.rest();
        }
        self.is_begun = false;
        self.steps += 1;
        Ok(StepStats { loss: stats.loss / samples as f64, correct: stats.correct, samples })
    }

    /// Lends the layers that are cut, if there are such and one is trained, to `work`, which has the rest of the trainer at hand.
    fn with_trained_cut<R>(&mut self, work: impl FnOnce(&mut Trainer, Option<&mut Cut>) -> R) -> R {
        let mut cut = self.cut.take();
        let result = work(self, cut.as_deref_mut().filter(|cut| cut.is_trained()));
        self.cut = cut;
        result
    }

    /// The last step's minibatch, whose rows are `given` if they lie in memory.
    fn minibatch<'a>(&'a self, given: Option<RowView<'a, f32>>) -> Minibatch<'a> {
        Minibatch { rows: given, shards: &self.shards[..self.active] }
    }

    /// Moves the weights of the layers that keep along what the shards kept, and those that are a shard's own alike.
    fn descend(&mut self, rate: f32, given: Option<RowView<'_, f32>>) {
        let mut theta = std::mem::take(&mut self.theta);
        let mut own =
            self.shards.last_mut().map(|shard| std::mem::take(&mut shard.theta)).unwrap_or_default();
        self.with_trained_cut(|trainer, cut| {
            let crew = &*trainer.crew;
            match cut {
                Some(cut) => {
                    trainer.call_for(crew);
                    cut.descend(crew, trainer.minibatch(given), rate, || {
                        trainer.move_kept(&mut theta, Some(rate), given, Some(crew));
                    });
                }
                None if own.is_empty() => trainer.move_kept(&mut theta, Some(rate), given, Some(crew)),
                None => crew.join(
                    || trainer.move_kept(&mut theta, Some(rate), given, None),
                    || trainer.move_kept(&mut own, Some(rate), given, None),
                ),
            }
        });
        self.theta = theta;
        if let Some(shard) = self.shards.last_mut() {
            shard.theta = own;
        }
    }

    /// Stores the gradient of the weights that were kept for. Whether that of all is small enough.
    fn store(&mut self, given: Option<RowView<'_, f32>>) -> bool {
        let mut gradient = std::mem::take(&mut self.shards[0].dtheta);
        let is_cut_sound = self.with_trained_cut(|trainer, cut| {
            let mut store_kept = || trainer.move_kept(&mut gradient, None, given, Some(&trainer.crew));
            match cut {
                Some(cut) => cut.store(&trainer.crew, trainer.minibatch(given), LARGEST_GRADIENT, store_kept),
                None => {
                    store_kept();
                    true
                }
            }
        });
        self.shards[0].dtheta = gradient;
        let gradient = &self.shards[0].dtheta;
        let mut kept = kept_layers(&self.network, &self.keeps);
        is_cut_sound && kept.all(|(_, range, _)| all_below(&gradient[range], LARGEST_GRADIENT))
    }

    /// Moves the weights of the layers that keep along what the shards kept, or without a rate adds that to a gradient. With a crew
    /// threads share it.
    fn move_kept(
        &self,
        moved: &mut [f32],
        rate: Option<f32>,
        given: Option<RowView<'_, f32>>,
        crew: Option<&Crew>,
    ) {
        for (place, range, layer) in kept_layers(&self.network, &self.keeps) {
            let kept = self.kept(place, given);
            let rows = MoveRows::new(layer, range.len(), &kept[..self.active], self.samples(), rate);
            if let Some(crew) = crew.filter(|_| rows.pays()) {
                self.call_for(crew);
            }
            rows.run(crew, layer.tensors(&mut moved[range]));
        }
    }

    /// What the shards of the last step kept of a deferred layer, one after the other.
    fn kept<'a>(&'a self, place: usize, given: Option<RowView<'a, f32>>) -> [Kept<'a, f32>; MAX_SHARDS] {
        let features = self.network.input().features();
        let mut kept = [Kept::default(); MAX_SHARDS];
        for (kept, shard) in kept.iter_mut().zip(&self.shards[..self.active]) {
            *kept = Kept::new(self.plan.block(shard.samples.len()), shard.largest, &shard.kept[place]);
            if place == 0 && self.takes_rows {
                let samples = shard.samples.clone();
                let own = || RowView::new(features, &shard.rows[..samples.len() * features]);
                *kept = kept.with_rows(given.map_or_else(own, |rows| rows.samples(samples.clone())));
            }
        }
        kept
    }

    /// Samples of the last step.
    fn samples(&self) -> usize {
        self.shards[..self.active].iter().map(|shard| shard.samples.len()).sum()
    }

    /// Calls the other threads for halves that are about to come: who had finished with the shards first may have fallen asleep.
    fn call_for(&self, crew: &Crew) {
        if self.active > 1 || !crew.is_alone() {
            crew.call(self.workers.len() - 1, 0);
        }
    }

    /// Moves all weights whose gradient is stored: those of layers that keep only if they do not descend.
    fn update(&mut self, learning_rate: f64, descends: bool) {
        let update = Update { optimizer: self.config.optimizer, step: self.steps, learning_rate };
        self.with_trained_cut(|trainer, cut| match cut.filter(|_| !descends) {
            Some(cut) => {
                let (crew, shards) = (Arc::clone(&trainer.crew), trainer.active);
                trainer.call_for(&crew);
                cut.update(&crew, shards, update, || trainer.update_rest(update, descends));
            }
            None => trainer.update_rest(update, descends),
        });
        if !descends {
            self.renew();
        }
    }

    /// The same of the layers that are not cut.
    fn update_rest(&mut self, update: Update, descends: bool) {
        // Each range, and how many shards have a gradient of it.
        let kept =
            kept_layers(&self.network, &self.keeps).filter(|_| !descends).map(|(_, range, _)| (range, 1));
        for (range, active) in kept.chain(self.stored.iter().map(|range| (range.clone(), self.active))) {
            let mut dtheta: [&mut [f32]; MAX_SHARDS] = Default::default();
            for (dtheta, shard) in dtheta.iter_mut().zip(&mut self.shards[..active]) {
                *dtheta = &mut shard.dtheta[range.clone()];
            }
            let (theta, state) = (&mut self.theta[range.clone()], self.state.as_mut().range(range.clone()));
            let part = Part { theta, dtheta, state, active };
            if self.workers.len() > 1 {
                update.share(&self.crew, part);
            } else {
                update.apply(part);
            }
        }
    }

    /// Leaves the gradients at zero, as a step begins, after one that did not come to its end.
    #[cold]
    fn clear(&mut self) {
        self.crew.rest();
        self.shards.iter_mut().for_each(|shard| shard.dtheta.fill(0.0));
        if let Some(cut) = &mut self.cut {
            cut.clear();
        }
    }

    /// Features of a sample of the whole network.
    fn network_input(&self) -> usize {
        self.cut.as_ref().map_or(&self.network, |cut| &cut.whole).input().features()
    }

    /// Says what diverged.
    #[cold]
    fn diverged(&mut self, learning_rate: f64, loss: f64) -> Diverged {
        self.crew.rest();
        let mut dtheta = vec![0.0; self.theta.len()];
        for shard in &mut self.shards {
            add(&mut dtheta, &shard.dtheta);
        }
        if let Some(cut) = &mut self.cut {
            dtheta = cut.gradient(&dtheta);
        }
        let whole = self.cut.as_ref().map_or(&self.network, |cut| &cut.whole);
        let name = |param: &NamedParam| format!("{} ({})", param.name, param.layer_name);
        let bad_gradient =
            || whole.params().iter().find(|p| !all_below(&dtheta[p.range.clone()], LARGEST_GRADIENT));
        let (cause, tensor) = match whole.first_non_finite(self.theta()) {
            Some(param) => (DivergenceCause::Weights, Some(name(param))),
            None if loss.is_finite() => (DivergenceCause::Gradient, bad_gradient().map(name)),
            None => (DivergenceCause::Loss, bad_gradient().map(name)),
        };
        Diverged { step: self.steps, epoch: None, learning_rate, cause, tensor }
    }
}

/// The plan of a network for minibatches of up to `batch_size`, if each shard has a gradient of `merged_len` parameters.
pub(crate) fn plan_for(network: &Network<f32>, batch_size: usize, merged_len: usize) -> ShardPlan {
    plan_of(network, network.flops(), batch_size, merged_len)
}

/// The same if a sample's work is so many FLOPs.
fn plan_of(network: &Network<f32>, flops: u64, batch_size: usize, merged_len: usize) -> ShardPlan {
    let (param_len, bytes) = (network.param_len(), sample_bytes(network));
    ShardPlan::new(batch_size, flops, param_len, merged_len, bytes, network.is_flat())
}

/// How many parameters come before those of layer `layers`.
fn frozen(network: &Network<f32>, layers: usize) -> usize {
    let trained = network.params().iter().find(|param| param.layer >= layers);
    trained.map_or(network.param_len(), |param| param.range.start)
}

/// Bytes of activations and gradients of one sample of a tile.
fn sample_bytes(network: &Network<f32>) -> usize {
    let tile = Block::tiled(1);
    Workspace::new(network, tile).bytes() / tile.lanes()
}

/// Which of the deferred layers keep their operands: those that are not frozen and for which that is at most twice the
/// numbers of their parameters. Else adding block by block to a gradient, which stays in a core's cache, moves less memory.
fn keeps(network: &Network<f32>, batch_size: usize, frozen: usize) -> Vec<bool> {
    let all = Block::single(batch_size);
    let keeps = |(range, layer): (Range<usize>, &dyn Deferred<f32>)| {
        range.start >= frozen && layer.kept_len(all, false) <= 2 * range.len()
    };
    network.deferred().map(keeps).collect()
}

/// Whether layers that are shared by halves make up most of a step's work: between them the other threads would fall asleep.
fn are_large(network: &Network<f32>, crew: &Crew, block: Block) -> bool {
    2 * network.shared_flops(block, crew) >= network.flops()
}

/// The layers that keep: the place of each among the deferred ones, its parameters, the layer.
fn kept_layers<'a>(
    network: &'a Network<f32>,
    keeps: &'a [bool],
) -> impl Iterator<Item = (usize, Range<usize>, &'a dyn Deferred<f32>)> {
    let all = network.deferred().enumerate().filter(|(place, _)| keeps[*place]);
    all.map(|(place, (range, layer))| (place, range, layer))
}

/// The parameters of all other layers that are not frozen, layer by layer.
fn stored(network: &Network<f32>, keeps: &[bool], frozen: usize) -> Vec<Range<usize>> {
    let mut stored = Vec::new();
    let mut start = frozen;
    for (_, kept, _) in kept_layers(network, keeps) {
        stored.push(start..kept.start);
        start = kept.end;
    }
    stored.push(start..network.param_len());
    stored.retain(|range| !range.is_empty());
    stored
}

/// Runs `work` on every shard; any thread may take any.
fn for_each_shard(crew: &Crew, shards: &mut [Shard], work: &(impl Fn(&mut Shard) + Sync)) {
    match shards {
        [] => {}
        [shard] => work(shard),
        _ => {
            let (a, b) = shards.split_at_mut(shards.len().div_ceil(2));
            crew.join(|| for_each_shard(crew, a, work), || for_each_shard(crew, b, work));
        }
    }
}

/// FLOPs beside which the time lost by a call that brings no help is small.
const USELESS_CALL: u64 = 15_000_000;

/// Samples up to which the second of two shards has weights of its own: to move all weights along so few on both threads takes less time than
/// to fetch, in the next step, the half that the other thread moved.
const TWICE_SAMPLES: usize = 32;

/// Gradients of a shard must stay below this: the sum over all shards is then finite.
const LARGEST_GRADIENT: f32 = f32::MAX / MAX_SHARDS as f32;

/// A part of a minibatch, with the gradient of its samples.
#[derive(Debug)]
struct Shard {
    samples: Range<usize>,
    /// As one block, of the largest minibatch.
    largest: Block,
    /// Gradients of the layers that do not keep; in the first shard of all layers.
    dtheta: Buffer<f32>,
    /// The gradient of the network's input, where the first layers are cut.
    dx: Buffer<f32>,
    /// Of a network that is fed rows and keeps them, where the minibatch does not lie in memory.
    rows: Buffer<f32>,
    /// What the others keep.
    kept: Vec<Buffer<f32>>,
    /// The weights once more if they are this shard's own, or nothing. Those of layers that keep are moved with the others, to the
    /// same bits, so that they never leave their core; the rest are copied when a step begins.
    theta: Buffer<f32>,
    residuals: Vec<f32>,
    stats: LossStats,
    /// All of `dtheta` is finite.
    is_sound: bool,
    /// All that is kept is so small that its products are finite.
    is_bounded: bool,
}

impl Shard {
    fn new(network: &Network<f32>, keeps: &[bool], is_cut: bool, takes_rows: bool, largest: Block) -> Shard {
        let kept = network.deferred().zip(keeps).enumerate().map(|(place, ((_, layer), &keeps))| {
            let len = layer.kept_len(largest, place == 0 && takes_rows);
            Buffer::zeros(if keeps { len } else { 0 })
        });
        Shard {
            samples: 0..0,
            largest,
            dtheta: Buffer::zeros(network.param_len()),
            dx: Buffer::zeros(if is_cut { largest.len(network.input().features()) } else { 0 }),
            rows: if takes_rows && keeps.first() == Some(&true) {
                Worker::room(network, largest)
            } else {
                Buffer::zeros(0)
            },
            kept: kept.collect(),
            theta: Buffer::zeros(0),
            residuals: vec![0.0; largest.tiles() * largest.lanes()],
            stats: LossStats::default(),
            is_sound: true,
            is_bounded: false,
        }
    }
}

/// Whether every number is smaller in size than `limit`; NaN is not.
fn all_below(values: &[f32], limit: f32) -> bool {
    vectorised(AllBelow { values, limit })
}

struct AllBelow<'a> {
    values: &'a [f32],
    limit: f32,
}

impl Loop for AllBelow<'_> {
    type Output = bool;

    #[inline(always)]
    fn run(self) -> bool {
        for values in self.values.chunks(SLICE) {
            // Counting, not stopping at the first: that vectorises.
            let mut above = 0u32;
            for v in values {
                let below = v.abs() < self.limit;
                above += u32::from(!below);
            }
            if above > 0 {
                return false;
            }
        }
        true
    }
}
