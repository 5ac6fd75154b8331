//! `cargo xtask bench-report`: writes the tables and charts of the pages, from the records of `docs/measurements` alone.
//!
//! A table stands between `<!-- NAME:begin -->` and `<!-- NAME:end -->`; [`tables`] has the names.

mod charts;
mod numbers;
mod tables;

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::json;

use byhand_cli::output::Output;

/// Options of `bench-report`.
#[derive(Args)]
#[command(after_help = "Examples:
  cargo xtask measure training && cargo xtask bench-report
  cargo xtask bench-report --check         do the pages say what the records say? (code 1 if not; writes nothing)
  cargo xtask bench-report --benchmarks    print the benchmarks whole, shape by shape; writes nothing

No figure of these pages is written by hand: measure it (`cargo xtask measure --help`), then run this.")]
pub struct Options {
    /// Write nothing; fail if a page or a chart is not what the records say
    #[arg(long)]
    check: bool,
    /// Print the tables of all benchmarks; the page has their medians
    #[arg(long, conflicts_with = "check")]
    benchmarks: bool,
}

const PAGES: [&str; 2] = ["README.md", "docs/results.md"];

/// Writes the tables and charts, or holds them against the records.
pub fn run(options: &Options, output: &Output) -> Result<()> {
    let root = Path::new(".");
    if options.benchmarks {
        output.print(tables::all_benchmarks(root)?);
        return Ok(());
    }
    let mut changed = Vec::new();
    for (name, text) in rendered(root)? {
        let path = root.join(&name);
        if fs::read_to_string(&path).ok().as_deref() == Some(text.as_str()) {
            continue;
        }
        if !options.check {
            fs::write(&path, text).with_context(|| format!("cannot write {name}"))?;
            output.note(format!("{name}: written"));
        }
        changed.push(name);
    }
    output.result(json!({"changed": changed}));
    if options.check && !changed.is_empty() {
        bail!(
            "{}: expected what {} says, found something else; `cargo xtask bench-report` writes it",
            changed.join(", "),
            crate::records::FOLDER
        );
    }
    Ok(())
}

/// All files that are written from records, and what they should be.
fn rendered(root: &Path) -> Result<Vec<(String, String)>> {
    let page = |name: &str| {
        let text = fs::read_to_string(root.join(name)).with_context(|| format!("cannot read {name}"))?;
        Ok((name.to_string(), fill(name, &text, root)?))
    };
    let mut files = PAGES.into_iter().map(page).collect::<Result<Vec<_>>>()?;
    files.extend(
        charts::all(root)?.into_iter().map(|(name, chart)| (format!("docs/charts/{name}.svg"), chart)),
    );
    Ok(files)
}

/// The page with its tables.
fn fill(page: &str, text: &str, root: &Path) -> Result<String> {
    const BEGIN: &str = ":begin -->";
    let (mut filled, mut rest) = (String::new(), text);
    while let Some(at) = rest.find(BEGIN) {
        let (before, after) = rest.split_at(at + BEGIN.len());
        let name = before[..at].rsplit("<!-- ").next().unwrap_or_default();
        let end = format!("<!-- {name}:end -->");
        let Some(at) = after.find(&end) else {
            bail!("{page}: expected {end} after <!-- {name}:begin -->, found none");
        };
        let table = tables::table(name, root).with_context(|| format!("{page}: the table {name}"))?;
        filled += &format!("{before}\n\n{table} ");
        rest = &after[at..];
    }
    Ok(filled + rest)
}
