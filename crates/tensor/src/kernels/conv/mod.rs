//! Two-dimensional convolution: forward, input gradient, weight and bias gradient.
//!
//! The forward pass and the input gradient are one kernel, a correlation ([`direct`]); the weight gradient is another
//! ([`weight_grad`]). Both vectorise over sixteen samples of one pixel (tiled blocks); of one sample alone, over neighbouring pixels and
//! over channels. With many channels, 3x3 goes another way: [`winograd`]. A max-pooling that follows is done in the same
//! pass: [`pooled`].

mod direct;
mod fold;
mod passes;
pub(crate) mod pooled;
mod weight_grad;
mod winograd;

pub(crate) use passes::{BackwardInput, BackwardParams, Forward, scratch_len};
