//! All the memory a network computes in, allocated once.

use byhand_tensor::{Block, Buffer, Scalar};

/// The memory one thread needs to run a [`Network`](crate::Network) forward and backward over a block of samples: activations, tapes, scratch
/// and gradients. Built once, used for any number of steps; no use of it allocates.
///
/// ```
/// use byhand_layers::{Block, Dense, Network, Pass, Workspace};
/// let network: Network = Network::new(vec![Box::new(Dense::new(2, 1, true)?)])?;
/// let block = Block::single(1);
/// let mut workspace = Workspace::new(&network, block);
/// workspace.input_mut().copy_from_slice(&[3.0, 4.0]);
/// network.forward(&Pass::eval(block), &[10.0, 1.0, 0.5], &mut workspace);
/// assert_eq!(workspace.output(), [34.5]);
/// # Ok::<(), byhand_layers::LayerError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Workspace<T: Scalar = f32> {
    block: Block,
    /// The layout and size everything was allocated for.
    largest: Block,
    /// Features of each activation; activation 0 is the network's input.
    pub(crate) features: Vec<usize>,
    pub(crate) activations: Vec<Buffer<T>>,
    pub(crate) tapes: Vec<Buffer<T>>,
    /// What each operation sums over a minibatch that is trained in stages.
    pub(crate) sums: Vec<Buffer<T>>,
    pub(crate) scratch: Buffer<T>,
    /// Gradients of outputs, until they have been read. The network's output's is in the first.
    pub(crate) gradients: Vec<Buffer<T>>,
}

/// What a chain of operations needs for a block.
pub(crate) struct Memory {
    /// Features of the input and of every output.
    pub(crate) features: Vec<usize>,
    /// Numbers of every tape.
    pub(crate) tapes: Vec<usize>,
    /// Numbers that each operation sums over a minibatch.
    pub(crate) sums: Vec<usize>,
    /// Numbers of scratch.
    pub(crate) scratch: usize,
    /// Gradients that there are at a time.
    pub(crate) gradients: usize,
}

impl Memory {
    /// Numbers in all.
    pub(crate) fn numbers(&self, block: Block) -> usize {
        let activations: usize = self.features.iter().map(|&features| block.len(features)).sum();
        let tapes_and_sums: usize = self.tapes.iter().chain(&self.sums).sum();
        activations + tapes_and_sums + self.scratch + self.gradients * block.len(self.widest())
    }

    fn widest(&self) -> usize {
        self.features.iter().copied().max().unwrap_or(0)
    }
}

impl<T: Scalar> Workspace<T> {
    pub(crate) fn with(memory: Memory, block: Block) -> Self {
        let gradient = block.len(memory.widest());
        let Memory { features, tapes, sums, scratch, gradients } = memory;
        Self {
            block,
            largest: block,
            activations: features.iter().map(|&features| Buffer::zeros(block.len(features))).collect(),
            tapes: tapes.into_iter().map(Buffer::zeros).collect(),
            sums: sums.into_iter().map(Buffer::zeros).collect(),
            scratch: Buffer::zeros(scratch),
            gradients: (0..gradients).map(|_| Buffer::zeros(gradient)).collect(),
            features,
        }
    }

    /// The block in use.
    pub fn block(&self) -> Block {
        self.block
    }

    /// Uses the memory for so many samples, in the layout it was built for, as for a last minibatch that is smaller: the block to make a
    /// [`Pass`](crate::Pass) of. What it held is then meaningless.
    ///
    /// # Panics
    /// As [`set_block`](Self::set_block).
    #[track_caller]
    pub fn set_samples(&mut self, samples: usize) -> Block {
        let block = if self.largest.lanes() == 1 { Block::single(samples) } else { Block::tiled(samples) };
        self.set_block(block);
        block
    }

    /// Uses the memory for another block of the same layout and no more tiles. What it held is then meaningless.
    ///
    /// # Panics
    /// If the block has another layout or more tiles than the workspace was built for.
    #[track_caller]
    pub fn set_block(&mut self, block: Block) {
        let (lanes, built_for) = (block.lanes(), self.largest.lanes());
        assert!(
            lanes == built_for,
            "workspace: built for blocks of {built_for} lanes, the block has {lanes}; set_samples keeps the layout"
        );
        let (tiles, room) = (block.tiles(), self.largest.tiles());
        assert!(tiles <= room, "workspace: built for {room} tiles, the block has {tiles}");
        self.block = block;
    }

    /// Bytes of memory held.
    pub fn bytes(&self) -> usize {
        let buffers = self.activations.iter().chain(&self.tapes).chain(&self.sums).chain(&self.gradients);
        buffers.chain([&self.scratch]).map(|buffer| buffer.len() * size_of::<T>()).sum()
    }

    /// The network's input, to be written before a forward pass, laid out as the block says (dead lanes repeat the last sample;
    /// see [`pack`](byhand_tensor::pack)).
    pub fn input_mut(&mut self) -> &mut [T] {
        let len = self.activation_len(0);
        &mut self.activations[0][..len]
    }

    /// The network's input.
    pub fn input(&self) -> &[T] {
        self.activation(0)
    }

    /// The network's output, after a forward pass.
    pub fn output(&self) -> &[T] {
        self.activation(self.activations.len() - 1)
    }

    /// The gradient of the loss with respect to the output, to be written before a backward pass: by a loss, or by
    /// [`pack_gradient`](byhand_tensor::pack_gradient) (dead lanes hold zeros).
    pub fn output_grad_mut(&mut self) -> &mut [T] {
        self.output_and_grad_mut().1
    }

    /// Output and output gradient together: what a loss reads and writes.
    pub fn output_and_grad_mut(&mut self) -> (&[T], &mut [T]) {
        let last = self.activations.len() - 1;
        let len = self.activation_len(last);
        (&self.activations[last][..len], &mut self.gradients[0][..len])
    }

    /// Number of activations: the input, and the output of every layer that is not the identity.
    pub fn activations(&self) -> usize {
        self.activations.len()
    }

    /// Activation `index`, after a forward pass; activation 0 is the input.
    ///
    /// # Panics
    /// If there are not so many.
    #[track_caller]
    pub fn activation(&self, index: usize) -> &[T] {
        &self.activations[index][..self.activation_len(index)]
    }

    fn activation_len(&self, index: usize) -> usize {
        self.block.len(self.features[index])
    }
}
