//! `byhand notebooks`: the notebooks this project comes from, each as written, with its bug, and repaired.
//!
//! A system is data: a file of `notebooks/`. `notebooks show` prints it, `notebooks run FILE.toml` runs a changed one.

#[cfg(feature = "proofs")]
mod demo;
#[cfg(feature = "proofs")]
mod experiment;
#[cfg(feature = "proofs")]
mod maps;
#[cfg(feature = "proofs")]
mod notebook;
#[cfg(feature = "proofs")]
mod report;
#[cfg(feature = "proofs")]
mod run;
#[cfg(feature = "proofs")]
mod table;

#[cfg(feature = "proofs")]
pub use run::run;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::arguments::{DataArgs, ThreadsArg};

/// Options of `notebooks`.
#[derive(Args)]
#[command(after_help = "Examples:
  # the list of systems
  byhand notebooks
  # the first CNN, as written and repaired
  byhand notebooks run A
  # the whole table, and report/index.html with pictures
  byhand notebooks run all --seeds 5 --report report
  # the experiment as data, to be changed and run
  byhand notebooks show A > mine.toml
  byhand notebooks run mine.toml")]
pub struct Options {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// List the systems
    List,
    /// Print a system as TOML
    Show {
        /// A, B1, B2, B3, C1, C2, D or E
        name: String,
    },
    /// Train a system as written and repaired, from seeds 1, 2, ..., and print one table
    Run(Run),
}

#[derive(Args)]
struct Run {
    /// A, B1, B2, B3, C1, C2, D, E, all, or a TOML file like those that `notebooks show` prints
    name: String,
    /// How many seeds to train from
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds: u64,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    threads: ThreadsArg,
    /// Write DIR/index.html: learning curves, filters, feature maps, where the broken pool's gradient goes
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
}
