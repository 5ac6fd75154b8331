//! The backward pass of the chain over tiles: the gradient of each window goes to its place on the tape.

use super::operands::{Backward, covered, spread_plane};
use crate::blocking::add_sums;
use crate::geometry::{Conv2d, ConvPool2d, Pool2d};
use crate::kernels::conv::direct::{Correlation, Strides, correlate};
use crate::kernels::conv::fold::Bands;
use crate::kernels::conv::weight_grad::{Gradient, Maxima, first_layer_gradient, of_tile, suits_first_layer};
use crate::layout::{LANES, parts};
use crate::number::Number;
use crate::simd::Vector;

impl<T: Number> Backward<'_, T> {
    #[inline(always)]
    pub(super) fn tiles<V: Vector<Elem = T>>(self) {
        let Self { chain: ConvPool2d { conv, pool, .. }, block, w, x, tape, dy, mut dx, dw, db, scratch } =
            self;
        let (sums, rest) = scratch.split_at_mut(conv.weight_len() * LANES);
        let (bias_sums, spread) = rest.split_at_mut(conv.c_out * LANES);
        sums.fill(T::ZERO);
        bias_sums.fill(T::ZERO);
        let selects = suits_first_layer(&conv) && pool.window() == [2, 2];
        let (rows, columns) = (pool.h_out(), pool.w_out());
        let outputs = covered(&pool);
        for t in 0..block.tiles() {
            let x = &x[t * conv.inputs() * LANES..][..conv.inputs() * LANES];
            let tile = t * pool.outputs() * LANES..(t + 1) * pool.outputs() * LANES;
            let (tape, dy, live) = (&tape[tile.clone()], &dy[tile], block.live(t));
            let sums = (sums.as_mut_ptr(), bias_sums.as_mut_ptr());
            // SAFETY: backward checked every length against the geometry; scratch holds what the windows cover.
            unsafe {
                if dx.is_none() && selects {
                    let dy = Gradient { dy, rows, columns, plane: rows * columns * LANES };
                    maxima_gradient::<V>(&conv, live, x, dy, tape, sums, spread);
                    continue;
                }
                // What is spread serves both gradients, and the second looks at neighbouring rows: all at once.
                let plane = spread_plane(&pool);
                let (spread, rest) = spread.split_at_mut(conv.c_out * plane);
                for lane in (0..live).step_by(V::LANES) {
                    let (tape, dy) = (tape.as_ptr().add(lane), dy.as_ptr().add(lane));
                    spread_windows::<V>(&pool, tape, dy, spread.as_mut_ptr().add(lane));
                }
                if dw.is_some() {
                    let [rows, columns] = outputs;
                    if !suits_first_layer(&conv) {
                        for lane in (0..live).step_by(V::LANES) {
                            let spread = spread.as_ptr().add(lane);
                            add_rows::<V>(conv.c_out, rows * columns, plane, spread, sums.1.add(lane));
                        }
                    }
                    let dy = Gradient { dy: spread, rows, columns, plane };
                    of_tile::<V>(&conv, live, x, dy, sums.0, sums.1, rest);
                }
                if let Some((inputs, dx)) = &mut dx {
                    let len = inputs.len() * conv.h_in * conv.w_in * LANES;
                    let dx = &mut dx[t * len..][..len];
                    for plan in Correlation::input_gradient(&conv, inputs.clone()) {
                        // The source is what the windows cover; the rest has no gradient.
                        let plan = Correlation { source: outputs, ..plan };
                        let strides = Strides { plane, ..Strides::tiled(plan.source) };
                        let none = std::ptr::null();
                        correlate::<V>(&plan, strides, w.as_ptr(), none, spread, dx, live, rest);
                    }
                }
            }
        }
        let Some(dw) = dw else { return };
        add_sums::<V>(sums, dw);
        if let Some(db) = db {
            add_sums::<V>(bias_sums, db);
        }
    }
}

/// Adds the parameter gradients of the windows of one tile to the sums of weights and of biases: each for its place on the tape.
///
/// # Safety
/// The slices must have the lengths of one tile, the sums a row of lanes for each weight and each bias; the convolution is taken in
/// [squares](super::super::weight_grad).
#[inline(always)]
unsafe fn maxima_gradient<V: Vector>(
    conv: &Conv2d,
    live: usize,
    x: &[V::Elem],
    dy: Gradient<'_, V::Elem>,
    tape: &[V::Elem],
    (sums, bias_sums): (*mut V::Elem, *mut V::Elem),
    scratch: &mut [V::Elem],
) {
    let parts = parts(live);
    // SAFETY: as the caller vouches; what is folded has the length of its geometry.
    unsafe {
        if parts == 1 {
            let maxima = Maxima::<_, false> { dy, tape, parts, band: dy.rows };
            return first_layer_gradient::<V, _, true>(conv, live, x.as_ptr(), &maxima, sums, bias_sums);
        }
        let Bands { conv, x: fold } = Bands::of_gradient(conv, parts);
        fold.run(x, scratch);
        let maxima = Maxima::<_, true> { dy, tape, parts, band: conv.h_out() / 2 };
        first_layer_gradient::<V, _, true>(&conv, LANES, scratch.as_ptr(), &maxima, sums, bias_sums);
    }
}

/// The gradient of all windows at the places on the tape, zeros elsewhere: `[channel][row][column][16]`; one vector of lanes.
///
/// # Safety
/// All windows must exist.
#[inline(always)]
unsafe fn spread_windows<V: Vector>(
    pool: &Pool2d,
    tape: *const V::Elem,
    dy: *const V::Elem,
    to: *mut V::Elem,
) {
    let [kh, kw] = pool.window();
    let (h_pool, w_pool, plane) = (pool.h_out(), pool.w_out(), spread_plane(pool));
    for c in 0..pool.c {
        for (i, j) in (0..h_pool).flat_map(|i| (0..w_pool).map(move |j| (i, j))) {
            // SAFETY: the caller vouches for the windows.
            unsafe {
                let from = ((c * h_pool + i) * w_pool + j) * LANES;
                let (d, place) = (V::load(dy.add(from)), V::load(tape.add(from)));
                let mut here = V::Elem::ZERO;
                for u in 0..kh {
                    let to = to.add(c * plane + ((i * kh + u) * w_pool + j) * kw * LANES);
                    for v in 0..kw {
                        d.keep(place.eq(V::splat(here))).store(to.add(v * LANES));
                        here += V::Elem::ONE;
                    }
                }
            }
        }
    }
}

/// `sums[channel][lane] += ` the sum of the channel's pixels, in order; one vector of lanes, eight channels side by side.
///
/// # Safety
/// `d` must hold `pixels` rows of lanes for each channel, one `plane` after the other, `sums` one.
#[inline(always)]
unsafe fn add_rows<V: Vector>(
    channels: usize,
    pixels: usize,
    plane: usize,
    d: *const V::Elem,
    sums: *mut V::Elem,
) {
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
                    acc[k] = acc[k].add(V::load(d.add(channel * plane + p * LANES)));
                }
            }
            for k in 0..count {
                acc[k].store(sums.add((c + k) * LANES));
            }
        }
        c += count;
    }
}
