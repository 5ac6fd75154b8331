//! The steps of a fit, one after the other, and what observers are told meanwhile. The only part that reads the clock.

use std::ops::ControlFlow;
use std::sync::atomic::Ordering;
use std::time::Instant;

use byhand_datasets::Dataset;
use byhand_layers::metrics::Evaluation;

use super::{Fit, Progress};
use crate::checkpoint::{Best, Sums};
use crate::error::{Diverged, DivergenceCause, FitError};
use crate::event::{Event, Observer};
use crate::step::{ImageBatch, StepStats};

impl Fit<'_> {
    /// Trains until `end` steps are done, in the threads of the fit.
    #[expect(clippy::disallowed_methods, reason = "tells how long an epoch took")]
    pub(super) fn run_inside(&mut self, end: u64, observer: &mut dyn Observer) -> Result<Progress, FitError> {
        let mut stopped = self.begin(observer);
        let mut begun = Instant::now();
        while self.step() < end && !stopped && !self.is_stale() {
            stopped |= self.step_and_tell(observer)?;
            let is_evaluated = self.is_evaluated();
            if self.ends_epoch() || is_evaluated {
                self.epoch_time += begun.elapsed();
                stopped |= self.evaluate_and_tell(is_evaluated, observer);
                begun = Instant::now();
            }
        }
        self.epoch_time += begun.elapsed();
        Ok(self.finish(stopped, observer))
    }

    /// Tells that it begins, and evaluates what was to be evaluated before the next step. Whether somebody said stop.
    fn begin(&mut self, observer: &mut dyn Observer) -> bool {
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
        stopped
    }

    /// A step, told with the window that it ends. Whether somebody said stop.
    fn step_and_tell(&mut self, observer: &mut dyn Observer) -> Result<bool, FitError> {
        let (stats, learning_rate) = self.one_step().inspect_err(|diverged| {
            let message = diverged.to_string();
            let _ = observer.on(&Event::Diverged { step: self.step(), epoch: self.epoch() + 1, message });
        })?;
        let (step, epoch) = (self.step(), self.epoch_of_last_step());
        let StepStats { loss, correct, samples } = stats;
        self.epoch_sums.add(&stats);
        self.window_sums.add(&stats);
        self.trend.add(loss);
        self.images += samples as u64;
        let told = observer.on(&Event::Step { step, epoch, samples, loss, correct, learning_rate });
        let mut stopped = told.is_break() || self.is_stopped();
        if self.config.log_every.is_some_and(|n| step % n == 0) {
            let Sums { samples, .. } = self.window_sums;
            let (loss, accuracy) = std::mem::take(&mut self.window_sums).means();
            let samples = samples as usize;
            let accuracy = self.has_classes().then_some(accuracy);
            stopped |= observer.on(&Event::Window { step, epoch, samples, loss, accuracy }).is_break();
        }
        Ok(stopped)
    }

    fn one_step(&mut self) -> Result<(StepStats, f64), Diverged> {
        let (step, epoch) = (self.step(), self.epoch());
        let indices = self.order.batch(step);
        let schedule = &self.config.schedule;
        let learning_rate =
            schedule.rate(self.config.learning_rate, step, self.total_steps) * self.watch.factor(schedule);
        let in_epoch = |diverged| Diverged { epoch: Some(epoch), batch: indices.to_vec(), ..diverged };
        if self.config.stop_diverged && self.trend.is_lost() {
            return Err(in_epoch(Diverged::new(step, learning_rate, DivergenceCause::Trend, None)));
        }
        let batch = ImageBatch::new(self.train, indices, self.config.preprocessing);
        let batch = batch.augmented(&self.config.augment, self.config.seed, step);
        let stats = self.trainer.step(learning_rate, &batch).map_err(in_epoch)?;
        Ok((stats, learning_rate))
    }

    /// Evaluates, after an epoch or as `is_evaluated` says between them, and tells it. Whether somebody said stop.
    fn evaluate_and_tell(&mut self, is_evaluated: bool, observer: &mut dyn Observer) -> bool {
        let evaluation = self.evaluate_test();
        let mut stopped = is_evaluated && self.tell_evaluated(&evaluation, observer).is_break();
        if self.ends_epoch() {
            stopped |= observer.on(&self.epoch_finished(&evaluation)).is_break();
        }
        stopped
    }

    /// Where it stands now, which is told unless there is more to do at once.
    fn finish(&self, stopped: bool, observer: &mut dyn Observer) -> Progress {
        let progress = match () {
            () if self.is_over() => Progress::Done,
            () if stopped => Progress::Stopped,
            () => return Progress::More,
        };
        let _ = observer.on(&Event::Finished {
            step: self.step(),
            epochs: self.epoch(),
            train_seconds: self.train_seconds(),
            stopped: progress == Progress::Stopped,
        });
        progress
    }

    /// `None` without a test set, or when somebody said stop before the evaluation was done.
    fn evaluate_test(&mut self) -> Option<Evaluation> {
        let (test, evaluator) = (self.test?, self.evaluator.as_ref()?);
        let (evaluation, _) =
            evaluator.run(self.shown(self.theta(), test), self.trainer.crew(), &self.stop, |_| ())?;
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
        step > 0 && (step.is_multiple_of(self.steps_per_epoch()) || step == self.total_steps)
    }

    /// Whether [`evaluate_every`](super::FitConfig::evaluate_every) asks for an evaluation after the last step.
    fn is_evaluated(&self) -> bool {
        self.config.evaluate_every.is_some_and(|n| self.step().is_multiple_of(n))
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
            steps_per_epoch: self.steps_per_epoch(),
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
        self.step().div_ceil(self.steps_per_epoch())
    }
}
