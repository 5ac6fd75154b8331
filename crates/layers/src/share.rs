//! What lets a network compute a layer by halves at the same time, without knowing of threads.

/// Runs two halves of a layer's work.
pub trait Share: Sync {
    /// Whether work of so many FLOPs, for which so many parameters are read, is worth cutting in two.
    fn pays(&self, flops: u64, params: usize) -> bool;

    /// Runs both, in any order or at the same time, and returns when both are done.
    fn both(&self, a: &mut (dyn FnMut() + Send), b: &mut (dyn FnMut() + Send));
}

/// How many of so many rows, or channels, are in the first of two halves: of many a multiple of the rows of every register tile, of few
/// one of the channels that are computed at once.
pub fn first_half(rows: usize) -> usize {
    let multiple = if rows < 48 { 4 } else { 24 };
    (rows + multiple) / 2 / multiple * multiple
}
