//! `byhand throughput`: how fast the training step is, on random data in memory.
//!
//! The clock goes around each step (forward, softmax cross-entropy, backward, SGD update). The machine's peak is that
//! of fused multiply-adds in registers, on as many threads, measured just before and after the steps.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use byhand_layers::{
    Network, Shape,
    init::{Init, init_network},
};
use byhand_models::{Spec, find, weights_sha256};
use byhand_tensor::{Buffer, Isa};
use byhand_trainer::{Diverged, Rows, StepConfig, Trainer, peak::peak_gflops};
use clap::Args;
use ndarray::ArrayView2;
use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};
use serde_json::json;

use crate::{
    arguments::ThreadsArg,
    exit::{DIVERGED, coded, usage, wrong_spec},
    memory,
    output::Output,
};

/// Options of `throughput`.
#[derive(Args)]
#[command(after_help = "Examples:
  byhand throughput --preset lenet --batch-size 128
  byhand throughput --layers \"conv(8,3) pool(2) dense(10)\" --batch-size 1 --threads 1 --seconds 2 --json

GFLOP/s counts a multiply-add as 2 and the step as forward + both backwards (the first layer's dx, which nobody needs,
is not counted). weights_sha256 is that of the weights after the first 5 steps: equal for any number of threads.")]
pub struct Options {
    /// A network of your own, e.g. "conv(8,5) relu pool(2) dense(10)"
    #[arg(long, value_name = "SPEC", required_unless_present = "preset")]
    layers: Option<Spec>,
    /// A named model; `byhand summary` lists them
    #[arg(long, value_name = "NAME", conflicts_with = "layers")]
    preset: Option<String>,
    /// What the network reads: channels x height x width
    #[arg(long, value_name = "CxHxW", default_value = "1x28x28", conflicts_with = "preset")]
    input: Shape,
    /// Images in a step
    #[arg(long, alias = "batch", value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=StepConfig::MAX_BATCH as i64))]
    batch_size: u32,
    #[command(flatten)]
    threads: ThreadsArg,
    /// How long to measure
    #[arg(long, default_value_t = 2.0, value_parser = seconds)]
    seconds: f64,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.0..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("expected a number of seconds from 0 to 3600".to_string()),
    }
}

const LEARNING_RATE: f64 = 0.01;

/// Steps before the clock: they touch all memory, and their weights are the digest's.
const FIRST_STEPS: usize = 5;

/// At least so many steps are timed, however long they take.
const LEAST_STEPS: usize = 3;

/// Measures and prints.
pub fn run(options: &Options, output: &Output) -> Result<()> {
    let (spec, input) = match (&options.preset, &options.layers) {
        (Some(name), _) => {
            let model = find(name).map_err(usage)?;
            (model.spec(), model.input)
        }
        (None, Some(spec)) => (spec.clone(), options.input),
        (None, None) => return Err(usage("expected --layers SPEC or --preset NAME")),
    };
    let network = spec.build::<f32>(input).map_err(|error| wrong_spec(&error, &error))?;
    let batch = options.batch_size as usize;
    let config = StepConfig { batch_size: batch, threads: options.threads.asked(), ..StepConfig::default() };
    let theta = init_network::<f32>(&network, Init::ScaledUniform, 0);
    let length = Duration::from_secs_f64(options.seconds);
    let Timed { times, sha256, peak, threads, shards } = time(&network, theta, config, length)?;

    let microseconds = |time: Duration| time.as_secs_f64() * 1e6;
    let (median_us, min_us) = (microseconds(times[times.len() / 2]), microseconds(times[0]));
    let images_per_second = batch as f64 / median_us * 1e6;
    let gflops = images_per_second * network.flops() as f64 / 1e9;
    let isa = Isa::active().name();
    output.print(format!("{spec} on {input}, batch {batch}, {threads} threads, {isa}"));
    output.print(format!(
        "{images_per_second:.0} images/s: {median_us:.1} us a step (best {min_us:.1}, {} steps)",
        times.len()
    ));
    output.print(format!("{gflops:.1} GFLOP/s, {:.0} % of the FMA peak of {peak:.0}", 100.0 * gflops / peak));
    output.result(json!({
        "layers": spec.to_string(),
        "input": input.to_string(),
        "batch": batch,
        "threads": threads,
        "isa": isa,
        "shards": shards,
        "steps": times.len(),
        "images_per_second": images_per_second,
        "median_us": median_us,
        "min_us": min_us,
        "gflops": gflops,
        "peak_gflops": peak,
        "weights_sha256": sha256,
    }));
    Ok(())
}

/// Steps that were timed.
pub struct Timed {
    /// The time of each, the shortest first.
    pub times: Vec<Duration>,
    /// Of the weights after the first steps.
    sha256: String,
    /// GFLOP/s of multiply-adds alone, on as many threads.
    peak: f64,
    threads: usize,
    shards: usize,
}

/// Times the training step on random data.
pub fn time(network: &Network<f32>, theta: Vec<f32>, config: StepConfig, length: Duration) -> Result<Timed> {
    let (batch, features) = (config.batch_size, network.input().features());
    memory::check_training(network, &config, |batch| 4 * batch as u64 * features as u64, "batch-size")?;
    let (x, labels) = random_batch(batch, features, network.classes());
    let mut trainer = Trainer::new(network, theta, config)?;
    let threads = trainer.threads();
    let before = peak_gflops(threads);
    let x = ArrayView2::from_shape((batch, features), &x).context("rows of the minibatch")?;
    let rows = Rows::new(x, &labels);
    let (mut times, sha256) = trainer
        .session(|trainer| time_steps(trainer, &rows, length))
        .map_err(|diverged| coded(DIVERGED, diverged))?;
    let peak = before.max(peak_gflops(threads));
    times.sort_unstable();
    Ok(Timed { times, sha256, peak, threads, shards: trainer.plan().shards(batch) })
}

/// The time of each step, and the digest of the weights after the first steps.
fn time_steps(
    trainer: &mut Trainer,
    rows: &Rows<'_>,
    length: Duration,
) -> Result<(Vec<Duration>, String), Diverged> {
    for _ in 0..FIRST_STEPS {
        trainer.step(LEARNING_RATE, rows)?;
    }
    let sha256 = weights_sha256(trainer.theta());
    let mut times = Vec::new();
    let began = Instant::now();
    while began.elapsed() < length || times.len() < LEAST_STEPS {
        let start = Instant::now();
        trainer.step(LEARNING_RATE, rows)?;
        times.push(start.elapsed());
    }
    Ok((times, sha256))
}

/// Pixels in [0, 1), at a border of a cache line as other frameworks' tensors are, and labels, all random.
fn random_batch(batch: usize, features: usize, classes: usize) -> (Buffer<f32>, Vec<u16>) {
    let mut random = ChaCha8Rng::seed_from_u64(0);
    let mut x = Buffer::zeros(batch * features);
    x.fill_with(|| (random.next_u32() >> 8) as f32 / (1 << 24) as f32);
    let labels = (0..batch).map(|_| (random.next_u32() as usize % classes.min(1 << 16)) as u16).collect();
    (x, labels)
}
