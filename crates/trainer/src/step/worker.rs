//! What a thread needs to compute blocks of samples: a workspace, room for labels, scratch for unpacking.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use byhand_layers::Block;
use byhand_layers::loss::{Labels, Loss, LossStats};
use byhand_layers::{Network, Pass, Workspace};

use super::all_below;
use super::source::BatchSource;

/// The memory of one thread, re-used from block to block.
#[derive(Debug)]
pub(crate) struct Worker {
    workspace: Workspace<f32>,
    labels: Vec<u8>,
    scratch: Vec<u8>,
}

impl Worker {
    /// Memory for blocks of at most `block.tiles()` tiles.
    pub(crate) fn new(network: &Network<f32>, block: Block) -> Worker {
        Self::with(Workspace::new(network, block))
    }

    /// The same, for [`descend`](Worker::descend) too.
    pub(crate) fn for_descent(network: &Network<f32>, block: Block) -> Worker {
        Self::with(Workspace::for_descent(network, block))
    }

    fn with(workspace: Workspace<f32>) -> Worker {
        let block = workspace.block();
        Worker { workspace, labels: vec![0; block.tiles() * block.lanes()], scratch: Vec::new() }
    }

    /// Makes room for `scratch_len` bytes of scratch.
    pub(crate) fn reserve(&mut self, scratch_len: usize) {
        if self.scratch.len() < scratch_len {
            self.scratch.resize(scratch_len, 0);
        }
    }

    /// Unpacks samples `samples` of `batch`, runs the network forward and takes the loss, whose gradient times `scale`
    /// is left for [`backward`](Worker::backward).
    pub(crate) fn forward(
        &mut self,
        network: &Network<f32>,
        loss: &dyn Loss<f32>,
        theta: &[f32],
        pass: &Pass,
        batch: &dyn BatchSource,
        samples: Range<usize>,
        scale: f32,
    ) -> LossStats {
        let block = pass.block;
        self.reserve(batch.scratch_len());
        self.workspace.set_block(block);
        let labels = &mut self.labels[..block.samples()];
        batch.fill(samples, block, self.workspace.input_mut(), labels, &mut self.scratch);
        network.forward(pass, theta, &mut self.workspace);
        let (logits, dlogits) = self.workspace.output_and_grad_mut();
        loss.value_and_gradient(block, logits, Labels(labels).into(), scale, dlogits)
    }

    /// Adds the gradient of the block that [`forward`](Worker::forward) was given last to `dtheta`.
    pub(crate) fn backward(
        &mut self,
        network: &Network<f32>,
        theta: &[f32],
        pass: &Pass,
        dtheta: &mut [f32],
    ) {
        network.backward(pass, theta, dtheta, &mut self.workspace);
    }

    /// [`Network::backward_for_descent`] of the block that [`forward`](Worker::forward) was given last. Whether every gradient
    /// is sure to be smaller in size than `limit`: those in `dtheta` are looked at, and the factors of the others.
    pub(crate) fn backward_for_descent(
        &mut self,
        network: &Network<f32>,
        theta: &[f32],
        pass: &Pass,
        dtheta: &mut [f32],
        limit: f32,
    ) -> bool {
        network.backward_for_descent(pass, theta, dtheta, &mut self.workspace);
        // A gradient is a sum of as many products as there are samples.
        let factor_limit = (limit / pass.block.samples() as f32).sqrt() / 2.0;
        network.stored_in_descent(pass.block).all(|range| all_below(&dtheta[range], limit))
            && network
                .descent_operands(&self.workspace)
                .all(|factors| factors.iter().all(|factor| all_below(factor, factor_limit)))
    }

    /// The second half: moves the parameters whose gradients were not stored.
    pub(crate) fn descend(&mut self, network: &Network<f32>, pass: &Pass, rate: f32, theta: &mut [f32]) {
        network.descend(pass, rate, theta, &mut self.workspace);
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

/// The value in a mutex, also after a thread panicked with it: panics travel through joins anyway.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
