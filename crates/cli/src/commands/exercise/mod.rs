//! `byhand exercise`: the exercises of docs/backprop.md, shown and checked.

#[cfg(feature = "proofs")]
mod case;
#[cfg(feature = "proofs")]
mod check;
#[cfg(feature = "proofs")]
mod register;

#[cfg(feature = "proofs")]
pub use check::run;

use clap::Args;

/// Options of `exercise`.
#[derive(Args)]
#[command(
    after_help = "Numbers may be written 0.75 or 3/4, and count as right within half a percent of the largest. Options \
    come before the name.\n\nExamples:\n  byhand exercise\n  byhand exercise dense-dx\n  byhand exercise dense-dx 1 -3/4\n  \
    byhand exercise pool-bug-1 pool-assigns\n  byhand exercise --solution dense-dx"
)]
pub struct Options {
    /// The exercise; without it, the list of all
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Your answer: numbers, or the name of a wrong line; without it, the exercise is shown
    #[arg(value_name = "ANSWER", allow_hyphen_values = true)]
    answer: Vec<String>,
    /// Show the right answer
    #[arg(long, requires = "name", conflicts_with = "answer")]
    solution: bool,
}
