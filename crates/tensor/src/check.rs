//! The checks before a kernel runs: it reads and writes through pointers, and relies on the lengths that it was promised.

use crate::layout::Block;
use std::ops::Range;

/// Panics unless `what` holds so many numbers.
#[inline]
#[track_caller]
pub(crate) fn length(kernel: &str, what: &str, found: usize, expected: usize) {
    assert!(found == expected, "{kernel}: {what} must hold {expected} numbers, found {found}");
}

/// Panics unless `what` holds so many numbers of each lane of each tile.
#[inline]
#[track_caller]
pub(crate) fn features(kernel: &str, what: &str, found: usize, block: Block, features: usize) {
    let expected = block.len(features);
    assert!(
        found == expected,
        "{kernel}: {what} must hold {expected} numbers ({features} features of {block:?}), found {found}"
    );
}

/// Panics unless scratch holds at least so many numbers.
#[inline]
#[track_caller]
pub(crate) fn scratch(kernel: &str, found: usize, least: usize) {
    assert!(found >= least, "{kernel}: scratch must hold at least {least} numbers, found {found}");
}

/// Panics unless `what` has such a range.
#[inline]
#[track_caller]
pub(crate) fn range(kernel: &str, what: &str, range: &Range<usize>, len: usize) {
    assert!(
        range.start <= range.end && range.end <= len,
        "{kernel}: {what} {range:?} are not among the {len} there are"
    );
}
