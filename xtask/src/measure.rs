//! `cargo xtask measure`: runs what the results are made of, and appends what it said to the records of `docs/measurements`.
//!
//! Most kinds are commands of this program, run once per seed or number of threads; their result becomes the record.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, anyhow, bail};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use byhand_cli::output::Output;

use crate::{
    cargo::{cargo, forget_package},
    records::{self, FOLDER, Fields},
};

/// Options of `measure`.
#[derive(Args)]
#[command(after_help = "Examples:
  cargo xtask measure training                         the four commands of the README, three seeds each
  cargo xtask measure bits                             one network after the other, on 1 to 16 threads
  cargo xtask measure benchmarks --filter 'step/lenet' some of the benchmarks; all of them take about ten minutes
  cargo xtask measure parity -- parity compare /tmp/lenet
  cargo xtask bench-report                             then: the tables and charts of the new records

Beside these, `python3 benches/peers/compare.py --out docs/measurements/peers.jsonl` times the step in other frameworks, and
benches/peers/speedrun.py the speedrun in PyTorch. Run nothing else meanwhile.")]
pub struct Options {
    /// What to measure; the records go to a file of this name
    kind: Kind,
    /// Runs of each command; training takes another seed in each
    #[arg(long, value_name = "N", default_value_t = 3)]
    runs: usize,
    /// Threads, but for bits
    #[arg(long, value_name = "N", default_value_t = 2)]
    threads: usize,
    /// Benchmarks whose id matches this regular expression
    #[arg(long, value_name = "REGEX", default_value = "")]
    filter: String,
    /// The folder of the records
    #[arg(long, value_name = "DIR", default_value = FOLDER)]
    folder: PathBuf,
    /// A command of this program to run instead of the listed ones, without --json
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// A file of records.
#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    /// Accuracy, seconds and memory of the training commands
    Training,
    /// Seconds to 99 % on MNIST
    Speedrun,
    /// Digests of the weights for 1, 2, 3, 7 and 16 threads
    Bits,
    /// The largest errors of gradcheck (builds the proofs)
    Gradients,
    /// Differences to a training in PyTorch (needs a COMMAND)
    Parity,
    /// Kernels and steps: GFLOP/s and percent of the peak
    Benchmarks,
    /// Seconds of a cold build of the command line
    Build,
}

/// Measures.
pub fn run(options: &Options, output: &Output) -> Result<()> {
    let kind = options.kind.to_possible_value().expect("no kind is hidden").get_name().to_string();
    let mut count = 0;
    let mut record = |command: &str, told: Fields| {
        count += 1;
        records::append(&options.folder, &kind, command, told)
    };
    match options.kind {
        _ if !options.command.is_empty() => {
            for _ in 0..options.runs {
                ours(&options.command, None, output, &mut record)?;
            }
        }
        Kind::Benchmarks => benchmarks(&options.filter, output, &mut record)?,
        Kind::Build => build(output, &mut record)?,
        Kind::Parity => {
            let message = "measure parity: expected a command, such as `measure parity -- parity compare DIR`, found none";
            return Err(byhand_cli::exit::usage(message));
        }
        kind => {
            for (words, isa) in commands(kind, options) {
                ours(&words, isa, output, &mut record)?;
            }
        }
    }
    if count == 0 {
        bail!("nothing was measured: no benchmark has an id that matches '{}'", options.filter);
    }
    output.note(format!("{count} records appended to {}/{kind}.jsonl", options.folder.display()));
    output.result(json!({"records": count, "kind": kind, "folder": options.folder}));
    Ok(())
}

const PRESETS: [&str; 7] = ["cnn", "cnn-3x3", "lenet", "cnn-14", "dnn-14", "dnn", "mlp"];

/// The commands of a kind, and the instruction set of each if it is not the machine's best.
fn commands(kind: Kind, options: &Options) -> Vec<(Vec<String>, Option<&'static str>)> {
    let Options { runs, threads, .. } = options;
    let threads = format!("--threads {threads}");
    let mut lines: Vec<(String, Option<&str>)> = Vec::new();
    match kind {
        Kind::Training => {
            for command in ["train-cnn", "train-dnn", "train-mlp", "train --recipe fashion-92.5"] {
                lines.extend((0..*runs).map(|seed| (format!("{command} --seed {seed} {threads}"), None)));
            }
        }
        Kind::Speedrun => lines.extend((0..*runs).map(|_| (format!("speedrun {threads}"), None))),
        Kind::Bits => {
            for preset in PRESETS {
                let line = |threads: usize| {
                    format!(
                        "train --preset {preset} --train-limit 3000 --split range --epochs 1 --batch-size 128 --threads {threads}"
                    )
                };
                lines.extend([1, 2, 3, 7, 16].map(|threads| (line(threads), None)));
                if cfg!(target_arch = "x86_64") {
                    lines.push((line(2), Some("avx2")));
                }
            }
        }
        Kind::Gradients => lines.push(("gradcheck".to_string(), None)),
        Kind::Parity | Kind::Benchmarks | Kind::Build => {}
    }
    let words = |line: String| line.split(' ').map(str::to_string).collect();
    lines.into_iter().map(|(line, isa)| (words(line), isa)).collect()
}

/// Runs a command of this program; its result, and what the system says of it, are the record.
fn ours(
    words: &[String],
    isa: Option<&str>,
    output: &Output,
    record: &mut impl FnMut(&str, Fields) -> Result<()>,
) -> Result<()> {
    let shown =
        isa.map(|isa| format!("BYHAND_ISA={isa} ")).unwrap_or_default() + "cargo xtask " + &words.join(" ");
    output.note(format!("==> {shown}"));
    let mut command = watch()?;
    command
        .arg(env::current_exe().context("cannot find this program")?)
        .args(words)
        .args(["--json", "--quiet"])
        .envs(isa.map(|isa| ("BYHAND_ISA", isa)));
    if words[0].starts_with("train") {
        // It would be kept beside the next.
        let _ = fs::remove_dir_all(RUN);
        command.args(["--out", RUN]);
    }
    let told = command.stderr(Stdio::inherit()).output().with_context(|| format!("cannot run {shown}"))?;
    let text = String::from_utf8_lossy(&told.stdout);
    let events = text
        .lines()
        .map(|line| serde_json::from_str(line).map_err(|error| anyhow!("{shown} said {line}: {error}")));
    let events = events.collect::<Result<Vec<Fields>>>()?;
    let named =
        |name: &'static str| events.iter().filter(move |event| event.get("event") == Some(&json!(name)));
    let result =
        named("result").next_back().with_context(|| format!("{shown} gave no result ({})", told.status))?;
    let mut fields = result.clone();
    // Where the run was kept says nothing.
    fields.retain(|name, _| name != "event" && name != "out");
    let mut seconds = 0.0;
    let curve: Vec<Value> = named("epoch_finished")
        .map(|epoch| {
            seconds += epoch.get("seconds").and_then(Value::as_f64).unwrap_or_default();
            json!([seconds, epoch.get("test_accuracy")])
        })
        .collect();
    if !curve.is_empty() {
        fields.insert("curve".to_string(), curve.into());
    }
    let clauses = worst_of_clauses(named("check"));
    if !clauses.is_empty() {
        fields.insert("clauses".to_string(), clauses.into());
    }
    fields.extend(usage());
    record(&shown, fields)
}

/// Of the checks of each clause their number and the one that comes nearest to its limit.
fn worst_of_clauses<'a>(checks: impl Iterator<Item = &'a Fields>) -> Vec<Value> {
    let mut clauses: Vec<Value> = Vec::new();
    for check in checks {
        let at = clauses.iter().position(|known| known["clause"] == check["clause"]);
        let number = |value: &Value| value.as_f64().unwrap_or_default();
        let nearness =
            |check: &Value| number(&check["worst"]) / number(&check["limit"]).max(f64::MIN_POSITIVE);
        let mut check = Value::from(check.clone());
        if let Some(at) = at {
            let known = clauses.swap_remove(at);
            let checks = number(&known["checks"]) + number(&check["checks"]);
            if nearness(&known) >= nearness(&check) {
                check = known;
            }
            check["checks"] = checks.into();
        }
        clauses.push(check);
    }
    clauses.sort_by_key(|clause| clause["clause"].to_string());
    clauses
}

/// The folder of the last training run.
const RUN: &str = "target/measured-run";

/// What the system says of the last call.
const USAGE: &str = "target/measured-usage";

/// A call of a program, whose name and arguments are still to be added; its time and memory are written down where the system
/// has a program for that.
fn watch() -> Result<Command> {
    fs::create_dir_all("target").context("cannot make the folder target")?;
    let usage = env::current_dir().context("cannot find this folder")?.join(USAGE);
    // One that is older than the call would be of another.
    let _ = fs::remove_file(&usage);
    let time = Path::new("/usr/bin/time");
    if !time.exists() {
        return Ok(Command::new("env"));
    }
    let mut command = Command::new(time);
    command.args(["-f", "%M %U %S", "-o"]).arg(usage);
    Ok(command)
}

/// What was written down of the last call.
fn usage() -> Fields {
    let text = fs::read_to_string(USAGE).unwrap_or_default();
    // A program that failed is named in a line before.
    let numbers: Vec<f64> =
        text.lines().last().into_iter().flat_map(str::split_whitespace).flat_map(str::parse).collect();
    let [kib, user, system] = numbers[..] else { return Fields::new() };
    let cpu = ((user + system) * 100.0).round() / 100.0;
    [("cpu_seconds", cpu), ("peak_memory_mib", (kib / 1024.0).round())]
        .map(|(name, value)| (name.to_string(), value.into()))
        .into_iter()
        .collect()
}

/// Runs the benchmarks, which write down what they measure.
fn benchmarks(
    filter: &str,
    output: &Output,
    record: &mut impl FnMut(&str, Fields) -> Result<()>,
) -> Result<()> {
    let path =
        env::current_dir().context("cannot find this folder")?.join("target/measured-benchmarks.jsonl");
    let _ = fs::remove_file(&path);
    output.note("==> cargo bench --package byhand-benches");
    let mut command = cargo();
    command.args(["bench", "--package", "byhand-benches", "--", filter]).env("BYHAND_BENCH_RECORDS", &path);
    // Standard output is for the result.
    let status = command
        .stdout(Stdio::from(std::io::stderr()))
        .status()
        .context("cannot start cargo; expected it on the PATH")?;
    if !status.success() {
        bail!("the benchmarks failed ({status}); run them alone with `cargo bench --package byhand-benches`");
    }
    let shown = if filter.is_empty() { String::new() } else { format!(" --filter '{filter}'") };
    for line in fs::read_to_string(&path).unwrap_or_default().lines() {
        record(&format!("cargo xtask measure benchmarks{shown}"), serde_json::from_str(line)?)?;
    }
    Ok(())
}

/// Builds the command line in a fresh clone of the last commit.
fn build(output: &Output, record: &mut impl FnMut(&str, Fields) -> Result<()>) -> Result<()> {
    const CLONE: &str = "target/measured-build";
    const COMMAND: &str = "cargo build --release -p xtask";
    let clear = || if Path::new(CLONE).exists() { fs::remove_dir_all(CLONE) } else { Ok(()) };
    clear().with_context(|| format!("cannot remove {CLONE}"))?;
    let cloned = Command::new("git").args(["clone", "--quiet", ".", CLONE]).status();
    if !cloned.context("cannot start git")?.success() {
        bail!("cannot clone this folder: expected the top of a git repository");
    }
    output.note(format!("==> {COMMAND}, in a fresh clone"));
    let begun = Instant::now();
    let mut command = watch()?;
    forget_package(&mut command);
    command.args(COMMAND.split(' ')).current_dir(CLONE).env("CARGO_TARGET_DIR", "target");
    let status = command.status().context("cannot start cargo; expected it on the PATH")?;
    let seconds = (begun.elapsed().as_secs_f64() * 10.0).round() / 10.0;
    if !status.success() {
        bail!("the build failed ({status})");
    }
    let mut fields = usage();
    fields.remove("peak_memory_mib");
    fields.insert("seconds".to_string(), seconds.into());
    record(COMMAND, fields)?;
    clear().with_context(|| format!("cannot remove {CLONE}"))
}
