//! The training step of every network: forward, softmax cross-entropy, backward, SGD update, on a batch in memory; and the
//! same without fused chains (`plain-step`).

use byhand_benches::{Case, FlopRate, Work, bench, criterion, networks, random};
use byhand_layers::Network;
use byhand_layers::init::{Init, init_network};
use byhand_trainer::{Rows, StepConfig, Trainer};
use criterion::Criterion;
use ndarray::ArrayView2;

const BATCHES: [usize; 5] = [1, 8, 32, 128, 1000];

const THREADS: [usize; 2] = [1, 2];

/// Operations of the longest step that is worth waiting for.
const LONGEST: u64 = 20_000_000_000;

/// So small that the network stays where it was: every step does the same work.
const LEARNING_RATE: f64 = 1e-6;

/// Batches and threads that the plain chain, layer by layer, is measured at beside the fused one.
const PLAIN: [(usize, usize); 3] = [(1, 1), (32, 1), (128, 1)];

fn main() {
    let mut criterion = criterion();
    for (name, network) in networks::all() {
        for batch in BATCHES {
            for threads in THREADS {
                step(&mut criterion, "step", name, &network, batch, threads);
            }
        }
        let convolves = network.layers().iter().any(|layer| layer.name() == "conv");
        for (batch, threads) in PLAIN.into_iter().filter(|_| convolves) {
            step(&mut criterion, "plain-step", name, &network.unfused(), batch, threads);
        }
    }
    criterion.final_summary();
}

fn step(
    criterion: &mut Criterion<FlopRate>,
    operation: &'static str,
    name: &str,
    network: &Network<f32>,
    batch: usize,
    threads: usize,
) {
    let flops = network.flops() * batch as u64;
    if flops > LONGEST {
        return;
    }
    let case = Case {
        operation,
        subject: name.to_string(),
        circumstances: format!("batch{batch}/threads{threads}"),
        batch,
        threads,
        work: Work::Flops(flops, None),
    };
    let setup = || {
        let theta = init_network(network, Init::HeNormal, 0);
        let config = StepConfig { batch_size: batch, threads, ..StepConfig::default() };
        let trainer = Trainer::new(network, theta, config).expect("a sound configuration");
        let (x, labels) = random::minibatch(batch, network.input().features(), network.classes());
        (trainer, x, labels)
    };
    bench(criterion, &case, setup, |(trainer, x, labels), stopwatch| {
        let shape = (labels.len(), x.len() / labels.len());
        let rows = Rows::new(ArrayView2::from_shape(shape, x).expect("equally long rows"), labels);
        // Entered once a sample, as `fit` enters it once an epoch.
        trainer.session(|trainer| {
            stopwatch.time(|| {
                trainer.step(LEARNING_RATE, &rows).expect("finite");
            });
        });
    });
}
