//! The dense (fully connected) layer's products: forward and input gradient here, the parameter gradient in [`gradient`].

mod few;
pub(crate) mod gradient;

use crate::block::{pack_features, vector_parts};
use crate::error::{MAX_ELEMENTS, check_product};
use crate::micro::{Tile, best_shape, cost, cover, product};
use crate::simd::{Kernel, Vector};
use crate::{Block, GeometryError, Input, LANES, Scalar, Tiles};
pub use gradient::Kept;
use gradient::{Keep, MoveRows};
use std::ops::Range;

/// Columns of the weight that the input gradient copies side by side: a multiple of every register tile's rows.
const PANEL: usize = 24;

/// The sizes of a dense layer and its kernels: `y = W x + b`, `W` is `[outputs, inputs]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Dense {
    // Kernels rely on what `new` checked: nobody outside can change it.
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
}

impl Dense {
    /// Checks the sizes.
    ///
    /// # Errors
    /// A zero size, or more than 2^28 weights (2^24 where an address has 32 bits).
    pub fn new(inputs: usize, outputs: usize) -> Result<Self, GeometryError> {
        const NAME: &str = "dense";
        for (what, size) in [("inputs", inputs), ("outputs", outputs)] {
            if size == 0 {
                return Err(GeometryError::Zero { kernel: NAME, what });
            }
        }
        check_product(NAME, "the weight", &[outputs, inputs], MAX_ELEMENTS)?;
        Ok(Self { inputs, outputs })
    }

    /// The same layer with some of its outputs alone.
    ///
    /// # Errors
    /// No output, or so many that there are too many weights: as [`Dense::new`].
    pub fn with_outputs(self, outputs: usize) -> Result<Self, GeometryError> {
        Self::new(self.inputs, outputs)
    }

    /// Features in.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Features out.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Whether [rows](Input::Rows) may be taken that lie so many numbers apart. They are laid out as tiles some inputs at a time, in the
    /// first cache, while the gradient of the parameters reads them as they are: no vector must reach beyond them, and samples that lie a
    /// power of two apart would drive each other from the cache.
    pub fn takes_rows(&self, apart: usize) -> bool {
        self.inputs.is_multiple_of(LANES) && apart % (2 * LANES) == LANES
    }

    /// Scratch that each of the passes may use.
    pub fn scratch_len(&self, block: Block) -> usize {
        // The operands of the parameter gradient, or a panel of the weight, or partial sums; some inputs as tiles are less.
        self.kept_len(block, false).max(self.panel_len(block)).max(self.sums_len(block))
    }

    /// Scratch of [`forward`](Self::forward) of few samples.
    fn sums_len(&self, block: Block) -> usize {
        if block.lanes() == 1 { few::rows_len(self, block.samples()) } else { few::tile_len(self) }
    }

    /// Scratch of [`backward_input`](Self::backward_input): a panel of the weight, or dx of few samples.
    fn panel_len(&self, block: Block) -> usize {
        if block.lanes() == 1 { 0 } else { few::tile_len(self).max(self.outputs * PANEL) }
    }

    /// `y = W x + b`: `[outputs x 16] = [outputs x inputs] * [inputs x 16]` for each tile. Overwrites `y`.
    ///
    /// # Panics
    /// If something has not the length its shape says, or rows are given that may not be.
    #[track_caller]
    pub fn forward<T: Scalar>(
        &self,
        block: Block,
        w: &[T],
        b: Option<&[T]>,
        x: Input<'_, T>,
        y: Tiles<'_, T>,
        scratch: &mut [T],
    ) {
        self.check_weight(w.len());
        self.check_input(block, x);
        if let Input::Rows(_) = x {
            Self::check_scratch(block.len(row_chunk(self.inputs, block.tiles())), scratch.len());
        }
        Self::check_scratch(self.sums_len(block), scratch.len());
        assert!(b.is_none_or(|b| b.len() == self.outputs), "dense: bias must hold {} numbers", self.outputs);
        let y_features = y.features_apart(block, self.outputs);
        if block.is_empty() {
            return;
        }
        T::dense_forward(Forward { dense: *self, block, w, b, x, y, y_features, scratch });
    }

    /// `dx = W^T dy`: `[inputs x 16] = [inputs x outputs] * [outputs x 16]` for each tile, or the rows `inputs` of it, which are
    /// then all that `dx` holds. Overwrites `dx`.
    ///
    /// # Panics
    /// If there are not such inputs, or something has not the length its shape says.
    #[track_caller]
    pub fn backward_input<T: Scalar>(
        &self,
        inputs: Range<usize>,
        block: Block,
        w: &[T],
        dy: &[T],
        dx: Tiles<'_, T>,
        scratch: &mut [T],
    ) {
        assert!(inputs.start <= inputs.end && inputs.end <= self.inputs, "dense: inputs {inputs:?}");
        assert_eq!(dy.len(), block.len(self.outputs), "dense: length of dy for {block:?}");
        self.check_weight(w.len());
        Self::check_scratch(self.panel_len(block), scratch.len());
        let dx_features = dx.features_apart(block, inputs.len());
        if block.is_empty() || inputs.is_empty() {
            return;
        }
        T::dense_backward_input(BackwardInput {
            dense: *self,
            inputs,
            block,
            w,
            dy,
            dx,
            dx_features,
            scratch,
        });
    }

    /// `dW += dy x^T`: `[outputs x inputs] += [outputs x samples] * [samples x inputs]`, and `db += dy 1`, or the rows `outputs` of both,
    /// which are then all that they hold. Adds to both.
    ///
    /// # Panics
    /// If there are not such outputs, a slice has not the length its shape says, or rows are given that may not be.
    #[track_caller]
    pub fn backward_params<T: Scalar>(
        &self,
        outputs: Range<usize>,
        block: Block,
        x: Input<'_, T>,
        dy: &[T],
        dw: &mut [T],
        db: Option<&mut [T]>,
        scratch: &mut [T],
    ) {
        let kept_len = self.kept_len(block, matches!(x, Input::Rows(_)));
        Self::check_scratch(kept_len, scratch.len());
        let kept = &mut scratch[..kept_len];
        self.keep(block, x, dy, 0, kept);
        let kept = Kept::new(block, block, kept);
        let kept = match x {
            Input::Block(_) => kept,
            Input::Rows(rows) => kept.with_rows(rows),
        };
        self.move_rows(outputs, &[kept], None, dw, db);
    }

    /// Numbers that [`keep`](Self::keep) fills for a block, or for several that make up such a one, if its x are rows or not.
    pub fn kept_len(&self, block: Block, of_rows: bool) -> usize {
        block.len(self.kept_features(of_rows))
    }

    /// Keeps the operands of the parameter gradient of a block, for [`move_rows`](Self::move_rows): they become the samples
    /// from `first` on of `kept`, which has the [length](Self::kept_len) for all samples that are to be kept. There lie x in
    /// panels of sixteen inputs, `[panel][sample][16]`, and dy in columns, `[output][sample]`: the order in which their
    /// products walk through them, however many blocks they come from. Of rows only dy is kept, and x must be
    /// [given](Kept::with_rows) again.
    ///
    /// # Panics
    /// If a slice has not the length its shape says, or `kept` no room.
    #[track_caller]
    pub fn keep<T: Scalar>(&self, block: Block, x: Input<'_, T>, dy: &[T], first: usize, kept: &mut [T]) {
        self.check_input(block, x);
        assert_eq!(dy.len(), block.len(self.outputs), "dense: length of dy for {block:?}");
        let features = self.kept_features(matches!(x, Input::Rows(_)));
        let room = kept.len() / features;
        assert_eq!(kept.len(), room * features, "dense: {features} numbers are kept of each sample");
        let end = first.checked_add(block.len(1));
        assert!(end.is_some_and(|end| end <= room), "dense: {block:?} from {first} on of {room}");
        if block.is_empty() {
            return;
        }
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
        for Kept { block, room, numbers, rows } in kept {
            assert!(block.samples() <= *room, "dense: {block:?} in a buffer for {room}");
            let features = self.kept_features(rows.is_some());
            assert_eq!(Some(numbers.len()), room.checked_mul(features), "dense: length of what was kept");
            if let Some(rows) = rows {
                self.check_input(*block, Input::Rows(*rows));
            }
        }
        if kept.iter().all(|kept| kept.block.is_empty()) {
            return;
        }
        T::dense_move_rows(MoveRows { dense: *self, rows, kept, rate, w, b });
    }

    /// Kept numbers of a sample.
    fn kept_features(&self, of_rows: bool) -> usize {
        let x = if of_rows { 0 } else { self.inputs.next_multiple_of(LANES) };
        x + self.outputs
    }

    #[track_caller]
    fn check_scratch(room: usize, scratch: usize) {
        assert!(scratch >= room, "dense: scratch of {room} is too short: {scratch}");
    }

    #[track_caller]
    fn check_input<T>(&self, block: Block, x: Input<'_, T>) {
        match x {
            Input::Block(x) => {
                assert_eq!(x.len(), block.len(self.inputs), "dense: length of x for {block:?}");
            }
            Input::Rows(rows) => {
                assert!(self.takes_rows(rows.apart), "dense: {} inputs cannot be rows", self.inputs);
                let sizes = (rows.len(), rows.width());
                assert_eq!(sizes, (block.samples(), self.inputs), "dense: rows of {block:?}");
                let is_slice = rows.as_slice().is_some();
                assert!(is_slice || block.lanes() == LANES, "dense: rows that lie apart are for tiles");
            }
        }
    }

    #[track_caller]
    fn check_weight(&self, w: usize) {
        assert_eq!(w, self.inputs * self.outputs, "dense: length of the weight");
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

/// How many of `steps` steps of sums are taken at once, over so many lanes: as much of x as fits into half of the first cache
/// stays there while all rows of the weight pass; where that is little, as much as a tenth of the second.
#[inline(always)]
fn chunk(steps: usize, lanes: usize) -> usize {
    const NEAR_NUMBERS: usize = 6144;
    const FAR_NUMBERS: usize = 50_176;
    // A tile's sums are stored and loaded between two chunks: these must not be too short for that.
    const LEAST: usize = 128;
    let [near, far] = [NEAR_NUMBERS, FAR_NUMBERS].map(|numbers| numbers / lanes.max(1));
    let most = if near >= LEAST { near } else { far.max(LEAST) };
    steps.div_ceil(steps.div_ceil(most).max(1)).max(1)
}

/// The same for inputs of rows, of which panels of sixteen are laid out as tiles.
fn row_chunk(inputs: usize, tiles: usize) -> usize {
    chunk(inputs, tiles * LANES).next_multiple_of(LANES)
}

/// Cuts the steps into such chunks.
#[inline(always)]
fn chunks(steps: usize, size: usize) -> impl Iterator<Item = Range<usize>> {
    (0..steps).step_by(size).map(move |from| from..(from + size).min(steps))
}

/// `y[r][column] = init[r] + sum_k a[r][k] * x[k][column]`, or `a[k][r]`, over some `steps` of `k`: tiles of rows x vectors of lanes.
#[derive(Clone, Copy)]
struct RowsByLanes<T, const TRANSPOSED: bool> {
    /// Those of the steps.
    a: *const T,
    /// Numbers in a row of `a`.
    a_row: usize,
    /// One number a row that sums begin with, or null.
    init: *const T,
    /// Whether sums that began before go on.
    goes_on: bool,
    steps: usize,
    /// Of the first step.
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
        let Self { a, a_row, init, goes_on, steps, x, x_features, y, y_features } = *self;
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
                b[c] = x.add(column::<V>(x_features, c0 + c));
            }
            for r in 0..R {
                for c in 0..C {
                    crate::simd::prefetch(y.wrapping_add(at(R + r, c)));
                }
            }
            product::<V, R, C, TRANSPOSED, 0>(&mut acc, a, a_row, r0, b, LANES, steps);
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
    x: Input<'a, T>,
    y: Tiles<'a, T>,
    /// From one tile of y to the next.
    y_features: usize,
    scratch: &'a mut [T],
}

impl<T: Scalar> Kernel<T> for Forward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Elem = T>>(self) {
        if self.block.lanes() == 1 {
            return self.rows::<V>();
        }
        if few::suits(&self.dense, self.block) {
            return self.few::<V>();
        }
        let Self { dense: Dense { inputs, outputs }, block, w, b, x, y, y_features, scratch } = self;
        let columns = columns::<V>(block);
        let tiling = Tiling::new::<V>(outputs, columns);
        let size = match x {
            Input::Block(_) => chunk(inputs, columns * V::LANES),
            Input::Rows(_) => row_chunk(inputs, block.tiles()),
        };
        for steps in chunks(inputs, size) {
            let (x, x_features) = match x {
                Input::Block(x) => (&x[steps.start * LANES..], inputs),
                Input::Rows(rows) => {
                    let tiles = &mut scratch[..block.len(steps.len())];
                    pack_features::<V>(rows, steps.clone(), block, tiles);
                    (&*tiles, steps.len())
                }
            };
            let tile = RowsByLanes::<T, false> {
                a: w[steps.start..].as_ptr(),
                a_row: inputs,
                init: b.map_or(std::ptr::null(), |b| b.as_ptr()),
                goes_on: steps.start > 0,
                steps: steps.len(),
                x: x.as_ptr(),
                x_features,
                y: y.start,
                y_features,
            };
            // SAFETY: the lengths were checked against the sizes.
            unsafe { tiling.cover::<V>(&tile) };
        }
    }
}

pub(crate) struct BackwardInput<'a, T> {
    dense: Dense,
    /// Those whose gradient is wanted.
    inputs: Range<usize>,
    block: Block,
    w: &'a [T],
    dy: &'a [T],
    dx: Tiles<'a, T>,
    /// From one tile of dx to the next.
    dx_features: usize,
    scratch: &'a mut [T],
}

impl<T: Scalar> Kernel<T> for BackwardInput<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Elem = T>>(mut self) {
        if self.block.lanes() == 1 {
            return self.rows::<V>();
        }
        // Where a vector would have empty lanes it holds inputs instead, as many as there are whole vectors of: the same bits.
        let is_few = vector_parts::<V>(self.block.samples()) > 1 && few::suits(&self.dense, self.block);
        let done = if is_few { self.few::<V>() } else { 0 };
        let Self { dense: Dense { inputs: row, outputs }, inputs, block, w, dy, dx, dx_features, scratch } =
            self;
        let columns = columns::<V>(block);
        let whole = Tiling::new::<V>(PANEL, columns);
        for steps in chunks(outputs, chunk(outputs, columns * V::LANES)) {
            for i in (inputs.start + done..inputs.end).step_by(PANEL) {
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
                    goes_on: steps.start > 0,
                    steps: steps.len(),
                    x: dy[steps.start * LANES..].as_ptr(),
                    x_features: outputs,
                    y: dx.start.wrapping_add((i - inputs.start) * LANES),
                    y_features: dx_features,
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
