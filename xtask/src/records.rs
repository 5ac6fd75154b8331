//! What was measured: the records of `docs/measurements`, JSON Lines, a file per kind.
//!
//! A record is one object: the circumstances (`date`, `commit`, `processor`, `cores`, `command`), then what the program said.
//! Programs append; of two records of the same thing on the same processor the later one counts.

use std::{
    fs,
    fs::OpenOptions,
    io::{ErrorKind, Write},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, anyhow};
use byhand_cli::machine;
use serde::Deserialize;
use serde_json::{Map, Value};

/// Where records are, from the top of the workspace.
pub const FOLDER: &str = "docs/measurements";

/// The fields of an object.
pub type Fields = Map<String, Value>;

/// A line of a file of records.
pub struct Record {
    /// File and line, for errors.
    place: String,
    fields: Fields,
}

impl Record {
    /// A field that is text.
    pub fn text(&self, field: &str) -> Result<&str> {
        self.fields.get(field).and_then(Value::as_str).ok_or_else(|| self.lacks(field, "text"))
    }

    /// A field that is a number.
    pub fn number(&self, field: &str) -> Result<f64> {
        self.maybe_number(field).ok_or_else(|| self.lacks(field, "a number"))
    }

    /// A number that not every record has.
    pub fn maybe_number(&self, field: &str) -> Option<f64> {
        self.fields.get(field).and_then(Value::as_f64)
    }

    /// A text, or a default for records without the field.
    pub fn text_or<'a>(&'a self, field: &str, default: &'a str) -> &'a str {
        self.fields.get(field).and_then(Value::as_str).unwrap_or(default)
    }

    /// The objects or arrays in a field, none if there is no such field.
    pub fn list(&self, field: &str) -> &[Value] {
        self.fields.get(field).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// Whether a field is there and true.
    pub fn is(&self, field: &str) -> bool {
        self.fields.get(field) == Some(&Value::Bool(true))
    }

    fn lacks(&self, field: &str, what: &str) -> anyhow::Error {
        let found = self.fields.get(field).map_or("none".to_string(), Value::to_string);
        anyhow!("{}: expected {what} in the field `{field}`, found {found}", self.place)
    }
}

/// A processor, as `processors.toml` has it.
#[derive(Deserialize)]
pub struct Processor {
    /// What records call it.
    pub record: String,
    /// What tables call it.
    pub name: String,
    /// What it is.
    pub what: String,
}

#[derive(Deserialize)]
struct Processors {
    processor: Vec<Processor>,
}

/// The records of one processor, and the processor.
pub type Group<'a> = (&'a Processor, Vec<&'a Record>);

/// The group that was measured last.
pub fn last<'g, 'a>(groups: &'g [Group<'a>]) -> Option<&'g Group<'a>> {
    let date = |group: &&Group<'_>| {
        group.1.iter().filter_map(|record| record.text("date").ok().map(str::to_string)).max()
    };
    // Of several the first in the order of the tables.
    groups.iter().rev().max_by_key(date)
}

/// All records of a kind, and the processors.
pub struct Records {
    processors: Vec<Processor>,
    records: Vec<Record>,
}

impl Records {
    /// Reads the records of a kind below `root`. There may be none.
    pub fn read(root: &Path, kind: &str) -> Result<Records> {
        let path = root.join(FOLDER).join("processors.toml");
        let name = path.display();
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {name}"))?;
        let Processors { mut processor } =
            toml::from_str(&text).map_err(|error| anyhow!("{name}: {}", error.message()))?;
        let records = read_lines(&root.join(FOLDER).join(format!("{kind}.jsonl")))?;
        for record in &records {
            let found = record.text("processor")?;
            if processor.iter().all(|known| known.record != found) {
                let name = found.to_string();
                processor.push(Processor {
                    record: name.clone(),
                    name,
                    what: format!("not described in {FOLDER}/processors.toml"),
                });
            }
        }
        Ok(Records { processors: processor, records })
    }

    /// The processors, known ones first.
    pub fn into_processors(self) -> Vec<Processor> {
        self.processors
    }

    /// The records that count, by processor: of those with the same key, all of the commit that was measured last.
    pub fn newest<K: PartialEq>(&self, key: impl Fn(&Record) -> Result<K>) -> Result<Vec<Group<'_>>> {
        let mut groups = Vec::new();
        for processor in &self.processors {
            let mut last: Vec<(K, &str)> = Vec::new();
            let mut all = Vec::new();
            for record in &self.records {
                if record.text("processor")? == processor.record {
                    let (key, commit) = (key(record)?, record.text("commit")?);
                    last.retain(|(other, _)| *other != key);
                    last.push((key, commit));
                    all.push(record);
                }
            }
            let mut counting = Vec::new();
            for record in all {
                let (key, commit) = (key(record)?, record.text("commit")?);
                if last.contains(&(key, commit)) {
                    counting.push(record);
                }
            }
            if !counting.is_empty() {
                groups.push((processor, counting));
            }
        }
        Ok(groups)
    }
}

fn read_lines(path: &Path) -> Result<Vec<Record>> {
    let name = path.display();
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        text => text.with_context(|| format!("cannot read {name}"))?,
    };
    let lines = text.lines().enumerate();
    let record = |(index, line): (usize, &str)| {
        let place = format!("{name}, line {}", index + 1);
        let fields = serde_json::from_str(line).map_err(|error| anyhow!("{place} is no record: {error}"))?;
        Ok(Record { place, fields })
    };
    lines.map(record).collect()
}

/// Appends a record to the file of its kind in `folder`.
pub fn append(folder: &Path, kind: &str, command: &str, told: Fields) -> Result<()> {
    let path = folder.join(format!("{kind}.jsonl"));
    let name = path.display();
    let day = run("date", &["-u", "+%F"]).context("cannot tell the day: expected the program `date`")?;
    let circumstances = [
        ("date", Value::from(day)),
        ("commit", commit().into()),
        ("processor", machine::processor().into()),
        ("cores", machine::cores().into()),
        ("command", command.into()),
    ];
    // A line of text, since a map would not keep this order.
    let fields = circumstances.into_iter().map(|(name, value)| (name.to_string(), value)).chain(told);
    let fields: Vec<String> = fields.map(|(name, value)| format!("{}: {value}", Value::from(name))).collect();
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let file = OpenOptions::new().create(true).append(true).open(&path);
    file.and_then(|mut file| writeln!(file, "{{{}}}", fields.join(", ")))
        .with_context(|| format!("cannot append to {name}"))
}

/// The commit, and whether what was measured differs from it.
fn commit() -> String {
    let changes = run(
        "git",
        &["status", "--porcelain", "--", "crates", "benches", "recipes", "xtask", "Cargo.lock", "Cargo.toml"],
    );
    match (run("git", &["rev-parse", "--short=7", "HEAD"]), changes) {
        (Some(commit), Some(changes)) if changes.is_empty() => commit,
        (Some(commit), _) => format!("{commit} with changes"),
        (None, _) => "unknown (no git here)".to_string(),
    }
}

/// What a program says, if it can be run and succeeds.
fn run(program: &str, arguments: &[&str]) -> Option<String> {
    let told = Command::new(program).args(arguments).stderr(Stdio::null()).output().ok()?;
    told.status.success().then(|| String::from_utf8_lossy(&told.stdout).trim().to_string())
}
