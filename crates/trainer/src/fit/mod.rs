//! Training over epochs of a data set: the order of samples, the learning rate, what observers are told, where to stop
//! and resume.

mod config;
mod order;
mod run;
mod settings;

use std::cell::OnceCell;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use byhand_datasets::Dataset;
use byhand_layers::Network;
use byhand_layers::metrics::Evaluation;

use crate::checkpoint::{Best, Checkpoint, Sums};
use crate::error::{FitError, TrainerError};
use crate::evaluate::{Evaluator, Prediction, Seen, Shown, check_data, evaluate_until};
use crate::event::Observer;
use crate::optimizer::OptimizerState;
use crate::step::Trainer;
use crate::trend::Trend;
use crate::watch::Watch;

pub use config::{FitConfig, Sampling};
use order::Order;

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
    order: Order,
    total_steps: u64,
    epoch_sums: Sums,
    window_sums: Sums,
    trend: Trend,
    watch: Watch,
    best: Option<Best>,
    /// Of the epoch that is not over.
    epoch_time: Duration,
    /// Of those that are.
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
        config.check(test.is_some())?;
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
        let order = Order::new(&config, train.len())?;
        let total_steps = config.epochs.saturating_mul(order.steps_per_epoch);
        let total_steps = total_steps.min(config.max_steps.unwrap_or(u64::MAX));
        let evaluator = test.map(|_| Evaluator::new(network, config.objective, trainer.crew().threads()));
        Ok(Fit {
            network: network.clone(),
            train,
            test,
            config,
            trainer,
            evaluator,
            order,
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
        self.run_until((self.epoch() + 1).saturating_mul(self.steps_per_epoch()), observer)
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
        self.evaluate_and(theta, dataset, |_| ()).map(|(evaluation, _)| evaluation)
    }

    /// As [`evaluate_weights`](Fit::evaluate_weights), and what the network says of every sample, in the order of `dataset`.
    ///
    /// # Errors
    /// As [`evaluate_weights`](Fit::evaluate_weights).
    pub fn evaluate_each(
        &self,
        theta: &[f32],
        dataset: &Dataset,
    ) -> Result<(Evaluation, Vec<Prediction>), TrainerError> {
        let (evaluation, chunks) = self.evaluate_and(theta, dataset, |seen| seen.predictions())?;
        Ok((evaluation, chunks.concat()))
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
        self.step() / self.steps_per_epoch()
    }

    /// Steps of an epoch.
    pub fn steps_per_epoch(&self) -> u64 {
        self.order.steps_per_epoch
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
        (self.train_time + self.epoch_time).as_secs_f64()
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

    fn evaluate_and<S: Default + Send>(
        &self,
        theta: &[f32],
        dataset: &Dataset,
        each: impl Fn(&Seen<'_>) -> S + Sync,
    ) -> Result<(Evaluation, Vec<S>), TrainerError> {
        let FitConfig { threads, objective, .. } = self.config;
        evaluate_until(self.shown(theta, dataset), objective, threads, &self.stop, each)
    }

    fn shown<'s>(&'s self, theta: &'s [f32], dataset: &'s Dataset) -> Shown<'s> {
        Shown { network: &self.network, theta, dataset, preprocessing: &self.config.preprocessing }
    }

    /// Whether so many epochs as the patience has were no better than the best. An epoch that is not evaluated yet says nothing.
    fn is_stale(&self) -> bool {
        let is_evaluated = self.watch.evaluated >= self.epoch() * self.steps_per_epoch();
        let since = self.best.as_ref().map_or(0, |best| self.epoch().saturating_sub(best.epoch));
        self.config.patience.is_some_and(|patience| is_evaluated && since >= patience)
    }
}
