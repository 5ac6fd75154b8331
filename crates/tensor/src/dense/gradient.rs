//! The parameter gradient of a dense layer, `dW = dy x^T`: its operands are kept, block by block, in the order in which the
//! product walks through them, and the product is made once for all samples.

use super::Dense;
use crate::conv::gradient::add_row;
use crate::micro::{Tile, best_shape, cover, product};
use crate::simd::{Kernel, Vector, sum16};
use crate::{Block, LANES, Scalar};
use std::ops::Range;

/// What [`Dense::keep`] kept.
#[derive(Clone, Copy, Debug)]
pub struct Kept<'a, T> {
    /// The samples, as if they were one block.
    pub(super) block: Block,
    /// Samples that fit.
    pub(super) room: usize,
    pub(super) numbers: &'a [T],
}

impl<'a, T> Kept<'a, T> {
    /// The samples of `block` in a buffer with the [length](Dense::kept_len) for `largest`.
    pub fn new(block: Block, largest: Block, numbers: &'a [T]) -> Self {
        Self { block, room: largest.tiles() * largest.lanes(), numbers }
    }
}

impl<T> Default for Kept<'_, T> {
    fn default() -> Self {
        Self::new(Block::tiled(0), Block::tiled(0), &[])
    }
}

pub(crate) struct Keep<'a, T> {
    pub(super) dense: Dense,
    pub(super) block: Block,
    pub(super) x: &'a [T],
    pub(super) dy: &'a [T],
    pub(super) first: usize,
    /// Samples that fit into `kept`.
    pub(super) room: usize,
    pub(super) kept: &'a mut [T],
}

impl<T: Scalar> Kernel<T> for Keep<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Elem = T>>(self) {
        let Self { dense, block, x, dy, first, room, kept } = self;
        let (Dense { inputs, outputs }, lanes) = (dense, block.lanes());
        let (panels, columns) = kept.split_at_mut(inputs.next_multiple_of(LANES) * room);
        if room == 1 {
            // One sample: its panels are a row, its columns another.
            let (row, rest) = panels.split_at_mut(inputs);
            row.copy_from_slice(x);
            rest.fill(T::ZERO);
            return columns.copy_from_slice(dy);
        }
        for (t, x) in x.chunks_exact(inputs * lanes).enumerate() {
            let first = first + t * lanes;
            for (x, panel) in x.chunks(LANES * lanes).zip(panels.chunks_exact_mut(room * LANES)) {
                let to = &mut panel[first * LANES..][..lanes * LANES];
                if lanes == 1 {
                    to[..x.len()].copy_from_slice(x);
                    to[x.len()..].fill(T::ZERO);
                } else {
                    // Sixteen features; of the last panel fewer, padded with zeros.
                    // SAFETY: both squares hold 16 x 16 numbers.
                    unsafe {
                        if x.len() == LANES * LANES {
                            V::transpose16(x.as_ptr(), LANES, to.as_mut_ptr(), LANES);
                        } else {
                            let mut square = [T::ZERO; LANES * LANES];
                            square[..x.len()].copy_from_slice(x);
                            V::transpose16(square.as_ptr(), LANES, to.as_mut_ptr(), LANES);
                        }
                    }
                }
            }
        }
        for (t, dy) in dy.chunks_exact(outputs * lanes).enumerate() {
            for (column, dy) in columns.chunks_exact_mut(room).zip(dy.chunks_exact(lanes)) {
                let column = &mut column[first + t * lanes..];
                match (dy.first_chunk::<LANES>(), column.first_chunk_mut::<LANES>()) {
                    (Some(dy), Some(column)) => *column = *dy,
                    _ => column[0] = dy[0],
                }
            }
        }
    }
}

pub(crate) struct MoveRows<'a, T> {
    pub(super) dense: Dense,
    pub(super) rows: Range<usize>,
    pub(super) kept: &'a [Kept<'a, T>],
    pub(super) rate: Option<T>,
    pub(super) w: &'a mut [T],
    pub(super) b: Option<&'a mut [T]>,
}

/// What becomes of a parameter, or of its gradient, when the gradient of all samples is known.
#[inline(always)]
fn moved<V: Vector>(old: V, gradient: V, rate: Option<V::Elem>) -> V {
    match rate {
        None => old.add(gradient),
        Some(rate) => old.sub(V::splat(rate).mul(gradient)),
    }
}

impl<T: Scalar> Kernel<T> for MoveRows<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Elem = T>>(self) {
        let Self { dense, rows, kept, rate, w, b } = self;
        let inputs = dense.inputs;
        let samples: usize = kept.iter().map(|kept| kept.block.samples()).sum();
        if samples == 1
            && let [kept] = kept
            && kept.room == 1
        {
            // One sample: its weight is best walked through as it lies.
            let (x, dy) = (&kept.numbers[..inputs], &kept.numbers[inputs.next_multiple_of(LANES)..][rows]);
            for (&d, w) in dy.iter().zip(w.chunks_exact_mut(inputs)) {
                move_along::<V>(rate, d, x, w);
            }
            if let Some(b) = b {
                move_along::<V>(rate, T::ONE, dy, b);
            }
            return;
        }
        if let Some(b) = b {
            for (o, b) in rows.clone().zip(b) {
                let gradient = dense.sum_of_column::<V>(o, kept);
                match rate {
                    None => *b += gradient,
                    Some(rate) => *b -= rate * gradient,
                }
            }
        }
        let tile = OuterProducts { dense, first: rows.start, kept, rate, w: w.as_mut_ptr() };
        let columns = inputs.div_ceil(V::LANES);
        let shape @ (_, width) = best_shape::<V>(rows.len(), columns);
        // A strip of x that fits into half of the first cache stays there while all rows of W pass; where not even a panel
        // does, one that leaves room in the second.
        let vectors = |numbers: usize| numbers / (samples.max(1) * V::LANES);
        let strip = if vectors(4096) >= LANES / V::LANES { vectors(4096) } else { vectors(32768) };
        let strip = strip.max(1).next_multiple_of(width);
        let mut from = 0;
        while from < columns && !rows.is_empty() {
            // The last strip takes what is left, so that every strip is at least a tile wide.
            let to = if from + strip + width > columns { columns } else { from + strip };
            // SAFETY: the lengths were checked against the sizes; the shape fits every strip.
            unsafe { cover::<V>(&tile, [shape; 2], rows.len(), (from, to)) };
            from = to;
        }
    }
}

impl Dense {
    /// The sum of the gradient of output `o` over the kept samples: of tiles sixteen partial sums and then their tree, of single
    /// samples one after the other.
    #[inline(always)]
    fn sum_of_column<V: Vector>(&self, o: usize, kept: &[Kept<'_, V::Elem>]) -> V::Elem {
        let mut sums = [V::Elem::ZERO; LANES];
        for &Kept { block, room, numbers } in kept {
            let column = &numbers[(self.inputs.next_multiple_of(LANES) + o) * room..][..block.samples()];
            if block.lanes() == 1 {
                column.iter().for_each(|&d| sums[0] += d);
            } else {
                add_row::<V>(column, &mut sums);
            }
        }
        // SAFETY: sums holds 16 numbers.
        unsafe { sum16(sums.as_ptr()) }
    }
}

/// `G[o][i] = sum over samples of dy[o][sample] * x[sample][i]`, samples in order, and what becomes of `w[o][i]`: tiles of
/// outputs x vectors of inputs.
struct OuterProducts<'a, T> {
    dense: Dense,
    /// The output that row 0 belongs to.
    first: usize,
    kept: &'a [Kept<'a, T>],
    rate: Option<T>,
    w: *mut T,
}

impl<V: Vector> Tile<V> for OuterProducts<'_, V::Elem> {
    #[inline(always)]
    unsafe fn at<const R: usize, const C: usize>(&self, o: usize, c0: usize, fresh: (usize, usize)) {
        let Self { dense, first, kept, rate, w } = *self;
        let (inputs, i) = (dense.inputs, c0 * V::LANES);
        // The last vector of a row may be short: its rest is not written.
        let left = |c: usize| V::LANES.min(inputs - i - c * V::LANES);
        let mut acc = [[V::splat(V::Elem::ZERO); C]; R];
        // SAFETY: the caller vouches for rows and columns; the slices were checked against the sizes.
        unsafe {
            let w = w.add(o * inputs + i);
            for &Kept { block, room, numbers } in kept {
                let (x, room_16) = (numbers.as_ptr(), room * LANES);
                let dy = x.add(inputs.next_multiple_of(LANES) * room + (first + o) * room);
                let mut b = [x; C];
                for c in 0..C {
                    let i = i + c * V::LANES;
                    b[c] = x.add(i / LANES * room_16 + i % LANES);
                }
                product::<V, R, C>(&mut acc, dy, room, 1, b, LANES, block.samples());
            }
            if fresh == (o, c0) && i + C * V::LANES <= inputs {
                // Nearly always: nothing done before, no short vector.
                for r in 0..R {
                    for c in 0..C {
                        let w = w.add(r * inputs + c * V::LANES);
                        moved(V::load(w), acc[r][c], rate).store(w);
                    }
                }
                return;
            }
            for r in 0..R {
                for c in 0..C {
                    if o + r >= fresh.0 && c0 + c >= fresh.1 {
                        let w = w.add(r * inputs + c * V::LANES);
                        moved(V::load_first(w, left(c)), acc[r][c], rate).store_first(w, left(c));
                    }
                }
            }
        }
    }
}

/// `y += a x`, or with a rate `y -= rate * (a x)`.
#[inline(always)]
fn move_along<V: Vector>(rate: Option<V::Elem>, a: V::Elem, x: &[V::Elem], y: &mut [V::Elem]) {
    /// Vectors at a time.
    const UNROLL: usize = 4;
    let len = x.len().min(y.len());
    let (x, y) = (x.as_ptr(), y.as_mut_ptr());
    let mut i = 0;
    // SAFETY: no more than len numbers are read or written.
    unsafe {
        while i + UNROLL * V::LANES <= len {
            for k in 0..UNROLL {
                move_vector::<V>(rate, a, x.add(i + k * V::LANES), y.add(i + k * V::LANES), V::LANES);
            }
            i += UNROLL * V::LANES;
        }
        while i < len {
            let n = V::LANES.min(len - i);
            move_vector::<V>(rate, a, x.add(i), y.add(i), n);
            i += n;
        }
    }
}

/// The first `n` numbers of [`move_along`].
///
/// # Safety
/// Both pointers must be valid for `n <= LANES` numbers.
#[inline(always)]
unsafe fn move_vector<V: Vector>(
    rate: Option<V::Elem>,
    a: V::Elem,
    x: *const V::Elem,
    y: *mut V::Elem,
    n: usize,
) {
    // SAFETY: as the caller vouches.
    unsafe {
        let (a, x, old) = (V::splat(a), V::load_first(x, n), V::load_first(y, n));
        let new = match rate {
            None => a.mul_add(x, old),
            Some(_) => moved(old, a.mul(x), rate),
        };
        new.store_first(y, n);
    }
}
