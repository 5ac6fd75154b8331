//! Max and average pooling over any window, stride, dilation and padding, overlapping too.

use crate::geometry::Pool2d;
use crate::layout::{Block, LANES};
use crate::number::Number;
use crate::simd::{Kernel, Vector};
use std::ops::Range;

/// A window: its taps that see a pixel, where the first of them lies, and its output, in pixels.
struct Window {
    rows: Range<usize>,
    columns: Range<usize>,
    input: usize,
    output: usize,
    i: usize,
    j: usize,
}

impl Window {
    /// The number of its first tap that sees a pixel, in row order among all taps.
    #[inline(always)]
    fn first_place<T: Number>(&self, pool: &Pool2d) -> T {
        T::from_f64((self.rows.start * pool.window()[1] + self.columns.start) as f64)
    }
}

impl Pool2d {
    /// Calls `visit` for each window, row by row.
    #[inline(always)]
    fn each_window(&self, tiles: usize, mut visit: impl FnMut(Window)) {
        let (h_in, w_in, h_out, w_out) = (self.h_in(), self.w_in(), self.h_out(), self.w_out());
        for plane in 0..tiles * self.c {
            for i in 0..h_out {
                let rows = self.rows.seen(i);
                let row = (plane * h_in + self.rows.pixel(i, rows.start)) * w_in;
                for j in 0..w_out {
                    let columns = self.columns.seen(j);
                    let input = row + self.columns.pixel(j, columns.start);
                    let output = (plane * h_out + i) * w_out + j;
                    visit(Window { rows: rows.clone(), columns, input, output, i, j });
                }
            }
        }
    }

    /// Whether windows are squares of four pixels side by side, without padding.
    fn is_two_by_two(&self) -> bool {
        [self.window(), self.stride()] == [[2, 2]; 2] && self.is_plain()
    }

    /// Of windows of 2x2, row by row: where the upper pixels of a row of windows begin, and where its outputs.
    #[inline(always)]
    fn rows_of_squares(self, block: Block) -> impl Iterator<Item = (usize, usize)> {
        let (h_out, lanes) = (self.h_out(), block.lanes());
        (0..block.tiles() * self.c * h_out).map(move |row| {
            let (plane, i) = (row / h_out, row % h_out);
            ((plane * self.h_in() + 2 * i) * self.w_in() * lanes, row * self.w_out() * lanes)
        })
    }

    /// Pixels from one tap to the next, below and beside it.
    #[inline(always)]
    fn steps(&self) -> [usize; 2] {
        [self.rows.slide().dilation * self.w_in(), self.columns.slide().dilation]
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
        match self.block.lanes() {
            LANES if self.pool.is_two_by_two() => self.squares::<V, true>(),
            1 if self.pool.is_two_by_two() => self.squares::<V, false>(),
            LANES => self.windows::<V>(),
            _ => self.windows::<V::One>(),
        }
    }
}

/// Of the pixels of `n` neighbouring windows of a row, two for each, so many are in a first vector, and in a second.
#[inline(always)]
fn halves<V: Vector>(n: usize) -> (usize, usize) {
    (V::LANES.min(2 * n), (2 * n).saturating_sub(V::LANES))
}

impl<T: Number> MaxForward<'_, T> {
    /// Windows of 2x2. A vector is the lanes of a window of a tile, or neighbouring windows of a row of single samples, whose pixels are
    /// two vectors of each of two rows.
    #[inline(always)]
    fn squares<V: Vector<Elem = T>, const TILED: bool>(self) {
        let Self { pool, block, x, y, tape } = self;
        let lanes = block.lanes();
        let (x, y, tape) = (x.as_ptr(), y.as_mut_ptr(), tape.as_mut_ptr());
        for (upper, output) in pool.rows_of_squares(block) {
            let len = pool.w_out() * lanes;
            for to in (0..len).step_by(V::LANES) {
                let n = if TILED { V::LANES } else { V::LANES.min(len - to) };
                let mut pixels = [V::splat(T::ZERO); 4];
                // SAFETY: max_forward checked the lengths; the row's windows and their pixels lie inside their planes.
                unsafe {
                    for u in 0..2 {
                        let row = x.add(upper + u * pool.w_in() * lanes);
                        (pixels[2 * u], pixels[2 * u + 1]) = if TILED {
                            let left = row.add(2 * to - to % LANES);
                            (V::load(left), V::load(left.add(LANES)))
                        } else {
                            let (first, second) = halves::<V>(n);
                            let left = row.add(2 * to);
                            V::unzip(V::load_first(left, first), V::load_first(left.add(first), second))
                        };
                    }
                    let (mut best, mut place, mut here) = (pixels[0], V::splat(T::ZERO), T::ZERO);
                    for pixel in pixels {
                        let take = V::or(pixel.gt(best), pixel.is_nan());
                        best = V::select(take, pixel, best);
                        place = V::select(take, V::splat(here), place);
                        here += T::ONE;
                    }
                    best.store_first(y.add(output + to), n);
                    place.store_first(tape.add(output + to), n);
                }
            }
        }
    }

    #[inline(always)]
    fn windows<V: Vector<Elem = T>>(self) {
        let Self { pool, block, x, y, tape } = self;
        let lanes = block.lanes();
        let ([down, right], row) = (pool.steps(), T::from_f64(pool.window()[1] as f64));
        let (x, y, tape) = (x.as_ptr(), y.as_mut_ptr(), tape.as_mut_ptr());
        pool.each_window(block.tiles(), |window| {
            let first = window.first_place(&pool);
            let mut lane = 0;
            while lane < lanes {
                // SAFETY: max_forward checked the lengths; what a window sees lies inside its plane.
                unsafe {
                    let at = |u: usize, v: usize| {
                        V::load(x.add((window.input + u * down + v * right) * lanes + lane))
                    };
                    let mut best = at(0, 0);
                    let (mut place, mut first) = (V::splat(first), first);
                    for u in 0..window.rows.len() {
                        let mut here = first;
                        for v in 0..window.columns.len() {
                            let candidate = at(u, v);
                            let take = V::or(candidate.gt(best), candidate.is_nan());
                            best = V::select(take, candidate, best);
                            place = V::select(take, V::splat(here), place);
                            here += T::ONE;
                        }
                        first += row;
                    }
                    best.store(y.add(window.output * lanes + lane));
                    place.store(tape.add(window.output * lanes + lane));
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
        let [down, right] = pool.steps();
        let (x, y) = (x.as_ptr(), y.as_mut_ptr());
        pool.each_window(block.tiles(), |window| {
            let size = V::splat(T::from_f64(pool.divisor(window.i, window.j) as f64));
            let mut lane = 0;
            while lane < lanes {
                // SAFETY: avg_forward checked the lengths; what a window sees lies inside its plane.
                unsafe {
                    let mut sum = V::splat(T::ZERO);
                    for u in 0..window.rows.len() {
                        for v in 0..window.columns.len() {
                            let from = (window.input + u * down + v * right) * lanes + lane;
                            sum = sum.add(V::load(x.add(from)));
                        }
                    }
                    sum.div(size).store(y.add(window.output * lanes + lane));
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
        match (self.block.lanes(), self.tape) {
            (LANES, Some(tape)) if self.pool.is_two_by_two() => self.squares::<V, true>(tape),
            (1, Some(tape)) if self.pool.is_two_by_two() => self.squares::<V, false>(tape),
            (LANES, _) => self.windows::<V>(),
            _ => self.windows::<V::One>(),
        }
    }
}

impl<T: Number> Backward<'_, T> {
    /// The maxima of windows of 2x2, as in [`MaxForward`].
    #[inline(always)]
    fn squares<V: Vector<Elem = T>, const TILED: bool>(self, tape: &[T]) {
        let Self { pool, block, dy, dx, .. } = self;
        if pool.inputs() != 4 * pool.outputs() {
            dx.fill(T::ZERO);
        }
        let lanes = block.lanes();
        let (dy, dx) = (dy.as_ptr(), dx.as_mut_ptr());
        for (upper, output) in pool.rows_of_squares(block) {
            let len = pool.w_out() * lanes;
            for from in (0..len).step_by(V::LANES) {
                let n = if TILED { V::LANES } else { V::LANES.min(len - from) };
                // SAFETY: the public methods checked the lengths; the row's windows and their pixels lie inside their planes.
                unsafe {
                    let d = V::load_first(dy.add(output + from), n);
                    let place = V::load_first(tape.as_ptr().add(output + from), n);
                    let mut here = T::ZERO;
                    for u in 0..2 {
                        let row = dx.add(upper + u * pool.w_in() * lanes);
                        let left = d.keep(place.eq(V::splat(here)));
                        let right = d.keep(place.eq(V::splat(here + T::ONE)));
                        if TILED {
                            let to = row.add(2 * from - from % LANES);
                            left.store(to);
                            right.store(to.add(LANES));
                        } else {
                            let (first, second) = V::zip(left, right);
                            let (in_first, in_second) = halves::<V>(n);
                            let to = row.add(2 * from);
                            first.store_first(to, in_first);
                            if in_second > 0 {
                                second.store_first(to.add(in_first), in_second);
                            }
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
        let ([kh, kw], [down, right]) = (pool.window(), pool.steps());
        let (zero, row) = (V::splat(T::ZERO), T::from_f64(kw as f64));
        // Windows that share no input: each input is written once, unless no window covers it.
        let disjoint = pool.rows.are_disjoint() && pool.columns.are_disjoint();
        if !disjoint || !pool.is_plain() || pool.inputs() != pool.outputs() * kh * kw {
            dx.fill(T::ZERO);
        }
        let (dy, dx) = (dy.as_ptr(), dx.as_mut_ptr());
        pool.each_window(block.tiles(), |window| {
            // Of a maximum nothing is divided.
            let size = tape.map_or_else(|| pool.divisor(window.i, window.j), |_| 1);
            let size = V::splat(T::from_f64(size as f64));
            let first = window.first_place(&pool);
            let mut lane = 0;
            while lane < lanes {
                // SAFETY: the public methods checked the lengths; what a window sees lies inside its plane.
                unsafe {
                    let d = V::load(dy.add(window.output * lanes + lane));
                    let place = tape.map(|tape| V::load(tape.as_ptr().add(window.output * lanes + lane)));
                    let part = if tape.is_some() { d } else { d.div(size) };
                    let mut first: T = first;
                    for u in 0..window.rows.len() {
                        let mut here = first;
                        for v in 0..window.columns.len() {
                            let to = dx.add((window.input + u * down + v * right) * lanes + lane);
                            let part =
                                place.map_or(part, |place| V::select(place.eq(V::splat(here)), part, zero));
                            let sum = if disjoint { part } else { V::load(to).add(part) };
                            sum.store(to);
                            here += T::ONE;
                        }
                        first += row;
                    }
                }
                lane += V::LANES;
            }
        });
    }
}
