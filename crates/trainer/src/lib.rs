#![doc = include_str!("../README.md")]
//!
//! # The modules
//!
//! | what | where it begins |
//! |---|---|
//! | one step of training, on any number of threads with equal bits | [`Trainer`], [`Plan`], [`BatchSource`] |
//! | epochs over a data set, with observers, evaluation, stop and resume | [`Fit`], [`FitConfig`], [`Observer`], [`Event`] |
//! | which samples to go on with | [`Hardest`] |
//! | optimisers and learning rates | [`Optimizer`], [`Schedule`], [`Objective`] |
//! | how good a network is, or an ensemble | [`evaluate`], [`evaluate_each`], [`evaluate_together`], [`Evaluation`], [`metrics`] |
//! | how long each layer takes | [`layer_times`] |
//! | how much memory training and evaluation take | [`training_bytes`], [`evaluation_bytes`] |
//! | a fit on disk | [`Checkpoint`] |
//!
//! # What is absent
//!
//! No network is known by name, nothing is printed, no `unsafe`. Only checkpoints are written to a disk, only [`Fit`]
//! and [`layer_times`] read the clock (to say how long training took), and only the step starts threads (feature `parallel`). No float is
//! summed in an order that depends on threads.

#![cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types))]

mod checkpoint;
mod ensemble;
mod error;
mod evaluate;
mod event;
mod fit;
mod hardest;
mod layer_times;
mod memory;
mod objective;
mod optimizer;
#[cfg(feature = "parallel")]
pub mod peak;
mod schedule;
mod spec;
mod step;
mod trend;
mod watch;

pub use byhand_layers::metrics::{self, Confusion, Evaluation};
pub use checkpoint::{Best, Checkpoint, CheckpointError};
pub use ensemble::{Member, Views, evaluate_together};
pub use error::{Diverged, DivergenceCause, FitError, SpecError, TrainerError};
pub use evaluate::{Prediction, evaluate, evaluate_each};
pub use event::{Event, Observer, Silent};
pub use fit::{Fit, FitConfig, Progress, Sampling};
pub use hardest::Hardest;
pub use layer_times::{LayerTime, layer_times};
pub use memory::{evaluation_bytes, training_bytes};
pub use objective::Objective;
pub use optimizer::{Adam, AdamW, Optimizer, OptimizerState, Sgd, StateMut};
pub use schedule::{Schedule, ScheduleShape};
pub use step::{BatchSource, ImageBatch, MAX_SHARDS, Plan, Rows, StepConfig, StepStats, TargetRoom, Trainer};
