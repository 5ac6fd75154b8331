//! The parameter gradient of one sample: sixteen output channels side by side, pixels in order.
//!
//! `[taps x 16] = [taps x pixels] * [pixels x 16]` for each sixteen channels: the first factor is x, read at the place of
//! each tap, the second dy transposed. Nothing is left to add up, and a plane of x copied with its padding has every tap of
//! every pixel inside. A first layer takes its pixels by [squares](first_layer).

use super::first_layer;
use super::gradient::Gradient;
use crate::blocking::{best_shape, cover, transpose_planes};
use crate::geometry::Conv2d;
use crate::layout::LANES;
use crate::number::Number;
use crate::simd::{MicroKernel, Vector, cost};

/// Where dy comes from.
pub(crate) trait OutputGradient<V: Vector> {
    /// Writes the gradient of `channels <= 16` channels from `o` on, `[pixel][16]`.
    ///
    /// # Safety
    /// The channels must exist; `to` must hold a row for each pixel, rounded up to 16.
    unsafe fn lay(&self, o: usize, channels: usize, to: &mut [V::Elem]);

    /// Adds the gradients of these channels, by [squares](first_layer), to `sums[tap][16]` and `bias_sums[16]`.
    ///
    /// # Safety
    /// As [`lay`](Self::lay); `x` must have the length of the geometry, `sums` a row for each tap.
    #[inline(always)]
    unsafe fn add_squares(
        &self,
        conv: &Conv2d,
        o: usize,
        channels: usize,
        x: &[V::Elem],
        scratch: &mut [V::Elem],
        sums: *mut V::Elem,
        bias_sums: *mut V::Elem,
    ) {
        // SAFETY: as the caller vouches.
        unsafe { add_laid(self, conv, o, channels, x, scratch, sums, bias_sums) };
    }
}

/// [`OutputGradient::add_squares`] of pixels that all may have a gradient.
///
/// # Safety
/// As there.
#[inline(always)]
pub(crate) unsafe fn add_laid<V: Vector>(
    from: &(impl OutputGradient<V> + ?Sized),
    conv: &Conv2d,
    o: usize,
    channels: usize,
    x: &[V::Elem],
    scratch: &mut [V::Elem],
    sums: *mut V::Elem,
    bias_sums: *mut V::Elem,
) {
    let (rows, columns) = (conv.h_out(), conv.w_out());
    let dy = &mut scratch[..(rows * columns).next_multiple_of(LANES) * LANES];
    // SAFETY: as the caller vouches.
    unsafe {
        from.lay(o, channels, dy);
        let dy = Gradient { dy, rows, columns, plane: 0 };
        first_layer::gradient::<V, _, false>(conv, channels, x.as_ptr(), &dy, sums, bias_sums);
    }
}

/// A gradient that lies in planes, `[channel][pixel]`.
pub(crate) struct Plane<'a, T> {
    pub(super) dy: &'a [T],
    pub(super) pixels: usize,
}

impl<V: Vector> OutputGradient<V> for Plane<'_, V::Elem> {
    #[inline(always)]
    unsafe fn lay(&self, o: usize, channels: usize, to: &mut [V::Elem]) {
        let planes = &self.dy[o * self.pixels..][..channels * self.pixels];
        for (i, to) in to.chunks_exact_mut(LANES * LANES).enumerate() {
            transpose_planes::<V>(planes, self.pixels, i * LANES, to.first_chunk_mut().expect("a square"));
        }
    }
}

/// Scratch of [`channels_last`]: x with its padding, dy and dw transposed.
pub(super) fn scratch_len(conv: &Conv2d) -> usize {
    let x = conv.c_in * (conv.h_in + 2 * conv.pad[0]) * (conv.w_in + 2 * conv.pad[1]);
    x + (room(conv.h_out() * conv.w_out()) + conv.taps().next_multiple_of(LANES)) * LANES
}

/// Rows of sixteen channels for so many pixels, or for tape and gradient of the windows of a pooling that cover them.
fn room(pixels: usize) -> usize {
    pixels.next_multiple_of(LANES).max(2 * LANES)
}

/// Adds the gradients of one sample to `dw` and `db`.
///
/// # Safety
/// The slices must have the lengths of the geometry, `scratch` that of [`scratch_len`].
#[inline(always)]
pub(crate) unsafe fn channels_last<V: Vector>(
    conv: &Conv2d,
    x: &[V::Elem],
    dy: &impl OutputGradient<V>,
    dw: &mut [V::Elem],
    mut db: Option<&mut [V::Elem]>,
    scratch: &mut [V::Elem],
) {
    let (pixels, taps) = (conv.h_out() * conv.w_out(), conv.taps());
    let (h, w) = (conv.h_in + 2 * conv.pad[0], conv.w_in + 2 * conv.pad[1]);
    let (x_copy, rest) = scratch.split_at_mut(conv.c_in * h * w);
    let (dy_t, rest) = rest.split_at_mut(room(pixels) * LANES);
    let dw_t = &mut rest[..taps.next_multiple_of(LANES) * LANES];
    let x = if conv.pad == [0, 0] {
        x
    } else {
        x_copy.fill(V::Elem::ZERO);
        for (row, x) in x.chunks_exact(conv.w_in).enumerate() {
            let (c, p) = (row / conv.h_in, row % conv.h_in);
            x_copy[(c * h + p + conv.pad[0]) * w + conv.pad[1]..][..conv.w_in].copy_from_slice(x);
        }
        &*x_copy
    };
    let (in_squares, laid) = (first_layer::suits(conv), pixels.next_multiple_of(LANES) * LANES);
    for o in (0..conv.c_out).step_by(LANES) {
        let channels = LANES.min(conv.c_out - o);
        let mut bias_sums = [V::Elem::ZERO; LANES];
        // SAFETY: as the caller vouches; every tap of every pixel lies in x, dw_t holds a row for each tap.
        unsafe {
            if in_squares {
                dw_t.fill(V::Elem::ZERO);
                dy.add_squares(conv, o, channels, x, dy_t, dw_t.as_mut_ptr(), bias_sums.as_mut_ptr());
            } else {
                dy.lay(o, channels, &mut dy_t[..laid]);
                let taps = Taps {
                    conv,
                    x: x.as_ptr(),
                    plane: h * w,
                    pitch: w,
                    dy: dy_t.as_ptr(),
                    dw: dw_t.as_mut_ptr(),
                };
                taps.add_products::<V>(channels.div_ceil(V::LANES));
            }
        }
        let mut square = [V::Elem::ZERO; LANES * LANES];
        for (i, dw_t) in dw_t.chunks_exact(LANES * LANES).enumerate() {
            // SAFETY: both squares hold 16 x 16 numbers.
            unsafe { V::transpose16(dw_t.as_ptr(), LANES, [LANES; 2], square.as_mut_ptr(), LANES) };
            let count = LANES.min(taps - i * LANES);
            for (r, square) in square.chunks_exact(LANES).take(channels).enumerate() {
                let dw = &mut dw[(o + r) * taps + i * LANES..][..count];
                dw.iter_mut().zip(square).for_each(|(dw, &sum)| *dw += sum);
            }
        }
        if let Some(db) = &mut db {
            let db = &mut db[o..o + channels];
            if in_squares {
                db.iter_mut().zip(&bias_sums).for_each(|(db, &sum)| *db += sum);
            } else {
                add_pixels::<V>(&dy_t[..laid], db);
            }
        }
    }
}

/// `db[channel] += ` the sum over pixels of `dy[pixel][channel]`: pixel `p` goes to sum `p mod 16`, then the tree of
/// [`sum16`](Vector::sum16).
#[inline(always)]
fn add_pixels<V: Vector>(dy: &[V::Elem], db: &mut [V::Elem]) {
    for (part, db) in db.chunks_mut(V::LANES).enumerate() {
        let mut sums = [V::splat(V::Elem::ZERO); 8];
        // Eight sums at a time stay in registers.
        for first in [8, 0] {
            let mut acc = [V::splat(V::Elem::ZERO); 8];
            for square in dy.chunks_exact(LANES * LANES) {
                for k in 0..8 {
                    // SAFETY: a square holds 16 x 16 numbers.
                    let d = unsafe { V::load(square.as_ptr().add((first + k) * LANES + part * V::LANES)) };
                    acc[k] = acc[k].add(d);
                }
            }
            for k in 0..8 {
                sums[k] = if first == 0 { acc[k].add(sums[k]) } else { acc[k] };
            }
        }
        for k in 0..4 {
            sums[k] = sums[k].add(sums[k + 4]);
        }
        let sum = sums[0].add(sums[2]).add(sums[1].add(sums[3]));
        // SAFETY: db holds as many numbers as are read and written.
        unsafe {
            let n = db.len();
            V::load_first(db.as_ptr(), n).add(sum).store_first(db.as_mut_ptr(), n);
        }
    }
}

/// `dw[tap][channel] = sum over pixels of x[tap, pixel] * dy[pixel][channel]`.
struct Taps<'a, T> {
    conv: &'a Conv2d,
    x: *const T,
    plane: usize,
    pitch: usize,
    dy: *const T,
    dw: *mut T,
}

impl<T: Number> Taps<'_, T> {
    /// For `vectors` vectors of channels.
    ///
    /// # Safety
    /// Every tap of every pixel must lie in x, dy must hold a row for each pixel, dw one for each tap.
    #[inline(always)]
    unsafe fn add_products<V: Vector<Elem = T>>(&self, vectors: usize) {
        let ([kh, kw], taps) = (self.conv.kernel, self.conv.taps());
        let (any, square) = (best_shape::<V>(taps, vectors), best_shape::<V>(kh, kw));
        // SAFETY: as the caller vouches; shapes fit.
        unsafe {
            // Taps of one kernel need few pointers but a vector of dy for each, where any taps share theirs.
            if cost(any, taps, vectors) <= cost(square, kh, kw) * self.conv.c_in * vectors {
                return cover::<V>(self, [any; 2], taps, (0, vectors));
            }
            for part in 0..vectors {
                for c in 0..self.conv.c_in {
                    cover::<V>(&KernelTaps { taps: self, c, part }, [square; 2], kh, (0, kw));
                }
            }
        }
    }
}

/// Blocks of taps of all input channels x vectors of output channels.
impl<T: Number> MicroKernel<T> for Taps<'_, T> {
    #[inline(always)]
    unsafe fn block<V: Vector<Elem = T>, const R: usize, const C: usize>(
        &self,
        tap: usize,
        c0: usize,
        _fresh: (usize, usize),
    ) {
        let Self { conv, x, plane, pitch, dy, dw } = *self;
        let [kh, kw] = conv.kernel;
        let [sh, sw] = conv.stride;
        let mut acc = [[V::splat(V::Elem::ZERO); C]; R];
        // SAFETY: as the caller vouches.
        unsafe {
            let mut at = [x; R];
            for r in 0..R {
                let (c, u, v) = ((tap + r) / (kh * kw), (tap + r) / kw % kh, (tap + r) % kw);
                at[r] = x.add(c * plane + u * pitch + v);
            }
            let mut dy = dy.add(c0 * V::LANES);
            for i in 0..conv.h_out() {
                for j in 0..conv.w_out() {
                    let mut ds = [V::splat(V::Elem::ZERO); C];
                    for c in 0..C {
                        ds[c] = V::load(dy.add(c * V::LANES));
                    }
                    for r in 0..R {
                        let xr = V::splat(*at[r].add(i * sh * pitch + j * sw));
                        for c in 0..C {
                            acc[r][c] = xr.mul_add(ds[c], acc[r][c]);
                        }
                    }
                    dy = dy.add(LANES);
                }
            }
            for r in 0..R {
                for c in 0..C {
                    acc[r][c].store(dw.add((tap + r) * LANES + (c0 + c) * V::LANES));
                }
            }
        }
    }
}

/// The kernel of input channel `c`, for the `part`-th vector of output channels: blocks of its rows x its columns.
struct KernelTaps<'a, T> {
    taps: &'a Taps<'a, T>,
    c: usize,
    part: usize,
}

impl<T: Number> MicroKernel<T> for KernelTaps<'_, T> {
    #[inline(always)]
    unsafe fn block<V: Vector<Elem = T>, const R: usize, const C: usize>(
        &self,
        u: usize,
        v: usize,
        _fresh: (usize, usize),
    ) {
        let Self { taps: &Taps { conv, x, plane, pitch, dy, dw }, c, part } = *self;
        let [kh, kw] = conv.kernel;
        let [sh, sw] = conv.stride;
        let mut acc = [[V::splat(V::Elem::ZERO); C]; R];
        // SAFETY: as the caller vouches.
        unsafe {
            let mut dy = dy.add(part * V::LANES);
            for i in 0..conv.h_out() {
                let mut x = x.add(c * plane + (i * sh + u) * pitch + v);
                for _ in 0..conv.w_out() {
                    let d = V::load(dy);
                    for r in 0..R {
                        for k in 0..C {
                            acc[r][k] = V::splat(*x.add(r * pitch + k)).mul_add(d, acc[r][k]);
                        }
                    }
                    x = x.add(sw);
                    dy = dy.add(LANES);
                }
            }
            for r in 0..R {
                for k in 0..C {
                    let tap = (c * kh + u + r) * kw + v + k;
                    acc[r][k].store(dw.add(tap * LANES + part * V::LANES));
                }
            }
        }
    }
}
