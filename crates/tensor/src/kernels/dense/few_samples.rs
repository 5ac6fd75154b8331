//! The forward pass of few samples of a tile: vectors hold inputs, where lanes of samples would be empty.

use super::gemm::chunks;
use super::operands::Forward;
use super::single::MAX_OUTPUTS;
use crate::blocking::{best_shape, cover, opaque};
use crate::geometry::Dense;
use crate::layout::{Block, Input, LANES, parts};
use crate::number::Number;
use crate::simd::{MicroKernel, Vector};

/// Samples of a tile that are few.
const MAX_SAMPLES: usize = LANES / 2;

/// Whether the samples of a tile are few, and inputs so many that laying them out is little work.
pub(super) fn suits(dense: &Dense, block: Block) -> bool {
    block.samples() <= MAX_SAMPLES && dense.inputs >= 4 * LANES
}

/// Scratch of [`Forward::few`].
pub(super) fn scratch_len(dense: &Dense) -> usize {
    MAX_SAMPLES * dense.inputs.next_multiple_of(LANES) + (MAX_OUTPUTS + 4) * LANES
}

impl<T: Number> Forward<'_, T> {
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
        for outputs in chunks(outputs, MAX_OUTPUTS) {
            let w = &w[outputs.start * inputs..];
            let sums_of = Groups::<_, N> {
                w: w.as_ptr(),
                row: inputs,
                x: x_groups.as_ptr(),
                groups,
                sums: sums.as_mut_ptr(),
            };
            // SAFETY: the lengths were checked against the sizes; the shape fits.
            unsafe {
                cover::<V>(
                    &sums_of,
                    [best_shape::<V>(outputs.len(), columns); 2],
                    outputs.len(),
                    (0, columns),
                );
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

/// Sixteen sums of each output, `[output][16]`: blocks of outputs x vectors of samples with `N` inputs each.
struct Groups<T, const N: usize> {
    w: *const T,
    row: usize,
    x: *const T,
    groups: usize,
    sums: *mut T,
}

impl<T: Number, const N: usize> MicroKernel<T> for Groups<T, N> {
    #[inline(always)]
    unsafe fn block<V: Vector<Elem = T>, const R: usize, const C: usize>(
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
        let rows = opaque::<_, R, 2>(rows);
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
