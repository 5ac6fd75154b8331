//! Who watches a training: shows on the terminal and records in the history what happens, and says when a checkpoint is due.

#[cfg(feature = "live")]
use std::io;
use std::{
    ops::ControlFlow,
    time::{Duration, Instant},
};

#[cfg(feature = "live")]
use anyhow::Context;
use anyhow::Result;
#[cfg(feature = "live")]
use byhand_report::Epoch;
use byhand_report::TensorRecord;
use byhand_trainer::{Event, Observer};
use indicatif::ProgressBar;
#[cfg(feature = "live")]
use serde::Deserialize;
use serde_json::Value;

#[cfg(feature = "live")]
use crate::{board::Board, screen::Screen};
use crate::{output::Output, pace::Pace, run_folder::History};

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
    /// The view of `--tui`.
    #[cfg(feature = "live")]
    screen: Option<Screen>,
    /// The event file of `--tensorboard`.
    #[cfg(feature = "live")]
    pub board: Option<Board>,
    /// Why it could not be written.
    #[cfg(feature = "live")]
    trouble: Option<io::Error>,
    /// Images trained on in this process.
    #[cfg(feature = "live")]
    images: u64,
    /// Whether the view wants to know the gradients.
    pub wants_gradients: bool,
    /// What was said while the view was up.
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
            #[cfg(feature = "live")]
            screen: None,
            #[cfg(feature = "live")]
            board: None,
            #[cfg(feature = "live")]
            trouble: None,
            #[cfg(feature = "live")]
            images: 0,
            wants_gradients: false,
            unsaid: Vec::new(),
            threads: None,
            train_loss: None,
        }
    }

    /// Shows the view of `--tui` in the place of the bar.
    #[cfg(feature = "live")]
    pub fn open_screen(&mut self, title: String) -> Result<()> {
        let evaluated = if self.validation { "validation" } else { "test" };
        self.screen = Some(Screen::open(title, self.epochs, evaluated)?);
        self.bar = ProgressBar::hidden();
        Ok(())
    }

    /// Takes note of the weights at the end of an epoch.
    pub fn look(&mut self, entry: &Value, tensors: &[TensorRecord], theta: &[f32]) -> Result<()> {
        self.show_gradients(tensors);
        #[cfg(feature = "live")]
        if let Some(board) = &mut self.board {
            let written = match self.trouble.take() {
                Some(error) => Err(error),
                None => board.epoch(&Epoch::deserialize(entry)?, tensors, theta),
            };
            written.context(
                "cannot write into the folder tensorboard of the run; make room, or leave --tensorboard out",
            )?;
        }
        #[cfg(not(feature = "live"))]
        let _ = (entry, theta);
        Ok(())
    }

    /// Shows the size of gradients.
    pub fn show_gradients(&mut self, tensors: &[TensorRecord]) {
        #[cfg(feature = "live")]
        if let Some(screen) = &mut self.screen {
            screen.state.look(tensors);
        }
        #[cfg(not(feature = "live"))]
        let _ = tensors;
        self.wants_gradients = false;
    }

    /// Takes the bar or the view away.
    pub fn finish(&mut self) {
        self.bar.finish_and_clear();
        #[cfg(feature = "live")]
        drop(self.screen.take());
        self.unsaid.drain(..).for_each(|line| self.output.note(line));
    }

    /// Says a line above the bar, or once the view is gone.
    fn say(&mut self, line: String) {
        #[cfg(feature = "live")]
        if self.screen.is_some() {
            self.unsaid.push(line);
            return;
        }
        self.bar.suspend(|| self.output.note(line));
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
                #[cfg(feature = "live")]
                if let Some(screen) = &mut self.screen {
                    screen.start(self.bar.position(), images);
                }
                self.tell(event);
            }
            #[cfg_attr(not(feature = "live"), expect(unused_variables))]
            Event::Step { step, epoch, samples, loss, learning_rate, .. } => {
                #[cfg(feature = "live")]
                if let Some(board) = &mut self.board {
                    self.trouble = self.trouble.take().or(board.step(*step, *loss, *learning_rate).err());
                }
                self.bar.inc(*samples as u64);
                if self.redrawn.is_none_or(|last| last.elapsed() >= REDRAW) {
                    self.redrawn = Some(Instant::now());
                    self.bar.set_prefix(format!("{epoch}/{}", self.epochs));
                    self.bar.set_message(format!("loss {loss:.4}"));
                }
                #[cfg(feature = "live")]
                if let Some(screen) = &mut self.screen {
                    self.images += *samples as u64;
                    screen.speed(self.images);
                    self.wants_gradients = screen.step(*epoch, *samples as u64, *loss);
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
                #[cfg(feature = "live")]
                if let Some(screen) = &mut self.screen {
                    screen.epoch(*epoch, *train_accuracy, *test_accuracy);
                }
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
