//! The forward pass of the chain: windows pooled straight from the registers they were convolved in, or row by row.

use super::ConvPool2d;
use crate::block::vector_parts;
use crate::conv::correlation::{Correlation, Lay, Rows, Targets};
use crate::conv::flat::Flat;
use crate::conv::fold::Bands;
use crate::simd::{Kernel, Vector};
use crate::{Block, Conv2d, LANES, Pool2d, Scalar};

/// Channels convolved before they are pooled, where rows are: two rows of eight channels fit half of the first cache.
const CHANNELS: usize = 8;

/// Numbers that may be read behind the end of planes: two vectors.
pub(super) const OVERHANG: usize = 2 * LANES;

pub(crate) struct Forward<'a, T> {
    pub(super) chain: ConvPool2d,
    pub(super) block: Block,
    pub(super) w: &'a [T],
    pub(super) b: Option<&'a [T]>,
    pub(super) x: &'a [T],
    pub(super) y: &'a mut [T],
    pub(super) tape: &'a mut [T],
    pub(super) scratch: &'a mut [T],
}

impl<T: Scalar> Kernel<T> for Forward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Elem = T>>(self) {
        let Conv2d { stride, pad, .. } = self.chain.conv;
        // Two rows by two vectors of neighbouring pixels hold a window of each lane, when a vector's windows lie in a row.
        let fits = self.block.lanes() == LANES || self.chain.pool.w_out() >= V::LANES;
        if self.chain.conv.takes_winograd(self.block) {
            self.of_planes::<V>();
        } else if self.chain.pool.window == [2, 2] && stride == [1, 1] && pad == [0, 0] && fits {
            self.in_registers::<V>();
        } else if self.block.lanes() == 1 && stride == [1, 1] {
            self.of_flat_planes::<V>();
        } else {
            self.by_rows::<V>();
        }
    }
}

impl<T: Scalar> Forward<'_, T> {
    #[inline(always)]
    fn in_registers<V: Vector<Elem = T>>(self) {
        let Self { chain: ConvPool2d { conv, pool, relu }, block, w, b, x, y, tape, scratch } = self;
        let lanes = block.lanes();
        let b = b.map_or(std::ptr::null(), |b| b.as_ptr());
        let (h_pool, w_pool) = (pool.h_out(), pool.w_out());
        for t in 0..block.tiles() {
            let x = &x[t * conv.inputs() * lanes..][..conv.inputs() * lanes];
            let to = t * pool.outputs() * lanes..(t + 1) * pool.outputs() * lanes;
            let (y, tape) = (&mut y[to.clone()], &mut tape[to]);
            // Where otherwise half of a vector would be empty, two rows of windows are taken at a time, or four.
            let parts = if lanes == LANES { vector_parts::<V>(block.live(t)) } else { 1 };
            let part_lanes = LANES / parts;
            let (conv, x, live, rows) = if parts > 1 {
                let rows = h_pool.div_ceil(parts);
                let bands = Bands::new(&conv, parts, 2 * rows);
                bands.x.run(x, scratch);
                (bands.conv, &*scratch, LANES, rows)
            } else {
                (conv, x, block.live(t), h_pool)
            };
            for i in 0..rows {
                for lane in (0..live).step_by(if lanes == LANES { V::LANES } else { 1 }) {
                    // Of a folded tile the lanes of a part are those of a band of rows.
                    let place = |lane: usize| {
                        let part = lane * parts / LANES;
                        let first = part * rows * w_pool * LANES;
                        (i + part * rows < h_pool).then_some(first + lane - part * part_lanes)
                    };
                    let Some(first) = place(lane) else { continue };
                    let quarter = |q: usize| place(lane + q * V::LANES / 4).map_or(0, |place| place - first);
                    // SAFETY: forward checked every length against the geometry; a vector of lanes begins inside a tile.
                    unsafe {
                        let windows = Windows {
                            conv: &conv,
                            w: w.as_ptr(),
                            b,
                            x: x.as_ptr().add(lane),
                            lanes,
                            to: Pooled {
                                y: y.as_mut_ptr().add(first),
                                tape: tape.as_mut_ptr().add(first),
                                kh: 2,
                                kw: 2,
                                relu,
                            },
                            h_pool,
                            w_pool,
                            quarters: (parts > 1).then(|| [0, 1, 2, 3].map(quarter)),
                        };
                        let mut o = 0;
                        while o < conv.c_out {
                            o += V::windows(&windows, o, conv.c_out - o, i);
                        }
                    }
                }
            }
        }
    }

    /// The plain convolution of single samples is the faster one; its planes are pooled in scratch.
    #[inline(always)]
    fn of_planes<V: Vector<Elem = T>>(self) {
        let Self { chain: ConvPool2d { conv, pool, relu }, block, w, b, x, y, tape, scratch } = self;
        let (planes, rest) = scratch.split_at_mut(block.len(conv.outputs()) + OVERHANG);
        conv.forward(block, w, b, x, &mut planes[..block.len(conv.outputs())], rest);
        let [kh, kw] = pool.window;
        let to = Pooled { y: y.as_mut_ptr(), tape: tape.as_mut_ptr(), kh, kw, relu };
        // SAFETY: forward checked every length against the geometry; planes have an overhang of two vectors.
        unsafe {
            to.planes::<V>(&pool, block.samples() * conv.c_out, planes.as_ptr(), conv.h_out(), conv.w_out())
        };
    }

    /// The same of planes as one long row each.
    #[inline(always)]
    fn of_flat_planes<V: Vector<Elem = T>>(self) {
        let Self { chain: ConvPool2d { conv, pool, relu }, w, b, x, y, tape, scratch, .. } = self;
        let ([kh, kw], flat) = (pool.window, Flat::new(&conv.forward_plan()));
        let (planes, source) = scratch.split_at_mut(flat.targets_len() + OVERHANG);
        let b = b.map_or(std::ptr::null(), |b| b.as_ptr());
        let samples = y.chunks_exact_mut(pool.outputs()).zip(tape.chunks_exact_mut(pool.outputs()));
        for (x, (y, tape)) in x.chunks_exact(conv.inputs()).zip(samples) {
            let to = Pooled { y: y.as_mut_ptr(), tape: tape.as_mut_ptr(), kh, kw, relu };
            // SAFETY: forward checked every length against the geometry; planes have an overhang of two vectors.
            unsafe {
                flat.run_flat::<V>(w.as_ptr(), b, x, planes, source);
                to.planes::<V>(&pool, conv.c_out, planes.as_ptr(), conv.h_out(), flat.pitch);
            }
        }
    }

    #[inline(always)]
    fn by_rows<V: Vector<Elem = T>>(self) {
        let Self { chain: ConvPool2d { conv, pool, relu }, block, w, b, x, y, tape, scratch } = self;
        let plan = conv.forward_plan();
        let [kh, kw] = pool.window;
        let (h_pool, w_pool) = (pool.h_out(), pool.w_out());
        let tiled = block.lanes() == LANES;
        for t in 0..block.tiles() {
            let x = x[t * conv.inputs() * block.lanes()..].as_ptr();
            let y = y[t * pool.outputs() * block.lanes()..].as_mut_ptr();
            let tape = tape[t * pool.outputs() * block.lanes()..].as_mut_ptr();
            let to = Pooled { y, tape, kh, kw, relu };
            let live = if tiled { block.live(t) } else { 1 };
            for i in 0..h_pool {
                let mut lane = 0;
                while lane < live {
                    for c in (0..conv.c_out).step_by(CHANNELS) {
                        let plan = Correlation { groups: CHANNELS.min(conv.c_out - c), ..plan };
                        let place = |g: usize| ((c + g) * h_pool + i) * w_pool;
                        // SAFETY: forward checked every length against the geometry; c is a channel, i a row of windows.
                        unsafe {
                            let w = w.as_ptr().offset(c as isize * plan.w_group);
                            let b = b.map_or(std::ptr::null(), |b| b.as_ptr().add(c));
                            let rows = scratch.as_mut_ptr();
                            if tiled {
                                let row = conv.w_out() * LANES;
                                let lay = Lay::tiled(plan.source);
                                convolve::<V>(&plan, lay, i * kh, kh, row, w, b, x.add(lane), rows);
                                for g in 0..plan.groups {
                                    for j in 0..w_pool {
                                        let rows = rows.add(g * kh * row + j * kw * LANES);
                                        to.window::<V>(rows, row, LANES, (place(g) + j) * LANES + lane);
                                    }
                                }
                            } else {
                                let row = conv.w_out();
                                let lay = Lay::single(plan.source);
                                convolve::<V::One>(&plan, lay, i * kh, kh, row, w, b, x, rows);
                                for g in 0..plan.groups {
                                    for j in 0..w_pool {
                                        let rows = rows.add(g * kh * row + j * kw);
                                        to.window::<V::One>(rows, row, 1, place(g) + j);
                                    }
                                }
                            }
                        }
                    }
                    lane += V::LANES;
                }
            }
        }
    }
}

/// Windows of 2 x 2 of a convolution of stride 1 without padding: the four places of a vector of windows are four sums in
/// registers, for one or more channels at a time.
///
/// A vector is the lanes of one window of a tile, or of a [folded](crate::conv::fold) one of two, or neighbouring windows of one sample.
/// Then the four are two rows of two vectors of neighbouring pixels, even and odd ones to be parted.
pub(crate) struct Windows<'a, T> {
    conv: &'a Conv2d,
    w: *const T,
    b: *const T,
    x: *const T,
    lanes: usize,
    to: Pooled<T>,
    h_pool: usize,
    w_pool: usize,
    /// Where the tile is folded, the places of the quarters of a vector, from that of the first on: of those that belong to no row too,
    /// which the first one then overwrites.
    quarters: Option<[usize; 4]>,
}

impl<T: Scalar> Windows<'_, T> {
    /// Row `i` of the windows of `R` channels from `o` on; returns `R`.
    ///
    /// # Safety
    /// The channels and the row must exist.
    #[inline(always)]
    pub(crate) unsafe fn row<V: Vector<Elem = T>, const R: usize>(&self, o: usize, i: usize) -> usize {
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
        let step = if self.lanes == LANES { 1 } else { V::LANES };
        let mut j = 0;
        while j < self.w_pool {
            // The last vector begins early enough to end in time, and pools some windows twice.
            // SAFETY: the caller vouches for channels and row; a row has at least `step` windows.
            unsafe { self.at::<V, R, N>(o, i, j.min(self.w_pool - step)) };
            j += step;
        }
    }

    /// The vector of windows that begins with window `j` of row `i`, for `R` channels from `o` on.
    ///
    /// # Safety
    /// Channels and windows must exist; of `N` as [`vectors`](Self::vectors).
    #[inline(always)]
    unsafe fn at<V: Vector<Elem = T>, const R: usize, const N: usize>(&self, o: usize, i: usize, j: usize) {
        let Self { conv, w, b, x, lanes, ref to, h_pool, w_pool, .. } = *self;
        let [kh, kw] = conv.kernel;
        let taps = conv.taps();
        let pitch = conv.w_in * lanes;
        let across = if lanes == LANES { LANES } else { V::LANES };
        let zero = V::splat(T::ZERO);
        let mut acc = [[zero; 4]; R];
        // SAFETY: every tap of every place of a window lies in its plane, since there is no padding.
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
            for r in 0..R {
                let [a, b, c, d] = acc[r];
                let four = if lanes == LANES {
                    [a, b, c, d]
                } else {
                    let ((a, b), (c, d)) = (V::unzip(a, b), V::unzip(c, d));
                    [a, b, c, d]
                };
                let (best, place) = to.best_of_four(four);
                let at = (((o + r) * h_pool + i) * w_pool + j) * lanes;
                match self.quarters {
                    None => {
                        best.store(to.y.add(at));
                        place.store(to.tape.add(at));
                    }
                    Some(quarters) => {
                        let [a, b, c, d] = quarters;
                        let four =
                            |to: *mut T| [to.add(at + a), to.add(at + b), to.add(at + c), to.add(at + d)];
                        best.store_quarters(four(to.y));
                        place.store_quarters(four(to.tape));
                    }
                }
            }
        }
    }
}

/// Computes rows `first..first + count` of the plan's groups into `rows`, `[group][row][pitch]`; one vector of lanes.
///
/// # Safety
/// As [`correlate`](crate::conv::correlation::correlate); `rows` must hold them all.
#[inline(always)]
unsafe fn convolve<V: Vector>(
    plan: &Correlation,
    lay: Lay,
    first: usize,
    count: usize,
    pitch: usize,
    w: *const V::Elem,
    b: *const V::Elem,
    x: *const V::Elem,
    rows: *mut V::Elem,
) {
    let prepared = Rows::new::<V>(plan, lay, 1);
    for r in 0..count {
        // SAFETY: the caller vouches for the rows.
        unsafe {
            let to = Targets { y: rows.add(r * pitch), plane: count * pitch, step: lay.lanes };
            prepared.run::<V>(first + r, w, b, x, to);
        }
    }
}

/// Where pooled numbers go.
struct Pooled<T> {
    y: *mut T,
    tape: *mut T,
    kh: usize,
    kw: usize,
    relu: bool,
}

impl<T: Scalar> Pooled<T> {
    /// Pools the window whose rows begin `pitch` apart and whose columns are `step` apart, into place `at`.
    ///
    /// # Safety
    /// The window and the place must exist.
    #[inline(always)]
    unsafe fn window<V: Vector<Elem = T>>(&self, rows: *const T, pitch: usize, step: usize, at: usize) {
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
    fn best_of_four<V: Vector<Elem = T>>(&self, [a, b, c, d]: [V; 4]) -> (V, V) {
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
    unsafe fn planes<V: Vector<Elem = T>>(
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
