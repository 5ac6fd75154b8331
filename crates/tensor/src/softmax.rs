//! Row-wise log-sum-exp and softmax: over the features of each sample.

use crate::simd::{Kernel, Vector};
use crate::{Block, LANES, Scalar};

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

pub(crate) struct Softmax<'a, T> {
    block: Block,
    features: usize,
    x: &'a [T],
    lse: Option<&'a mut [T]>,
    y: Option<&'a mut [T]>,
}

impl<T: Scalar> Kernel<T> for Softmax<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Elem = T>>(self) {
        if self.block.lanes() == LANES { self.tiles::<V>() } else { self.samples::<V>() }
    }
}

impl<T: Scalar> Softmax<'_, T> {
    /// Samples one after the other: vectors of features, to the bits that a tile has.
    #[inline(always)]
    fn samples<V: Vector<Elem = T>>(self) {
        let Self { features, x, mut lse, mut y, .. } = self;
        for (s, x) in x.chunks_exact(features).enumerate() {
            let m = x.iter().fold(x[0], |m, &x| if x > m { x } else { m });
            let mut sum = T::ZERO;
            for (i, x) in x.chunks(V::LANES).enumerate() {
                let mut e = [T::ZERO; LANES];
                // SAFETY: x holds so many numbers, e no fewer than a vector.
                unsafe { V::load_first(x.as_ptr(), x.len()).sub(V::splat(m)).exp().store(e.as_mut_ptr()) };
                let e = &e[..x.len()];
                sum = e.iter().fold(sum, |sum, &e| sum + e);
                if let Some(y) = &mut y {
                    y[s * features + i * V::LANES..][..e.len()].copy_from_slice(e);
                }
            }
            if let Some(y) = &mut y {
                y[s * features..][..features].iter_mut().for_each(|y| *y = *y / sum);
            }
            if let Some(lse) = &mut lse {
                lse[s] = m + sum.ln();
            }
        }
    }

    #[inline(always)]
    fn tiles<V: Vector<Elem = T>>(self) {
        let Self { block, features, x, mut lse, mut y } = self;
        let lanes = block.lanes();
        for t in 0..block.tiles() {
            let mut lane = 0;
            while lane < lanes {
                let start = t * features * lanes + lane;
                // SAFETY: the public functions checked the lengths.
                unsafe {
                    let x = x.as_ptr().add(start);
                    let mut m = V::load(x);
                    for f in 1..features {
                        let xf = V::load(x.add(f * lanes));
                        m = V::select(xf.gt(m), xf, m);
                    }
                    let mut sum = V::splat(T::ZERO);
                    for f in 0..features {
                        let e = V::load(x.add(f * lanes)).sub(m).exp();
                        if let Some(y) = &mut y {
                            e.store(y.as_mut_ptr().add(start + f * lanes));
                        }
                        sum = sum.add(e);
                    }
                    if let Some(y) = &mut y {
                        for f in 0..features {
                            let y = y.as_mut_ptr().add(start + f * lanes);
                            V::load(y).div(sum).store(y);
                        }
                    }
                    if let Some(lse) = &mut lse {
                        let lse = &mut lse[t * lanes + lane..][..V::LANES];
                        let mut peak = [T::ZERO; LANES];
                        let mut total = [T::ZERO; LANES];
                        m.store(peak.as_mut_ptr());
                        sum.store(total.as_mut_ptr());
                        for (i, lse) in lse.iter_mut().enumerate() {
                            *lse = peak[i] + total[i].ln();
                        }
                    }
                }
                lane += V::LANES;
            }
        }
    }
}
