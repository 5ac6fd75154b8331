//! A correlation over a tile of few samples: its target rows are folded in turn.

use super::correlation::Correlation;
use super::strides::Strides;
use crate::geometry::Conv2d;
use crate::kernels::conv::fold::{Fold, odd_plane};
use crate::layout::LANES;
use crate::number::Number;

/// A correlation over one tile, its target rows folded in turn.
pub(crate) struct FoldedRows {
    /// Over the folded source, into folded targets that lie side by side.
    pub(crate) plan: Correlation,
    pub(crate) source: Fold,
}

impl FoldedRows {
    pub(crate) fn new(plan: &Correlation, strides: Strides, parts: usize) -> Self {
        let ([rows, columns], [step, step_columns]) = (plan.source, plan.source_step);
        // From the row of which only the last part is there.
        let before = (parts - 1) * step;
        let count = rows + before;
        let source = Fold {
            parts,
            planes: plan.channels_in,
            rows,
            columns,
            plane: strides.plane,
            first: -(before as isize),
            part_stride: step,
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
        let Correlation { channels_out, target: [rows, columns], .. } = self.plan;
        channels_out * rows * columns * LANES
    }

    /// Puts the folded targets where `plan` wants them. Lanes without a sample get zeros.
    #[inline(always)]
    pub(crate) fn unfold<T: Number>(&self, plan: &Correlation, from: &[T], to: &mut [T]) {
        if self.source.parts == 4 {
            self.lanes::<T, 4>(plan, from, to)
        } else {
            self.lanes::<T, 8>(plan, from, to)
        }
    }

    /// The same with `N` lanes a part.
    #[inline(always)]
    fn lanes<T: Number, const N: usize>(&self, plan: &Correlation, from: &[T], to: &mut [T]) {
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

/// Scratch for what is folded of either pass: enough for two parts and for four.
pub(super) fn scratch_len(conv: &Conv2d) -> usize {
    let Conv2d { c_in, h_in, w_in, c_out, stride: [sh, _], .. } = *conv;
    let (h_out, w_out) = (conv.h_out(), conv.w_out());
    // Four parts have more rows of the source, two more of the targets.
    let targets = |planes: usize, rows: usize, columns: usize| planes * rows.div_ceil(2) * columns * LANES;
    let forward = c_in * odd_plane(h_in + 3 * sh, w_in) + targets(c_out, h_out, w_out);
    let backward = c_out * odd_plane(h_out + 3, w_out) + targets(c_in, h_in, w_in);
    forward.max(backward)
}
