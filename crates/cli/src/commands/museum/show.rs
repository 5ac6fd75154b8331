//! The list of pieces, and one of them with what the proofs find in it.

use anyhow::Result;
use byhand_layers::check;
use byhand_museum::{Finding, PIECES, Piece};
use comfy_table::CellAlignment::Left;
use serde_json::{Value, json};

use super::{Command, Options, train};
use crate::{exit::usage, output::Output, program};

/// Lists, shows or trains.
pub fn run(options: &Options, output: &Output) -> Result<()> {
    match &options.command {
        None | Some(Command::List) => list(output),
        Some(Command::Show { name }) => show(find(name)?, output),
        Some(Command::Train(options)) => train::train(find(&options.name)?, options, output)?,
    }
    Ok(())
}

fn find(name: &str) -> Result<&'static Piece> {
    byhand_museum::find(name).ok_or_else(|| {
        let names: Vec<&str> = PIECES.iter().map(|piece| piece.name).collect();
        usage(format!("the museum has no piece '{name}'; expected one of {}", names.join(", ")))
    })
}

fn list(output: &Output) {
    let row = |piece: &Piece| [piece.name, piece.notebook, piece.mistake].map(String::from);
    output.table([("piece", Left), ("notebook", Left), ("mistake", Left)], PIECES.iter().map(row));
    PIECES.iter().for_each(|piece| output.event("piece", told(piece)));
    let program = program::name();
    output
        .print(format!("\n`{program} museum show NAME` shows one, `{program} museum train NAME` trains it"));
    output.result(json!({"pieces": PIECES.len()}));
}

fn told(piece: &Piece) -> Value {
    let checks: Vec<String> = piece.caught_by.iter().map(ToString::to_string).collect();
    json!({"piece": piece.name, "notebook": piece.notebook, "mistake": piece.mistake, "wrong": piece.wrong,
        "right": piece.right, "symptom": piece.symptom, "caught_by": checks})
}

fn show(piece: &Piece, output: &Output) {
    let place = match piece.notebook {
        "classic" => "a classic".to_string(),
        letters if letters.len() > 1 => format!("from the notebooks {letters}"),
        letter => format!("from notebook {letter}"),
    };
    output.print(format!("{} ({place}): {}\n", piece.name, piece.mistake));
    output.print(format!("wrong:  {}", piece.wrong));
    output.print(format!("right:  {}\n", piece.right));
    output.print(format!("What one sees: {}.\n", piece.symptom));
    output.print(format!("The mistake in {}:", piece.file()));
    piece.code().iter().for_each(|line| output.print(format!("    {line}").trim_end()));

    let (subject, findings) = piece.examination(&check::Options::quick());
    output.print(format!("\nWhat the proofs find in {subject}:"));
    let mut shown: Vec<&Finding> = Vec::new();
    for finding in &findings {
        // One of each: the others differ in their numbers alone.
        if shown.iter().all(|other| other.check != finding.check) {
            output.print(format!("  {:22} {}", finding.check.to_string(), finding.detail));
            shown.push(finding);
        }
    }
    output.print(format!(
        "\n`{} museum train {}` trains it beside the right one",
        program::name(),
        piece.name
    ));
    let mut result = told(piece);
    result["file"] = piece.file().into();
    result["code"] = piece.code().join("\n").into();
    result["examined"] = subject.into();
    let findings =
        findings.iter().map(|found| json!({"check": found.check.to_string(), "detail": found.detail}));
    result["findings"] = findings.collect();
    output.result(result);
}
