//! The first maximum of windows, and its place; a ReLU behind it.

use crate::geometry::Pool2d;
use crate::number::Number;
use crate::simd::Vector;

/// Where pooled numbers go.
pub(super) struct Pooled<T> {
    pub(super) y: *mut T,
    pub(super) tape: *mut T,
    pub(super) kh: usize,
    pub(super) kw: usize,
    pub(super) relu: bool,
}

impl<T: Number> Pooled<T> {
    /// Pools the window whose rows begin `pitch` apart and whose columns are `step` apart, into place `at`.
    ///
    /// # Safety
    /// The window and the place must exist.
    #[inline(always)]
    pub(super) unsafe fn window<V: Vector<Elem = T>>(
        &self,
        rows: *const T,
        pitch: usize,
        step: usize,
        at: usize,
    ) {
        // SAFETY: the caller vouches for the window and the place.
        unsafe {
            let mut best = V::load(rows);
            let mut place = V::splat(T::ZERO);
            let mut here = T::ZERO;
            for u in 0..self.kh {
                for v in 0..self.kw {
                    better::<V>(V::load(rows.add(u * pitch + v * step)), here, &mut best, &mut place);
                    here += T::ONE;
                }
            }
            let (best, place) = self.rectified(best, place);
            best.store(self.y.add(at));
            place.store(self.tape.add(at));
        }
    }

    /// The first maximum of each window, as a tournament of three comparisons; and where it is.
    #[inline(always)]
    pub(super) fn best_of_four<V: Vector<Elem = T>>(&self, [a, b, c, d]: [V; 4]) -> (V, V) {
        let one = V::splat(T::ONE);
        let (right, lower_right) = (b.gt(a), d.gt(c));
        let (upper, lower) = (V::select(right, b, a), V::select(lower_right, d, c));
        let below = lower.gt(upper);
        let mut best = V::select(below, lower, upper);
        let mut place =
            V::select(below, one.keep(lower_right).add(V::splat(T::ONE + T::ONE)), one.keep(right));
        if V::any(V::or(V::unordered(a, b), V::unordered(c, d))) {
            // The place of the last NaN, as one after the other would find it.
            (best, place) = (a, V::splat(T::ZERO));
            let mut here = T::ZERO;
            for candidate in [a, b, c, d] {
                better::<V>(candidate, here, &mut best, &mut place);
                here += T::ONE;
            }
        }
        self.rectified(best, place)
    }

    /// Pools planes of `rows` rows, `pitch` numbers apart.
    ///
    /// # Safety
    /// The planes, with an overhang of two vectors, and the places must exist.
    #[inline(always)]
    pub(super) unsafe fn planes<V: Vector<Elem = T>>(
        &self,
        pool: &Pool2d,
        planes: usize,
        from: *const T,
        rows: usize,
        pitch: usize,
    ) {
        for plane in 0..planes {
            for i in 0..pool.h_out() {
                let row = (plane * rows + i * self.kh) * pitch;
                let at = (plane * pool.h_out() + i) * pool.w_out();
                // SAFETY: the caller vouches for rows and places.
                unsafe { self.row::<V>(from.add(row), pitch, pool.w_out(), at) };
            }
        }
    }

    /// Pools a row of `count` windows of one sample into places `at..`.
    ///
    /// # Safety
    /// The rows, with a vector's overhang, and the places must exist.
    #[inline(always)]
    unsafe fn row<V: Vector<Elem = T>>(&self, rows: *const T, pitch: usize, count: usize, at: usize) {
        // SAFETY: the caller vouches for rows and places.
        unsafe {
            if self.kh != 2 || self.kw != 2 {
                for j in 0..count {
                    self.window::<V::One>(rows.add(j * self.kw), pitch, 1, at + j);
                }
                return;
            }
            let mut j = 0;
            while j < count {
                let upper = rows.add(2 * j);
                let lower = upper.add(pitch);
                let (a, b) = V::unzip(V::load(upper), V::load(upper.add(V::LANES)));
                let (c, d) = V::unzip(V::load(lower), V::load(lower.add(V::LANES)));
                let (best, place) = self.best_of_four([a, b, c, d]);
                let n = V::LANES.min(count - j);
                best.store_first(self.y.add(at + j), n);
                place.store_first(self.tape.add(at + j), n);
                j += V::LANES;
            }
        }
    }

    /// The ReLU, if there is one: where it lets nothing through, the place is the number of places.
    #[inline(always)]
    fn rectified<V: Vector<Elem = T>>(&self, best: V, place: V) -> (V, V) {
        if !self.relu {
            return (best, place);
        }
        // NaN is not closed.
        let closed = V::splat(T::ZERO).ge(best);
        let none = V::splat(T::from_f64((self.kh * self.kw) as f64));
        (V::select(closed, V::splat(T::ZERO), best), V::select(closed, none, place))
    }
}

/// Takes the candidate if it is larger, or NaN.
#[inline(always)]
fn better<V: Vector>(candidate: V, here: V::Elem, best: &mut V, place: &mut V) {
    let take = V::or(candidate.gt(*best), candidate.is_nan());
    *best = V::select(take, candidate, *best);
    *place = V::select(take, V::splat(here), *place);
}
