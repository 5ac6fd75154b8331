//! What the forward pass and the input gradient read and write.

use crate::geometry::Dense;
use crate::layout::{Block, Input, Tiles};
use std::ops::Range;

/// Overwrites `y`.
pub(crate) struct Forward<'a, T> {
    pub(crate) dense: Dense,
    pub(crate) block: Block,
    pub(crate) w: &'a [T],
    pub(crate) b: Option<&'a [T]>,
    pub(crate) x: Input<'a, T>,
    pub(crate) y: Tiles<'a, T>,
    /// From one tile of y to the next.
    pub(crate) y_features: usize,
    pub(crate) scratch: &'a mut [T],
}

/// Overwrites `dx`.
pub(crate) struct BackwardInput<'a, T> {
    pub(crate) dense: Dense,
    /// Those whose gradient is wanted.
    pub(crate) inputs: Range<usize>,
    pub(crate) block: Block,
    pub(crate) w: &'a [T],
    pub(crate) dy: &'a [T],
    pub(crate) dx: Tiles<'a, T>,
    /// From one tile of dx to the next.
    pub(crate) dx_features: usize,
    pub(crate) scratch: &'a mut [T],
}
