//! Models taken elsewhere: as ONNX files and as source without dependencies, and from ONNX files.
#![doc = ""]
#![doc = include_str!("../README.md")]
#![cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types))]

mod error;
mod graph;
pub mod onnx;
pub mod source;

pub use error::ExportError;
