//! The inner loops of the products: what all the time is spent in.

use crate::layout::LANES;
use crate::number::Number;
use crate::simd::{Vector, prefetch};

/// Steps of a sum that a loop of [`product`] takes at once, for a block of so many sums: what counts and branches is paid for
/// once. Of a large block it is little, and compilers that see several steps of one load operands too early, and spill.
const fn unroll(sums: usize) -> usize {
    if sums > 16 { 1 } else { 4 }
}

/// `acc[r][c] += sum over k of a[r0 + r][k] * b[c][k * b_step ..][..LANES]`, or `a[k][r0 + r]`, a product `[R x k] * [k x C]`; rows
/// of `a` begin `a_row` apart. Where `b` comes from the second cache, `AHEAD` steps are asked for before they are due.
///
/// # Safety
/// Every address the formula names must be valid for reading.
#[inline(always)]
pub(crate) unsafe fn product<
    V: Vector,
    const R: usize,
    const C: usize,
    const TRANSPOSED: bool,
    const AHEAD: usize,
>(
    acc: &mut [[V; C]; R],
    a: *const V::Elem,
    a_row: usize,
    r0: usize,
    b: [*const V::Elem; C],
    b_step: usize,
    k: usize,
) {
    let (row, step) = if TRANSPOSED { (1, a_row) } else { (a_row, 1) };
    let mut rows = [a; R];
    for r in 0..R {
        rows[r] = a.wrapping_add((r0 + r) * row);
    }
    // Neighbours are found from one register.
    let (rows, b) = if TRANSPOSED {
        (rows, opaque::<_, C, R>(b))
    } else {
        (opaque::<_, R, C>(rows), opaque::<_, C, R>(b))
    };
    let unroll = const { unroll(R * C) };
    let whole = k - k % unroll;
    // SAFETY: the caller vouches for every address of the formula.
    unsafe {
        for i in (0..whole).step_by(unroll) {
            for u in 0..unroll {
                let at = [((i + u) * step) as isize, ((i + u) * b_step) as isize];
                // A vector of sixteen is a cache line.
                if const { AHEAD > 0 && V::LANES == LANES } {
                    for c in 0..C {
                        prefetch(b[c].wrapping_add((i + u + AHEAD) * b_step));
                    }
                }
                add_product::<V, R, C, false>(acc, rows, b, at);
            }
        }
        for i in whole..k {
            add_product::<V, R, C, false>(acc, rows, b, [(i * step) as isize, (i * b_step) as isize]);
        }
    }
}

/// Pointers that a loop follows all of, of a block that has `M` others: the compiler is kept from knowing how they were made, or it would
/// make them again at each step, with additions that take the place of multiply-adds. Only where registers are enough for all.
#[allow(clippy::pointers_in_nomem_asm_block, reason = "no instruction, so none that follows the pointer")]
#[inline(always)]
pub(crate) fn opaque<T, const N: usize, const M: usize>(mut pointers: [*const T; N]) -> [*const T; N] {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    // Miri runs no assembly, not even an empty one.
    if const { N + M <= 12 && !cfg!(miri) } {
        for pointer in &mut pointers {
            // SAFETY: no instruction at all; the pointer stays what it is.
            unsafe {
                std::arch::asm!(
                    "/* {0} */",
                    inout(reg) * pointer,
                    options(pure, nomem, nostack, preserves_flags)
                );
            }
        }
    }
    pointers
}

/// One step of the sum: `acc[r][c] += a[r][at[0]] * b[c][at[1]..][..LANES]`, one number of `a` for all lanes, or if `LOADED` as many
/// as there are lanes.
///
/// # Safety
/// Every address the formula names must be valid for reading.
#[inline(always)]
pub(crate) unsafe fn add_product<V: Vector, const R: usize, const C: usize, const LOADED: bool>(
    acc: &mut [[V; C]; R],
    a: [*const V::Elem; R],
    b: [*const V::Elem; C],
    at: [isize; 2],
) {
    let zero = V::splat(V::Elem::ZERO);
    // SAFETY: as the caller vouches.
    unsafe {
        if C <= R {
            let mut x = [zero; C];
            for c in 0..C {
                x[c] = V::load(b[c].wrapping_offset(at[1]));
            }
            for r in 0..R {
                let w = operand::<V, LOADED>(a[r].wrapping_offset(at[0]));
                for c in 0..C {
                    acc[r][c] = w.mul_add(x[c], acc[r][c]);
                }
            }
        } else {
            let mut w = [zero; R];
            for r in 0..R {
                w[r] = operand::<V, LOADED>(a[r].wrapping_offset(at[0]));
            }
            for c in 0..C {
                let x = V::load(b[c].wrapping_offset(at[1]));
                for r in 0..R {
                    acc[r][c] = w[r].mul_add(x, acc[r][c]);
                }
            }
        }
    }
}

/// One number in all lanes, or as many as there are.
///
/// # Safety
/// They must be valid for reading.
#[inline(always)]
pub(crate) unsafe fn operand<V: Vector, const LOADED: bool>(from: *const V::Elem) -> V {
    // SAFETY: as the caller vouches.
    unsafe { if LOADED { V::load(from) } else { V::splat(*from) } }
}
