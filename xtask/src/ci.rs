//! `cargo xtask ci`: every check that a change must pass, in one list, each stage named and timed.
//!
//! Three builds serve all stages: the test profile (tests and benchmarks), the check build (lints and documentation) and the release
//! build (this program and the main job), so a cold run compiles each dependency at most three times. Stages that run on request alone
//! have builds of their own.

use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::json;

use byhand_cli::output::Output;

use crate::cargo::cargo;

/// Options of `ci`.
#[derive(Args)]
pub struct Options {
    /// Run only the stages with these names; asan, miri and arm run only when named
    #[arg(value_name = "STAGE")]
    only: Vec<String>,
    /// List the stages and their commands, run nothing
    #[arg(long)]
    list: bool,
}

/// A name, the environment it adds, and what `cargo` is asked to do.
type Stage = (&'static str, &'static [(&'static str, &'static str)], &'static [&'static str]);

const STAGES: [Stage; 8] = [
    ("test", &[], &["test", "--workspace"]),
    ("format", &[], &["fmt", "--all", "--check"]),
    ("lints", &[], &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]),
    ("docs", &[("RUSTDOCFLAGS", "-D warnings")], &["doc", "--workspace", "--no-deps"]),
    ("architecture", &[], &["xtask", "arch"]),
    // The main job on data that every machine has; BYHAND_DATA does not change what it proves.
    ("main-job", &[], &["xtask", "train-cnn", "--data", "digits", "--epochs", "1", "--out", "target/ci-run"]),
    // What docs/reliability.md promises, in the build that people run. The exact gradients have no part in it; the tests prove them.
    ("reliability", &[], &["xtask", "verify"]),
    // Each runs once, in the build of the tests: what counts here is that they run, not how fast.
    ("benchmarks", &[], &["test", "--workspace", "--bench", "kernels", "--bench", "steps"]),
];

/// Starts programs for 64-bit Arm on another machine.
const ARM: &str = "qemu-aarch64 -L /usr/aarch64-linux-gnu";

/// Stages that run when they are asked for by name alone: they build the kernels once more, or need another compiler.
const ON_REQUEST: [Stage; 3] = [
    (
        // The one crate with unsafe code, under AddressSanitizer: no kernel reads or writes beside its slices, and no index wraps. For
        // x86-64 Linux. The sanitizer is not stable; the variable lets the stable compiler have it.
        "asan",
        &[
            ("RUSTC_BOOTSTRAP", "1"),
            ("RUSTFLAGS", "-Zsanitizer=address"),
            // Each call that panics, as many of these do, would leave frames of its own behind, and the search for a free one would take
            // ever longer.
            ("ASAN_OPTIONS", "detect_stack_use_after_return=0"),
        ],
        &[
            "test",
            "--package",
            "byhand-tensor",
            "--target",
            "x86_64-unknown-linux-gnu",
            "--test",
            "all",
            "--",
            "--nocapture",
            "hostile::",
            "twins::",
        ],
    ),
    (
        // Each kernel on the least shapes that lead to it, interpreted as plain Rust. One thread alone: no search for data races. Needs
        // `rustup toolchain install nightly --component miri,rust-src`.
        "miri",
        &[("RUSTUP_TOOLCHAIN", "nightly"), ("MIRIFLAGS", "-Zmiri-disable-data-race-detector")],
        &[
            "miri",
            "test",
            "--release",
            "--package",
            "byhand-tensor",
            "--test",
            "all",
            "--",
            "--nocapture",
            "least::",
        ],
    ),
    (
        // The digests of docs/digests.md on 64-bit Arm, emulated: on NEON and on plain Rust. Needs, on Debian and its like, the packages
        // qemu-user and gcc-aarch64-linux-gnu, and `rustup target add aarch64-unknown-linux-gnu`.
        "arm",
        &[
            ("CC_aarch64_unknown_linux_gnu", "aarch64-linux-gnu-gcc"),
            ("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", "aarch64-linux-gnu-gcc"),
            ("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER", ARM),
            // The program starts itself.
            ("BYHAND_RUNNER", ARM),
        ],
        &[
            "run",
            "--release",
            "--package",
            "byhand-cli",
            "--no-default-features",
            "--target",
            "aarch64-unknown-linux-gnu",
            "--",
            "verify",
            "named-runs",
        ],
    ),
];

/// Runs the stages in order and stops at the first that fails.
pub fn run(options: &Options, output: &Output) -> Result<()> {
    let all = || STAGES.into_iter().chain(ON_REQUEST);
    if let Some(unknown) = options.only.iter().find(|name| !all().any(|(stage, ..)| stage == **name)) {
        let names = all().map(|(name, ..)| name).collect::<Vec<_>>().join(", ");
        return Err(byhand_cli::exit::usage(format!("no stage '{unknown}'; expected one of {names}")));
    }
    let started = Instant::now();
    for (i, (name, environment, arguments)) in all().enumerate() {
        let is_asked_for = options.only.iter().any(|only| only == name);
        // In a list all are seen.
        let is_of_every_run = options.only.is_empty() && (options.list || i < STAGES.len());
        if !is_asked_for && !is_of_every_run {
            continue;
        }
        let told: String = environment.iter().map(|(key, value)| format!("{key}=\"{value}\" ")).collect();
        output.note(format!("==> {name}: {told}cargo {}", arguments.join(" ")));
        if options.list {
            continue;
        }
        let stage_started = Instant::now();
        let mut cargo = cargo();
        cargo.args(arguments).envs(environment.iter().copied());
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
