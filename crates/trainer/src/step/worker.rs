//! What a thread needs to compute blocks of samples: a workspace, room for labels, scratch for unpacking.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use byhand_layers::Block;
use byhand_layers::loss::{Labels, Loss, LossStats};
use byhand_layers::{Buffer, Keep, Loop, Network, Pass, RowView, Share, Workspace, vectorised};

use super::source::BatchSource;

/// The memory of one thread, re-used from block to block.
#[derive(Debug)]
pub(crate) struct Worker {
    workspace: Workspace<f32>,
    labels: Vec<u8>,
    scratch: Vec<u8>,
}

impl Worker {
    /// Memory for blocks of at most `block.tiles()` tiles, and if need be for halves of layers.
    pub(crate) fn new(network: &Network<f32>, block: Block, halves: bool) -> Worker {
        let labels = vec![0; block.tiles() * block.lanes()];
        let workspace = Workspace::new(network, block);
        let workspace = if halves { workspace.for_halves() } else { workspace };
        Worker { workspace, labels, scratch: Vec::new() }
    }

    /// Room for the rows of a block, to be given to [`take`](Worker::take): empty if the network takes none.
    pub(crate) fn room(network: &Network<f32>, block: Block) -> Buffer<f32> {
        let features = network.input().features();
        Buffer::zeros(if network.takes_rows(features) { block.samples() * features } else { 0 })
    }

    /// Makes room for `scratch_len` bytes of scratch.
    pub(crate) fn reserve(&mut self, scratch_len: usize) {
        if self.scratch.len() < scratch_len {
            self.scratch.resize(scratch_len, 0);
        }
    }

    /// Takes over samples `samples` of `batch`: as rows, if the network takes those, which are then returned; they are in `room` unless
    /// those of the whole minibatch are `given`.
    pub(crate) fn take<'a>(
        &mut self,
        network: &Network<f32>,
        block: Block,
        batch: &'a dyn BatchSource,
        samples: Range<usize>,
        given: Option<RowView<'a, f32>>,
        room: &'a mut [f32],
    ) -> Option<RowView<'a, f32>> {
        self.take_labels(block, batch, samples.clone());
        let features = network.input().features();
        if !network.takes_rows(features) {
            self.reserve(batch.scratch_len());
            batch.fill(samples, block, self.workspace.input_mut(), &mut self.scratch);
            return None;
        }
        if let Some(rows) = given {
            return Some(rows.samples(samples));
        }
        let room = &mut room[..samples.len() * features];
        self.fill_rows(batch, samples, room);
        Some(RowView::new(features, room))
    }

    /// Takes over samples of whose input there are two sums to be added.
    pub(crate) fn take_sums(
        &mut self,
        block: Block,
        batch: &dyn BatchSource,
        samples: Range<usize>,
        sums: [&[f32]; 2],
    ) {
        self.take_labels(block, batch, samples);
        vectorised(AddUp { sums, x: self.workspace.input_mut() });
    }

    fn take_labels(&mut self, block: Block, batch: &dyn BatchSource, samples: Range<usize>) {
        self.workspace.set_block(block);
        batch.labels(samples.clone(), &mut self.labels[..samples.len()]);
    }

    /// Writes the rows of samples that do not lie in memory as such.
    pub(crate) fn fill_rows(&mut self, batch: &dyn BatchSource, samples: Range<usize>, rows: &mut [f32]) {
        self.reserve(batch.scratch_len());
        batch.fill(samples.clone(), Block::single(samples.len()), rows, &mut self.scratch);
    }

    /// Runs the network forward on the samples [taken](Worker::take) last and takes the loss, whose gradient times `scale`
    /// is left for [`backward`](Worker::backward).
    pub(crate) fn forward(
        &mut self,
        network: &Network<f32>,
        loss: &dyn Loss<f32>,
        theta: &[f32],
        pass: &Pass,
        rows: Option<RowView<'_, f32>>,
        scale: f32,
        share: Option<&dyn Share>,
    ) -> LossStats {
        let labels = &self.labels[..pass.block.samples()];
        network.forward_shared(pass, theta, rows, &mut self.workspace, share);
        let (logits, dlogits) = self.workspace.output_and_grad_mut();
        loss.value_and_gradient(pass.block, logits, Labels(labels).into(), scale, dlogits)
    }

    /// Adds the gradient of the block that [`forward`](Worker::forward) was given last to `dtheta`, but for what `keep`
    /// keeps: see [`Network::backward_keeping`].
    pub(crate) fn backward(
        &mut self,
        network: &Network<f32>,
        theta: &[f32],
        pass: &Pass,
        rows: Option<RowView<'_, f32>>,
        dtheta: &mut [f32],
        dx: Option<&mut [f32]>,
        frozen: usize,
        keep: &mut Keep<'_, f32>,
        share: Option<&dyn Share>,
    ) {
        network.backward_keeping(pass, theta, rows, dtheta, dx, &mut self.workspace, frozen, keep, share);
    }

    /// Writes what [`Trainer::residuals`](super::Trainer::residuals) says of each sample of the last block, whose loss was
    /// scaled by `scale`.
    pub(crate) fn residuals(&mut self, block: Block, scale: f32, out: &mut [f32]) {
        let (logits, dlogits) = self.workspace.output_and_grad_mut();
        let classes = logits.len() / block.len(1);
        for (sample, (out, &label)) in out.iter_mut().zip(&self.labels[..block.samples()]).enumerate() {
            *out = -dlogits[block.index(classes, sample, label.into())] / scale;
        }
    }

    /// The outputs of the last block, laid out as the block says.
    pub(crate) fn logits(&self) -> &[f32] {
        self.workspace.output()
    }

    /// The labels of the last block, followed by rubbish.
    pub(crate) fn labels(&self) -> &[u8] {
        &self.labels
    }
}

/// Both sums together.
struct AddUp<'a> {
    sums: [&'a [f32]; 2],
    x: &'a mut [f32],
}

impl Loop for AddUp<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let [a, b] = self.sums;
        for ((x, &a), &b) in self.x.iter_mut().zip(a).zip(b) {
            *x = a + b;
        }
    }
}

/// The value in a mutex, also after a thread panicked with it: panics travel through joins anyway.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
