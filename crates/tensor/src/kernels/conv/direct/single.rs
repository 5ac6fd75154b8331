//! Correlations of a single sample, over planes as one long row each: a vector of neighbouring targets runs on from row to row, so that
//! narrow images fill it too, and one block computes targets of several rows, which share each weight.
//!
//! Target `(i, j)` is number `i * pitch + j`, and its tap `(u, v)` the number `u * pitch + v` further on in the source. For that
//! both have rows of one pitch, and the source as many zeros between rows as taps may reach over.
//!
//! With strides `s` and `t` the padded source is parted into phases, `(row mod s, column mod t)`, a plane each: tap `(u, v)` finds the
//! numbers of neighbouring targets side by side in phase `(u mod s, v mod t)`, the first at `(u / s) * pitch + v / t`.

use super::correlation::{Correlation, Tap};
use crate::blocking::{add_product, best_shape, cover, opaque};
use crate::geometry::MAX_TAPS;
use crate::layout::LANES;
use crate::number::Number;
use crate::simd::{MicroKernel, Vector};
use std::mem::MaybeUninit;

/// Numbers that may be read or written behind the end of planes.
const OVERHANG: usize = LANES;

/// Where the numbers of a correlation lie.
#[derive(Clone, Copy)]
pub(crate) struct Flat {
    plan: Correlation,
    /// Numbers from one row to the next, of source and target.
    pub(crate) pitch: usize,
    /// Zeros before the source's first row and column.
    before: [usize; 2],
    /// Phases that taps read, along rows and columns.
    phases: [usize; 2],
    /// From one phase of the padded source to the next.
    phase: usize,
}

impl Flat {
    /// For a correlation that [suits](Self::suits).
    #[inline(always)]
    pub(crate) fn new(plan: &Correlation) -> Self {
        debug_assert!(Self::suits(plan));
        let before = plan.offset.map(|offset| (-offset).max(0) as usize);
        let phases = [0, 1].map(|axis| plan.source_step[axis].min(plan.taps[axis]));
        if plan.source_step != [1, 1] {
            let [rows, pitch] =
                [0, 1].map(|axis| plan.target[axis] + (plan.taps[axis] - 1) / plan.source_step[axis]);
            return Self { plan: *plan, pitch, before, phases, phase: rows * pitch };
        }
        let after = [0, 1].map(|axis| {
            let end = (plan.target[axis] + plan.taps[axis] - 1) as isize + plan.offset[axis];
            (end - plan.source[axis] as isize).max(0) as usize
        });
        // Those behind a row are before the next one too.
        let between = before[1].max(after[1]);
        let pitch = plan.source[1] + between;
        let phase = (before[0] + plan.source[0] + after[0]) * pitch + between;
        Self { plan: *plan, pitch, before, phases, phase }
    }

    /// Whether there is no source before the first tap of the first target.
    #[inline]
    pub(crate) fn suits(plan: &Correlation) -> bool {
        plan.offset.iter().all(|&offset| offset <= 0)
    }

    /// Numbers from one channel of the padded source to the next.
    #[inline]
    fn plane(&self) -> usize {
        self.phases[0] * self.phases[1] * self.phase
    }

    /// Numbers from one output channel of targets to the next.
    #[inline]
    pub(crate) fn target_plane(&self) -> usize {
        self.plan.target[0] * self.pitch
    }

    /// Numbers of all targets, with what is written behind them.
    #[inline]
    pub(crate) fn targets_len(&self) -> usize {
        self.plan.channels_out * self.target_plane() + OVERHANG
    }

    /// Numbers of the padded source, with what is read behind it.
    #[inline]
    pub(crate) fn source_len(&self) -> usize {
        self.plan.channels_in * self.plane() + OVERHANG
    }

    /// Scratch of [`run`](Self::run).
    pub(super) fn scratch_len(&self) -> usize {
        self.targets_len() + self.source_len()
    }

    /// Computes all targets into `y`, in rows of the target's plane.
    ///
    /// # Safety
    /// `w` and `b` (or null) must be valid for every address the plan names; `x` and `y` must have its lengths, `scratch` the
    /// [length](Self::scratch_len) of its own.
    #[inline(always)]
    pub(super) unsafe fn run<V: Vector>(
        &self,
        w: *const V::Elem,
        b: *const V::Elem,
        x: &[V::Elem],
        y: &mut [V::Elem],
        scratch: &mut [V::Elem],
    ) {
        let blocks = Blocks::new::<V>(self);
        let (targets, source) = scratch.split_at_mut(self.targets_len());
        let Correlation { target: [rows, columns], target_plane, target_start, target_step, .. } = self.plan;
        let is_whole = target_plane == [rows, columns];
        // SAFETY: as the caller vouches; where rows have no numbers between them, and no vector ends behind them, y is what is computed.
        unsafe {
            if is_whole && self.pitch == columns && blocks.end_inside {
                return self.run_blocks::<V>(blocks, w, b, x, y.as_mut_ptr(), source);
            }
            self.run_blocks::<V>(blocks, w, b, x, targets.as_mut_ptr(), source);
            for (from, to) in targets
                .chunks_exact(self.target_plane())
                .zip(y.chunks_exact_mut(target_plane[0] * target_plane[1]))
            {
                if is_whole {
                    copy_rows::<V>(from, self.pitch, to, columns, [rows, columns]);
                    continue;
                }
                for (i, from) in from.chunks_exact(self.pitch).enumerate() {
                    let first = (target_start[0] + i * target_step[0]) * target_plane[1] + target_start[1];
                    let to = to[first..].iter_mut().step_by(target_step[1]);
                    to.zip(&from[..columns]).for_each(|(to, from)| *to = *from);
                }
            }
        }
    }

    /// Computes all targets into planes of rows `pitch` numbers apart; what lies between the rows is rubbish.
    ///
    /// # Safety
    /// As [`run`](Self::run); `targets` and `source` must have their lengths.
    #[inline(always)]
    pub(crate) unsafe fn run_flat<V: Vector>(
        &self,
        w: *const V::Elem,
        b: *const V::Elem,
        x: &[V::Elem],
        targets: &mut [V::Elem],
        source: &mut [V::Elem],
    ) {
        debug_assert!(targets.len() >= self.targets_len());
        // SAFETY: as the caller vouches.
        unsafe { self.run_blocks::<V>(Blocks::new::<V>(self), w, b, x, targets.as_mut_ptr(), source) };
    }

    /// Computes all targets into `y`.
    ///
    /// # Safety
    /// As [`run_flat`](Self::run_flat); `y` needs no more room than the blocks reach.
    #[inline(always)]
    unsafe fn run_blocks<V: Vector>(
        &self,
        blocks: Blocks,
        w: *const V::Elem,
        b: *const V::Elem,
        x: &[V::Elem],
        y: *mut V::Elem,
        source: &mut [V::Elem],
    ) {
        let Self { plan, pitch, before, phases, phase } = *self;
        let Blocks { count, columns, shape, end_inside } = blocks;
        let size @ [rows, width] = plan.source;
        let [down, right] = plan.source_step;
        let is_stepping = plan.source_step != [1, 1];
        // What is dense already is read where it is.
        let is_dense = !is_stepping && phase == rows * width && end_inside;
        if !is_dense {
            source[..self.source_len()].fill(V::Elem::ZERO);
            for (from, to) in x.chunks_exact(rows * width).zip(source.chunks_exact_mut(self.plane())) {
                if is_stepping {
                    self.part(from, to);
                    continue;
                }
                // SAFETY: the rows lie between the zeros before and after them.
                unsafe { copy_rows::<V>(from, width, &mut to[before[0] * pitch + before[1]..], pitch, size) };
            }
        }
        let x = if is_dense { x.as_ptr() } else { source.as_ptr() };
        let mut storage = [const { MaybeUninit::uninit() }; MAX_TAPS];
        let [u, v] = plan.taps;
        let place =
            |u: usize, v: usize| (u % down * phases[1] + v % right) * phase + u / down * pitch + v / right;
        let taps = plan.tap_table((0, u), (0, v), |u, v| place(u, v) as isize, &mut storage);
        let targets = Targets { flat: self, count, w, b, x, y, taps };
        // SAFETY: the caller vouches for channels; every tap of every target lies in the padded source.
        unsafe { cover::<V>(&targets, [shape; 2], plan.channels_out, (0, columns)) };
    }

    /// Parts a channel of the source into its phases. What no tap reads is left out.
    #[inline(always)]
    fn part<T: Number>(&self, from: &[T], to: &mut [T]) {
        let Self { plan, pitch, before, phases, phase } = *self;
        let [down, right] = plan.source_step;
        for (r, from) in from.chunks_exact(plan.source[1]).enumerate() {
            let row = before[0] + r;
            let first = row % down * phases[1] * phase + row / down * pitch;
            if row % down >= phases[0] || row / down * pitch >= phase {
                continue;
            }
            for column in 0..phases[1] {
                // The first source of this phase, and the one of the padded row that it is.
                let skip = (column + right - before[1] % right) % right;
                let at = (before[1] + skip) / right;
                let to = to[first + column * phase..][..pitch].iter_mut().skip(at);
                to.zip(from.iter().skip(skip).step_by(right)).for_each(|(to, from)| *to = *from);
            }
        }
    }
}

/// Copies a plane of `[rows, columns]`.
///
/// # Safety
/// Both must hold it, with rows so far apart.
#[inline(always)]
unsafe fn copy_rows<V: Vector>(
    from: &[V::Elem],
    from_pitch: usize,
    to: &mut [V::Elem],
    to_pitch: usize,
    [rows, columns]: [usize; 2],
) {
    for row in 0..rows {
        // SAFETY: the caller vouches for the rows.
        unsafe {
            let (from, to) = (from.as_ptr().add(row * from_pitch), to.as_mut_ptr().add(row * to_pitch));
            for j in (0..columns).step_by(V::LANES) {
                let n = V::LANES.min(columns - j);
                V::load_first(from.add(j), n).store_first(to.add(j), n);
            }
        }
    }
}

/// The blocks that cover a correlation.
#[derive(Clone, Copy)]
struct Blocks {
    /// Numbers of a plane up to the last target.
    count: usize,
    /// Vectors that hold them.
    columns: usize,
    shape: (usize, usize),
    /// A block is no wider than the targets: then no vector ends behind the last one.
    end_inside: bool,
}

impl Blocks {
    #[inline(always)]
    fn new<V: Vector>(Flat { plan, pitch, .. }: &Flat) -> Self {
        let count = (plan.target[0] - 1) * pitch + plan.target[1];
        let columns = count.div_ceil(V::LANES);
        let shape = best_shape::<V>(plan.channels_out, columns);
        Self { count, columns, shape, end_inside: count >= shape.1 * V::LANES }
    }
}

/// Blocks of output channels x vectors of targets.
struct Targets<'a, T> {
    flat: &'a Flat,
    /// Numbers of a plane up to the last target.
    count: usize,
    w: *const T,
    b: *const T,
    x: *const T,
    y: *mut T,
    taps: &'a [Tap],
}

impl<T: Number> MicroKernel<T> for Targets<'_, T> {
    #[inline(always)]
    unsafe fn block<V: Vector<Elem = T>, const R: usize, const C: usize>(
        &self,
        o: usize,
        j: usize,
        _fresh: (usize, usize),
    ) {
        let Self { flat, count, w, b, x, y, taps } = *self;
        let Flat { plan, pitch, .. } = flat;
        let (plane, y_plane) = (flat.plane(), flat.target_plane());
        // The last block begins earlier, so that it ends with the last target.
        let first = (j * V::LANES).min(count.saturating_sub(C * V::LANES));
        let last = (first + C * V::LANES).min(count) - 1;
        // Taps that meet the source for none of the block's rows are left out; the others may meet zeros.
        // No padded plane has 2^32 numbers, and 32 bits are divided faster.
        let row = |target: usize| (target as u32 / *pitch as u32) as usize;
        let (from, to) = (plan.tap_range(0, row(last)).0, plan.tap_range(0, row(first)).1);
        let taps = &taps[from * plan.taps[1]..to.max(from) * plan.taps[1]];
        // SAFETY: the caller vouches for the output channels; vectors end before the overhang does.
        unsafe {
            let (mut acc, mut weights) = plan.begin::<V, R, C>(o, w, b);
            let mut x = x.add(first);
            for _ in 0..plan.channels_in {
                let rows = opaque::<_, R, C>(weights);
                let mut sources = [x; C];
                for c in 0..C {
                    sources[c] = x.wrapping_add(c * V::LANES);
                }
                for tap in taps {
                    add_product::<V, R, C, false>(&mut acc, rows, sources, [tap.w, tap.x]);
                }
                for r in 0..R {
                    weights[r] = weights[r].wrapping_offset(plan.w_in_stride);
                }
                x = x.wrapping_add(plane);
            }
            for r in 0..R {
                for c in 0..C {
                    acc[r][c].store(y.add((o + r) * y_plane + first + c * V::LANES));
                }
            }
        }
    }
}
