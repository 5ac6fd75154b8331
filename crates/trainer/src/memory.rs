//! How much memory training and evaluation take: known before any of it is asked for.

use byhand_layers::{Network, Workspace};

use crate::step::crew::Crew;
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
    let copies = 2 + config.slots() + plan.shards(config.batch_size);
    // The rows of a minibatch, and what layers keep of it, which is at most twice as much as they have parameters.
    let kept = batch.saturating_mul(network.input().features() as u64) + 2 * parameters;
    // Trained in stages, every shard has room of its own.
    let shards = if chain.norms() > 0 { plan.shards(config.batch_size) } else { 1 };
    let workers = Crew::new(config.threads).threads().max(shards) as u64;
    let rooms =
        [plan.largest_block(), network.eval_block()].map(|block| Workspace::bytes_for(chain, block) as u64);
    let numbers = kept.saturating_add(copies as u64 * parameters);
    numbers.saturating_mul(4).saturating_add(workers.saturating_mul(rooms[0].saturating_add(rooms[1])))
}

/// About how many bytes [`evaluate`](crate::evaluate) takes on so many threads (0: all) besides the data and the weights, and a prediction
/// on one: room for the activations of some samples on each.
pub fn evaluation_bytes(network: &Network<f32>, threads: usize) -> u64 {
    let room = Workspace::bytes_for(network.lowered(), network.eval_block()) as u64;
    (Crew::new(threads).threads() as u64).saturating_mul(room)
}
