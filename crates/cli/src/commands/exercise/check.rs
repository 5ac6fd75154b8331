//! Lists the exercises, shows one, checks an answer.

use anyhow::{Result, bail};
use byhand_museum::{PIECES, Piece};
use clap::{Args, Command};
use comfy_table::CellAlignment::Right;
use serde_json::{Value, json};

use super::Options;
use super::case::{Case, Table};
use super::register::{EXERCISES, Exercise, Task};
use crate::{exit::usage, output::Output, program};

/// Runs the command. A wrong answer is an error, with a hint.
pub fn run(options: &Options, output: &Output) -> Result<()> {
    // An answer may begin with a minus, so whatever follows the name is taken for a part of it.
    if options.answer.iter().any(|word| word == "--help") {
        return help();
    }
    let Some(name) = &options.name else {
        list(output);
        return Ok(());
    };
    let Some(exercise) = EXERCISES.iter().find(|exercise| exercise.name == name) else {
        return Err(usage(format!(
            "no exercise is called '{name}'; `{} exercise` lists all {}",
            program::name(),
            EXERCISES.len()
        )));
    };
    if let Some(option) = options.answer.iter().find(|word| word.starts_with("--")) {
        return Err(usage(format!(
            "'{option}' stands in the answer; options come before the exercise's name"
        )));
    }
    let case = (exercise.case)()?;
    match &exercise.task {
        _ if options.solution => solution(exercise, &*case, output),
        _ if options.answer.is_empty() => show(exercise, &*case, output),
        Task::Numbers(asked) => check_numbers(exercise, &*case, asked, &options.answer, output)?,
        Task::WrongLine(piece) => check_line(exercise, &*case, piece, &options.answer, output)?,
    }
    Ok(())
}

fn help() -> Result<()> {
    let command =
        Options::augment_args(Command::new("exercise")).bin_name(format!("{} exercise", program::name()));
    Ok(program::called(command, program::name()).print_help()?)
}

fn list(output: &Output) {
    let mut section = "";
    for exercise in EXERCISES {
        if exercise.section != section {
            section = exercise.section;
            output.print(section);
        }
        output.print(format!("  {:18} {}", exercise.name, exercise.title));
        output.event(
            "exercise",
            json!({"name": exercise.name, "section": exercise.section, "title": exercise.title}),
        );
    }
    output.print(format!("\n`{} exercise NAME` shows one; docs/backprop.md has the lesson", program::name()));
    output.result(json!({"exercises": EXERCISES.len()}));
}

fn show(exercise: &Exercise, case: &dyn Case, output: &Output) {
    output.print(format!("{} ({})\n\n{}", exercise.name, exercise.section, exercise.question));
    print_tables(&case.given(), output);
    let answer = match &exercise.task {
        Task::Numbers(asked) => {
            let asked = pick(&case.right(), asked);
            let of = |table: &Table| match table.numbers.len() {
                1 => table.name.clone(),
                n => format!("{} ({n} numbers, row by row)", table.name),
            };
            output.print(format!("\nAsked: {}", asked.iter().map(of).collect::<Vec<_>>().join(", then ")));
            "N ".repeat(asked.iter().map(|table| table.numbers.len()).sum())
        }
        Task::WrongLine(piece) => {
            output.print("\nThe wrong layer computes:");
            print_tables(&shown(case, piece), output);
            output.print("\nWhich of these lines is in it?");
            for (piece, _) in candidates(case) {
                output.print(format!("  {:26} {}", piece.name, piece.mistake));
            }
            "NAME-OF-THE-LINE".to_string()
        }
    };
    output.print(format!("\nAnswer: {} exercise {} {}", program::name(), exercise.name, answer.trim_end()));
    let mut result = json!({"name": exercise.name, "section": exercise.section, "question": exercise.question,
        "given": values(&case.given())});
    match &exercise.task {
        Task::Numbers(asked) => result["asked"] = json!(asked),
        Task::WrongLine(piece) => {
            result["computed"] = values(&shown(case, piece));
            let names = candidates(case).map(|(piece, _)| piece.name);
            result["lines"] = names.collect::<Vec<_>>().into();
        }
    }
    output.result(result);
}

fn solution(exercise: &Exercise, case: &dyn Case, output: &Output) {
    match &exercise.task {
        Task::Numbers(asked) => {
            let tables = pick(&case.right(), asked);
            print_tables(&tables, output);
            output.result(json!({"name": exercise.name, "solution": values(&tables)}));
        }
        Task::WrongLine(piece) => {
            output.print(piece);
            output.result(json!({"name": exercise.name, "solution": piece}));
        }
    }
}

fn check_numbers(
    exercise: &Exercise,
    case: &dyn Case,
    asked: &[&str],
    answer: &[String],
    output: &Output,
) -> Result<()> {
    let words = answer.iter().flat_map(|word| word.split([',', ' '])).filter(|word| !word.is_empty());
    let answer = words.map(number).collect::<Result<Vec<f64>>>()?;
    let expected = all(&pick(&case.right(), asked));
    if answer.len() != expected.len() {
        let (n, found) = (expected.len(), answer.len());
        return Err(usage(format!("{}: expected {n} numbers, found {found}", exercise.name)));
    }
    let wrong: Vec<String> = off(&answer, &expected).iter().map(|place| (place + 1).to_string()).collect();
    if wrong.is_empty() {
        output.print(format!("right: {}", exercise.why));
        output.result(json!({"name": exercise.name, "right": true}));
        return Ok(());
    }
    // An answer that a wrong layer would give tells which mistake was made.
    let made = PIECES.iter().find(|piece| {
        case.wrong(piece).is_some_and(|tables| off(&answer, &all(&pick(&tables, asked))).is_empty())
    });
    let hint = made.map_or(exercise.hint.to_string(), |piece| {
        format!("this is what the museum's {} computes: {}", piece.name, piece.mistake)
    });
    let (verb, noun) = if wrong.len() == 1 { ("is", "number") } else { ("are", "numbers") };
    bail!(
        "{} of {} {verb} not right ({noun} {}); hint: {hint}",
        wrong.len(),
        expected.len(),
        wrong.join(", ")
    )
}

fn check_line(
    exercise: &Exercise,
    case: &dyn Case,
    piece: &str,
    answer: &[String],
    output: &Output,
) -> Result<()> {
    let [name] = answer else {
        return Err(usage(format!(
            "{}: expected the name of one line, found {}",
            exercise.name,
            answer.len()
        )));
    };
    let Some((named, theirs)) = candidates(case).find(|(piece, _)| piece.name == name) else {
        let names: Vec<&str> = candidates(case).map(|(piece, _)| piece.name).collect();
        return Err(usage(format!("{}: '{name}' is none of {}", exercise.name, names.join(", "))));
    };
    let found = shown(case, piece);
    if off(&all(&theirs), &all(&found)).is_empty() {
        output
            .print(format!("right: {}. {}\nWhat one sees: {}.", named.mistake, exercise.why, named.symptom));
        let checks: Vec<String> = named.caught_by.iter().map(ToString::to_string).collect();
        output.print(format!("Found by: {}.", checks.join(", ")));
        output.result(json!({"name": exercise.name, "right": true}));
        return Ok(());
    }
    let differing = theirs.iter().zip(&found).filter(|(a, b)| !off(&a.numbers, &b.numbers).is_empty());
    let differing: Vec<Table> = differing.map(|(table, _)| table.clone()).collect();
    output.print(format!("With {name} it would compute:"));
    print_tables(&differing, output);
    let names: Vec<&str> = differing.iter().map(|table| table.name.as_str()).collect();
    bail!("not {name}, which would compute another {}; hint: {}", names.join(" and "), exercise.hint)
}

/// What the wrong layer of a find-the-bug exercise computes.
fn shown(case: &dyn Case, piece: &str) -> Vec<Table> {
    let found = byhand_museum::find(piece).and_then(|piece| case.wrong(piece));
    found.unwrap_or_else(|| unreachable!("the exercise's case has no wrong version {piece}"))
}

/// Every wrong line that the layer of the exercise could have, with what it computes.
fn candidates(case: &dyn Case) -> impl Iterator<Item = (&'static Piece, Vec<Table>)> {
    PIECES.iter().filter_map(|piece| Some((piece, case.wrong(piece)?)))
}

/// The tables of these names, in their order.
fn pick(tables: &[Table], names: &[&str]) -> Vec<Table> {
    let find = |name: &&str| tables.iter().find(|table| table.name == *name).cloned();
    names.iter().filter_map(find).collect()
}

fn all(tables: &[Table]) -> Vec<f64> {
    tables.iter().flat_map(|table| table.numbers.iter().copied()).collect()
}

/// Places where numbers differ by more than half a percent of the largest that is expected.
fn off(answer: &[f64], expected: &[f64]) -> Vec<usize> {
    let size = expected.iter().map(|number| number.abs()).fold(0.0, f64::max);
    let limit = 0.005 * if size > 0.0 { size } else { 1.0 };
    (0..expected.len()).filter(|&place| (answer[place] - expected[place]).abs() > limit).collect()
}

/// A number as a person writes it: `0.75`, `-3/4`, also with the page's minus sign.
fn number(text: &str) -> Result<f64> {
    let plain = text.replace('−', "-");
    let (above, below) = plain.split_once('/').unwrap_or((&plain, "1"));
    let value = above.parse::<f64>().and_then(|above| Ok(above / below.parse::<f64>()?));
    match value {
        Ok(value) if value.is_finite() => Ok(value),
        _ => Err(usage(format!("'{text}' is no number; expected one such as 2, -0.75 or -3/4"))),
    }
}

fn print_tables(tables: &[Table], output: &Output) {
    for table in tables {
        output.print("");
        let name = |row| if row == 0 { format!("{} =", table.name) } else { String::new() };
        let row = |(row, numbers): (usize, &[f64])| -> Vec<String> {
            [name(row)].into_iter().chain(numbers.iter().map(|&number| text(number))).collect()
        };
        output.table(
            vec![("", Right); table.columns + 1],
            table.numbers.chunks(table.columns).enumerate().map(row),
        );
    }
}

/// At most four digits behind the point, and none that say nothing.
fn text(number: f64) -> String {
    let text = format!("{number:.4}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_string() } else { text.to_string() }
}

fn values(tables: &[Table]) -> Value {
    let value =
        |table: &Table| json!({"name": table.name, "columns": table.columns, "numbers": table.numbers});
    tables.iter().map(value).collect()
}
