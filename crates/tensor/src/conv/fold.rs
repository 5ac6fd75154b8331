//! Tiles of so few samples that half of their lanes or more are empty, folded: what would be computed of one row of an image is
//! computed of two or four, each in its own part of the lanes. The kernels see a tile of sixteen samples whose images have fewer rows.
//!
//! A correlation's target rows are folded in turn, 2i and 2i + 1, which see nearly the same rows of the source; each number has the
//! same bits as without. The parameter gradient folds the rows of dy in bands, one below the other: the sums of a few lanes are
//! split into sixteen, on every processor.

use super::correlation::{Correlation, Lay};
use super::gradient::Gradient;
use super::{Conv2d, squares};
use crate::{LANES, Scalar};

/// Rows of planes side by side: row `r` of a folded plane has in part `p` of its lanes row `first + r + p * apart`, zeros where there is
/// no such row.
#[derive(Clone, Copy)]
pub(crate) struct Fold {
    pub(crate) parts: usize,
    pub(crate) planes: usize,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    /// Numbers from one plane to the next.
    pub(crate) plane: usize,
    pub(crate) first: isize,
    pub(crate) apart: usize,
    /// Rows of a folded plane.
    pub(crate) count: usize,
    /// Numbers from one folded plane to the next.
    pub(crate) to_plane: usize,
}

/// Numbers from one plane to the next where all planes of a pixel are read one after the other: an odd number of cache lines, or
/// they would all have the same place in the first cache.
pub(crate) fn odd_plane(rows: usize, columns: usize) -> usize {
    ((rows * columns) | 1) * LANES
}

impl Fold {
    /// Numbers that the folded planes take.
    pub(crate) fn len(&self) -> usize {
        self.planes * self.to_plane
    }

    /// Folds `from` into the first [`len`](Self::len) numbers of `to`.
    #[inline(always)]
    pub(crate) fn run<T: Scalar>(&self, from: &[T], to: &mut [T]) {
        if self.parts == 4 { self.lanes::<T, 4>(from, to) } else { self.lanes::<T, 8>(from, to) }
    }

    /// The same with `N` lanes a part.
    #[inline(always)]
    fn lanes<T: Scalar, const N: usize>(&self, from: &[T], to: &mut [T]) {
        let pitch = self.columns * LANES;
        let planes = from.chunks(self.plane).zip(to.chunks_exact_mut(self.to_plane)).take(self.planes);
        for (from, to) in planes {
            for (r, to) in to.chunks_exact_mut(pitch).take(self.count).enumerate() {
                for part in 0..LANES / N {
                    let row = self.first + (r + part * self.apart) as isize;
                    let lanes = part * N..(part + 1) * N;
                    let to = to.as_chunks_mut::<LANES>().0.iter_mut().map(|to| &mut to[lanes.clone()]);
                    if row < 0 || row >= self.rows as isize {
                        to.for_each(|to| to.fill(T::ZERO));
                    } else {
                        let from = from[row as usize * pitch..][..pitch].as_chunks::<LANES>().0;
                        to.zip(from).for_each(|(to, from)| to.copy_from_slice(&from[..N]));
                    }
                }
            }
        }
    }
}

/// A convolution over one tile, folded in bands of output rows.
#[derive(Clone, Copy)]
pub(crate) struct Bands {
    /// That of one band.
    pub(crate) conv: Conv2d,
    pub(crate) x: Fold,
}

impl Bands {
    /// Bands of so many output rows.
    pub(crate) fn new(conv: &Conv2d, parts: usize, rows: usize) -> Self {
        let [sh, _] = conv.stride;
        let count = (rows - 1) * sh + conv.kernel[0];
        let x = Fold {
            parts,
            planes: conv.c_in,
            rows: conv.h_in,
            columns: conv.w_in,
            plane: conv.h_in * conv.w_in * LANES,
            first: -(conv.pad[0] as isize),
            apart: rows * sh,
            count,
            to_plane: count * conv.w_in * LANES,
        };
        Self { conv: Conv2d { h_in: count, pad: [0, conv.pad[1]], ..conv.direct() }, x }
    }

    /// As the parameter gradient is folded.
    pub(crate) fn of_gradient(conv: &Conv2d, parts: usize) -> Self {
        let rows = conv.h_out();
        // Squares stay whole.
        Self::new(conv, parts, if squares::suits(conv) { even(rows, parts) } else { rows.div_ceil(parts) })
    }

    /// Folds the gradient of the outputs.
    #[inline(always)]
    pub(crate) fn dy<'a, T: Scalar>(&self, dy: Gradient<'_, T>, to: &'a mut [T]) -> Gradient<'a, T> {
        let Gradient { dy, rows, columns, plane } = dy;
        let (parts, planes, count) = (self.x.parts, self.conv.c_out, self.conv.h_out());
        let to_plane = odd_plane(count, columns);
        Fold { parts, planes, rows, columns, plane, first: 0, apart: count, count, to_plane }.run(dy, to);
        Gradient { dy: to, rows: count, columns, plane: to_plane }
    }

    /// Numbers that x and dy take.
    fn len(&self) -> usize {
        self.x.len() + self.conv.c_out * odd_plane(self.conv.h_out(), self.conv.w_out())
    }
}

/// The fewest rows a part, an even number of them.
fn even(rows: usize, parts: usize) -> usize {
    2 * rows.div_ceil(2 * parts)
}

/// A correlation over one tile, its target rows folded in turn.
pub(crate) struct InTurn {
    /// Over the folded source, into folded targets that lie side by side.
    pub(crate) plan: Correlation,
    pub(crate) source: Fold,
}

impl InTurn {
    pub(crate) fn new(plan: &Correlation, lay: Lay, parts: usize) -> Self {
        let ([rows, columns], [step, step_columns]) = (plan.source, plan.source_step);
        // From the row of which only the last part is there.
        let before = (parts - 1) * step;
        let count = rows + before;
        let source = Fold {
            parts,
            planes: plan.channels,
            rows,
            columns,
            plane: lay.plane,
            first: -(before as isize),
            apart: step,
            count,
            to_plane: odd_plane(count, columns),
        };
        let target = [plan.target[0].div_ceil(parts), plan.target[1]];
        let plan = Correlation {
            source: [count, columns],
            target,
            offset: [plan.offset[0] + before as isize, plan.offset[1]],
            source_step: [parts * step, step_columns],
            target_plane: target,
            target_start: [0, 0],
            target_step: [1, 1],
            ..*plan
        };
        Self { plan, source }
    }

    /// Numbers that the folded targets take.
    pub(crate) fn targets_len(&self) -> usize {
        let Correlation { groups, target: [rows, columns], .. } = self.plan;
        groups * rows * columns * LANES
    }

    /// Puts the folded targets where `plan` wants them. Lanes without a sample get zeros.
    #[inline(always)]
    pub(crate) fn unfold<T: Scalar>(&self, plan: &Correlation, from: &[T], to: &mut [T]) {
        if self.source.parts == 4 {
            self.lanes::<T, 4>(plan, from, to)
        } else {
            self.lanes::<T, 8>(plan, from, to)
        }
    }

    /// The same with `N` lanes a part.
    #[inline(always)]
    fn lanes<T: Scalar, const N: usize>(&self, plan: &Correlation, from: &[T], to: &mut [T]) {
        let ([rows, columns], [plane_rows, plane_columns]) = (plan.target, plan.target_plane);
        let ([first, left], [down, right]) = (plan.target_start, plan.target_step);
        let parts = LANES / N;
        let planes = from.chunks_exact(rows.div_ceil(parts) * columns * LANES);
        for (from, to) in planes.zip(to.chunks_exact_mut(plane_rows * plane_columns * LANES)) {
            for i in 0..rows {
                let from = from[i / parts * columns * LANES..].as_chunks::<LANES>().0.iter().take(columns);
                let to = &mut to[((first + i * down) * plane_columns + left) * LANES..];
                for (from, to) in from.zip(to.as_chunks_mut::<LANES>().0.iter_mut().step_by(right)) {
                    to[..N].copy_from_slice(&from[i % parts * N..][..N]);
                    to[N..].fill(T::ZERO);
                }
            }
        }
    }
}

/// Scratch for whatever is folded of a convolution: enough for two parts and for four.
pub(super) fn scratch_len(conv: &Conv2d) -> usize {
    let Conv2d { c_in, h_in, w_in, c_out, stride: [sh, _], .. } = *conv;
    let (h_out, w_out) = (conv.h_out(), conv.w_out());
    let bands = Bands::new(conv, 2, even(h_out, 2)).len();
    // Four parts have more rows of the source, two more of the targets.
    let targets = |planes: usize, rows: usize, columns: usize| planes * rows.div_ceil(2) * columns * LANES;
    let forward = c_in * odd_plane(h_in + 3 * sh, w_in) + targets(c_out, h_out, w_out);
    let backward = c_out * odd_plane(h_out + 3, w_out) + targets(c_in, h_in, w_in);
    bands.max(forward).max(backward)
}
