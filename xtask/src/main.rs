//! `cargo xtask`: the project's own chores, and every command of `byhand`, which it hands on.

// A program has no outside: `pub` here means "for the other files of this program".
#![allow(unreachable_pub)]

mod arch;
mod bench_report;
mod cargo;
mod ci;
mod measure;
mod records;

use std::process::ExitCode;

use byhand_cli::{exit, output::Output, program};
use clap::{Parser, Subcommand};

/// Trains small-image networks whose every backward pass is written by hand.
#[derive(Parser)]
#[command(
    name = "xtask",
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
    #[command(flatten)]
    Byhand(Box<byhand_cli::Command>),
    /// Run what the results are made of, and append what it said to the records of docs/measurements
    Measure(measure::Options),
    /// Write the tables and charts of docs/results.md and README.md, from the records
    BenchReport(bench_report::Options),
    /// Check the arrows between the crates and the house rules
    Arch(arch::Options),
    /// Run everything that a change must pass: tests, format, lints, docs, architecture, the main job, the benchmarks
    Ci(ci::Options),
}

fn main() -> ExitCode {
    program::main::<Cli>("cargo xtask", |cli| &cli.output, |cli| run(&cli.command, &cli.output))
}

fn run(command: &Command, output: &Output) -> anyhow::Result<()> {
    match command {
        Command::Byhand(command) => match command.lacks() {
            Some(feature) => cargo::again_with(feature, output),
            None => byhand_cli::run(command, output),
        },
        Command::Measure(options) => measure::run(options, output),
        Command::BenchReport(options) => bench_report::run(options, output),
        Command::Arch(options) => arch::run(options, output),
        Command::Ci(options) => ci::run(options, output),
    }
}
