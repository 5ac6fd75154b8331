//! What callers use: every method checks the lengths of what it is lent, and runs a kernel for the instruction set in use.

pub mod activation;
mod conv;
mod conv_pool;
mod dense;
mod pack;
pub mod peak;
mod pool;
pub mod softmax;
mod vectorised;

pub use pack::{pack, pack_gradient, unpack};
pub use vectorised::{Loop, vectorised};
