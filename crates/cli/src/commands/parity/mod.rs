//! `byhand parity`: the same training in PyTorch, held against ours step by step.
//!
//! `export` writes a bundle and a script; the script, which needs no byhand, writes what PyTorch made of the bundle; `compare`
//! trains on the bundle and holds one against the other.

mod bundle;
mod compare;
mod export;
mod rounding;
pub mod script;

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::output::Output;

/// Options of `parity`.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Write initial weights, minibatches and a PyTorch script that trains on them into DIR
    #[command(after_help = EXAMPLES)]
    Export(export::Options),
    /// Train on the bundle in DIR and hold loss and weights, step by step, against what PyTorch wrote
    #[command(after_help = EXAMPLES)]
    Compare(compare::Options),
}

/// Exports or compares.
pub fn run(options: &Options, output: &Output) -> Result<()> {
    match &options.action {
        Action::Export(options) => export::run(options, output),
        Action::Compare(options) => compare::run(options, output),
    }
}

const EXAMPLES: &str = "Examples:
  # lenet, 100 steps of SGD on minibatches of 32 of MNIST
  byhand parity export /tmp/lenet
  # the same steps in PyTorch (pip install torch safetensors)
  python3 /tmp/lenet/train.py
  # a table: step, loss ours, loss theirs, largest weight difference
  byhand parity compare /tmp/lenet

  byhand parity export /tmp/adam --preset mlp --optimizer adam --lr 0.001 --steps 200
  # PyTorch in double precision: how far is single from it?
  python3 /tmp/adam/train.py --float64
  byhand parity compare /tmp/adam --tolerance 1e-2 --json

The weight difference of a step is the largest, over all weights, of |ours - theirs| / max(|theirs|, root mean square of \
their tensor). Code 1 means that it, or the relative difference of a loss, was beyond --tolerance. Adam divides gradients by \
their size: where they are no larger than their rounding errors it moves a weight by the learning rate in any direction. \
What rounding explains is not counted.
Equal gradients give about 1e-6 in single precision. A sudden jump after many such steps is a kink: two places of a \
max-pool, or a ReLU and its zero, as near to each other as the difference. A wrong gradient shows from step 1 on.";
