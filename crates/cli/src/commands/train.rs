//! `byhand train`, `train-cnn`, `train-dnn`, `train-mlp`: train, evaluate, write a run folder.

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use anyhow::Result;
use byhand_datasets::{
    Crop, Data, Dataset, Preprocessing, Reading, Source, batches::LastBatch, source::path_text,
};
use byhand_layers::{Network, Shape, init::init_network};
use byhand_models::{MODELS, Model, NamedModel, Spec, registry::default_of, weights_sha256};
use byhand_report::Recorder;
use byhand_tensor::Isa;
use byhand_trainer::{Checkpoint, Evaluation, Fit, FitConfig, FitError, Sampling, TrainerError, predictions};
use clap::Args;
use serde_json::json;

use crate::{
    arguments::ThreadsArg,
    exit::{self, coded, must_exist, usage, wrong_spec},
    interrupt::Interrupt,
    loading::{load_data, warn_of_missing_classes},
    memory,
    output::Output,
    pace::{Every, Pace},
    pictures::Manner,
    program, recipes,
    reporting::{Shown, environment, page},
    run_folder::{RunFolder, config_in, has_checkpoint, history_in, newest_checkpoint_in, report_in},
    settings::{Recipe, Settings},
    start,
    training::{Results, train},
    watcher::Watcher,
};
#[cfg(feature = "live")]
use crate::{board::Board, screen::Screen};

/// Options of the training commands.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    settings: Settings,
    /// Take the settings of a file: a run's config.toml, or one like those in recipes/; other options override them
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Take the settings of a recipe that comes with the program; other options override them
    #[arg(long, value_name = "NAME", conflicts_with = "config", value_parser = recipes::names(|_| true, &[]))]
    recipe: Option<String>,
    /// Drop these settings of --config or --from, as in --unset classes,train-limit
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = Settings::name)]
    unset: Vec<String>,
    /// The run folder. The same command again goes on with a run that did not come to its end; the files of another run in it are set
    /// aside, into a folder earlier-1 in it
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Go on with the run in DIR from its checkpoint, with the bits of a run that never stopped; with --out in a copy of it
    #[arg(long, value_name = "DIR", num_args = 0..=1, conflicts_with_all = ["config", "recipe", "from", "unset"])]
    resume: Option<Option<PathBuf>>,
    /// How often a checkpoint is written: seconds (30s), minutes (5m) or steps (500). Given in time, also after an epoch, where that
    /// costs less than 1 %
    #[arg(long, value_name = "30s|500", default_value = "30s")]
    checkpoint_every: Every,
    /// Whether training ends, with exit code 3, when the loss has been ten times above its best for 1000 steps
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    stop_diverged: bool,
    /// Write no report.html
    #[arg(long)]
    no_report: bool,
    /// Show loss, accuracy, speed and the size of gradients in the terminal while it trains
    #[arg(long, conflicts_with = "quiet")]
    tui: bool,
    /// Write event files for TensorBoard into RUN/tensorboard: losses, accuracies, weights and gradients, filters, the graph
    #[arg(long)]
    tensorboard: bool,
    #[command(flatten)]
    threads: ThreadsArg,
}

impl Options {
    /// Whether it needs the feature `live`.
    pub fn is_live(&self) -> bool {
        self.tui || self.tensorboard
    }
}

/// Trains. `command` names the default model.
pub fn run(command: &str, options: &Options, output: &Output) -> Result<()> {
    #[cfg(feature = "live")]
    if options.tui {
        Screen::check()?;
    }
    let resumed = resumed_folder(options)?;
    let asked = options.settings.clone().absolute()?;
    let base = match (&resumed, &options.config, &options.recipe, &asked.from) {
        (Some(folder), ..) => Settings::read(&config_in(folder))?,
        (_, Some(file), ..) => Settings::read(file)?,
        (.., Some(name), _) => recipes::settings(name)?,
        (.., Some(weights)) => start::settings(weights)?,
        _ => recipes::of_network(command, &asked)?,
    };
    for (section, name, command) in [
        (&base.notebook, "notebook", "notebooks"),
        (&base.speedrun, "speedrun", "speedrun"),
        (&base.record, "record", "records"),
    ] {
        if section.is_some() {
            output.note(format!(
                "the section [{name}] is for `{} {command}`: training reads past it",
                program::name()
            ));
        }
    }
    let base = base.without(&options.unset)?.absolute()?;
    let kept_classes = asked.classes.is_some() || base.classes.is_some();
    let mut recipe = asked.over(base.clone())?.settle(command)?;
    if let Some(folder) = &resumed {
        recipe.data_sha256 = base.data_sha256.clone();
        refuse_changes(&recipe, &base.settle(command)?, folder)?;
    }
    if let Some(weights) =
        recipe.from.as_ref().filter(|from| options.out.as_ref().is_some_and(|out| is_same(from, out)))
    {
        let problem =
            "expected another folder than that of --from, whose weights the new run is to be repeated from";
        return Err(usage(format!("--out {}: {problem}", weights.display())));
    }
    if let Some((input, classes)) = promised(&recipe) {
        network_for(&recipe, input, classes)?;
    }
    let named = options.out.as_ref().or(resumed.as_ref()).map(|path| RunFolder::named(path)).transpose()?;

    let data = prepared_data(&mut recipe, output)?;
    remember_data(&mut recipe, &data.source, resumed.as_deref(), output)?;
    let (spec, network) = network_for(&recipe, data.input, data.train.classes())?;
    recipe.layers = spec;
    let folder = match named {
        Some(folder) => folder,
        None => RunFolder::fresh(&run_name(&recipe))?,
    };

    let begin = Begin::of(&mut recipe, resumed.as_deref(), &folder, output)?;
    let config = fit_config(&recipe, &data, options.threads.asked());
    let config = FitConfig { stop_diverged: options.stop_diverged, ..config };
    let step = recipe.step_config(recipe.seed, options.threads.asked());
    memory::check_training(&network, &step, |_| 0, "batch-size")?;
    let watched = data.validation.as_ref().unwrap_or(&data.test);
    let Begin { checkpoint, is_here } = begin;
    let source = checkpoint.as_ref().map(|_| resumed.as_deref().unwrap_or(folder.path()).to_path_buf());
    let mut fit = match (checkpoint, &source) {
        (Some(checkpoint), Some(source)) => {
            Fit::resume(&network, checkpoint, &data.train, Some(watched), config)
                .map_err(|error| cannot_resume(error, &recipe, source))?
        }
        _ => {
            let theta = first_weights(&mut recipe, &network, &data)?;
            Fit::new(&network, theta, &data.train, Some(watched), config).map_err(usage)?
        }
    };
    // Not before the checkpoint took these settings: what is refused leaves the folder as it was.
    if is_here {
        folder.clear_failure()?;
    } else if let Some(aside) = folder.set_aside()? {
        let (folder, aside) = (folder.path().display(), aside.display());
        output.warn(format!("{folder} held an earlier run: its files are in {aside} now"));
    }
    let history = match &source {
        Some(source) => folder.history_of(source, fit.step())?,
        None => folder.new_history()?,
    };
    if let (Some(classes), false) = (&recipe.classes, kept_classes) {
        let classes: Vec<String> = classes.iter().map(u16::to_string).collect();
        output.warn(format!(
            "{} is made for the classes {} at half size and keeps these alone; --classes keeps others",
            recipe.name(),
            classes.join(", ")
        ));
    }
    write_config(&recipe, &folder)?;
    let interrupt = match () {
        #[cfg(all(unix, feature = "live"))]
        () if options.tui => Interrupt::listen_and_tidy(Screen::leave)?,
        () => Interrupt::listen()?,
    };
    fit.stop_on(interrupt.flag());
    let pace = Pace::new(options.checkpoint_every);
    let mut watcher =
        Watcher::new(*output, data.validation.is_some(), history, pace, recipe.epochs.get() as u64);
    output.note(format!(
        "training {} ({} parameters) on {}: {} images, {} epochs, into {}",
        recipe.name(),
        network.parameters(),
        data.name,
        data.train.len(),
        recipe.epochs,
        folder.path().display()
    ));
    if fit.is_over() {
        output.warn(format!("all {} epochs are done: there is nothing left to train", fit.epoch()));
    }
    if !is_here && source.is_some() {
        folder.save_checkpoint(&fit.checkpoint())?;
    }

    let manner = data.manner.note();
    let model = |theta: &[f32], more: &[(&str, String)]| Model {
        spec: recipe.layers.clone(),
        input: data.input,
        class_names: data.test.class_names().to_vec(),
        preprocessing: data.preprocessing,
        notes: [
            ("model", Some(recipe.name().to_string())),
            ("data", Some(recipe.data.to_string())),
            ("data_folder", data.source.folder.as_deref().map(path_text)),
            ("data_sha256", Some(data.source.sha256.clone())),
            ("seed", Some(recipe.seed.to_string())),
            ("loss", Some(recipe.loss.to_string())),
            ("first_label", recipe.first_label.map(|label| label.to_string())),
            ("transpose", recipe.transpose.then(|| "true".to_string())),
            ("run", Some(run_name(&recipe))),
            ("byhand", Some(env!("CARGO_PKG_VERSION").to_string())),
            (manner.0, Some(manner.1.clone())),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_string(), value?)))
        .chain(more.iter().map(|(key, value)| (key.to_string(), value.clone())))
        .collect(),
        theta: theta.to_vec(),
    };
    let preprocessing = data.remaining();
    let mut recorder = Recorder::new(&network, &data.train, &preprocessing, recipe.loss);
    #[cfg(feature = "live")]
    if options.tensorboard {
        let board = Board::open(folder.path(), &network, data.test.image_size())?;
        watcher.add(Box::new(board), false);
    }
    #[cfg(feature = "live")]
    if options.tui {
        let title = format!("{} on {}, into {}", recipe.name(), data.name, folder.path().display());
        watcher.add(Box::new(Screen::open(title, recipe.epochs.get() as u64)?), true);
    }
    let (keeps_best, restores_best) = (data.validation.is_some(), recipe.restore_best);
    let results = Results { model: &model, keeps_best, restores_best };
    train(&mut fit, &mut watcher, &mut recorder, &folder, &interrupt.flag(), &results)?;
    let best = fit.best().filter(|_| keeps_best);
    if let Some(best) = best {
        let epochs = fit.epoch().saturating_sub(best.epoch);
        if fit.is_over() && fit.step() < fit.total_steps() {
            output.note(format!("stopped early: {epochs} epochs were no better on the validation images"));
        }
        let kept = if restores_best { "the model" } else { "best.safetensors" };
        output.note(format!(
            "{kept} has the weights of epoch {}, best on the validation images with {:.2} %",
            best.epoch,
            100.0 * best.accuracy
        ));
    }
    // Somebody who wants the program to end does not wait for an evaluation.
    let theta = results.theta(&fit);
    let evaluation = match fit.evaluate_weights(theta, &data.test) {
        Ok(evaluation) => Some(evaluation),
        Err(TrainerError::Stopped) => None,
        Err(error) => return Err(error.into()),
    };
    let sha256 = weights_sha256(theta);
    if let Some(evaluation) = &evaluation {
        // Once more, now that the file can say how good it is.
        let notes = [
            ("test_accuracy", evaluation.accuracy().to_string()),
            ("test_loss", evaluation.loss.to_string()),
            ("test_images", evaluation.samples.to_string()),
        ];
        results.save_model(&fit, &folder, &notes)?;
        output.print(format!(
            "test accuracy {:.2} %, test loss {:.4} on {} images after {:.2} s of training",
            100.0 * evaluation.accuracy(),
            evaluation.loss,
            evaluation.samples,
            fit.train_seconds()
        ));
    }
    output.print(format!("weights {sha256}"));
    output.print(format!("run {}", folder.path().display()));
    let mut result = json!({
        "model": recipe.name(),
        "layers": recipe.layers.to_string(),
        "data": data.name,
        "data_sha256": data.source.sha256,
        "seed": recipe.seed,
        "threads": watcher.threads,
        "isa": Isa::active().name(),
        "epochs": fit.epoch(),
        "steps": fit.step(),
        "train_seconds": fit.train_seconds(),
        "train_images": data.train.len(),
        "train_loss": watcher.train_loss,
        "test_loss": evaluation.as_ref().map(|evaluation| evaluation.loss),
        "test_accuracy": evaluation.as_ref().map(Evaluation::accuracy),
        "best_epoch": best.map(|best| best.epoch),
        "validation_accuracy": best.map(|best| best.accuracy),
        "parameters": network.parameters(),
        "weights_sha256": sha256,
        "interrupted": interrupt.asked(),
        "out": folder.path().to_string_lossy(),
    });
    let mut kept = result.clone();
    kept["environment"] = environment(watcher.threads);
    folder.write_result(&kept)?;
    if let Some(evaluation) = evaluation.filter(|_| !options.no_report && !interrupt.asked()) {
        let model = Model { preprocessing, ..model(theta, &[]) };
        let threads = options.threads.asked();
        let (history, _) = history_in(folder.path())?;
        let predictions = predictions(&network, &model.theta, &data.test, &preprocessing, threads)?;
        let page = page(
            &Shown {
                folder: folder.path(),
                warning: None,
                recipe: &recipe,
                model: &model,
                test: &data.test,
                evaluation: &evaluation,
                predictions: &predictions,
                history: &history,
                result: Some(&kept),
            },
            false,
        )?;
        folder.write_report(&page)?;
        let path = report_in(folder.path());
        output.print(format!("report {}", path.display()));
        result["report"] = path.to_string_lossy().into();
    }
    output.result(result);
    if interrupt.asked() {
        let path = folder.path().display();
        let (step, program) = (fit.step(), program::name());
        return Err(coded(
            interrupt.code(),
            format!(
                "interrupted at step {step}; the model so far is in {path}, go on with {program} train --resume {path}"
            ),
        ));
    }
    Ok(())
}

/// Where a run begins.
#[derive(Default)]
struct Begin {
    /// What it goes on from; without it begins anew.
    checkpoint: Option<Checkpoint>,
    /// Whether the folder is this run's already.
    is_here: bool,
}

impl Begin {
    /// With `--resume` from its checkpoint. Without, the same run again goes on in its folder when it did not come to its end.
    fn of(recipe: &mut Recipe, resumed: Option<&Path>, folder: &RunFolder, output: &Output) -> Result<Self> {
        if let Some(resumed) = resumed {
            let is_here = is_same(resumed, folder.path());
            let newest = if is_here {
                folder.newest_checkpoint(&mut |line| output.warn(line))?
            } else {
                Some(newest_checkpoint_in(resumed)?)
            };
            let none = || {
                usage(format!(
                    "--resume {0}: expected a checkpoint that is whole, found none; begin anew with --config {0}/config.toml --out DIR",
                    resumed.display()
                ))
            };
            return Ok(Begin { checkpoint: Some(newest.ok_or_else(none)?), is_here });
        }
        let Some(began) = Recipe::read(&config_in(folder.path())) else { return Ok(Begin::default()) };
        // The weights of --from are not read again.
        let asked = Recipe { from_sha256: began.from_sha256.clone(), ..recipe.clone() };
        if !asked.differences(&began)?.is_empty() {
            return Ok(Begin::default());
        }
        let checkpoint = folder.newest_checkpoint(&mut |line| output.warn(line))?;
        if let Some(checkpoint) = checkpoint.filter(|at| !recipe.is_over(at)) {
            let (path, step) = (folder.path().display(), checkpoint.step());
            output.warn(format!(
                "{path} holds this run, which ended after {step} steps: it goes on from there"
            ));
            *recipe = asked;
            return Ok(Begin { checkpoint: Some(checkpoint), is_here: true });
        }
        Ok(Begin { checkpoint: None, is_here: !folder.has_results() })
    }
}

/// The weights a new run begins with. Those of `--from` are recorded by their digest, and a configuration that has one asks for
/// the same weights.
fn first_weights(recipe: &mut Recipe, network: &Network<f32>, data: &Prepared) -> Result<Vec<f32>> {
    let Some(from) = &recipe.from else { return Ok(init_network::<f32>(network, recipe.init, recipe.seed)) };
    let theta = start::weights(from, network, data.train.class_names())?;
    let found = weights_sha256(&theta);
    if let Some(expected) = recipe.from_sha256.as_ref().filter(|expected| **expected != found) {
        return Err(usage(format!(
            "{}: the run began with other weights: expected SHA-256 {expected}, found {found}; name them with --from",
            from.display()
        )));
    }
    recipe.from_sha256 = Some(found);
    Ok(theta)
}

/// A resumed run has the settings that it began with, or its config.toml would not repeat it. More epochs are an exception where
/// the schedule does not depend on their number.
fn refuse_changes(asked: &Recipe, began: &Recipe, folder: &Path) -> Result<()> {
    let (folder, program) = (folder.display(), program::name());
    let mut differences = asked.differences(began)?;
    // A preset is asked for by its name, which brings other layers.
    differences.sort_by_key(|[key, now, _]| key != "preset" || now == "none");
    for [key, now, before] in differences {
        let why = match key.as_str() {
            // Where the data are now; that they are the same, their digest says.
            "data-dir" => continue,
            "data" if matches!((&asked.data, &began.data), (Data::Folder(_), Data::Folder(_))) => continue,
            "epochs" if !asked.schedule.depends_on_total() => continue,
            "epochs" => format!("the schedule {} was spread over {before} epochs", asked.schedule),
            "data" | "layers" | "preset" => {
                return Err(usage(format!(
                    "cannot resume with --{key} {now}: the run in {folder} has {before}; leave it out, or begin a new run"
                )));
            }
            _ => format!("the run in {folder} has {before}, and goes on as it began"),
        };
        return Err(usage(format!(
            "cannot resume with --{key} {now}: {why}; leave it out, or begin a new run from these weights: \
             {program} train --from {folder} --{key} {}",
            in_shell(&now)
        )));
    }
    Ok(())
}

/// A value as a shell takes it for one word.
fn in_shell(value: &str) -> String {
    let is_plain = value.chars().all(|c| c.is_alphanumeric() || "-._,/".contains(c));
    if is_plain { value.to_string() } else { format!("\"{value}\"") }
}

/// Records where the data were and what was read, and compares it with what an earlier run read: a resumed run needs the same.
fn remember_data(
    recipe: &mut Recipe,
    source: &Source,
    resumed: Option<&Path>,
    output: &Output,
) -> Result<()> {
    if let Some(expected) = recipe.data_sha256.as_ref().filter(|expected| **expected != source.sha256) {
        let found = &source.sha256;
        let place =
            source.folder.as_ref().map_or_else(|| source.to_string(), |folder| folder.display().to_string());
        let told = format!(
            "the data in {place} are not those of the run: expected SHA-256 {expected}, found {found}"
        );
        if let Some(run) = resumed {
            let run = run.display();
            return Err(usage(format!(
                "cannot resume {run}: {told}; name the folder of the same data with --data-dir or --data"
            )));
        }
        output.warn(format!("{told}; its settings are repeated, its bits are not"));
    }
    recipe.data_dir = source.folder.clone().filter(|_| !matches!(source.data, Data::Folder(_)));
    recipe.data_sha256 = Some(source.sha256.clone());
    Ok(())
}

/// Why a checkpoint does not take the settings, in the words of the command line.
fn cannot_resume(error: FitError, recipe: &Recipe, folder: &Path) -> anyhow::Error {
    match error {
        FitError::Beyond { done, asked } => usage(format!(
            "cannot resume with --epochs {}: the run in {} has done {done} steps, and that is {asked}; expected more epochs",
            recipe.epochs,
            folder.display()
        )),
        error => usage(format!("{error}; expected the config.toml that the run began with")),
    }
}

/// Whether two paths lead to one folder or file that is there.
fn is_same(a: &Path, b: &Path) -> bool {
    a.canonicalize().is_ok_and(|a| b.canonicalize().is_ok_and(|b| a == b))
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

impl Prepared {
    /// What is left to be done to its images, which were halved once, not in every step.
    pub fn remaining(&self) -> Preprocessing {
        Preprocessing { halve: false, ..self.preprocessing }
    }
}

/// Loads and cuts the data. When the built-in digits stand in for what was asked, the recipe says so from here on.
pub fn prepared_data(recipe: &mut Recipe, output: &Output) -> Result<Prepared> {
    if let Data::Folder(folder) = &recipe.data {
        must_exist(folder, "the folder of the data")?;
    }
    let limit = recipe.train_limit.map(NonZeroUsize::get);
    let test_limit = recipe.test_limit.map(NonZeroUsize::get);
    // How many digits must be drawn to keep so many of some classes is not known before.
    let drawn = if recipe.classes.is_none() { (limit, test_limit) } else { (None, None) };
    let reading = Reading { first_label: recipe.first_label, transpose: recipe.transpose };
    let loaded = load_data(&recipe.data, recipe.data_dir.as_deref(), reading, drawn, output)?;
    let source = loaded.source;
    recipe.data = source.data.clone();
    // What reads images of these files later must know.
    recipe.transpose |= matches!(recipe.data, Data::Published(set) if set.transpose);
    let cut = |mut dataset: Dataset| -> Result<Dataset> {
        if let Some(classes) = &recipe.classes {
            dataset = dataset.keep_classes(classes).map_err(usage)?;
        }
        Ok(if recipe.halve { dataset.halve()? } else { dataset })
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
    let (h, w) = train.image_size();
    let crop = recipe.crop.map(|side| middle((h, w), side.get())).transpose()?;
    let preprocessing = Preprocessing { normalize: recipe.normalize.of(&train), halve: recipe.halve, crop };
    let (h, w) = crop.map_or((h, w), |crop| (crop.h, crop.w));
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

/// The middle rows and columns of an image of (rows, columns).
fn middle((h, w): (usize, usize), side: usize) -> Result<Crop> {
    if side > h.min(w) {
        return Err(usage(format!("--crop {side}: expected at most the {} of images of {w}x{h}", h.min(w))));
    }
    Ok(Crop::center((h, w), side, side))
}

/// Image size and classes of data that is known before it is loaded.
fn promised(recipe: &Recipe) -> Option<(Shape, usize)> {
    let all = match recipe.data {
        Data::Folder(_) => return None,
        Data::Published(set) => set.class_names.len(),
        Data::Mnist | Data::FashionMnist | Data::Digits => 10,
    };
    let side = if recipe.halve { 14 } else { 28 };
    let side = recipe.crop.map_or(side, NonZeroUsize::get);
    Some((Shape::new(1, side, side), recipe.classes.as_ref().map_or(all, Vec::len)))
}

/// The network for this data. A named model is made for as many classes as the data has; a network of the user's own
/// must have them.
pub fn network_for(recipe: &Recipe, input: Shape, classes: usize) -> Result<(Spec, Network<f32>)> {
    let spec = if recipe.preset.is_some() {
        recipe.layers.with_classes(classes).map_err(usage)?
    } else {
        recipe.layers.clone()
    };
    let network = spec.build::<f32>(input).map_err(|error| match &recipe.preset {
        Some(preset) => usage(format!(
            "--preset {preset} does not fit images of {}x{}: {error}; expected {}",
            input.w,
            input.h,
            fitting(input, classes)
        )),
        None => wrong_spec(&error, format!("--layers: {error}")),
    })?;
    if network.classes() != classes {
        return Err(usage(format!(
            "--layers \"{spec}\": expected {classes} outputs, one for each class of {}, found {}; end it in dense({classes})",
            recipe.data,
            network.classes()
        )));
    }
    if let Some(weights) = &recipe.class_weights {
        weights.check(classes, recipe.loss)?;
    }
    Ok((spec, network))
}

/// The settings of a fit, as the recipe has them.
pub fn fit_config(recipe: &Recipe, data: &Prepared, threads: usize) -> FitConfig {
    FitConfig {
        epochs: recipe.epochs.get() as u64,
        batch_size: recipe.batch_size.get(),
        sampling: Sampling::Shuffled,
        last_batch: LastBatch::Keep,
        optimizer: recipe.optimizer,
        learning_rate: recipe.lr,
        schedule: recipe.schedule,
        objective: recipe.loss,
        class_weights: recipe.class_weights.as_ref().map_or_else(Vec::new, |weights| weights.of(&data.train)),
        preprocessing: data.remaining(),
        augment: recipe.augment(),
        weight_decay: recipe.weight_decay,
        clip: recipe.clip,
        ema: recipe.ema,
        patience: recipe.patience.map(|epochs| epochs.get() as u64),
        seed: recipe.seed,
        threads,
        ..FitConfig::default()
    }
}

/// The presets that can be made for such images, or what to do when there is none.
fn fitting(input: Shape, classes: usize) -> String {
    let fits =
        |model: &&NamedModel| model.spec_for(classes).is_ok_and(|spec| spec.build::<f32>(input).is_ok());
    let names: Vec<&str> = MODELS.iter().filter(fits).map(|model| model.name).collect();
    if names.is_empty() {
        "--layers of your own".into()
    } else {
        format!("{}, or --layers", names.join(", "))
    }
}

fn resumed_folder(options: &Options) -> Result<Option<PathBuf>> {
    let folder = match &options.resume {
        None => return Ok(None),
        Some(folder) => folder.as_ref().or(options.out.as_ref()),
    };
    let folder = folder
        .ok_or_else(|| usage("--resume: expected the run folder, as in --resume runs/cnn-mnist-seed0"))?;
    if !has_checkpoint(folder) {
        return Err(usage(format!(
            "--resume {}: expected a run folder with a checkpoint, found none; the first epoch writes it",
            folder.display()
        )));
    }
    Ok(Some(folder.clone()))
}

fn write_config(recipe: &Recipe, folder: &RunFolder) -> Result<()> {
    let text = toml::to_string(recipe)?;
    folder.write_config(&format!(
        "# `{} train --config` on this file repeats the run bit for bit.\n{text}",
        program::name()
    ))
}

/// What a run is called if nobody says otherwise.
fn run_name(recipe: &Recipe) -> String {
    format!("{}-{}-seed{}", recipe.name(), short(&recipe.data), recipe.seed)
}

/// The last part of a folder's path, for a run's name.
fn short(data: &Data) -> String {
    match data {
        Data::Folder(folder) => folder.file_name().unwrap_or("data".as_ref()).to_string_lossy().into_owned(),
        named => named.to_string(),
    }
}

/// What `--help` ends with: what a command trains and how if nothing is asked, examples, the run folder, the exit codes.
pub fn help(command: &str) -> String {
    let model = default_of(command)
        .map(|model| format!("Without --preset or --layers it trains {}: {}.\n", model.name, model.layers))
        .unwrap_or_default();
    let any = default_of(command).is_none().then(|| "dense(10)".parse().expect("a constant"));
    let asked = Settings { layers: any, ..Settings::default() };
    let base = recipes::of_network(command, &asked);
    let settled = base.and_then(|base| asked.over(base)?.settle(command)?.shown());
    let defaults = settled.expect("the defaults are settings");
    let shown = defaults.iter().filter(|(key, value)| {
        !["preset", "layers"].contains(&key.as_str()) && !["false", "0.0"].contains(&value.as_str())
    });
    let shown: Vec<String> = shown.map(|(key, value)| format!("--{key} {value}")).collect();
    format!("{model}The other defaults: {}.\n\n{EXAMPLES}\n\n{}", shown.join(", "), exit::HELP)
}

const EXAMPLES: &str = "Examples:
  # good defaults, a good result, in seconds
  byhand train-cnn
  byhand train-cnn --preset lenet --data fashion-mnist --epochs 10
  byhand train --layers \"conv(8,5) relu pool(2) dense(10)\" --optimizer \"sgd(momentum=0.9)\" --lr 0.05
  # a recipe that comes with the program, and a file of the same form
  byhand train --recipe speedrun --seed 3
  byhand train --config recipes/speedrun.toml --epochs 6
  # the same run again, bit for bit
  byhand train --config runs/cnn-mnist-seed0/config.toml
  # go on after Ctrl-C or a crash, with the bits of one long run
  byhand train --resume runs/cnn-mnist-seed0
  # stop when the images set aside for validation are no better recognised for 3 epochs, and keep the best weights
  byhand train-cnn --epochs 50 --validation 5000 --patience 3 --restore-best --schedule \"plateau(patience=2,factor=0.3)\"
  # augmentation, weight decay and a moving average of the weights
  byhand train-cnn --epochs 15 --rotate 10 --scale 0.1 --shift 2 --weight-decay 0.05 --ema 0.999
  # a new run from the weights of an earlier one
  byhand train --from runs/cnn-mnist-seed0 --epochs 2 --lr 3e-4
  # the result alone
  byhand train-mlp --json --quiet | tail -n 1

The run folder (--out, or a fresh runs/<model>-<data>-seed<seed>) holds model.safetensors, config.toml, history.jsonl, \
checkpoints, result.json and report.html, with --validation also best.safetensors. Without MNIST and without a network the \
built-in digits are used, and a line says so.";
