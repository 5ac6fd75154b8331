//! The training step of every network: forward, softmax cross-entropy, backward, SGD update, on a batch in memory.

use byhand_benches::{Case, Work, bench, criterion, networks, random};
use byhand_layers::init::{Init, init_network};
use byhand_trainer::{Rows, StepConfig, Trainer};

const BATCHES: [usize; 5] = [1, 8, 32, 128, 1000];

const THREADS: [usize; 2] = [1, 2];

/// Operations of the longest step that is worth waiting for.
const LONGEST: u64 = 20_000_000_000;

/// So small that the network stays where it was: every step does the same work.
const LEARNING_RATE: f64 = 1e-6;

fn main() {
    let mut criterion = criterion();
    for (name, network) in networks::all() {
        for batch in BATCHES {
            let flops = network.flops() * batch as u64;
            if flops > LONGEST {
                continue;
            }
            for threads in THREADS {
                let case = Case {
                    operation: "step",
                    subject: name.to_string(),
                    circumstances: format!("batch{batch}/threads{threads}"),
                    batch,
                    threads,
                    work: Work::Flops(flops),
                };
                let setup = || {
                    let theta = init_network(&network, Init::HeNormal, 0);
                    let config = StepConfig { batch_size: batch, threads, ..StepConfig::default() };
                    let trainer = Trainer::new(&network, theta, config).expect("a sound configuration");
                    let (x, labels) = random::minibatch(batch, network.input().features(), network.classes());
                    (trainer, x, labels)
                };
                bench(&mut criterion, &case, setup, |(trainer, x, labels), stopwatch| {
                    let rows = Rows::new(x.view(), labels);
                    // Entered once a sample, as `fit` enters it once an epoch.
                    trainer.session(|trainer| {
                        stopwatch.time(|| {
                            trainer.step(LEARNING_RATE, &rows).expect("finite");
                        });
                    });
                });
            }
        }
    }
    criterion.final_summary();
}
