#![doc = include_str!("../README.md")]
//!
//! # Tour
//!
//! * [`PIECES`] is the register: every piece with its notebook, its wrong line beside the right one, its symptom and the checks that
//!   find it. [`find`] looks one up by name.
//! * One piece a file, in `src/pieces`: what it does otherwise than the right layer, marked, and its row of the register.
//! * [`NotebookStep`] trains as the notebooks do.
//! * [`Mutant`] and [`MutantLoss`] make wrong layers and losses of any right one: signs flipped, numbers scaled, zeroed, transposed, one
//!   element off.

#![cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types))]

mod cross_entropy;
mod mistake;
mod mutant;
mod notebook_step;
mod piece;
mod pieces;
mod places;
mod twin;

pub use mistake::Replaced;
pub use mutant::{Gradient, Mutant, MutantLoss, Mutation, mutants};
pub use notebook_step::NotebookStep;
pub use piece::{Check, Example, Finding, Piece};
pub use pieces::{PIECES, find};
