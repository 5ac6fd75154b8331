//! The dense (fully connected) layer's products: forward, input gradient, parameter gradient.

use crate::error::checked_product;
use crate::micro::{Tile, best_shape, cover, product};
use crate::simd::{Kernel, Vector, sum16};
use crate::{Block, GeometryError, LANES, Scalar};
use std::ops::Range;

/// Columns of the weight that the input gradient copies side by side: a multiple of every register tile's rows.
const PANEL: usize = 24;

/// What [`Dense::keep`] kept.
#[derive(Clone, Copy, Debug)]
pub struct Kept<'a, T> {
    /// The samples, as if they were one block.
    block: Block,
    /// Samples that fit.
    room: usize,
    numbers: &'a [T],
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

/// The sizes of a dense layer and its kernels: `y = W x + b`, `W` is `[outputs, inputs]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Dense {
    /// Features in.
    pub inputs: usize,
    /// Features out.
    pub outputs: usize,
}

impl Dense {
    /// Checks the sizes.
    ///
    /// # Errors
    /// A zero size, or more than 2^28 weights.
    pub fn new(inputs: usize, outputs: usize) -> Result<Self, GeometryError> {
        const NAME: &str = "dense";
        for (what, size) in [("inputs", inputs), ("outputs", outputs)] {
            if size == 0 {
                return Err(GeometryError::Zero { kernel: NAME, what });
            }
        }
        checked_product(NAME, "the weight", &[outputs, inputs])?;
        Ok(Self { inputs, outputs })
    }

    /// Scratch that each of the three passes may use.
    pub fn scratch_len(&self, block: Block) -> usize {
        // The operands of the parameter gradient, or a panel of the weight.
        let panel = if block.lanes() == 1 { 0 } else { self.outputs * PANEL };
        self.kept_len(block).max(panel)
    }

    /// `y = W x + b`: `[outputs x 16] = [outputs x inputs] * [inputs x 16]` for each tile. Overwrites `y`.
    ///
    /// # Panics
    /// If a slice has not the length its shape says.
    #[track_caller]
    pub fn forward<T: Scalar>(
        &self,
        block: Block,
        w: &[T],
        b: Option<&[T]>,
        x: &[T],
        y: &mut [T],
        scratch: &mut [T],
    ) {
        self.check(block, w.len(), x.len(), y.len(), scratch.len());
        assert!(b.is_none_or(|b| b.len() == self.outputs), "dense: bias must hold {} numbers", self.outputs);
        T::dense_forward(Forward { dense: *self, block, w, b, x, y });
    }

    /// `dx = W^T dy`: `[inputs x 16] = [inputs x outputs] * [outputs x 16]` for each tile. Overwrites `dx`.
    ///
    /// # Panics
    /// If a slice has not the length its shape says.
    #[track_caller]
    pub fn backward_input<T: Scalar>(
        &self,
        block: Block,
        w: &[T],
        dy: &[T],
        dx: &mut [T],
        scratch: &mut [T],
    ) {
        self.check(block, w.len(), dx.len(), dy.len(), scratch.len());
        T::dense_backward_input(BackwardInput { dense: *self, block, w, dy, dx, scratch });
    }

    /// `dW += dy x^T`: `[outputs x inputs] += [outputs x samples] * [samples x inputs]`, and `db += dy 1`. Adds to both.
    ///
    /// # Panics
    /// If a slice has not the length its shape says.
    #[track_caller]
    pub fn backward_params<T: Scalar>(
        &self,
        block: Block,
        x: &[T],
        dy: &[T],
        dw: &mut [T],
        db: Option<&mut [T]>,
        scratch: &mut [T],
    ) {
        self.check(block, dw.len(), x.len(), dy.len(), scratch.len());
        let kept = &mut scratch[..self.kept_len(block)];
        self.keep(block, x, dy, 0, kept);
        self.move_rows(0..self.outputs, &[Kept::new(block, block, kept)], None, dw, db);
    }

    /// Numbers that [`keep`](Self::keep) fills for a block, or for several that make up such a one.
    pub fn kept_len(&self, block: Block) -> usize {
        block.tiles() * block.lanes() * self.kept_features()
    }

    /// Keeps the operands of the parameter gradient of a block, for [`move_rows`](Self::move_rows): they become the samples
    /// from `first` on of `kept`, which has the [length](Self::kept_len) for all samples that are to be kept. There lie x in
    /// panels of sixteen inputs, `[panel][sample][16]`, and dy in columns, `[output][sample]`: the order in which their
    /// products walk through them, however many blocks they come from.
    ///
    /// # Panics
    /// If a slice has not the length its shape says, or `kept` no room.
    #[track_caller]
    pub fn keep<T: Scalar>(&self, block: Block, x: &[T], dy: &[T], first: usize, kept: &mut [T]) {
        assert_eq!(x.len(), block.len(self.inputs), "dense: length of x for {block:?}");
        assert_eq!(dy.len(), block.len(self.outputs), "dense: length of dy for {block:?}");
        let room = kept.len() / self.kept_features();
        assert!(first + block.tiles() * block.lanes() <= room, "dense: {block:?} from {first} on of {room}");
        T::dense_keep(Keep { dense: *self, block, x, dy, first, room, kept });
    }

    /// What becomes of rows `rows` of a parameter by the gradient of all kept samples, `G = dy x^T` and `g = dy 1`: with a rate
    /// `W -= rate * G` and `b -= rate * g`, a step of plain gradient descent whose gradient is never stored; without one
    /// `W += G` and `b += g`. `w` and `b` are those rows. Each number is summed over the samples in order.
    ///
    /// # Panics
    /// If there are not such rows, or a slice has not the length its shape says.
    #[track_caller]
    pub fn move_rows<T: Scalar>(
        &self,
        rows: Range<usize>,
        kept: &[Kept<'_, T>],
        rate: Option<T>,
        w: &mut [T],
        b: Option<&mut [T]>,
    ) {
        assert!(rows.start <= rows.end && rows.end <= self.outputs, "dense: rows {rows:?}");
        assert_eq!(w.len(), rows.len() * self.inputs, "dense: length of the rows");
        assert!(b.as_ref().is_none_or(|b| b.len() == rows.len()), "dense: length of the rows of the bias");
        for Kept { block, room, numbers } in kept {
            assert!(block.samples() <= *room, "dense: {block:?} in a buffer for {room}");
            assert_eq!(numbers.len(), room * self.kept_features(), "dense: length of what was kept");
        }
        T::dense_move_rows(MoveRows { dense: *self, rows, kept, rate, w, b });
    }

    /// Kept numbers of a sample.
    fn kept_features(&self) -> usize {
        self.inputs.next_multiple_of(LANES) + self.outputs
    }

    #[track_caller]
    fn check(&self, block: Block, w: usize, x: usize, y: usize, scratch: usize) {
        assert_eq!(w, self.inputs * self.outputs, "dense: length of the weight");
        assert_eq!(x, block.len(self.inputs), "dense: length of x or dx for {block:?}");
        assert_eq!(y, block.len(self.outputs), "dense: length of y or dy for {block:?}");
        assert!(
            scratch >= self.scratch_len(block),
            "dense: scratch of {} is too short: {scratch}",
            self.scratch_len(block)
        );
    }
}

/// Where the `column`-th vector of live lanes of a tiled block begins, for `features` features a tile.
#[inline(always)]
fn column<V: Vector>(features: usize, column: usize) -> usize {
    let parts = LANES / V::LANES;
    (column / parts) * features * LANES + (column % parts) * V::LANES
}

/// Vectors of live lanes in a tiled block.
#[inline(always)]
fn columns<V: Vector>(block: Block) -> usize {
    if block.is_empty() {
        return 0;
    }
    let last = block.tiles() - 1;
    last * (LANES / V::LANES) + block.live(last).div_ceil(V::LANES)
}

/// `y[r][column] = init[r] + sum_k a[r * a_row + k * a_step] * x[k][column]`: tiles of rows x vectors of lanes.
#[derive(Clone, Copy)]
struct RowsByLanes<T> {
    a: *const T,
    a_row: usize,
    a_step: usize,
    /// One number a row, or null.
    init: *const T,
    x: *const T,
    /// Features of x: the length of the sum.
    k: usize,
    y: *mut T,
    y_features: usize,
}

impl<V: Vector> Tile<V> for RowsByLanes<V::Elem> {
    #[inline(always)]
    unsafe fn at<const R: usize, const C: usize>(&self, r0: usize, c0: usize, _fresh: (usize, usize)) {
        let Self { a, a_row, a_step, init, x, k, y, y_features } = *self;
        let mut acc = [[V::splat(V::Elem::ZERO); C]; R];
        // SAFETY: the caller vouches for rows and columns; the slices were checked against the sizes.
        unsafe {
            if !init.is_null() {
                for r in 0..R {
                    acc[r] = [V::splat(*init.add(r0 + r)); C];
                }
            }
            let mut b = [x; C];
            for c in 0..C {
                b[c] = x.add(column::<V>(k, c0 + c));
            }
            product::<V, R, C>(&mut acc, a.add(r0 * a_row), a_row, a_step, b, LANES, k);
            for r in 0..R {
                for c in 0..C {
                    acc[r][c].store(y.add((r0 + r) * LANES + column::<V>(y_features, c0 + c)));
                }
            }
        }
    }
}

/// Covers `rows` x `columns` results with the best shape.
///
/// # Safety
/// The results must exist.
#[inline(always)]
unsafe fn cover_all<V: Vector>(tile: &impl Tile<V>, rows: usize, columns: usize) {
    // SAFETY: the caller vouches for the results.
    unsafe { cover::<V>(tile, best_shape::<V>(rows, columns), rows, (0, columns)) }
}

pub(crate) struct Forward<'a, T> {
    dense: Dense,
    block: Block,
    w: &'a [T],
    b: Option<&'a [T]>,
    x: &'a [T],
    y: &'a mut [T],
}

impl<T: Scalar> Kernel<T> for Forward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Elem = T>>(self) {
        let Self { dense: Dense { inputs, outputs }, block, w, b, x, y } = self;
        if block.lanes() == 1 {
            for s in 0..block.samples() {
                let x = &x[s * inputs..][..inputs];
                // SAFETY: the lengths were checked against the sizes.
                unsafe { matrix_vector::<V>(w, b, x, &mut y[s * outputs..][..outputs]) };
            }
            return;
        }
        let tile = RowsByLanes {
            a: w.as_ptr(),
            a_row: inputs,
            a_step: 1,
            init: b.map_or(std::ptr::null(), |b| b.as_ptr()),
            x: x.as_ptr(),
            k: inputs,
            y: y.as_mut_ptr(),
            y_features: outputs,
        };
        // SAFETY: the lengths were checked against the sizes.
        unsafe { cover_all::<V>(&tile, outputs, columns::<V>(block)) };
    }
}

/// `y = W x + b` for one sample: sixteen partial sums a row (column `i` goes to sum `i mod 16`), then their tree.
///
/// # Safety
/// `w` must hold `y.len() * x.len()` numbers, `b` as many as `y`.
#[inline(always)]
unsafe fn matrix_vector<V: Vector>(w: &[V::Elem], b: Option<&[V::Elem]>, x: &[V::Elem], y: &mut [V::Elem]) {
    const R: usize = 4;
    let (inputs, outputs) = (x.len(), y.len());
    let whole = inputs / LANES * LANES;
    let parts = LANES / V::LANES;
    let mut o = 0;
    while o < outputs {
        let rows = R.min(outputs - o);
        // A short last group repeats its last row, whose sum is then written more than once.
        let row = |r: usize| (o + r.min(rows - 1)) * inputs;
        let mut acc = [[V::splat(V::Elem::ZERO); LANES]; R];
        let mut sums = [[V::Elem::ZERO; LANES]; R];
        // SAFETY: whole vectors end at `whole` <= inputs, what is left holds inputs - whole numbers.
        unsafe {
            let mut i = 0;
            while i < whole {
                for p in 0..parts {
                    let x = V::load(x.as_ptr().add(i + p * V::LANES));
                    for r in 0..R {
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
                    for r in 0..R {
                        acc[r][p] = V::load_first(w.as_ptr().add(row(r) + i), n).mul_add(x, acc[r][p]);
                    }
                }
                for r in 0..R {
                    acc[r][p].store(sums[r].as_mut_ptr().add(p * V::LANES));
                }
            }
        }
        for r in 0..rows {
            // SAFETY: a row of sums holds 16 numbers.
            let sum = unsafe { sum16(sums[r].as_ptr()) };
            y[o + r] = b.map_or(sum, |b| sum + b[o + r]);
        }
        o += rows;
    }
}

pub(crate) struct BackwardInput<'a, T> {
    dense: Dense,
    block: Block,
    w: &'a [T],
    dy: &'a [T],
    dx: &'a mut [T],
    scratch: &'a mut [T],
}

impl<T: Scalar> Kernel<T> for BackwardInput<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Elem = T>>(self) {
        let Self { dense: Dense { inputs, outputs }, block, w, dy, dx, scratch } = self;
        if block.lanes() == 1 {
            for s in 0..block.samples() {
                let dy = &dy[s * outputs..][..outputs];
                let dx = &mut dx[s * inputs..][..inputs];
                // SAFETY: the lengths were checked against the sizes.
                unsafe { transposed_matrix_vector::<V>(w, dy, dx) };
            }
            return;
        }
        let columns = columns::<V>(block);
        let mut i = 0;
        while i < inputs {
            // Some columns of W side by side: otherwise each output reads a new cache line for a few numbers.
            let width = PANEL.min(inputs - i);
            let panel = &mut scratch[..outputs * PANEL];
            for (o, panel) in panel.chunks_exact_mut(PANEL).enumerate() {
                let w = &w[o * inputs + i..];
                match w.first_chunk::<PANEL>() {
                    Some(w) if width == PANEL => {
                        *panel.first_chunk_mut::<PANEL>().expect("a panel's row") = *w
                    }
                    _ => panel[..width].copy_from_slice(&w[..width]),
                }
            }
            // SAFETY: the lengths were checked against the sizes; i + width <= inputs.
            unsafe {
                let tile = RowsByLanes {
                    a: panel.as_ptr(),
                    a_row: 1,
                    a_step: PANEL,
                    init: std::ptr::null(),
                    x: dy.as_ptr(),
                    k: outputs,
                    y: dx.as_mut_ptr().add(i * LANES),
                    y_features: inputs,
                };
                cover_all::<V>(&tile, width, columns);
            }
            i += width;
        }
    }
}

/// `dx = W^T dy` for one sample: each number of dx sums over the outputs in order.
///
/// # Safety
/// `w` must hold `dy.len() * dx.len()` numbers.
#[inline(always)]
unsafe fn transposed_matrix_vector<V: Vector>(w: &[V::Elem], dy: &[V::Elem], dx: &mut [V::Elem]) {
    const C: usize = 8;
    let inputs = dx.len();
    let mut i = 0;
    // SAFETY: i + C * LANES <= inputs in the first loop, i + n <= inputs in the second.
    unsafe {
        while i + C * V::LANES <= inputs {
            let mut acc = [V::splat(V::Elem::ZERO); C];
            for (o, &d) in dy.iter().enumerate() {
                let d = V::splat(d);
                for c in 0..C {
                    acc[c] = d.mul_add(V::load(w.as_ptr().add(o * inputs + i + c * V::LANES)), acc[c]);
                }
            }
            for c in 0..C {
                acc[c].store(dx.as_mut_ptr().add(i + c * V::LANES));
            }
            i += C * V::LANES;
        }
        while i < inputs {
            let n = V::LANES.min(inputs - i);
            let mut acc = V::splat(V::Elem::ZERO);
            for (o, &d) in dy.iter().enumerate() {
                acc = V::splat(d).mul_add(V::load_first(w.as_ptr().add(o * inputs + i), n), acc);
            }
            acc.store_first(dx.as_mut_ptr().add(i), n);
            i += n;
        }
    }
}

pub(crate) struct Keep<'a, T> {
    dense: Dense,
    block: Block,
    x: &'a [T],
    dy: &'a [T],
    first: usize,
    /// Samples that fit into `kept`.
    room: usize,
    kept: &'a mut [T],
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
                            V::transpose16(x.as_ptr(), to.as_mut_ptr(), LANES);
                        } else {
                            let mut square = [T::ZERO; LANES * LANES];
                            square[..x.len()].copy_from_slice(x);
                            V::transpose16(square.as_ptr(), to.as_mut_ptr(), LANES);
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
    dense: Dense,
    rows: Range<usize>,
    kept: &'a [Kept<'a, T>],
    rate: Option<T>,
    w: &'a mut [T],
    b: Option<&'a mut [T]>,
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
            unsafe { cover::<V>(&tile, shape, rows.len(), (from, to)) };
            from = to;
        }
    }
}

impl Dense {
    /// The sum of the gradient of output `o` over the kept samples: of tiles sixteen partial sums and then their tree, of single
    /// samples one after the other.
    #[inline(always)]
    fn sum_of_column<V: Vector>(&self, o: usize, kept: &[Kept<'_, V::Elem>]) -> V::Elem {
        let column = |kept: &Kept<'_, V::Elem>| {
            // SAFETY: the lengths were checked against the sizes; o is an output.
            unsafe { kept.numbers.as_ptr().add((self.inputs.next_multiple_of(LANES) + o) * kept.room) }
        };
        if kept.iter().all(|kept| kept.block.lanes() == 1) {
            let mut sum = V::Elem::ZERO;
            for kept in kept {
                for s in 0..kept.block.samples() {
                    // SAFETY: a column holds all samples.
                    sum += unsafe { *column(kept).add(s) };
                }
            }
            return sum;
        }
        let mut sums = [V::Elem::ZERO; LANES];
        for part in (0..LANES).step_by(V::LANES) {
            let mut acc = V::splat(V::Elem::ZERO);
            // SAFETY: a column holds all samples, sums 16 numbers.
            unsafe {
                for kept in kept {
                    for s in (part..kept.block.samples()).step_by(LANES) {
                        let n = V::LANES.min(kept.block.samples() - s);
                        acc = acc.add(V::load_first(column(kept).add(s), n));
                    }
                }
                acc.store(sums.as_mut_ptr().add(part));
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
