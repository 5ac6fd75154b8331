//! The program around the commands: its name, how its command line is read, how it ends.
//!
//! The same commands are `byhand train-cnn` and `cargo xtask train-cnn`. Help texts are written for `byhand`; what a person
//! reads names the program that they called.

use std::{error::Error, io, process::ExitCode, sync::OnceLock};

use anyhow::Result;
use byhand_models::SpecError;
use clap::{CommandFactory, FromArgMatches, error::ErrorKind};

use crate::{exit, output::Output};

/// What help texts call the program.
const WRITTEN: &str = "byhand ";

static NAME: OnceLock<&str> = OnceLock::new();

/// The program as a person types it: `byhand`, or `cargo xtask`.
pub fn name() -> &'static str {
    NAME.get_or_init(|| WRITTEN.trim_end())
}

/// Reads the command line as `P` says, runs it, tells an error in one line, and gives the exit code.
pub fn main<P: CommandFactory + FromArgMatches>(
    name: &'static str,
    output: impl Fn(&P) -> &Output,
    run: impl Fn(&P) -> Result<()>,
) -> ExitCode {
    NAME.get_or_init(|| name);
    let command = called(P::command().bin_name(name), name);
    let parsed = match command.try_get_matches().and_then(|mut found| P::from_arg_matches_mut(&mut found)) {
        Ok(parsed) => parsed,
        Err(error) => return wrong_usage(&error, &asked(P::command(), name)),
    };
    match run(&parsed) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let code = exit::code(&error);
            output(&parsed).error(&error, code);
            ExitCode::from(code)
        }
    }
}

/// The command that was asked for, as far as there is one, as a person types it.
fn asked(mut command: clap::Command, name: &str) -> String {
    let arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with('-'));
    arguments
        .map_while(|argument| {
            command = command.find_subcommand(&argument)?.clone();
            Some(argument)
        })
        .fold(name.to_string(), |asked, argument| asked + " " + &argument)
}

/// The words of a line, as a shell cuts it.
pub(crate) fn words(line: &str) -> Vec<String> {
    let parts = line.split('"').enumerate();
    parts
        .flat_map(|(part, text)| match part % 2 {
            0 => text.split_whitespace().map(String::from).collect(),
            _ => vec![text.to_string()],
        })
        .collect()
}

/// The same command line, whose examples call the program `name`.
pub(crate) fn called(mut command: clap::Command, name: &str) -> clap::Command {
    let renamed = |text: &clap::builder::StyledStr| text.to_string().replace(WRITTEN, &format!("{name} "));
    if let Some(text) = command.get_after_help().map(renamed) {
        command = command.after_help(text);
    }
    if let Some(text) = command.get_after_long_help().map(renamed) {
        command = command.after_long_help(text);
    }
    // A number below 0 is a wrong value, which its option says more of than "unexpected argument".
    let command = command.mut_args(|argument| match argument.get_action().takes_values() {
        true if !argument.is_allow_hyphen_values_set() => argument.allow_negative_numbers(true),
        _ => argument,
    });
    command.mut_subcommands(|inner| called(inner, name))
}

/// What the standard library, clap and serde say of a wrong number, in words for people.
pub(crate) fn in_words(text: &str) -> String {
    let words = [
        ("invalid digit found in string", "expected a whole number"),
        ("cannot parse integer from empty string", "expected a whole number"),
        ("number too large to fit in target type", "expected a smaller number"),
        ("number too small to fit in target type", "expected a larger number"),
        ("invalid float literal", "expected a number"),
        ("cannot parse float from empty string", "expected a number"),
        (" is not in ", " is out of range: expected "),
        ("expected a nonzero usize", "expected a whole number of at least 1"),
        ("expected usize", "expected a whole number of at least 0"),
        ("expected u64", "expected a whole number of at least 0"),
        ("expected u16", "expected a whole number from 0 to 65535"),
        ("expected u8", "expected a whole number from 0 to 255"),
        ("expected f64", "expected a number"),
    ];
    words.into_iter().fold(text.replace('\n', " "), |text, (theirs, ours)| text.replace(theirs, ours))
}

/// Help and the version are answers and are printed whole; an error is told in one line, its tips included.
fn wrong_usage(error: &clap::Error, command: &str) -> ExitCode {
    let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if asked || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        // A reader that went away (`| head`) is no failure of ours.
        let is_told = error.print().or_else(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => Ok(()),
            _ => Err(error),
        });
        return ExitCode::from(match (is_told, asked) {
            (Err(_), _) => exit::FAILED,
            (Ok(()), true) => 0,
            (Ok(()), false) => exit::USAGE,
        });
    }
    let text = error.render().to_string();
    let lines = text.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:"));
    let told: Vec<&str> = lines.filter(|line| !line.is_empty() && !line.starts_with("For more")).collect();
    let message = in_words(told.join("; ").replace(":; ", ": ").trim_start_matches("error: "));
    let json = std::env::args_os().any(|argument| argument == "--json");
    let message = format!("{message} (see `{command} --help`)");
    let usage = match error.source().and_then(|source| source.downcast_ref::<SpecError>()) {
        Some(spec) => exit::wrong_spec(spec, message),
        None => exit::usage(message),
    };
    Output::new(json).error(&usage, exit::USAGE);
    ExitCode::from(exit::USAGE)
}
