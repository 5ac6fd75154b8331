//! Training over epochs of a data set: the order of samples, the learning rate, what observers are told, where to stop
//! and resume. The only module that reads the clock.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use base16ct::lower::encode_string;
use byhand_datasets::batches::{LastBatch, epoch_order_into, sequence_into, with_replacement_into};
use byhand_datasets::{Augment, Dataset, Preprocessing};
use byhand_layers::Network;
use byhand_layers::metrics::Evaluation;
use sha2::{Digest, Sha256};

use crate::checkpoint::{Best, Checkpoint, Sums};
use crate::error::{Diverged, DivergenceCause, FitError, TrainerError};
use crate::evaluate::{Evaluator, check_data, evaluate_until};
use crate::event::{Event, Observer};
use crate::objective::Objective;
use crate::optimizer::{Optimizer, OptimizerState, Sgd};
use crate::schedule::Schedule;
use crate::spec::{check, check_share, check_weight};
use crate::step::{ImageBatch, StepConfig, StepStats, Trainer};
use crate::trend::Trend;
use crate::watch::Watch;

/// Settings of a [`Fit`]. All but `threads`, `evaluate_every` and `stop_diverged` decide the weights that come out.
#[derive(Debug, Clone, PartialEq)]
pub struct FitConfig {
    /// How often the training set is gone through.
    pub epochs: u64,
    /// Stop after this many steps, if that is sooner.
    pub max_steps: Option<u64>,
    /// Samples of a minibatch.
    pub batch_size: usize,
    /// In which order samples are met.
    pub sampling: Sampling,
    /// What to do with the samples left over at the end of an epoch.
    pub last_batch: LastBatch,
    /// The optimiser.
    pub optimizer: Optimizer,
    /// The peak learning rate.
    pub learning_rate: f64,
    /// How the learning rate moves.
    pub schedule: Schedule,
    /// The loss.
    pub objective: Objective,
    /// A weight of each class in the training loss, such as [`balanced`](byhand_layers::loss::Weighting::balanced) ones; none: all weigh 1.
    /// Evaluations weigh nothing.
    pub class_weights: Vec<f64>,
    /// How bytes become the network's input.
    pub preprocessing: Preprocessing,
    /// Random changes of training images.
    pub augment: Augment,
    /// Decoupled weight decay: see [`StepConfig::weight_decay`].
    pub weight_decay: f64,
    /// The longest gradient: see [`StepConfig::clip`].
    pub clip: Option<f64>,
    /// Moving average of the weights: see [`StepConfig::ema`]. Where it is kept, it is what is evaluated, and what is
    /// [given back](Fit::theta).
    pub ema: Option<f64>,
    /// Stop after so many epochs in a row that were no better on the test set than the best.
    pub patience: Option<u64>,
    /// Seed of order, augmentation and dropout.
    pub seed: u64,
    /// Number of threads; 0 for as many as the machine runs at once. No influence on results.
    pub threads: usize,
    /// Tell [`Event::Window`] every so many steps.
    pub log_every: Option<u64>,
    /// Evaluate on the test set before the first step and then every so many steps, besides each epoch's end.
    pub evaluate_every: Option<u64>,
    /// Give up when the loss, over windows of 100 steps, has been ten times above its best, and above half of what it began with, for
    /// 1000 steps: what was learned is forgotten. What is not finite ends a fit in any case.
    pub stop_diverged: bool,
}

impl FitConfig {
    /// The settings of its steps.
    fn step(&self) -> StepConfig {
        StepConfig {
            optimizer: self.optimizer,
            objective: self.objective,
            batch_size: self.batch_size,
            threads: self.threads,
            seed: self.seed,
            weight_decay: self.weight_decay,
            clip: self.clip,
            ema: self.ema,
        }
    }
}

impl Default for FitConfig {
    /// One epoch of minibatches of 32, shuffled, plain SGD with rate 0.1 on softmax cross-entropy, pixels / 255, no
    /// augmentation, seed 0, all threads.
    fn default() -> FitConfig {
        FitConfig {
            epochs: 1,
            max_steps: None,
            batch_size: 32,
            sampling: Sampling::default(),
            last_batch: LastBatch::default(),
            optimizer: Optimizer::Sgd(Sgd::default()),
            learning_rate: 0.1,
            schedule: Schedule::CONSTANT,
            objective: Objective::default(),
            class_weights: Vec::new(),
            preprocessing: Preprocessing::default(),
            augment: Augment::default(),
            weight_decay: 0.0,
            clip: None,
            ema: None,
            patience: None,
            seed: 0,
            threads: 0,
            log_every: None,
            evaluate_every: None,
            stop_diverged: true,
        }
    }
}

/// In which order samples are met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sampling {
    /// Each once an epoch, in an order that is a function of (seed, epoch).
    #[default]
    Shuffled,
    /// Every minibatch drawn from all samples with replacement, as a function of (seed, step). An epoch is
    /// `samples / batch_size` steps, rounded down.
    WithReplacement,
    /// Each once an epoch, in the order of the data set.
    InOrder,
}

/// Where a fit stands when it returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The steps asked for are done, and there are more.
    More,
    /// All steps are done.
    Done,
    /// An observer stopped it. It may be continued.
    Stopped,
}

/// Training of a network on a data set.
///
/// ```
/// use byhand_datasets::digits::{self, Part};
/// use byhand_layers::{Dense, Flatten, Network, Shape, init::{Init, init_network}};
/// use byhand_trainer::{Fit, FitConfig, Progress, Silent};
///
/// let train = digits::generate(Part::Train, 320, 1);
/// let test = digits::generate(Part::Test, 100, 1);
/// let network: Network = Network::new(vec![
///     Box::new(Flatten::new(Shape::new(1, 28, 28))),
///     Box::new(Dense::new(784, 10, true)?),
/// ])?;
/// let theta = init_network(&network, Init::GlorotUniform, 1);
///
/// let config = FitConfig { epochs: 3, ..FitConfig::default() };
/// let mut fit = Fit::new(&network, theta, &train, Some(&test), config)?;
/// assert_eq!(fit.run(&mut Silent)?, Progress::Done);
/// assert!(fit.evaluate(&test)?.accuracy() > 0.3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Fit<'a> {
    network: Network<f32>,
    train: &'a Dataset,
    test: Option<&'a Dataset>,
    config: FitConfig,
    trainer: Trainer,
    evaluator: Option<Evaluator>,
    order: Vec<u32>,
    /// The epoch whose order `order` is.
    ordered: Option<u64>,
    steps_per_epoch: u64,
    total_steps: u64,
    epoch_sums: Sums,
    window_sums: Sums,
    trend: Trend,
    watch: Watch,
    best: Option<Best>,
    epoch_time: Duration,
    train_time: Duration,
    images: u64,
    announced: bool,
    data_sha256: OnceCell<String>,
    stop: Arc<AtomicBool>,
}

impl<'a> Fit<'a> {
    /// A fit of `network` to `train`, from the weights `theta`, evaluated on `test`.
    ///
    /// # Errors
    /// A setting out of its range, weights or data that do not fit the network, threads that cannot be started.
    pub fn new(
        network: &Network<f32>,
        theta: Vec<f32>,
        train: &'a Dataset,
        test: Option<&'a Dataset>,
        config: FitConfig,
    ) -> Result<Fit<'a>, TrainerError> {
        config.schedule.validate()?;
        if test.is_none() && (config.patience.is_some() || config.schedule.is_plateau()) {
            let setting = if config.patience.is_some() { "patience" } else { "schedule" };
            return Err(TrainerError::setting(
                setting,
                "a test set to be evaluated after each epoch",
                "none",
            ));
        }
        let mut trainer = Trainer::new(network, theta, config.step())?;
        if !config.class_weights.is_empty() {
            let weights = config.class_weights.clone();
            trainer = trainer.with_loss(config.objective.weighted(weights, network.classes())?);
        }
        check_data(network, train, &config.preprocessing, config.objective)?;
        if let Some(test) = test {
            check_data(network, test, &config.preprocessing, config.objective)?;
            trainer.crew().start()?;
        }
        for (setting, count) in [
            ("epochs", Some(config.epochs)),
            ("max_steps", config.max_steps),
            ("log_every", config.log_every),
            ("evaluate_every", config.evaluate_every),
            ("patience", config.patience),
        ] {
            if count == Some(0) {
                return Err(TrainerError::setting(setting, "at least 1", "0"));
            }
        }
        check_weight("learning rate", config.learning_rate)?;
        let Augment { rotate, scale, shear, elastic, mixup, .. } = config.augment;
        check(
            "rotate",
            rotate.into(),
            |v| (0.0..=f64::from(std::f32::consts::PI)).contains(&v),
            "between 0 and pi",
        )?;
        check_share("scale", scale.into())?;
        check_weight("shear", shear.into())?;
        check_weight("elastic", elastic.into())?;
        check("mixup", mixup.into(), |v| (0.0..=1.0).contains(&v), "between 0 and 1")?;
        for number in [config.preprocessing.normalize.scale, config.preprocessing.normalize.shift] {
            check("normalising", number.into(), f64::is_finite, "a finite number")?;
        }
        let full_batches = train.len() / config.batch_size;
        let (order_len, steps_per_epoch) = match (config.sampling, config.last_batch) {
            (Sampling::WithReplacement, _) => (config.batch_size, full_batches.max(1)),
            (_, LastBatch::Keep) => (train.len(), train.len().div_ceil(config.batch_size)),
            (_, LastBatch::Drop) if full_batches == 0 => {
                let expected = format!(
                    "at most the {} training samples, as incomplete batches are dropped",
                    train.len()
                );
                return Err(TrainerError::setting("batch size", expected, config.batch_size.to_string()));
            }
            (_, LastBatch::Drop) => (train.len(), full_batches),
        };
        let steps_per_epoch = steps_per_epoch as u64;
        let total_steps =
            config.epochs.saturating_mul(steps_per_epoch).min(config.max_steps.unwrap_or(u64::MAX));
        let evaluator = test.map(|_| Evaluator::new(network, config.objective, trainer.crew().threads()));
        Ok(Fit {
            network: network.clone(),
            train,
            test,
            config,
            trainer,
            evaluator,
            order: vec![0; order_len],
            ordered: None,
            steps_per_epoch,
            total_steps,
            epoch_sums: Sums::default(),
            window_sums: Sums::default(),
            trend: Trend::default(),
            watch: Watch::default(),
            best: None,
            epoch_time: Duration::ZERO,
            train_time: Duration::ZERO,
            images: 0,
            announced: false,
            data_sha256: OnceCell::new(),
            stop: Arc::default(),
        })
    }

    /// Stops when `stop` becomes true, at the latest after the step or the few samples of an evaluation that are in hand. An
    /// observer stops only when it is told something; this may be set from anywhere, as by the handler of a signal.
    pub fn stop_on(&mut self, stop: Arc<AtomicBool>) {
        self.stop = stop;
    }

    /// Continues where `checkpoint` was taken: from there on, everything has the bits of a fit that never stopped.
    ///
    /// `epochs` and `max_steps` may differ when the schedule does not depend on the length of the run, and leave room for the
    /// steps that are done.
    ///
    /// # Errors
    /// As [`Fit::new`]; also when the checkpoint is of another network, other data or other settings: the error names
    /// the first difference.
    pub fn resume(
        network: &Network<f32>,
        checkpoint: Checkpoint,
        train: &'a Dataset,
        test: Option<&'a Dataset>,
        config: FitConfig,
    ) -> Result<Fit<'a>, FitError> {
        let depends_on_total = config.schedule.depends_on_total();
        let param_len = network.param_len();
        let slots = config.step().slots();
        let mut fit = Fit::new(network, vec![0.0; param_len], train, test, config)?;
        for (setting, found) in fit.settings() {
            if !depends_on_total && ["epochs", "max_steps"].contains(&setting.as_str()) {
                continue;
            }
            let expected = checkpoint.settings.get(&setting).cloned().unwrap_or_else(|| "nothing".into());
            if expected != found {
                return Err(FitError::Mismatch { setting, expected, found });
            }
        }
        if checkpoint.step > fit.total_steps {
            return Err(FitError::Beyond { done: checkpoint.step, asked: fit.total_steps });
        }
        let Checkpoint { theta, state, step, epoch_sums, window_sums, trend, watch, best, .. } = checkpoint;
        let lengths = [theta.len(), state.len()];
        let state = OptimizerState::of_slots(slots, param_len, &state).filter(|_| lengths[0] == param_len);
        let state = state.ok_or_else(|| FitError::Mismatch {
            setting: "weights".into(),
            expected: format!("{} with {} numbers of optimiser state", lengths[0], lengths[1]),
            found: format!("{param_len} with {}", slots * param_len),
        })?;
        fit.trainer.restore(theta, state, step);
        (fit.epoch_sums, fit.window_sums, fit.trend, fit.watch) = (epoch_sums, window_sums, trend, watch);
        fit.best = best.filter(|best| best.theta.len() == param_len);
        Ok(fit)
    }

    /// Trains to the end.
    ///
    /// # Errors
    /// [`Diverged`](crate::Diverged): the weights are those before the step that failed.
    pub fn run(&mut self, observer: &mut dyn Observer) -> Result<Progress, FitError> {
        self.run_until(u64::MAX, observer)
    }

    /// Trains to the end of the current epoch, as when a checkpoint is to be saved between epochs.
    ///
    /// # Errors
    /// As [`run`](Fit::run).
    pub fn run_epoch(&mut self, observer: &mut dyn Observer) -> Result<Progress, FitError> {
        self.run_until((self.epoch() + 1).saturating_mul(self.steps_per_epoch), observer)
    }

    /// Trains until `step` steps are done.
    ///
    /// # Errors
    /// As [`run`](Fit::run).
    pub fn run_until(&mut self, step: u64, observer: &mut dyn Observer) -> Result<Progress, FitError> {
        let crew = self.trainer.crew().clone();
        crew.enter(|| self.run_inside(step.min(self.total_steps), observer))
    }

    /// Evaluates the weights as they are, on any data of the right kind.
    ///
    /// # Errors
    /// When the data does not fit the network; [`TrainerError::Stopped`] when it is [told to stop](Fit::stop_on).
    pub fn evaluate(&self, dataset: &Dataset) -> Result<Evaluation, TrainerError> {
        self.evaluate_weights(self.theta(), dataset)
    }

    /// Evaluates other weights of the network, such as those of [`best`](Fit::best).
    ///
    /// # Errors
    /// As [`evaluate`](Fit::evaluate); also when there are not as many as the network has.
    pub fn evaluate_weights(&self, theta: &[f32], dataset: &Dataset) -> Result<Evaluation, TrainerError> {
        let FitConfig { preprocessing, threads, objective, .. } = self.config;
        evaluate_until(&self.network, theta, dataset, &preprocessing, objective, threads, &self.stop)
    }

    /// The weights; their moving average, where one is kept.
    pub fn theta(&self) -> &[f32] {
        self.trainer.average()
    }

    /// The weights, when training is over.
    pub fn into_theta(self) -> Vec<f32> {
        self.theta().to_vec()
    }

    /// Steps done.
    pub fn step(&self) -> u64 {
        self.trainer.steps()
    }

    /// Epochs done.
    pub fn epoch(&self) -> u64 {
        self.step() / self.steps_per_epoch
    }

    /// Steps of an epoch.
    pub fn steps_per_epoch(&self) -> u64 {
        self.steps_per_epoch
    }

    /// Steps of the whole run.
    pub fn total_steps(&self) -> u64 {
        self.total_steps
    }

    /// Whether there is nothing left to train: all steps are done, or the [patience](FitConfig::patience) is at its end.
    pub fn is_over(&self) -> bool {
        self.step() >= self.total_steps || self.is_stale()
    }

    /// Seconds of training so far in this process, evaluations left out.
    pub fn train_seconds(&self) -> f64 {
        self.train_time.as_secs_f64()
    }

    /// The weights that were best on the test set, when they were evaluated.
    pub fn best(&self) -> Option<&Best> {
        self.best.as_ref()
    }

    /// All that is needed to continue later, bit for bit.
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            theta: self.trainer.theta().to_vec(),
            state: self.trainer.optimizer_state().values().to_vec(),
            step: self.step(),
            epoch: self.epoch(),
            epoch_sums: self.epoch_sums,
            window_sums: self.window_sums,
            trend: self.trend,
            watch: self.watch,
            best: self.best.clone(),
            settings: self.settings(),
        }
    }

    #[expect(clippy::disallowed_methods, reason = "tells how long an epoch took")]
    fn run_inside(&mut self, end: u64, observer: &mut dyn Observer) -> Result<Progress, FitError> {
        let mut stopped = self.is_stopped();
        if !self.announced {
            self.announced = true;
            stopped |= observer.on(&self.started()).is_break();
            if self.step() == 0 && self.config.evaluate_every.is_some() {
                let evaluation = self.evaluate_test();
                stopped |= self.tell_evaluated(&evaluation, observer).is_break();
            }
        }
        if !stopped && self.step() > 0 && self.ends_epoch() && self.watch.evaluated < self.step() {
            // Somebody said stop before the evaluation of this epoch was done.
            let evaluation = self.evaluate_test();
            stopped |= self.tell_evaluated(&evaluation, observer).is_break();
        }
        let mut begun = Instant::now();
        while self.step() < end && !stopped && !self.is_stale() {
            let (stats, learning_rate) = match self.one_step() {
                Ok(done) => done,
                Err(diverged) => {
                    let message = diverged.to_string();
                    let _ =
                        observer.on(&Event::Diverged { step: self.step(), epoch: self.epoch() + 1, message });
                    return Err(diverged.into());
                }
            };
            let (step, epoch) = (self.step(), self.epoch_of_last_step());
            let StepStats { loss, correct, samples } = stats;
            self.epoch_sums.add(&stats);
            self.window_sums.add(&stats);
            self.trend.add(loss);
            self.images += samples as u64;
            stopped |=
                observer.on(&Event::Step { step, epoch, samples, loss, correct, learning_rate }).is_break();
            stopped |= self.is_stopped();
            if self.config.log_every.is_some_and(|n| step % n == 0) {
                let Sums { samples, .. } = self.window_sums;
                let (loss, accuracy) = std::mem::take(&mut self.window_sums).means();
                let samples = samples as usize;
                let accuracy = self.has_classes().then_some(accuracy);
                stopped |= observer.on(&Event::Window { step, epoch, samples, loss, accuracy }).is_break();
            }
            let ends_epoch = self.ends_epoch();
            let is_evaluated = self.config.evaluate_every.is_some_and(|n| step % n == 0);
            if ends_epoch || is_evaluated {
                self.epoch_time += begun.elapsed();
                let evaluation = self.evaluate_test();
                if is_evaluated {
                    stopped |= self.tell_evaluated(&evaluation, observer).is_break();
                }
                if ends_epoch {
                    stopped |= observer.on(&self.epoch_finished(&evaluation)).is_break();
                }
                begun = Instant::now();
            }
        }
        self.epoch_time += begun.elapsed();
        self.train_time += std::mem::take(&mut self.epoch_time);
        let progress = match () {
            () if self.is_over() => Progress::Done,
            () if stopped => Progress::Stopped,
            () => return Ok(Progress::More),
        };
        let _ = observer.on(&Event::Finished {
            step: self.step(),
            epochs: self.epoch(),
            train_seconds: self.train_seconds(),
            stopped: progress == Progress::Stopped,
        });
        Ok(progress)
    }

    fn one_step(&mut self) -> Result<(StepStats, f64), Diverged> {
        let (step, epoch) = (self.step(), self.epoch());
        let FitConfig { sampling, seed, batch_size, .. } = self.config;
        if sampling == Sampling::WithReplacement {
            with_replacement_into(seed, step, self.train.len() as u32, &mut self.order);
        } else if self.ordered != Some(epoch) {
            match sampling {
                Sampling::Shuffled => epoch_order_into(seed, epoch, &mut self.order),
                _ => sequence_into(&mut self.order),
            }
            self.ordered = Some(epoch);
        }
        let first = match sampling {
            Sampling::WithReplacement => 0,
            _ => (step % self.steps_per_epoch) as usize * batch_size,
        };
        let indices = &self.order[first..(first + batch_size).min(self.order.len())];
        let schedule = &self.config.schedule;
        let learning_rate =
            schedule.rate(self.config.learning_rate, step, self.total_steps) * self.watch.factor(schedule);
        let in_epoch = |diverged| Diverged { epoch: Some(epoch), batch: indices.to_vec(), ..diverged };
        if self.config.stop_diverged && self.trend.is_lost() {
            return Err(in_epoch(Diverged::new(step, learning_rate, DivergenceCause::Trend, None)));
        }
        let batch = ImageBatch::new(self.train, indices, self.config.preprocessing);
        let batch = batch.augmented(&self.config.augment, seed, step);
        let stats = self.trainer.step(learning_rate, &batch).map_err(in_epoch)?;
        Ok((stats, learning_rate))
    }

    /// `None` without a test set, or when somebody said stop before the evaluation was done.
    fn evaluate_test(&mut self) -> Option<Evaluation> {
        let (test, evaluator) = (self.test?, self.evaluator.as_ref()?);
        let (preprocessing, crew) = (&self.config.preprocessing, self.trainer.crew());
        let evaluation = evaluator.run(&self.network, self.theta(), test, preprocessing, crew, &self.stop)?;
        let (loss, accuracy) = (evaluation.loss, evaluation.accuracy());
        let is_best = |best: &Best| accuracy > best.accuracy || accuracy == best.accuracy && loss < best.loss;
        if self.best.as_ref().is_none_or(is_best) {
            let (step, epoch, theta) = (self.step(), self.epoch_of_last_step(), self.theta().to_vec());
            self.best = Some(Best { step, epoch, loss, accuracy, theta });
        }
        self.watch.evaluated = self.step();
        if let Some(best) = self.best.as_ref().filter(|_| self.ends_epoch()) {
            self.watch.note(&self.config.schedule, self.epoch_of_last_step(), best.epoch);
        }
        Some(evaluation)
    }

    /// Whether a step is done, and it was the last of an epoch.
    fn ends_epoch(&self) -> bool {
        let step = self.step();
        step > 0 && (step.is_multiple_of(self.steps_per_epoch) || step == self.total_steps)
    }

    /// Whether so many epochs as the patience has were no better than the best. An epoch that is not evaluated yet says nothing.
    fn is_stale(&self) -> bool {
        let is_evaluated = self.watch.evaluated >= self.epoch() * self.steps_per_epoch;
        let since = self.best.as_ref().map_or(0, |best| self.epoch().saturating_sub(best.epoch));
        self.config.patience.is_some_and(|patience| is_evaluated && since >= patience)
    }

    /// Whether samples have labels, and not rows of numbers.
    fn has_classes(&self) -> bool {
        self.train.targets().is_none()
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn tell_evaluated(
        &self,
        evaluation: &Option<Evaluation>,
        observer: &mut dyn Observer,
    ) -> ControlFlow<()> {
        let Some(evaluation) = evaluation else { return ControlFlow::Continue(()) };
        observer.on(&Event::Evaluated {
            step: self.step(),
            epoch: self.epoch_of_last_step(),
            test_loss: evaluation.loss,
            test_accuracy: self.has_classes().then(|| evaluation.accuracy()),
        })
    }

    fn started(&self) -> Event {
        Event::Started {
            parameters: self.network.parameters(),
            train_samples: self.train.len(),
            test_samples: self.test.map(Dataset::len),
            batch_size: self.config.batch_size,
            epochs: self.config.epochs,
            steps_per_epoch: self.steps_per_epoch,
            total_steps: self.total_steps,
            steps_done: self.step(),
            threads: self.trainer.crew().threads(),
            shards: self.trainer.plan().shards(self.config.batch_size),
            seed: self.config.seed,
        }
    }

    fn epoch_finished(&mut self, evaluation: &Option<Evaluation>) -> Event {
        let (train_loss, train_accuracy) = std::mem::take(&mut self.epoch_sums).means();
        let time = std::mem::take(&mut self.epoch_time);
        let images = std::mem::take(&mut self.images);
        self.train_time += time;
        Event::EpochFinished {
            epoch: self.epoch_of_last_step(),
            step: self.step(),
            train_loss,
            train_accuracy: self.has_classes().then_some(train_accuracy),
            test_loss: evaluation.as_ref().map(|e| e.loss),
            test_accuracy: evaluation.as_ref().filter(|_| self.has_classes()).map(Evaluation::accuracy),
            seconds: time.as_secs_f64(),
            images_per_second: images as f64 / time.as_secs_f64().max(f64::MIN_POSITIVE),
        }
    }

    /// The epoch, from 1, of the last step done.
    fn epoch_of_last_step(&self) -> u64 {
        self.step().div_ceil(self.steps_per_epoch)
    }

    /// All that decides the weights, as text: what a checkpoint is compared by.
    fn settings(&self) -> BTreeMap<String, String> {
        let config = &self.config;
        let data_sha256 = self.data_sha256.get_or_init(|| {
            let mut hasher = Sha256::new();
            match self.train.targets() {
                // Labels that fit in a byte are one.
                None if self.train.classes() <= 256 => {
                    self.train.labels().iter().for_each(|&label| hasher.update([label as u8]));
                }
                None => self.train.labels().iter().for_each(|label| hasher.update(label.to_le_bytes())),
                Some(targets) => targets.iter().for_each(|target| hasher.update(target.to_le_bytes())),
            }
            for image in self.train.images().outer_iter() {
                hasher.update(image.as_slice().expect("images are contiguous"));
            }
            encode_string(&hasher.finalize())
        });
        let layers: Vec<String> = self.network.layers().iter().map(|layer| layer.spec()).collect();
        let (h, w) = self.train.image_size();
        let crop = config.preprocessing.crop_of((h, w));
        let Augment { shift, rotate, scale, shear, elastic, flip, erase, mixup } = config.augment;
        let max_steps = config.max_steps.map_or_else(|| "none".into(), |n| n.to_string());
        let log_every = config.log_every.map_or_else(|| "none".into(), |n| n.to_string());
        let sampling = match config.sampling {
            Sampling::Shuffled => "shuffled",
            Sampling::WithReplacement => "with replacement",
            Sampling::InOrder => "in order",
        };
        let last_batch = match config.last_batch {
            LastBatch::Keep => "keep",
            LastBatch::Drop => "drop",
        };
        let weights: Vec<String> = config.class_weights.iter().map(f64::to_string).collect();
        // What a checkpoint has that says nothing of them.
        let class_weights = if weights.is_empty() { "nothing".into() } else { weights.join(",") };
        let Preprocessing { normalize, halve, .. } = config.preprocessing;
        let halved = if halve { "halved, " } else { "" };
        let mut augmentation = format!("shift {shift}, rotate {rotate}, scale {scale}, shear {shear}");
        // What is not asked for is not told: a checkpoint of a version that had not thought of it is taken.
        if elastic > 0.0 || flip || erase > 0 || mixup > 0.0 {
            augmentation += &format!(", elastic {elastic}, flip {flip}, erase {erase}, mixup {mixup}");
        }
        let asked = [
            ("weight decay", Some(config.weight_decay).filter(|&decay| decay > 0.0)),
            ("clip", config.clip),
            ("ema", config.ema),
            ("patience", config.patience.map(|epochs| epochs as f64)),
        ];
        let asked = asked.into_iter().filter_map(|(setting, value)| Some((setting, value?.to_string())));
        [
            ("network", format!("{} {}", self.network.input(), layers.join(" "))),
            ("training data", format!("{} images of {h}x{w}, SHA-256 {data_sha256}", self.train.len())),
            ("epochs", config.epochs.to_string()),
            ("max_steps", max_steps),
            ("batch size", config.batch_size.to_string()),
            ("sampling", sampling.into()),
            ("last batch", last_batch.into()),
            ("optimizer", config.optimizer.to_string()),
            ("learning rate", config.learning_rate.to_string()),
            ("schedule", config.schedule.to_string()),
            ("objective", config.objective.to_string()),
            ("class weights", class_weights),
            ("normalising", format!("{halved}times {} plus {}", normalize.scale, normalize.shift)),
            ("crop", format!("{}x{} at row {}, column {}", crop.h, crop.w, crop.y, crop.x)),
            ("augmentation", augmentation),
            ("seed", config.seed.to_string()),
            ("log_every", log_every),
        ]
        .into_iter()
        .chain(asked)
        .map(|(setting, value)| (setting.to_string(), value))
        .collect()
    }
}
