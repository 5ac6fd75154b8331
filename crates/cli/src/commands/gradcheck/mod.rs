//! `byhand gradcheck`: every layer and loss against every clause of the layer contract, as a table.

#[cfg(feature = "proofs")]
mod table;

#[cfg(feature = "proofs")]
pub use table::run;

use clap::Args;

use crate::arguments::SeedArg;

/// Options of `gradcheck`.
#[derive(Args)]
#[command(
    after_help = "The columns hold the largest error seen: `adjoint` counts in units of the exact integer \
    identity (only 0 passes), `central` and `four-point` are relative errors of finite differences in f64, `dual` that \
    of dual numbers, `oracle` the f32 kernel's error against f64 over its a-priori rounding bound (at most 1 passes). \
    A dash: the clause does not apply."
)]
pub struct Options {
    #[command(flatten)]
    seed: SeedArg,
    /// Check only layers whose spec contains this
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
}
