//! Row-wise log-sum-exp and softmax: over the features of each sample.

use crate::layout::{Block, LANES};
use crate::number::Number;
use crate::simd::{Kernel, Vector};

pub(crate) struct Softmax<'a, T> {
    pub(crate) block: Block,
    pub(crate) features: usize,
    pub(crate) x: &'a [T],
    pub(crate) lse: Option<&'a mut [T]>,
    pub(crate) y: Option<&'a mut [T]>,
}

impl<T: Number> Kernel<T> for Softmax<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Elem = T>>(self) {
        if self.block.lanes() == LANES { self.tiles::<V>() } else { self.samples::<V>() }
    }
}

impl<T: Number> Softmax<'_, T> {
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
