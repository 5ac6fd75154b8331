//! The operands of the weight gradient, packed block by block in the order in which the product walks through them.

use crate::geometry::Dense;
use crate::layout::{Block, Input, LANES, RowView};
use crate::number::Number;
use crate::simd::{Kernel, Vector};

/// What [`Dense::keep`](crate::Dense::keep) kept.
#[derive(Clone, Copy, Debug)]
pub struct Kept<'a, T> {
    /// The samples, as if they were one block.
    pub(crate) block: Block,
    /// Samples that fit.
    pub(crate) room: usize,
    pub(crate) numbers: &'a [T],
    /// x, if it was not kept.
    pub(crate) rows: Option<RowView<'a, T>>,
}

impl<'a, T> Kept<'a, T> {
    /// The samples of `block` in a buffer with the [length](crate::Dense::kept_len) for `largest`.
    ///
    /// # Panics
    /// If `largest` has more samples than memory can hold.
    #[track_caller]
    pub fn new(block: Block, largest: Block, numbers: &'a [T]) -> Self {
        Self { block, room: largest.len(1), numbers, rows: None }
    }

    /// The same with x as rows, where only dy was kept.
    #[must_use]
    pub fn with_rows(self, rows: RowView<'a, T>) -> Self {
        Self { rows: Some(rows), ..self }
    }

    /// Where x lies. The distances that are constants are told as such.
    #[inline(always)]
    pub(super) fn x(&self) -> Strip<T> {
        match &self.rows {
            Some(rows) => Strip { x: rows.numbers.as_ptr(), sample: rows.stride, sixteen: LANES },
            None => Strip { x: self.numbers.as_ptr(), sample: LANES, sixteen: self.room * LANES },
        }
    }

    /// The columns of dy.
    #[inline(always)]
    pub(super) fn dy(&self, inputs: usize) -> &'a [T] {
        match self.rows {
            Some(_) => self.numbers,
            None => &self.numbers[inputs.next_multiple_of(LANES) * self.room..],
        }
    }
}

impl<T> Default for Kept<'_, T> {
    fn default() -> Self {
        Self::new(Block::tiled(0), Block::tiled(0), &[])
    }
}

/// Where x of some inputs lies.
#[derive(Clone, Copy)]
pub(super) struct Strip<T> {
    pub(super) x: *const T,
    /// From one sample to the next, and from sixteen inputs to the next.
    pub(super) sample: usize,
    pub(super) sixteen: usize,
}

/// Packs the operands of a block.
pub(crate) struct Keep<'a, T> {
    pub(crate) dense: Dense,
    pub(crate) block: Block,
    pub(crate) x: Input<'a, T>,
    pub(crate) dy: &'a [T],
    pub(crate) first: usize,
    /// Samples that fit into `kept`.
    pub(crate) room: usize,
    pub(crate) kept: &'a mut [T],
}

impl<T: Number> Kernel<T> for Keep<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Elem = T>>(self) {
        let Self { dense, block, x, dy, first, room, kept } = self;
        let (Dense { inputs, outputs }, lanes) = (dense, block.lanes());
        // Rows are read where they are.
        let (x, panels) = match x {
            Input::Block(x) => (Some(x), inputs.next_multiple_of(LANES) * room),
            Input::Rows(_) => (None, 0),
        };
        let (panels, columns) = kept.split_at_mut(panels);
        if room == 1 {
            // One sample: its panels are a row, its columns another.
            if let Some(x) = x {
                let (row, rest) = panels.split_at_mut(inputs);
                row.copy_from_slice(x);
                rest.fill(T::ZERO);
            }
            return columns.copy_from_slice(dy);
        }
        for (t, x) in x.into_iter().flat_map(|x| x.chunks_exact(inputs * lanes).enumerate()) {
            let (first, live) = (first + t * lanes, block.live(t));
            for (x, panel) in x.chunks(LANES * lanes).zip(panels.chunks_exact_mut(room * LANES)) {
                let to = &mut panel[first * LANES..][..lanes * LANES];
                if let (1, Some(x), Some(to)) =
                    (lanes, x.first_chunk::<LANES>(), to.first_chunk_mut::<LANES>())
                {
                    *to = *x;
                } else if lanes == 1 {
                    to[..x.len()].copy_from_slice(x);
                    to[x.len()..].fill(T::ZERO);
                } else {
                    // Sixteen features, of the last panel fewer, padded with zeros; of the samples those that live.
                    // SAFETY: both squares hold 16 x 16 numbers.
                    unsafe {
                        if x.len() == LANES * LANES {
                            V::transpose16(x.as_ptr(), LANES, [live, LANES], to.as_mut_ptr(), LANES);
                        } else {
                            let mut square = [T::ZERO; LANES * LANES];
                            square[..x.len()].copy_from_slice(x);
                            V::transpose16(square.as_ptr(), LANES, [live, LANES], to.as_mut_ptr(), LANES);
                        }
                    }
                }
            }
        }
        for (t, dy) in dy.chunks_exact(outputs * lanes).enumerate() {
            for (column, dy) in columns.chunks_exact_mut(room).zip(dy.chunks_exact(lanes)) {
                let column = &mut column[first + t * lanes..];
                match (dy.first_chunk::<LANES>(), column.first_chunk_mut::<LANES>()) {
                    (Some(dy), Some(column)) => *column = *dy,
                    _ => column[0] = dy[0],
                }
            }
        }
    }
}
