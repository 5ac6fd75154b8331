//! Correlations of tiles, and of single samples where neighbouring pixels are not side by side.

use super::border::{self, Border};
use super::correlation::{Correlation, Tap};
use super::fold::FoldedRows;
use super::strides::{Strides, Targets};
use crate::blocking::{add_product, best_shape, cover, opaque, vector_parts};
use crate::geometry::MAX_TAPS;
use crate::layout::LANES;
use crate::number::Number;
use crate::simd::{Kernel, MicroKernel, Vector};
use std::mem::MaybeUninit;

/// Computes the `live` lanes of all targets of one tile, [folded](super::fold) where otherwise half of a vector would
/// be empty.
///
/// # Safety
/// `w`, `b` (or null), `x`, `y` must be valid for every address the plan and the layout name.
#[inline(always)]
pub(crate) unsafe fn correlate<V: Vector>(
    plan: &Correlation,
    strides: Strides,
    w: *const V::Elem,
    b: *const V::Elem,
    x: &[V::Elem],
    y: &mut [V::Elem],
    live: usize,
    scratch: &mut [V::Elem],
) {
    let parts = vector_parts::<V>(live);
    // SAFETY: as the caller vouches; what is folded has the lengths of its plan.
    unsafe {
        if parts == 1 {
            return correlate_rows::<V>(plan, strides, w, b, x.as_ptr(), y.as_mut_ptr(), live);
        }
        let folded = FoldedRows::new(plan, strides, parts);
        let (source, rest) = scratch.split_at_mut(folded.source.len());
        let targets = &mut rest[..folded.targets_len()];
        folded.source.run(x, source);
        let strides = Strides { plane: folded.source.to_plane, ..strides };
        correlate_rows::<V>(&folded.plan, strides, w, b, source.as_ptr(), targets.as_mut_ptr(), LANES);
        folded.unfold(plan, targets, y);
    }
}

/// Computes the `live` lanes of all targets of one tile, or all targets of one sample.
///
/// # Safety
/// As [`correlate`].
#[inline(always)]
pub(super) unsafe fn correlate_rows<V: Vector>(
    plan: &Correlation,
    strides: Strides,
    w: *const V::Elem,
    b: *const V::Elem,
    x: *const V::Elem,
    y: *mut V::Elem,
    live: usize,
) {
    let rows = Rows::new::<V>(plan, strides, live);
    for i in 0..plan.target[0] {
        let row =
            (plan.target_start[0] + i * plan.target_step[0]) * plan.target_plane[1] + plan.target_start[1];
        let to = Targets {
            // SAFETY: the row is one of the target plane.
            y: unsafe { y.add(row * strides.lanes) },
            plane: plan.target_plane[0] * plan.target_plane[1] * strides.lanes,
            step: plan.target_step[1] * strides.lanes,
        };
        V::outlined(Row { rows: &rows, i, w, b, x, to });
    }
}

/// A correlation prepared to compute any of its rows: which columns are inside, and the shapes of the blocks.
pub(crate) struct Rows<'a> {
    plan: &'a Correlation,
    strides: Strides,
    live: usize,
    interior: (usize, usize),
    inner: (usize, usize),
    edge: (usize, usize),
}

impl<'a> Rows<'a> {
    #[inline(always)]
    pub(crate) fn new<V: Vector>(plan: &'a Correlation, strides: Strides, live: usize) -> Self {
        let interior @ (from, to) = plan.interior();
        let inner = best_shape::<V>(plan.channels_out, to - from);
        let edge = best_shape::<V>(plan.channels_out, live.div_ceil(V::LANES));
        Self { plan, strides, live, interior, inner, edge }
    }
}

/// Row `i` of all output channels: a function that all passes share, which a copy in each would make a large one.
///
/// Whoever makes it vouches for the pointers as for [`correlate`], for this row.
pub(crate) struct Row<'a, T> {
    pub(crate) rows: &'a Rows<'a>,
    pub(crate) i: usize,
    pub(crate) w: *const T,
    pub(crate) b: *const T,
    pub(crate) x: *const T,
    pub(crate) to: Targets<T>,
}

impl<T: Number> Kernel<T> for Row<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Elem = T>>(self) {
        let Self { rows, i, w, b, x, to } = self;
        let Rows { plan, strides, live, interior, inner, edge } = *rows;
        let mut storage = [const { MaybeUninit::uninit() }; MAX_TAPS];
        let us = plan.tap_range(0, i);
        let (from, end) = interior;
        // SAFETY: as its maker vouches; the taps are those that meet the source.
        unsafe {
            if from < end {
                let taps = plan.row_taps(strides, i, us, (0, plan.taps[1]), &mut storage);
                let pixel = strides.pixel * plan.source_step[1];
                let mut row = CorrelationRow { plan, strides, pixel, w, b, x, to, taps };
                // All lanes, which share cache lines, before the next row.
                for _ in (0..live).step_by(V::LANES) {
                    cover::<V>(&row, [inner; 2], plan.channels_out, interior);
                    row.x = row.x.wrapping_add(V::LANES);
                    row.to.y = row.to.y.wrapping_add(V::LANES);
                }
            }
            for columns in [0..from, end..plan.target[1]] {
                // If one column is inside, those at the border see as many columns of the source as there are taps, less one.
                let (count, sources) = (columns.len(), plan.taps[1].saturating_sub(1));
                let together = from < end && plan.source_step[1] == 1;
                if const { V::BORDERS } && together && border::suits(count, sources) {
                    let to = Targets { y: to.y.wrapping_add(columns.start * to.step), ..to };
                    let border = Border { plan, strides, i, us, w, b, x, to };
                    if columns.start == 0 {
                        border.run::<V, true>(count, sources, live);
                    } else {
                        let x = x.wrapping_add((plan.source[1] - sources) * strides.pixel);
                        Border { x, ..border }.run::<V, false>(count, sources, live);
                    }
                    continue;
                }
                for j in columns {
                    // Every column has taps of its own, and so the blocks' columns are its vectors of lanes.
                    let taps = plan.row_taps(strides, i, us, plan.tap_range(1, j), &mut storage);
                    let x = x.wrapping_add(j * strides.pixel * plan.source_step[1]);
                    let to = Targets { y: to.y.wrapping_add(j * to.step), step: V::LANES, ..to };
                    let column = CorrelationRow { plan, strides, pixel: V::LANES, w, b, x, to, taps };
                    cover::<V>(&column, [edge; 2], plan.channels_out, (0, live.div_ceil(V::LANES)));
                }
            }
        }
    }
}

/// One row of all output channels: blocks of output channels x columns, whose sources lie `pixel` numbers apart.
struct CorrelationRow<'a, T> {
    plan: &'a Correlation,
    strides: Strides,
    pixel: usize,
    w: *const T,
    b: *const T,
    x: *const T,
    to: Targets<T>,
    taps: &'a [Tap],
}

impl<T: Number> MicroKernel<T> for CorrelationRow<'_, T> {
    #[inline(always)]
    unsafe fn block<V: Vector<Elem = T>, const R: usize, const C: usize>(
        &self,
        o: usize,
        j: usize,
        _fresh: (usize, usize),
    ) {
        let Self { plan, strides, pixel, w, b, x, to, taps } = *self;
        // SAFETY: the taps meet the source for every column of the block; the caller vouches for the rest. Pointers to
        // column 0 may lie before the source, so they are only followed with a tap's offset added.
        unsafe {
            let (mut acc, weights) = plan.begin::<V, R, C>(o, w, b);
            let weights = opaque::<_, R, 2>(weights);
            let mut x = x.wrapping_add(j * pixel);
            let mut channel = 0;
            for _ in 0..plan.channels_in {
                for tap in taps {
                    let x = x.wrapping_offset(tap.x);
                    let mut sources = [x; C];
                    for p in 0..C {
                        sources[p] = x.wrapping_add(p * pixel);
                    }
                    let at = [channel + tap.w, 0];
                    add_product::<V, R, C, false>(&mut acc, weights, sources, at);
                }
                channel += plan.w_in_stride;
                x = x.wrapping_add(strides.plane);
            }
            let mut y = to.y.add(o * to.plane + j * to.step);
            for r in 0..R {
                for p in 0..C {
                    acc[r][p].store(y.add(p * to.step));
                }
                y = y.wrapping_add(to.plane);
            }
        }
    }
}
