//! `byhand notebooks`: the notebooks this project comes from, each as written, with its bug, and repaired.
//!
//! An experiment is data: a preset, one TOML file a system. `notebooks show` prints it, `notebooks run FILE.toml` runs a changed one.

#[cfg(feature = "proofs")]
mod demo;
#[cfg(feature = "proofs")]
mod experiment;
#[cfg(feature = "proofs")]
mod preset;
#[cfg(feature = "proofs")]
mod report;
#[cfg(feature = "proofs")]
mod table;

#[cfg(feature = "proofs")]
pub use table::run;

use std::path::PathBuf;

use clap::{Args, Subcommand};

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
    /// Print the preset of a system
    Show {
        /// A, B1, B2, B3, C1, C2, D or E
        name: String,
    },
    /// Train a system as written and repaired, and print one table
    Run(Run),
}

#[derive(Args)]
struct Run {
    /// A, B1, B2, B3, C1, C2, D, E, all, or a TOML file like `notebooks show` prints
    name: String,
    /// Seeds 1 to N, each a run of every row
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds: u64,
    /// Where the data's files are: a folder that holds mnist/ and fashion-mnist/
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Runs at the same time, each on one thread; 0 for as many as there are cores
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(..=1024))]
    threads: u16,
    /// Write DIR/index.html: learning curves, filters, feature maps, where the broken pool's gradient goes
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
}
