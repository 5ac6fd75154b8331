//! The program around the commands: its name, how its command line is read, how it ends.
//!
//! The same commands are `byhand train-cnn` and `cargo xtask train-cnn`. Help texts are written for `byhand`; what a person
//! reads names the program that they called.

use std::{error::Error, process::ExitCode, sync::OnceLock};

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
        Err(error) => return wrong_usage(&error),
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

/// The same command line, whose examples call the program `name`.
pub(crate) fn called(mut command: clap::Command, name: &str) -> clap::Command {
    let renamed = |text: &clap::builder::StyledStr| text.to_string().replace(WRITTEN, &format!("{name} "));
    if let Some(text) = command.get_after_help().map(renamed) {
        command = command.after_help(text);
    }
    if let Some(text) = command.get_after_long_help().map(renamed) {
        command = command.after_long_help(text);
    }
    command.mut_subcommands(|inner| called(inner, name))
}

/// Help and the version are answers and are printed whole; an error is told in one line, its tips included.
fn wrong_usage(error: &clap::Error) -> ExitCode {
    let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if asked || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        // Nothing can be said when the terminal is gone.
        let _ = error.print();
        return if asked { ExitCode::SUCCESS } else { ExitCode::from(exit::USAGE) };
    }
    let text = error.render().to_string();
    let lines = text.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:"));
    let told: Vec<&str> = lines.filter(|line| !line.is_empty() && !line.starts_with("For more")).collect();
    let message = told.join("; ").replace(":; ", ": ").trim_start_matches("error: ").to_string();
    let json = std::env::args_os().any(|argument| argument == "--json");
    let message = format!("{message} (see `{} --help`)", name());
    let usage = match error.source().and_then(|source| source.downcast_ref::<SpecError>()) {
        Some(spec) => exit::wrong_spec(spec, message),
        None => exit::usage(message),
    };
    Output::new(json).error(&usage, exit::USAGE);
    ExitCode::from(exit::USAGE)
}
