//! Everything of byhand behind one name: the crates as modules, and a [`prelude`]. No code of its own.
#![doc = include_str!("../README.md")]
#![cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types))]

pub use byhand_datasets as datasets;
pub use byhand_files as files;
pub use byhand_layers as layers;
pub use byhand_models as models;
pub use byhand_tensor as tensor;
pub use byhand_trainer as trainer;

pub mod prelude {
    //! What a program that trains or runs a network usually names.

    pub use byhand_datasets::{
        Augment, Crop, Data, Dataset, Normalize, Preprocessing, Sources, digits, load,
    };
    pub use byhand_layers::{
        Block, Describe, Layer, Network, Scalar, Shape, Workspace,
        init::{Init, init_network},
        loss::{Loss, SoftmaxCrossEntropy, SquaredError},
    };
    pub use byhand_models::{Model, NamedModel, Spec, find};
    pub use byhand_trainer::{
        Adam, AdamW, Checkpoint, Evaluation, Event, Fit, FitConfig, Objective, Observer, Optimizer, Progress,
        Schedule, Sgd, Silent, evaluate,
    };
}

/// The examples of the repository's own pages, compiled and run with this crate's tests and seen by nothing else (so
/// that the package needs no file from outside its folder).
#[cfg(doctest)]
mod pages {
    #[doc = include_str!("../../../README.md")]
    struct Readme;

    #[doc = include_str!("../../../docs/backprop.md")]
    struct Backprop;
}
