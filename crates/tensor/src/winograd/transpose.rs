//! Matrices transposed: channels first to channels last, and back.

use crate::simd::{Kernel, Vector};
use crate::{LANES, Scalar};

/// `to[j * to_pitch + i] = from[i * from_pitch + j]` for `i < rows`, `j < columns`.
pub(crate) struct Transpose<'a, T> {
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) from: &'a [T],
    pub(super) from_pitch: usize,
    pub(super) to: &'a mut [T],
    pub(super) to_pitch: usize,
}

impl<T: Scalar> Kernel<T> for Transpose<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Elem = T>>(self) {
        let Self { rows, columns, from, from_pitch, to, to_pitch } = self;
        if rows < LANES || columns < LANES {
            for j in 0..columns {
                for i in 0..rows {
                    to[j * to_pitch + i] = from[i * from_pitch + j];
                }
            }
            return;
        }
        assert!((rows - 1) * from_pitch + columns <= from.len() && from_pitch >= columns);
        assert!((columns - 1) * to_pitch + rows <= to.len() && to_pitch >= rows);
        for i in (0..rows).step_by(LANES) {
            // A last square that would stick out begins earlier.
            let i = i.min(rows - LANES);
            for j in (0..columns).step_by(LANES) {
                let j = j.min(columns - LANES);
                // SAFETY: rows i..i + 16 and columns j..j + 16 exist in both matrices, as was just checked.
                unsafe {
                    let from = from.as_ptr().add(i * from_pitch + j);
                    V::transpose16(
                        from,
                        from_pitch,
                        [LANES; 2],
                        to.as_mut_ptr().add(j * to_pitch + i),
                        to_pitch,
                    );
                }
            }
        }
    }
}
