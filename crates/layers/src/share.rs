//! What lets a network compute a large layer by halves at the same time, without knowing of threads.

/// Runs two halves of a layer's work.
pub trait Share: Sync {
    /// Whether work of so many FLOPs, for which so many parameters are read, is worth cutting in two.
    fn pays(&self, flops: u64, params: usize) -> bool;

    /// Runs both, in any order or at the same time, and returns when both are done.
    fn both(&self, a: &mut (dyn FnMut() + Send), b: &mut (dyn FnMut() + Send));
}

/// How many of so many rows are in the first of two halves: a multiple of the rows of every register tile.
pub fn first_half(rows: usize) -> usize {
    const ROWS: usize = 24;
    (rows + ROWS) / 2 / ROWS * ROWS
}
