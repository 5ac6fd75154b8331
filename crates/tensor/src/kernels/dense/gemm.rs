//! Matrix products (GEMM) over tiles: the forward pass, and the input gradient from packed panels of the weight.

use super::operands::{BackwardInput, Forward};
use crate::blocking::{best_shape, cover, pack_features, product};
use crate::geometry::Dense;
use crate::layout::{Block, Input, LANES};
use crate::number::Number;
use crate::simd::{MicroKernel, Vector, cost, prefetch};
use std::ops::Range;

/// Columns of the weight that the input gradient packs: a multiple of the rows of every block.
pub(super) const PANEL: usize = 24;

/// Where the `column`-th vector of live lanes of a tiled block begins, for `features` features a tile.
#[inline(always)]
fn column<V: Vector>(features: usize, column: usize) -> usize {
    let parts = LANES / V::LANES;
    (column / parts) * features * LANES + (column % parts) * V::LANES
}

/// Vectors of live lanes in a tiled block.
#[inline(always)]
pub(super) fn columns<V: Vector>(block: Block) -> usize {
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
    const L1_NUMBERS: usize = 6144;
    const L2_NUMBERS: usize = 50_176;
    // A block's sums are stored and loaded between two chunks: these must not be too short for that.
    const LEAST: usize = 128;
    let [l1, l2] = [L1_NUMBERS, L2_NUMBERS].map(|numbers| numbers / lanes.max(1));
    let most = if l1 >= LEAST { l1 } else { l2.max(LEAST) };
    steps.div_ceil(steps.div_ceil(most).max(1)).max(1)
}

/// The same for inputs of rows, of which panels of sixteen are laid out as tiles.
pub(super) fn row_chunk(inputs: usize, tiles: usize) -> usize {
    chunk(inputs, tiles * LANES).next_multiple_of(LANES)
}

/// Cuts the steps into such chunks.
#[inline(always)]
pub(super) fn chunks(steps: usize, size: usize) -> impl Iterator<Item = Range<usize>> {
    (0..steps).step_by(size).map(move |from| from..(from + size).min(steps))
}

/// `y[r][column] = init[r] + sum_k a[r][k] * x[k][column]`, or `a[k][r]`, over some `steps` of `k`: blocks of rows x vectors of lanes.
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

impl<T: Number, const TRANSPOSED: bool> MicroKernel<T> for RowsByLanes<T, TRANSPOSED> {
    #[inline(always)]
    unsafe fn block<V: Vector<Elem = T>, const R: usize, const C: usize>(
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
                    prefetch(y.wrapping_add(at(R + r, c)));
                }
            }
            product::<V, R, C, TRANSPOSED, 0>(&mut acc, a, a_row, r0, b, LANES, steps);
            // What a block that began earlier computes again has been added to already; nearly always that is nothing.
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

/// The blocks that cover `rows` x `columns` results: those of the best shape, and columns that they leave over with the best
/// for them.
#[derive(Clone, Copy)]
struct Blocks {
    rows: usize,
    shape: (usize, usize),
    /// Columns that are covered with it.
    whole: usize,
    rest: (usize, usize),
    columns: usize,
}

impl Blocks {
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
    unsafe fn cover<V: Vector>(&self, kernel: &impl MicroKernel<V::Elem>) {
        let Self { rows, shape, whole, rest, columns } = *self;
        // SAFETY: the caller vouches for the results; the shapes fit.
        unsafe {
            cover::<V>(kernel, [shape; 2], rows, (0, whole));
            if whole < columns {
                cover::<V>(kernel, [rest; 2], rows, (whole, columns));
            }
        }
    }
}

impl<T: Number> Forward<'_, T> {
    /// Tiles: `[outputs x lanes] = [outputs x inputs] * [inputs x lanes]`.
    #[inline(always)]
    pub(super) fn tiles<V: Vector<Elem = T>>(self) {
        let Self { dense: Dense { inputs, outputs }, block, w, b, x, y, y_features, scratch } = self;
        let columns = columns::<V>(block);
        let blocks = Blocks::new::<V>(outputs, columns);
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
            let product = RowsByLanes::<T, false> {
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
            unsafe { blocks.cover::<V>(&product) };
        }
    }
}

impl<T: Number> BackwardInput<'_, T> {
    /// Tiles, but for the first `done` inputs: `[inputs x lanes] = [inputs x outputs] * [outputs x lanes]`.
    #[inline(always)]
    pub(super) fn tiles<V: Vector<Elem = T>>(self, done: usize) {
        let Self { dense: Dense { inputs: row, outputs }, inputs, block, w, dy, dx, dx_features, scratch } =
            self;
        let columns = columns::<V>(block);
        let whole = Blocks::new::<V>(PANEL, columns);
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
                let product = RowsByLanes::<T, true> {
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
                        whole.cover::<V>(&product)
                    } else {
                        Blocks::new::<V>(width, columns).cover::<V>(&product)
                    }
                };
            }
        }
    }
}
