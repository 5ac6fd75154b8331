//! `cargo xtask bench-report`: runs the benchmarks and writes their table, with machine and commit, into a document.
//!
//! The benchmarks append what they measured to a file of JSON Lines (see `benches`), whose first line this command
//! writes: where, when in the history and with which command. The table is made from that file alone.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::json;

use byhand_cli::output::Output;

use crate::cargo::cargo;

/// Options of `bench-report`.
#[derive(Args)]
#[command(after_help = "Examples:
  cargo xtask bench-report                     all benchmarks: about ten minutes
  cargo xtask bench-report 'conv|step/lenet'   some of them; the table then holds only these
  cargo xtask bench-report --no-run            the table again, from the records of the last run")]
pub struct Options {
    /// Run only the benchmarks whose id matches this regular expression
    filter: Option<String>,
    /// Measure nothing: read the records of an earlier run
    #[arg(long, conflicts_with = "filter")]
    no_run: bool,
    /// What was measured, as JSON Lines
    #[arg(long, value_name = "FILE", default_value = "target/bench-records.jsonl")]
    records: PathBuf,
    /// The document that holds the table, between the lines `<!-- bench:begin -->` and `<!-- bench:end -->`
    #[arg(long, value_name = "FILE", default_value = "docs/results.md")]
    out: PathBuf,
}

const BEGIN: &str = "<!-- bench:begin -->";
const END: &str = "<!-- bench:end -->";

/// Measures and writes the table.
pub fn run(options: &Options, output: &Output) -> Result<()> {
    let out = options.out.display();
    let read = || fs::read_to_string(&options.out).with_context(|| format!("cannot read {out}"));
    // Before minutes of measuring, not after.
    replace(&read()?, "").with_context(|| format!("{out} has no place for the table"))?;
    if !options.no_run {
        measure(options, output)?;
    }
    let (run, records) = read_records(&options.records)?;
    let report = report(&run, &records);
    let document = replace(&read()?, &report).with_context(|| format!("{out} has no place for the table"))?;
    fs::write(&options.out, document).with_context(|| format!("cannot write {out}"))?;
    output.print(&report);
    output.note(format!("{} benchmarks written into {out}", records.len()));
    output.result(json!({"benchmarks": records.len(), "out": options.out, "commit": run.commit, "machine": run.machine}));
    Ok(())
}

/// The first line of the records: the circumstances of the figures.
#[derive(Serialize, Deserialize)]
struct Run {
    command: String,
    commit: String,
    machine: String,
    cores: usize,
}

/// A benchmark, as `benches` writes it down.
#[derive(Deserialize)]
struct Record {
    operation: String,
    subject: String,
    batch: usize,
    threads: usize,
    isa: String,
    /// Floating-point operations of a call, or none ...
    flops: Option<u64>,
    /// ... and the bytes it reads and writes.
    bytes: Option<u64>,
    seconds: f64,
    best_seconds: f64,
    peak_gflops: Option<f64>,
}

fn measure(options: &Options, output: &Output) -> Result<()> {
    let records = options.records.display();
    let folder = options.records.parent().filter(|folder| !folder.as_os_str().is_empty());
    fs::create_dir_all(folder.unwrap_or(Path::new(".")))
        .with_context(|| format!("cannot make the folder of {records}"))?;
    let filter = options.filter.iter();
    let command: String = ["cargo xtask bench-report".to_string()]
        .into_iter()
        .chain(filter.clone().map(|f| format!(" '{f}'")))
        .collect();
    let run = Run {
        command,
        commit: commit(),
        machine: machine(),
        cores: thread::available_parallelism().map_or(1, usize::from),
    };
    fs::write(&options.records, serde_json::to_string(&run)? + "\n")
        .with_context(|| format!("cannot write {records}"))?;
    let path = options.records.canonicalize().with_context(|| format!("cannot find {records}"))?;
    output.note("==> cargo bench --package byhand-benches");
    let status = cargo()
        .args(["bench", "--package", "byhand-benches", "--"])
        .args(filter)
        .env("BYHAND_BENCH_RECORDS", path)
        // Standard output is for the result.
        .stdout(Stdio::from(io::stderr()))
        .status()
        .context("cannot start cargo; expected it on the PATH")?;
    if !status.success() {
        bail!("the benchmarks failed ({status}); run them alone with `cargo bench --package byhand-benches`");
    }
    Ok(())
}

fn read_records(path: &Path) -> Result<(Run, Vec<Record>)> {
    let name = path.display();
    let text = fs::read_to_string(path)
        .with_context(|| format!("cannot read the records {name}; without --no-run they are measured"))?;
    let mut lines = text.lines().enumerate();
    let (_, first) =
        lines.next().with_context(|| format!("{name} is empty, expected the records of a run"))?;
    let run = serde_json::from_str(first)
        .with_context(|| format!("{name}, line 1 is no head of a run's records"))?;
    let records = lines.map(|(index, line)| {
        serde_json::from_str(line).with_context(|| format!("{name}, line {} is no record", index + 1))
    });
    let records = records.collect::<Result<Vec<Record>>>()?;
    if records.is_empty() {
        bail!("{name} holds no benchmark: none ran, or no id matched the filter");
    }
    Ok((run, records))
}

/// The document with `report` between its markers.
fn replace(document: &str, report: &str) -> Result<String> {
    let expected =
        || format!("expected the lines {BEGIN} and {END}, in this order: add them where the table belongs");
    let (before, rest) = document.split_once(BEGIN).with_context(expected)?;
    let (_, after) = rest.split_once(END).with_context(expected)?;
    Ok(format!("{before}{BEGIN}\n{report}{END}{after}"))
}

fn report(run: &Run, records: &[Record]) -> String {
    let Run { command, commit, machine, cores } = run;
    let isa = &records[0].isa;
    let mut report = format!(
        "`{command}` at commit {commit} on {machine}, {cores} cores, {isa}. The clock includes the call of the kernel, or the \
         whole step (forward, softmax cross-entropy, backward, SGD update), on data in memory. Times are medians over slices of \
         a millisecond (or one call, when it is longer); percent are of the peak of fused multiply-adds measured in turn with \
         each benchmark, in brackets those of the fastest slice. {}\n",
        peaks(records)
    );
    let is_step = |record: &Record| record.operation == "step";
    let steps = records.iter().filter(|record| is_step(record));
    let products = records.iter().filter(|record| !is_step(record) && record.flops.is_some());
    let others = records.iter().filter(|record| record.bytes.is_some());
    let kernel = |record: &Record| format!("| {} | {} |", record.operation, record.subject);
    let network = |record: &Record| format!("| {} | {} |", record.subject, record.threads);
    for (title, head, table) in [
        ("Training steps, images a second", "| network | threads |", table(steps, network, step_cell)),
        ("Kernels, GFLOP/s on one thread", "| kernel | shape |", table(products, kernel, product_cell)),
        (
            "Kernels without multiply-adds, GB/s on one thread",
            "| kernel | shape |",
            table(others, kernel, bytes_cell),
        ),
    ] {
        let Some((batches, rows)) = table else { continue };
        let columns: String = batches.iter().map(|batch| format!(" batch {batch} |")).collect();
        let rule = "---|".repeat(2) + &"---:|".repeat(batches.len());
        report += &format!("\n**{title}**\n\n{head}{columns}\n|{rule}\n{rows}");
    }
    report
}

/// The batches, which are the columns, and the rows in the order in which they were measured; none without a record.
fn table<'a>(
    records: impl Iterator<Item = &'a Record> + Clone,
    row: impl Fn(&Record) -> String,
    cell: fn(&Record) -> String,
) -> Option<(Vec<usize>, String)> {
    let mut batches: Vec<usize> = records.clone().map(|record| record.batch).collect();
    batches.sort_unstable();
    batches.dedup();
    let mut rows: Vec<(String, BTreeMap<usize, String>)> = Vec::new();
    for record in records {
        let name = row(record);
        let place = rows.iter().position(|(other, _)| *other == name).unwrap_or_else(|| {
            rows.push((name, BTreeMap::new()));
            rows.len() - 1
        });
        rows[place].1.insert(record.batch, cell(record));
    }
    let line = |(name, cells): &(String, BTreeMap<usize, String>)| {
        let cells = batches.iter().map(|batch| format!(" {} |", cells.get(batch).map_or("", String::as_str)));
        format!("{name}{}\n", cells.collect::<String>())
    };
    let rows: String = rows.iter().map(line).collect();
    (!batches.is_empty()).then_some((batches, rows))
}

fn step_cell(record: &Record) -> String {
    format!("{:.0}, {}", record.batch as f64 / record.seconds, percent(record))
}

fn product_cell(record: &Record) -> String {
    format!("{:.1}, {}", gflops(record, record.seconds), percent(record))
}

fn bytes_cell(record: &Record) -> String {
    format!("{:.1}", record.bytes.unwrap_or(0) as f64 / record.seconds / 1e9)
}

fn percent(record: &Record) -> String {
    let of_peak = |seconds| 100.0 * gflops(record, seconds) / record.peak_gflops.unwrap_or(f64::NAN);
    format!("{:.0} % ({:.0} %)", of_peak(record.seconds), of_peak(record.best_seconds))
}

fn gflops(record: &Record, seconds: f64) -> f64 {
    record.flops.unwrap_or(0) as f64 / seconds / 1e9
}

/// The median peak of each number of threads.
fn peaks(records: &[Record]) -> String {
    let mut peaks: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    for record in records {
        peaks.entry(record.threads).or_default().extend(record.peak_gflops);
    }
    let told = peaks.into_iter().filter(|(_, peaks)| !peaks.is_empty()).map(|(threads, mut peaks)| {
        peaks.sort_unstable_by(f64::total_cmp);
        let threads = if threads == 1 { "one thread".to_string() } else { format!("{threads} threads") };
        format!("{:.0} GFLOP/s on {threads}", peaks[peaks.len() / 2])
    });
    let told = told.collect::<Vec<_>>().join(", ");
    if told.is_empty() { told } else { format!("Median peak: {told}.") }
}

/// The commit, and whether the sources differ from it.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        let told = Command::new("git").args(arguments).stderr(Stdio::null()).output().ok()?;
        told.status.success().then(|| String::from_utf8_lossy(&told.stdout).trim().to_string())
    };
    match (git(&["rev-parse", "--short", "HEAD"]), git(&["status", "--porcelain", "--", "crates", "benches"]))
    {
        (Some(commit), Some(changes)) if changes.is_empty() => commit,
        (Some(commit), _) => format!("{commit} with changes"),
        (None, _) => "unknown (no git here)".to_string(),
    }
}

/// The processor as the system names it, where it does.
fn machine() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let system = format!("{} ({})", std::env::consts::ARCH, std::env::consts::OS);
    model.map_or(system.clone(), |(_, name)| format!("{} {system}", name.trim()))
}
