//! What a thread needs to compute blocks of samples: a workspace, room for targets and rows, scratch for unpacking.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use byhand_layers::exec::{Lowered, RowView};
use byhand_layers::loss::Target;
use byhand_layers::{Block, Buffer, Workspace};

use super::source::{BatchSource, TargetRoom};

/// The memory of one thread, re-used from block to block.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) workspace: Workspace<f32>,
    pub(crate) reader: Reader,
    /// For the rows of a block, of a chain that takes those.
    pub(crate) room: Buffer<f32>,
}

/// Reads samples of a minibatch.
#[derive(Debug)]
pub(crate) struct Reader {
    targets: TargetRoom,
    scratch: Vec<u8>,
}

impl Worker {
    /// Memory for blocks of at most `block.tiles()` tiles.
    pub(crate) fn new(chain: &Lowered<f32>, block: Block) -> Worker {
        let features = chain.input().features();
        let room = if chain.takes_rows(features) { block.samples() * features } else { 0 };
        Worker {
            workspace: Workspace::of(chain, block),
            reader: Reader {
                targets: TargetRoom::new(block.tiles() * block.lanes(), chain.output().features()),
                scratch: Vec::new(),
            },
            room: Buffer::zeros(room),
        }
    }
}

impl Reader {
    /// Makes room for `scratch_len` bytes of scratch.
    pub(crate) fn reserve(&mut self, scratch_len: usize) {
        if self.scratch.len() < scratch_len {
            self.scratch.resize(scratch_len, 0);
        }
    }

    /// What should be said of samples.
    pub(crate) fn target<'a>(
        &'a mut self,
        batch: &'a dyn BatchSource,
        samples: Range<usize>,
    ) -> Target<'a, f32> {
        batch.target(samples, &mut self.targets)
    }

    /// Writes samples as `block` says.
    pub(crate) fn fill(
        &mut self,
        batch: &dyn BatchSource,
        samples: Range<usize>,
        block: Block,
        x: &mut [f32],
    ) {
        self.reserve(batch.scratch_len());
        batch.fill(samples, block, x, &mut self.scratch);
    }

    /// Writes samples one after the other into the beginning of `room`.
    pub(crate) fn rows<'a>(
        &mut self,
        batch: &dyn BatchSource,
        samples: Range<usize>,
        features: usize,
        room: &'a mut [f32],
    ) -> RowView<'a, f32> {
        let rows = &mut room[..samples.len() * features];
        let block = Block::single(samples.len());
        self.fill(batch, samples, block, rows);
        RowView::new(features, rows)
    }
}

/// The value in a mutex, also after a thread panicked with it: panics travel through joins anyway.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
