//! Samples that lie one after the other, taken as they are: vectors hold inputs. One sample is a matrix-vector product (GEMV).

use super::gemm::chunks;
use super::operands::{BackwardInput, Forward};
use crate::blocking::{add_product, add_sums, best_shape, cover, opaque, product};
use crate::geometry::Dense;
use crate::layout::{Block, Input, LANES};
use crate::number::Number;
use crate::simd::{L2_LOAD, MicroKernel, Vector};

/// Outputs at most that are computed before their sums are made up: these leave room in the first cache.
pub(super) const MAX_OUTPUTS: usize = 64;

/// Scratch of [`Forward::rows`].
pub(super) fn sums_len(dense: &Dense, samples: usize) -> usize {
    if samples > 1 { Block::single(samples).len(dense.outputs.min(MAX_OUTPUTS) * LANES) } else { 0 }
}

impl<T: Number> Forward<'_, T> {
    /// Samples that lie one after the other.
    #[inline(always)]
    pub(super) fn rows<V: Vector<Elem = T>>(self) {
        let Self { dense: Dense { inputs, outputs }, block, w, b, x, y, y_features, scratch } = self;
        let samples = block.samples();
        let x = match x {
            Input::Block(x) => x,
            Input::Rows(rows) => rows.as_slice().expect("checked"),
        };
        if samples == 1 {
            // SAFETY: the lengths were checked against the sizes.
            return unsafe { matrix_vector::<V>(w, b, x, y.into_slice()) };
        }
        for outputs in chunks(outputs, MAX_OUTPUTS) {
            let count = outputs.len();
            let sums = &mut scratch[..samples * count * LANES];
            let w = w[outputs.start * inputs..].as_ptr();
            let dots = Dots { w, x: x.as_ptr(), inputs, outputs: count, sums: sums.as_mut_ptr() };
            // SAFETY: the lengths were checked against the sizes.
            unsafe { dots.run::<V>(samples) };
            for (s, sums) in sums.chunks_exact(count * LANES).enumerate() {
                // SAFETY: y has these outputs of every sample.
                let y = unsafe {
                    std::slice::from_raw_parts_mut(y.start.add(s * y_features + outputs.start), count)
                };
                match b {
                    Some(b) => y.copy_from_slice(&b[outputs.clone()]),
                    None => y.fill(T::ZERO),
                }
                add_sums::<V>(sums, y);
            }
        }
    }
}

impl<T: Number> BackwardInput<'_, T> {
    /// Samples that lie one after the other.
    #[inline(always)]
    pub(super) fn rows<V: Vector<Elem = T>>(self) {
        let Self { dense: Dense { inputs: row, outputs }, inputs, block, w, dy, dx, dx_features, .. } = self;
        // Whole vectors of several samples side by side; else one sample after the other.
        let samples = block.samples();
        let vectors = if samples > 1 { inputs.len() / V::LANES } else { 0 };
        let w = w[inputs.start..].as_ptr();
        // SAFETY: there is room for every sample, and the other lengths were checked against the sizes; the shape fits.
        unsafe {
            if vectors > 0 {
                let product = SamplesByInputs::<_, false> {
                    dy: dy.as_ptr(),
                    dy_row: outputs,
                    w,
                    row,
                    outputs,
                    dx: dx.start,
                    dx_row: dx_features,
                };
                cover::<V>(&product, [best_shape::<V>(samples, vectors); 2], samples, (0, vectors));
            }
            let done = vectors * V::LANES;
            for (s, dy) in dy.chunks_exact(outputs).enumerate().filter(|_| done < inputs.len()) {
                let dx = dx.start.add(s * dx_features + done);
                transposed_matrix_vector::<V>(w.add(done), row, dy, dx, inputs.len() - done);
            }
        }
    }
}

/// `y[s][o] = b[o] + sum_i w[o][i] x[s][i]`, of samples that lie one after the other: sixteen partial sums each (input `i` goes to
/// sum `i mod 16`), then their tree. Blocks of samples x outputs: the weight, which comes from farther, is read as rarely as can be.
struct Dots<T> {
    w: *const T,
    x: *const T,
    inputs: usize,
    outputs: usize,
    /// `[sample][output][16]`.
    sums: *mut T,
}

impl<T: Number> MicroKernel<T> for Dots<T> {
    #[inline(always)]
    unsafe fn block<V: Vector<Elem = T>, const R: usize, const C: usize>(
        &self,
        s: usize,
        o: usize,
        _fresh: (usize, usize),
    ) {
        let Self { w, x, inputs, .. } = *self;
        // SAFETY: the caller vouches for samples and outputs; whole vectors end within the inputs.
        unsafe {
            for part in (0..LANES).step_by(V::LANES) {
                let (mut a, mut b) = ([x; R], [w; C]);
                for r in 0..R {
                    a[r] = x.wrapping_add((s + r) * inputs + part);
                }
                for c in 0..C {
                    b[c] = w.wrapping_add((o + c) * inputs + part);
                }
                let (a, b) = (opaque::<_, R, C>(a), opaque::<_, C, R>(b));
                let mut acc = [[V::splat(T::ZERO); C]; R];
                for i in (0..inputs / LANES * LANES).step_by(LANES) {
                    add_product::<V, R, C, true>(&mut acc, a, b, [i as isize; 2]);
                }
                for r in 0..R {
                    for c in 0..C {
                        acc[r][c].store(self.sum(s + r, o + c).add(part));
                    }
                }
            }
        }
    }
}

impl<T: Number> Dots<T> {
    /// Where the sixteen of a sum are.
    #[inline(always)]
    fn sum(&self, s: usize, o: usize) -> *mut T {
        self.sums.wrapping_add((s * self.outputs + o) * LANES)
    }

    /// The sixteen partial sums of all samples and outputs.
    ///
    /// # Safety
    /// They must exist and have room.
    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(&self, samples: usize) {
        let Self { w, x, inputs, outputs, .. } = *self;
        let whole = inputs / LANES * LANES;
        // SAFETY: as the caller vouches; the shape fits; `n` inputs are left from `i` on.
        unsafe {
            cover::<V>(self, [V::best_shape(samples, outputs, L2_LOAD, false); 2], samples, (0, outputs));
            for i in (whole..inputs).step_by(V::LANES) {
                let n = V::LANES.min(inputs - i);
                for s in 0..samples {
                    let x = V::load_first(x.add(s * inputs + i), n);
                    for o in 0..outputs {
                        let sum = self.sum(s, o).add(i - whole);
                        V::load_first(w.add(o * inputs + i), n).mul_add(x, V::load(sum)).store(sum);
                    }
                }
            }
        }
    }
}

/// `y = W x + b` of one sample (GEMV), several outputs at a time.
///
/// # Safety
/// `w` must hold `y.len() * x.len()` numbers, `b` as many as `y`.
#[inline(always)]
unsafe fn matrix_vector<V: Vector>(w: &[V::Elem], b: Option<&[V::Elem]>, x: &[V::Elem], y: &mut [V::Elem]) {
    /// Rows at most, and sums in flight: fewer would wait for each of their multiply-adds.
    const SUMS: usize = 8;
    let (inputs, outputs) = (x.len(), y.len());
    let whole = inputs / LANES * LANES;
    let parts = LANES / V::LANES;
    let at_once = (SUMS / parts).max(1);
    let mut o = 0;
    while o < outputs {
        let rows = at_once.min(outputs - o);
        // A short last group repeats its last row, whose sum is then written more than once.
        let row = |r: usize| (o + r.min(rows - 1)) * inputs;
        let mut acc = [[V::splat(V::Elem::ZERO); LANES]; SUMS];
        let mut sums = [[V::Elem::ZERO; LANES]; SUMS];
        // SAFETY: whole vectors end at `whole` <= inputs, what is left holds inputs - whole numbers.
        unsafe {
            let mut i = 0;
            while i < whole {
                for p in 0..parts {
                    let x = V::load(x.as_ptr().add(i + p * V::LANES));
                    for r in 0..at_once {
                        let w = V::load(w.as_ptr().add(row(r) + i + p * V::LANES));
                        acc[r][p] = w.mul_add(x, acc[r][p]);
                    }
                }
                i += LANES;
            }
            for p in 0..parts {
                let i = whole + p * V::LANES;
                if i < inputs {
                    let n = V::LANES.min(inputs - i);
                    let x = V::load_first(x.as_ptr().add(i), n);
                    for r in 0..at_once {
                        acc[r][p] = V::load_first(w.as_ptr().add(row(r) + i), n).mul_add(x, acc[r][p]);
                    }
                }
                for r in 0..at_once {
                    acc[r][p].store(sums[r].as_mut_ptr().add(p * V::LANES));
                }
            }
        }
        for r in 0..rows {
            // SAFETY: a row of sums holds 16 numbers.
            let sum = unsafe { V::sum16(sums[r].as_ptr()) };
            y[o + r] = b.map_or(sum, |b| sum + b[o + r]);
        }
        o += rows;
    }
}

/// `dx = W^T dy` for few samples: blocks of samples x vectors of inputs. Each number of dx sums over the outputs
/// in order.
pub(super) struct SamplesByInputs<T, const TILED: bool> {
    pub(super) dy: *const T,
    /// Numbers from one sample to the next, or in a tile from one output.
    pub(super) dy_row: usize,
    /// Of the first input.
    pub(super) w: *const T,
    pub(super) row: usize,
    pub(super) outputs: usize,
    pub(super) dx: *mut T,
    /// Numbers from one sample of it to the next.
    pub(super) dx_row: usize,
}

impl<T: Number, const TILED: bool> MicroKernel<T> for SamplesByInputs<T, TILED> {
    #[inline(always)]
    unsafe fn block<V: Vector<Elem = T>, const R: usize, const C: usize>(
        &self,
        s: usize,
        c0: usize,
        _fresh: (usize, usize),
    ) {
        let Self { dy, dy_row, w, row, outputs, dx, dx_row } = *self;
        let mut acc = [[V::splat(T::ZERO); C]; R];
        // SAFETY: the caller vouches for samples and vectors.
        unsafe {
            let mut b = [w; C];
            for c in 0..C {
                b[c] = w.add((c0 + c) * V::LANES);
            }
            product::<V, R, C, TILED, 0>(&mut acc, dy, dy_row, s, b, row, outputs);
            for r in 0..R {
                for c in 0..C {
                    acc[r][c].store(dx.add((s + r) * dx_row + (c0 + c) * V::LANES));
                }
            }
        }
    }
}

/// `dx = W^T dy` of one sample (GEMV), several vectors of inputs at a time.
///
/// # Safety
/// `w` must hold `dy.len()` rows of `inputs` numbers, `row` from one to the next, and `dx` have room for as many.
#[inline(always)]
unsafe fn transposed_matrix_vector<V: Vector>(
    w: *const V::Elem,
    row: usize,
    dy: &[V::Elem],
    dx: *mut V::Elem,
    inputs: usize,
) {
    const C: usize = 8;
    let mut i = 0;
    // SAFETY: i + C * LANES <= inputs in the first loop, i + n <= inputs in the second.
    unsafe {
        while i + C * V::LANES <= inputs {
            let mut acc = [V::splat(V::Elem::ZERO); C];
            for (o, &d) in dy.iter().enumerate() {
                let d = V::splat(d);
                for c in 0..C {
                    acc[c] = d.mul_add(V::load(w.add(o * row + i + c * V::LANES)), acc[c]);
                }
            }
            for c in 0..C {
                acc[c].store(dx.add(i + c * V::LANES));
            }
            i += C * V::LANES;
        }
        while i < inputs {
            let n = V::LANES.min(inputs - i);
            let mut acc = V::splat(V::Elem::ZERO);
            for (o, &d) in dy.iter().enumerate() {
                acc = V::splat(d).mul_add(V::load_first(w.add(o * row + i), n), acc);
            }
            acc.store_first(dx.add(i), n);
            i += n;
        }
    }
}
