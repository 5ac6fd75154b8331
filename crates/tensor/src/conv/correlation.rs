//! The kernel of the forward pass and of the input gradient: a correlation with weights walked in any direction.

use super::border::{self, Border};
use super::flat::Flat;
use super::fold::InTurn;
use crate::block::vector_parts;
use crate::micro::{Tile, add_product, best_shape, cover, held};
use crate::simd::{Kernel, Vector};
use crate::{Block, LANES, Scalar};
use std::mem::MaybeUninit;

/// `target[g, i, j] = b[g] + sum_{c, u, v} w(g, c, u, v) * source[c, i * step + u + offset, j * step + v + offset]`, zero
/// outside the source, with weights and target walked in any direction and step.
#[derive(Clone, Copy)]
pub(crate) struct Correlation {
    pub(crate) groups: usize,
    pub(crate) channels: usize,
    pub(crate) taps: [usize; 2],
    pub(crate) w_start: isize,
    pub(crate) w_group: isize,
    pub(crate) w_channel: isize,
    pub(crate) w_tap: [isize; 2],
    pub(crate) source: [usize; 2],
    pub(crate) target: [usize; 2],
    pub(crate) offset: [isize; 2],
    pub(crate) source_step: [usize; 2],
    /// The plane that targets lie in, the first one, and how far apart they are.
    pub(crate) target_plane: [usize; 2],
    pub(crate) target_start: [usize; 2],
    pub(crate) target_step: [usize; 2],
}

impl Correlation {
    pub(super) fn run<T: Scalar>(
        &self,
        block: Block,
        w: &[T],
        b: Option<&[T]>,
        x: &[T],
        y: &mut [T],
        scratch: &mut [T],
    ) {
        T::correlation(RunCorrelation { plan: *self, block, w, b, x, y, scratch });
    }

    /// Taps along one axis that meet the source for target `i`.
    pub(super) fn live(&self, axis: usize, i: usize) -> (usize, usize) {
        let first = (i * self.source_step[axis]) as isize + self.offset[axis];
        let from = (-first).clamp(0, self.taps[axis] as isize);
        let to = (self.source[axis] as isize - first).clamp(from, self.taps[axis] as isize);
        (from as usize, to as usize)
    }

    /// Target columns `from..to` whose every tap meets the source.
    fn interior(&self) -> (usize, usize) {
        let step = self.source_step[1] as isize;
        let from = ((-self.offset[1]).max(0) as usize).div_ceil(step as usize) as isize;
        let room = self.source[1] as isize - self.taps[1] as isize - self.offset[1];
        let to = if room < 0 { 0 } else { room / step + 1 };
        let to = to.min(self.target[1] as isize);
        (from.min(to) as usize, to as usize)
    }
}

pub(crate) struct RunCorrelation<'a, T> {
    plan: Correlation,
    block: Block,
    w: &'a [T],
    b: Option<&'a [T]>,
    x: &'a [T],
    y: &'a mut [T],
    scratch: &'a mut [T],
}

impl<T: Scalar> Kernel<T> for RunCorrelation<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Elem = T>>(self) {
        let Self { plan, block, w, b, x, y, scratch } = self;
        let b = b.map_or(std::ptr::null(), |b| b.as_ptr());
        let x_len = plan.channels * plan.source[0] * plan.source[1];
        let y_len = plan.groups * plan.target_plane[0] * plan.target_plane[1];
        for t in 0..block.tiles() {
            // SAFETY: Conv2d's methods checked every length against the geometry that the plan was made from.
            unsafe {
                if block.lanes() == LANES {
                    let x = &x[t * x_len * LANES..][..x_len * LANES];
                    let y = &mut y[t * y_len * LANES..][..y_len * LANES];
                    let lay = Lay::tiled(plan.source);
                    correlate::<V>(&plan, lay, w.as_ptr(), b, x, y, block.live(t), scratch);
                } else if Flat::suits(&plan) {
                    let (x, y) = (&x[t * x_len..][..x_len], &mut y[t * y_len..][..y_len]);
                    Flat::new(&plan).run::<V>(w.as_ptr(), b, x, y, scratch);
                } else {
                    let lay = Lay::single(plan.source);
                    let x = x.as_ptr().add(t * x_len);
                    let y = y.as_mut_ptr().add(t * y_len);
                    correlate_rows::<V::One>(&plan, lay, w.as_ptr(), b, x, y, 1);
                }
            }
        }
    }
}

/// How a source lies in memory, in numbers: from one target to the next, one tap to the next, one row to the next, one channel
/// to the next; and lanes of a target.
#[derive(Clone, Copy)]
pub(crate) struct Lay {
    pub(crate) pixel: usize,
    pub(crate) tap: usize,
    pub(crate) pitch: usize,
    pub(crate) plane: usize,
    pub(crate) lanes: usize,
}

impl Lay {
    /// Sixteen samples side by side, `rows` of `columns` pixels.
    pub(crate) fn tiled([rows, columns]: [usize; 2]) -> Self {
        let pitch = columns * LANES;
        Self { pixel: LANES, tap: LANES, pitch, plane: rows * pitch, lanes: LANES }
    }

    /// One sample, pixel by pixel.
    pub(crate) fn single([rows, pitch]: [usize; 2]) -> Self {
        Self { pixel: 1, tap: 1, pitch, plane: rows * pitch, lanes: 1 }
    }
}

/// Computes the `live` lanes of all targets of one tile, [folded](super::fold) where otherwise half of a vector would
/// be empty.
///
/// # Safety
/// `w`, `b` (or null), `x`, `y` must be valid for every address the plan and the layout name.
#[inline(always)]
pub(crate) unsafe fn correlate<V: Vector>(
    plan: &Correlation,
    lay: Lay,
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
            return correlate_rows::<V>(plan, lay, w, b, x.as_ptr(), y.as_mut_ptr(), live);
        }
        let folded = InTurn::new(plan, lay, parts);
        let (source, rest) = scratch.split_at_mut(folded.source.len());
        let targets = &mut rest[..folded.targets_len()];
        folded.source.run(x, source);
        let lay = Lay { plane: folded.source.to_plane, ..lay };
        correlate_rows::<V>(&folded.plan, lay, w, b, source.as_ptr(), targets.as_mut_ptr(), LANES);
        folded.unfold(plan, targets, y);
    }
}

/// Computes the `live` lanes of all targets of one tile, or all targets of one sample.
///
/// # Safety
/// As [`correlate`].
#[inline(always)]
unsafe fn correlate_rows<V: Vector>(
    plan: &Correlation,
    lay: Lay,
    w: *const V::Elem,
    b: *const V::Elem,
    x: *const V::Elem,
    y: *mut V::Elem,
    live: usize,
) {
    let rows = Rows::new::<V>(plan, lay, live);
    for i in 0..plan.target[0] {
        let row =
            (plan.target_start[0] + i * plan.target_step[0]) * plan.target_plane[1] + plan.target_start[1];
        let to = Targets {
            // SAFETY: the row is one of the target plane.
            y: unsafe { y.add(row * lay.lanes) },
            plane: plan.target_plane[0] * plan.target_plane[1] * lay.lanes,
            step: plan.target_step[1] * lay.lanes,
        };
        // SAFETY: as the caller vouches, for row i.
        unsafe { rows.run::<V>(i, w, b, x, to) };
    }
}

/// A correlation prepared to compute any of its rows: which columns are inside, and the register tiles.
pub(crate) struct Rows<'a> {
    plan: &'a Correlation,
    lay: Lay,
    live: usize,
    interior: (usize, usize),
    inner: (usize, usize),
    edge: (usize, usize),
}

/// Where the targets of a row lie: group 0 of column 0, from a group to the next, from a column to the next.
#[derive(Clone, Copy)]
pub(crate) struct Targets<T> {
    pub(crate) y: *mut T,
    pub(crate) plane: usize,
    pub(crate) step: usize,
}

impl<'a> Rows<'a> {
    #[inline(always)]
    pub(crate) fn new<V: Vector>(plan: &'a Correlation, lay: Lay, live: usize) -> Self {
        let interior @ (from, to) = plan.interior();
        let inner = best_shape::<V>(plan.groups, to - from);
        let edge = best_shape::<V>(plan.groups, live.div_ceil(V::LANES));
        Self { plan, lay, live, interior, inner, edge }
    }

    /// Computes row `i` of all groups.
    ///
    /// # Safety
    /// As [`correlate`], for this row.
    #[inline(always)]
    pub(crate) unsafe fn run<V: Vector>(
        &self,
        i: usize,
        w: *const V::Elem,
        b: *const V::Elem,
        x: *const V::Elem,
        to: Targets<V::Elem>,
    ) {
        let Self { plan, lay, live, .. } = *self;
        let mut storage = [const { MaybeUninit::uninit() }; MAX_TAPS];
        let us = plan.live(0, i);
        let (from, end) = self.interior;
        // SAFETY: as the caller vouches; the taps are those that meet the source.
        unsafe {
            if from < end {
                let taps = plan.row_taps(lay, i, us, (0, plan.taps[1]), &mut storage);
                let pixel = lay.pixel * plan.source_step[1];
                let mut row = CorrelationRow { plan, lay, pixel, w, b, x, to, taps };
                // All lanes, which share cache lines, before the next row.
                for _ in (0..live).step_by(V::LANES) {
                    cover::<V>(&row, [self.inner; 2], plan.groups, self.interior);
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
                    let border = Border { plan, lay, i, us, w, b, x, to };
                    if columns.start == 0 {
                        border.run::<V, true>(count, sources, live);
                    } else {
                        let x = x.wrapping_add((plan.source[1] - sources) * lay.pixel);
                        Border { x, ..border }.run::<V, false>(count, sources, live);
                    }
                    continue;
                }
                for j in columns {
                    // Every column has taps of its own, and so the tiles' columns are its vectors of lanes.
                    let taps = plan.row_taps(lay, i, us, plan.live(1, j), &mut storage);
                    let x = x.wrapping_add(j * lay.pixel * plan.source_step[1]);
                    let to = Targets { y: to.y.wrapping_add(j * to.step), step: V::LANES, ..to };
                    let column = CorrelationRow { plan, lay, pixel: V::LANES, w, b, x, to, taps };
                    cover::<V>(&column, [self.edge; 2], plan.groups, (0, live.div_ceil(V::LANES)));
                }
            }
        }
    }
}

/// Where a tap finds its source and its weight, in numbers from those of target column 0 of the row, and of the group.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Tap {
    pub(super) x: isize,
    pub(super) w: isize,
}

/// The largest kernel, in taps.
pub(super) const MAX_TAPS: usize = 1024;

impl Correlation {
    /// The taps of target row `i` in kernel rows `us` and columns `vs`, in order.
    #[inline(always)]
    fn row_taps<'a>(
        &self,
        lay: Lay,
        i: usize,
        us: (usize, usize),
        vs: (usize, usize),
        storage: &'a mut [MaybeUninit<Tap>; MAX_TAPS],
    ) -> &'a [Tap] {
        let first = (i * self.source_step[0]) as isize + self.offset[0];
        let x = |u: usize, v: usize| {
            (first + u as isize) * lay.pitch as isize + (v as isize + self.offset[1]) * lay.tap as isize
        };
        self.tap_table(us, vs, x, storage)
    }

    /// What the sums of a tile of groups from `g` on begin with, the biases or zero, and where the groups' weights are.
    ///
    /// # Safety
    /// The groups must exist, and `b`, unless it is null, have a bias for each.
    #[inline(always)]
    pub(super) unsafe fn begin<V: Vector, const R: usize, const C: usize>(
        &self,
        g: usize,
        w: *const V::Elem,
        b: *const V::Elem,
    ) -> ([[V; C]; R], [*const V::Elem; R]) {
        let (mut acc, mut weights) = ([[V::splat(V::Elem::ZERO); C]; R], [w; R]);
        for r in 0..R {
            if !b.is_null() {
                // SAFETY: the caller vouches for the bias.
                acc[r] = [V::splat(unsafe { *b.add(g + r) }); C];
            }
            weights[r] = w.wrapping_offset((g + r) as isize * self.w_group);
        }
        (acc, weights)
    }

    /// The taps in kernel rows `us` and columns `vs`, in order; `x` says where each finds its source.
    #[inline(always)]
    pub(super) fn tap_table<'a>(
        &self,
        us: (usize, usize),
        vs: (usize, usize),
        x: impl Fn(usize, usize) -> isize,
        storage: &'a mut [MaybeUninit<Tap>; MAX_TAPS],
    ) -> &'a [Tap] {
        let mut len = 0;
        for u in us.0..us.1 {
            for v in vs.0..vs.1 {
                let x = x(u, v);
                let w = self.w_start + u as isize * self.w_tap[0] + v as isize * self.w_tap[1];
                storage[len].write(Tap { x, w });
                len += 1;
            }
        }
        // SAFETY: the first len were written.
        unsafe { std::slice::from_raw_parts(storage.as_ptr().cast(), len) }
    }
}

/// One row of all groups: tiles of groups x columns, whose sources lie `pixel` numbers apart.
struct CorrelationRow<'a, T> {
    plan: &'a Correlation,
    lay: Lay,
    pixel: usize,
    w: *const T,
    b: *const T,
    x: *const T,
    to: Targets<T>,
    taps: &'a [Tap],
}

impl<T: Scalar> Tile<T> for CorrelationRow<'_, T> {
    #[inline(always)]
    unsafe fn at<V: Vector<Elem = T>, const R: usize, const C: usize>(
        &self,
        g: usize,
        j: usize,
        _fresh: (usize, usize),
    ) {
        let Self { plan, lay, pixel, w, b, x, to, taps } = *self;
        // SAFETY: the taps meet the source for every column of the tile; the caller vouches for the rest. Pointers to
        // column 0 may lie before the source, so they are only followed with a tap's offset added.
        unsafe {
            let (mut acc, weights) = plan.begin::<V, R, C>(g, w, b);
            let weights = held::<_, R, 2>(weights);
            let mut x = x.wrapping_add(j * pixel);
            let mut channel = 0;
            for _ in 0..plan.channels {
                for tap in taps {
                    let x = x.wrapping_offset(tap.x);
                    let mut sources = [x; C];
                    for p in 0..C {
                        sources[p] = x.wrapping_add(p * pixel);
                    }
                    let at = [channel + tap.w, 0];
                    add_product::<V, R, C, false>(&mut acc, weights, sources, at);
                }
                channel += plan.w_channel;
                x = x.wrapping_add(lay.plane);
            }
            let mut y = to.y.add(g * to.plane + j * to.step);
            for r in 0..R {
                for p in 0..C {
                    acc[r][p].store(y.add(p * to.step));
                }
                y = y.wrapping_add(to.plane);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Conv2d;

    /// Rows of 2^20 pixels of sixteen lanes: the last tap reads more than 2^31 numbers behind the first.
    #[test]
    fn offsets_of_far_taps_are_whole() {
        let conv = Conv2d::new([1, 129, 1 << 20], 1, [129, 1], [1, 1 << 18], [0, 0]).unwrap();
        let (plan, pitch) = (conv.forward_plan(), 16 << 20);
        let mut storage = [const { MaybeUninit::uninit() }; MAX_TAPS];
        let taps = plan.row_taps(Lay::tiled(plan.source), 0, (0, 129), (0, 1), &mut storage);
        let wanted: Vec<Tap> = (0..129).map(|u| Tap { x: u * pitch, w: u }).collect();
        assert_eq!(taps, wanted);
    }
}
