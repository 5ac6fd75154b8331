//! The shapes of a convolution, a ReLU or none, and a max-pooling in one.

use super::conv::Conv2d;
use super::pool::Pool2d;
use crate::error::{GeometryError, MAX_ELEMENTS, check_product};
use crate::layout::Block;

/// `y = max_pool(relu(conv(x, w) + b))`, or without the ReLU: the geometry, and the kernels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConvPool2d {
    pub(crate) conv: Conv2d,
    pub(crate) pool: Pool2d,
    pub(crate) relu: bool,
}

impl ConvPool2d {
    /// Pooling of `conv`'s output by windows that do not overlap.
    ///
    /// # Errors
    /// As [`Pool2d::new`].
    pub fn new(conv: Conv2d, window: [usize; 2], relu: bool) -> Result<Self, GeometryError> {
        let pool = Pool2d::new([conv.c_out, conv.h_out(), conv.w_out()], window, window)?;
        check_product("conv and pool", "a window", &window, MAX_ELEMENTS)?;
        Ok(Self { conv, pool, relu })
    }

    /// The convolution.
    pub fn conv(&self) -> &Conv2d {
        &self.conv
    }

    /// The pooling.
    pub fn pool(&self) -> &Pool2d {
        &self.pool
    }

    /// Length of the tape: the place of each maximum.
    pub fn tape_len(&self, block: Block) -> usize {
        block.len(self.pool.outputs())
    }
}
