//! Max and average pooling over any window and stride, overlapping too.

use crate::error::{MAX_ELEMENTS, check_product};
use crate::geometry::{check_input, check_window, windows};
use crate::simd::{Kernel, Vector};
use crate::{Block, GeometryError, LANES, Scalar};

/// The geometry of 2-D pooling (no padding; what no window covers is left out) and its kernels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pool2d {
    // Kernels rely on what `new` checked: nobody outside can change it.
    pub(crate) c: usize,
    pub(crate) h_in: usize,
    pub(crate) w_in: usize,
    pub(crate) window: [usize; 2],
    pub(crate) stride: [usize; 2],
}

impl Pool2d {
    /// Checks the geometry; `input` is `[channels, rows, columns]`.
    ///
    /// # Errors
    /// A zero size, a window larger than the input, or more than 2^28 numbers.
    pub fn new(input: [usize; 3], window: [usize; 2], stride: [usize; 2]) -> Result<Self, GeometryError> {
        const NAME: &str = "pool";
        check_input(NAME, input)?;
        let [c, h_in, w_in] = input;
        check_product(NAME, "the input", &input, MAX_ELEMENTS)?;
        check_window(NAME, [h_in, w_in], window, stride, [0, 0])?;
        Ok(Self { c, h_in, w_in, window, stride })
    }

    /// Channels.
    pub fn c(&self) -> usize {
        self.c
    }

    /// Input rows.
    pub fn h_in(&self) -> usize {
        self.h_in
    }

    /// Input columns.
    pub fn w_in(&self) -> usize {
        self.w_in
    }

    /// Window rows and columns.
    pub fn window(&self) -> [usize; 2] {
        self.window
    }

    /// Stride along rows and columns.
    pub fn stride(&self) -> [usize; 2] {
        self.stride
    }

    /// Output rows.
    pub fn h_out(&self) -> usize {
        windows(self.h_in, self.window[0], self.stride[0], 0)
    }

    /// Output columns.
    pub fn w_out(&self) -> usize {
        windows(self.w_in, self.window[1], self.stride[1], 0)
    }

    /// Features of the input.
    pub fn inputs(&self) -> usize {
        self.c * self.h_in * self.w_in
    }

    /// Features of the output.
    pub fn outputs(&self) -> usize {
        self.c * self.h_out() * self.w_out()
    }

    /// `y[c, i, j] = max over u, v of x[c, i * stride + u, j * stride + v]`; NaN if the window holds one. `tape` receives
    /// the place of the **first** maximum (of the last NaN) in row order, `u * window_columns + v`, as a number.
    ///
    /// # Panics
    /// If a slice has not the length its shape says.
    #[track_caller]
    pub fn max_forward<T: Scalar>(&self, block: Block, x: &[T], y: &mut [T], tape: &mut [T]) {
        self.check(block, x.len(), y.len());
        assert_eq!(tape.len(), y.len(), "pool: length of the tape");
        T::max_pool(MaxForward { pool: *self, block, x, y, tape });
    }

    /// `dx[c, i * stride + u, j * stride + v] = sum of dy[c, i, j]` over the windows whose first maximum lies there.
    /// Overwrites `dx`.
    ///
    /// # Panics
    /// If a slice has not the length its shape says.
    #[track_caller]
    pub fn max_backward<T: Scalar>(&self, block: Block, dy: &[T], tape: &[T], dx: &mut [T]) {
        self.check(block, dx.len(), dy.len());
        assert_eq!(tape.len(), dy.len(), "pool: length of the tape");
        T::pool_backward(Spread { pool: *self, block, dy, tape: Some(tape), dx });
    }

    /// `y[c, i, j] = (sum over u, v of x[c, i * stride + u, j * stride + v]) / (window rows * window columns)`.
    ///
    /// # Panics
    /// If a slice has not the length its shape says.
    #[track_caller]
    pub fn avg_forward<T: Scalar>(&self, block: Block, x: &[T], y: &mut [T]) {
        self.check(block, x.len(), y.len());
        T::avg_pool(AvgForward { pool: *self, block, x, y });
    }

    /// `dx[c, p, q] = (sum of dy[c, i, j] over the windows that hold p, q) / (window rows * window columns)`.
    /// Overwrites `dx`.
    ///
    /// # Panics
    /// If a slice has not the length its shape says.
    #[track_caller]
    pub fn avg_backward<T: Scalar>(&self, block: Block, dy: &[T], dx: &mut [T]) {
        self.check(block, dx.len(), dy.len());
        T::pool_backward(Spread { pool: *self, block, dy, tape: None, dx });
    }

    #[track_caller]
    fn check(&self, block: Block, x: usize, y: usize) {
        assert_eq!(x, block.len(self.inputs()), "pool: length of x or dx for {block:?}");
        assert_eq!(y, block.len(self.outputs()), "pool: length of y or dy for {block:?}");
    }

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
    pool: Pool2d,
    block: Block,
    x: &'a [T],
    y: &'a mut [T],
    tape: &'a mut [T],
}

impl<T: Scalar> Kernel<T> for MaxForward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Elem = T>>(self) {
        if self.block.lanes() == LANES { self.windows::<V>() } else { self.windows::<V::One>() }
    }
}

impl<T: Scalar> MaxForward<'_, T> {
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
    pool: Pool2d,
    block: Block,
    x: &'a [T],
    y: &'a mut [T],
}

impl<T: Scalar> Kernel<T> for AvgForward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Elem = T>>(self) {
        if self.block.lanes() == LANES { self.windows::<V>() } else { self.windows::<V::One>() }
    }
}

impl<T: Scalar> AvgForward<'_, T> {
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
pub(crate) struct Spread<'a, T> {
    pool: Pool2d,
    block: Block,
    dy: &'a [T],
    tape: Option<&'a [T]>,
    dx: &'a mut [T],
}

impl<T: Scalar> Kernel<T> for Spread<'_, T> {
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

impl<T: Scalar> Spread<'_, T> {
    /// The maxima of windows of 2x2 of single samples: a vector is neighbouring windows of a row, and their pixels two vectors of each of two
    /// rows.
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
        let apart = pool.stride[0] >= kh && pool.stride[1] >= kw;
        if !apart || pool.inputs() != pool.outputs() * kh * kw {
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
                            let sum = if apart { part } else { V::load(to).add(part) };
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
