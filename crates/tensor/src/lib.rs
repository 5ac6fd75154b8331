#![doc = include_str!("../README.md")]
//!
//! # Tour
//!
//! * [`Block`] says how samples lie in memory: tiles of [`LANES`] samples side by side, or one sample alone.
//! * [`mod@array`] has a function for each kernel, from arrays to arrays.
//! * [`Conv2d`], [`Pool2d`], [`Dense`], [`activation`], [`softmax`] are the kernels on slices. Each holds its geometry, borrows all
//!   memory, and has a naive twin in [`mod@reference`].
//! * [`Isa`] is the instruction set in use; every kernel is one generic source, compiled once per set.
//! * [`Scalar`] is what the kernels compute with, a [`Number`] that they are compiled for: `f32` in production, and with the feature
//!   `proofs` `f64` and `Dual`.

#![cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types))]
#![allow(
    unsafe_code,
    reason = "kernels load and store through pointers whose bounds their callers checked once"
)]

// They stand in layers, from `number` to `array`: the list is in xtask's architecture check, which holds it.
mod api;
pub mod array;
mod blocking;
mod buffer;
mod check;
mod dispatch;
#[cfg(feature = "proofs")]
mod dual;
mod error;
mod geometry;
mod isa;
mod kernels;
mod layout;
mod number;
pub mod reference;
mod simd;

pub use api::{Loop, activation, pack, pack_gradient, peak, softmax, unpack, vectorised};
pub use buffer::Buffer;
pub use dispatch::Scalar;
#[cfg(feature = "proofs")]
pub use dual::Dual;
pub use error::{ArrayError, GeometryError};
pub use geometry::{Conv2d, ConvPool2d, Dense, Pool2d, PoolOptions, Slide, Windows};
pub use isa::Isa;
pub use kernels::dense::Kept;
pub use layout::{Block, Input, LANES, RowView, Tiles};
pub use number::Number;
