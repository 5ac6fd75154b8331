//! `parity compare`: trains on the bundle and holds loss and weights against PyTorch's, step by step.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use byhand_files::{Disk, OS};
use byhand_layers::{NamedParam, Network};
use byhand_models::weights_sha256;
use byhand_trainer::{Rows, StepConfig, Trainer};
use clap::Args;
use comfy_table::CellAlignment::{Left, Right};
use ndarray::Axis;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::json;

use super::bundle::{BUNDLE, Bundle, LARGEST, PYTORCH, SCRIPT};
use super::rounding::Allowance;
use crate::{
    arguments::ThreadsArg,
    exit::{DIVERGED, coded, must_exist},
    output::Output,
};

/// Options of `parity compare`.
#[derive(Args)]
pub struct Options {
    /// The folder of the bundle
    dir: PathBuf,
    /// The largest relative difference of a weight, beyond what rounding explains, or of a loss that counts as agreement
    #[arg(long, value_name = "NUMBER", default_value_t = 1e-3, value_parser = tolerance)]
    tolerance: f64,
    #[command(flatten)]
    threads: ThreadsArg,
}

fn tolerance(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(tolerance) if (0.0..f64::INFINITY).contains(&tolerance) => Ok(tolerance),
        _ => Err("expected a number of at least 0".to_string()),
    }
}

/// Rows of the printed table; `--json` tells every step.
const TABLE_ROWS: usize = 20;

/// Trains, compares, and fails when a difference is beyond the tolerance.
pub fn run(options: &Options, output: &Output) -> Result<()> {
    must_exist(&options.dir, "the folder that `byhand parity export` wrote")?;
    let bundle = Bundle::load(&options.dir.join(BUNDLE))?;
    let file = options.dir.join(PYTORCH);
    let bytes = read(&file, &options.dir)?;
    let (steps, batch) = bundle.order.dim();
    let theirs = Theirs::parse(&bytes, &bundle.network, steps).with_context(|| {
        let script = options.dir.join(SCRIPT);
        format!("{} does not fit the bundle; run `python3 {}` again", file.display(), script.display())
    })?;

    let config = StepConfig {
        optimizer: bundle.optimizer,
        objective: bundle.loss,
        batch_size: batch,
        threads: options.threads.asked(),
        seed: bundle.setup.seed,
        ..StepConfig::default()
    };
    let mut trainer = Trainer::new(&bundle.network, bundle.theta.clone(), config)?;
    let every = steps.div_ceil(TABLE_ROWS);
    let mut shown = Vec::new();
    let mut allowance = Allowance::new(&bundle.network, bundle.optimizer, batch, &bundle.theta);
    let (mut raw, mut beyond, mut loss) = (Largest::default(), Largest::default(), Largest::default());
    let mut first_beyond = None;
    for (step, rows) in bundle.order.rows().into_iter().enumerate() {
        let rows = rows.to_vec();
        let labels: Vec<u16> = rows.iter().map(|&row| bundle.labels[row]).collect();
        let x = bundle.x.select(Axis(0), &rows);
        let stats = trainer
            .step(bundle.setup.lr, &Rows::new(x.view(), &labels))
            .map_err(|diverged| coded(DIVERGED, diverged))?;
        allowance.step(bundle.setup.lr, trainer.theta(), trainer.optimizer_state().values());
        let difference = |allowed| theirs.difference(&bundle.network, trainer.theta(), step, allowed);
        let (weights, tensor) = difference(None);
        let (unexplained, its_tensor) = difference(Some(allowance.limits()));
        let (ours, pytorch) = (stats.loss, theirs.losses[step]);
        let losses = relative((ours - pytorch).abs(), pytorch, 0.0);
        raw.add(step + 1, weights, tensor);
        beyond.add(step + 1, unexplained, its_tensor);
        loss.add(step + 1, losses, "");
        if !(unexplained <= options.tolerance && losses <= options.tolerance) {
            first_beyond.get_or_insert(step + 1);
        }
        if (step + 1) % every == 0 || step == 0 || step + 1 == steps {
            shown.push([
                (step + 1).to_string(),
                format!("{ours:.6}"),
                format!("{pytorch:.6}"),
                format!("{weights:.1e}"),
                tensor.to_string(),
            ]);
        }
        output.event(
            "step",
            json!({"step": step + 1, "loss": ours, "pytorch_loss": pytorch, "weight_difference": weights,
                "weight_difference_beyond_rounding": unexplained, "tensor": tensor}),
        );
    }

    let columns = [
        ("step", Right),
        ("loss, byhand", Right),
        ("PyTorch", Right),
        ("weight difference", Right),
        ("in", Left),
    ];
    output.table(columns, shown);
    output.print(format!(
        "largest relative difference in {steps} steps: of a weight {:.1e} ({}, after step {}), {:.1e} beyond what rounding explains, \
         of a loss {:.1e} (step {}); PyTorch {}, {}",
        raw.value, raw.tensor, raw.step, beyond.value, loss.value, loss.step, theirs.version, theirs.dtype
    ));
    output.result(json!({
        "model": bundle.setup.model,
        "layers": bundle.setup.layers,
        "data": bundle.setup.data,
        "optimizer": bundle.setup.optimizer,
        "lr": bundle.setup.lr,
        "seed": bundle.setup.seed,
        "steps": steps,
        "batch_size": batch,
        "largest_weight_difference": raw.value,
        "largest_weight_difference_step": raw.step,
        "largest_weight_difference_tensor": raw.tensor,
        "largest_weight_difference_beyond_rounding": beyond.value,
        "largest_loss_difference": loss.value,
        "largest_loss_difference_step": loss.step,
        "tolerance": options.tolerance,
        "first_step_beyond_tolerance": first_beyond,
        "agrees": first_beyond.is_none(),
        "pytorch": theirs.version,
        "pytorch_dtype": theirs.dtype,
        "weights_sha256": weights_sha256(trainer.theta()),
    }));
    if let Some(step) = first_beyond {
        bail!(
            "byhand and PyTorch differ: expected at most {:e}, found more from step {step} on, up to {:.1e} of a weight beyond what \
             rounding explains ({}, after step {}) and {:.1e} of a loss (step {})",
            options.tolerance,
            beyond.value,
            beyond.tensor,
            beyond.step,
            loss.value,
            loss.step
        );
    }
    Ok(())
}

fn read(file: &Path, dir: &Path) -> Result<Vec<u8>> {
    OS.read(file, LARGEST).map_err(|error| {
        let script = dir.join(SCRIPT);
        anyhow!(
            "cannot read {}: {error}; `python3 {}` makes it (with pip install torch safetensors)",
            file.display(),
            script.display()
        )
    })
}

/// The largest difference of all steps.
#[derive(Default)]
struct Largest {
    value: f64,
    step: usize,
    tensor: String,
}

impl Largest {
    /// Adds a step. NaN is the largest of all.
    fn add(&mut self, step: usize, value: f64, tensor: &str) {
        if step == 1 || larger(value, self.value) {
            *self = Self { value, step, tensor: tensor.to_string() };
        }
    }
}

fn larger(a: f64, b: f64) -> bool {
    a > b || (a.is_nan() && !b.is_nan())
}

/// difference / max(|b|, typical); 0 for none, whatever `b` is.
fn relative(difference: f64, b: f64, typical: f64) -> f64 {
    if difference == 0.0 { 0.0 } else { difference / b.abs().max(typical) }
}

/// What PyTorch wrote.
struct Theirs<'a> {
    losses: Vec<f64>,
    /// `[steps, ...]`, in the order of the network's parameters.
    tensors: Vec<TensorView<'a>>,
    dtype: &'static str,
    version: String,
}

impl<'a> Theirs<'a> {
    fn parse(bytes: &'a [u8], network: &Network<f32>, steps: usize) -> Result<Self> {
        let (_, metadata) = SafeTensors::read_metadata(bytes)?;
        let version = metadata.metadata().as_ref().and_then(|map| map.get("torch")).cloned();
        let all = SafeTensors::deserialize(bytes)?;
        let find = |name: &str, shape: &[usize]| {
            let tensor = all.tensor(name).with_context(|| format!("no tensor {name}"))?;
            ensure!(
                matches!(tensor.dtype(), Dtype::F32 | Dtype::F64) && tensor.shape() == shape,
                "{name}: expected F32 or F64 of {shape:?}, found {} of {:?}",
                tensor.dtype(),
                tensor.shape()
            );
            Ok(tensor)
        };
        let losses = numbers(&find("loss", &[steps])?, 0..steps);
        let with_steps = |param: &NamedParam| {
            let shape: Vec<usize> = [steps].into_iter().chain(param.shape.iter().copied()).collect();
            find(&param.name, &shape)
        };
        let tensors: Vec<_> = network.params().iter().map(with_steps).collect::<Result<_>>()?;
        let double = tensors.iter().any(|tensor| tensor.dtype() == Dtype::F64);
        Ok(Self {
            losses,
            tensors,
            dtype: if double { "float64" } else { "float32" },
            version: version.unwrap_or_else(|| "of unknown version".to_string()),
        })
    }

    /// The largest relative difference of `theta` from their weights after a step, beyond what is `allowed` each, and in which tensor.
    fn difference<'n>(
        &self,
        network: &'n Network<f32>,
        theta: &[f32],
        step: usize,
        allowed: Option<&[f64]>,
    ) -> (f64, &'n str) {
        let mut largest = (0.0, "");
        for (param, tensor) in network.params().iter().zip(&self.tensors) {
            let n = param.range.len();
            let theirs = numbers(tensor, step * n..(step + 1) * n);
            let typical = (theirs.iter().map(|value| value * value).sum::<f64>() / n as f64).sqrt();
            for (i, &theirs) in param.range.clone().zip(&theirs) {
                let apart = (f64::from(theta[i]) - theirs).abs();
                let beyond = apart - allowed.map_or(0.0, |allowed| allowed[i]);
                let difference = relative(if beyond < 0.0 { 0.0 } else { beyond }, theirs, typical);
                if largest.1.is_empty() || larger(difference, largest.0) {
                    largest = (difference, param.name.as_str());
                }
            }
        }
        largest
    }
}

/// Some numbers of a tensor of F32 or F64.
fn numbers(tensor: &TensorView<'_>, range: std::ops::Range<usize>) -> Vec<f64> {
    if tensor.dtype() == Dtype::F64 {
        let words = tensor.data()[8 * range.start..8 * range.end].chunks_exact(8);
        words.map(|word| f64::from_le_bytes(word.try_into().expect("8 bytes"))).collect()
    } else {
        let words = tensor.data()[4 * range.start..4 * range.end].chunks_exact(4);
        words.map(|word| f64::from(f32::from_le_bytes(word.try_into().expect("4 bytes")))).collect()
    }
}
