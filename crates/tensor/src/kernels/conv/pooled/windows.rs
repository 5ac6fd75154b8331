//! Windows of 2x2 that are pooled in the registers they were convolved in.

use super::pooling::Pooled;
use crate::geometry::Conv2d;
use crate::layout::LANES;
use crate::number::Number;
use crate::simd::Vector;

/// Windows of 2 x 2 of a convolution of stride 1 without padding: the four places of a vector of windows are four sums in
/// registers, for one or more channels at a time.
///
/// A vector is the lanes of one window of a tile, or of a [folded](crate::kernels::conv::fold) one of two, or neighbouring windows of one
/// sample. Then the four are two rows of two vectors of neighbouring pixels, even and odd ones to be parted.
pub(super) struct Windows<'a, T> {
    pub(super) conv: &'a Conv2d,
    pub(super) w: *const T,
    pub(super) b: *const T,
    pub(super) x: *const T,
    pub(super) lanes: usize,
    pub(super) to: Pooled<T>,
    pub(super) h_pool: usize,
    pub(super) w_pool: usize,
    /// Where the tile is folded, the places of the quarters of a vector, from that of the first on: of those that belong to no row too,
    /// which the first one then overwrites.
    pub(super) quarters: Option<[usize; 4]>,
}

impl<T: Number> Windows<'_, T> {
    /// Row `i` of the windows of `R` channels from `o` on; returns `R`.
    ///
    /// # Safety
    /// The channels and the row must exist.
    #[inline(always)]
    pub(super) unsafe fn row<V: Vector<Elem = T>, const R: usize>(&self, o: usize, i: usize) -> usize {
        // In a tile the right pixel of one tap is the left one of the next: common kernels load it once.
        // SAFETY: as the caller vouches.
        unsafe {
            match self.conv.kernel[1] {
                5 if self.lanes == LANES => self.vectors::<V, R, 5>(o, i),
                3 if self.lanes == LANES => self.vectors::<V, R, 3>(o, i),
                _ => self.vectors::<V, R, 1>(o, i),
            }
        }
        R
    }

    /// [`row`](Self::row) with `N` taps at a time.
    ///
    /// # Safety
    /// As `row`; `N` must divide the kernel's width, and be 1 for single samples.
    #[inline(always)]
    unsafe fn vectors<V: Vector<Elem = T>, const R: usize, const N: usize>(&self, o: usize, i: usize) {
        let Self { conv, w, b, x, lanes, w_pool, .. } = *self;
        let [kh, kw] = conv.kernel;
        let taps = conv.taps();
        let pitch = conv.w_in * lanes;
        let (step, across) = if lanes == LANES { (1, LANES) } else { (V::LANES, V::LANES) };
        let zero = V::splat(T::ZERO);
        let mut next = 0;
        while next < w_pool {
            // The last vector begins early enough to end in time, and pools some windows twice.
            let j = next.min(w_pool - step);
            next += step;
            let mut acc = [[zero; 4]; R];
            // SAFETY: the caller vouches for channels and row, which has at least `step` windows; every tap of every place of a window lies
            // in its plane, since there is no padding.
            unsafe {
                if !b.is_null() {
                    for r in 0..R {
                        acc[r] = [V::splat(*b.add(o + r)); 4];
                    }
                }
                let mut w = w.add(o * taps);
                for c in 0..conv.c_in {
                    for u in 0..kh {
                        let mut x = x.add((c * conv.h_in + 2 * i + u) * pitch + 2 * j * lanes);
                        for _ in 0..kw / N {
                            let mut left = [V::load(x), V::load(x.add(pitch))];
                            for v in 0..N {
                                let next = x.add(v * LANES + across);
                                let right = [V::load(next), V::load(next.add(pitch))];
                                let mut ws = [zero; R];
                                for r in 0..R {
                                    ws[r] = V::splat(*w.add(r * taps + v));
                                }
                                for (p, x) in [(0, left[0]), (2, left[1]), (1, right[0]), (3, right[1])] {
                                    for r in 0..R {
                                        acc[r][p] = ws[r].mul_add(x, acc[r][p]);
                                    }
                                }
                                left = right;
                            }
                            x = x.add(N * lanes);
                            w = w.add(N);
                        }
                    }
                }
                // One after the other by constants: a loop keeps the sums of all channels in memory.
                self.pool::<V>(acc[0], o, i, j);
                if R > 1 {
                    self.pool::<V>(acc[1 % R], o + 1, i, j);
                }
                if R > 2 {
                    self.pool::<V>(acc[2 % R], o + 2, i, j);
                    self.pool::<V>(acc[3 % R], o + 3, i, j);
                }
            }
        }
    }

    /// Pools the sums of a channel's four places.
    ///
    /// # Safety
    /// Channel and windows must exist.
    #[inline(always)]
    unsafe fn pool<V: Vector<Elem = T>>(&self, [a, b, c, d]: [V; 4], o: usize, i: usize, j: usize) {
        let four = if self.lanes == LANES {
            [a, b, c, d]
        } else {
            let ((a, b), (c, d)) = (V::unzip(a, b), V::unzip(c, d));
            [a, b, c, d]
        };
        let (best, place) = self.to.best_of_four(four);
        let at = ((o * self.h_pool + i) * self.w_pool + j) * self.lanes;
        // SAFETY: the caller vouches for channel and windows.
        unsafe {
            match self.quarters {
                None => {
                    best.store(self.to.y.add(at));
                    place.store(self.to.tape.add(at));
                }
                Some([a, b, c, d]) => {
                    let four = |to: *mut T| [to.add(at + a), to.add(at + b), to.add(at + c), to.add(at + d)];
                    best.store_quarters(four(self.to.y));
                    place.store_quarters(four(self.to.tape));
                }
            }
        }
    }
}
