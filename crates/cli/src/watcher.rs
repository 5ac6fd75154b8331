//! Who watches a training: shows on the terminal and records in the history what happens, and says when a checkpoint is due.

use std::{
    ops::ControlFlow,
    time::{Duration, Instant},
};

use anyhow::Result;
use byhand_report::{Epoch, TensorRecord};
use byhand_trainer::{Event, Observer};
use indicatif::ProgressBar;
use serde::Deserialize;
use serde_json::Value;

use crate::{output::Output, pace::Pace, run_folder::History};

/// Somebody who looks on while a run trains.
pub trait Onlooker: Send {
    /// Something happened. Whether they want to know the gradients as soon as they are at hand.
    fn on(&mut self, event: &Event) -> bool;

    /// The gradients.
    fn gradients(&mut self, _tensors: &[TensorRecord]) {}

    /// The end of an epoch, at which the weights are `theta`.
    fn epoch(&mut self, epoch: &Epoch, tensors: &[TensorRecord], theta: &[f32]) -> Result<()>;
}

/// Shows and records what happens.
pub struct Watcher {
    output: Output,
    /// The set evaluated after each epoch is the validation set, not the test set.
    validation: bool,
    pub history: History,
    pub pace: Pace,
    /// Whether a checkpoint is due.
    pub is_due: bool,
    /// The epoch that ended last, until the history has it.
    pub ended: Option<Value>,
    epochs: u64,
    bar: ProgressBar,
    redrawn: Option<Instant>,
    /// Who else looks on.
    onlookers: Vec<Box<dyn Onlooker>>,
    /// Whether one of them has the terminal.
    is_covered: bool,
    /// Whether one of them wants to know the gradients.
    pub wants_gradients: bool,
    /// What was said meanwhile.
    unsaid: Vec<String>,
    /// Threads that train, as soon as they do.
    pub threads: Option<usize>,
    /// Mean training loss of the last epoch.
    pub train_loss: Option<f64>,
}

/// How often the bar is redrawn.
const REDRAW: Duration = Duration::from_millis(100);

impl Watcher {
    pub fn new(output: Output, validation: bool, history: History, pace: Pace, epochs: u64) -> Self {
        Self {
            output,
            validation,
            history,
            pace,
            is_due: false,
            ended: None,
            epochs,
            bar: output.bar(0, "epoch {prefix} {bar:30} {pos}/{len} images, {per_sec}, {eta} left  {msg}"),
            redrawn: None,
            onlookers: Vec::new(),
            is_covered: false,
            wants_gradients: false,
            unsaid: Vec::new(),
            threads: None,
            train_loss: None,
        }
    }

    /// Lets somebody look on. Where they take the terminal, there is no bar.
    #[cfg(feature = "live")]
    pub fn add(&mut self, onlooker: Box<dyn Onlooker>, takes_terminal: bool) {
        self.onlookers.push(onlooker);
        if takes_terminal {
            self.bar = ProgressBar::hidden();
            self.is_covered = true;
        }
    }

    /// Shows everybody the weights `theta` at the end of the epoch of this entry.
    pub fn show_epoch(&mut self, entry: &Value, tensors: &[TensorRecord], theta: &[f32]) -> Result<()> {
        self.show_gradients(tensors);
        let epoch = Epoch::deserialize(entry)?;
        self.onlookers.iter_mut().try_for_each(|onlooker| onlooker.epoch(&epoch, tensors, theta))
    }

    /// Shows everybody the gradients.
    pub fn show_gradients(&mut self, tensors: &[TensorRecord]) {
        self.onlookers.iter_mut().for_each(|onlooker| onlooker.gradients(tensors));
        self.wants_gradients = false;
    }

    /// Takes the bar away, or who took its place.
    pub fn finish(&mut self) {
        self.bar.finish_and_clear();
        self.onlookers.clear();
        self.is_covered = false;
        self.unsaid.drain(..).for_each(|line| self.output.note(line));
    }

    /// Says a line above the bar, or once the terminal is free.
    fn say(&mut self, line: String) {
        if self.is_covered {
            self.unsaid.push(line);
        } else {
            self.bar.suspend(|| self.output.note(line));
        }
    }

    /// The event as a JSON object, which is also printed under `--json`. What was evaluated on the validation set is
    /// called so.
    fn tell(&self, event: &Event) -> Value {
        let Ok(Value::Object(mut fields)) = serde_json::to_value(event) else {
            unreachable!("an event is an object of numbers and texts")
        };
        if self.validation {
            for (from, to) in [
                ("test_loss", "validation_loss"),
                ("test_accuracy", "validation_accuracy"),
                ("test_samples", "validation_samples"),
            ] {
                if let Some(value) = fields.remove(from) {
                    fields.insert(to.to_string(), value);
                }
            }
        }
        let name = fields.remove("event").unwrap_or_default();
        let entry = Value::Object(fields);
        self.output.event(name.as_str().unwrap_or_default(), entry.clone());
        entry
    }
}

impl Observer for Watcher {
    fn on(&mut self, event: &Event) -> ControlFlow<()> {
        for onlooker in &mut self.onlookers {
            self.wants_gradients |= onlooker.on(event);
        }
        match event {
            Event::Started { threads, train_samples, total_steps, steps_done, .. } => {
                self.threads = Some(*threads);
                let images = self.epochs.saturating_mul(*train_samples as u64);
                self.bar.set_length(images);
                self.bar.set_position((images as f64 * *steps_done as f64 / *total_steps as f64) as u64);
                self.bar.reset_eta();
                self.tell(event);
            }
            Event::Step { step, epoch, samples, loss, .. } => {
                self.bar.inc(*samples as u64);
                if self.redrawn.is_none_or(|last| last.elapsed() >= REDRAW) {
                    self.redrawn = Some(Instant::now());
                    self.bar.set_prefix(format!("{epoch}/{}", self.epochs));
                    self.bar.set_message(format!("loss {loss:.4}"));
                }
                // Who trains saves one and goes on.
                self.is_due = self.pace.is_due(*step, false);
                if self.is_due || self.wants_gradients {
                    return ControlFlow::Break(());
                }
            }
            Event::EpochFinished {
                epoch,
                step,
                train_loss,
                train_accuracy,
                test_accuracy,
                seconds,
                images_per_second,
                ..
            } => {
                self.train_loss = Some(*train_loss);
                let evaluated = test_accuracy.map_or(String::new(), |accuracy| {
                    format!(
                        "  {} {:.2} %",
                        if self.validation { "validation" } else { "test" },
                        100.0 * accuracy
                    )
                });
                let trained =
                    train_accuracy.map_or(String::new(), |share| format!("  train {:.2} %", 100.0 * share));
                let line = format!(
                    "epoch {epoch}/{}  loss {train_loss:.4}{trained}{evaluated}  {seconds:.2} s  {images_per_second:.0} images/s",
                    self.epochs
                );
                self.say(line);
                self.ended = Some(self.tell(event));
                self.is_due = self.pace.is_due(*step, true);
                // Who trains looks at the weights and goes on.
                return ControlFlow::Break(());
            }
            Event::Finished { .. } => {}
            _ => {
                self.tell(event);
            }
        }
        ControlFlow::Continue(())
    }
}
