//! How long each layer takes, forward and backward: the layers as their contract has them, one after the other on one thread.

#![expect(clippy::disallowed_methods, reason = "times layers")]

use std::time::{Duration, Instant};

use byhand_layers::{Block, Layer, Network, Pass, Saved, Shape};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

/// What one layer takes for a minibatch on one thread.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerTime {
    /// Index of the layer.
    pub index: usize,
    /// Its spec.
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

/// Times the layers of `network` but for identities, which it leaves out, for a minibatch of `samples`, for about `length` and at least three times.
///
/// Each layer runs by itself, on one thread, on what the one before it makes of random pixels. A training step takes less than the sum:
/// it runs chains of convolution, ReLU and pooling in one pass, on several threads. What the layers share out is the work as written.
///
/// # Panics
/// If `theta` has not the network's length, or there is no sample.
///
/// ```
/// use byhand_layers::init::{Init, init_network};
/// let network = "conv(8,5) relu pool(2) dense(10)".parse::<byhand_models::Spec>()?.build::<f32>(byhand_layers::Shape::new(1, 28, 28))?;
/// let theta = init_network(&network, Init::HeNormal, 0);
/// let times = byhand_trainer::layer_times(&network, &theta, 32, std::time::Duration::ZERO);
/// assert_eq!(times.len(), 4);
/// assert!(times.iter().all(|layer| layer.seconds() > 0.0));
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
    let block = Block::for_samples(samples);
    let mut layers: Vec<Timed<'_>> = Vec::new();
    let mut start = 0;
    for (index, layer) in network.layers().iter().enumerate() {
        let numbers = layer.params().iter().map(|param| param.len()).sum::<usize>();
        if !layer.is_identity() {
            let theta = &theta[start..start + numbers];
            layers.push(Timed { index, layer: &**layer, theta, times: [Vec::new(), Vec::new()] });
        }
        start += numbers;
    }
    if layers.is_empty() {
        return Vec::new();
    }
    let mut memory = Memory::new(network, &layers, block);
    let begun = Instant::now();
    // The first time touches all memory, and does not count.
    memory.run(block, &mut layers);
    layers.iter_mut().for_each(|layer| layer.times.iter_mut().for_each(Vec::clear));
    while layers[0].times[0].len() < LEAST || begun.elapsed() < length {
        memory.run(block, &mut layers);
    }
    layers.iter_mut().enumerate().map(|(place, layer)| layer.told(place > 0, block)).collect()
}

/// A layer, its weights, and what its passes took.
struct Timed<'a> {
    index: usize,
    layer: &'a dyn Layer<f32>,
    theta: &'a [f32],
    times: [Vec<Duration>; 2],
}

impl Timed<'_> {
    fn told(&mut self, has_dx: bool, block: Block) -> LayerTime {
        let [forward, backward] = &mut self.times;
        let median = |times: &mut Vec<Duration>| {
            times.sort_unstable();
            times[times.len() / 2].as_secs_f64()
        };
        let (layer, samples) = (self.layer, block.samples() as u64);
        let features = block.len(layer.output().features()) + layer.tape_len(block);
        LayerTime {
            index: self.index,
            spec: layer.spec(),
            output: layer.output(),
            forward: median(forward),
            backward: median(backward),
            forward_flops: samples * layer.flops(),
            backward_flops: samples * layer.backward_flops(has_dx),
            parameter_bytes: size_of_val(self.theta),
            activation_bytes: features * size_of::<f32>(),
        }
    }
}

/// All that the layers compute in.
struct Memory {
    activations: Vec<Vec<f32>>,
    tapes: Vec<Vec<f32>>,
    scratch: Vec<f32>,
    dtheta: Vec<f32>,
    dy: Vec<f32>,
    dx: Vec<f32>,
    step: u64,
    random: ChaCha8Rng,
}

impl Memory {
    fn new(network: &Network<f32>, layers: &[Timed<'_>], block: Block) -> Memory {
        let layers = || layers.iter().map(|timed| timed.layer);
        let shapes = std::iter::once(network.input()).chain(layers().map(|layer| layer.output()));
        let lengths: Vec<usize> = shapes.map(|shape| block.len(shape.features())).collect();
        let widest = lengths.iter().copied().max().unwrap_or(0);
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let mut activations: Vec<Vec<f32>> = lengths.iter().map(|&length| vec![0.0; length]).collect();
        fill(&mut random, &mut activations[0]);
        // Half of the pixels are ground.
        activations[0].iter_mut().for_each(|pixel| *pixel = pixel.max(0.0));
        Memory {
            activations,
            tapes: layers().map(|layer| vec![0.0; layer.tape_len(block)]).collect(),
            scratch: vec![0.0; layers().map(|layer| layer.scratch_len(block)).max().unwrap_or(0)],
            dtheta: vec![0.0; network.param_len()],
            dy: vec![0.0; widest],
            dx: vec![0.0; widest],
            step: 0,
            random,
        }
    }

    /// All layers forward, then backward.
    fn run(&mut self, block: Block, layers: &mut [Timed<'_>]) {
        let Memory { activations, tapes, scratch, dtheta, dy, dx, step, random } = self;
        let pass = Pass::train(block, 0, *step, 0);
        *step += 1;
        for (index, Timed { layer, theta, times, .. }) in layers.iter_mut().enumerate() {
            let (x, y) = activations.split_at_mut(index + 1);
            let scratch = &mut scratch[..layer.scratch_len(block)];
            times[0].push(taken(|| {
                layer.forward(&pass, theta, &x[index], &mut y[0], &mut tapes[index], scratch)
            }));
        }
        let outputs = activations[layers.len()].len();
        fill(random, &mut dy[..outputs]);
        for (index, Timed { layer, theta, times, .. }) in layers.iter_mut().enumerate().rev() {
            let saved = Saved { x: &activations[index], y: &activations[index + 1], tape: &tapes[index] };
            let (scratch, dtheta) = (&mut scratch[..layer.scratch_len(block)], &mut dtheta[..theta.len()]);
            let wanted = (index > 0).then_some(&mut dx[..saved.x.len()]);
            let dy_here = &dy[..saved.y.len()];
            times[1].push(taken(|| layer.backward(&pass, theta, saved, dy_here, wanted, dtheta, scratch)));
            std::mem::swap(dy, dx);
        }
    }
}

fn taken(work: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    work();
    begun.elapsed()
}

/// Fills `numbers` from -1 to 1.
fn fill(random: &mut ChaCha8Rng, numbers: &mut [f32]) {
    numbers.fill_with(|| random.next_u32() as f32 / (1u64 << 31) as f32 - 1.0);
}
