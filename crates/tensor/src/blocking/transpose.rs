//! Matrices transposed: channels first to channels last, and back.

use crate::layout::LANES;
use crate::number::Number;
use crate::simd::{Kernel, Vector};

/// `to[j * to_pitch + i] = from[i * from_pitch + j]` for `i < rows`, `j < columns`.
pub(crate) struct Transpose<'a, T> {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) from: &'a [T],
    pub(crate) from_pitch: usize,
    pub(crate) to: &'a mut [T],
    pub(crate) to_pitch: usize,
}

impl<T: Number> Kernel<T> for Transpose<'_, T> {
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

/// `to[j][c] = planes[c][first + j]` for up to sixteen planes of `len` numbers, zero behind their end.
#[inline(always)]
pub(crate) fn transpose_planes<V: Vector>(
    planes: &[V::Elem],
    len: usize,
    first: usize,
    to: &mut [V::Elem; LANES * LANES],
) {
    let mut square = [V::Elem::ZERO; LANES * LANES];
    let count = LANES.min(len - first);
    for (plane, row) in planes.chunks_exact(len).zip(square.chunks_exact_mut(LANES)) {
        match (plane[first..].first_chunk::<LANES>(), row.first_chunk_mut::<LANES>()) {
            (Some(plane), Some(row)) => *row = *plane,
            _ => row[..count].copy_from_slice(&plane[first..]),
        }
    }
    // SAFETY: both squares hold 16 x 16 numbers.
    unsafe { V::transpose16(square.as_ptr(), LANES, [LANES; 2], to.as_mut_ptr(), LANES) };
}
