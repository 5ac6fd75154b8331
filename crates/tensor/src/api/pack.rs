//! Arrays of samples to blocks, and back.

use crate::blocking::Pack;
use crate::dispatch::Scalar;
use crate::layout::Block;
use ndarray::{Array2, ArrayView2};

/// Lays the rows of `x` (`[samples, features]`) out as `block` says. Dead lanes repeat the last sample: that is for what a network is
/// fed. For gradients there is [`pack_gradient`].
///
/// # Panics
/// If `x` has not `block.samples()` rows or `out` not `block.len(features)` numbers.
#[track_caller]
pub fn pack<T: Scalar>(x: ArrayView2<'_, T>, block: Block, out: &mut [T]) {
    let (samples, features) = x.dim();
    assert_eq!(samples, block.samples(), "pack: rows of x against samples of the block");
    assert_eq!(out.len(), block.len(features), "pack: length of out for {features} features");
    if out.is_empty() {
        return;
    }
    let x = x.as_standard_layout();
    T::pack(Pack { rows: x.as_slice().expect("standard layout"), features, block, out });
}

/// Lays a gradient (`[samples, features]`) out as `block` says. Dead lanes get zeros: a sample that is not there has no gradient. (If they
/// repeated the last sample as those of [`pack`] do, the gradients of parameters would count it several times.)
///
/// ```
/// use byhand_tensor::{Block, pack_gradient};
/// let mut dy = [f32::NAN; 16];
/// pack_gradient(ndarray::array![[1.0], [2.0]].view(), Block::tiled(2), &mut dy);
/// assert_eq!((&dy[..2], &dy[2..]), (&[1.0, 2.0][..], &[0.0; 14][..]));
/// ```
///
/// # Panics
/// If `dy` has not `block.samples()` rows or `out` not `block.len(features)` numbers.
#[track_caller]
pub fn pack_gradient<T: Scalar>(dy: ArrayView2<'_, T>, block: Block, out: &mut [T]) {
    pack(dy, block, out);
    let last = block.tiles().saturating_sub(1);
    let live = block.live(last);
    for row in out[block.index(dy.ncols(), last * block.lanes(), 0)..].chunks_exact_mut(block.lanes()) {
        row[live..].fill(T::ZERO);
    }
}

/// The inverse of [`pack`]: `[samples, features]` out of a block.
///
/// # Panics
/// If `x` has not `block.len(features)` numbers.
#[track_caller]
pub fn unpack<T: Scalar>(block: Block, features: usize, x: &[T]) -> Array2<T> {
    assert_eq!(x.len(), block.len(features), "unpack: length of x for {features} features");
    Array2::from_shape_fn((block.samples(), features), |(sample, feature)| {
        x[block.index(features, sample, feature)]
    })
}
