//! The weight gradient `dW = dy x^T` of what was kept: the product is made once for all samples, and applied where it is made.

use super::gemm::chunks;
use super::kept::{Kept, Strip};
use super::rank_k::{FewSamples, MAX_SAMPLES, apply_few};
use super::update::{apply_along, updated};
use crate::blocking::{add_row, cover, product};
use crate::geometry::Dense;
use crate::layout::LANES;
use crate::number::Number;
use crate::simd::{Kernel, L2_LOAD, MicroKernel, Vector, prefetch};
use std::ops::Range;

/// What becomes of rows of the weight and of the bias by the gradient of all kept samples.
pub(crate) struct Apply<'a, T> {
    pub(crate) dense: Dense,
    pub(crate) rows: Range<usize>,
    pub(crate) kept: &'a [Kept<'a, T>],
    pub(crate) rate: Option<T>,
    pub(crate) w: &'a mut [T],
    pub(crate) b: Option<&'a mut [T]>,
}

impl<T: Number> Kernel<T> for Apply<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Elem = T>>(self) {
        let Self { dense, rows, kept, rate, w, b } = self;
        let (inputs, first) = (dense.inputs, rows.start);
        let samples = kept.iter().fold(0usize, |sum, kept| sum.saturating_add(kept.block.samples()));
        if samples == 1
            && let [kept] = kept
            && kept.room == 1
        {
            // One sample: its weight is best walked through as it lies.
            let x = &kept.rows.map_or(kept.numbers, |rows| rows.numbers)[..inputs];
            let dy = &kept.dy(inputs)[rows];
            for (&d, w) in dy.iter().zip(w.chunks_exact_mut(inputs)) {
                apply_along::<V>(rate, d, x, w);
            }
            if let Some(b) = b {
                apply_along::<V>(rate, T::ONE, dy, b);
            }
            return;
        }
        if let Some(b) = b {
            for (rows, b) in chunks(rows.len(), LANES).zip(b.chunks_mut(LANES)) {
                let gradients = sums_of_columns::<V>(inputs, first + rows.start, rows.len(), kept);
                for (b, gradient) in b.iter_mut().zip(gradients) {
                    match rate {
                        None => *b += gradient,
                        Some(rate) => *b -= rate * gradient,
                    }
                }
            }
        }
        if samples <= MAX_SAMPLES
            && let Some(few) = FewSamples::of(inputs, kept)
        {
            return apply_few::<V>(inputs, rows, &few, rate, w);
        }
        let columns = inputs.div_ceil(V::LANES);
        let shape @ (_, width) = V::best_shape(rows.len(), columns, L2_LOAD, false);
        // A strip of x that fits into half of the first cache stays there while all rows of W pass; where not even a panel
        // does, one that leaves room in the second.
        let vectors = |numbers: usize| numbers / (samples.max(1) * V::LANES);
        let from_l2 = vectors(4096) < LANES / V::LANES;
        let strip = vectors(if from_l2 { 65536 } else { 4096 });
        let products = OuterProducts { dense, first, kept, rate, from_l2, w: w.as_mut_ptr() };
        let strip = strip.max(1).next_multiple_of(width);
        let mut from = 0;
        while from < columns && !rows.is_empty() {
            // The last strip takes what is left, so that every strip is at least a block wide.
            let to = if from + strip + width > columns { columns } else { from + strip };
            // SAFETY: the lengths were checked against the sizes; the shape fits every strip.
            unsafe { cover::<V>(&products, [shape; 2], rows.len(), (from, to)) };
            from = to;
        }
    }
}

/// The sums of the gradients of `count` outputs from `first` on, sixteen at most, over the kept samples: of tiles sixteen partial
/// sums and then their tree, of single samples one after the other.
#[inline(always)]
fn sums_of_columns<'a, V: Vector>(
    inputs: usize,
    first: usize,
    count: usize,
    kept: &[Kept<'a, V::Elem>],
) -> [V::Elem; LANES] {
    let mut all = [V::Elem::ZERO; LANES];
    let columns = |kept: &Kept<'a, V::Elem>| {
        // Where nothing was kept there may be no room, and columns of no length.
        let (room, samples) = (kept.room, kept.block.samples());
        let columns = kept.dy(inputs)[first * room..].chunks_exact(room.max(1)).take(count);
        columns.map(move |column| &column[..samples]).enumerate()
    };
    let first_kept = kept.iter().find(|kept| !kept.block.is_empty());
    if first_kept.is_some_and(|kept| kept.block.lanes() == 1) {
        for (o, column) in kept.iter().flat_map(columns) {
            all[o] = column.iter().fold(all[o], |sum, &d| sum + d);
        }
        return all;
    }
    let mut sums = [[V::Elem::ZERO; LANES]; LANES];
    for (o, column) in kept.iter().flat_map(columns) {
        add_row::<V>(column, &mut sums[o]);
    }
    // SAFETY: there are 16 rows of 16 numbers, and 16 sums.
    unsafe { V::sum_rows(sums.as_flattened().as_ptr(), all.as_mut_ptr()) };
    all
}

/// Samples whose x is asked for before they are due, where it comes from the second cache.
const AHEAD: usize = 16;

/// `G[o][i] = sum over samples of dy[o][sample] * x[sample][i]`, samples in order, and what becomes of `w[o][i]`: blocks of
/// outputs x vectors of inputs.
struct OuterProducts<'a, T> {
    dense: Dense,
    /// The output that row 0 belongs to.
    first: usize,
    kept: &'a [Kept<'a, T>],
    rate: Option<T>,
    /// Whether x comes from the second cache.
    from_l2: bool,
    w: *mut T,
}

impl<T: Number> MicroKernel<T> for OuterProducts<'_, T> {
    #[inline(always)]
    unsafe fn block<V: Vector<Elem = T>, const R: usize, const C: usize>(
        &self,
        o: usize,
        c0: usize,
        fresh: (usize, usize),
    ) {
        let Self { dense, first, kept, rate, from_l2, w } = *self;
        let (inputs, i) = (dense.inputs, c0 * V::LANES);
        let mut acc = [[V::splat(V::Elem::ZERO); C]; R];
        // SAFETY: the caller vouches for rows and columns; the slices were checked against the sizes.
        unsafe {
            let w = w.add(o * inputs + i);
            // Asked for now, the weights are there when the sums are: they may come from the last cache.
            for r in 0..R {
                for c in 0..C {
                    prefetch(w.wrapping_add(r * inputs + c * V::LANES));
                }
            }
            for kept in kept {
                let Strip { x, sample, sixteen } = kept.x();
                let mut b = [x; C];
                for c in 0..C {
                    let i = i + c * V::LANES;
                    b[c] = x.wrapping_add(i / LANES * sixteen + i % LANES);
                }
                let (dy, room, k) = (kept.dy(inputs).as_ptr(), kept.room, kept.block.samples());
                if from_l2 {
                    product::<V, R, C, false, AHEAD>(&mut acc, dy, room, first + o, b, sample, k);
                } else {
                    product::<V, R, C, false, 0>(&mut acc, dy, room, first + o, b, sample, k);
                }
            }
            if fresh == (o, c0) && i + C * V::LANES <= inputs {
                // Nearly always: nothing done before, no short vector.
                for r in 0..R {
                    for c in 0..C {
                        let w = w.add(r * inputs + c * V::LANES);
                        updated(V::load(w), acc[r][c], rate).store(w);
                    }
                }
                return;
            }
            // A copy, or the sums themselves would have to be in memory.
            let copy = acc;
            let sums = copy.as_ptr().cast();
            let (rows, columns) = (fresh.0.saturating_sub(o)..R, fresh.1.saturating_sub(c0)..C);
            V::outlined(ApplyPart { sums, width: C, rows, columns, left: inputs - i, inputs, rate, w });
        }
    }
}

/// What becomes of a block of the weight of which some is done already, or whose last vector is short.
struct ApplyPart<T> {
    /// Of the whole block, `width` vectors a row.
    sums: *const T,
    width: usize,
    /// What is not done.
    rows: Range<usize>,
    columns: Range<usize>,
    /// Inputs from the block's first to the last of all.
    left: usize,
    inputs: usize,
    rate: Option<T>,
    w: *mut T,
}

impl<T: Number> Kernel<T> for ApplyPart<T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Elem = T>>(self) {
        let Self { sums, width, rows, columns, left, inputs, rate, w } = self;
        for r in rows {
            for c in columns.clone() {
                // SAFETY: the block, whose vectors are of this type, exists; of a short vector only what is left is touched.
                unsafe {
                    let w = w.add(r * inputs + c * V::LANES);
                    let n = V::LANES.min(left - c * V::LANES);
                    let sum = V::load(sums.add((r * width + c) * V::LANES));
                    updated(V::load_first(w, n), sum, rate).store_first(w, n);
                }
            }
        }
    }
}
