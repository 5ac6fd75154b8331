//! Every operation on the least geometries that lead to each kernel: few enough numbers for Miri, which interprets the plain Rust and
//! finds a pointer that leaves what it was made from, a number that is read before it was written, and a slice that is changed behind
//! another's back. `cargo xtask ci miri` runs this there.

use byhand_tensor::{Block, Isa};

use crate::operations::{Geometries, operations};

/// By kernel: those of first layers, of borders, of strides, and Winograd's filtering.
const LEAST: Geometries = Geometries {
    convs: &[
        ([1, 3, 6], 3, [2, 2], [1, 1], [0, 0]),
        ([2, 3, 4], 3, [2, 2], [1, 1], [1, 1]),
        ([2, 4, 5], 2, [2, 3], [2, 3], [1, 2]),
        ([16, 1, 1], 16, [3, 3], [1, 1], [1, 1]),
    ],
    pools: &[
        ([1, 4, 4], [2, 2], [2, 2], [1, 1], [0; 4], false),
        ([1, 4, 5], [3, 2], [2, 2], [1, 2], [2, 0, 1, 2], true),
    ],
    denses: &[(17, 10), (48, 7)],
    features: &[5],
};

#[test]
#[allow(clippy::print_stdout, reason = "Miri stops where it finds something, and says only in which kernel")]
fn operations_keep_to_their_slices_and_need_nothing_from_scratch() {
    for op in &operations::<f32>(&LEAST) {
        // Part of a tile, and samples on their own.
        let blocks = [Block::tiled(3), Block::single(2)];
        for &block in &blocks[..if op.takes_block { 2 } else { 1 }] {
            let at = format!("{} of {block:?} on {}", op.name, Isa::active().name());
            println!("{at}");
            let reads: Vec<Vec<f32>> = (op.reads)(block).iter().map(|&len| vec![1.0; len]).collect();
            let mut writes: Vec<Vec<f32>> = (op.writes)(block).iter().map(|&len| vec![0.0; len]).collect();
            if let (Some(_), Some(scratch)) = (op.scratch, writes.last_mut()) {
                scratch.fill(f32::NAN);
            }
            {
                let reads: Vec<&[f32]> = reads.iter().map(Vec::as_slice).collect();
                let mut writes: Vec<&mut [f32]> = writes.iter_mut().map(Vec::as_mut_slice).collect();
                (op.run)(block, &reads, &mut writes);
            }
            let results = &writes[..writes.len() - usize::from(op.scratch.is_some())];
            assert!(results.iter().flatten().all(|number| number.is_finite()), "{at}: not finite");
        }
    }
}
