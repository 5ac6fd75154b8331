//! `byhand replay`: the step at which a run diverged, once more, with what every layer made of it.

use std::path::PathBuf;

use anyhow::{Result, bail};
use byhand_layers::{Block, Network, Pass, Workspace};
use byhand_trainer::{BatchSource, Fit, FitError, ImageBatch, Silent};
use clap::Args;
use comfy_table::CellAlignment::{Left, Right};
use serde_json::json;

use crate::{
    exit::usage,
    network::{fit_config, network_for},
    output::Output,
    prepared::prepared_data,
    run_folder::{config_in, failure_in},
    settings::Settings,
    training::told,
};

/// Options of `replay`.
#[derive(Args)]
#[command(after_help = "Examples:
  # a rate that is too high: training ends with exit code 3
  byhand train-mlp --data digits --optimizer sgd --lr 1e30 --out runs/wild
  # the same step again: which layer, which images
  byhand replay runs/wild

A run that diverges leaves failure.json (step, epoch, learning rate, the images of the minibatch, what was not finite, and where first) \
and failure.safetensors, the state before the step.")]
pub struct Options {
    /// The folder of a run that diverged
    #[arg(value_name = "RUN")]
    run: PathBuf,
}

/// Repeats the step; fails when it does not fail as before.
pub fn run(options: &Options, output: &Output) -> Result<()> {
    let (expected, state) = failure_in(&options.run)?;
    let mut recipe = Settings::read(&config_in(&options.run))?.settle("train")?;
    let data = prepared_data(&mut recipe, output)?;
    if let Some(sha256) = recipe.data_sha256.as_ref().filter(|sha256| **sha256 != data.source.sha256) {
        let found = &data.source.sha256;
        return Err(usage(format!(
            "the data are not those of the run: expected SHA-256 {sha256}, found {found}"
        )));
    }
    let (_, network) = network_for(&recipe, data.input, data.train.classes())?;
    let config = fit_config(&recipe, &data.train, data.remaining(), 0);
    let theta = state.theta().to_vec();
    let watched = data.validation.as_ref().unwrap_or(&data.test);
    let mut fit = Fit::resume(&network, state, &data.train, Some(watched), config.clone()).map_err(usage)?;
    let step = fit.step();
    let diverged = match fit.run_until(step + 1, &mut Silent) {
        Err(FitError::Diverged(diverged)) => diverged,
        Ok(_) => bail!("step {step} did not fail this time: expected {}", expected["message"]),
        Err(error) => return Err(error.into()),
    };
    let found = told(&diverged);
    output.print(format!("{diverged}"));
    output.print(format!(
        "the minibatch: {} images of the training set, {:?}",
        diverged.batch.len(),
        diverged.batch
    ));
    let batch = ImageBatch::new(&data.train, &diverged.batch, config.preprocessing);
    let batch = batch.augmented(&config.augment, config.seed, step);
    let rows = rows(&network, &theta, &batch, config.seed, step);
    let columns = [("layer", Left), ("smallest", Right), ("largest", Right), ("not finite", Right)];
    let cells = |Row { name, smallest, largest, bad }: &Row| {
        [name.clone(), format!("{smallest:.4e}"), format!("{largest:.4e}"), bad.to_string()]
    };
    output.table(columns, rows.iter().map(cells));
    for Row { name, smallest, largest, bad } in rows {
        output.event(
            "layer",
            json!({"layer": name, "smallest": smallest, "largest": largest, "not_finite": bad}),
        );
    }
    let reproduced = found == expected;
    output.result(json!({"reproduced": reproduced, "failure": found}));
    if !reproduced {
        bail!("the step failed in another way: expected {expected}, found {found}");
    }
    output.print("the step failed as it did in the run");
    Ok(())
}

/// What a layer made of all samples: the smallest and the largest of its finite outputs, and how many are not.
struct Row {
    name: String,
    smallest: f32,
    largest: f32,
    bad: usize,
}

fn rows(network: &Network<f32>, theta: &[f32], batch: &dyn BatchSource, seed: u64, step: u64) -> Vec<Row> {
    let network = network.unfused();
    // A batch normalisation sees all samples.
    let at_once = if network.lowered().norms() > 0 { batch.len() } else { 1 };
    let block = Block::single(at_once);
    let mut workspace = Workspace::new(&network, block);
    let mut scratch = vec![0; batch.scratch_len()];
    let operations = network.lowered().operations(block);
    let names = operations.map(|operation| format!("{} {}", operation.layer, operation.name));
    let names = ["the input".to_string()].into_iter().chain(names);
    let mut rows: Vec<Row> =
        names.map(|name| Row { name, smallest: f32::INFINITY, largest: f32::NEG_INFINITY, bad: 0 }).collect();
    for sample in (0..batch.len()).step_by(at_once) {
        batch.fill(sample..sample + at_once, block, workspace.input_mut(), &mut scratch);
        network.forward(&Pass::train(block, seed, step, sample as u64), theta, &mut workspace);
        for (index, row) in rows.iter_mut().enumerate() {
            let (finite, bad): (Vec<f32>, Vec<f32>) =
                workspace.activation(index).iter().partition(|v| v.is_finite());
            row.bad += bad.len();
            row.smallest = finite.iter().copied().fold(row.smallest, f32::min);
            row.largest = finite.iter().copied().fold(row.largest, f32::max);
        }
    }
    rows
}
