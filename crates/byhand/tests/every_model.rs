//! The promises, for each registered model: equal bits for any number of threads and run after run, and no allocation in a
//! training step after the first.

use byhand::layers::init::init_network;
use byhand::models::{MODELS, NamedModel, weights_sha256};
use byhand::trainer::{Rows, StepConfig, Trainer};
use ndarray::Array2;

/// Several shards for the larger networks, and a last tile that is not full.
const BATCH: usize = 100;

fn trainer(model: &NamedModel, threads: usize) -> Trainer {
    let network = model.network::<f32>();
    let theta = init_network(&network, model.init, 1);
    let config = StepConfig { batch_size: BATCH, threads, ..StepConfig::default() };
    Trainer::new(&network, theta, config).unwrap()
}

fn minibatch(model: &NamedModel) -> (Array2<f32>, Vec<u16>) {
    let pixel = |(i, j): (usize, usize)| ((i * 37 + j * 11) % 97) as f32 / 97.0;
    let labels = (0..BATCH).map(|i| (i % model.classes()) as u16).collect();
    (Array2::from_shape_fn((BATCH, model.input.features()), pixel), labels)
}

fn digest(model: &NamedModel, threads: usize) -> String {
    let (x, labels) = minibatch(model);
    let mut trainer = trainer(model, threads);
    trainer.session(|trainer| {
        for _ in 0..3 {
            trainer.step(0.01, &Rows::new(x.view(), &labels)).unwrap();
        }
    });
    weights_sha256(trainer.theta())
}

#[test]
fn equal_bits_for_any_number_of_threads_and_over_ten_repeats() {
    for model in MODELS {
        let one = digest(model, 1);
        for threads in [2, 3, 7, 16] {
            assert_eq!(digest(model, threads), one, "{}, {threads} threads", model.name);
        }
        for repeat in 1..10 {
            assert_eq!(digest(model, 2), one, "{}, repeat {repeat}", model.name);
        }
    }
}

#[test]
fn a_step_allocates_nothing_after_the_first() {
    for model in MODELS {
        let (x, labels) = minibatch(model);
        let mut trainer = trainer(model, 1);
        let batch = Rows::new(x.view(), &labels);
        trainer.step(0.01, &batch).unwrap();
        let counted = allocation_counter::measure(|| {
            for _ in 0..3 {
                trainer.step(0.01, &batch).unwrap();
            }
        });
        assert_eq!(counted.count_total, 0, "{}", model.name);
    }
}
