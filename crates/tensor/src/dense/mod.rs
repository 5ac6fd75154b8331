//! The dense (fully connected) layer's products: forward and input gradient here, the parameter gradient in [`gradient`].

pub(crate) mod gradient;

use crate::error::checked_product;
use crate::micro::{Tile, best_shape, cost, cover, product};
use crate::simd::{Kernel, Vector, sum16};
use crate::{Block, GeometryError, LANES, Scalar};
pub use gradient::Kept;
use gradient::{Keep, MoveRows};
use std::ops::Range;

/// Columns of the weight that the input gradient copies side by side: a multiple of every register tile's rows.
const PANEL: usize = 24;

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

    /// Scratch that each of the two backward passes may use.
    pub fn scratch_len(&self, block: Block) -> usize {
        // The operands of the parameter gradient, or a panel of the weight.
        self.kept_len(block).max(self.panel_len(block))
    }

    /// Scratch of [`backward_input`](Self::backward_input): a panel of the weight.
    fn panel_len(&self, block: Block) -> usize {
        if block.lanes() == 1 { 0 } else { self.outputs * PANEL }
    }

    /// `y = W x + b`: `[outputs x 16] = [outputs x inputs] * [inputs x 16]` for each tile. Overwrites `y`.
    ///
    /// # Panics
    /// If a slice has not the length its shape says.
    #[track_caller]
    pub fn forward<T: Scalar>(&self, block: Block, w: &[T], b: Option<&[T]>, x: &[T], y: &mut [T]) {
        self.check(block, w.len(), x.len(), y.len());
        assert!(b.is_none_or(|b| b.len() == self.outputs), "dense: bias must hold {} numbers", self.outputs);
        T::dense_forward(Forward { dense: *self, block, w, b, x, y });
    }

    /// `dx = W^T dy`: `[inputs x 16] = [inputs x outputs] * [outputs x 16]` for each tile, or the rows `inputs` of it, which are
    /// then all that `dx` holds. Overwrites `dx`.
    ///
    /// # Panics
    /// If there are not such inputs, or a slice has not the length its shape says.
    #[track_caller]
    pub fn backward_input<T: Scalar>(
        &self,
        inputs: Range<usize>,
        block: Block,
        w: &[T],
        dy: &[T],
        dx: &mut [T],
        scratch: &mut [T],
    ) {
        assert!(inputs.start <= inputs.end && inputs.end <= self.inputs, "dense: inputs {inputs:?}");
        assert_eq!(dx.len(), block.len(inputs.len()), "dense: length of dx for {inputs:?} of {block:?}");
        self.check(block, w.len(), block.len(self.inputs), dy.len());
        Self::check_scratch(self.panel_len(block), scratch.len());
        T::dense_backward_input(BackwardInput { dense: *self, inputs, block, w, dy, dx, scratch });
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
        self.check(block, dw.len(), x.len(), dy.len());
        Self::check_scratch(self.kept_len(block), scratch.len());
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
    fn check_scratch(room: usize, scratch: usize) {
        assert!(scratch >= room, "dense: scratch of {room} is too short: {scratch}");
    }

    #[track_caller]
    fn check(&self, block: Block, w: usize, x: usize, y: usize) {
        assert_eq!(w, self.inputs * self.outputs, "dense: length of the weight");
        assert_eq!(x, block.len(self.inputs), "dense: length of x or dx for {block:?}");
        assert_eq!(y, block.len(self.outputs), "dense: length of y or dy for {block:?}");
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

/// How many steps of sums are taken at once, over so many vectors of lanes: as much of x as fits into half of the first cache
/// stays there while all rows of the weight pass.
#[inline(always)]
fn chunks<V: Vector>(steps: usize, columns: usize) -> impl Iterator<Item = Range<usize>> {
    const NUMBERS: usize = 6144;
    // A tile's sums are stored and loaded between two chunks: these must not be too short for that.
    const LEAST: usize = 128;
    let most = (NUMBERS / (columns.max(1) * V::LANES)).max(LEAST);
    let size = steps.div_ceil(steps.div_ceil(most)).max(1);
    (0..steps).step_by(size).map(move |from| from..(from + size).min(steps))
}

/// `y[r][column] = init[r] + sum_k a[r][k] * x[k][column]`, or `a[k][r]`, over some `steps` of `k`: tiles of rows x vectors of lanes.
#[derive(Clone, Copy)]
struct RowsByLanes<T, const TRANSPOSED: bool> {
    /// Those of the steps.
    a: *const T,
    /// Numbers in a row of `a`.
    a_row: usize,
    /// One number a row, or null. Only the first step begins with it; sums that began before go on.
    init: *const T,
    steps: (usize, usize),
    x: *const T,
    x_features: usize,
    y: *mut T,
    y_features: usize,
}

impl<T: Scalar, const TRANSPOSED: bool> Tile<T> for RowsByLanes<T, TRANSPOSED> {
    #[inline(always)]
    unsafe fn at<V: Vector<Elem = T>, const R: usize, const C: usize>(
        &self,
        r0: usize,
        c0: usize,
        fresh: (usize, usize),
    ) {
        let Self { a, a_row, init, steps: (from, to), x, x_features, y, y_features } = *self;
        let goes_on = from > 0;
        let mut acc = [[V::splat(V::Elem::ZERO); C]; R];
        // SAFETY: the caller vouches for rows and columns; the slices were checked against the sizes.
        unsafe {
            let at = |r: usize, c: usize| (r0 + r) * LANES + column::<V>(y_features, c0 + c);
            for r in 0..R {
                if goes_on {
                    for c in 0..C {
                        acc[r][c] = V::load(y.add(at(r, c)));
                    }
                } else if !init.is_null() {
                    acc[r] = [V::splat(*init.add(r0 + r)); C];
                }
            }
            let mut b = [x; C];
            for c in 0..C {
                b[c] = x.add(column::<V>(x_features, c0 + c) + from * LANES);
            }
            product::<V, R, C, TRANSPOSED, 0>(&mut acc, a, a_row, r0, b, LANES, to - from);
            // What a tile that began earlier computes again has been added to already; nearly always that is nothing.
            let done = if goes_on { (fresh.0 - r0, fresh.1 - c0) } else { (0, 0) };
            for r in 0..R {
                for c in 0..C {
                    if done == (0, 0) || (r >= done.0 && c >= done.1) {
                        acc[r][c].store(y.add(at(r, c)));
                    }
                }
            }
        }
    }
}

/// The tiles that cover `rows` x `columns` results: those of the best shape, and columns that they leave over with the best
/// for them.
#[derive(Clone, Copy)]
struct Tiling {
    rows: usize,
    shape: (usize, usize),
    /// Columns that are covered with it.
    whole: usize,
    rest: (usize, usize),
    columns: usize,
}

impl Tiling {
    #[inline(always)]
    fn new<V: Vector>(rows: usize, columns: usize) -> Self {
        let shape @ (_, width) = best_shape::<V>(rows, columns);
        let left = columns % width;
        let (mut whole, mut rest) = (columns, shape);
        if left > 0 {
            let own = best_shape::<V>(rows, left);
            if cost(own, rows, left) < cost(shape, rows, left) {
                (whole, rest) = (columns - left, own);
            }
        }
        Self { rows, shape, whole, rest, columns }
    }

    /// Covers them.
    ///
    /// # Safety
    /// The results must exist.
    #[inline(always)]
    unsafe fn cover<V: Vector>(&self, tile: &impl Tile<V::Elem>) {
        let Self { rows, shape, whole, rest, columns } = *self;
        // SAFETY: the caller vouches for the results; the shapes fit.
        unsafe {
            cover::<V>(tile, [shape; 2], rows, (0, whole));
            if whole < columns {
                cover::<V>(tile, [rest; 2], rows, (whole, columns));
            }
        }
    }
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
        let columns = columns::<V>(block);
        let tiling = Tiling::new::<V>(outputs, columns);
        for steps in chunks::<V>(inputs, columns) {
            let tile = RowsByLanes::<T, false> {
                a: w[steps.start..].as_ptr(),
                a_row: inputs,
                init: b.map_or(std::ptr::null(), |b| b.as_ptr()),
                steps: (steps.start, steps.end),
                x: x.as_ptr(),
                x_features: inputs,
                y: y.as_mut_ptr(),
                y_features: outputs,
            };
            // SAFETY: the lengths were checked against the sizes.
            unsafe { tiling.cover::<V>(&tile) };
        }
    }
}

/// `y = W x + b` for one sample: sixteen partial sums a row (column `i` goes to sum `i mod 16`), then their tree.
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
            let sum = unsafe { sum16(sums[r].as_ptr()) };
            y[o + r] = b.map_or(sum, |b| sum + b[o + r]);
        }
        o += rows;
    }
}

pub(crate) struct BackwardInput<'a, T> {
    dense: Dense,
    /// Those whose gradient is wanted.
    inputs: Range<usize>,
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
        let Self { dense: Dense { inputs: row, outputs }, inputs, block, w, dy, dx, scratch } = self;
        if block.lanes() == 1 {
            for s in 0..block.samples() {
                let dy = &dy[s * outputs..][..outputs];
                let dx = &mut dx[s * inputs.len()..][..inputs.len()];
                // SAFETY: the lengths were checked against the sizes.
                unsafe { transposed_matrix_vector::<V>(&w[inputs.start..], row, dy, dx) };
            }
            return;
        }
        let columns = columns::<V>(block);
        let whole = Tiling::new::<V>(PANEL, columns);
        for steps in chunks::<V>(outputs, columns) {
            for i in inputs.clone().step_by(PANEL) {
                // Some columns of W side by side: otherwise each output reads a new cache line for a few numbers.
                let width = PANEL.min(inputs.end - i);
                let panel = &mut scratch[..steps.len() * PANEL];
                for (o, panel) in steps.clone().zip(panel.chunks_exact_mut(PANEL)) {
                    let w = &w[o * row + i..];
                    match w.first_chunk::<PANEL>() {
                        Some(w) if width == PANEL => {
                            *panel.first_chunk_mut::<PANEL>().expect("a panel's row") = *w
                        }
                        _ => panel[..width].copy_from_slice(&w[..width]),
                    }
                }
                let tile = RowsByLanes::<T, true> {
                    a: panel.as_ptr(),
                    a_row: PANEL,
                    init: std::ptr::null(),
                    steps: (steps.start, steps.end),
                    x: dy.as_ptr(),
                    x_features: outputs,
                    y: dx[(i - inputs.start) * LANES..].as_mut_ptr(),
                    y_features: inputs.len(),
                };
                // SAFETY: the lengths were checked against the sizes; i + width <= inputs.end.
                unsafe {
                    if width == PANEL {
                        whole.cover::<V>(&tile)
                    } else {
                        Tiling::new::<V>(width, columns).cover::<V>(&tile)
                    }
                };
            }
        }
    }
}

/// `dx = W^T dy` for one sample: each number of dx sums over the outputs in order.
///
/// # Safety
/// `w` must hold `dy.len()` rows of `dx.len()` numbers, `row` from one to the next.
#[inline(always)]
unsafe fn transposed_matrix_vector<V: Vector>(w: &[V::Elem], row: usize, dy: &[V::Elem], dx: &mut [V::Elem]) {
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
                    acc[c] = d.mul_add(V::load(w.as_ptr().add(o * row + i + c * V::LANES)), acc[c]);
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
                acc = V::splat(d).mul_add(V::load_first(w.as_ptr().add(o * row + i), n), acc);
            }
            acc.store_first(dx.as_mut_ptr().add(i), n);
            i += n;
        }
    }
}
