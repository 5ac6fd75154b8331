//! The products of dense layers for few samples: vectors hold inputs, where lanes of samples would be empty.
//!
//! Samples that lie one after the other are taken as they are. Of a tile a vector holds some inputs of each sample.

use super::{BackwardInput, Dense, Forward, chunks};
use crate::block::parts;
use crate::conv::gradient::add_sums;
use crate::micro::{FAR, Tile, add_product, best_shape, cover, held, product};
use crate::simd::Vector;
use crate::{Block, Input, LANES, Scalar};

/// Samples of a tile that are few.
const MOST: usize = LANES / 2;

/// Outputs at most that are computed before their sums are made up: these leave room in the first cache.
const MOST_SUMS: usize = 64;

/// Whether the samples of a tile are few, and inputs so many that laying them out is little work.
pub(super) fn suits(dense: &Dense, block: Block) -> bool {
    block.samples() <= MOST && dense.inputs >= 4 * LANES
}

/// Scratch of [`Forward::rows`].
pub(super) fn rows_len(dense: &Dense, samples: usize) -> usize {
    if samples > 1 { Block::single(samples).len(dense.outputs.min(MOST_SUMS) * LANES) } else { 0 }
}

/// Scratch of [`Forward::few`] and [`BackwardInput::few`].
pub(super) fn tile_len(dense: &Dense) -> usize {
    MOST * dense.inputs.next_multiple_of(LANES) + (MOST_SUMS + 4) * LANES
}

impl<T: Scalar> Forward<'_, T> {
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
        for outputs in chunks(outputs, MOST_SUMS) {
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

    /// Few samples of a tile: its vectors hold two inputs of eight samples, or four of four, side by side, and a weight's vector as many
    /// weights over and over. So there are two sums, or four, for each number of y, of every second or fourth input.
    #[inline(always)]
    pub(super) fn few<V: Vector<Elem = T>>(self) {
        // Vectors of two lanes are those of dual numbers alone, whose bits are nobody's.
        if parts(self.block.samples()) == 4 && V::LANES >= 4 {
            self.groups::<V, 4>()
        } else {
            self.groups::<V, 2>()
        }
    }

    /// [`few`](Self::few) with `N` inputs side by side.
    #[inline(always)]
    fn groups<V: Vector<Elem = T>, const N: usize>(self) {
        let Self { dense: Dense { inputs, outputs }, w, b, x, y, scratch, .. } = self;
        let (groups, rest) = (inputs / N, inputs % N);
        let (x_groups, free) = scratch.split_at_mut(groups * LANES);
        let (x_rest, sums) = free.split_at_mut(N * LANES);
        lay_out::<V, N>(inputs, x, x_groups, x_rest);
        let columns = LANES / V::LANES;
        for outputs in chunks(outputs, MOST_SUMS) {
            let w = &w[outputs.start * inputs..];
            let tile = Groups::<_, N> {
                w: w.as_ptr(),
                row: inputs,
                x: x_groups.as_ptr(),
                groups,
                sums: sums.as_mut_ptr(),
            };
            // SAFETY: the lengths were checked against the sizes; the shape fits.
            unsafe {
                cover::<V>(&tile, [best_shape::<V>(outputs.len(), columns); 2], outputs.len(), (0, columns));
            }
            let w = w.chunks_exact(inputs).take(outputs.len());
            for ((o, w), sums) in outputs.zip(w).zip(sums.as_chunks::<LANES>().0) {
                let b = b.map_or(T::ZERO, |b| b[o]);
                for (s, of_sample) in sums.as_chunks::<N>().0.iter().enumerate() {
                    let mut sum = of_sample[0] + of_sample[1];
                    if N == 4 {
                        sum += of_sample[2] + of_sample[N - 1];
                    }
                    for i in 0..rest {
                        sum = w[inputs - rest + i].mul_add(x_rest[i * LANES + s], sum);
                    }
                    // SAFETY: the output exists. Lanes without a sample get the bias.
                    unsafe { *y.start.add(o * LANES + s) = b + sum };
                }
            }
        }
    }
}

/// Lays `N` inputs of each sample side by side, `[group][sample][N]`; those that are left over after the last group plainly, `[input][16]`.
#[inline(always)]
fn lay_out<V: Vector, const N: usize>(
    inputs: usize,
    x: Input<'_, V::Elem>,
    groups: &mut [V::Elem],
    rest: &mut [V::Elem],
) {
    let whole = inputs / N * N;
    rest.fill(V::Elem::ZERO);
    match x {
        Input::Rows(x) => {
            groups.fill(V::Elem::ZERO);
            for (s, x) in x.iter().enumerate() {
                for (group, x) in groups.chunks_exact_mut(LANES).zip(x.chunks_exact(N)) {
                    group[s * N..][..N].copy_from_slice(x);
                }
                x[whole..].iter().enumerate().for_each(|(i, &x)| rest[i * LANES + s] = x);
            }
        }
        Input::Block(x) => {
            rest[..(inputs - whole) * LANES].copy_from_slice(&x[whole * LANES..]);
            for (group, x) in groups.chunks_exact_mut(LANES).zip(x.chunks_exact(N * LANES)) {
                if V::LANES < 8 {
                    for (i, to) in group.iter_mut().enumerate() {
                        *to = x[i % N * LANES + i / N];
                    }
                    continue;
                }
                // SAFETY: N rows of sixteen lanes are there, and room for sixteen numbers.
                unsafe {
                    let mut inputs = [V::splat(V::Elem::ZERO); N];
                    for i in 0..N {
                        inputs[i] = V::load(x.as_ptr().add(i * LANES));
                    }
                    let (low, high) = if N == 2 {
                        V::zip(inputs[0], inputs[1])
                    } else {
                        V::zip(V::zip(inputs[0], inputs[N / 2]).0, V::zip(inputs[1], inputs[N - 1]).0)
                    };
                    low.store(group.as_mut_ptr());
                    if V::LANES < LANES {
                        high.store(group.as_mut_ptr().add(V::LANES));
                    }
                }
            }
        }
    }
}

/// Sixteen sums of each output, `[output][16]`: tiles of outputs x vectors of samples with `N` inputs each.
struct Groups<T, const N: usize> {
    w: *const T,
    row: usize,
    x: *const T,
    groups: usize,
    sums: *mut T,
}

impl<T: Scalar, const N: usize> Tile<T> for Groups<T, N> {
    #[inline(always)]
    unsafe fn at<V: Vector<Elem = T>, const R: usize, const C: usize>(
        &self,
        o: usize,
        c0: usize,
        _fresh: (usize, usize),
    ) {
        let Self { w, row, x, groups, sums } = *self;
        let mut acc = [[V::splat(T::ZERO); C]; R];
        let mut rows = [w; R];
        for r in 0..R {
            rows[r] = w.wrapping_add((o + r) * row);
        }
        let rows = held::<_, R, 2>(rows);
        // SAFETY: the caller vouches for outputs and vectors; whole groups end within the inputs.
        unsafe {
            for k in 0..groups {
                let mut xs = [V::splat(T::ZERO); C];
                for c in 0..C {
                    xs[c] = V::load(x.add(k * LANES + (c0 + c) * V::LANES));
                }
                for r in 0..R {
                    let w = V::splat_group::<N>(rows[r].add(k * N));
                    for c in 0..C {
                        acc[r][c] = w.mul_add(xs[c], acc[r][c]);
                    }
                }
            }
            for r in 0..R {
                for c in 0..C {
                    acc[r][c].store(sums.add((o + r) * LANES + (c0 + c) * V::LANES));
                }
            }
        }
    }
}

impl<T: Scalar> BackwardInput<'_, T> {
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
                let tile = SamplesByInputs::<_, false> {
                    dy: dy.as_ptr(),
                    dy_row: outputs,
                    w,
                    row,
                    outputs,
                    dx: dx.start,
                    dx_row: dx_features,
                };
                cover::<V>(&tile, [best_shape::<V>(samples, vectors); 2], samples, (0, vectors));
            }
            let done = vectors * V::LANES;
            for (s, dy) in dy.chunks_exact(outputs).enumerate().filter(|_| done < inputs.len()) {
                let dx = dx.start.add(s * dx_features + done);
                transposed_matrix_vector::<V>(w.add(done), row, dy, dx, inputs.len() - done);
            }
        }
    }

    /// As many inputs of few samples of a tile as make up whole sixteens; returns how many.
    #[inline(always)]
    pub(super) fn few<V: Vector<Elem = T>>(&mut self) -> usize {
        let Self { dense: Dense { inputs: row, outputs }, ref inputs, block, w, dy, ref dx, .. } = *self;
        let (samples, done) = (block.samples(), inputs.len() / LANES * LANES);
        let vectors = done / V::LANES;
        if vectors == 0 {
            return 0;
        }
        let rows = &mut self.scratch[..MOST * done];
        // A lane without a sample has a gradient of zero.
        rows[samples * done..].fill(T::ZERO);
        let rows = rows.as_mut_ptr();
        let w = w[inputs.start..].as_ptr();
        let tile = SamplesByInputs::<_, true> {
            dy: dy.as_ptr(),
            dy_row: LANES,
            w,
            row,
            outputs,
            dx: rows,
            dx_row: done,
        };
        // SAFETY: there is room for every sample, and the other lengths were checked against the sizes; the shape fits.
        unsafe {
            cover::<V>(&tile, [best_shape::<V>(samples, vectors); 2], samples, (0, vectors));
            for i in (0..done).step_by(LANES) {
                let to = dx.start.add(i * LANES);
                for feature in 0..LANES {
                    V::splat(T::ZERO).store(to.add(feature * LANES + LANES - V::LANES));
                }
                V::transpose16(rows.add(i), done, [LANES, MOST], to, LANES);
            }
        }
        done
    }
}

/// `y[s][o] = b[o] + sum_i w[o][i] x[s][i]`, of samples that lie one after the other: sixteen partial sums each (input `i` goes to
/// sum `i mod 16`), then their tree. Tiles of samples x outputs: the weight, which comes from farther, is read as rarely as can be.
struct Dots<T> {
    w: *const T,
    x: *const T,
    inputs: usize,
    outputs: usize,
    /// `[sample][output][16]`.
    sums: *mut T,
}

impl<T: Scalar> Tile<T> for Dots<T> {
    #[inline(always)]
    unsafe fn at<V: Vector<Elem = T>, const R: usize, const C: usize>(
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
                let (a, b) = (held::<_, R, C>(a), held::<_, C, R>(b));
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

impl<T: Scalar> Dots<T> {
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
            cover::<V>(self, [V::best_shape(samples, outputs, FAR); 2], samples, (0, outputs));
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

/// The same for one sample, more outputs at a time.
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

/// `dx = W^T dy` for few samples: tiles of samples x vectors of inputs. Each number of dx sums over the outputs
/// in order.
struct SamplesByInputs<T, const TILED: bool> {
    dy: *const T,
    /// Numbers from one sample to the next, or in a tile from one output.
    dy_row: usize,
    /// Of the first input.
    w: *const T,
    row: usize,
    outputs: usize,
    dx: *mut T,
    /// Numbers from one sample of it to the next.
    dx_row: usize,
}

impl<T: Scalar, const TILED: bool> Tile<T> for SamplesByInputs<T, TILED> {
    #[inline(always)]
    unsafe fn at<V: Vector<Elem = T>, const R: usize, const C: usize>(
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

/// The same for one sample, more inputs at a time.
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
