//! The kernel of the parameter gradient.

use super::Conv2d;
use super::fold::Bands;
use super::side_by_side::{Plane, channels_side_by_side};
use super::squares;
use crate::block::parts;
use crate::micro::{Tile, add_product, best_shape};
use crate::simd::{Kernel, Vector};
use crate::{Block, LANES, Scalar};
use std::ops::Range;

pub(crate) struct WeightGradient<'a, T> {
    pub(super) conv: Conv2d,
    pub(super) block: Block,
    pub(super) x: &'a [T],
    pub(super) dy: &'a [T],
    pub(super) dw: &'a mut [T],
    pub(super) db: Option<&'a mut [T]>,
    pub(super) scratch: &'a mut [T],
}

impl<T: Scalar> Kernel<T> for WeightGradient<'_, T> {
    type Output = ();

    /// Sixteen partial sums a weight, one a lane (or one a column modulo 16), added up in a fixed tree at the end.
    #[inline(always)]
    fn run<V: Vector<Elem = T>>(self) {
        let Self { conv, block, x, dy, dw, mut db, scratch } = self;
        let (inputs, outputs) = (conv.inputs(), conv.outputs());
        let (h_out, w_out) = (conv.h_out(), conv.w_out());
        if block.lanes() == 1 {
            for (x, dy) in x.chunks_exact(inputs).zip(dy.chunks_exact(outputs)) {
                let plane = Plane { dy, pixels: h_out * w_out };
                // SAFETY: backward_params checked every length against the geometry.
                unsafe { channels_side_by_side::<V>(&conv, x, &plane, dw, db.as_deref_mut(), scratch) };
            }
            return;
        }
        let (sums, rest) = scratch.split_at_mut(conv.weight_len() * LANES);
        let (bias_sums, rest) = rest.split_at_mut(conv.c_out * LANES);
        sums.fill(T::ZERO);
        bias_sums.fill(T::ZERO);
        for t in 0..block.tiles() {
            let x = &x[t * inputs * LANES..][..inputs * LANES];
            let dy = Gradient {
                dy: &dy[t * outputs * LANES..][..outputs * LANES],
                rows: h_out,
                columns: w_out,
                plane: h_out * w_out * LANES,
            };
            // SAFETY: backward_params checked every length against the geometry.
            unsafe {
                of_tile::<V>(&conv, block.live(t), x, dy, sums.as_mut_ptr(), bias_sums.as_mut_ptr(), rest)
            };
        }
        add_sums::<V>(sums, dw);
        match db {
            Some(db) if squares::suits(&conv) => add_sums::<V>(bias_sums, db),
            Some(db) => bias_gradient::<V>(block, conv.c_out, h_out * w_out, dy, db),
            None => {}
        }
    }
}

/// `to[i] += the sum of row i of sums`, rows of sixteen numbers, each in the tree of [`sum16`](Vector::sum16).
#[inline(always)]
pub(crate) fn add_sums<V: Vector>(sums: &[V::Elem], to: &mut [V::Elem]) {
    let mut blocks = sums.chunks_exact(LANES * LANES);
    let mut targets = to.chunks_exact_mut(LANES);
    for (sums, to) in (&mut blocks).zip(&mut targets) {
        let mut own = [V::Elem::ZERO; LANES];
        // SAFETY: there are 16 rows of 16 numbers, and 16 sums.
        unsafe { V::sum_rows(sums.as_ptr(), own.as_mut_ptr()) };
        to.iter_mut().zip(own).for_each(|(to, own)| *to += own);
    }
    for (to, sums) in targets.into_remainder().iter_mut().zip(blocks.remainder().chunks_exact(LANES)) {
        // SAFETY: a row holds 16 numbers.
        *to += unsafe { V::sum16(sums.as_ptr()) };
    }
}

/// The gradient of the bias alone.
pub(crate) struct BiasGradient<'a, T> {
    pub(super) block: Block,
    pub(super) plane: usize,
    pub(super) dy: &'a [T],
    pub(super) db: &'a mut [T],
}

impl<T: Scalar> Kernel<T> for BiasGradient<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Elem = T>>(self) {
        bias_gradient::<V>(self.block, self.db.len(), self.plane, self.dy, self.db);
    }
}

/// `db[o] += sum of dy[o, ..]`, sixteen partial sums and then their tree: of all tiles together, of single samples one by
/// one.
#[inline(always)]
pub(crate) fn bias_gradient<V: Vector>(
    block: Block,
    channels: usize,
    plane: usize,
    dy: &[V::Elem],
    db: &mut [V::Elem],
) {
    let row = plane * block.lanes();
    let (groups, tiles) = if block.lanes() == LANES { (1, block.tiles()) } else { (block.tiles(), 1) };
    for (o, db) in db.iter_mut().enumerate() {
        for group in 0..groups {
            let mut sums = [V::Elem::ZERO; LANES];
            for t in 0..tiles {
                let dy = &dy[((group + t) * channels + o) * row..][..row];
                // Dead lanes may hold anything: they are left out.
                let live = if block.lanes() == LANES { block.live(t) } else { LANES };
                if live == LANES {
                    add_row::<V>(dy, &mut sums);
                } else {
                    for chunk in dy.chunks(LANES) {
                        sums[..live].iter_mut().zip(chunk).for_each(|(sum, &d)| *sum += d);
                    }
                }
            }
            // SAFETY: sums holds 16 numbers.
            *db += unsafe { V::sum16(sums.as_ptr()) };
        }
    }
}

/// Adds a row of numbers to sixteen sums: number `i` to sum `i mod 16`, in order.
#[inline(always)]
pub(crate) fn add_row<V: Vector>(row: &[V::Elem], sums: &mut [V::Elem; LANES]) {
    let (chunks, rest) = row.as_chunks::<LANES>();
    for i in (0..LANES).step_by(V::LANES) {
        // SAFETY: sixteen numbers are a whole number of vectors.
        unsafe {
            let mut sum = V::load(sums.as_ptr().add(i));
            for chunk in chunks {
                sum = sum.add(V::load(chunk.as_ptr().add(i)));
            }
            sum.store(sums.as_mut_ptr().add(i));
        }
    }
    sums.iter_mut().zip(rest).for_each(|(sum, &d)| *sum += d);
}

/// The gradient of the outputs of one tile: `rows` of `columns` pixels, `plane` numbers from one channel to the next.
#[derive(Clone, Copy)]
pub(crate) struct Gradient<'a, T> {
    pub(crate) dy: &'a [T],
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) plane: usize,
}

/// Adds the gradient of the weight of the `live` lanes of one tile to `sums[o][c][u][v][16]`; of a convolution that is taken in
/// [squares] that of the bias to `bias_sums[o][16]` too.
///
/// # Safety
/// `x` must have the length of the geometry, `dy` that which it tells, the sums a row of lanes for each weight and each bias.
#[inline(always)]
pub(crate) unsafe fn of_tile<V: Vector>(
    conv: &Conv2d,
    live: usize,
    x: &[V::Elem],
    dy: Gradient<'_, V::Elem>,
    sums: *mut V::Elem,
    bias_sums: *mut V::Elem,
    scratch: &mut [V::Elem],
) {
    let (in_squares, parts) = (squares::suits(conv), parts(live));
    let (conv, live, x, dy) = if parts > 1 {
        let bands = Bands::of_gradient(conv, parts);
        let (to_x, to_dy) = scratch.split_at_mut(bands.x.len());
        bands.x.run(x, to_x);
        (bands.conv, LANES, &*to_x, bands.dy(dy, to_dy))
    } else {
        (*conv, live, x, dy)
    };
    // SAFETY: as the caller vouches; what is folded has the length of its geometry.
    unsafe {
        if in_squares {
            return squares::gradient::<V, _, true>(&conv, live, x.as_ptr(), &dy, sums, bias_sums);
        }
        let rows = dy.rows_at_once();
        for first in (0..dy.rows).step_by(rows) {
            let rows = first..(first + rows).min(dy.rows);
            V::apart(GradientRows { conv: &conv, dy, rows, live, x: x.as_ptr(), sums });
        }
    }
}

impl<T> Gradient<'_, T> {
    /// Output rows in groups: a row of dy is read once for each input channel and kernel row, so a register tile's share of a
    /// group must stay in the first cache; and long sums cost less.
    fn rows_at_once(&self) -> usize {
        (128 / self.columns).max(1)
    }
}

/// The products of some output rows of the `live` lanes of one tile.
struct GradientRows<'a, T> {
    conv: &'a Conv2d,
    dy: Gradient<'a, T>,
    rows: Range<usize>,
    live: usize,
    x: *const T,
    sums: *mut T,
}

impl<T: Scalar> Kernel<T> for GradientRows<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Elem = T>>(self) {
        let Self { conv, dy, rows, live, x, sums } = self;
        let [kh, kw] = conv.kernel;
        let shape @ (height, width) = best_shape::<V>(conv.c_out, kw);
        for o in (0..conv.c_out).step_by(height) {
            for c in 0..conv.c_in {
                // All lanes of a channel, which share cache lines, before the next.
                for lane in (0..live).step_by(V::LANES) {
                    for u in 0..kh {
                        // SAFETY: as the caller of `of_tile` vouches; the shape fits and begins early enough to end in time.
                        unsafe {
                            let (x, sums) = (x.add(lane), sums.add(lane));
                            let taps = GradientTaps {
                                conv,
                                dy,
                                first: rows.start,
                                end: rows.end,
                                lane,
                                x,
                                sums,
                                c,
                                u,
                            };
                            for v in (0..kw).step_by(width) {
                                V::shape(&taps, shape, o.min(conv.c_out - height), v.min(kw - width), (o, v));
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Row `u` of the kernels of input channel `c`: tiles of output channels x taps.
struct GradientTaps<'a, T> {
    conv: &'a Conv2d,
    dy: Gradient<'a, T>,
    /// Output rows `first..end`.
    first: usize,
    end: usize,
    lane: usize,
    x: *const T,
    sums: *mut T,
    c: usize,
    u: usize,
}

impl<T: Scalar> Tile<T> for GradientTaps<'_, T> {
    /// `R` output channels from `o` x `C` taps from `v`, over all output pixels.
    #[inline(always)]
    unsafe fn at<V: Vector<Elem = T>, const R: usize, const C: usize>(
        &self,
        o: usize,
        v: usize,
        fresh: (usize, usize),
    ) {
        let Self { conv, dy: Gradient { dy, columns, plane, .. }, first, end, lane, x, sums, c, u } = *self;
        let [sh, sw] = conv.stride;
        let pad = [conv.pad[0] as isize, conv.pad[1] as isize];
        let zero = V::splat(V::Elem::ZERO);
        let mut acc = [[zero; C]; R];
        // SAFETY: rows and columns outside x are left out below; the caller vouches for the rest.
        unsafe {
            let first_tap = (c * conv.kernel[0] + u) * conv.kernel[1] + v;
            let sums = sums.add((o * conv.taps() + first_tap) * LANES);
            for r in 0..R {
                for k in 0..C {
                    acc[r][k] = V::load(sums.add((r * conv.taps() + k) * LANES));
                }
            }
            // Columns j whose every tap meets x: 0 <= j * sw + v + k - pad < w_in for all k < C.
            let start = (pad[1] - v as isize).max(0) as usize;
            let room = conv.w_in as isize + pad[1] - (v + C - 1) as isize;
            let outer = if room <= 0 { 0 } else { divide(room as usize - 1, sw) + 1 };
            let outer = outer.min(columns);
            let inner = divide(start + sw - 1, sw).min(outer);
            let shift = v as isize - pad[1];
            for i in first..end {
                let row = (i * sh + u) as isize - pad[0];
                if row < 0 || row >= conv.h_in as isize {
                    continue;
                }
                let x = x.add((c * conv.h_in + row as usize) * conv.w_in * LANES);
                let x = x.wrapping_offset(shift * LANES as isize);
                let dy = dy.as_ptr().add(o * plane + i * columns * LANES + lane);
                // Columns in order, whatever the width of the tile: left edge, inside, right edge.
                for (from, to, edge) in [(0, inner, true), (inner, outer, false), (outer, columns, true)] {
                    let mut from = from;
                    if !edge && sw == 1 && const { C > 1 && R * C + C + 2 <= V::REGISTERS } {
                        while from + AT_ONCE <= to {
                            slide(&mut acc, x.wrapping_add(from * LANES), dy.add(from * LANES), plane);
                            from += AT_ONCE;
                        }
                    }
                    for j in from..to {
                        let (x, dy) = (x.wrapping_add(j * sw * LANES), dy.add(j * LANES));
                        if edge {
                            for k in 0..C {
                                let column = (j * sw) as isize + shift + k as isize;
                                if column >= 0 && column < conv.w_in as isize {
                                    let xk = V::load(x.wrapping_add(k * LANES));
                                    for r in 0..R {
                                        acc[r][k] = V::load(dy.add(r * plane)).mul_add(xk, acc[r][k]);
                                    }
                                }
                            }
                        } else {
                            let (mut outputs, mut taps) = ([dy; R], [x; C]);
                            for r in 0..R {
                                outputs[r] = dy.add(r * plane);
                            }
                            for k in 0..C {
                                taps[k] = x.add(k * LANES);
                            }
                            add_product::<V, R, C, true>(&mut acc, outputs, taps, [0, 0]);
                        }
                    }
                }
            }
            for r in 0..R {
                for k in 0..C {
                    if o + r >= fresh.0 && v + k >= fresh.1 {
                        acc[r][k].store(sums.add((r * conv.taps() + k) * LANES));
                    }
                }
            }
        }
    }
}

/// Pixels that [`slide`] takes at once.
const AT_ONCE: usize = 4;

/// The products of [`AT_ONCE`] pixels side by side at a stride of 1: what tap `k` reads at one pixel, tap `k - 1` reads at the
/// next, and it is loaded once.
///
/// # Safety
/// `AT_ONCE + C - 1` pixels of `x`, and `AT_ONCE` of each of `R` planes of `dy`, must be valid for reading.
#[inline(always)]
unsafe fn slide<V: Vector, const R: usize, const C: usize>(
    acc: &mut [[V; C]; R],
    x: *const V::Elem,
    dy: *const V::Elem,
    plane: usize,
) {
    let mut xs = [V::splat(V::Elem::ZERO); C];
    // SAFETY: as the caller vouches.
    unsafe {
        for k in 0..C - 1 {
            xs[k] = V::load(x.add(k * LANES));
        }
        for j in 0..AT_ONCE {
            // Pixel j + k is in place (j + k) mod C.
            xs[(j + C - 1) % C] = V::load(x.add((j + C - 1) * LANES));
            for r in 0..R {
                let d = V::load(dy.add(r * plane + j * LANES));
                for k in 0..C {
                    acc[r][k] = d.mul_add(xs[(j + k) % C], acc[r][k]);
                }
            }
        }
    }
}

/// `a / b`, without the processor's slow division in the case that is nearly always there.
#[inline(always)]
fn divide(a: usize, b: usize) -> usize {
    if b == 1 { a } else { a / b }
}
