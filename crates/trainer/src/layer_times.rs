//! How long each layer takes, forward and backward, on one thread, as a training step runs them.

#![expect(clippy::disallowed_methods, reason = "times layers")]

use std::time::{Duration, Instant};

use byhand_layers::exec::{Backward, RowView};
use byhand_layers::{Network, Pass, Shape, Workspace};
use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};

use crate::step::shards_of;

/// What an operation takes for a minibatch on one thread: a layer, or several that run as one.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerTime {
    /// The first of its layers: `3`, or `3.main.0` in a branch.
    pub name: String,
    /// The specs of its layers.
    pub spec: String,
    /// Its output shape.
    pub output: Shape,
    /// Seconds of the forward pass, the median of all that were taken.
    pub forward: f64,
    /// Seconds of the backward pass; the first layer's has no gradient of its input to find.
    pub backward: f64,
    /// Floating-point operations of the forward pass.
    pub forward_flops: u64,
    /// Floating-point operations of the backward pass.
    pub backward_flops: u64,
    /// Bytes of its parameters.
    pub parameter_bytes: usize,
    /// Bytes of its output and of what it keeps for the backward pass.
    pub activation_bytes: usize,
}

impl LayerTime {
    /// Seconds of both passes.
    pub fn seconds(&self) -> f64 {
        self.forward + self.backward
    }

    /// Floating-point operations per second of both passes, in GFLOP/s.
    pub fn gflops(&self) -> f64 {
        (self.forward_flops + self.backward_flops) as f64 / self.seconds().max(f64::MIN_POSITIVE) / 1e9
    }
}

/// Times what `network` does with a minibatch of `samples`, for about `length` and at least three times: its layers but for identities,
/// those that a training step runs in one pass as one, those of branches one by one and then what joins them.
///
/// The minibatch is random, and cut into blocks as a training step cuts it. The step also fetches the images, computes the loss, adds up
/// the gradients of its shards and moves the weights: on one thread it takes that much longer than the sum.
///
/// # Panics
/// If `theta` has not the network's length, or there is no sample.
///
/// ```
/// use byhand_layers::init::{Init, init_network};
/// let network = "conv(8,5) relu pool(2) dense(10)".parse::<byhand_models::Spec>()?.build::<f32>(byhand_layers::Shape::new(1, 28, 28))?;
/// let theta = init_network(&network, Init::HeNormal, 0);
/// let times = byhand_trainer::layer_times(&network, &theta, 32, std::time::Duration::ZERO);
/// assert_eq!(times.iter().map(|time| &*time.spec).collect::<Vec<_>>(), ["conv(8,5) relu pool(2)", "dense(10)"]);
/// assert!(times.iter().all(|time| time.seconds() > 0.0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[track_caller]
pub fn layer_times(
    network: &Network<f32>,
    theta: &[f32],
    samples: usize,
    length: Duration,
) -> Vec<LayerTime> {
    const LEAST: usize = 3;
    assert_eq!(theta.len(), network.param_len(), "layer_times: length of theta");
    assert!(samples > 0, "layer_times: no sample");
    let chain = network.lowered();
    let cuts = shards_of(chain, network.flops(), samples, network.param_len());
    let shards = (0..cuts.shards(samples)).map(|shard| cuts.shard(samples, shard));
    let blocks: Vec<_> = shards.flat_map(|shard| cuts.blocks(shard)).collect();
    let features = network.input().features();
    let mut workspace = Workspace::new(network, cuts.largest_block());
    // The samples of a block one after the other, where the first layer takes them so.
    let mut room = vec![0.0; if chain.takes_rows(features) { samples * features } else { 0 }];
    let mut dtheta = vec![0.0; theta.len()];
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let mut times: Vec<[Vec<Duration>; 2]> =
        chain.operations(cuts.block(samples)).map(|_| Default::default()).collect();
    let begun = Instant::now();
    // The first time touches all memory, and does not count.
    for step in 0.. {
        let mut taken = vec![[Duration::ZERO; 2]; times.len()];
        for samples in &blocks {
            let pass = Pass::train(cuts.block(samples.len()), 0, step, samples.start as u64);
            workspace.set_block(pass.block);
            let input =
                if room.is_empty() { workspace.input_mut() } else { &mut room[..samples.len() * features] };
            fill(&mut random, input);
            // Half of the pixels are ground.
            input.iter_mut().for_each(|pixel| *pixel = pixel.max(0.0));
            let rows = (!room.is_empty()).then(|| RowView::new(features, &room[..samples.len() * features]));
            chain.forward_watched(&pass, theta, rows, &mut workspace, clock(&mut taken, 0));
            fill(&mut random, workspace.output_grad_mut());
            let backward =
                Backward { rows, dtheta: &mut dtheta, dx: None, frozen: 0, save: &mut |_, _, _, _| false };
            chain.backward_watched(&pass, theta, backward, &mut workspace, clock(&mut taken, 1));
        }
        if step == 0 {
            continue;
        }
        times.iter_mut().flatten().zip(taken.iter().flatten()).for_each(|(times, taken)| times.push(*taken));
        if step >= LEAST as u64 && begun.elapsed() >= length {
            break;
        }
    }
    let operations = chain.operations(cuts.block(samples)).zip(times);
    let told = operations.map(|(operation, [forward, backward])| LayerTime {
        name: operation.layer.to_owned(),
        spec: operation.spec,
        output: operation.output,
        forward: median(forward),
        backward: median(backward),
        forward_flops: samples as u64 * operation.forward_flops,
        backward_flops: samples as u64 * operation.backward_flops,
        parameter_bytes: operation.params * size_of::<f32>(),
        activation_bytes: operation.activations * size_of::<f32>(),
    });
    told.collect()
}

/// Adds what each operation took, from the end of the one before, to its forward (0) or backward (1) time.
fn clock(taken: &mut [[Duration; 2]], way: usize) -> impl FnMut(usize) {
    let mut before = Instant::now();
    move |place| {
        let now = Instant::now();
        taken[place][way] += now - before;
        before = now;
    }
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64()
}

/// Fills `numbers` from -1 to 1.
fn fill(random: &mut ChaCha8Rng, numbers: &mut [f32]) {
    numbers.fill_with(|| random.next_u32() as f32 / (1u64 << 31) as f32 - 1.0);
}
