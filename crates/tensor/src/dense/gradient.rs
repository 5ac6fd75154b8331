//! The parameter gradient of a dense layer, `dW = dy x^T`: its operands are kept, block by block, in the order in which the
//! product walks through them, and the product is made once for all samples.

use super::{Dense, chunks};
use crate::conv::gradient::add_row;
use crate::micro::{FAR, Tile, cover, held, product};
use crate::simd::{Kernel, Vector, prefetch};
use crate::{Block, Input, LANES, RowView, Scalar};
use std::ops::Range;

/// What [`Dense::keep`] kept.
#[derive(Clone, Copy, Debug)]
pub struct Kept<'a, T> {
    /// The samples, as if they were one block.
    pub(super) block: Block,
    /// Samples that fit.
    pub(super) room: usize,
    pub(super) numbers: &'a [T],
    /// x, if it was not kept.
    pub(super) rows: Option<RowView<'a, T>>,
}

impl<'a, T> Kept<'a, T> {
    /// The samples of `block` in a buffer with the [length](Dense::kept_len) for `largest`.
    ///
    /// # Panics
    /// If `largest` has more samples than memory can hold.
    #[track_caller]
    pub fn new(block: Block, largest: Block, numbers: &'a [T]) -> Self {
        Self { block, room: largest.len(1), numbers, rows: None }
    }

    /// The same with x as rows, where only dy was kept.
    #[must_use]
    pub fn with_rows(self, rows: RowView<'a, T>) -> Self {
        Self { rows: Some(rows), ..self }
    }

    /// Where x lies. The distances that are constants are told as such.
    #[inline(always)]
    fn x(&self) -> Strip<T> {
        match &self.rows {
            Some(rows) => Strip { x: rows.numbers.as_ptr(), sample: rows.apart, sixteen: LANES },
            None => Strip { x: self.numbers.as_ptr(), sample: LANES, sixteen: self.room * LANES },
        }
    }

    /// The columns of dy.
    #[inline(always)]
    fn dy(&self, inputs: usize) -> &'a [T] {
        match self.rows {
            Some(_) => self.numbers,
            None => &self.numbers[inputs.next_multiple_of(LANES) * self.room..],
        }
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
    pub(super) x: Input<'a, T>,
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
        // Rows are read where they are.
        let (x, panels) = match x {
            Input::Block(x) => (Some(x), inputs.next_multiple_of(LANES) * room),
            Input::Rows(_) => (None, 0),
        };
        let (panels, columns) = kept.split_at_mut(panels);
        if room == 1 {
            // One sample: its panels are a row, its columns another.
            if let Some(x) = x {
                let (row, rest) = panels.split_at_mut(inputs);
                row.copy_from_slice(x);
                rest.fill(T::ZERO);
            }
            return columns.copy_from_slice(dy);
        }
        for (t, x) in x.into_iter().flat_map(|x| x.chunks_exact(inputs * lanes).enumerate()) {
            let (first, live) = (first + t * lanes, block.live(t));
            for (x, panel) in x.chunks(LANES * lanes).zip(panels.chunks_exact_mut(room * LANES)) {
                let to = &mut panel[first * LANES..][..lanes * LANES];
                if let (1, Some(x), Some(to)) =
                    (lanes, x.first_chunk::<LANES>(), to.first_chunk_mut::<LANES>())
                {
                    *to = *x;
                } else if lanes == 1 {
                    to[..x.len()].copy_from_slice(x);
                    to[x.len()..].fill(T::ZERO);
                } else {
                    // Sixteen features, of the last panel fewer, padded with zeros; of the samples those that live.
                    // SAFETY: both squares hold 16 x 16 numbers.
                    unsafe {
                        if x.len() == LANES * LANES {
                            V::transpose16(x.as_ptr(), LANES, [live, LANES], to.as_mut_ptr(), LANES);
                        } else {
                            let mut square = [T::ZERO; LANES * LANES];
                            square[..x.len()].copy_from_slice(x);
                            V::transpose16(square.as_ptr(), LANES, [live, LANES], to.as_mut_ptr(), LANES);
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
                move_along::<V>(rate, d, x, w);
            }
            if let Some(b) = b {
                move_along::<V>(rate, T::ONE, dy, b);
            }
            return;
        }
        if let Some(b) = b {
            for (rows, b) in chunks(rows.len(), LANES).zip(b.chunks_mut(LANES)) {
                let gradients = dense.sums_of_columns::<V>(first + rows.start, rows.len(), kept);
                for (b, gradient) in b.iter_mut().zip(gradients) {
                    match rate {
                        None => *b += gradient,
                        Some(rate) => *b -= rate * gradient,
                    }
                }
            }
        }
        if samples <= FEW
            && let Some(few) = FewSamples::of(inputs, kept)
        {
            return move_by_few::<V>(inputs, rows, &few, rate, w);
        }
        let columns = inputs.div_ceil(V::LANES);
        let shape @ (_, width) = V::best_shape(rows.len(), columns, FAR);
        // A strip of x that fits into half of the first cache stays there while all rows of W pass; where not even a panel
        // does, one that leaves room in the second.
        let vectors = |numbers: usize| numbers / (samples.max(1) * V::LANES);
        let far = vectors(4096) < LANES / V::LANES;
        let strip = vectors(if far { 65536 } else { 4096 });
        let tile = OuterProducts { dense, first, kept, rate, far, w: w.as_mut_ptr() };
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
    /// The sums of the gradients of `count` outputs from `first` on, sixteen at most, over the kept samples: of tiles sixteen partial
    /// sums and then their tree, of single samples one after the other.
    #[inline(always)]
    fn sums_of_columns<'a, V: Vector>(
        &self,
        first: usize,
        count: usize,
        kept: &[Kept<'a, V::Elem>],
    ) -> [V::Elem; LANES] {
        let mut all = [V::Elem::ZERO; LANES];
        let columns = |kept: &Kept<'a, V::Elem>| {
            // Where nothing was kept there may be no room, and columns of no length.
            let (room, samples) = (kept.room, kept.block.samples());
            let columns = kept.dy(self.inputs)[first * room..].chunks_exact(room.max(1)).take(count);
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
}

/// Samples whose dy is held in registers while a row of the weight is walked through: eight leave eight of sixteen.
const FEW: usize = 8;

/// Where x and dy of no more than [`FEW`] samples lie, whatever was kept together.
#[derive(Clone, Copy)]
struct FewSamples<T> {
    count: usize,
    x: [*const T; FEW],
    /// From sixteen inputs to the next.
    sixteen: usize,
    dy: [*const T; FEW],
    /// From one output to the next.
    output: usize,
}

impl<T: Scalar> FewSamples<T> {
    /// Those of all that was kept, if it lies alike.
    #[inline(always)]
    fn of(inputs: usize, kept: &[Kept<'_, T>]) -> Option<Self> {
        let first = kept.first()?;
        let (sixteen, output) = (first.x().sixteen, first.room);
        let mut few =
            Self { count: 0, x: [std::ptr::null(); FEW], sixteen, dy: [std::ptr::null(); FEW], output };
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

/// Inputs whose x of [`FEW`] samples fits into half of the first cache.
const STRIP: usize = 512;

/// What becomes of rows of the weight by no more than [`FEW`] samples. Their sums are so short that loading and storing the
/// accumulators of a register tile would take longer than the sums.
#[inline(always)]
fn move_by_few<V: Vector>(
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
        let strip = MoveStrip {
            samples,
            rate,
            w: w.as_mut_ptr().wrapping_add(from),
            rows: rows.len(),
            row: inputs,
            width: STRIP.min(inputs - from),
        };
        // The number of samples is a constant, so that every one of them has its register.
        match samples.count {
            1 => V::apart(Samples::<1, _>(strip)),
            2 => V::apart(Samples::<2, _>(strip)),
            3 => V::apart(Samples::<3, _>(strip)),
            4 => V::apart(Samples::<4, _>(strip)),
            5 => V::apart(Samples::<5, _>(strip)),
            6 => V::apart(Samples::<6, _>(strip)),
            7 => V::apart(Samples::<7, _>(strip)),
            FEW => V::apart(Samples::<FEW, _>(strip)),
            n => debug_assert!(n == 0, "{n} samples are not few"),
        }
    }
}

/// Where x of some inputs lies.
#[derive(Clone, Copy)]
struct Strip<T> {
    x: *const T,
    /// From one sample to the next, and from sixteen inputs to the next.
    sample: usize,
    sixteen: usize,
}

/// Some columns of rows of the weight.
struct MoveStrip<T> {
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
struct Samples<const K: usize, T>(MoveStrip<T>);

impl<const K: usize, T: Scalar> Kernel<T> for Samples<K, T> {
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

impl<T: Scalar> MoveStrip<T> {
    /// What becomes of `R` rows from `r` on.
    ///
    /// # Safety
    /// The rows must exist; x must hold their inputs of `K` samples, and zeros up to a whole sixteen.
    #[inline(always)]
    unsafe fn rows<V: Vector<Elem = T>, const K: usize, const R: usize>(&self, r: usize) {
        let Self { samples: FewSamples { x, sixteen, dy, output, .. }, rate, w, row, width, .. } = *self;
        let mut held_dy = [[V::splat(T::ZERO); K]; R];
        let mut samples = [x[0]; K];
        let mut to = [w; R];
        // SAFETY: as the caller vouches.
        unsafe {
            for i in 0..R {
                to[i] = w.add((r + i) * row);
                for k in 0..K {
                    held_dy[i][k] = V::splat(*dy[k].add((r + i) * output));
                }
            }
            samples.copy_from_slice(&x[..K]);
            let samples = held::<_, K, 4>(samples);
            // Two sixteens at a time: one sum alone would wait for each of its multiply-adds.
            let (mut i, mut at) = (0, 0);
            while i + 2 * LANES <= width {
                for part in (0..LANES).step_by(V::LANES) {
                    let both = [at + part, at + sixteen + part];
                    move_vectors::<V, K, R, 2>(
                        samples,
                        both,
                        held_dy,
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
                move_vectors::<V, K, R, 1>(samples, [at + i % LANES], held_dy, rate, to, [i], n);
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
unsafe fn move_vectors<V: Vector, const K: usize, const R: usize, const C: usize>(
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
                moved(V::load_first(w, left), acc[r][c], rate).store_first(w, left);
            }
        }
    }
}

/// Samples whose x is asked for before they are due, where it comes from the second cache.
const AHEAD: usize = 16;

/// `G[o][i] = sum over samples of dy[o][sample] * x[sample][i]`, samples in order, and what becomes of `w[o][i]`: tiles of
/// outputs x vectors of inputs.
struct OuterProducts<'a, T> {
    dense: Dense,
    /// The output that row 0 belongs to.
    first: usize,
    kept: &'a [Kept<'a, T>],
    rate: Option<T>,
    /// Whether x comes from the second cache.
    far: bool,
    w: *mut T,
}

impl<T: Scalar> Tile<T> for OuterProducts<'_, T> {
    #[inline(always)]
    unsafe fn at<V: Vector<Elem = T>, const R: usize, const C: usize>(
        &self,
        o: usize,
        c0: usize,
        fresh: (usize, usize),
    ) {
        let Self { dense, first, kept, rate, far, w } = *self;
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
                if far {
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
                        moved(V::load(w), acc[r][c], rate).store(w);
                    }
                }
                return;
            }
            // A copy, or the sums themselves would have to be in memory.
            let copy = acc;
            let sums = copy.as_ptr().cast();
            let (rows, columns) = (fresh.0.saturating_sub(o)..R, fresh.1.saturating_sub(c0)..C);
            V::apart(MovePart { sums, width: C, rows, columns, left: inputs - i, inputs, rate, w });
        }
    }
}

/// What becomes of a tile of the weight of which some is done already, or whose last vector is short.
struct MovePart<T> {
    /// Of the whole tile, `width` vectors a row.
    sums: *const T,
    width: usize,
    /// What is not done.
    rows: Range<usize>,
    columns: Range<usize>,
    /// Inputs from the tile's first to the last of all.
    left: usize,
    inputs: usize,
    rate: Option<T>,
    w: *mut T,
}

impl<T: Scalar> Kernel<T> for MovePart<T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Elem = T>>(self) {
        let Self { sums, width, rows, columns, left, inputs, rate, w } = self;
        for r in rows {
            for c in columns.clone() {
                // SAFETY: the tile, whose vectors are of this type, exists; of a short vector only what is left is touched.
                unsafe {
                    let w = w.add(r * inputs + c * V::LANES);
                    let n = V::LANES.min(left - c * V::LANES);
                    let sum = V::load(sums.add((r * width + c) * V::LANES));
                    moved(V::load_first(w, n), sum, rate).store_first(w, n);
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
