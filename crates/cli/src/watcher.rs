//! Who watches a training: shows on the terminal and records in the history what happens, and says when a checkpoint is due.

use std::{
    ops::ControlFlow,
    time::{Duration, Instant},
};

use byhand_trainer::{Event, Observer};
use indicatif::ProgressBar;
use serde_json::Value;

use crate::{output::Output, pace::Pace, run_folder::History};

/// Shows and records what happens.
pub struct Watcher {
    output: Output,
    /// The set evaluated after each epoch is the validation set, not the test set.
    validation: bool,
    pub history: History,
    pub pace: Pace,
    epochs: u64,
    bar: ProgressBar,
    redrawn: Option<Instant>,
    /// Threads that train, as soon as they do.
    pub threads: Option<usize>,
    /// Mean training loss of the last epoch.
    pub train_loss: Option<f64>,
    /// Why the history could not be written.
    pub trouble: Option<anyhow::Error>,
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
            epochs,
            bar: output.bar(0, "epoch {prefix} {bar:30} {pos}/{len} images, {per_sec}, {eta} left  {msg}"),
            redrawn: None,
            threads: None,
            train_loss: None,
            trouble: None,
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
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
                if self.pace.is_due(*step, false) {
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
                let output = self.output;
                self.bar.suspend(|| output.note(line));
                let entry = self.tell(event);
                if let Err(error) = self.history.add(&entry) {
                    self.trouble = Some(error);
                    return ControlFlow::Break(());
                }
                if self.pace.is_due(*step, true) {
                    return ControlFlow::Break(());
                }
            }
            Event::Finished { .. } => {}
            _ => {
                self.tell(event);
            }
        }
        ControlFlow::Continue(())
    }
}
