//! The weight gradient of few samples, a rank-k update with a small k: the weight is walked through as it lies, and dy is in registers.

use super::kept::{Kept, Strip};
use super::update::updated;
use crate::blocking::opaque;
use crate::layout::LANES;
use crate::number::Number;
use crate::simd::{Kernel, Vector};
use std::ops::Range;

/// Samples whose dy is kept in registers while a row of the weight is walked through: eight leave eight of sixteen.
pub(super) const MAX_SAMPLES: usize = 8;

/// Where x and dy of no more than [`MAX_SAMPLES`] samples lie, whatever was kept together.
#[derive(Clone, Copy)]
pub(super) struct FewSamples<T> {
    count: usize,
    x: [*const T; MAX_SAMPLES],
    /// From sixteen inputs to the next.
    sixteen: usize,
    dy: [*const T; MAX_SAMPLES],
    /// From one output to the next.
    output: usize,
}

impl<T: Number> FewSamples<T> {
    /// Those of all that was kept, if it lies alike.
    #[inline(always)]
    pub(super) fn of(inputs: usize, kept: &[Kept<'_, T>]) -> Option<Self> {
        let first = kept.first()?;
        let (sixteen, output) = (first.x().sixteen, first.room);
        let mut few = Self {
            count: 0,
            x: [std::ptr::null(); MAX_SAMPLES],
            sixteen,
            dy: [std::ptr::null(); MAX_SAMPLES],
            output,
        };
        for kept in kept {
            let (Strip { x, sample, sixteen }, dy) = (kept.x(), kept.dy(inputs));
            if (sixteen, kept.room) != (few.sixteen, few.output) {
                return None;
            }
            for k in 0..kept.block.samples() {
                few.x[few.count] = x.wrapping_add(k * sample);
                few.dy[few.count] = dy.as_ptr().wrapping_add(k);
                few.count += 1;
            }
        }
        Some(few)
    }
}

/// Inputs whose x of [`MAX_SAMPLES`] samples fits into half of the first cache.
const STRIP: usize = 512;

/// What becomes of rows of the weight by no more than [`MAX_SAMPLES`] samples. Their sums are so short that loading and storing the
/// accumulators of a block would take longer than the sums.
#[inline(always)]
pub(super) fn apply_few<V: Vector>(
    inputs: usize,
    rows: Range<usize>,
    all: &FewSamples<V::Elem>,
    rate: Option<V::Elem>,
    w: &mut [V::Elem],
) {
    for from in (0..inputs).step_by(STRIP) {
        let samples = FewSamples {
            x: all.x.map(|x| x.wrapping_add(from / LANES * all.sixteen)),
            dy: all.dy.map(|dy| dy.wrapping_add(rows.start * all.output)),
            ..*all
        };
        let strip = WeightStrip {
            samples,
            rate,
            w: w.as_mut_ptr().wrapping_add(from),
            rows: rows.len(),
            row: inputs,
            width: STRIP.min(inputs - from),
        };
        // The number of samples is a constant, so that every one of them has its register.
        match samples.count {
            1 => V::outlined(Samples::<1, _>(strip)),
            2 => V::outlined(Samples::<2, _>(strip)),
            3 => V::outlined(Samples::<3, _>(strip)),
            4 => V::outlined(Samples::<4, _>(strip)),
            5 => V::outlined(Samples::<5, _>(strip)),
            6 => V::outlined(Samples::<6, _>(strip)),
            7 => V::outlined(Samples::<7, _>(strip)),
            MAX_SAMPLES => V::outlined(Samples::<MAX_SAMPLES, _>(strip)),
            n => debug_assert!(n == 0, "{n} samples are not few"),
        }
    }
}

/// Some columns of rows of the weight.
struct WeightStrip<T> {
    /// Of these columns and rows.
    samples: FewSamples<T>,
    rate: Option<T>,
    w: *mut T,
    rows: usize,
    /// Numbers from one row of w to the next.
    row: usize,
    width: usize,
}

/// What becomes of them by `K` samples.
struct Samples<const K: usize, T>(WeightStrip<T>);

impl<const K: usize, T: Number> Kernel<T> for Samples<K, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Elem = T>>(self) {
        // SAFETY: the rows exist; x holds their inputs of K samples, and zeros up to a whole sixteen.
        unsafe {
            let mut r = 0;
            // Two rows share each x, where there are registers for all of their dy.
            while const { V::REGISTERS >= 32 } && r + 2 <= self.0.rows {
                self.0.rows::<V, K, 2>(r);
                r += 2;
            }
            while r < self.0.rows {
                self.0.rows::<V, K, 1>(r);
                r += 1;
            }
        }
    }
}

impl<T: Number> WeightStrip<T> {
    /// What becomes of `R` rows from `r` on.
    ///
    /// # Safety
    /// The rows must exist; x must hold their inputs of `K` samples, and zeros up to a whole sixteen.
    #[inline(always)]
    unsafe fn rows<V: Vector<Elem = T>, const K: usize, const R: usize>(&self, r: usize) {
        let Self { samples: FewSamples { x, sixteen, dy, output, .. }, rate, w, row, width, .. } = *self;
        let mut kept_dy = [[V::splat(T::ZERO); K]; R];
        let mut samples = [x[0]; K];
        let mut to = [w; R];
        // SAFETY: as the caller vouches.
        unsafe {
            for i in 0..R {
                to[i] = w.add((r + i) * row);
                for k in 0..K {
                    kept_dy[i][k] = V::splat(*dy[k].add((r + i) * output));
                }
            }
            samples.copy_from_slice(&x[..K]);
            let samples = opaque::<_, K, 4>(samples);
            // Two sixteens at a time: one sum alone would wait for each of its multiply-adds.
            let (mut i, mut at) = (0, 0);
            while i + 2 * LANES <= width {
                for part in (0..LANES).step_by(V::LANES) {
                    let both = [at + part, at + sixteen + part];
                    apply_vectors::<V, K, R, 2>(
                        samples,
                        both,
                        kept_dy,
                        rate,
                        to,
                        [i + part, i + LANES + part],
                        V::LANES,
                    );
                }
                i += 2 * LANES;
                at += 2 * sixteen;
            }
            while i < width {
                let n = V::LANES.min(width - i);
                apply_vectors::<V, K, R, 1>(samples, [at + i % LANES], kept_dy, rate, to, [i], n);
                i += V::LANES;
                if i % LANES == 0 {
                    at += sixteen;
                }
            }
        }
    }
}

/// What becomes of `C` vectors of `R` rows of the weight, each with its first `left` numbers: x lies at `at`, the weight at `i`.
///
/// # Safety
/// All of it must be valid.
#[inline(always)]
unsafe fn apply_vectors<V: Vector, const K: usize, const R: usize, const C: usize>(
    x: [*const V::Elem; K],
    at: [usize; C],
    dy: [[V; K]; R],
    rate: Option<V::Elem>,
    w: [*mut V::Elem; R],
    i: [usize; C],
    left: usize,
) {
    let mut acc = [[V::splat(V::Elem::ZERO); C]; R];
    // SAFETY: as the caller vouches.
    unsafe {
        for k in 0..K {
            for c in 0..C {
                let x = V::load(x[k].add(at[c]));
                for r in 0..R {
                    acc[r][c] = dy[r][k].mul_add(x, acc[r][c]);
                }
            }
        }
        for r in 0..R {
            for c in 0..C {
                let w = w[r].add(i[c]);
                updated(V::load_first(w, left), acc[r][c], rate).store_first(w, left);
            }
        }
    }
}
