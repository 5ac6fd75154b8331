//! The backward pass of the chain by the plain kernels: of single samples, and of what Winograd's filtering computes. The gradient of the
//! windows is laid out for them: with channels side by side where only the parameters want it, in planes where the input wants it too.

use super::operands::{Backward, covered};
use crate::blocking::transpose_planes;
use crate::geometry::{Conv2d, ConvPool2d, Pool2d};
use crate::kernels::conv::passes::{BackwardInput, BackwardParams};
use crate::kernels::conv::weight_grad::{
    Gradient, Maxima, OutputGradient, add_laid, channels_last, first_layer_gradient,
};
use crate::kernels::pool;
use crate::layout::LANES;
use crate::number::Number;
use crate::simd::Vector;

impl<T: Number> Backward<'_, T> {
    #[inline(always)]
    pub(super) fn planes<V: Vector<Elem = T>>(self) {
        let Self { chain: ConvPool2d { conv, pool, .. }, w, x, tape, dy, dx, mut dw, mut db, scratch, block } =
            self;
        if let (None, Some(dw), false) = (&dx, &mut dw, conv.is_winograd()) {
            let windows = tape.chunks_exact(pool.outputs()).zip(dy.chunks_exact(pool.outputs()));
            for (x, (tape, dy)) in x.chunks_exact(conv.inputs()).zip(windows) {
                let windows = Windows { conv: &conv, pool: &pool, tape, dy };
                // SAFETY: backward checked every length against the geometry.
                unsafe { channels_last::<V>(&conv, x, &windows, dw, db.as_deref_mut(), scratch) };
            }
            return;
        }
        let (planes, scratch) = scratch.split_at_mut(block.len(conv.outputs()));
        V::outlined(pool::Backward { pool, block, dy, tape: Some(tape), dx: planes });
        let dy = &*planes;
        if let Some(dw) = dw {
            V::outlined(BackwardParams { conv, block, x, dy, dw, db, scratch });
        }
        if let Some((inputs, dx)) = dx {
            V::outlined(BackwardInput { conv, inputs, block, w, dy, dx, scratch });
        }
    }
}

/// The gradient of the windows of one sample, `[channel][window]`, each for the place on the tape.
struct Windows<'a, T> {
    conv: &'a Conv2d,
    pool: &'a Pool2d,
    tape: &'a [T],
    dy: &'a [T],
}

impl<V: Vector> OutputGradient<V> for Windows<'_, V::Elem> {
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
        let Self { pool, tape, dy, .. } = self;
        if pool.window() != [2, 2] {
            // SAFETY: as the caller vouches.
            return unsafe { add_laid::<V>(self, conv, o, channels, x, scratch, sums, bias_sums) };
        }
        let (rows, columns) = (pool.h_out(), pool.w_out());
        let windows = rows * columns;
        let planes = o * windows..(o + channels) * windows;
        let (places, gradients) = scratch.split_at_mut(windows.next_multiple_of(LANES) * LANES);
        for (planes, to) in [(&tape[planes.clone()], &mut *places), (&dy[planes], &mut *gradients)] {
            let squares = to.chunks_exact_mut(LANES * LANES).take(windows.div_ceil(LANES));
            for (i, to) in squares.enumerate() {
                transpose_planes::<V>(planes, windows, i * LANES, to.first_chunk_mut().expect("a square"));
            }
        }
        let dy = Gradient { dy: gradients, rows, columns, plane: 0 };
        let maxima = Maxima::<_, false> { dy, tape: places, parts: 1, band: rows };
        // SAFETY: as the caller vouches; the places of channels that do not exist are zero, like their gradients.
        unsafe { first_layer_gradient::<V, _, false>(conv, channels, x.as_ptr(), &maxima, sums, bias_sums) };
    }

    #[inline(always)]
    unsafe fn lay(&self, o: usize, channels: usize, to: &mut [V::Elem]) {
        let Self { conv, pool, tape, dy } = self;
        let ([kh, kw], w_out) = (pool.window(), conv.w_out());
        let (h_pool, w_pool) = (pool.h_out(), pool.w_out());
        let windows = h_pool * w_pool;
        let planes = o * windows..(o + channels) * windows;
        let (tape, dy) = (&tape[planes.clone()], &dy[planes]);
        // What no window covers has no gradient.
        let all = covered(pool) == [conv.h_out(), w_out];
        to[if all { conv.h_out() * w_out * LANES } else { 0 }..].fill(V::Elem::ZERO);
        let mut places = [V::Elem::ZERO; LANES * LANES];
        let mut gradients = [V::Elem::ZERO; LANES * LANES];
        let (mut i, mut j) = (0, 0);
        for first in (0..windows).step_by(LANES) {
            transpose_planes::<V>(tape, windows, first, &mut places);
            transpose_planes::<V>(dy, windows, first, &mut gradients);
            for row in (0..LANES.min(windows - first) * LANES).step_by(LANES) {
                let to = &mut to[(i * kh * w_out + j * kw) * LANES..];
                for part in (0..channels).step_by(V::LANES) {
                    // SAFETY: a row holds 16 numbers; the window's pixels lie in `to`, rounded up to 16 channels.
                    unsafe {
                        let place = V::load(places.as_ptr().add(row + part));
                        let d = V::load(gradients.as_ptr().add(row + part));
                        let mut here = V::Elem::ZERO;
                        for p in 0..kh {
                            for q in 0..kw {
                                let to = to.as_mut_ptr().add((p * w_out + q) * LANES + part);
                                d.keep(place.eq(V::splat(here))).store(to);
                                here += V::Elem::ONE;
                            }
                        }
                    }
                }
                j += 1;
                if j == w_pool {
                    (i, j) = (i + 1, 0);
                }
            }
        }
    }
}
