//! The tables, in Markdown: a function for each.

mod benchmarks;
mod peers;
mod proofs;
mod training;

use std::path::Path;

use anyhow::{Context, Result};
use byhand_report::mean;

use super::numbers::{count, median, short};
use crate::records::{Group, Record, Records, last};

pub use benchmarks::all_benchmarks;
pub use peers::leads;
use training::Trained;
pub use training::{framework, is_ours, subject};

type Table = fn(&Path) -> Result<String>;

const TABLES: [(&str, Table); 11] = [
    ("results", results),
    ("processors", processors),
    ("training", training::training),
    ("speedrun", training::speedrun),
    ("peers", peers::peers),
    ("rivals", peers::rivals),
    ("kernels", benchmarks::kernels),
    ("gradients", proofs::gradients),
    ("bits", proofs::bits),
    ("parity", proofs::parity),
    ("build", build),
];

/// The table of this name.
pub fn table(name: &str, root: &Path) -> Result<String> {
    let found = TABLES.iter().find(|(known, _)| *known == name);
    let (_, make) = found.with_context(|| {
        let names: Vec<&str> = TABLES.iter().map(|(name, _)| *name).collect();
        format!("no such table; expected one of {}", names.join(", "))
    })?;
    Ok(Some(make(root)?).filter(|table| !table.is_empty()).unwrap_or("No records yet.".to_string()))
}

/// The front page's: accuracy and seconds on the processor that was measured last, and how fast others are.
fn results(root: &Path) -> Result<String> {
    let records = Records::read(root, "training")?;
    let groups = records.newest(subject)?;
    let Some((processor, group)) = last(&groups) else { return Ok(String::new()) };
    let mut rows = Vec::new();
    for (_, records) in parted(group, subject)? {
        let trained = Trained::of(&records)?;
        let seconds = optional(mean(&trained.seconds), short);
        let parameters = count(trained.parameters);
        let command = format!("`{}`", trained.command);
        rows.push([command, trained.data.clone(), parameters, trained.accuracy(), seconds]);
    }
    let head = ["command", "data", "parameters", "test accuracy", "seconds of training"];
    let table = markdown(2, &head, rows);
    let rebuilt = if table.contains('¹') { REBUILT } else { "" };
    let (speedruns, leads) =
        (training::speedruns_told(root, processor)?, peers::leads_told(root, processor)?);
    Ok(format!("{table}\nTwo cores of an {}.{rebuilt}\n\n{speedruns}{leads}", processor.what)
        .trim_end()
        .to_string())
}

const REBUILT: &str =
    "\n¹ Published labels and order; about 13 % of the pixels differ by 1 or 2 grey levels of 255.";

fn processors(root: &Path) -> Result<String> {
    let known = Records::read(root, "training")?.into_processors();
    let known: Vec<String> = known.iter().map(|p| format!("**{}**: {}.", p.name, p.what)).collect();
    Ok(known.join("\n"))
}

fn build(root: &Path) -> Result<String> {
    let records = Records::read(root, "build")?;
    let mut told = Vec::new();
    for (processor, group) in records.newest(|_| Ok(()))? {
        let number = |field| optional(median(&values(&group, field)), count);
        let (seconds, cpu, commits) = (number("seconds"), number("cpu_seconds"), commits(&group)?);
        told.push(format!("{seconds} s ({cpu} s of CPU) on {}, commit {commits}", processor.name));
    }
    Ok(if told.is_empty() { String::new() } else { told.join("; ") + "." })
}

/// A table with a row for each key and a column for each processor.
fn across<K: PartialEq>(
    head: &[&str],
    groups: &[Group<'_>],
    key: impl Fn(&Record) -> Result<K>,
    names: impl Fn(&[&Record]) -> Result<Vec<String>>,
    cell: impl Fn(&[&Record]) -> Result<String>,
) -> Result<String> {
    let all: Vec<&Record> = groups.iter().flat_map(|(_, group)| group).copied().collect();
    let mut rows = Vec::new();
    for (row, records) in parted(&all, &key)? {
        let mut cells = names(&records)?;
        for (_, group) in groups {
            let of = parted(group, &key)?.into_iter().find(|(known, _)| *known == row);
            cells.push(of.map_or(Ok(String::new()), |(_, records)| cell(&records))?);
        }
        rows.push(cells);
    }
    let processors = groups.iter().map(|(processor, _)| processor.name.as_str());
    let head: Vec<&str> = head.iter().copied().chain(processors).collect();
    Ok(markdown(1, &head, rows))
}

/// Which commits were measured, to stand under a table.
fn sources(groups: &[Group<'_>]) -> Result<String> {
    let told = groups.iter().map(|(processor, group)| {
        let isas = isas(group);
        let isas = if isas.is_empty() { isas } else { format!(" ({isas})") };
        Ok(format!("{}: {}{isas}", processor.name, commits(group)?))
    });
    let told = told.collect::<Result<Vec<_>>>()?;
    Ok(if told.is_empty() { String::new() } else { format!("\nCommits: {}.", told.join("; ")) })
}

/// A table whose first columns are text and whose others are numbers; nothing without rows.
fn markdown<Row: IntoIterator<Item = String>>(
    texts: usize,
    head: &[impl AsRef<str>],
    rows: impl IntoIterator<Item = Row>,
) -> String {
    let head: Vec<&str> = head.iter().map(AsRef::as_ref).collect();
    let rule = "---|".repeat(texts) + &"---:|".repeat(head.len() - texts);
    let line = |row: Row| format!("| {} |\n", row.into_iter().collect::<Vec<_>>().join(" | "));
    let rows: String = rows.into_iter().map(line).collect();
    if rows.is_empty() {
        return rows;
    }
    format!("| {} |\n|{rule}\n{rows}", head.join(" | "))
}

/// The records by key, in the order in which keys first appear.
fn parted<'a, K: PartialEq>(
    records: &[&'a Record],
    key: impl Fn(&Record) -> Result<K>,
) -> Result<Vec<(K, Vec<&'a Record>)>> {
    let mut parts: Vec<(K, Vec<&Record>)> = Vec::new();
    for record in records {
        let key = key(record)?;
        match parts.iter_mut().find(|(known, _)| *known == key) {
            Some((_, part)) => part.push(record),
            None => parts.push((key, vec![record])),
        }
    }
    Ok(parts)
}

fn distinct<T: PartialEq>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut kept = Vec::new();
    for item in items {
        if !kept.contains(&item) {
            kept.push(item);
        }
    }
    kept
}

/// A number of each record that has it.
fn values(records: &[&Record], field: &str) -> Vec<f64> {
    records.iter().filter_map(|record| record.maybe_number(field)).collect()
}

fn commits(records: &[&Record]) -> Result<String> {
    let commits = records.iter().map(|record| record.text("commit")).collect::<Result<Vec<_>>>()?;
    Ok(distinct(commits.into_iter()).join(", "))
}

/// The instruction sets of ours.
fn isas(records: &[&Record]) -> String {
    let isa = |record: &&Record| {
        let ours = record.text("peer").is_ok_and(|peer| peer == "ours");
        let field = if ours { "version" } else { "isa" };
        record.text(field).ok().map(str::to_string)
    };
    distinct(records.iter().filter_map(isa)).join(", ")
}

fn range([least, most]: [f64; 2], form: fn(f64) -> String) -> String {
    let [least, most] = [least, most].map(form);
    if least == most { least } else { format!("{least} to {most}") }
}

fn scientific(x: f64) -> String {
    match x {
        x if x == 0.0 || (0.1..100.0).contains(&x) => format!("{}", (100.0 * x).round() / 100.0),
        x => format!("{x:.1e}").replace(".0e", "e"),
    }
}

fn optional<T>(value: Option<T>, form: impl Fn(T) -> String) -> String {
    value.map_or("–".to_string(), form)
}
