//! What a report is made of: all that is known of a run.

use std::collections::BTreeMap;

use byhand_datasets::Dataset;
use byhand_models::Model;
use byhand_trainer::{Evaluation, LayerTime, Prediction};
use serde::Deserialize;

use crate::tensors::TensorRecord;

/// A run, trained or in training.
#[derive(Debug, Clone)]
pub struct Run<'a> {
    /// What it is called.
    pub name: String,
    /// What must be said of it before anything else, as that it has not come to its end.
    pub warning: Option<String>,
    /// Its network and weights.
    pub model: &'a Model,
    /// What it was evaluated on, with labels.
    pub test: &'a Dataset,
    /// How good it is on these.
    pub evaluation: &'a Evaluation,
    /// What it says of each of these.
    pub predictions: &'a [Prediction],
    /// Its epochs.
    pub history: &'a [Epoch],
    /// How long its layers take.
    pub timing: &'a Timing,
    /// Settings, by the names of their options.
    pub settings: &'a BTreeMap<String, String>,
    /// Where and how it was trained: names and values.
    pub facts: &'a [(String, String)],
    /// The command that repeats it.
    pub again: String,
}

/// An epoch, as `history.jsonl` has it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Epoch {
    /// Its number, from 1.
    pub epoch: u64,
    /// Steps done at its end.
    pub step: u64,
    /// Mean loss met in training.
    pub train_loss: Option<f64>,
    /// Share classified correctly in training.
    pub train_accuracy: Option<f64>,
    /// Mean loss on the test set.
    pub test_loss: Option<f64>,
    /// Share of the test set classified correctly.
    pub test_accuracy: Option<f64>,
    /// Mean loss on the validation set.
    pub validation_loss: Option<f64>,
    /// Share of the validation set classified correctly.
    pub validation_accuracy: Option<f64>,
    /// Seconds of training.
    pub seconds: Option<f64>,
    /// Images trained on per second.
    pub images_per_second: Option<f64>,
    /// The weights and gradients at its end. Older versions did not record them.
    #[serde(default)]
    pub tensors: Vec<TensorRecord>,
}

/// How long layers take on this machine.
#[derive(Debug, Clone)]
pub struct Timing {
    /// Each layer, or several that run as one, on one thread.
    pub layers: Vec<LayerTime>,
    /// Images of the minibatch.
    pub batch_size: usize,
    /// GFLOP/s of multiply-adds alone on one thread.
    pub peak_gflops: f64,
}
