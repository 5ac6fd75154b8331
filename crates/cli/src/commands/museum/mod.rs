//! `byhand museum`: wrong backward passes, each beside the right one: listed, shown with what finds them, trained.

#[cfg(feature = "proofs")]
mod show;
#[cfg(feature = "proofs")]
mod train;

#[cfg(feature = "proofs")]
pub use show::run;

use std::num::NonZeroUsize;

use clap::{Args, Subcommand};

use crate::{arguments::SeedArg, values::at_least_one};

/// Options of `museum`.
#[derive(Args)]
#[command(after_help = "Examples:
  # every wrong line, with the notebook that it comes from
  byhand museum
  # the wrong line beside the right one, and what the proofs find in it now
  byhand museum show pool-all-ties
  # a small network with it, beside the same network without it
  byhand museum train pool-index-without-stride
  byhand museum train softmax-without-maximum --lr 5")]
pub struct Options {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// List the pieces
    List,
    /// Show a piece: wrong line, right line, symptom, code, and what the proofs find, expected and found
    Show {
        /// The piece; `byhand museum` lists them
        name: String,
    },
    /// Train a small network with the piece in it beside the right one, on built-in digits
    Train(Train),
}

#[derive(Args)]
struct Train {
    /// The piece; `byhand museum` lists them
    name: String,
    /// Passes over the training images
    #[arg(long, value_name = "N", default_value = "3", value_parser = at_least_one)]
    epochs: NonZeroUsize,
    /// Learning rate of gradient descent
    #[arg(long, default_value_t = 0.1)]
    lr: f32,
    #[command(flatten)]
    seed: SeedArg,
}
