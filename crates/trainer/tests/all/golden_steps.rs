//! The weights after a few steps of every kind, against the hashes in `golden/steps.txt`: a change of the step keeps them, or its commit
//! says which lines it changes and why.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use byhand_datasets::{Crop, Preprocessing};
use byhand_layers::init::{Init, init_network};
use byhand_layers::{Isa, Network, Shape};
use byhand_models::{MODELS, Spec, weights_sha256};
use byhand_trainer::{ImageBatch, Rows, StepConfig, Trainer};
use ndarray::Array2;

use crate::common::train;

/// One sample, some that come one after the other, half tiles, tiles that are full or not, several shards.
const BATCHES: [usize; 13] = [1, 5, 8, 16, 17, 20, 32, 33, 64, 128, 150, 256, 1000];

/// Each with a learning rate.
const OPTIMIZERS: [(&str, f64); 3] = [("sgd", 0.05), ("sgd(momentum=0.9)", 0.01), ("adam", 1e-3)];

/// Operations of a step that is worth waiting for here.
const LONGEST: u64 = 8_000_000_000;

/// The named networks and two larger ones, with what they see of an image.
fn networks() -> Vec<(String, Network, Crop)> {
    let mut networks: Vec<_> =
        MODELS.iter().map(|model| (model.name.to_string(), model.network(), model.input)).collect();
    let image = Shape::new(1, 28, 28);
    for (name, spec) in [
        ("mlp-512", "dense(512) relu dense(512) relu dense(10)"),
        (
            "cnn-32-64",
            "conv(32,3,pad=1) relu conv(32,3,pad=1) relu pool(2) conv(64,3,pad=1) relu conv(64,3,pad=1) relu \
             pool(2) dense(128) relu dense(10)",
        ),
    ] {
        networks.push((name.to_string(), spec.parse::<Spec>().unwrap().build(image).unwrap(), image));
    }
    let window = |Shape { h, w, .. }: Shape| Crop { y: (28 - h as i32) / 2, x: (28 - w as i32) / 2, h, w };
    networks.into_iter().map(|(name, network, shape)| (name, network, window(shape))).collect()
}

/// The hash after four steps: from rows and from images, one of them with a smaller minibatch and the first layer that has parameters
/// frozen.
fn digest(network: &Network, crop: Crop, batch_size: usize, optimizer: &str, rate: f64) -> String {
    let config = StepConfig {
        batch_size,
        optimizer: optimizer.parse().unwrap(),
        threads: 2,
        seed: 1,
        ..StepConfig::default()
    };
    let preprocessing = Preprocessing { crop: Some(crop), ..Preprocessing::unit() };
    let known: Vec<u32> = (0..train().len() as u32)
        .filter(|&i| usize::from(train().labels()[i as usize]) < network.classes())
        .collect();
    let mut trainer = Trainer::new(network, init_network(network, Init::HeNormal, 3), config).unwrap();
    trainer.session(|trainer| {
        for step in 0..4 {
            let samples = if step == 2 { batch_size.div_ceil(2) } else { batch_size };
            let indices: Vec<u32> =
                known.iter().cycle().skip(step * batch_size).take(samples).copied().collect();
            trainer.freeze(if step == 2 { network.params()[0].layer + 1 } else { 0 });
            if step % 2 == 1 {
                trainer.step(rate, &ImageBatch::new(train(), &indices, preprocessing)).unwrap();
                continue;
            }
            let x = Array2::from_shape_fn((samples, crop.features()), |(i, f)| {
                let (y, x) = (crop.y as usize + f / crop.w, crop.x as usize + f % crop.w);
                preprocessing.normalize.apply(train().image(indices[i] as usize)[[0, y, x]])
            });
            let labels: Vec<u16> = indices.iter().map(|&i| train().labels()[i as usize]).collect();
            trainer.step(rate, &Rows::new(x.view(), &labels)).unwrap();
        }
    });
    weights_sha256(trainer.theta())[..16].to_string()
}

#[test]
#[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
fn steps_of_every_kind_have_the_weights_of_the_table() {
    if !Isa::active().is_fused() {
        eprintln!("skipped: without fused multiply-add the bits are others");
        return;
    }
    let mut found = String::new();
    for (name, network, crop) in networks() {
        for batch in BATCHES.into_iter().filter(|&batch| network.flops() * batch as u64 <= LONGEST) {
            for (optimizer, rate) in OPTIMIZERS {
                let hash = digest(&network, crop, batch, optimizer, rate);
                writeln!(found, "{name} {batch} {optimizer} {hash}").unwrap();
            }
        }
    }
    let table = include_str!("../golden/steps.txt");
    let differ = found.lines().filter(|line| !table.lines().any(|known| known == *line));
    let differ: Vec<&str> = differ.collect();
    if !differ.is_empty() || found.lines().count() != table.lines().count() {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("steps.txt");
        fs::write(&path, &found).unwrap();
        panic!(
            "{} of {} lines are not those of tests/golden/steps.txt; the new table is {}:\n{}",
            differ.len(),
            found.lines().count(),
            path.display(),
            differ.join("\n")
        );
    }
}
