//! `cargo xtask arch`: holds the arrows between the crates and the house rules, by reading manifests and sources.
//!
//! Three tables say everything: [`CRATES`] and [`LIBRARIES`], which crate may depend on what, and [`modules::LAYERS`], which modules
//! of the kernels' crate may import which. What code may not call is for `clippy.toml` to say; here is held only that no library
//! turns that off. Every finding names the file, the line and the rule.

mod modules;
mod source;

use std::{fmt, fs, path::Path, path::PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::json;
use toml::Table;

use byhand_cli::output::Output;

/// Options of `arch`.
#[derive(Args)]
pub struct Options {
    /// The workspace to check
    #[arg(long, default_value = ".", value_name = "DIR")]
    root: PathBuf,
}

/// Runs the check; fails when a rule is broken.
pub fn run(options: &Options, output: &Output) -> Result<()> {
    let findings = check(&options.root)?;
    for finding in &findings {
        output.print(finding);
        output.event(
            "finding",
            json!({"file": finding.file, "line": finding.line, "rule": finding.rule, "found": finding.found}),
        );
    }
    output.result(json!({"findings": findings.len()}));
    match findings.len() {
        0 => output.print("arch: every arrow and every rule holds"),
        n => bail!("{n} places break the architecture of docs/architecture.md"),
    }
    Ok(())
}

/// A broken rule, and where.
struct Finding {
    file: String,
    line: usize,
    rule: &'static str,
    found: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {} (found {})", self.file, self.line, self.rule, self.found)
    }
}

/// A package, and the packages of ours that its `[dependencies]` may name. `[dev-dependencies]` are free: a test may
/// look at anything.
const CRATES: [(&str, &[&str]); 13] = [
    ("crates/files", &[]),
    ("crates/tensor", &[]),
    ("crates/layers", &["byhand-tensor"]),
    ("crates/datasets", &["byhand-files"]),
    ("crates/models", &["byhand-layers", "byhand-datasets", "byhand-files"]),
    ("crates/trainer", &["byhand-layers", "byhand-datasets", "byhand-files"]),
    ("crates/export", &["byhand-tensor", "byhand-layers", "byhand-models"]),
    ("crates/museum", &["byhand-layers"]),
    ("crates/report", &["byhand-layers", "byhand-datasets", "byhand-models", "byhand-trainer"]),
    (
        "crates/byhand",
        &[
            "byhand-files",
            "byhand-tensor",
            "byhand-layers",
            "byhand-datasets",
            "byhand-models",
            "byhand-trainer",
        ],
    ),
    ("crates/cli", ANY),
    ("xtask", &["byhand-cli", "byhand-report"]),
    ("benches", ANY),
];

const ANY: &[&str] = &[
    "byhand",
    "byhand-files",
    "byhand-tensor",
    "byhand-layers",
    "byhand-datasets",
    "byhand-models",
    "byhand-trainer",
    "byhand-export",
    "byhand-museum",
    "byhand-report",
];

/// A library that only some packages may depend on, and whether it must be optional there.
struct Library {
    names: &'static [&'static str],
    allowed: &'static [&'static str],
    optional: bool,
    rule: &'static str,
}

const LIBRARIES: [Library; 3] = [
    Library {
        names: &["rayon", "crossbeam", "rayon-core"],
        allowed: &["crates/trainer"],
        optional: true,
        rule: "threads come from rayon, in crates/trainer, behind its feature `parallel`",
    },
    Library {
        names: &["ureq", "reqwest"],
        allowed: &["crates/datasets"],
        optional: true,
        rule: "the network is reached from crates/datasets, behind its feature `download`",
    },
    Library {
        names: &["anyhow", "clap", "criterion", "indicatif", "plotters", "signal-hook"],
        allowed: &["crates/cli", "xtask", "benches"],
        optional: false,
        rule: "command-line, plotting and benchmark libraries belong to cli, xtask and benches",
    },
];

/// What the root of a library must say: clippy then finds there what `clippy.toml` lists.
const HELD: &str = "#![cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types))]";

const UNSAFE: &str = "`unsafe` stands only in crates/tensor, and there no more often than it did";
const OPENING: &str = "every file opens with a `//!` line that says what it is";
const NOT_HELD: &str = "the root of a library has clippy deny what clippy.toml lists";
const ARROW: &str = "dependencies between the crates run one way";
const UNKNOWN: &str = "every package is listed in xtask's architecture check";

fn check(root: &Path) -> Result<Vec<Finding>> {
    let (mut findings, mut unsafes) = (Vec::new(), 0);
    let packages = packages(root)?;
    if packages.is_empty() {
        bail!(
            "{}: no package here; expected the workspace's folder, with crates/*/Cargo.toml",
            root.display()
        );
    }
    for package in packages {
        check_manifest(root, &package, &mut findings)?;
        let mut sources = Vec::new();
        for file in rust_files(&root.join(&package))? {
            let name = relative(root, &file);
            let text = fs::read_to_string(&file).with_context(|| format!("cannot read {name}"))?;
            check_text(&name, &text, &mut findings);
            let tokens = source::tokens(&text).with_context(|| format!("cannot read {name}"))?;
            let count = source::count(tokens.clone(), "unsafe");
            if name.starts_with("crates/tensor/src/") {
                unsafes += count;
            } else if count > 0 && !name.contains("/tests/") {
                findings.push(Finding {
                    file: name.clone(),
                    line: 1,
                    rule: UNSAFE,
                    found: count.to_string(),
                });
            }
            sources.push((name, tokens));
        }
        modules::check(&package, &sources, &mut findings);
    }
    check_unsafe(root, unsafes, &mut findings);
    findings.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
    Ok(findings)
}

/// Holds how often `unsafe` stands in crates/tensor to the number that the workspace's manifest has under `workspace.metadata.unsafe`, if
/// it has one.
fn check_unsafe(root: &Path, count: usize, findings: &mut Vec<Finding>) {
    let manifest: Table =
        fs::read_to_string(root.join("Cargo.toml")).unwrap_or_default().parse().unwrap_or_default();
    let allowed = manifest.get("workspace").and_then(|it| it.get("metadata")?.get("unsafe")?.as_integer());
    if let Some(allowed) = allowed.filter(|allowed| count as i64 > *allowed) {
        let found = format!("{count}, expected at most {allowed}, as workspace.metadata.unsafe has it");
        findings.push(Finding { file: "Cargo.toml".into(), line: 1, rule: UNSAFE, found });
    }
}

fn check_manifest(root: &Path, package: &str, findings: &mut Vec<Finding>) -> Result<()> {
    let file = format!("{package}/Cargo.toml");
    let text = fs::read_to_string(root.join(&file)).with_context(|| format!("cannot read {file}"))?;
    let manifest: Table = text.parse().with_context(|| format!("{file} is not TOML"))?;
    let mut report = |rule, found: String| {
        // The line is looked up by the name as it stands first on a line, which is how dependencies are written.
        let line = text.lines().position(|line| line.starts_with(&found)).map_or(1, |n| n + 1);
        findings.push(Finding { file: file.clone(), line, rule, found });
    };
    let Some((_, ours)) = CRATES.iter().find(|(folder, _)| *folder == package) else {
        report(UNKNOWN, package.to_string());
        return Ok(());
    };
    for (name, value) in dependencies(&manifest) {
        if name.starts_with("byhand") && !ours.contains(&name.as_str()) {
            report(ARROW, name.clone());
        }
        let optional = value.get("optional").and_then(toml::Value::as_bool).unwrap_or(false);
        for library in &LIBRARIES {
            let allowed = library.allowed.contains(&package) && (optional || !library.optional);
            if library.names.contains(&name.as_str()) && !allowed {
                report(library.rule, name.clone());
            }
        }
    }
    Ok(())
}

/// Normal and build dependencies, for every target.
fn dependencies(manifest: &Table) -> Vec<(String, toml::Value)> {
    let targets = manifest.get("target").and_then(toml::Value::as_table);
    let tables = std::iter::once(manifest)
        .chain(targets.into_iter().flat_map(Table::values).filter_map(|t| t.as_table()));
    tables
        .flat_map(|table| ["dependencies", "build-dependencies"].map(|key| table.get(key)))
        .filter_map(|table| table?.as_table())
        .flat_map(|table| table.iter().map(|(name, value)| (name.clone(), value.clone())))
        .collect()
}

fn check_text(file: &str, text: &str, findings: &mut Vec<Finding>) {
    let mut report = |rule, found: &str| {
        findings.push(Finding {
            file: file.to_string(),
            line: 1,
            rule,
            found: format!("`{}`", found.trim()),
        });
    };
    let first = text.lines().next().unwrap_or_default();
    if !first.starts_with("//!") && !first.starts_with("#![doc") {
        report(OPENING, first);
    }
    let is_library =
        file.starts_with("crates/") && file.ends_with("/src/lib.rs") && file != "crates/cli/src/lib.rs";
    if is_library && !text.lines().any(|line| line == HELD) {
        report(NOT_HELD, "no such line");
    }
}

/// Folders of the workspace that hold a package, relative to it.
fn packages(root: &Path) -> Result<Vec<String>> {
    let mut found: Vec<String> = ["xtask", "benches"].map(String::from).into();
    if let Ok(entries) = fs::read_dir(root.join("crates")) {
        for entry in entries {
            found.push(format!("crates/{}", entry?.file_name().to_string_lossy()));
        }
    }
    found.retain(|package| root.join(package).join("Cargo.toml").is_file());
    found.sort();
    Ok(found)
}

fn rust_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(files)
}

fn relative(root: &Path, file: &Path) -> String {
    file.strip_prefix(root).unwrap_or(file).to_string_lossy().replace('\\', "/")
}
