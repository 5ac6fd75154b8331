#![doc = include_str!("../README.md")]
//!
//! # Tour
//!
//! * [`Block`] says how samples lie in memory: tiles of [`LANES`] samples side by side, or one sample alone.
//! * [`Conv2d`], [`Pool2d`], [`Dense`], [`activation`], [`softmax`] are the kernels. Each holds its geometry, borrows all
//!   memory, and has a naive twin in [`mod@reference`].
//! * [`Isa`] is the instruction set in use; every kernel is one generic source, compiled once per set.
//! * [`Scalar`] is what the kernels compute with: `f32` in production, and with the feature `proofs` `f64` and `Dual`.

#![allow(
    unsafe_code,
    reason = "kernels load and store through pointers whose bounds their callers checked once"
)]

pub mod activation;
mod block;
mod buffer;
mod conv;
mod conv_pool;
mod dense;
#[cfg(feature = "proofs")]
mod dual;
mod error;
mod geometry;
mod isa;
mod math;
mod micro;
pub mod peak;
mod pool;
pub mod reference;
mod scalar;
mod simd;
pub mod softmax;
mod tiles;
mod vectorised;
mod winograd;

pub use block::{Block, Input, LANES, RowView, pack, pack_gradient, unpack};
pub use buffer::Buffer;
pub use conv::Conv2d;
pub use conv_pool::ConvPool2d;
pub use dense::{Dense, Kept};
#[cfg(feature = "proofs")]
pub use dual::Dual;
pub use error::GeometryError;
pub use isa::Isa;
pub use pool::Pool2d;
pub use scalar::Scalar;
pub use tiles::Tiles;
pub use vectorised::{Loop, vectorised};
