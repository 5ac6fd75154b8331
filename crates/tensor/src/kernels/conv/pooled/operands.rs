//! What the two passes read and write.

use crate::geometry::{ConvPool2d, Pool2d};
use crate::kernels::conv::fold::odd_plane;
use crate::layout::Block;
use std::ops::Range;

/// Overwrites `y` and `tape`.
pub(crate) struct Forward<'a, T> {
    pub(crate) chain: ConvPool2d,
    pub(crate) block: Block,
    pub(crate) w: &'a [T],
    pub(crate) b: Option<&'a [T]>,
    pub(crate) x: &'a [T],
    pub(crate) y: &'a mut [T],
    pub(crate) tape: &'a mut [T],
    pub(crate) scratch: &'a mut [T],
}

/// Adds to `dw` and `db`, overwrites `dx`, where they are wanted.
pub(crate) struct Backward<'a, T> {
    pub(crate) chain: ConvPool2d,
    pub(crate) block: Block,
    pub(crate) w: &'a [T],
    pub(crate) x: &'a [T],
    pub(crate) tape: &'a [T],
    pub(crate) dy: &'a [T],
    pub(crate) dx: Option<(Range<usize>, &'a mut [T])>,
    pub(crate) dw: Option<&'a mut [T]>,
    pub(crate) db: Option<&'a mut [T]>,
    pub(crate) scratch: &'a mut [T],
}

/// Rows and columns that the windows cover.
pub(super) fn covered(pool: &Pool2d) -> [usize; 2] {
    [pool.h_out() * pool.window()[0], pool.w_out() * pool.window()[1]]
}

/// Numbers from one channel of what is spread to the next.
pub(super) fn spread_plane(pool: &Pool2d) -> usize {
    let [rows, columns] = covered(pool);
    odd_plane(rows, columns)
}
