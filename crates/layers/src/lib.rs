#![doc = include_str!("../README.md")]
//!
//! # Tour
//!
//! * [`contract`] is the contract every layer keeps: [`Describe`] and [`Layer`]. One layer a file, each with its formula, its
//!   shapes, its backward pass and its source: [`Conv2d`], [`MaxPool2d`], [`AvgPool2d`], [`GlobalMaxPool`],
//!   [`GlobalAvgPool`], [`BatchNorm`], [`Dense`], [`Relu`], [`LeakyRelu`], [`Gelu`], [`ExactGelu`], [`Silu`], [`Tanh`],
//!   [`Sigmoid`], [`Linear`], [`LogSoftmax`], [`Flatten`], [`Dropout`]; [`Branches`] are chains of them side by side.
//! * [`Network`] chains layers over one flat vector of parameters; [`Workspace`] is all the memory it computes in.
//! * [`loss`] has the losses and the softmax, [`init`] the initialisers, [`metrics`] what says how good predictions are.
//! * [`exec`] is what a network runs: how a training step divides work among threads, and nothing that a layer need know.
//! * `check`, with the feature `proofs`, proves a layer or a loss right: `check_layer`, `check_loss`.

#![cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types))]

mod avg_pool2d;
mod batch_norm;
mod batch_norm_chain;
mod branches;
mod chain;
#[cfg(feature = "proofs")]
pub mod check;
pub mod contract;
mod conv2d;
mod conv_parts;
mod conv_pool2d;
mod dense;
mod dropout;
mod error;
mod exact_gelu;
pub mod exec;
mod flatten;
mod fold;
mod gate;
mod gelu;
mod global_avg_pool;
mod global_max_pool;
pub mod init;
mod leaky_relu;
mod linear;
mod log_softmax;
pub mod loss;
mod max_pool2d;
pub mod metrics;
mod network;
mod padding;
mod params;
mod pool_options;
mod relu;
mod shape;
mod sigmoid;
mod silu;
mod tanh;
#[cfg(test)]
mod trial;
mod workspace;

pub use avg_pool2d::AvgPool2d;
pub use batch_norm::BatchNorm;
pub use branches::Branches;
pub use chain::Chain;
pub use contract::{Describe, Kind, Layer, Mode, ParamSpec, Pass, Saved};
pub use conv2d::{Conv2d, ConvOptions};
pub use dense::Dense;
pub use dropout::Dropout;
pub use error::{InitError, LayerError};
pub use exact_gelu::ExactGelu;
pub use flatten::Flatten;
pub use gelu::Gelu;
pub use global_avg_pool::GlobalAvgPool;
pub use global_max_pool::GlobalMaxPool;
pub use leaky_relu::LeakyRelu;
pub use linear::Linear;
pub use log_softmax::LogSoftmax;
pub use max_pool2d::MaxPool2d;
pub use network::{NamedParam, Network, Summary, SummaryRow};
pub use padding::Padding;
pub use params::{Params, ParamsMut};
pub use pool_options::PoolOptions;
pub use relu::Relu;
pub use shape::{Shape, ShapeError};
pub use sigmoid::Sigmoid;
pub use silu::Silu;
pub use tanh::Tanh;
pub use workspace::Workspace;

#[cfg(feature = "proofs")]
pub use byhand_tensor::Dual;
pub use byhand_tensor::{
    Block, Buffer, GeometryError, Isa, LANES, Number, Scalar, pack, pack_gradient, unpack,
};

/// The registry: the name of every layer. `check::catalogue` has at least one configuration of each.
pub const LAYERS: &[&str] = &[
    "conv",
    "pool",
    "avgpool",
    "globalavgpool",
    "globalmaxpool",
    "batchnorm",
    "residual",
    "concat",
    "dense",
    "relu",
    "leaky_relu",
    "gelu",
    "silu",
    "tanh",
    "sigmoid",
    "linear",
    "log_softmax",
    "flatten",
    "dropout",
];
