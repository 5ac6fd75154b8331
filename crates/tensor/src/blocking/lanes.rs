//! What becomes of the lanes of a tile of few samples.

use crate::layout::{LANES, parts};
use crate::simd::Vector;

/// In how many parts the lanes of a tile are used, of which so many live, where vectors would have empty lanes otherwise; else 1.
#[inline(always)]
pub(crate) fn vector_parts<V: Vector>(live: usize) -> usize {
    let parts = parts(live);
    if V::LANES * parts > LANES { parts } else { 1 }
}
