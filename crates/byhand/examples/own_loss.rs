//! A loss of one's own, in the parallel training step: the distance to the target, squared where it is small (Huber's loss).
//!
//! `cargo run --release -p byhand --example own_loss`
#![allow(clippy::print_stdout, reason = "an example may print")]

use byhand::layers::Dense;
use byhand::layers::loss::{LossStats, Target, TargetRows};
use byhand::prelude::*;
use byhand::trainer::{Rows, StepConfig, Trainer};
use ndarray::Array2;

/// `sum over j of h(y_j - t_j)`, `h(d) = d^2 / 2` where `|d| < 1`, else `|d| - 1/2`; so `dy_j = d` cut to -1..1.
#[derive(Debug)]
struct Huber;

impl Loss<f32> for Huber {
    fn value_and_gradient(
        &self,
        block: Block,
        y: &[f32],
        target: Target<'_, f32>,
        scale: f32,
        dy: &mut [f32],
    ) -> LossStats {
        let Target::Rows(TargetRows(rows)) = target else { panic!("rows of numbers, not labels") };
        let outputs = rows.len() / block.samples();
        let mut stats = LossStats::default();
        dy.fill(0.0); // lanes without a sample too
        for (i, t) in rows.iter().enumerate() {
            let at = block.index(outputs, i / outputs, i % outputs);
            let d = y[at] - t;
            stats.loss += f64::from(if d.abs() < 1.0 { d * d / 2.0 } else { d.abs() - 0.5 });
            dy[at] = scale * d.clamp(-1.0, 1.0);
        }
        stats
    }
}

pub(crate) fn main() -> Result<(), Box<dyn std::error::Error>> {
    // y = 2 a - b + 1, but every 25th measurement is far off: the squared error would follow it.
    let x = Array2::from_shape_fn((500, 2), |(i, k)| ((i * [13, 29][k]) % 97) as f32 / 48.0 - 1.0);
    let y = Array2::from_shape_fn((500, 1), |(i, _)| {
        2.0 * x[[i, 0]] - x[[i, 1]] + 1.0 + if i % 25 == 0 { 50.0 } else { 0.0 }
    });
    let network: Network = Network::new(vec![Box::new(Dense::new(2, 1, true)?)])?;
    let config = StepConfig { batch_size: 500, ..StepConfig::default() };
    let mut trainer = Trainer::new(&network, vec![0.0; 3], config)?.with_loss(Box::new(Huber));
    let batch = Rows::regression(x.view(), y.view());
    trainer.session(|trainer| (0..500).try_for_each(|_| trainer.step(0.3, &batch).map(|_| ())))?;

    let found = trainer.theta();
    println!("y = {:.3} a + {:.3} b + {:.3}", found[0], found[1], found[2]);
    assert!((found[0] - 2.0).abs() < 0.1 && (found[1] + 1.0).abs() < 0.1 && (found[2] - 1.0).abs() < 0.1);
    Ok(())
}
