//! The named networks of byhand, the grammar in which networks are written down, and model files.
#![doc = ""]
#![doc = include_str!("../README.md")]
//!
//! # The modules
//!
//! | module | what it holds |
//! |---|---|
//! | [`registry`] | the named networks, as data |
//! | [`spec`] | the layer-spec grammar: parse, print, build a network |
//! | [`kinds`] | the one table of layers the grammar knows |
//! | [`branches`] | the table of its words for branches of layers |
//! | [`mod@file`] | model files: safetensors that PyTorch reads, with digests; the only code here that touches a disk |

#![cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types))]

pub mod branches;
mod error;
pub mod file;
mod format;
pub mod kinds;
mod model;
pub mod registry;
pub mod spec;

pub use branches::BranchKind;
pub use byhand_datasets::{Crop, ImageDim, Normalize, Preprocessing};
pub use error::ModelError;
pub use file::load_weights;
pub use kinds::LayerKind;
pub use model::{Model, weights_sha256};
pub use registry::{MODELS, NamedModel, UnknownModel, find};
pub use spec::{Spec, SpecError};
