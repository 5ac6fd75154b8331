//! `cargo xtask ci`: every check that a change must pass, in one list, each stage named and timed.
//!
//! Three builds serve all stages: the test profile (tests), the check build (lints and documentation) and the release
//! build (this program, the main job and the benchmarks), so a cold run compiles each dependency at most three times.

use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::json;

use byhand_cli::output::Output;

use crate::cargo::cargo;

/// Options of `ci`.
#[derive(Args)]
pub struct Options {
    /// Run only the stages with these names
    #[arg(value_name = "STAGE")]
    only: Vec<String>,
    /// List the stages and their commands, run nothing
    #[arg(long)]
    list: bool,
}

/// A name, the environment it adds, and what `cargo` is asked to do.
type Stage = (&'static str, Option<(&'static str, &'static str)>, &'static [&'static str]);

const STAGES: [Stage; 7] = [
    ("test", None, &["test", "--workspace"]),
    ("format", None, &["fmt", "--all", "--check"]),
    ("lints", None, &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]),
    ("docs", Some(("RUSTDOCFLAGS", "-D warnings")), &["doc", "--workspace", "--no-deps"]),
    ("architecture", None, &["xtask", "arch"]),
    // The main job on data that every machine has; BYHAND_DATA does not change what it proves.
    (
        "main-job",
        None,
        &["xtask", "train-cnn", "--data", "digits", "--epochs", "1", "--out", "target/ci-run"],
    ),
    ("benchmarks", None, &["bench", "--package", "byhand-benches", "--", "--test"]),
];

/// Runs the stages in order and stops at the first that fails.
pub fn run(options: &Options, output: &Output) -> Result<()> {
    if let Some(unknown) = options.only.iter().find(|name| !STAGES.iter().any(|(stage, ..)| stage == name)) {
        let names = STAGES.map(|(name, ..)| name).join(", ");
        return Err(byhand_cli::exit::usage(format!("no stage '{unknown}'; expected one of {names}")));
    }
    let started = Instant::now();
    for (name, environment, arguments) in STAGES {
        if !options.only.is_empty() && !options.only.iter().any(|only| only == name) {
            continue;
        }
        let told = environment.map(|(key, value)| format!("{key}=\"{value}\" ")).unwrap_or_default();
        output.note(format!("==> {name}: {told}cargo {}", arguments.join(" ")));
        if options.list {
            continue;
        }
        let stage_started = Instant::now();
        let mut cargo = cargo();
        cargo.args(arguments).envs(environment);
        let status = cargo.status();
        let status = status.context("cannot start cargo; expected it on the PATH")?;
        let seconds = stage_started.elapsed().as_secs_f64();
        output.event("stage", json!({"name": name, "passed": status.success(), "seconds": seconds}));
        if !status.success() {
            bail!("stage {name} failed ({status}); run it alone with `cargo xtask ci {name}`");
        }
        output.note(format!("    {name} passed in {seconds:.0} s"));
    }
    if options.list {
        return Ok(());
    }
    let seconds = started.elapsed().as_secs_f64();
    output.result(json!({"seconds": seconds}));
    output.note(format!("ci: all passed in {seconds:.0} s"));
    Ok(())
}
