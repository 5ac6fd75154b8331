//! `byhand verify`: the promises of docs/reliability.md, each put to the test on this machine, one line a check.

mod bits;
mod bytes;
mod disk;
mod downloads;
mod errors;
mod fault_server;
mod finite;
mod long_run;
mod program;
mod small;

use std::{fmt, time::Instant};

use anyhow::{Result, bail};
use clap::Args;
use serde_json::json;

use crate::{exit::usage, output::Output};

/// Options of `verify`.
#[derive(Args)]
#[command(after_help = "Examples:
  # everything, in a minute or two
  byhand verify
  # what the names mean
  byhand verify --list
  # one check, with ten times as many cases, for an hour where time is what counts
  byhand verify kill-9 --long

Each check prints its name, what it found, and pass, fail or skipped. Exit code 1 when one fails. What is promised, and what is not, is \
in docs/reliability.md.")]
pub struct Options {
    /// Only the checks with these names
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// As many cases as docs/reliability.md has for a release; some checks run for an hour
    #[arg(long)]
    long: bool,
    /// List the checks, run none
    #[arg(long)]
    list: bool,
    /// What the check of downloads starts, to kill it: fetch its small data set from MIRROR into CACHE
    #[arg(long, hide = true, num_args = 2, value_names = ["MIRROR", "CACHE"], conflicts_with_all = ["names", "long", "list"])]
    fetch_tiny: Option<Vec<String>>,
}

/// A check: its name, what it holds, and how many cases it has without and with `--long`.
struct Check {
    name: &'static str,
    holds: &'static str,
    cases: [usize; 2],
    run: fn(usize) -> Result<Outcome>,
}

const CHECKS: [Check; 21] = [
    Check {
        name: "named-runs",
        holds: "every named network ends with the digest that docs/digests.md has for this version, on any instruction set and threads",
        cases: [1, 1],
        run: program::named_runs,
    },
    Check {
        name: "threads",
        holds: "every model, fused and not, has one digest on 1, 2, 3, 7 and 16 threads, and again and again under load",
        cases: [4, 20],
        run: bits::threads,
    },
    Check {
        name: "gradients-exact",
        holds: "on integers every layer's gradients are exact, in random shapes, on every instruction set",
        cases: [60, 400],
        run: bits::gradients_exact,
    },
    Check {
        name: "batch-invariance",
        holds: "what a model says of an image has the same bits alone and among 2 to 256 others",
        cases: [200, 1_000],
        run: bits::batch_invariance,
    },
    Check {
        name: "instruction-sets",
        holds: "every instruction set with fused multiply-add trains the same weights",
        cases: [30, 100],
        run: bits::instruction_sets,
    },
    Check {
        name: "resume",
        holds: "stopped after any step, a fit that goes on with other threads ends with the same bits",
        cases: [60, 60],
        run: bits::resume,
    },
    Check {
        name: "crash-exhaustive",
        holds: "stopped at any operation on the disk, a run that is started again ends with the same bits",
        cases: [1, 1],
        run: disk::crash_exhaustive,
    },
    Check {
        name: "power-loss",
        holds: "the same when the disk loses what was not synced, at random moments, several times a run",
        cases: [2_000, 10_000],
        run: disk::power_loss,
    },
    Check {
        name: "io-errors",
        holds: "a disk that is full, broken, forbidden or read-only costs no checkpoint that was there, and is named",
        cases: [1, 1],
        run: disk::io_errors,
    },
    Check {
        name: "checkpoint-damage",
        holds: "every flipped bit and every cut in a checkpoint is found, and the one before is taken",
        cases: [2_000, 10_000],
        run: disk::checkpoint_damage,
    },
    Check {
        name: "model-damage",
        holds: "every flipped bit and every cut in a model file is found",
        cases: [2_000, 10_000],
        run: disk::model_damage,
    },
    Check {
        name: "checkpoint-cost",
        holds: "a checkpoint every 30 s costs less than 1 % of the time",
        cases: [5, 20],
        run: disk::checkpoint_cost,
    },
    Check {
        name: "idx-mutations",
        holds: "no changed IDX file makes the reader panic, is taken for another, or costs more memory than its bytes and 1 MiB",
        cases: [100_000, 1_000_000],
        run: bytes::idx_mutations,
    },
    Check {
        name: "not-finite",
        holds: "a weight, a pixel or a gradient that is not finite stops training before anything moves, and the place is named",
        cases: [3, 30],
        run: finite::not_finite,
    },
    Check {
        name: "kill-9",
        holds: "killed at random moments and started again, the program ends with the same bits",
        cases: [20, 200],
        run: program::kill_9,
    },
    Check {
        name: "lock",
        holds: "of two programs that train into one folder at once, one is refused within a second, and nothing is harmed",
        cases: [8, 50],
        run: program::lock,
    },
    Check {
        name: "signals",
        holds: "SIGINT and SIGTERM end a training within 2 s, with 130 and 143, and what was learned is saved",
        cases: [4, 20],
        run: program::signals,
    },
    Check {
        name: "failure-replayed",
        holds: "a run that diverges ends with exit code 3, and replay makes it fail again in the same way",
        cases: [1, 1],
        run: program::failure_replayed,
    },
    Check {
        name: "downloads",
        holds: "no fault of a server, a proxy or a network, and no kill, lets a wrong byte in or a good one go; the next mirror is asked",
        cases: [3, 20],
        run: downloads::downloads,
    },
    Check {
        name: "error-catalogue",
        holds: "every wrong command line is told what is wrong, where, what was expected and what to do, with its exit code",
        cases: [1, 1],
        run: errors::error_catalogue,
    },
    Check {
        name: "long-run",
        holds: "memory does not grow, and two halves make the same bits as the whole",
        cases: [5, 3_600],
        run: long_run::long_run,
    },
];

/// What a check found.
struct Outcome {
    /// The figure, in words.
    figure: String,
    verdict: Verdict,
}

enum Verdict {
    Pass,
    Fail(String),
    Skipped(String),
}

impl Outcome {
    /// `failures` tells what went wrong, if anything did.
    fn of(figure: impl Into<String>, failures: &[String]) -> Self {
        let verdict = match failures {
            [] => Verdict::Pass,
            [only] => Verdict::Fail(only.clone()),
            [first, others @ ..] => Verdict::Fail(format!("{first}; and {} more", others.len())),
        };
        Self { figure: figure.into(), verdict }
    }

    fn skipped(reason: impl Into<String>) -> Self {
        Self { figure: "-".into(), verdict: Verdict::Skipped(reason.into()) }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Pass => f.write_str("pass"),
            Verdict::Fail(reason) => write!(f, "fail: {reason}"),
            Verdict::Skipped(reason) => write!(f, "skipped: {reason}"),
        }
    }
}

/// Runs the checks; fails when one does.
pub fn run(options: &Options, output: &Output) -> Result<()> {
    if let Some([mirror, cache]) = options.fetch_tiny.as_deref() {
        return downloads::fetch_tiny(mirror, cache.as_ref());
    }
    if let Some(unknown) = options.names.iter().find(|name| CHECKS.iter().all(|check| check.name != **name)) {
        let names: Vec<&str> = CHECKS.iter().map(|check| check.name).collect();
        return Err(usage(format!("no check is called '{unknown}'; expected one of {}", names.join(", "))));
    }
    let started = Instant::now();
    let (mut failed, mut passed, mut skipped) = (Vec::new(), 0, 0);
    for Check { name, holds, cases, run } in CHECKS {
        if !(options.names.is_empty() || options.names.iter().any(|asked| asked == name)) {
            continue;
        }
        if options.list {
            output.print(format!("{name:18} {holds}"));
            output.event("check", json!({"name": name, "holds": holds}));
            continue;
        }
        let begun = Instant::now();
        let Outcome { figure, verdict } = run(cases[usize::from(options.long)]).unwrap_or_else(|error| {
            Outcome { figure: "-".into(), verdict: Verdict::Fail(format!("{error:#}")) }
        });
        let seconds = begun.elapsed().as_secs_f64();
        output.print(format!("{name:18} {figure}  {verdict}"));
        let (word, reason) = match verdict {
            Verdict::Pass => ("pass", None),
            Verdict::Fail(reason) => ("fail", Some(reason)),
            Verdict::Skipped(reason) => ("skipped", Some(reason)),
        };
        match word {
            "pass" => passed += 1,
            "fail" => failed.push(name),
            _ => skipped += 1,
        }
        output.event(
            "check",
            json!({"name": name, "figure": figure, "verdict": word, "reason": reason, "seconds": seconds}),
        );
    }
    if options.list {
        return Ok(());
    }
    let seconds = started.elapsed().as_secs_f64();
    output.note(format!("{passed} passed, {} failed, {skipped} skipped, in {seconds:.0} s", failed.len()));
    output.result(json!({"passed": passed, "failed": failed.len(), "skipped": skipped, "seconds": seconds}));
    if !failed.is_empty() {
        bail!("what is promised does not hold: {}", failed.join(", "));
    }
    Ok(())
}
