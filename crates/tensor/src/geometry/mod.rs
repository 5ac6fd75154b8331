//! The shapes that kernels compute with. Each is checked once, when it is made, and cannot be changed: kernels rely on that.

mod conv;
mod conv_pool;
mod dense;
mod pool;
mod window;

pub use conv::Conv2d;
pub(crate) use conv::MAX_TAPS;
pub use conv_pool::ConvPool2d;
pub use dense::Dense;
pub use pool::{Pool2d, PoolOptions};
pub use window::{Slide, Windows};
