//! The command line of byhand. Parses, calls the library crates, prints; one command a file.
//!
//! [`main`] is the whole program `byhand`. [`Command`] and [`run`] are for a program that adds commands of its own, as `xtask` does.

// A program has no outside but these few items: `pub` in its modules means "for the other files of this program".
#![allow(unreachable_pub)]

mod arguments;
mod as_text;
#[cfg(feature = "live")]
mod board;
mod class_weights;
mod commands;
pub mod exit;
mod interrupt;
mod loading;
pub mod machine;
mod memory;
mod network;
pub mod output;
mod pace;
mod past_run;
mod pictures;
mod prepared;
pub mod program;
mod recipes;
mod reporting;
mod run_folder;
#[cfg(feature = "live")]
mod screen;
mod seeds;
mod settings;
mod start;
mod training;
mod values;
mod watcher;

use anyhow::Result;
use byhand_tensor::Isa;
use clap::{Parser, Subcommand};

use commands::{
    compare, data, evaluate, exercise, export, fold, gradcheck, import, inspect, lr_find, museum, notebooks,
    parity, predict, records, replay, report, speedrun, summary, throughput, train, verify, watch,
};
#[cfg(feature = "shell")]
use commands::{completions, man};
use output::Output;

/// Trains small-image networks whose every backward pass is written by hand.
#[derive(Parser)]
#[command(
    name = "byhand",
    version,
    after_help = exit::HELP,
    subcommand_required = true,
    arg_required_else_help = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    output: Output,
}

/// Every command for users.
#[derive(Subcommand)]
pub enum Command {
    /// Train a convolutional network, evaluate it, write a run folder
    #[command(after_long_help = train::help("train-cnn"))]
    TrainCnn(train::Options),
    /// Train a deep dense network, evaluate it, write a run folder
    #[command(after_long_help = train::help("train-dnn"))]
    TrainDnn(train::Options),
    /// Train a multi-layer perceptron, evaluate it, write a run folder
    #[command(after_long_help = train::help("train-mlp"))]
    TrainMlp(train::Options),
    /// Train any network: --layers SPEC, --preset NAME, --config FILE or --resume DIR
    #[command(after_long_help = train::help("train"))]
    Train(train::Options),
    /// Which learning rate to begin with: the loss over a rate that rises
    LrFind(lr_find::Options),
    /// Loss, accuracy and confusion matrix of a trained model, or of several together
    Evaluate(evaluate::Options),
    /// Write the report of a run: curves, confusion, mistakes and where it looked, time per layer
    Report(report::Options),
    /// Serve the report of a run on 127.0.0.1 while it trains
    Watch(watch::Options),
    /// Runs beside each other: curves, settings, McNemar's test, pictures on which they differ
    Compare(compare::Options),
    /// What a model file is: from which run, on which data, how good
    Inspect(inspect::Options),
    /// The step at which a run diverged, once more: which layer, which images
    Replay(replay::Options),
    /// What a trained model says about pictures (PNG) and images in IDX files
    Predict(predict::Options),
    /// A trained model as an ONNX file, as C or Rust source, or for PyTorch
    Export(export::Options),
    /// A model from an ONNX file, or from the weights of a PyTorch nn.Sequential
    Import(import::Options),
    /// Write a trained model without its batch normalisations, folded into the layers before them
    Fold(fold::Options),
    /// Layers, shapes, parameters and floating-point operations of a network
    Summary(summary::Options),
    /// Prove every layer's gradients, on every instruction set of this machine
    Gradcheck(gradcheck::Options),
    /// The exercises of docs/backprop.md: show one, check an answer
    Exercise(exercise::Options),
    /// Time the training step: images per second, GFLOP/s, percent of the machine's peak
    Throughput(throughput::Options),
    /// The same training in PyTorch, held against ours step by step
    Parity(parity::Options),
    /// Train a recipe from several seeds: seconds to a mean test accuracy of 99 %
    Speedrun(speedrun::Options),
    /// Train the recipes that hold records from several seeds, and print the table of docs/records.md
    Records(records::Options),
    /// Put the promises of docs/reliability.md to the test on this machine
    Verify(verify::Options),
    /// Fetch, examine and show data sets
    Data(data::Options),
    /// Wrong backward passes beside the right ones: list, show, train
    Museum(museum::Options),
    /// The notebooks this project comes from, as written and repaired
    Notebooks(notebooks::Options),
    /// Print the script that lets a shell complete commands and options
    #[cfg(feature = "shell")]
    Completions(completions::Options),
    /// Print the manual page, or write one for every command
    #[cfg(feature = "shell")]
    Man(man::Options),
}

impl Command {
    /// The feature that it needs, and that this build is without.
    pub fn lacks(&self) -> Option<&'static str> {
        let needs_live = match self {
            Command::Watch(_) => true,
            Command::TrainCnn(options)
            | Command::TrainDnn(options)
            | Command::TrainMlp(options)
            | Command::Train(options) => options.is_live(),
            _ => false,
        };
        let needs_proofs = matches!(
            self,
            Command::Exercise(_) | Command::Gradcheck(_) | Command::Museum(_) | Command::Notebooks(_)
        );
        match () {
            () if needs_live && !cfg!(feature = "live") => Some("live"),
            () if needs_proofs && !cfg!(feature = "proofs") => Some("proofs"),
            () => None,
        }
    }
}

/// The program `byhand`: its exit code.
pub fn main() -> std::process::ExitCode {
    program::main::<Cli>("byhand", |cli| &cli.output, |cli| run(&cli.command, &cli.output))
}

/// The readers of files from outside that no other crate has, for fuzzers.
#[doc(hidden)]
pub mod readers {
    use std::io::Cursor;

    use anyhow::Result;

    use crate::{
        pictures::{self, Drawing, Images, Manner, Wishes},
        settings::Settings,
    };

    /// Reads a configuration, and settles what it leaves open.
    pub fn configuration(text: &str) -> Result<()> {
        Settings::parse("fuzzed.toml", text)?.settle("train").map(drop)
    }

    /// Reads an image file, and prepares it for a model that was trained on MNIST.
    pub fn picture(bytes: &[u8]) -> Result<()> {
        match pictures::read_from(Cursor::new(bytes), "fuzzed.png")? {
            Images::Picture(picture) => {
                Drawing(&picture).prepare((28, 28), Manner::UNKNOWN, Wishes::default()).map(drop)
            }
            Images::Many(_) => Ok(()),
        }
    }
}

/// Runs a command.
///
/// # Errors
/// Whatever ended it; [`exit::code`] tells the exit code that the error asks for.
pub fn run(command: &Command, output: &Output) -> Result<()> {
    instruction_set()?;
    if let Some(feature) = command.lacks() {
        return Err(exit::usage(format!(
            "this program was built without the feature `{feature}`; expected one from `cargo install --path crates/cli`"
        )));
    }
    match command {
        Command::TrainCnn(options) => train::run("train-cnn", options, output),
        Command::TrainDnn(options) => train::run("train-dnn", options, output),
        Command::TrainMlp(options) => train::run("train-mlp", options, output),
        Command::Train(options) => train::run("train", options, output),
        Command::LrFind(options) => lr_find::run(options, output),
        Command::Evaluate(options) => evaluate::run(options, output),
        Command::Predict(options) => predict::run(options, output),
        Command::Export(options) => export::run(options, output),
        Command::Import(options) => import::run(options, output),
        Command::Report(options) => report::run(options, output),
        #[cfg(feature = "live")]
        Command::Watch(options) => watch::run(options, output),
        Command::Compare(options) => compare::run(options, output),
        Command::Inspect(options) => inspect::run(options, output),
        Command::Replay(options) => replay::run(options, output),
        Command::Fold(options) => fold::run(options, output),
        Command::Summary(options) => summary::run(options, output),
        #[cfg(feature = "proofs")]
        Command::Exercise(options) => exercise::run(options, output),
        #[cfg(feature = "proofs")]
        Command::Gradcheck(options) => gradcheck::run(options, output),
        Command::Throughput(options) => throughput::run(options, output),
        Command::Parity(options) => parity::run(options, output),
        Command::Speedrun(options) => speedrun::run(options, output),
        Command::Records(options) => records::run(options, output),
        Command::Verify(options) => verify::run(options, output),
        Command::Data(options) => data::run(options, output),
        #[cfg(feature = "proofs")]
        Command::Museum(options) => museum::run(options, output),
        #[cfg(feature = "proofs")]
        Command::Notebooks(options) => notebooks::run(options, output),
        #[cfg(feature = "shell")]
        Command::Completions(options) => completions::run(options, output),
        #[cfg(feature = "shell")]
        Command::Man(options) => man::run(options, output),
        // Told above.
        #[cfg(not(all(feature = "proofs", feature = "live")))]
        _ => Ok(()),
    }
}

/// An instruction set that is asked for and cannot be had is an error, not a silent choice of another.
fn instruction_set() -> Result<()> {
    let Some(asked) = std::env::var_os("BYHAND_ISA") else { return Ok(()) };
    let available = Isa::available();
    if available.iter().any(|isa| asked == isa.name()) {
        return Ok(());
    }
    let names: Vec<&str> = available.iter().map(|isa| isa.name()).collect();
    let (asked, names) = (asked.to_string_lossy(), names.join(", "));
    Err(exit::usage(format!(
        "BYHAND_ISA is '{asked}'; this machine has {names}; unset it for the best of them"
    )))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use clap::CommandFactory;

    use super::*;

    /// Every help text of a command and of those below it.
    fn helps(command: &clap::Command) -> Vec<String> {
        let own = [command.get_after_help(), command.get_after_long_help()].into_iter().flatten();
        let own: Vec<String> = own.map(ToString::to_string).collect();
        command.get_subcommands().flat_map(helps).chain(own).collect()
    }

    /// One option, one meaning: what help says of it, wherever it stands.
    #[test]
    fn an_option_means_the_same_in_every_command() {
        fn gather(command: &clap::Command, said: &mut BTreeMap<String, BTreeMap<String, String>>) {
            for option in command.get_arguments() {
                let (Some(long), Some(help)) = (option.get_long(), option.get_help()) else { continue };
                // A switch, and a setting that is on or off, are one thing.
                let value = option.get_value_names().filter(|_| option.get_action().takes_values());
                let text = format!("{help} [{}]", value.unwrap_or_default().join(" ").replace("BOOL", ""));
                said.entry(long.to_string()).or_default().insert(text, command.get_name().to_string());
            }
            command.get_subcommands().for_each(|inner| gather(inner, said));
        }
        let mut said = BTreeMap::new();
        gather(&Cli::command(), &mut said);
        // Which learning rate it is, which of a file's settings count, and what is written, depends on the command.
        said.retain(|long, _| !["lr", "config", "out"].contains(&long.as_str()));
        said.retain(|_, meanings| meanings.len() > 1);
        assert!(said.is_empty(), "options that mean several things: {said:#?}");
    }

    #[test]
    fn every_example_can_be_pasted() {
        let helps = helps(&Cli::command());
        let examples = helps.iter().flat_map(|help| help.lines().map(str::trim));
        let examples: Vec<&str> = examples.filter(|line| line.starts_with("byhand ")).collect();
        assert!(examples.len() > 20, "{examples:?}");
        for example in examples {
            // Up to a pipe or a redirection.
            let line = example.split(['|', '>']).next().unwrap_or_default();
            if let Err(error) = Cli::try_parse_from(program::words(line)) {
                panic!("{example}: {error}");
            }
        }
    }
}
