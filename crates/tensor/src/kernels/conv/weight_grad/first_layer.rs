//! The parameter gradient of a first layer: few input channels, stride 1, no padding. Pixels come in squares of 2x2.
//!
//! Every sum takes the squares in order, row after row, and of each its pixels in order. A max-pooling that follows leaves one
//! pixel of its square a gradient, in each lane another one: then the pixel of `x` that belongs to it is selected, and
//! a square costs the multiply-adds of one pixel instead of four.
//!
//! A vector is sixteen samples of one pixel, or of one sample sixteen output channels: then pixels of `x` are numbers for all lanes.

use super::gradient::Gradient;
use crate::blocking::{best_shape, cover, opaque, operand};
use crate::geometry::Conv2d;
use crate::layout::LANES;
use crate::number::Number;
use crate::simd::{MicroKernel, Vector};
use std::ops::Range;

/// Input channels at most: what is selected is selected again for each.
const MAX_CHANNELS_IN: usize = 3;

/// Pixels of `x`, sixteen lanes each, that three quarters of the first cache hold.
const L1_PIXELS: usize = 384;

/// Rows and columns of taps at most whose sums are in registers at once: a larger kernel takes several blocks.
const LARGEST_BLOCK: (usize, usize) = (5, 5);

/// Whether the parameter gradient is taken in squares.
pub(crate) fn suits(conv: &Conv2d) -> bool {
    conv.c_in <= MAX_CHANNELS_IN && conv.stride == [1, 1] && conv.pad == [0, 0]
}

/// Which square, of which channel (or sixteen), and the lane that its vector begins with.
#[derive(Clone, Copy)]
pub(crate) struct Square {
    o: usize,
    i: usize,
    j: usize,
    lane: usize,
}

/// The gradient of the outputs of one tile.
pub(crate) trait Squares<T> {
    /// Rows and columns of squares, from that of output pixel (0, 0) on.
    fn size(&self) -> [usize; 2];

    /// Adds the products of a square, and its gradient to that of the bias. Tap (0, 0) of its first pixel reads `x`, whose rows
    /// begin `pitch` apart; `TILED` tells vectors from numbers for all lanes.
    ///
    /// # Safety
    /// The square must exist, and `R` x `C` taps of each of its pixels lie in `x`.
    unsafe fn add<V: Vector<Elem = T>, const R: usize, const C: usize, const TILED: bool>(
        &self,
        square: Square,
        x: *const T,
        pitch: usize,
        acc: &mut [[V; C]; R],
        bias: &mut V,
    );
}

/// Numbers from one pixel of `x` to the next.
const fn pixel(tiled: bool) -> usize {
    if tiled { LANES } else { 1 }
}

/// Adds the gradients of the `live` lanes of one tile to `sums[o][c][u][v][16]` and `bias_sums[o][16]`; or, not `TILED`, those of one
/// sample and `live` of sixteen output channels to `sums[c][u][v][16]` and `bias_sums[16]`.
///
/// # Safety
/// `conv` must [suit](suits); the pointers must be valid for all that its geometry names, and the squares lie in its output.
#[inline(always)]
pub(crate) unsafe fn gradient<V: Vector, S: Squares<V::Elem>, const TILED: bool>(
    conv: &Conv2d,
    live: usize,
    x: *const V::Elem,
    from: &S,
    sums: *mut V::Elem,
    bias_sums: *mut V::Elem,
) {
    let [kh, kw] = conv.kernel;
    let (most_rows, most_columns) = LARGEST_BLOCK;
    let shape = best_shape::<V>(kh.min(most_rows), kw.min(most_columns));
    let [rows, _] = from.size();
    // As many rows of squares as leave what they see of x in the first cache while all channels pass.
    let fits = |rows: &usize| !TILED || (2 * rows - 1 + kh) * conv.w_in * conv.c_in <= L1_PIXELS;
    let at_once = (1..=rows).take_while(fits).last().unwrap_or(1);
    for first in (0..rows).step_by(at_once) {
        for o in 0..if TILED { conv.c_out } else { 1 } {
            // All lanes of a channel, which share cache lines, before the next.
            for lane in (0..live).step_by(V::LANES) {
                for c in 0..conv.c_in {
                    let rows = first..(first + at_once).min(rows);
                    let taps = SquareTaps::<_, _, TILED> { conv, from, rows, x, sums, bias_sums, lane, o, c };
                    // SAFETY: the caller vouches for the pointers; the shape fits the kernel.
                    unsafe { cover::<V>(&taps, [shape; 2], kh, (0, kw)) };
                }
            }
        }
    }
}

/// The kernel of output channel `o` and input channel `c`, over some rows of squares: blocks of its rows x its columns.
struct SquareTaps<'a, T, S, const TILED: bool> {
    conv: &'a Conv2d,
    from: &'a S,
    rows: Range<usize>,
    x: *const T,
    sums: *mut T,
    bias_sums: *mut T,
    lane: usize,
    o: usize,
    c: usize,
}

impl<T: Number, S: Squares<T>, const TILED: bool> MicroKernel<T> for SquareTaps<'_, T, S, TILED> {
    const LARGEST: (usize, usize) = LARGEST_BLOCK;

    #[inline(always)]
    unsafe fn block<V: Vector<Elem = T>, const R: usize, const C: usize>(
        &self,
        u: usize,
        v: usize,
        fresh: (usize, usize),
    ) {
        let Self { conv, from, ref rows, x, sums, bias_sums, lane, o, c } = *self;
        let [kh, kw] = conv.kernel;
        let pitch = conv.w_in * const { pixel(TILED) };
        let [_, columns] = from.size();
        let mut acc = [[V::splat(V::Elem::ZERO); C]; R];
        // SAFETY: the caller vouches for taps and rows; without padding every tap of every output pixel lies in x.
        unsafe {
            let sums = sums.add((o * conv.taps() + (c * kh + u) * kw + v) * LANES + lane);
            let bias_sums = bias_sums.add(o * LANES + lane);
            let at = |r: usize, k: usize| (r * kw + k) * LANES;
            for r in 0..R {
                for k in 0..C {
                    acc[r][k] = V::load(sums.add(at(r, k)));
                }
            }
            let mut bias = V::load(bias_sums);
            for i in rows.clone() {
                let mut x = x.add((c * conv.h_in + 2 * i + u) * pitch + v * const { pixel(TILED) });
                if TILED {
                    x = x.add(lane);
                }
                for j in 0..columns {
                    from.add::<V, R, C, TILED>(Square { o, i, j, lane }, x, pitch, &mut acc, &mut bias);
                    x = x.add(2 * const { pixel(TILED) });
                }
            }
            for r in 0..R {
                for k in 0..C {
                    if u + r >= fresh.0 && v + k >= fresh.1 {
                        acc[r][k].store(sums.add(at(r, k)));
                    }
                }
            }
            if c == 0 && u == 0 && v == 0 {
                bias.store(bias_sums);
            }
        }
    }
}

/// Pixels that all may have a gradient.
impl<T: Number> Squares<T> for Gradient<'_, T> {
    #[inline(always)]
    fn size(&self) -> [usize; 2] {
        [self.rows.div_ceil(2), self.columns.div_ceil(2)]
    }

    #[inline(always)]
    unsafe fn add<V: Vector<Elem = T>, const R: usize, const C: usize, const TILED: bool>(
        &self,
        Square { o, i, j, lane }: Square,
        x: *const T,
        pitch: usize,
        acc: &mut [[V; C]; R],
        bias: &mut V,
    ) {
        // Of a last row or column that is odd a square has a part.
        let (rows, columns) = (2.min(self.rows - 2 * i), 2.min(self.columns - 2 * j));
        let first = o * self.plane + (2 * i * self.columns + 2 * j) * LANES + lane;
        for p in 0..2 {
            for q in 0..2 {
                if p >= rows || q >= columns {
                    continue;
                }
                // SAFETY: the caller vouches for the square and its taps.
                unsafe {
                    let d = V::load(self.dy.as_ptr().add(first + (p * self.columns + q) * LANES));
                    // Pixels share taps, which in registers would push out sums: each loads its own.
                    let [x] = opaque::<_, 1, 1>([x.add(p * pitch + q * const { pixel(TILED) })]);
                    *bias = bias.add(d);
                    for r in 0..R {
                        for k in 0..C {
                            let x = operand::<V, TILED>(x.add(r * pitch + k * const { pixel(TILED) }));
                            acc[r][k] = x.mul_add(d, acc[r][k]);
                        }
                    }
                }
            }
        }
    }
}

/// The windows of a max-pooling by 2x2: of each the gradient of its maximum, and the place of that, from 0 to 3 in row order; 4 if a
/// ReLU lets nothing through.
pub(crate) struct Maxima<'a, T, const FOLDED: bool> {
    pub(crate) dy: Gradient<'a, T>,
    /// Laid out like it.
    pub(crate) tape: &'a [T],
    /// In how many bands they are [`FOLDED`](crate::kernels::conv::fold), and the rows of windows of each.
    pub(crate) parts: usize,
    pub(crate) band: usize,
}

impl<T: Number, const FOLDED: bool> Maxima<'_, T, FOLDED> {
    /// The numbers of a square among those of all windows.
    ///
    /// # Safety
    /// It must exist.
    #[inline(always)]
    unsafe fn load<V: Vector<Elem = T>>(&self, from: &[T], Square { o, i, j, lane }: Square) -> V {
        let Gradient { rows, columns, plane, .. } = self.dy;
        // SAFETY: the caller vouches for the square, in bands that have such a row.
        unsafe {
            if !FOLDED {
                return V::load(from.as_ptr().add(o * plane + (i * columns + j) * LANES + lane));
            }
            let none = [T::ZERO; LANES];
            let at = |part: usize| {
                let row = i + part * self.band;
                if row < rows {
                    from.as_ptr().add(o * plane + (row * columns + j) * LANES)
                } else {
                    none.as_ptr()
                }
            };
            match (self.parts, V::LANES) {
                (2, LANES) => V::load_parts([at(0), at(1)]),
                (4, LANES) => V::load_parts([at(0), at(1), at(2), at(3)]),
                (4, 8) => V::load_parts([at(lane / 4), at(lane / 4 + 1)]),
                (4, _) => V::load(at(lane / 4).add(lane % 4)),
                _ => V::load(at(lane / 8).add(lane % 8)),
            }
        }
    }
}

impl<T: Number, const FOLDED: bool> Squares<T> for Maxima<'_, T, FOLDED> {
    #[inline(always)]
    fn size(&self) -> [usize; 2] {
        [self.band, self.dy.columns]
    }

    #[inline(always)]
    unsafe fn add<V: Vector<Elem = T>, const R: usize, const C: usize, const TILED: bool>(
        &self,
        square: Square,
        x: *const T,
        pitch: usize,
        acc: &mut [[V; C]; R],
        bias: &mut V,
    ) {
        let place_of = |place| V::splat(T::from_f64(place));
        let [one, two, three, four] = [place_of(1.0), place_of(2.0), place_of(3.0), place_of(4.0)];
        // SAFETY: the caller vouches for the square and its taps; four pixels have one row and one column more of them.
        unsafe {
            let place = self.load::<V>(self.tape, square);
            let d = self.load::<V>(self.dy.dy, square).keep(four.gt(place));
            let (right, lower) = (V::or(place.eq(one), place.eq(three)), place.ge(two));
            *bias = bias.add(d);
            // All taps are found from one register.
            let [x] = opaque::<_, 1, 1>([x]);
            for k in 0..C {
                let x = x.add(k * const { pixel(TILED) });
                let mut above = either::<V, TILED>(right, x);
                for r in 0..R {
                    let below = either::<V, TILED>(right, x.add((r + 1) * pitch));
                    acc[r][k] = d.mul_add(V::select(lower, below, above), acc[r][k]);
                    above = below;
                }
            }
        }
    }
}

/// The pixel at `x`, or the one to its right where the mask is set.
///
/// # Safety
/// Both must exist.
#[inline(always)]
unsafe fn either<V: Vector, const TILED: bool>(right: V::Mask, x: *const V::Elem) -> V {
    // SAFETY: as the caller vouches.
    unsafe { V::select(right, operand::<V, TILED>(x.add(const { pixel(TILED) })), operand::<V, TILED>(x)) }
}
