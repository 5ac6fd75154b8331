//! `byhand train`, `train-cnn`, `train-dnn`, `train-mlp`: train, evaluate, write a run folder.

use std::{
    fs,
    num::NonZeroUsize,
    ops::ControlFlow,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use byhand_datasets::{
    Augment, Data, Dataset, Normalize, Reading, Source, batches::LastBatch, source::path_text,
};
use byhand_layers::{Network, Shape, init::init_network};
use byhand_models::{Model, Preprocessing, Spec, registry::default_of, weights_sha256};
use byhand_trainer::{Checkpoint, Event, Fit, FitConfig, FitError, Observer, Progress, Sampling};
use clap::Args;
use indicatif::ProgressBar;
use serde_json::{Value, json};

use crate::{
    exit::{self, DIVERGED, INTERRUPTED, coded, usage},
    interrupt::Interrupt,
    loading::{load_data, numbers, prepare, warn_of_missing_classes},
    output::Output,
    pictures::Manner,
    run_folder::{History, RunFolder},
    settings::{Normalization, Recipe, Settings},
};

/// Options of the training commands.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    settings: Settings,
    /// Take the settings of a run's config.toml; other options override them
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The run folder; the files of an earlier run in it are replaced
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Go on with the run in DIR (or in --out) from its checkpoint
    #[arg(long, value_name = "DIR", num_args = 0..=1, conflicts_with = "config")]
    resume: Option<Option<PathBuf>>,
    /// Threads, 0 for all cores; the result has the same bits for any number
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(..=1024))]
    threads: u16,
}

/// Trains. `command` names the default model.
pub fn run(command: &str, options: &Options, output: &Output) -> Result<()> {
    let resumed = resumed_folder(options)?;
    let base = match (&resumed, &options.config) {
        (Some(folder), _) => Settings::read(&folder.join("config.toml"))?,
        (None, Some(file)) => Settings::read(file)?,
        (None, None) => Settings::default(),
    };
    let mut recipe = options.settings.clone().over(base)?.settle(command)?;
    if let Some((input, classes)) = promised(&recipe) {
        network_for(&recipe, input, classes)?;
    }
    let named = resumed.as_ref().or(options.out.as_ref()).map(|path| RunFolder::named(path)).transpose()?;

    let data = prepared_data(&mut recipe, output)?;
    let (spec, network) = network_for(&recipe, data.input, data.train.classes())?;
    recipe.layers = spec;
    let folder = match named {
        Some(folder) => folder,
        None => RunFolder::fresh(&format!("{}-{}-seed{}", recipe.name(), short(&recipe.data), recipe.seed))?,
    };
    if resumed.is_none() && folder.is_used() {
        output.warn(format!("{} holds an earlier run: its files are replaced", folder.path().display()));
    }

    let config = fit_config(&recipe, &data, options.threads);
    let watched = data.validation.as_ref().unwrap_or(&data.test);
    let mut fit = if resumed.is_some() {
        let checkpoint = Checkpoint::load(&folder.checkpoint())?;
        Fit::resume(&network, checkpoint, &data.train, Some(watched), config).map_err(usage)?
    } else {
        let theta = init_network::<f32>(&network, recipe.init, recipe.seed);
        Fit::new(&network, theta, &data.train, Some(watched), config).map_err(usage)?
    };
    // Not before the checkpoint took these settings: a refused change must not stay in the folder.
    write_config(&recipe, &folder)?;
    let mut watcher = Watcher {
        output: *output,
        validation: data.validation.is_some(),
        interrupt: Interrupt::listen()?,
        history: folder.history(resumed.is_some())?,
        epochs: recipe.epochs.get() as u64,
        bar: output.bar(0, "epoch {prefix} {bar:30} {pos}/{len} images, {per_sec}, {eta} left  {msg}"),
        redrawn: None,
        threads: None,
        train_loss: None,
        trouble: None,
    };
    output.note(format!(
        "training {} ({} parameters) on {}: {} images, {} epochs, into {}",
        recipe.name(),
        network.param_len(),
        data.name,
        data.train.len(),
        recipe.epochs,
        folder.path().display()
    ));
    let interrupted = train(&mut fit, &mut watcher, &folder)?;

    let evaluation = fit.evaluate(&data.test)?;
    let model = Model {
        spec: recipe.layers.clone(),
        input: data.input,
        class_names: data.test.class_names().to_vec(),
        preprocessing: data.preprocessing,
        notes: [
            ("model", recipe.name().to_string()),
            ("data", recipe.data.to_string()),
            ("seed", recipe.seed.to_string()),
            ("loss", recipe.loss.to_string()),
            data.manner.note(),
        ]
        .into_iter()
        .chain([("data_sha256", data.source.sha256.clone())])
        .chain(data.source.folder.as_deref().map(|folder| ("data_folder", path_text(folder))))
        .chain(recipe.first_label.map(|label| ("first_label", label.to_string())))
        .chain(recipe.transpose.then(|| ("transpose", "true".to_string())))
        .map(|(key, value)| (key.to_string(), value))
        .collect(),
        theta: fit.theta().to_vec(),
    };
    model.save(&folder.model())?;
    let sha256 = weights_sha256(&model.theta);
    output.print(format!(
        "test accuracy {:.2} %, test loss {:.4} on {} images after {:.2} s of training",
        100.0 * evaluation.accuracy(),
        evaluation.loss,
        evaluation.samples,
        fit.train_seconds()
    ));
    output.print(format!("weights {sha256}"));
    output.print(format!("run {}", folder.path().display()));
    output.result(json!({
        "model": recipe.name(),
        "layers": recipe.layers.to_string(),
        "data": data.name,
        "data_sha256": data.source.sha256,
        "seed": recipe.seed,
        "threads": watcher.threads,
        "epochs": fit.epoch(),
        "steps": fit.step(),
        "train_seconds": fit.train_seconds(),
        "train_images": data.train.len(),
        "train_loss": watcher.train_loss,
        "test_loss": evaluation.loss,
        "test_accuracy": evaluation.accuracy(),
        "parameters": network.param_len(),
        "weights_sha256": sha256,
        "interrupted": interrupted,
        "out": folder.path(),
    }));
    if interrupted {
        let path = folder.path().display();
        return Err(coded(
            INTERRUPTED,
            format!(
                "interrupted at step {}; the model so far is in {path}, go on with --resume {path}",
                fit.step()
            ),
        ));
    }
    Ok(())
}

/// Runs to the end, or to Ctrl-C: then the answer is true. A checkpoint follows every epoch.
fn train(fit: &mut Fit<'_>, watcher: &mut Watcher, folder: &RunFolder) -> Result<bool> {
    let ended = loop {
        let progress = fit.run_epoch(watcher);
        if let Some(trouble) = watcher.trouble.take() {
            return Err(trouble);
        }
        match progress {
            Ok(progress) => {
                fit.checkpoint().save(&folder.checkpoint())?;
                match progress {
                    Progress::More => {}
                    Progress::Done => break Ok(false),
                    Progress::Stopped => break Ok(true),
                }
            }
            Err(FitError::Diverged(diverged)) => break Err(coded(DIVERGED, diverged)),
            Err(error) => break Err(error.into()),
        }
    };
    watcher.bar.finish_and_clear();
    ended
}

/// Shows and records what happens; stops the training on Ctrl-C.
struct Watcher {
    output: Output,
    /// The set evaluated after each epoch is the validation set, not the test set.
    validation: bool,
    interrupt: Interrupt,
    history: History,
    epochs: u64,
    bar: ProgressBar,
    redrawn: Option<Instant>,
    threads: Option<usize>,
    train_loss: Option<f64>,
    /// Why the history could not be written.
    trouble: Option<anyhow::Error>,
}

/// How often the bar is redrawn.
const REDRAW: Duration = Duration::from_millis(100);

impl Observer for Watcher {
    fn on(&mut self, event: &Event) -> ControlFlow<()> {
        match event {
            Event::Started { threads, train_samples, total_steps, steps_done, .. } => {
                self.threads = Some(*threads);
                let images = self.epochs * *train_samples as u64;
                self.bar.set_length(images);
                self.bar.set_position((images as f64 * *steps_done as f64 / *total_steps as f64) as u64);
                self.bar.reset_eta();
                self.tell(event);
            }
            Event::Step { epoch, samples, loss, .. } => {
                self.bar.inc(*samples as u64);
                if self.redrawn.is_none_or(|last| last.elapsed() >= REDRAW) {
                    self.redrawn = Some(Instant::now());
                    self.bar.set_prefix(format!("{epoch}/{}", self.epochs));
                    self.bar.set_message(format!("loss {loss:.4}"));
                }
            }
            Event::EpochFinished {
                epoch,
                train_loss,
                train_accuracy,
                test_accuracy,
                seconds,
                images_per_second,
                ..
            } => {
                self.train_loss = Some(*train_loss);
                let evaluated = test_accuracy.map_or(String::new(), |accuracy| {
                    format!(
                        "  {} {:.2} %",
                        if self.validation { "validation" } else { "test" },
                        100.0 * accuracy
                    )
                });
                let line = format!(
                    "epoch {epoch}/{}  loss {train_loss:.4}  train {:.2} %{evaluated}  {seconds:.2} s  {images_per_second:.0} images/s",
                    self.epochs,
                    100.0 * train_accuracy
                );
                let output = self.output;
                self.bar.suspend(|| output.note(line));
                let entry = self.tell(event);
                if let Err(error) = self.history.add(&entry) {
                    self.trouble = Some(error);
                    return ControlFlow::Break(());
                }
            }
            Event::Finished { .. } => {}
            _ => {
                self.tell(event);
            }
        }
        if self.interrupt.asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

impl Watcher {
    /// The event as a JSON object, which is also printed under `--json`. What was evaluated on the validation set is
    /// called so.
    fn tell(&self, event: &Event) -> Value {
        let Ok(Value::Object(mut fields)) = serde_json::to_value(event) else {
            unreachable!("an event is an object of numbers and texts")
        };
        if self.validation {
            for (from, to) in [
                ("test_loss", "validation_loss"),
                ("test_accuracy", "validation_accuracy"),
                ("test_samples", "validation_samples"),
            ] {
                if let Some(value) = fields.remove(from) {
                    fields.insert(to.to_string(), value);
                }
            }
        }
        let name = fields.remove("event").unwrap_or_default();
        let entry = Value::Object(fields);
        self.output.event(name.as_str().unwrap_or_default(), entry.clone());
        entry
    }
}

/// The data of a run, cut and split as the recipe says.
pub struct Prepared {
    /// What results call the data.
    pub name: String,
    /// Where the data were, and the hash of what was read.
    pub source: Source,
    pub train: Dataset,
    pub validation: Option<Dataset>,
    pub test: Dataset,
    pub input: Shape,
    pub preprocessing: Preprocessing,
    /// What the training pictures have in common.
    pub manner: Manner,
}

/// Loads and cuts the data. When the built-in digits stand in for what was asked, the recipe says so from here on.
pub fn prepared_data(recipe: &mut Recipe, output: &Output) -> Result<Prepared> {
    let limit = recipe.train_limit.map(NonZeroUsize::get);
    let test_limit = recipe.test_limit.map(NonZeroUsize::get);
    // How many digits must be drawn to keep so many of some classes is not known before.
    let drawn = if recipe.classes.is_none() { (limit, test_limit) } else { (None, None) };
    let reading = Reading { first_label: recipe.first_label, transpose: recipe.transpose };
    let loaded = load_data(&recipe.data, recipe.data_dir.as_deref(), reading, drawn, output)?;
    let source = loaded.source;
    recipe.data = source.data.clone();
    let cut = |mut dataset: Dataset| -> Result<Dataset> {
        if let Some(classes) = &recipe.classes {
            dataset = dataset.keep_classes(classes).map_err(usage)?;
        }
        prepare(dataset, &Preprocessing { halve: recipe.halve, ..Preprocessing::unit() })
    };
    let manner = Manner::of(&loaded.train);
    let (split, seed) = (recipe.split, recipe.split_seed);
    let mut train = split.limited(cut(loaded.train)?, limit, seed)?;
    let test = split.limited(cut(loaded.test)?, test_limit, seed)?;
    let validation = match recipe.validation {
        0 => None,
        n if n >= train.len() => {
            return Err(usage(format!(
                "--validation {n}: expected less than the {} training images",
                train.len()
            )));
        }
        n => {
            let (kept, validation) = split.held_out(&train, n, seed)?;
            train = kept;
            Some(validation)
        }
    };
    let mut parts = vec![("training", &train), ("testing", &test)];
    parts.extend(validation.as_ref().map(|validation| ("validation", validation)));
    warn_of_missing_classes(&parts, output);
    let Normalize { scale, shift } = match recipe.normalize {
        Normalization::Unit => Normalize::unit(),
        Normalization::Centered => Normalize::centered(),
        Normalization::Standard => Normalize::fit(&train),
    };
    let (h, w) = train.image_size();
    let preprocessing = Preprocessing { scale, shift, halve: recipe.halve, crop: None };
    Ok(Prepared {
        name: source.to_string(),
        source,
        train,
        validation,
        test,
        input: Shape::new(1, h, w),
        preprocessing,
        manner,
    })
}

/// Image size and classes of data that is known before it is loaded.
fn promised(recipe: &Recipe) -> Option<(Shape, usize)> {
    if let Data::Folder(_) = recipe.data {
        return None;
    }
    let side = if recipe.halve { 14 } else { 28 };
    Some((Shape::new(1, side, side), recipe.classes.as_ref().map_or(10, Vec::len)))
}

/// The network for this data. A named model is made for as many classes as the data has; a network of the user's own
/// must have them.
pub fn network_for(recipe: &Recipe, input: Shape, classes: usize) -> Result<(Spec, Network<f32>)> {
    let spec = if recipe.preset.is_some() {
        recipe.layers.with_classes(classes).map_err(usage)?
    } else {
        recipe.layers.clone()
    };
    let network = spec.build::<f32>(input).map_err(|error| usage(format!("--layers: {error}")))?;
    if network.classes() != classes {
        return Err(usage(format!(
            "--layers \"{spec}\": expected {classes} outputs, one for each class of {}, found {}; end it in dense({classes})",
            recipe.data,
            network.classes()
        )));
    }
    Ok((spec, network))
}

fn fit_config(recipe: &Recipe, data: &Prepared, threads: u16) -> FitConfig {
    FitConfig {
        epochs: recipe.epochs.get() as u64,
        batch_size: recipe.batch_size.get(),
        sampling: Sampling::Shuffled,
        last_batch: LastBatch::Keep,
        optimizer: recipe.optimizer,
        learning_rate: recipe.lr,
        schedule: recipe.schedule,
        objective: recipe.loss,
        preprocess: numbers(&data.preprocessing),
        augment: Augment { shift: recipe.shift, ..Augment::default() },
        seed: recipe.seed,
        threads: threads.into(),
        ..FitConfig::default()
    }
}

fn resumed_folder(options: &Options) -> Result<Option<PathBuf>> {
    let folder = match &options.resume {
        None => return Ok(None),
        Some(folder) => folder.as_ref().or(options.out.as_ref()),
    };
    let folder = folder
        .ok_or_else(|| usage("--resume: expected the run folder, as in --resume runs/cnn-mnist-seed0"))?;
    if !folder.join("checkpoint.safetensors").is_file() {
        return Err(usage(format!(
            "--resume {}: expected a run folder with a checkpoint.safetensors, found none",
            folder.display()
        )));
    }
    Ok(Some(folder.clone()))
}

fn write_config(recipe: &Recipe, folder: &RunFolder) -> Result<()> {
    let text = format!(
        "# `byhand train --config` on this file repeats the run bit for bit.\n{}",
        toml::to_string(recipe)?
    );
    let path = folder.config();
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// The last part of a folder's path, for a run's name.
fn short(data: &Data) -> String {
    match data {
        Data::Folder(folder) => folder.file_name().unwrap_or("data".as_ref()).to_string_lossy().into_owned(),
        named => named.to_string(),
    }
}

/// What `--help` ends with: the model that a command trains, examples, the run folder, the exit codes.
pub fn help(command: &str) -> String {
    let model = default_of(command)
        .map(|model| format!("Without --preset or --layers it trains {}: {}.\n\n", model.name, model.layers))
        .unwrap_or_default();
    format!("{model}{EXAMPLES}\n\n{}", exit::HELP)
}

const EXAMPLES: &str = "Examples:
  byhand train-cnn                                        good defaults, a good result, in seconds
  byhand train-cnn --preset lenet --data fashion-mnist --epochs 10
  byhand train --layers \"conv(8,5) relu pool(2) dense(10)\" --optimizer \"sgd(momentum=0.9)\" --lr 0.05
  byhand train --config runs/cnn-mnist-seed0/config.toml  the same run again, bit for bit
  byhand train --resume runs/cnn-mnist-seed0              go on after Ctrl-C, with the bits of one long run
  byhand train-mlp --json --quiet | tail -n 1             the result alone

The run folder (--out, or a fresh runs/<model>-<data>-seed<seed>) holds model.safetensors, config.toml, history.jsonl \
and checkpoint.safetensors. Without MNIST and without a network the built-in digits are used, and a line says so.";
