//! How much memory training takes: known before any of it is asked for.

use byhand_layers::{Network, Workspace};

use crate::step::{StepConfig, shards_of};

/// About how many bytes a [`Trainer`](crate::Trainer) takes, or a [`Fit`](crate::Fit) with a test set, besides the data: weights,
/// gradients, what the optimiser remembers, and on every thread room for the activations of some samples.
///
/// A program that is given sizes from outside compares it with the memory there is. A Rust program that asks for more is ended.
///
/// ```
/// use byhand_layers::{Dense, Network, Shape};
/// use byhand_trainer::{StepConfig, training_bytes};
/// let network: Network = Network::new(vec![Box::new(Dense::new(100_000, 1000, true)?)])?;
/// let config = StepConfig { optimizer: "adam".parse()?, ..StepConfig::default() };
/// // Weights, gradient and two moments, of four bytes each.
/// assert!(training_bytes(&network, &config) > 4 * 4 * 100_000_000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn training_bytes(network: &Network<f32>, config: &StepConfig) -> u64 {
    let (parameters, batch) = (network.param_len() as u64, config.batch_size as u64);
    let chain = network.lowered();
    let plan = shards_of(chain, network.flops(), config.batch_size, network.param_len());
    let threads = match config.threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    };
    let copies = 2 + config.optimizer.slots() + plan.shards(config.batch_size);
    // The rows of a minibatch, and what layers keep of it, which is at most twice as much as they have parameters.
    let kept = batch.saturating_mul(network.input().features() as u64) + 2 * parameters;
    let rooms =
        [plan.largest_block(), network.eval_block()].map(|block| Workspace::bytes_for(chain, block) as u64);
    let numbers = kept.saturating_add(copies as u64 * parameters);
    numbers
        .saturating_mul(4)
        .saturating_add((threads as u64).saturating_mul(rooms[0].saturating_add(rooms[1])))
}
