//! Rows of a large layer, computed or moved by more than one thread: each row is summed by itself, whoever does it.

use std::ops::Range;

use byhand_layers::{Deferred, Kept, ParamsMut, Share, first_half};

use super::crew::Crew;

/// FLOPs of half a layer that are worth a hand-off to another thread, reading of parameters counted. Passes and the moving of rows go
/// by one limit: if one thread moved all rows, the other would have to fetch its half in every step.
const MIN_HALF_FLOPS: u64 = 800_000;

/// What it costs, in FLOPs, that a parameter moves from core to core.
const MOVE_FLOPS: u64 = 15;

/// Fewer rows are no work for a thread, whatever they cost: half of what fills every register tile.
const FEWEST_ROWS: usize = 12;

/// Parts of a layer's rows, for each thread.
const PARTS_A_THREAD: usize = 2;

/// What work of so many FLOPs costs, in FLOPs, if it reads so many parameters.
fn cost(flops: u64, params: usize) -> u64 {
    flops + MOVE_FLOPS * params as u64
}

/// Whether half of a layer's work is worth a hand-off to another thread.
pub(super) fn is_worth(flops: u64, params: usize) -> bool {
    cost(flops, params) >= MIN_HALF_FLOPS
}

impl Share for Crew {
    fn pays(&self, flops: u64, params: usize) -> bool {
        self.threads() > 1 && is_worth(flops, params)
    }

    fn both(&self, a: &mut (dyn FnMut() + Send), b: &mut (dyn FnMut() + Send)) {
        self.join_equal(a, b);
    }
}

/// Moves the rows of a layer along what all shards kept.
#[derive(Clone, Copy)]
pub(super) struct MoveRows<'a> {
    layer: &'a dyn Deferred<f32>,
    kept: &'a [Kept<'a, f32>],
    rate: Option<f32>,
    /// The fewest rows worth a hand-off.
    least: usize,
}

impl<'a> MoveRows<'a> {
    /// Of a layer with so many parameters, along these samples.
    pub(super) fn new(
        layer: &'a dyn Deferred<f32>,
        params: usize,
        kept: &'a [Kept<'a, f32>],
        samples: usize,
        rate: Option<f32>,
    ) -> MoveRows<'a> {
        let row = params / layer.rows();
        let least = MIN_HALF_FLOPS.div_ceil(cost(2 * (row * samples) as u64, row)) as usize;
        MoveRows { layer, kept, rate, least: least.max(FEWEST_ROWS) }
    }

    /// Whether there are enough rows for two.
    pub(super) fn pays(&self) -> bool {
        self.half(self.layer.rows()).is_some()
    }

    /// How many of so many rows make the first half of a share; `None` if they are too few for two.
    fn half(&self, rows: usize) -> Option<usize> {
        let half = first_half(rows);
        (half.min(rows - half) >= self.least).then_some(half)
    }

    /// All rows. Any thread of a crew may take any: each is summed by itself. Who takes some reads all that was kept, so there are no more
    /// parts than even out what threads are late by.
    pub(super) fn run(self, crew: Option<&Crew>, params: ParamsMut<'_, f32>) {
        match crew.filter(|crew| crew.threads() > 1) {
            Some(crew) => self.run_parts(crew, PARTS_A_THREAD * crew.threads(), params),
            None => self.layer.move_rows(0..self.layer.rows(), self.kept, self.rate, params),
        }
    }

    /// All rows in so many parts at most, for as many threads.
    pub(super) fn run_parts(self, crew: &Crew, parts: usize, params: ParamsMut<'_, f32>) {
        self.share(crew, parts, 0..self.layer.rows(), params);
    }

    fn share(self, crew: &Crew, parts: usize, rows: Range<usize>, params: ParamsMut<'_, f32>) {
        let Some(half) = self.half(rows.len()).filter(|_| parts > 1) else {
            return self.layer.move_rows(rows, self.kept, self.rate, params);
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
