//! The shapes of the blocks of results that are kept in registers, and what each costs.
//!
//! A block holds `R` x `C` accumulators; each step broadcasts `R` numbers, loads `C` vectors and does `R * C` fused multiply-adds. The
//! smaller of `R` and `C` operands is kept, the others stream through one or two registers: a block that needs every last register
//! spills, because compilers load the next operand early.

/// Half-cycles that a load of a vector takes at least, from the first cache and from the second.
pub(crate) const L1_LOAD: usize = 1;
pub(crate) const L2_LOAD: usize = 5;

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

/// Half-cycles of a step of the sums of one block, where a vector takes `load` of them.
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
    rows.div_ceil(shape.0) * columns.div_ceil(shape.1) * step(shape, L1_LOAD)
}

/// Implements the blocks of a vector type, rows by columns; 1 x 1 is always there. Every further shape costs seconds of compilation. Those
/// behind `tight` need every register: they are for kernels that say so.
macro_rules! shapes {
    ($($rows:literal x $columns:literal),* ; tight $($height:literal x $width:literal),*) => {
        #[inline(always)]
        fn best_shape(rows: usize, columns: usize, load: usize, tight: bool) -> (usize, usize) {
            let mut best = ((1, 1), usize::MAX);
            $($crate::simd::shapes::consider::<$rows, $columns>(rows, columns, load, &mut best);)*
            if tight {
                $($crate::simd::shapes::consider::<$height, $width>(rows, columns, load, &mut best);)*
            }
            $crate::simd::shapes::consider::<1, 1>(rows, columns, load, &mut best);
            best.0
        }

        #[inline(always)]
        unsafe fn run_block<K: MicroKernel<Self::Elem>>(
            kernel: &K,
            shape: (usize, usize),
            r: usize,
            c: usize,
            fresh: (usize, usize),
        ) {
            // SAFETY: the caller vouches for the block.
            unsafe {
                match shape {
                    $(($rows, $columns) if const { $rows <= K::LARGEST.0 && $columns <= K::LARGEST.1 } => {
                        kernel.block::<Self, $rows, $columns>(r, c, fresh)
                    })*
                    $(($height, $width) if const { K::TIGHT } => {
                        kernel.block::<Self, $height, $width>(r, c, fresh)
                    })*
                    _ => kernel.block::<Self, 1, 1>(r, c, fresh),
                }
            }
        }
    };
}
pub(crate) use shapes;
