//! The clause of the contract that is about state.

use super::compare::show;
use super::report::{Clause, Report};
use super::run::{forward, lay, numbers, param_len, reals, rng, train};
use super::{Checked, Options};
use crate::contract::{Kind, Layer};

/// `remember` moves state alone; what it moves a running mean and variance towards are the mean of a channel and the sum of squared
/// distances from it divided by `n - 1`, in f64. Where it has moved from 0 and from 1 tells what it moves towards, and by how much.
pub(super) fn state(layer: &dyn Checked, options: &Options, report: &mut Report) {
    let layer: &dyn Layer<f64> = layer;
    let is_state: Vec<bool> =
        layer.params().iter().flat_map(|param| vec![param.is_state; param.len()]).collect();
    for block in options.blocks().filter(|block| !block.is_empty()) {
        let data = reals(layer, block.samples(), &mut rng(options.seed + 7));
        let theta: Vec<f64> = numbers(&data.theta);
        let x = lay(block, layer.input().features(), &data.x);
        let (_, tape) = forward(layer, train(block), &theta, &x, f64::NAN);
        let moved_from = |start: f64| {
            let from = |(&number, &is_state): (&f64, &bool)| if is_state { start } else { number };
            let mut theta: Vec<f64> = theta.iter().zip(&is_state).map(from).collect();
            layer.remember(block, &tape, &mut theta);
            theta
        };
        let [from_zero, from_one] = [0.0, 1.0].map(moved_from);
        for index in (0..param_len(layer)).filter(|&index| !is_state[index]) {
            let (expected, found) = (theta[index], from_zero[index]);
            report.record(Clause::State, None, (found - expected).abs(), 0.0, || {
                format!("{}: remember made parameter {index} {found}, expected {expected}", show(block))
            });
        }
        let mut start = 0;
        for param in layer.params() {
            for (channel, index) in (start..start + param.len()).enumerate() {
                let kept = from_one[index] - from_zero[index];
                let Some(expected) = estimate(layer, &data.x, &param.name, channel).filter(|_| kept < 1.0)
                else {
                    continue;
                };
                let found = from_zero[index] / (1.0 - kept);
                let error = (found - expected).abs() / (1.0 + expected.abs());
                report.record(Clause::State, None, error, 1e-12, || {
                    format!(
                        "{}: {}[{channel}] moves towards {found}, expected {expected}",
                        show(block),
                        param.name
                    )
                });
            }
            start += param.len();
        }
    }
}

/// What a running mean or variance is an estimate of, by a minibatch of these rows; none of other tensors, and of a variance by one number.
fn estimate(layer: &dyn Layer<f64>, rows: &[f64], name: &str, channel: usize) -> Option<f64> {
    if layer.kind() != Kind::Batch {
        return None;
    }
    let shape = layer.input();
    let pixels = shape.h * shape.w;
    let of_channel: Vec<f64> = rows
        .chunks_exact(shape.features())
        .flat_map(|row| &row[channel * pixels..(channel + 1) * pixels])
        .copied()
        .collect();
    let n = of_channel.len() as f64;
    let mean = of_channel.iter().sum::<f64>() / n;
    match name {
        "running_mean" => Some(mean),
        "running_var" if n > 1.0 => {
            Some(of_channel.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0))
        }
        _ => None,
    }
}
