//! A deferred gradient applied by several threads: each row of the weight is summed by itself, whoever does it.

use std::ops::Range;

use byhand_layers::ParamsMut;
use byhand_layers::exec::{Apply, Kept, Product};

use super::cost;
use super::crew::Crew;

/// Parts of a layer's rows, for each thread.
const PARTS_PER_THREAD: usize = 2;

/// The gradient of a product by what was saved of all shards, and what is done with it.
#[derive(Clone, Copy)]
pub(super) struct ApplyRows<'a> {
    product: &'a Product,
    kept: &'a [Kept<'a, f32>],
    apply: Apply<f32>,
    /// The fewest rows worth a hand-off.
    least: usize,
}

impl<'a> ApplyRows<'a> {
    /// Of a product with so many parameters, by so many samples.
    pub(super) fn new(
        product: &'a Product,
        params: usize,
        kept: &'a [Kept<'a, f32>],
        samples: usize,
        apply: Apply<f32>,
    ) -> ApplyRows<'a> {
        ApplyRows { product, kept, apply, least: cost::fewest_rows(params / product.outputs(), samples) }
    }

    /// Whether there are enough rows for two.
    pub(super) fn pays(&self) -> bool {
        self.half(self.product.outputs()).is_some()
    }

    /// How many of so many rows make the first half of a share; `None` if they are too few for two.
    fn half(&self, rows: usize) -> Option<usize> {
        let half = first_half(rows);
        (half.min(rows - half) >= self.least).then_some(half)
    }

    /// All rows, by so many threads. Any may take any. Who takes some reads all that was saved, so there are no more
    /// parts than even out what threads are late by.
    pub(super) fn run(self, crew: &Crew, threads: usize, params: ParamsMut<'_, f32>) {
        let parts = if threads > 1 { PARTS_PER_THREAD * threads } else { 1 };
        self.share(crew, parts, 0..self.product.outputs(), params);
    }

    fn share(self, crew: &Crew, parts: usize, rows: Range<usize>, params: ParamsMut<'_, f32>) {
        let Some(half) = self.half(rows.len()).filter(|_| parts > 1) else {
            return self.product.apply_rows(rows, self.kept, self.apply, params);
        };
        let (a, b) = params.split_rows(half, rows.len());
        let middle = rows.start + half;
        crew.join_after(
            self.kept.len(),
            || self.share(crew, parts / 2, rows.start..middle, a),
            || self.share(crew, parts / 2, middle..rows.end, b),
        );
    }
}

/// How many of so many rows are in the first of two halves: of many a multiple of the rows of every register tile, of
/// few one of the rows that are computed at once, or what such a multiple leaves if that is more. Whoever shares
/// begins with the first, and the other thread later; 0 if there are too few.
fn first_half(rows: usize) -> usize {
    let multiple = if rows < 48 { 4 } else { 24 };
    match (rows + multiple) / 2 / multiple * multiple {
        0 => 0,
        half => half.max(rows - half),
    }
}
