//! The forward pass of the chain: windows pooled straight from the registers they were convolved in, or row by row.

use super::operands::Forward;
use super::pooling::Pooled;
use super::windows::Windows;
use crate::blocking::vector_parts;
use crate::geometry::ConvPool2d;
use crate::kernels::conv::direct::{Correlation, Flat, Row, Rows, Strides, Targets};
use crate::kernels::conv::fold::Bands;
use crate::kernels::conv::passes;
use crate::layout::LANES;
use crate::number::Number;
use crate::simd::Vector;

/// Channels convolved before they are pooled, where rows are: two rows of eight channels fit half of the first cache.
const CHANNELS: usize = 8;

/// Numbers that may be read behind the end of planes: two vectors.
pub(super) const OVERHANG: usize = 2 * LANES;

impl<T: Number> Forward<'_, T> {
    #[inline(always)]
    pub(super) fn in_registers<V: Vector<Elem = T>>(self) {
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
                            // As many channels as have their sums in registers at once, or one.
                            let together = o + const { V::WINDOW_CHANNELS } <= conv.c_out;
                            o += match const { V::WINDOW_CHANNELS } {
                                4 if together => windows.row::<V, 4>(o, i),
                                2 if together => windows.row::<V, 2>(o, i),
                                _ => windows.row::<V, 1>(o, i),
                            };
                        }
                    }
                }
            }
        }
    }

    /// The plain convolution is the faster one; its planes are pooled in scratch.
    #[inline(always)]
    pub(super) fn of_planes<V: Vector<Elem = T>>(self) {
        let Self { chain: ConvPool2d { conv, pool, relu }, block, w, b, x, y, tape, scratch } = self;
        let (planes, rest) = scratch.split_at_mut(block.len(conv.outputs()) + OVERHANG);
        let y_all = &mut planes[..block.len(conv.outputs())];
        V::outlined(passes::Forward { conv, block, w, b, x, y: y_all, scratch: rest });
        let ([kh, kw], [rows, columns]) = (pool.window(), [conv.h_out(), conv.w_out()]);
        let (count, windows) = (block.tiles() * conv.c_out, pool.h_out() * pool.w_out());
        let to = Pooled { y: y.as_mut_ptr(), tape: tape.as_mut_ptr(), kh, kw, relu };
        // SAFETY: forward checked every length against the geometry; planes have an overhang of two vectors.
        unsafe {
            if block.lanes() == 1 {
                return to.planes::<V>(&pool, count, planes.as_ptr(), rows, columns);
            }
            for (plane, window) in
                (0..count).flat_map(|plane| (0..windows).map(move |window| (plane, window)))
            {
                let (i, j) = (window / pool.w_out() * kh, window % pool.w_out() * kw);
                let (first, at) = ((plane * rows + i) * columns + j, plane * windows + window);
                for lane in (0..LANES).step_by(V::LANES) {
                    let first = planes.as_ptr().add(first * LANES + lane);
                    to.window::<V>(first, columns * LANES, LANES, at * LANES + lane);
                }
            }
        }
    }

    /// The same of planes as one long row each.
    #[inline(always)]
    pub(super) fn of_flat_planes<V: Vector<Elem = T>>(self) {
        let Self { chain: ConvPool2d { conv, pool, relu }, w, b, x, y, tape, scratch, .. } = self;
        let ([kh, kw], flat) = (pool.window(), Flat::new(&Correlation::forward(&conv)));
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
    pub(super) fn by_rows<V: Vector<Elem = T>>(self) {
        let Self { chain: ConvPool2d { conv, pool, relu }, block, w, b, x, y, tape, scratch } = self;
        let plan = Correlation::forward(&conv);
        let [kh, kw] = pool.window();
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
                        let plan = Correlation { channels_out: CHANNELS.min(conv.c_out - c), ..plan };
                        let place = |k: usize| ((c + k) * h_pool + i) * w_pool;
                        // SAFETY: forward checked every length against the geometry; c is a channel, i a row of windows.
                        unsafe {
                            let w = w.as_ptr().offset(c as isize * plan.w_out_stride);
                            let b = b.map_or(std::ptr::null(), |b| b.as_ptr().add(c));
                            let rows = scratch.as_mut_ptr();
                            if tiled {
                                let row = conv.w_out() * LANES;
                                let strides = Strides::tiled(plan.source);
                                convolve::<V>(&plan, strides, i * kh, kh, row, w, b, x.add(lane), rows);
                                for k in 0..plan.channels_out {
                                    for j in 0..w_pool {
                                        let rows = rows.add(k * kh * row + j * kw * LANES);
                                        to.window::<V>(rows, row, LANES, (place(k) + j) * LANES + lane);
                                    }
                                }
                            } else {
                                let row = conv.w_out();
                                let strides = Strides::single(plan.source);
                                convolve::<V::One>(&plan, strides, i * kh, kh, row, w, b, x, rows);
                                for k in 0..plan.channels_out {
                                    for j in 0..w_pool {
                                        let rows = rows.add(k * kh * row + j * kw);
                                        to.window::<V::One>(rows, row, 1, place(k) + j);
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

/// Computes rows `first..first + count` of the plan's channels into `rows`, `[channel][row][pitch]`; one vector of lanes.
///
/// # Safety
/// As [`correlate`](super::super::direct::correlate); `rows` must hold them all.
#[inline(always)]
unsafe fn convolve<V: Vector>(
    plan: &Correlation,
    strides: Strides,
    first: usize,
    count: usize,
    pitch: usize,
    w: *const V::Elem,
    b: *const V::Elem,
    x: *const V::Elem,
    rows: *mut V::Elem,
) {
    let prepared = Rows::new::<V>(plan, strides, 1);
    for r in 0..count {
        // SAFETY: the caller vouches for the rows.
        let y = unsafe { rows.add(r * pitch) };
        let to = Targets { y, plane: count * pitch, step: strides.lanes };
        V::outlined(Row { rows: &prepared, i: first + r, w, b, x, to });
    }
}
