//! `parity export`: initial weights, minibatches and the PyTorch script.

use std::{collections::HashMap, fs, io::ErrorKind, num::NonZeroUsize, path::PathBuf};

use anyhow::{Context, Result};
use byhand_datasets::{
    Crop, Dataset, Normalize,
    batches::{LastBatch, batches, epoch_order},
    unpack::unpack_sample,
};
use byhand_files::{OS, replace};
use byhand_layers::init::init_network;
use byhand_models::Spec;
use byhand_trainer::{Objective, Optimizer};
use clap::Args;
use ndarray::Array2;
use serde_json::json;

use super::{
    bundle::{BUNDLE, Bundle, PYTORCH, SCRIPT, Setup},
    script::script,
};
use crate::{
    arguments::{DataArgs, SeedArg},
    exit::usage,
    memory,
    network::network_for,
    output::Output,
    prepared::prepared_data,
    program,
    settings::Settings,
    values::at_least_one,
};

/// Options of `parity export`.
#[derive(Args)]
pub struct Options {
    /// The folder to write into
    dir: PathBuf,
    /// A named model; `byhand summary` lists them
    #[arg(long, value_name = "NAME", conflicts_with = "layers")]
    preset: Option<String>,
    /// A network of your own, e.g. "conv(8,5) relu pool(2) dense(10)"
    #[arg(long, value_name = "SPEC")]
    layers: Option<Spec>,
    /// Training steps
    #[arg(long, value_name = "N", default_value = "100", value_parser = steps)]
    steps: NonZeroUsize,
    /// Images in a step
    #[arg(long, value_name = "N", default_value = "32", value_parser = at_least_one)]
    batch_size: NonZeroUsize,
    /// sgd, sgd(momentum=0.9,nesterov,weight_decay=1e-4), adam, adam(beta1=0.9,beta2=0.99), adamw(weight_decay=0.01)
    #[arg(long, default_value = "sgd")]
    optimizer: Optimizer,
    /// Learning rate, the same in all steps
    #[arg(long, default_value_t = 0.05)]
    lr: f64,
    /// softmax-cross-entropy, softmax-cross-entropy(label_smoothing=0.1), negative-log-likelihood (behind log_softmax), squared-error
    #[arg(long, default_value_t)]
    loss: Objective,
    #[command(flatten)]
    seed: SeedArg,
    #[command(flatten)]
    data: DataArgs,
    /// Train on N images only; each class keeps its share
    #[arg(long, value_name = "N", value_parser = at_least_one, help_heading = "Data")]
    train_limit: Option<NonZeroUsize>,
}

/// Every step's weights are stored by PyTorch: a bound keeps a slip of the finger from filling the disk.
fn steps(text: &str) -> Result<NonZeroUsize, String> {
    match text.parse() {
        Ok(steps) if (1..=10_000).contains(&steps) => Ok(NonZeroUsize::new(steps).expect("at least 1")),
        _ => Err("expected a whole number from 1 to 10000".to_string()),
    }
}

/// Writes the bundle and the script.
pub fn run(options: &Options, output: &Output) -> Result<()> {
    let lenet = (options.preset.is_none() && options.layers.is_none()).then(|| "lenet".to_string());
    let settings = Settings {
        preset: options.preset.clone().or(lenet),
        layers: options.layers.clone(),
        train_limit: options.train_limit,
        test_limit: NonZeroUsize::new(1),
        batch_size: Some(options.batch_size),
        optimizer: Some(options.optimizer),
        lr: Some(options.lr),
        loss: Some(options.loss),
        seed: Some(options.seed.seed),
        ..options.data.settings()
    };
    let mut recipe = settings.settle("parity")?;
    let data = prepared_data(&mut recipe, output)?;
    let (spec, network) = network_for(&recipe, data.input, data.train.classes())?;
    let text = script(&network, options.loss, options.optimizer, options.lr)?;

    let (steps, batch) = (options.steps.get(), options.batch_size.get());
    let samples = samples(&data.train, options.seed.seed, steps, batch)?;
    let (x, labels, order) = used(&data.train, &samples, data.preprocessing.normalize);
    let bundle = Bundle {
        setup: Setup {
            model: recipe.name().to_string(),
            layers: spec.to_string(),
            input: data.input.to_string(),
            loss: options.loss.to_string(),
            optimizer: options.optimizer.to_string(),
            lr: options.lr,
            data: data.name,
            seed: options.seed.seed,
        },
        theta: init_network::<f32>(&network, recipe.init, recipe.seed),
        network,
        loss: options.loss,
        optimizer: options.optimizer,
        x,
        labels,
        order: Array2::from_shape_vec((steps, batch), order)?,
    };

    let dir = options.dir.display();
    fs::create_dir_all(&options.dir).with_context(|| format!("cannot create {dir}"))?;
    // What PyTorch made of an earlier bundle must not be taken for what it makes of this one.
    let old = options.dir.join(PYTORCH);
    match fs::remove_file(&old) {
        Ok(()) => output.warn(format!("removed {}, which belonged to an earlier bundle", old.display())),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("cannot remove {}", old.display())),
    }
    bundle.save(&options.dir.join(BUNDLE))?;
    let file = options.dir.join(SCRIPT);
    replace(&OS, &file, text.as_bytes()).with_context(|| format!("cannot write {}", file.display()))?;

    let Setup { model, layers, data, optimizer, .. } = &bundle.setup;
    output.print(format!(
        "{model} ({} parameters), {steps} steps of {optimizer} at {} on minibatches of {batch} of {data}",
        bundle.network.parameters(),
        options.lr
    ));
    output.print(format!("wrote {dir}/{BUNDLE} and {dir}/{SCRIPT}; now run"));
    output.print(format!("  python3 {dir}/{SCRIPT}"));
    output.print(format!("  {} parity compare {dir}", program::name()));
    output.result(json!({
        "out": options.dir,
        "model": model,
        "layers": layers,
        "data": data,
        "optimizer": optimizer,
        "lr": options.lr,
        "steps": steps,
        "batch_size": batch,
        "seed": options.seed.seed,
        "images": bundle.labels.len(),
        "parameters": bundle.network.parameters(),
    }));
    Ok(())
}

/// The images of all steps, minibatch after minibatch: the order of `train`, epoch after epoch, without the smaller
/// minibatch at an epoch's end.
fn samples(dataset: &Dataset, seed: u64, steps: usize, batch: usize) -> Result<Vec<u32>> {
    if batch > dataset.len() {
        return Err(usage(format!(
            "--batch-size {batch}: expected at most the {} training images",
            dataset.len()
        )));
    }
    // The order is kept, as numbers of eight and four bytes.
    memory::check(12 * steps as u64 * batch as u64, &format!("--steps {steps} --batch-size {batch}"))?;
    let mut samples = Vec::with_capacity(steps * batch);
    for epoch in 0.. {
        let order = epoch_order(seed, epoch, dataset.len());
        let missing = steps - samples.len() / batch;
        samples.extend(batches(&order, batch, LastBatch::Drop).take(missing).flatten());
        if samples.len() == steps * batch {
            break;
        }
    }
    Ok(samples)
}

/// Each image that is used once, with its label, and for every sample its number among them.
fn used(dataset: &Dataset, samples: &[u32], normalize: Normalize) -> (Array2<f32>, Vec<u16>, Vec<usize>) {
    let mut rows = HashMap::new();
    let (mut x, mut labels) = (Vec::new(), Vec::new());
    let crop = Crop::full(dataset.image_size());
    let features = dataset.channels() * crop.features();
    let mut order = Vec::with_capacity(samples.len());
    for &sample in samples {
        let next = rows.len();
        let row = *rows.entry(sample).or_insert(next);
        if row == next {
            let start = x.len();
            x.resize(start + features, 0.0);
            unpack_sample(dataset.images(), sample, normalize, crop, &mut x[start..]);
            labels.push(dataset.labels()[sample as usize]);
        }
        order.push(row);
    }
    let x = Array2::from_shape_vec((labels.len(), features), x).expect("a row an image");
    (x, labels, order)
}
