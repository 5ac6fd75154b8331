//! The products: one matrix product for each of the sixteen places of a transformed output tile.

use super::transform::PLACES;
use crate::blocking::{best_shape, cover, product, rest_shape};
use crate::number::Number;
use crate::simd::{Kernel, MicroKernel, Vector};
use std::ops::Range;

/// Matrices, one a place: the first place's numbers begin with it.
#[derive(Clone, Copy)]
pub(super) struct Matrices<T> {
    pub(super) numbers: T,
    /// Numbers from one place to the next.
    pub(super) place: usize,
    /// Numbers from one row to the next.
    pub(super) row: usize,
}

/// `to[place] = a[place] b[place]`, or `a[place]^T b[place]`: `[rows x columns] = [rows x k] * [k x columns]`, each sum in the
/// order of `k`. The rows of `b` and `to` are whole vectors.
pub(crate) struct Products<'a, T> {
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) k: usize,
    pub(super) a: Matrices<&'a [T]>,
    pub(super) transposed: bool,
    pub(super) b: Matrices<&'a [T]>,
    pub(super) to: Matrices<&'a mut [T]>,
    /// Places that begin their sums with what is there.
    pub(super) added_to: Range<usize>,
}

impl<T: Number> Kernel<T> for Products<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Elem = T>>(self) {
        if self.transposed { self.multiply::<V, true>() } else { self.multiply::<V, false>() }
    }
}

impl<T: Number> Products<'_, T> {
    #[inline(always)]
    fn multiply<V: Vector<Elem = T>, const TRANSPOSED: bool>(self) {
        let Self { rows, columns, k, a, b, to, added_to, .. } = self;
        if rows == 0 || columns == 0 || k == 0 {
            return;
        }
        let whole = columns.next_multiple_of(V::LANES);
        let [a_rows, a_columns] = if TRANSPOSED { [k, rows] } else { [rows, k] };
        assert!((PLACES - 1) * a.place + (a_rows - 1) * a.row + a_columns <= a.numbers.len());
        assert!((PLACES - 1) * b.place + (k - 1) * b.row + whole <= b.numbers.len());
        assert!((PLACES - 1) * to.place + (rows - 1) * to.row + whole <= to.numbers.len());
        let vectors = columns.div_ceil(V::LANES);
        let shape = best_shape::<V>(rows, vectors);
        let shapes = [shape, rest_shape::<V>(shape, rows, vectors)];
        for place in 0..PLACES {
            // SAFETY: the last number of the last place of each matrix exists, as was just checked; the shapes fit.
            unsafe {
                let products = RowsByColumns::<T, TRANSPOSED> {
                    a: a.numbers.as_ptr().add(place * a.place),
                    a_row: a.row,
                    b: b.numbers.as_ptr().add(place * b.place),
                    b_row: b.row,
                    k,
                    to: to.numbers.as_mut_ptr().add(place * to.place),
                    to_row: to.row,
                    add: added_to.contains(&place),
                };
                cover::<V>(&products, shapes, rows, (0, vectors));
            }
        }
    }
}

/// Blocks of rows x vectors of columns.
struct RowsByColumns<T, const TRANSPOSED: bool> {
    a: *const T,
    a_row: usize,
    b: *const T,
    b_row: usize,
    k: usize,
    to: *mut T,
    to_row: usize,
    add: bool,
}

impl<T: Number, const TRANSPOSED: bool> MicroKernel<T> for RowsByColumns<T, TRANSPOSED> {
    #[inline(always)]
    unsafe fn block<V: Vector<Elem = T>, const R: usize, const C: usize>(
        &self,
        r0: usize,
        c0: usize,
        fresh: (usize, usize),
    ) {
        let Self { a, a_row, b, b_row, k, to, to_row, add } = *self;
        let mut acc = [[V::splat(V::Elem::ZERO); C]; R];
        // SAFETY: the caller vouches for rows and columns; the matrices were checked against their lengths.
        unsafe {
            let to = to.add(r0 * to_row + c0 * V::LANES);
            if add {
                for r in 0..R {
                    for c in 0..C {
                        acc[r][c] = V::load(to.add(r * to_row + c * V::LANES));
                    }
                }
            }
            let mut columns = [b; C];
            for c in 0..C {
                columns[c] = b.add((c0 + c) * V::LANES);
            }
            product::<V, R, C, TRANSPOSED, 0>(&mut acc, a, a_row, r0, columns, b_row, k);
            for r in 0..R {
                for c in 0..C {
                    // What a block that began earlier computes again has been added to already.
                    if !add || (r0 + r >= fresh.0 && c0 + c >= fresh.1) {
                        acc[r][c].store(to.add(r * to_row + c * V::LANES));
                    }
                }
            }
        }
    }
}
