//! Ten steps of each optimiser in f64 against PyTorch's, stored in `golden/vectors.safetensors` by `golden/make.py`.
//!
//! `make.py` names the versions it ran with. Relative error: the difference over the larger of the expected number and the root
//! mean square of all.

use std::sync::OnceLock;

use byhand_layers::loss::{Labels, Loss, SoftmaxCrossEntropy};
use byhand_layers::{
    Block, Conv2d, ConvOptions, Dense, Flatten, Layer, MaxPool2d, Network, Pass, Relu, Shape, Workspace, pack,
};
use byhand_trainer::{Optimizer, OptimizerState};
use ndarray::Array2;
use safetensors::{Dtype, SafeTensors};

/// The largest relative error of a weight or a loss, after any of the ten steps.
const LIMIT: f64 = 1e-9;

const LEARNING_RATE: f64 = 0.1;

/// The specs of `make.py`.
const OPTIMIZERS: [&str; 8] = [
    "sgd",
    "sgd(weight_decay=0.05)",
    "sgd(momentum=0.9)",
    "sgd(momentum=0.9,nesterov,weight_decay=0.01)",
    "adam",
    "adam(beta1=0.8,beta2=0.95,eps=0.001,weight_decay=0.05)",
    "adamw",
    "adamw(weight_decay=0.3)",
];

#[test]
fn ten_steps_of_every_optimizer_agree_with_pytorch() {
    for spec in OPTIMIZERS {
        let (losses, thetas) = train(&spec.parse().unwrap());
        assert_close(&losses, &format!("{spec}/loss"));
        assert_close(&thetas, &format!("{spec}/theta"));
    }
}

#[test]
fn every_stored_optimizer_is_run() {
    let names = vectors().names();
    let mut stored: Vec<&str> = names.iter().filter_map(|name| name.strip_suffix("/theta")).collect();
    let mut run = OPTIMIZERS.to_vec();
    stored.sort_unstable();
    run.sort_unstable();
    assert_eq!(stored, run);
}

/// The weights did move, and the optimisers do not move them alike: agreement is then no accident.
#[test]
fn the_stored_runs_differ() {
    let ends: Vec<Vec<f64>> = OPTIMIZERS.iter().map(|spec| numbers(&format!("{spec}/theta"))).collect();
    let distance = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    for (i, a) in ends.iter().enumerate() {
        let n = numbers("theta").len();
        assert!(distance(&a[a.len() - n..], &numbers("theta")) > 0.01, "{}", OPTIMIZERS[i]);
        for (j, b) in ends.iter().enumerate().skip(i + 1) {
            assert!(distance(a, b) > 1e-4, "{} and {}", OPTIMIZERS[i], OPTIMIZERS[j]);
        }
    }
}

/// The loss of each step, and all weights after each.
fn train(optimizer: &Optimizer) -> (Vec<f64>, Vec<f64>) {
    let network = network();
    let x = Array2::from_shape_vec((13, 42), numbers("x")).unwrap();
    let (labels, order, mut theta) = (numbers("labels"), numbers("order"), numbers("theta"));
    assert_eq!(theta.len(), network.param_len());
    let (mut losses, mut thetas) = (Vec::new(), Vec::new());
    let mut state = OptimizerState::new(optimizer, theta.len());
    let block = Block::tiled(5);
    let mut ws = Workspace::new(&network, block);
    for (step, batch) in order.chunks_exact(5).enumerate() {
        let samples: Vec<usize> = batch.iter().map(|&i| i as usize).collect();
        let labels: Vec<u16> = samples.iter().map(|&i| labels[i] as u16).collect();
        let pass = Pass::train(block, 0, step as u64, 0);
        pack(x.select(ndarray::Axis(0), &samples).view(), block, ws.input_mut());
        network.forward(&pass, &theta, &mut ws);
        let (y, dy) = ws.output_and_grad_mut();
        let stats = SoftmaxCrossEntropy::default().value_and_gradient(
            block,
            y,
            Labels(&labels).into(),
            1.0 / 5.0,
            dy,
        );
        let mut dtheta = vec![0.0; theta.len()];
        network.backward(&pass, &theta, &mut dtheta, &mut ws);
        optimizer.update(step as u64, LEARNING_RATE, &mut theta, &dtheta, state.as_mut());
        losses.push(stats.loss / 5.0);
        thetas.extend(&theta);
    }
    (losses, thetas)
}

/// conv 2 of 3x3, ReLU, pool 2, dense 4 on images of 7x6.
fn network() -> Network<f64> {
    let conv = Conv2d::new(Shape::new(1, 7, 6), 2, ConvOptions::square(3)).unwrap();
    let image = Shape::new(2, 5, 4);
    let pool = MaxPool2d::new(image, [2, 2], [2, 2]).unwrap();
    let layers: Vec<Box<dyn Layer<f64>>> = vec![
        Box::new(conv),
        Box::new(Relu::new(image)),
        Box::new(pool),
        Box::new(Flatten::new(Shape::new(2, 2, 2))),
        Box::new(Dense::new(8, 4, true).unwrap()),
    ];
    Network::new(layers).unwrap()
}

#[track_caller]
fn assert_close(found: &[f64], name: &str) {
    let expected = numbers(name);
    assert_eq!(found.len(), expected.len(), "{name}: how many numbers");
    let per_step = expected.len() / 10;
    let typical = (expected.iter().map(|e| e * e).sum::<f64>() / expected.len() as f64).sqrt();
    for (i, (&found, &expected)) in found.iter().zip(&expected).enumerate() {
        let error = (found - expected).abs() / expected.abs().max(typical);
        assert!(
            error <= LIMIT,
            "{name}, step {}, number {}: expected {expected:e}, found {found:e}, relative error {error:e}",
            i / per_step,
            i % per_step
        );
    }
}

fn vectors() -> &'static SafeTensors<'static> {
    static VECTORS: OnceLock<SafeTensors<'static>> = OnceLock::new();
    VECTORS.get_or_init(|| SafeTensors::deserialize(include_bytes!("../golden/vectors.safetensors")).unwrap())
}

/// A stored tensor, flat; labels and indices as numbers.
#[track_caller]
fn numbers(name: &str) -> Vec<f64> {
    let tensor = vectors().tensor(name).unwrap_or_else(|error| panic!("{name}: {error}"));
    let words = tensor.data().chunks_exact(8).map(|word| word.try_into().unwrap());
    match tensor.dtype() {
        Dtype::F64 => words.map(f64::from_le_bytes).collect(),
        Dtype::I64 => words.map(|word| i64::from_le_bytes(word) as f64).collect(),
        other => panic!("{name}: {other:?}, expected F64 or I64"),
    }
}
