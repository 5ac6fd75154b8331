//! Max and average pooling over any window and stride, overlapping too.

use crate::geometry::Pool2d;
use crate::layout::{Block, LANES};
use crate::number::Number;
use crate::simd::{Kernel, Vector};

impl Pool2d {
    /// Calls `visit(input, output)` for each window: where its first input and its output lie, in pixels.
    #[inline(always)]
    fn each_window(&self, tiles: usize, mut visit: impl FnMut(usize, usize)) {
        let (h_out, w_out) = (self.h_out(), self.w_out());
        for plane in 0..tiles * self.c {
            for i in 0..h_out {
                for j in 0..w_out {
                    let input = (plane * self.h_in + i * self.stride[0]) * self.w_in + j * self.stride[1];
                    visit(input, (plane * h_out + i) * w_out + j);
                }
            }
        }
    }
}

pub(crate) struct MaxForward<'a, T> {
    pub(crate) pool: Pool2d,
    pub(crate) block: Block,
    pub(crate) x: &'a [T],
    pub(crate) y: &'a mut [T],
    pub(crate) tape: &'a mut [T],
}

impl<T: Number> Kernel<T> for MaxForward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Elem = T>>(self) {
        if self.block.lanes() == LANES { self.windows::<V>() } else { self.windows::<V::One>() }
    }
}

impl<T: Number> MaxForward<'_, T> {
    #[inline(always)]
    fn windows<V: Vector<Elem = T>>(self) {
        let Self { pool, block, x, y, tape } = self;
        let lanes = block.lanes();
        let [kh, kw] = pool.window;
        let (x, y, tape) = (x.as_ptr(), y.as_mut_ptr(), tape.as_mut_ptr());
        pool.each_window(block.tiles(), |input, output| {
            let mut lane = 0;
            while lane < lanes {
                // SAFETY: max_forward checked the lengths; a window lies inside its plane.
                unsafe {
                    let at = |u: usize, v: usize| V::load(x.add((input + u * pool.w_in + v) * lanes + lane));
                    let mut best = at(0, 0);
                    let mut place = V::splat(T::ZERO);
                    let mut here = T::ZERO;
                    for u in 0..kh {
                        for v in 0..kw {
                            let candidate = at(u, v);
                            let take = V::or(candidate.gt(best), candidate.is_nan());
                            best = V::select(take, candidate, best);
                            place = V::select(take, V::splat(here), place);
                            here += T::ONE;
                        }
                    }
                    best.store(y.add(output * lanes + lane));
                    place.store(tape.add(output * lanes + lane));
                }
                lane += V::LANES;
            }
        });
    }
}

pub(crate) struct AvgForward<'a, T> {
    pub(crate) pool: Pool2d,
    pub(crate) block: Block,
    pub(crate) x: &'a [T],
    pub(crate) y: &'a mut [T],
}

impl<T: Number> Kernel<T> for AvgForward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Elem = T>>(self) {
        if self.block.lanes() == LANES { self.windows::<V>() } else { self.windows::<V::One>() }
    }
}

impl<T: Number> AvgForward<'_, T> {
    #[inline(always)]
    fn windows<V: Vector<Elem = T>>(self) {
        let Self { pool, block, x, y } = self;
        let lanes = block.lanes();
        let [kh, kw] = pool.window;
        let size = V::splat(T::from_f64((kh * kw) as f64));
        let (x, y) = (x.as_ptr(), y.as_mut_ptr());
        pool.each_window(block.tiles(), |input, output| {
            let mut lane = 0;
            while lane < lanes {
                // SAFETY: avg_forward checked the lengths; a window lies inside its plane.
                unsafe {
                    let mut sum = V::splat(T::ZERO);
                    for u in 0..kh {
                        for v in 0..kw {
                            sum = sum.add(V::load(x.add((input + u * pool.w_in + v) * lanes + lane)));
                        }
                    }
                    sum.div(size).store(y.add(output * lanes + lane));
                }
                lane += V::LANES;
            }
        });
    }
}

/// Both backward passes: each output's gradient goes to the place on the tape, or in equal parts to every place.
pub(crate) struct Backward<'a, T> {
    pub(crate) pool: Pool2d,
    pub(crate) block: Block,
    pub(crate) dy: &'a [T],
    pub(crate) tape: Option<&'a [T]>,
    pub(crate) dx: &'a mut [T],
}

impl<T: Number> Kernel<T> for Backward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Elem = T>>(self) {
        let Pool2d { window, stride, .. } = self.pool;
        match self.tape {
            Some(tape) if self.block.lanes() == 1 && [window, stride] == [[2, 2]; 2] => self.rows::<V>(tape),
            _ if self.block.lanes() == LANES => self.windows::<V>(),
            _ => self.windows::<V::One>(),
        }
    }
}

impl<T: Number> Backward<'_, T> {
    /// The maxima of windows of 2x2 of single samples: a vector is neighbouring windows of a row, and their pixels two vectors of
    /// each of two rows.
    #[inline(always)]
    fn rows<V: Vector<Elem = T>>(self, tape: &[T]) {
        let Self { pool, block, dy, dx, .. } = self;
        let (w_in, h_out, w_out) = (pool.w_in, pool.h_out(), pool.w_out());
        if pool.inputs() != 4 * pool.outputs() {
            dx.fill(T::ZERO);
        }
        let (dy, dx) = (dy.as_ptr(), dx.as_mut_ptr());
        for row in 0..block.samples() * pool.c * h_out {
            let (plane, i) = (row / h_out, row % h_out);
            for j in (0..w_out).step_by(V::LANES) {
                let n = V::LANES.min(w_out - j);
                // SAFETY: the public methods checked the lengths; n windows of the row and their pixels lie inside their planes.
                unsafe {
                    let d = V::load_first(dy.add(row * w_out + j), n);
                    let place = V::load_first(tape.as_ptr().add(row * w_out + j), n);
                    let mut here = T::ZERO;
                    for u in 0..2 {
                        let left = d.keep(place.eq(V::splat(here)));
                        let right = d.keep(place.eq(V::splat(here + T::ONE)));
                        let (first, second) = V::zip(left, right);
                        let to = dx.add((plane * pool.h_in + 2 * i + u) * w_in + 2 * j);
                        first.store_first(to, V::LANES.min(2 * n));
                        if 2 * n > V::LANES {
                            second.store_first(to.add(V::LANES), 2 * n - V::LANES);
                        }
                        here += T::ONE + T::ONE;
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn windows<V: Vector<Elem = T>>(self) {
        let Self { pool, block, dy, tape, dx } = self;
        let lanes = block.lanes();
        let [kh, kw] = pool.window;
        let zero = V::splat(T::ZERO);
        let size = V::splat(T::from_f64((kh * kw) as f64));
        // Windows that share no input: each input is written once, unless no window covers it.
        let disjoint = pool.stride[0] >= kh && pool.stride[1] >= kw;
        if !disjoint || pool.inputs() != pool.outputs() * kh * kw {
            dx.fill(T::ZERO);
        }
        let (dy, dx) = (dy.as_ptr(), dx.as_mut_ptr());
        pool.each_window(block.tiles(), |input, output| {
            let mut lane = 0;
            while lane < lanes {
                // SAFETY: the public methods checked the lengths; a window lies inside its plane.
                unsafe {
                    let d = V::load(dy.add(output * lanes + lane));
                    let place = tape.map(|tape| V::load(tape.as_ptr().add(output * lanes + lane)));
                    let part = if tape.is_some() { d } else { d.div(size) };
                    let mut here = T::ZERO;
                    for u in 0..kh {
                        for v in 0..kw {
                            let to = dx.add((input + u * pool.w_in + v) * lanes + lane);
                            let part =
                                place.map_or(part, |place| V::select(place.eq(V::splat(here)), part, zero));
                            let sum = if disjoint { part } else { V::load(to).add(part) };
                            sum.store(to);
                            here += T::ONE;
                        }
                    }
                }
                lane += V::LANES;
            }
        });
    }
}
