//! `byhand train`, `train-cnn`, `train-dnn`, `train-mlp`: train, evaluate, write a run folder.

mod asked;
mod begin;
mod end;
mod help;
mod run;

use std::path::PathBuf;

use anyhow::Result;
use byhand_report::Recorder;
use byhand_trainer::{Fit, FitConfig};
use clap::Args;

use crate::{
    arguments::{BaseArgs, ThreadsArg},
    interrupt::Interrupt,
    memory,
    network::{fit_config, network_for},
    output::Output,
    pace::{Every, Pace},
    prepared::prepared_data,
    run_folder::RunFolder,
    settings::{Recipe, Settings},
    training::{Note, Results, train},
    watcher::Watcher,
};
#[cfg(feature = "live")]
use crate::{board::Board, screen::Screen};
use asked::Asked;
use begin::{Begin, remember_data};
use end::End;
use run::{Run, run_name};

pub use help::help;

/// Options of the training commands.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    base: BaseArgs,
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
    let Asked { mut recipe, resumed, names_classes } = Asked::of(command, options, output)?;
    let (resumed, threads) = (resumed.as_deref(), options.threads.asked());
    let named = options.out.as_deref().or(resumed).map(RunFolder::named).transpose()?;
    let data = prepared_data(&mut recipe, output)?;
    remember_data(&mut recipe, &data.source, resumed, output)?;
    let (spec, network) = network_for(&recipe, data.input, data.train.classes())?;
    recipe.layers = spec;
    let folder = named.map_or_else(|| RunFolder::fresh(&run_name(&recipe)), Ok)?;

    let begin = Begin::of(&mut recipe, resumed, &folder, output)?;
    memory::check_training(&network, &recipe.step_config(recipe.seed, threads), |_| 0, "batch-size")?;
    let config = fit_config(&recipe, &data.train, data.remaining(), threads);
    let config = FitConfig { stop_diverged: options.stop_diverged, ..config };
    let (mut fit, begun) = begin.fit(&mut recipe, &network, &data, config)?;
    let history = begun.take(&folder, fit.step(), output)?;
    if !names_classes {
        tell_of_classes(&recipe, output);
    }
    let run = Run { recipe: &recipe, data: &data, network: &network, folder: &folder };
    run.write_config()?;
    let interrupt = listen(options)?;
    fit.stop_on(interrupt.flag());
    let (epochs, is_validated) = (recipe.epochs.get() as u64, data.validation.is_some());
    let mut watcher =
        Watcher::new(*output, is_validated, history, Pace::new(options.checkpoint_every), epochs);
    announce(&run, &fit, output);
    if begun.is_copy() {
        folder.save_checkpoint(&fit.checkpoint())?;
    }

    let mut recorder = Recorder::new(&network, &data.train, &data.remaining(), recipe.loss);
    #[cfg(feature = "live")]
    add_onlookers(options, &run, &mut watcher)?;
    let model = |theta: &[f32], notes: &[Note<'_>]| run.model(theta, notes);
    let results = Results { model: &model, keeps_best: is_validated, restores_best: recipe.restore_best };
    train(&mut fit, &mut watcher, &mut recorder, &folder, &interrupt.flag(), &results)?;
    let end = End { run: &run, fit: &fit, results: &results, watcher: &watcher, interrupt: &interrupt };
    end.tell(!options.no_report, output)
}

/// Says that a model brought the classes with it.
fn tell_of_classes(recipe: &Recipe, output: &Output) {
    let Some(classes) = &recipe.classes else { return };
    let classes: Vec<String> = classes.iter().map(u16::to_string).collect();
    output.warn(format!(
        "{} is made for the classes {} at half size and keeps these alone; --classes keeps others",
        recipe.name(),
        classes.join(", ")
    ));
}

/// Listens for Ctrl-C. A second one ends the program, and the view in the terminal before it.
fn listen(options: &Options) -> Result<Interrupt> {
    match options.tui {
        #[cfg(all(unix, feature = "live"))]
        true => Interrupt::listen_and_tidy(Screen::leave),
        _ => Interrupt::listen(),
    }
}

/// Says what begins, and where.
fn announce(run: &Run<'_>, fit: &Fit<'_>, output: &Output) {
    output.note(format!(
        "training {} ({} parameters) on {}: {} images, {} epochs, into {}",
        run.recipe.name(),
        run.network.parameters(),
        run.data.name,
        run.data.train.len(),
        run.recipe.epochs,
        run.folder.path().display()
    ));
    if fit.is_over() {
        output.warn(format!("all {} epochs are done: there is nothing left to train", fit.epoch()));
    }
}

/// Lets them look on who are asked for.
#[cfg(feature = "live")]
fn add_onlookers(options: &Options, run: &Run<'_>, watcher: &mut Watcher) -> Result<()> {
    let path = run.folder.path();
    if options.tensorboard {
        let board = Board::open(path, run.network, run.data.test.image_size())?;
        watcher.add(Box::new(board), false);
    }
    if options.tui {
        let title = format!("{} on {}, into {}", run.recipe.name(), run.data.name, path.display());
        watcher.add(Box::new(Screen::open(title, run.recipe.epochs.get() as u64)?), true);
    }
    Ok(())
}
