//! What happens in a fit, told to an observer.

use std::ops::ControlFlow;

use serde::Serialize;

/// Somebody who is told what happens, on the thread that trains: every step waits for it.
pub trait Observer: Send {
    /// Takes note of `event`. [`ControlFlow::Break`] stops the fit after the step in hand, with the weights so far.
    fn on(&mut self, event: &Event) -> ControlFlow<()>;
}

/// A closure is an observer.
impl<F: FnMut(&Event) -> ControlFlow<()> + Send> Observer for F {
    fn on(&mut self, event: &Event) -> ControlFlow<()> {
        self(event)
    }
}

/// Nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {
    fn on(&mut self, _event: &Event) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

/// What happens in a fit. Serialised, each is an object with a field `event`: "started", "step", ...
///
/// Steps are counted as steps done, so the first step is told as step 1; epochs likewise. Losses are means over samples;
/// training losses and accuracies are those met while training, each with the weights of its step. Seconds are of
/// training alone: evaluations are not in them, unpacking, augmentation and observers are.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// Before the first step (of this run: a resumed one begins at a later step).
    Started {
        /// Parameters of the network.
        parameters: usize,
        /// Samples to train on.
        train_samples: usize,
        /// Samples to evaluate on.
        test_samples: Option<usize>,
        /// Samples of a minibatch.
        batch_size: usize,
        /// Epochs of the whole run.
        epochs: u64,
        /// Steps of an epoch.
        steps_per_epoch: u64,
        /// Steps of the whole run.
        total_steps: u64,
        /// Steps done before.
        steps_done: u64,
        /// Threads.
        threads: usize,
        /// Shards of a full minibatch.
        shards: usize,
        /// The seed.
        seed: u64,
    },
    /// After every step. There may be a hundred thousand a second.
    Step {
        /// Steps done.
        step: u64,
        /// The epoch, from 1.
        epoch: u64,
        /// Samples of the minibatch.
        samples: usize,
        /// Mean loss.
        loss: f64,
        /// Samples whose largest output was that of their class, or where the largest number of their row is.
        correct: usize,
        /// The learning rate used.
        learning_rate: f64,
    },
    /// After every `log_every` steps: means over exactly these steps.
    Window {
        /// Steps done.
        step: u64,
        /// The epoch, from 1.
        epoch: u64,
        /// Samples of the window.
        samples: usize,
        /// Mean loss.
        loss: f64,
        /// Share classified correctly; none where targets are rows.
        accuracy: Option<f64>,
    },
    /// After every `evaluate_every` steps.
    Evaluated {
        /// Steps done.
        step: u64,
        /// The epoch, from 1.
        epoch: u64,
        /// Mean loss on the test set, without label smoothing or weights of the classes.
        test_loss: f64,
        /// Share of the test set classified correctly; none where targets are rows.
        test_accuracy: Option<f64>,
    },
    /// After every epoch (a run cut short by `max_steps` ends with a shorter one).
    EpochFinished {
        /// Epochs done.
        epoch: u64,
        /// Steps done.
        step: u64,
        /// Mean loss met in training, as it was trained for: with label smoothing, weights of the classes, augmentation and mixup.
        train_loss: f64,
        /// Share classified correctly in training; none where targets are rows.
        train_accuracy: Option<f64>,
        /// Mean loss on the test set, without label smoothing or weights of the classes.
        test_loss: Option<f64>,
        /// Share of the test set classified correctly.
        test_accuracy: Option<f64>,
        /// Seconds of training of this epoch, in this process.
        seconds: f64,
        /// Images trained on per second.
        images_per_second: f64,
    },
    /// The end of the run: all steps are done, or an observer stopped it.
    Finished {
        /// Steps done.
        step: u64,
        /// Epochs done.
        epochs: u64,
        /// Seconds of training, in this process.
        train_seconds: f64,
        /// Whether an observer stopped it before its end.
        stopped: bool,
    },
    /// Training diverged; the weights are those before the step.
    Diverged {
        /// Steps done.
        step: u64,
        /// The epoch, from 1.
        epoch: u64,
        /// The error.
        message: String,
    },
}
