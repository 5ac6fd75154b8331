//! A model as source code that needs nothing: no library, no allocation, weights as constants.
//!
//! Both languages print the same `Program`; the kernels it calls are in `float.c`, `int8.c` and their twins in Rust, `.rs.in`, beside
//! this file.

mod c;
mod float;
mod int8;
mod kernels;
mod plan;
mod program;
mod rust;

pub use c::c;
pub use int8::Quantized;
pub use rust::rust;

use byhand_models::Model;

use crate::ExportError;
use program::{Pictures, Program};

/// A file of source code: its path, and what stands in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Relative to the place that was asked for.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// Source code, and what it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The files.
    pub files: Vec<File>,
    /// Bytes of all weights and tables, which are constants.
    pub weights: usize,
    /// Bytes of memory that the caller lends, beside input and output.
    pub memory: usize,
}

/// How source is written.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// What names in the source begin with: a word of letters, digits and `_`.
    pub name: &'a str,
    /// Rows and columns of the pictures, where the model reads pictures: then the source has their preprocessing too, and a program that
    /// reads an IDX file.
    pub pictures: Option<(usize, usize)>,
    /// The model in whole numbers, instead of floats.
    pub int8: Option<&'a Quantized>,
}

/// What the source of a model does.
fn program(model: &Model, options: &Options<'_>) -> Result<Program, ExportError> {
    let pictures = options.pictures.map(|size| Pictures::new(model, size)).transpose()?;
    match options.int8 {
        None => float::program(model, pictures),
        Some(quantized) => Ok(quantized.program(pictures, model.class_names.clone())),
    }
}
