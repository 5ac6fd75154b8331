//! Row-wise log-sum-exp and softmax: over the features of each sample.

use crate::dispatch::Scalar;
use crate::kernels::softmax::Softmax;
use crate::layout::Block;

/// `out[sample] = ln sum_f e^x[f] = m + ln sum_f e^(x[f] - m)`, `m = max_f x[f]`: one row of lanes for each tile.
///
/// # Panics
/// If `x` has not `block.len(features)` numbers, or `out` not `block.len(1)`, or there is no feature.
#[track_caller]
pub fn log_sum_exp<T: Scalar>(block: Block, features: usize, x: &[T], out: &mut [T]) {
    check(block, features, x.len());
    assert_eq!(out.len(), block.len(1), "log_sum_exp: length of the result");
    T::softmax(Softmax { block, features, x, lse: Some(out), y: None });
}

/// `y[f] = e^(x[f] - m) / sum_g e^(x[g] - m)`, `m = max_f x[f]`. Overwrites `y`.
///
/// # Panics
/// If a slice has not `block.len(features)` numbers, or there is no feature.
#[track_caller]
pub fn softmax<T: Scalar>(block: Block, features: usize, x: &[T], y: &mut [T]) {
    check(block, features, x.len());
    assert_eq!(y.len(), x.len(), "softmax: lengths of x and y");
    T::softmax(Softmax { block, features, x, lse: None, y: Some(y) });
}

#[track_caller]
fn check(block: Block, features: usize, x: usize) {
    assert!(features > 0, "softmax: at least one feature expected");
    assert_eq!(x, block.len(features), "softmax: length of x for {features} features and {block:?}");
}
