//! Sums of sixteen partial sums, in an order that no vector width changes.

use crate::layout::LANES;
use crate::number::Number;
use crate::simd::Vector;

/// `to[i] += the sum of row i of sums`, rows of sixteen numbers, each in the tree of [`sum16`](Vector::sum16).
#[inline(always)]
pub(crate) fn add_sums<V: Vector>(sums: &[V::Elem], to: &mut [V::Elem]) {
    let mut blocks = sums.chunks_exact(LANES * LANES);
    let mut targets = to.chunks_exact_mut(LANES);
    for (sums, to) in (&mut blocks).zip(&mut targets) {
        let mut own = [V::Elem::ZERO; LANES];
        // SAFETY: there are 16 rows of 16 numbers, and 16 sums.
        unsafe { V::sum_rows(sums.as_ptr(), own.as_mut_ptr()) };
        to.iter_mut().zip(own).for_each(|(to, own)| *to += own);
    }
    for (to, sums) in targets.into_remainder().iter_mut().zip(blocks.remainder().chunks_exact(LANES)) {
        // SAFETY: a row holds 16 numbers.
        *to += unsafe { V::sum16(sums.as_ptr()) };
    }
}

/// Adds a row of numbers to sixteen sums: number `i` to sum `i mod 16`, in order.
#[inline(always)]
pub(crate) fn add_row<V: Vector>(row: &[V::Elem], sums: &mut [V::Elem; LANES]) {
    let (chunks, rest) = row.as_chunks::<LANES>();
    for i in (0..LANES).step_by(V::LANES) {
        // SAFETY: sixteen numbers are a whole number of vectors.
        unsafe {
            let mut sum = V::load(sums.as_ptr().add(i));
            for chunk in chunks {
                sum = sum.add(V::load(chunk.as_ptr().add(i)));
            }
            sum.store(sums.as_mut_ptr().add(i));
        }
    }
    sums.iter_mut().zip(rest).for_each(|(sum, &d)| *sum += d);
}
