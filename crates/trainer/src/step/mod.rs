//! The training step: forward, loss, backward and update of one minibatch, on any number of threads, with equal bits.
//!
//! A [`Plan`] decides which sums are formed, by the network and the batch size alone; `Help` who computes them. The
//! network is a few *segments*, each with its weights and gradients: its *front*, first layers on two ranks, if the
//! plan has such, and its *tail*, which is computed shard by shard. Each shard accumulates its samples in order into
//! a gradient of its own; the gradients are added pairwise in a fixed binary tree, (0+1)+(2+3)+..., in the same pass
//! over memory in which the optimiser moves the parameters. Layers with large weights save their operands instead,
//! and have one gradient, made of all shards at the end.
//!
//! Batch normalisations see all shards of a minibatch, so they part a step into *stages*: every shard ends one before any begins the next.
//!
//! Read [`Trainer::step`]'s body first, then `plan.rs` (what is decided), `tail.rs` (the passes), `segment.rs` (what
//! moves), `cost.rs` (why).

mod config;
mod cost;
pub(crate) mod crew;
mod found;
mod front;
mod help;
mod plan;
mod rows;
mod segment;
mod shards;
mod source;
mod tail;
mod update;
pub(crate) mod worker;

use std::sync::{Arc, Mutex, OnceLock};

use byhand_layers::exec::{Apply, Operation};
use byhand_layers::loss::Loss;
use byhand_layers::{Block, NamedParam, Network, Pass, Workspace};

pub use self::config::StepConfig;
use self::crew::Crew;
use self::found::Found;
use self::front::Front;
use self::help::Help;
pub use self::plan::Plan;
pub(crate) use self::plan::shards_of;
use self::segment::{Segment, Start};
pub use self::shards::MAX_SHARDS;
use self::source::Minibatch;
pub use self::source::{BatchSource, ImageBatch, Rows, TargetRoom};
use self::tail::{Outcome, Step, Tail};
use self::update::{LARGEST_GRADIENT, Update, all_below, largest_factor};
use self::worker::{Worker, lock};
use crate::error::{Diverged, DivergenceCause, TrainerError};
use crate::optimizer::OptimizerState;

/// What a step found, with the weights of before its update.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepStats {
    /// Mean loss of the minibatch.
    pub loss: f64,
    /// Samples whose largest output was that of their class, or where the largest number of their row is.
    pub correct: usize,
    /// Samples of the minibatch.
    pub samples: usize,
}

/// A network in training: weights, optimiser state, and all memory a step needs.
///
/// After the first step, a step allocates nothing. It computes in f32; a network of f64 (feature `proofs` of the layers) trains in a
/// loop of one's own over [`Network::forward`] and [`Network::backward`].
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
    network: Network<f32>,
    config: StepConfig,
    plan: Plan,
    help: Help,
    crew: Arc<Crew>,
    workers: Vec<Mutex<Worker>>,
    /// The first layers, if they lie on two ranks.
    front: Option<Box<Front>>,
    /// All other layers.
    tail: Tail,
    /// The weights of all layers, if somebody asked since the last step.
    gathered: OnceLock<Vec<f32>>,
    /// Their moving average, likewise.
    gathered_average: OnceLock<Vec<f32>>,
    /// A step has begun and not come to its end: gradients hold what it left.
    is_begun: bool,
    /// The weights were looked at before the first step with them: all are finite. From there on only an update moves them.
    is_finite: bool,
    steps: u64,
}

impl Trainer {
    /// A trainer of `network` (shared, not copied) that starts from the weights `theta`.
    ///
    /// # Errors
    /// When there are not as many weights as the network has, a setting is out of its range, or the threads cannot be started.
    pub fn new(network: &Network<f32>, theta: Vec<f32>, config: StepConfig) -> Result<Trainer, TrainerError> {
        config.validate()?;
        if theta.len() != network.param_len() {
            return Err(TrainerError::Weights { expected: network.param_len(), found: theta.len() });
        }
        let plan = Plan::new(network, config.batch_size);
        let crew = Arc::new(Crew::new(config.threads));
        let help = Help::new(&plan, &config, crew.threads());
        if help.threads > 1 {
            crew.start()?;
        }
        let split = theta.len() - plan.tail().param_len();
        let decays = if config.weight_decay > 0.0 { decays(network) } else { vec![0.0; theta.len()] };
        let (first, others) =
            (Start::new(&theta, &decays, 0..split), Start::new(&theta, &decays, split..theta.len()));
        let worker = || Mutex::new(Worker::new(plan.tail(), plan.cuts().largest_block()));
        // In stages the shards are at work together, each in a workspace of its own.
        let workers = if plan.tail().norms() > 0 { plan.shards(config.batch_size) } else { 0 };
        Ok(Trainer {
            network: network.clone(),
            workers: (0..workers.max(help.threads)).map(|_| worker()).collect(),
            front: plan.ranks().map(|ranks| Box::new(Front::new(ranks, &plan, &config, first))),
            tail: Tail::new(&plan, &help, &config, others),
            config,
            plan,
            help,
            crew,
            gathered: OnceLock::new(),
            gathered_average: OnceLock::new(),
            is_begun: false,
            is_finite: false,
            steps: 0,
        })
    }

    /// The same with a loss of one's own instead of the configuration's.
    pub fn with_loss(mut self, loss: Box<dyn Loss<f32>>) -> Trainer {
        self.tail.loss = loss;
        self
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
    /// When the minibatch is empty or larger than the batch size of the configuration, a label is no class, or the learning
    /// rate is not finite. Whatever panics in a step, in the source of its minibatch too, does so before anything moves: the
    /// trainer is then what it was before the step.
    #[track_caller]
    pub fn step(&mut self, learning_rate: f64, batch: &impl BatchSource) -> Result<StepStats, Diverged> {
        let (samples, most) = (batch.len(), self.config.batch_size);
        assert!((1..=most).contains(&samples), "a minibatch of {samples} samples, expected 1 to {most}");
        assert!(learning_rate.is_finite(), "a learning rate of {learning_rate}, expected a finite number");
        if self.help.threads > 1 && !self.crew.is_inside() {
            return self.session(|trainer| trainer.step_inside(learning_rate, batch));
        }
        self.step_inside(learning_rate, batch)
    }

    fn step_inside(&mut self, learning_rate: f64, source: &dyn BatchSource) -> Result<StepStats, Diverged> {
        if !self.is_finite {
            // A ReLU would hide an infinite weight.
            if let Some(param) = self.network.first_non_finite(self.theta()) {
                let place = Some(shown(param));
                return Err(Diverged::new(self.steps, learning_rate, DivergenceCause::Weights, place));
            }
            self.is_finite = true;
        }
        self.begin(source.scratch_len());
        let crew = &*Arc::clone(&self.crew);
        let Trainer { config, plan, help, workers, front, tail, steps, .. } = self;
        let batch = Minibatch::new(source, plan.input_features());
        let (samples, descends) = (batch.len, config.is_plain_descent());
        let _awake = help.begin(crew, plan, samples);

        let limit = largest_factor(samples);
        let weight = tail.weight(&batch, workers);
        // Where no sample counts nothing moves.
        let scale = if weight > 0.0 { (1.0 / weight) as f32 } else { 0.0 };
        let step = Step { batch, seed: config.seed, number: *steps, limit, looks: descends, scale };
        if let Some(front) = front {
            front.forward(crew, &step.batch, plan.shards(samples), workers);
        }
        let Outcome { stats, is_sound, is_bounded } = tail.run(crew, workers, &step, front.as_deref());

        // Nothing has moved before this line. What descends is never stored, so nobody can look at it: its operands
        // must be small.
        let mut moving = Moving::new(&step.batch, front.as_deref_mut(), tail, crew, help.threads);
        let descends = is_sound && is_bounded && moving.are_operands_below(limit);
        let apply = if descends { Apply::Descend(learning_rate as f32) } else { Apply::Accumulate };
        if !(moving.apply(apply) && is_sound) {
            return Err(self.diverged(learning_rate, stats.loss, source));
        }
        let norm = config.clip.map_or(0.0, |_| moving.squares().sqrt());
        let update = Update {
            optimizer: config.optimizer,
            step: *steps,
            learning_rate,
            keep: (1.0 - learning_rate * config.weight_decay) as f32,
            scale: config.clip.filter(|&most| norm > most).map_or(1.0, |most| most / norm) as f32,
        };
        moving.update(update, !descends);
        tail.segment.remember(&lock(&workers[0]).workspace);
        if let Some(decay) = config.ema {
            let decay = decay.min(*steps as f64 / (*steps as f64 + 10.0));
            tail.segment.average(config.optimizer.slots(), decay);
            if let Some(front) = front {
                front.average(config.optimizer.slots(), decay);
            }
        }
        self.is_begun = false;
        self.steps += 1;
        Ok(StepStats {
            loss: if weight > 0.0 { stats.loss / weight } else { 0.0 },
            correct: stats.correct,
            samples,
        })
    }

    /// Leaves behind what the last step left, if it did not come to its end, and makes room for so many bytes of
    /// scratch: now, and not when a thread is first needed, which may be many steps later.
    fn begin(&mut self, scratch_len: usize) {
        self.gathered.take();
        self.gathered_average.take();
        if std::mem::replace(&mut self.is_begun, true) {
            self.tail.segment.clear();
            if let Some(front) = &mut self.front {
                front.clear();
            }
        }
        if scratch_len > 0 {
            self.workers.iter().for_each(|worker| lock(worker).reader.reserve(scratch_len));
        }
    }

    /// From the next step on the layers before layer `layers` keep their parameters as they are, and nothing is
    /// computed that only their gradients need: a step then costs less. The other layers move as if nothing were
    /// frozen. 0 trains all layers again; as many as there are, or more, keep all as they are.
    ///
    /// Reference: Brock and others, "FreezeOut: accelerate training by progressively freezing layers", 2017.
    pub fn freeze(&mut self, layers: usize) {
        let trained = self.network.params().iter().find(|param| param.layer >= layers);
        let frozen = trained.map_or(self.network.param_len(), |param| param.range.start);
        self.tail.segment.freeze(frozen.saturating_sub(self.first()));
        if let Some(front) = &mut self.front {
            front.freeze(frozen);
        }
    }

    /// The weights.
    pub fn theta(&self) -> &[f32] {
        let tail = self.tail.segment.theta();
        match &self.front {
            None => tail,
            Some(front) => self.gathered.get_or_init(|| front.gather(tail, Segment::theta)),
        }
    }

    /// The moving average of the weights where one is kept ([`StepConfig::ema`]), else the weights.
    pub fn average(&self) -> &[f32] {
        if self.config.ema.is_none() {
            return self.theta();
        }
        let slot = self.config.optimizer.slots();
        let tail = self.tail.segment.state().slot(slot);
        match &self.front {
            None => tail,
            Some(front) => {
                self.gathered_average.get_or_init(|| front.gather(tail, |segment| segment.state().slot(slot)))
            }
        }
    }

    /// The weights, when training is over.
    pub fn into_theta(self) -> Vec<f32> {
        self.theta().to_vec()
    }

    /// What the optimiser remembers, and the moving average of the weights, if there is one, as one slot more.
    pub fn optimizer_state(&self) -> OptimizerState<f32> {
        let tail = self.tail.segment.state();
        let Some(front) = &self.front else { return tail.clone() };
        let mut state = tail.zeros(self.network.param_len());
        for slot in 0..state.slots() {
            let all = front.gather(tail.slot(slot), |segment| segment.state().slot(slot));
            state.slot_mut(slot).copy_from_slice(&all);
        }
        state
    }

    /// Of each sample of the last step, in order: how much more its loss wanted of the output of its class, which is
    /// minus the gradient of the sample's loss by that output. For softmax cross-entropy without smoothing it is 1 -
    /// p, with the probability p that the network gave to the class; the larger, the harder the sample. Where targets are rows,
    /// it is the largest entry of that gradient in size.
    pub fn residuals(&self) -> impl Iterator<Item = f32> {
        self.tail.residuals()
    }

    /// Steps done.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// What a step does with a minibatch.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Threads that steps may use: those of the configuration, or 1 when there is nothing to share.
    pub fn threads(&self) -> usize {
        self.help.threads
    }

    /// Continues another trainer's work.
    pub(crate) fn restore(&mut self, theta: Vec<f32>, state: OptimizerState<f32>, steps: u64) {
        let first = self.first();
        let all = |slot: Option<usize>| slot.map_or(&*theta, |slot| state.slot(slot));
        self.tail.segment.restore(|slot, own| own.copy_from_slice(&all(slot)[first..]));
        if let Some(front) = &mut self.front {
            front.restore(all);
        }
        self.gathered.take();
        self.gathered_average.take();
        self.is_finite = false;
        self.steps = steps;
    }

    pub(crate) fn crew(&self) -> &Arc<Crew> {
        &self.crew
    }

    /// Where the tail's parameters begin.
    fn first(&self) -> usize {
        self.network.param_len() - self.plan.tail().param_len()
    }

    /// Says what diverged.
    #[cold]
    fn diverged(&self, learning_rate: f64, loss: f64, source: &dyn BatchSource) -> Diverged {
        let tail = self.tail.segment.gradient();
        let dtheta = match &self.front {
            None => tail,
            Some(front) => front.gather(&tail, Segment::first_gradient),
        };
        let params = self.network.params();
        // Backwards, the last layer comes first.
        let bad_gradient = || params.iter().rfind(|p| !all_below(&dtheta[p.range.clone()], LARGEST_GRADIENT));
        let (cause, place) = match self.network.first_non_finite(self.theta()) {
            Some(param) => (DivergenceCause::Weights, Some(shown(param))),
            None if loss.is_finite() => {
                let place = self.bad_output(source).or_else(|| bad_gradient().map(shown));
                (DivergenceCause::Gradient, place)
            }
            None => (DivergenceCause::Loss, self.bad_output(source)),
        };
        Diverged::new(self.steps, learning_rate, cause, place)
    }

    /// The first layer, in the minibatch that is at hand, with an output that is not finite.
    fn bad_output(&self, source: &dyn BatchSource) -> Option<String> {
        let network = self.network.unfused();
        // A batch normalisation sees all samples.
        let at_once = if network.lowered().norms() > 0 { source.len() } else { 1 };
        let block = Block::single(at_once);
        let mut workspace = Workspace::new(&network, block);
        let mut scratch = vec![0; source.scratch_len()];
        let firsts = (0..source.len()).step_by(at_once).filter_map(|sample| {
            source.fill(sample..sample + at_once, block, workspace.input_mut(), &mut scratch);
            let pass = Pass::train(block, self.config.seed, self.steps, sample as u64);
            network.forward(&pass, self.theta(), &mut workspace);
            let is_bad = |index: &usize| workspace.activation(*index).iter().any(|value| !value.is_finite());
            (0..workspace.activations()).find(is_bad)
        });
        let mut operations = network.lowered().operations(block);
        Some(match firsts.min()?.checked_sub(1).and_then(|operation| operations.nth(operation)) {
            Some(Operation { layer, name, .. }) => format!("the output of layer {layer} ({name})"),
            None => "the input".to_string(),
        })
    }
}

/// 1 for each parameter that weight decay is for, 0 for others.
fn decays(network: &Network<f32>) -> Vec<f32> {
    let mut decays = vec![0.0; network.param_len()];
    for param in network.params().iter().filter(|param| param.shape.len() > 1 && !param.is_state) {
        decays[param.range.clone()].fill(1.0);
    }
    decays
}

/// A parameter tensor as errors name it.
fn shown(param: &NamedParam) -> String {
    format!("{} ({})", param.name, param.layer_name)
}

/// The end of a step: all that is trained, and what its gradient is made of.
struct Moving<'a> {
    batch: &'a Minibatch<'a>,
    front: Option<&'a mut Front>,
    tail: &'a mut Segment,
    found: &'a [Found],
    crew: &'a Crew,
    threads: usize,
}

impl<'a> Moving<'a> {
    fn new(
        batch: &'a Minibatch<'a>,
        front: Option<&'a mut Front>,
        tail: &'a mut Tail,
        crew: &'a Crew,
        threads: usize,
    ) -> Moving<'a> {
        let (found, tail) = tail.found();
        Moving { batch, front: front.filter(|front| front.is_trained()), tail, found, crew, threads }
    }

    /// Whether operands of the front that nobody has looked at are below `limit`; of the tail the shards looked.
    fn are_operands_below(&mut self, limit: f32) -> bool {
        let Moving { batch, front, found, crew, .. } = self;
        let deep = front.as_mut().filter(|front| front.is_deep());
        deep.is_none_or(|front| front.backward(crew, batch, found, limit))
    }

    /// Applies all gradients that were deferred. Whether those that were accumulated are small enough.
    fn apply(&mut self, apply: Apply<f32>) -> bool {
        let Moving { batch, front, tail, found, crew, threads } = self;
        let mut apply_tail = || tail.apply(apply, batch.rows, crew, *threads);
        let is_below = match front {
            None => {
                apply_tail();
                true
            }
            Some(front) => {
                crew.call_for(found.len(), *threads);
                front.apply(crew, batch, found, apply, apply_tail)
            }
        };
        is_below && (apply != Apply::Accumulate || tail.is_below(LARGEST_GRADIENT))
    }

    /// The sum of the squares of all gradients, in a fixed order.
    fn squares(&mut self) -> f64 {
        self.front.as_mut().map_or(0.0, |front| front.squares()) + self.tail.squares()
    }

    /// Moves the weights along the gradients that are stored; with those that were deferred, if they were accumulated.
    fn update(self, update: Update, accumulated: bool) {
        let Moving { front, tail, found, crew, threads, .. } = self;
        let mut update_tail = || tail.update(update, accumulated, crew, threads);
        match front.filter(|_| accumulated) {
            None => update_tail(),
            Some(front) => {
                crew.call_for(found.len(), threads);
                front.update(crew, found.len(), update, update_tail);
            }
        }
    }
}
