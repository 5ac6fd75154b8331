//! A tile of few samples as the weight gradient folds it: in bands of output rows.

use super::first_layer;
use super::gradient::Gradient;
use crate::geometry::Conv2d;
use crate::kernels::conv::fold::{Bands, Fold, odd_plane};
use crate::number::Number;

impl Bands {
    /// As the parameter gradient is folded.
    pub(crate) fn of_gradient(conv: &Conv2d, parts: usize) -> Self {
        let rows = conv.h_out();
        // Squares stay whole.
        Self::new(
            conv,
            parts,
            if first_layer::suits(conv) { even(rows, parts) } else { rows.div_ceil(parts) },
        )
    }

    /// Folds the gradient of the outputs.
    #[inline(always)]
    pub(crate) fn dy<'a, T: Number>(&self, dy: Gradient<'_, T>, to: &'a mut [T]) -> Gradient<'a, T> {
        let Gradient { dy, rows, columns, plane } = dy;
        let (parts, planes, count) = (self.x.parts, self.conv.c_out, self.conv.h_out());
        let to_plane = odd_plane(count, columns);
        Fold { parts, planes, rows, columns, plane, first: 0, part_stride: count, count, to_plane }
            .run(dy, to);
        Gradient { dy: to, rows: count, columns, plane: to_plane }
    }
}

/// The fewest rows a part, an even number of them.
fn even(rows: usize, parts: usize) -> usize {
    2 * rows.div_ceil(2 * parts)
}

/// Scratch for what is folded: enough for two parts and for four.
pub(crate) fn scratch_len(conv: &Conv2d) -> usize {
    Bands::new(conv, 2, even(conv.h_out(), 2)).len()
}
