//! Register tiles: the inner loops that all the time is spent in, and how a matrix of results is cut into them.
//!
//! A tile holds `R` x `C` accumulators in registers; each step broadcasts `R` numbers, loads `C` vectors and does `R * C`
//! fused multiply-adds. The smaller of `R` and `C` operands is held, the others stream through one or two registers: a
//! tile that needs every last register spills, because compilers load the next operand early. Which shapes exist is the
//! vector type's to say ([`Vector::best_shape`]): every further shape costs seconds of compilation.

use crate::simd::{Kernel, Vector, prefetch};
use crate::{LANES, Scalar};

/// Work on an `R` x `C` tile of results that begins at row `r`, column `c`.
pub(crate) trait Tile<T: Scalar> {
    /// Does it. Rows before `fresh.0` and columns before `fresh.1` are done already: a kernel that overwrites may compute
    /// them again, to the same bits; one that adds must not.
    ///
    /// # Safety
    /// Rows `r..r + R` and columns `c..c + C` must exist.
    unsafe fn at<V: Vector<Elem = T>, const R: usize, const C: usize>(
        &self,
        r: usize,
        c: usize,
        fresh: (usize, usize),
    );
}

/// Half-cycles that a load of a vector takes at least, from the first cache and from the second.
pub(crate) const NEAR: usize = 1;
pub(crate) const FAR: usize = 5;

/// The shape that covers `rows` x `columns` results in the fewest cycles.
#[inline(always)]
pub(crate) fn best_shape<V: Vector>(rows: usize, columns: usize) -> (usize, usize) {
    V::best_shape(rows, columns, NEAR)
}

/// Takes a shape if it fits and covers `rows` x `columns` results in fewer cycles than the best so far. The shape is a constant, so
/// that nothing is divided: small networks ask as often as they multiply.
#[inline(always)]
pub(crate) fn consider<const R: usize, const C: usize>(
    rows: usize,
    columns: usize,
    load: usize,
    best: &mut ((usize, usize), usize),
) {
    if R <= rows && C <= columns {
        let cost = rows.div_ceil(R) * columns.div_ceil(C) * step((R, C), load);
        if cost < best.1 {
            *best = ((R, C), cost);
        }
    }
}

/// Half-cycles of a step of the sums of one tile, where a vector takes `load` of them.
#[inline(always)]
const fn step((r, c): (usize, usize), load: usize) -> usize {
    const fn max(a: usize, b: usize) -> usize {
        if a > b { a } else { b }
    }
    // Two multiply-adds, or loads (two at best; with numbers that are broadcast fewer), or the latency of one of 8 sums in flight.
    max(max(r * c, (r + c) * 5 / 4), max(c * load, 8)) + 1
}

/// What covering `rows` x `columns` results with a shape costs, in half-cycles for each step of the sum.
#[inline(always)]
pub(crate) fn cost(shape: (usize, usize), rows: usize, columns: usize) -> usize {
    rows.div_ceil(shape.0) * columns.div_ceil(shape.1) * step(shape, NEAR)
}

/// The shape for the rows that tiles of `shape` leave over: one of their own, if that costs less than a tile that begins
/// earlier.
#[inline(always)]
pub(crate) fn rest_shape<V: Vector>(shape: (usize, usize), rows: usize, columns: usize) -> (usize, usize) {
    let left = rows % shape.0;
    if left == 0 {
        return shape;
    }
    let own = best_shape::<V>(left, columns);
    if cost(own, left, columns) < cost(shape, left, columns) { own } else { shape }
}

/// Covers `rows` x columns `from..to` of results with tiles of one shape, and rows that are left over with those of `rest`. A
/// last tile that would stick out begins earlier and computes some results twice.
///
/// # Safety
/// The results must exist; the shapes must be of the vector type's and fit.
#[inline(always)]
pub(crate) unsafe fn cover<V: Vector>(
    tile: &impl Tile<V::Elem>,
    [shape, rest]: [(usize, usize); 2],
    rows: usize,
    columns: (usize, usize),
) {
    V::apart(Cover { tile, shape, rest, rows, columns });
}

/// What [`cover`] does, as a kernel: the tiles of one kind are a function of their own.
struct Cover<'a, K> {
    tile: &'a K,
    shape: (usize, usize),
    rest: (usize, usize),
    rows: usize,
    columns: (usize, usize),
}

impl<T: Scalar, K: Tile<T>> Kernel<T> for Cover<'_, K> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Elem = T>>(self) {
        let Self { tile, shape, rest, rows, columns: (from, to) } = self;
        let mut r = 0;
        while r < rows {
            let shape @ (height, width) = if r + shape.0 <= rows { shape } else { rest };
            let mut c = from;
            while c < to {
                // SAFETY: the caller of `cover` vouches for the results; the shape fits, and begins early enough to end in
                // time.
                unsafe { V::shape(tile, shape, r.min(rows - height), c.min(to - width), (r, c)) };
                c += width;
            }
            r += height;
        }
    }
}

/// Steps of a sum that a loop of [`product`] takes at once, for a tile of so many sums: what counts and branches is paid for
/// once. Of a large tile it is little, and compilers that see several steps of one load operands too early, and spill.
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
    let (rows, b) =
        if TRANSPOSED { (rows, held::<_, C, R>(b)) } else { (held::<_, R, C>(rows), held::<_, C, R>(b)) };
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

/// Pointers that a loop follows all of, of a tile that has `M` others: the compiler is kept from knowing how they were made, or it would make
/// them again at each step, with additions that take the place of multiply-adds. Only where registers are enough for all.
#[allow(clippy::pointers_in_nomem_asm_block, reason = "no instruction, so none that follows the pointer")]
#[inline(always)]
pub(crate) fn held<T, const N: usize, const M: usize>(mut pointers: [*const T; N]) -> [*const T; N] {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    if const { N + M <= 12 } {
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
