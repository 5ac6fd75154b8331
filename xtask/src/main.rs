//! `cargo xtask`: the command line of byhand. Parses, calls the library crates, prints; one command a file.

// A program has no outside: `pub` here means "for the other files of this program".
#![allow(unreachable_pub)]

mod commands;
mod exit;
mod interrupt;
mod loading;
mod output;
mod run_folder;
mod settings;

use std::process::ExitCode;

use byhand_tensor::Isa;
use clap::{Parser, Subcommand, error::ErrorKind};

use commands::{
    arch, bench_report, ci, data, evaluate, gradcheck, parity, predict, seeds, speedrun, summary, throughput,
    train,
};
use output::Output;

/// Trains small-image networks whose every backward pass is written by hand.
#[derive(Parser)]
#[command(
    name = "xtask",
    bin_name = "cargo xtask",
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

#[derive(Subcommand)]
enum Command {
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
    /// Loss, accuracy and confusion matrix of a trained model
    Evaluate(evaluate::Options),
    /// What a trained model says about images in PNG or IDX files
    Predict(predict::Options),
    /// Layers, shapes, parameters and floating-point operations of a network
    Summary(summary::Options),
    /// Prove every layer's gradients, on every instruction set of this machine
    Gradcheck(gradcheck::Options),
    /// Time the training step: images a second, GFLOP/s, percent of the machine's peak
    Throughput(throughput::Options),
    /// The same training in PyTorch, held against ours step by step
    Parity(parity::Options),
    /// Train a recipe from several seeds: seconds to a mean test accuracy of 99 %
    Speedrun(speedrun::Options),
    /// Run the benchmarks and write their table, with machine and commit, into docs/results.md
    BenchReport(bench_report::Options),
    /// Fetch, examine and show data sets
    Data(data::Options),
    /// The notebooks this project comes from, as written and repaired
    Seeds(seeds::Options),
    /// Check the arrows between the crates and the house rules
    Arch(arch::Options),
    /// Run everything that a change must pass: tests, format, lints, docs, architecture, the main job, the benchmarks
    Ci(ci::Options),
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return wrong_usage(&error),
    };
    let output = &cli.output;
    let done = instruction_set().and_then(|()| run(&cli.command, output));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let code = exit::code(&error);
            output.error(&error, code);
            ExitCode::from(code)
        }
    }
}

fn run(command: &Command, output: &Output) -> anyhow::Result<()> {
    match command {
        Command::TrainCnn(options) => train::run("train-cnn", options, output),
        Command::TrainDnn(options) => train::run("train-dnn", options, output),
        Command::TrainMlp(options) => train::run("train-mlp", options, output),
        Command::Train(options) => train::run("train", options, output),
        Command::Evaluate(options) => evaluate::run(options, output),
        Command::Predict(options) => predict::run(options, output),
        Command::Summary(options) => summary::run(options, output),
        Command::Gradcheck(options) => gradcheck::run(options, output),
        Command::Throughput(options) => throughput::run(options, output),
        Command::Parity(options) => parity::run(options, output),
        Command::Speedrun(options) => speedrun::run(options, output),
        Command::BenchReport(options) => bench_report::run(options, output),
        Command::Data(options) => data::run(options, output),
        Command::Seeds(options) => seeds::run(options, output),
        Command::Arch(options) => arch::run(options, output),
        Command::Ci(options) => ci::run(options, output),
    }
}

/// An instruction set that is asked for and cannot be had is an error, not a silent choice of another.
fn instruction_set() -> anyhow::Result<()> {
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

/// Help and the version are answers and are printed whole; an error is told in one line, its tips included.
fn wrong_usage(error: &clap::Error) -> ExitCode {
    let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if asked || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        // Nothing can be said when the terminal is gone.
        let _ = error.print();
        return if asked { ExitCode::SUCCESS } else { ExitCode::from(exit::USAGE) };
    }
    let text = error.render().to_string();
    let lines = text.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:"));
    let told: Vec<&str> = lines.filter(|line| !line.is_empty() && !line.starts_with("For more")).collect();
    let message = told.join("; ").replace(":; ", ": ").trim_start_matches("error: ").to_string();
    let json = std::env::args().any(|argument| argument == "--json");
    Output::new(json).error(&exit::usage(format!("{message} (see `cargo xtask --help`)")), exit::USAGE);
    ExitCode::from(exit::USAGE)
}
