//! Cargo, called from a program that cargo itself runs.

use std::{env, process, process::Command};

use anyhow::{Context, Result};
use byhand_cli::output::Output;

/// A call of `cargo`.
pub fn cargo() -> Command {
    let mut cargo = Command::new("cargo");
    forget_package(&mut cargo);
    cargo
}

/// Keeps from a call of `cargo` what `cargo run` told this program about its own package: build scripts that look at it would
/// run again, and half the dependencies after them.
pub fn forget_package(cargo: &mut Command) {
    let ours = |name: &str| ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|prefix| name.starts_with(prefix));
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_str().is_some_and(ours)) {
        cargo.env_remove(name);
    }
}

/// Runs this command line again, in a build that has this feature, and ends as it ends.
pub fn again_with(feature: &str, output: &Output) -> Result<()> {
    output.note(format!("this command needs the feature `{feature}`, which training does not: it is built now, once (some minutes)"));
    let mut again = cargo();
    again.args(["run", "--release", "--package", "xtask", "--features", feature, "--"]);
    let status = again.args(env::args_os().skip(1)).status();
    let status = status.context("cannot start cargo; expected it on the PATH")?;
    process::exit(status.code().unwrap_or(byhand_cli::exit::FAILED.into()))
}
