//! Convolution, then ReLU or not, then max-pooling, in one pass: an exact rewrite of the three kernels one after the other.
//!
//! A row of windows needs a few rows of the convolution. They are computed into scratch that fits the first cache, pooled at
//! once, and never written to memory. Backward, the gradient is spread over the same few rows and used at once: only its
//! places on the tape are kept. Every sum is taken in the order of the plain chain, so the results have its bits.

use crate::conv::correlation::{Correlation, Lay, Padded, Rows, Targets, correlate};
use crate::conv::gradient::{Gradient, add_sums, gradient};
use crate::error::checked_product;
use crate::simd::{Kernel, Vector, sum16};
use crate::{Block, Conv2d, GeometryError, LANES, Pool2d, Scalar};

/// Channels convolved before they are pooled: two rows of eight channels fit half of the first cache.
const CHANNELS: usize = 8;

/// `y = max_pool(relu(conv(x, w) + b))`, or without the ReLU: the geometry, and the kernels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConvPool2d {
    conv: Conv2d,
    pool: Pool2d,
    relu: bool,
}

impl ConvPool2d {
    /// Pooling of `conv`'s output by windows that do not overlap.
    ///
    /// # Errors
    /// As [`Pool2d::new`].
    pub fn new(conv: Conv2d, window: [usize; 2], relu: bool) -> Result<Self, GeometryError> {
        let pool = Pool2d::new([conv.c_out, conv.h_out(), conv.w_out()], window, window)?;
        checked_product("conv and pool", "a window", &window)?;
        Ok(Self { conv, pool, relu })
    }

    /// The convolution.
    pub fn conv(&self) -> &Conv2d {
        &self.conv
    }

    /// The pooling.
    pub fn pool(&self) -> &Pool2d {
        &self.pool
    }

    /// Length of the tape: the place of each maximum.
    pub fn tape_len(&self, block: Block) -> usize {
        block.len(self.pool.outputs())
    }

    /// Scratch that either pass may use. The backward pass needs more where the input gradient is wanted.
    pub fn scratch_len(&self, block: Block) -> usize {
        let conv = &self.conv;
        let window_row = conv.c_out * self.pool.window[0] * Padded::pitch(conv.w_out(), 1);
        if block.lanes() == LANES {
            let plane = conv.outputs() * LANES;
            return conv.scratch_len(block) + conv.c_out * LANES + plane.max(window_row * LANES);
        }
        conv.scratch_len(block) + conv.outputs().max(window_row)
    }

    /// Forward. Overwrites `y` and `tape`, which receives the place of the first maximum in its window,
    /// `u * window_columns + v`, or the window's size where a ReLU lets nothing through.
    ///
    /// # Panics
    /// If a slice has not the length its shape says.
    #[track_caller]
    pub fn forward<T: Scalar>(
        &self,
        block: Block,
        w: &[T],
        b: Option<&[T]>,
        x: &[T],
        y: &mut [T],
        tape: &mut [T],
        scratch: &mut [T],
    ) {
        self.check(block, w.len(), x.len(), y.len(), tape.len(), scratch.len());
        assert!(b.is_none_or(|b| b.len() == self.conv.c_out), "conv and pool: length of the bias");
        T::conv_pool_forward(Forward { chain: *self, block, w, b, x, y, tape, scratch });
    }

    /// Backward. Adds to `dw` and `db`, overwrites `dx` where it is wanted.
    ///
    /// # Panics
    /// If a slice has not the length its shape says.
    #[track_caller]
    pub fn backward<T: Scalar>(
        &self,
        block: Block,
        w: &[T],
        x: &[T],
        tape: &[T],
        dy: &[T],
        dx: Option<&mut [T]>,
        dw: &mut [T],
        db: Option<&mut [T]>,
        scratch: &mut [T],
    ) {
        self.check(block, w.len(), x.len(), dy.len(), tape.len(), scratch.len());
        assert_eq!(dw.len(), w.len(), "conv and pool: length of dw");
        assert!(dx.as_ref().is_none_or(|dx| dx.len() == x.len()), "conv and pool: length of dx");
        assert!(db.as_ref().is_none_or(|db| db.len() == self.conv.c_out), "conv and pool: length of db");
        if block.lanes() == LANES {
            T::conv_pool_backward(Backward { chain: *self, block, w, x, tape, dy, dx, dw, db, scratch });
        } else {
            self.backward_single(block, w, x, tape, dy, dx, dw, db, scratch);
        }
    }

    /// One sample after the other: the gradient is spread over its plane, then the plain kernels run.
    fn backward_single<T: Scalar>(
        &self,
        block: Block,
        w: &[T],
        x: &[T],
        tape: &[T],
        dy: &[T],
        mut dx: Option<&mut [T]>,
        dw: &mut [T],
        mut db: Option<&mut [T]>,
        scratch: &mut [T],
    ) {
        let (inputs, outputs) = (self.conv.inputs(), self.pool.outputs());
        let (plane, scratch) = scratch.split_at_mut(self.conv.outputs());
        let one = Block::single(1);
        for s in 0..block.samples() {
            let x = &x[s * inputs..][..inputs];
            let sample = s * outputs..(s + 1) * outputs;
            self.pool.max_backward(one, &dy[sample.clone()], &tape[sample], plane);
            self.conv.backward_params(one, x, plane, dw, db.as_deref_mut(), scratch);
            if let Some(dx) = &mut dx {
                self.conv.backward_input(one, w, plane, &mut dx[s * inputs..][..inputs], scratch);
            }
        }
    }

    #[track_caller]
    fn check(&self, block: Block, w: usize, x: usize, y: usize, tape: usize, scratch: usize) {
        assert_eq!(w, self.conv.weight_len(), "conv and pool: length of the weight");
        assert_eq!(x, block.len(self.conv.inputs()), "conv and pool: length of x for {block:?}");
        assert_eq!(y, block.len(self.pool.outputs()), "conv and pool: length of y or dy for {block:?}");
        assert_eq!(tape, y, "conv and pool: length of the tape");
        assert!(scratch >= self.scratch_len(block), "conv and pool: scratch of {scratch} is too short");
    }
}

pub(crate) struct Forward<'a, T> {
    chain: ConvPool2d,
    block: Block,
    w: &'a [T],
    b: Option<&'a [T]>,
    x: &'a [T],
    y: &'a mut [T],
    tape: &'a mut [T],
    scratch: &'a mut [T],
}

impl<T: Scalar> Kernel<T> for Forward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Elem = T>>(self) {
        let Self { chain: ConvPool2d { conv, pool, relu }, block, w, b, x, y, tape, scratch } = self;
        let plan = conv.forward_plan();
        let [kh, kw] = pool.window;
        let (h_pool, w_pool) = (pool.h_out(), pool.w_out());
        let tiled = block.lanes() == LANES;
        // Of one sample, a vector is neighbouring pixels: stride 1 only. Otherwise one number after the other.
        let in_rows = !tiled && conv.stride[1] == 1;
        let pitch = Padded::pitch(conv.w_in, conv.kernel[1]);
        for t in 0..block.tiles() {
            let (x, x_scratch, rest) = if in_rows {
                let (copy, rest) = scratch.split_at_mut(conv.c_in * conv.h_in * pitch);
                let x = &x[t * conv.inputs()..][..conv.inputs()];
                Padded::copy(x, conv.w_in, conv.pad[1], conv.kernel[1], copy);
                (copy.as_ptr(), true, rest)
            } else {
                (x[t * conv.inputs() * block.lanes()..].as_ptr(), false, &mut *scratch)
            };
            let y = y[t * pool.outputs() * block.lanes()..].as_mut_ptr();
            let tape = tape[t * pool.outputs() * block.lanes()..].as_mut_ptr();
            let plan = if x_scratch {
                let left = conv.pad[1] as isize;
                Correlation {
                    offset: [plan.offset[0], plan.offset[1] + left],
                    source: [conv.h_in, pitch],
                    ..plan
                }
            } else {
                plan
            };
            let to = Pooled { y, tape, kh, kw, relu };
            let live = if tiled { block.live(t) } else { 1 };
            for i in 0..h_pool {
                let mut lane = 0;
                while lane < live {
                    for c in (0..conv.c_out).step_by(CHANNELS) {
                        let plan = Correlation { groups: CHANNELS.min(conv.c_out - c), ..plan };
                        // SAFETY: forward checked every length against the geometry; c is a channel, i a row of windows.
                        unsafe {
                            let w = w.as_ptr().offset(c as isize * plan.w_group);
                            let b = b.map_or(std::ptr::null(), |b| b.as_ptr().add(c));
                            let out = (c * h_pool + i) * w_pool;
                            if tiled {
                                let lay = Lay::tiled(conv.w_in);
                                let row = conv.w_out() * LANES;
                                convolve::<V>(
                                    &plan,
                                    lay,
                                    i * kh,
                                    kh,
                                    row,
                                    w,
                                    b,
                                    x.add(lane),
                                    rest.as_mut_ptr(),
                                );
                                for g in 0..plan.groups {
                                    let rows = rest.as_ptr().add(g * kh * row);
                                    for j in 0..w_pool {
                                        let at = (out + g * h_pool * w_pool + j) * LANES + lane;
                                        to.window::<V>(rows.add(j * kw * LANES), row, LANES, at);
                                    }
                                }
                            } else if in_rows {
                                let lay = Lay { pixel: V::LANES, tap: 1, pitch, unit: V::LANES, lanes: 1 };
                                let row = Padded::pitch(conv.w_out(), 1);
                                convolve::<V>(&plan, lay, i * kh, kh, row, w, b, x, rest.as_mut_ptr());
                                for g in 0..plan.groups {
                                    let rows = rest.as_ptr().add(g * kh * row);
                                    to.row::<V>(rows, row, w_pool, out + g * h_pool * w_pool);
                                }
                            } else {
                                let lay = Lay { pixel: 1, tap: 1, pitch: conv.w_in, unit: 1, lanes: 1 };
                                let row = conv.w_out();
                                convolve::<V::One>(&plan, lay, i * kh, kh, row, w, b, x, rest.as_mut_ptr());
                                for g in 0..plan.groups {
                                    let rows = rest.as_ptr().add(g * kh * row);
                                    for j in 0..w_pool {
                                        to.window::<V::One>(
                                            rows.add(j * kw),
                                            row,
                                            1,
                                            out + g * h_pool * w_pool + j,
                                        );
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

/// Computes rows `first..first + count` of the plan's groups into `rows`, `[group][row][pitch]`; one vector of lanes.
///
/// # Safety
/// As [`correlate`]; `rows` must hold them all.
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
    let prepared = Rows::new::<V>(plan, lay);
    for r in 0..count {
        // SAFETY: the caller vouches for the rows. Whole vectors are written: the pitch leaves room for them.
        unsafe {
            let to = Targets {
                y: rows.add(r * pitch),
                plane: count * pitch,
                step: lay.unit * lay.lanes,
                end: if lay.unit == 1 { plan.target[1] } else { pitch },
            };
            prepared.run::<V>(first + r, w, b, x, to, 1);
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
            let (best, place) = self.rectified(best, place, here);
            best.store(self.y.add(at));
            place.store(self.tape.add(at));
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
                let (mut best, mut place) = (a, V::splat(T::ZERO));
                let mut here = T::ZERO;
                for candidate in [a, b, c, d] {
                    better::<V>(candidate, here, &mut best, &mut place);
                    here += T::ONE;
                }
                let (best, place) = self.rectified(best, place, here);
                let n = V::LANES.min(count - j);
                best.store_first(self.y.add(at + j), n);
                place.store_first(self.tape.add(at + j), n);
                j += V::LANES;
            }
        }
    }

    /// The ReLU, if there is one: where it lets nothing through, the place is `none`.
    #[inline(always)]
    fn rectified<V: Vector<Elem = T>>(&self, best: V, place: V, none: T) -> (V, V) {
        if !self.relu {
            return (best, place);
        }
        let zero = V::splat(T::ZERO);
        let open = V::or(best.gt(zero), best.is_nan());
        (V::select(open, best, zero), V::select(open, place, V::splat(none)))
    }
}

/// Takes the candidate if it is larger, or NaN.
#[inline(always)]
fn better<V: Vector>(candidate: V, here: V::Elem, best: &mut V, place: &mut V) {
    let take = V::or(candidate.gt(*best), candidate.is_nan());
    *best = V::select(take, candidate, *best);
    *place = V::select(take, V::splat(here), *place);
}

pub(crate) struct Backward<'a, T> {
    chain: ConvPool2d,
    block: Block,
    w: &'a [T],
    x: &'a [T],
    tape: &'a [T],
    dy: &'a [T],
    dx: Option<&'a mut [T]>,
    dw: &'a mut [T],
    db: Option<&'a mut [T]>,
    scratch: &'a mut [T],
}

impl<T: Scalar> Kernel<T> for Backward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Elem = T>>(self) {
        let Self { chain: ConvPool2d { conv, pool, .. }, block, w, x, tape, dy, mut dx, dw, db, scratch } =
            self;
        let [kh, kw] = pool.window;
        let (h_pool, w_pool) = (pool.h_out(), pool.w_out());
        // What the windows cover; the rest has no gradient.
        let columns = w_pool * kw;
        let (sums, rest) = scratch.split_at_mut(conv.weight_len() * LANES);
        let (bias_sums, spread) = rest.split_at_mut(conv.c_out * LANES);
        sums.fill(T::ZERO);
        bias_sums.fill(T::ZERO);
        // The input gradient looks at neighbouring rows: all of them at once. Otherwise few, while they are in the cache.
        let at_once = Gradient::tiled(conv, 0, columns).rows_at_once();
        let window_rows = if dx.is_some() { h_pool } else { (at_once / kh).clamp(1, h_pool) };
        for t in 0..block.tiles() {
            let x = x[t * conv.inputs() * LANES..].as_ptr();
            let (tape, dy) = (&tape[t * pool.outputs() * LANES..], &dy[t * pool.outputs() * LANES..]);
            for first in (0..h_pool).step_by(window_rows) {
                let count = window_rows.min(h_pool - first);
                let plan = Gradient::tiled(conv, count * kh, columns);
                // SAFETY: backward checked every length against the geometry; scratch holds the rows.
                unsafe {
                    let mut lane = 0;
                    while lane < block.live(t) {
                        let (tape, dy) = (tape.as_ptr().add(lane), dy.as_ptr().add(lane));
                        spread_rows::<V>(&pool, first, count, tape, dy, spread.as_mut_ptr().add(lane));
                        let (x, d) = (x.add(lane), spread.as_ptr().add(lane));
                        let rows = first * kh..(first + count) * kh;
                        gradient::<V>(&plan, rows, x, d, sums.as_mut_ptr().add(lane));
                        if db.is_some() {
                            add_rows::<V>(
                                conv.c_out,
                                count * kh * columns,
                                d,
                                bias_sums.as_mut_ptr().add(lane),
                            );
                        }
                        lane += V::LANES;
                    }
                }
            }
            if let Some(dx) = &mut dx {
                let dx = dx[t * conv.inputs() * LANES..].as_mut_ptr();
                for plan in conv.input_gradient_plans() {
                    let plan = Correlation { source: [h_pool * kh, columns], ..plan };
                    // SAFETY: as above; the source is what the windows cover.
                    unsafe {
                        let none = std::ptr::null();
                        let lay = Lay::tiled(columns);
                        correlate::<V>(&plan, lay, w.as_ptr(), none, spread.as_ptr(), dx, block.live(t));
                    }
                }
            }
        }
        add_sums::<V>(sums, dw);
        if let Some(db) = db {
            for (db, sums) in db.iter_mut().zip(bias_sums.chunks_exact(LANES)) {
                // SAFETY: a row holds 16 numbers.
                *db += unsafe { sum16(sums.as_ptr()) };
            }
        }
    }
}

/// The gradient of `count` rows of windows from `first` on, spread to the places on the tape: `[channel][row][column][16]`;
/// one vector of lanes.
///
/// # Safety
/// All rows must exist.
#[inline(always)]
unsafe fn spread_rows<V: Vector>(
    pool: &Pool2d,
    first: usize,
    count: usize,
    tape: *const V::Elem,
    dy: *const V::Elem,
    to: *mut V::Elem,
) {
    let [kh, kw] = pool.window;
    let (h_pool, w_pool) = (pool.h_out(), pool.w_out());
    let zero = V::splat(V::Elem::ZERO);
    for c in 0..pool.c {
        for i in 0..count {
            for j in 0..w_pool {
                // SAFETY: the caller vouches for the rows.
                unsafe {
                    let from = ((c * h_pool + first + i) * w_pool + j) * LANES;
                    let (d, place) = (V::load(dy.add(from)), V::load(tape.add(from)));
                    let mut here = V::Elem::ZERO;
                    for u in 0..kh {
                        let row = to.add((((c * count + i) * kh + u) * w_pool + j) * kw * LANES);
                        for v in 0..kw {
                            V::select(place.eq(V::splat(here)), d, zero).store(row.add(v * LANES));
                            here += V::Elem::ONE;
                        }
                    }
                }
            }
        }
    }
}

/// `sums[channel][lane] += ` the sum of the channel's pixels, in order; one vector of lanes, eight channels side by side.
///
/// # Safety
/// `d` must hold `pixels` rows of lanes for each channel, `sums` one.
#[inline(always)]
unsafe fn add_rows<V: Vector>(channels: usize, pixels: usize, d: *const V::Elem, sums: *mut V::Elem) {
    const AT_ONCE: usize = 8;
    let mut c = 0;
    while c < channels {
        let count = AT_ONCE.min(channels - c);
        let mut acc = [V::splat(V::Elem::ZERO); AT_ONCE];
        // SAFETY: the caller vouches for channels and pixels; of a short last group the last channel is read again.
        unsafe {
            for k in 0..count {
                acc[k] = V::load(sums.add((c + k) * LANES));
            }
            for p in 0..pixels {
                for k in 0..AT_ONCE {
                    let channel = c + k.min(count - 1);
                    acc[k] = acc[k].add(V::load(d.add((channel * pixels + p) * LANES)));
                }
            }
            for k in 0..count {
                acc[k].store(sums.add((c + k) * LANES));
            }
        }
        c += count;
    }
}
