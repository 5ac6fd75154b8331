//! A training loop of one's own: forward, loss, backward and an optimiser, with a smaller minibatch at the end of each epoch.
//!
//! `cargo run --release -p byhand --example training_loop`
#![allow(clippy::print_stdout, reason = "an example may print")]

use byhand::datasets::batches::epoch_order;
use byhand::layers::loss::{Labels, LossStats};
use byhand::layers::{Dense, Pass, Relu, pack};
use byhand::prelude::*;
use byhand::trainer::OptimizerState;
use ndarray::{Array2, Axis};

const BATCH: usize = 64;

pub(crate) fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Points in the plane, and whether each lies in the circle.
    let x = Array2::from_shape_fn((1000, 2), |(i, k)| ((i * [7, 31][k]) % 101) as f32 / 50.0 - 1.0);
    let labels: Vec<u16> = x.rows().into_iter().map(|p| u16::from(p.dot(&p) < 0.5)).collect();

    let network: Network = Network::new(vec![
        Box::new(Dense::new(2, 16, true)?),
        Box::new(Relu::new(Shape::flat(16))),
        Box::new(Dense::new(16, 2, true)?),
    ])?;
    let mut theta = init_network(&network, Init::HeNormal, 0);
    let mut dtheta = vec![0.0; theta.len()];
    let (loss, optimizer): (_, Optimizer) = (SoftmaxCrossEntropy::default(), "adam".parse()?);
    let mut state = OptimizerState::new(&optimizer, theta.len());
    let mut workspace = Workspace::new(&network, Block::tiled(BATCH));
    let (mut step, mut stats) = (0, LossStats::default());
    for epoch in 0..40 {
        stats = LossStats::default();
        for indices in epoch_order(0, epoch, x.nrows()).chunks(BATCH) {
            let rows: Vec<usize> = indices.iter().map(|&i| i as usize).collect();
            let targets: Vec<u16> = rows.iter().map(|&i| labels[i]).collect();
            // The last minibatch has 40 samples: the layout stays.
            let block = workspace.set_samples(rows.len());
            let pass = Pass::train(block, 0, step, 0);
            pack(x.select(Axis(0), &rows).view(), block, workspace.input_mut());
            network.forward(&pass, &theta, &mut workspace);
            let (logits, dlogits) = workspace.output_and_grad_mut();
            let scale = 1.0 / rows.len() as f32;
            stats += loss.value_and_gradient(block, logits, Labels(&targets).into(), scale, dlogits);
            dtheta.fill(0.0);
            network.backward(&pass, &theta, &mut dtheta, &mut workspace);
            optimizer.update(step, 0.01, &mut theta, &dtheta, state.as_mut());
            step += 1;
        }
    }
    let accuracy = stats.correct as f64 / x.nrows() as f64;
    println!("in the circle or not: {:.1} % right after 40 epochs", 100.0 * accuracy);
    assert!(accuracy > 0.95, "{accuracy}");
    Ok(())
}
