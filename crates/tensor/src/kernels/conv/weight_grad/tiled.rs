//! The weight gradient of tiles: blocks of output channels x taps, one row of a kernel at a time.

use super::first_layer;
use super::gradient::Gradient;
use crate::blocking::add_product;
use crate::geometry::Conv2d;
use crate::kernels::conv::fold::Bands;
use crate::layout::{LANES, parts};
use crate::number::Number;
use crate::simd::{Kernel, L1_LOAD, MicroKernel, Vector};
use std::ops::Range;

/// Adds the gradient of the weight of the `live` lanes of one tile to `sums[o][c][u][v][16]`; of a convolution that is taken in
/// [squares](super::first_layer) that of the bias to `bias_sums[o][16]` too.
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
    let (in_squares, parts) = (first_layer::suits(conv), parts(live));
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
            return first_layer::gradient::<V, _, true>(&conv, live, x.as_ptr(), &dy, sums, bias_sums);
        }
        let rows = rows_at_once::<V>(&conv, dy.rows, dy.columns);
        for first in (0..dy.rows).step_by(rows) {
            let rows = first..(first + rows).min(dy.rows);
            V::outlined(GradientRows { conv: &conv, dy, rows, live, x: x.as_ptr(), sums });
        }
    }
}

/// Pixels of a group of rows where a vector has all lanes.
const GROUP: usize = 400;

/// Bytes of the first cache.
const CACHE: usize = 32 << 10;

/// Output rows in groups, since a block reads its rows of dy once for each input channel and kernel row. Where a vector has all lanes, the
/// second cache is fast enough for them, and long sums cost less. Where it has fewer, it reads a part of each line of the cache, and what a
/// block reads of dy and of a channel of x must stay in the first cache until the other lanes have had their turn.
#[inline(always)]
fn rows_at_once<V: Vector>(conv: &Conv2d, rows: usize, columns: usize) -> usize {
    if V::LANES >= LANES {
        return (GROUP / columns).max(1);
    }
    // In pixels, of sixteen lanes each.
    let room = CACHE / (LANES * size_of::<V::Elem>());
    let ((height, _), stride) = (shape::<V>(conv), conv.stride[0]);
    let row = height * columns + stride * conv.w_in;
    let before = conv.kernel[0].saturating_sub(stride) * conv.w_in;
    let most = (room.saturating_sub(before) / row).max(1);
    rows.div_ceil(rows.div_ceil(most))
}

/// The shape of blocks of output channels x taps.
#[inline(always)]
fn shape<V: Vector>(conv: &Conv2d) -> (usize, usize) {
    V::best_shape(conv.c_out, conv.kernel[1], L1_LOAD, GradientTaps::<V::Elem>::TIGHT)
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

impl<T: Number> Kernel<T> for GradientRows<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Elem = T>>(self) {
        let Self { conv, dy, rows, live, x, sums } = self;
        let [kh, kw] = conv.kernel;
        let shape @ (height, width) = shape::<V>(conv);
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
                                V::run_block(
                                    &taps,
                                    shape,
                                    o.min(conv.c_out - height),
                                    v.min(kw - width),
                                    (o, v),
                                );
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Row `u` of the kernels of input channel `c`: blocks of output channels x taps.
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

impl<T: Number> MicroKernel<T> for GradientTaps<'_, T> {
    const TIGHT: bool = true;

    /// `R` output channels from `o` x `C` taps from `v`, over all output pixels.
    #[inline(always)]
    unsafe fn block<V: Vector<Elem = T>, const R: usize, const C: usize>(
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
                // Columns in order, whatever the width of the block: left edge, inside, right edge.
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
