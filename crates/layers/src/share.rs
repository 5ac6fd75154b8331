//! What lets a network compute a layer by halves at the same time, without knowing of threads.

/// Runs two halves of a layer's work.
pub trait Share: Sync {
    /// Whether half of a layer's work is worth a hand-off, if it is so many FLOPs, for which so many parameters are read.
    fn pays(&self, flops: u64, params: usize) -> bool;

    /// Runs both, in any order or at the same time, and returns when both are done.
    fn both(&self, a: &mut (dyn FnMut() + Send), b: &mut (dyn FnMut() + Send));
}

/// How many of so many rows, or channels, are in the first of two halves: of many a multiple of the rows of every register tile, of few
/// one of the channels that are computed at once, or what such a multiple leaves if that is more. Whoever shares begins with the first, and
/// the other thread later; 0 if there are too few.
pub fn first_half(rows: usize) -> usize {
    let multiple = if rows < 48 { 4 } else { 24 };
    match (rows + multiple) / 2 / multiple * multiple {
        0 => 0,
        half => half.max(rows - half),
    }
}
