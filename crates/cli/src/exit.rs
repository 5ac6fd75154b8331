//! How a command ends: its exit code, carried by the error.

use std::{fmt, fmt::Display, path::Path};

use anyhow::Result;
use byhand_models::SpecError;

/// The command is wrongly used: nothing was started.
pub const USAGE: u8 = 2;
/// The loss or a gradient stopped being finite.
pub const DIVERGED: u8 = 3;
/// Everything else that fails.
pub const FAILED: u8 = 1;

/// Told at the end of every `--help`.
pub const HELP: &str = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 training diverged; \
    130, 143, 129 interrupted by Ctrl-C, SIGTERM, SIGHUP (what was learnt is saved)";

/// An error that carries its exit code.
#[derive(Debug)]
pub struct Coded {
    code: u8,
    message: String,
    /// Lines that show the place of the mistake.
    place: Option<String>,
}

impl Display for Coded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Coded {}

/// An error that ends the command with [`USAGE`].
pub fn usage(message: impl Display) -> anyhow::Error {
    coded(USAGE, message)
}

/// That a path of the command line is there; what was `expected` is told when it is not.
pub fn must_exist(path: &Path, expected: &str) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    Err(usage(format!("{}: expected {expected}, found nothing there", path.display())))
}

/// An error that ends the command with `code`.
pub fn coded(code: u8, message: impl Display) -> anyhow::Error {
    anyhow::Error::new(Coded { code, message: message.to_string(), place: None })
}

/// That a layer spec is wrong: the spec and a line of carets come before the message.
pub fn wrong_spec(error: &SpecError, message: impl Display) -> anyhow::Error {
    let place = error.diagram().lines().take(2).collect::<Vec<_>>().join("\n");
    anyhow::Error::new(Coded { code: USAGE, message: message.to_string(), place: Some(place) })
}

/// Lines that show the place of a mistake, if it has one.
pub fn place(error: &anyhow::Error) -> Option<&str> {
    error.downcast_ref::<Coded>()?.place.as_deref()
}

/// An error that tells of a signal: `Interrupt::code` is its exit code.
pub fn is_interruption(code: u8) -> bool {
    code > 128
}

/// The exit code an error asks for.
pub fn code(error: &anyhow::Error) -> u8 {
    error.downcast_ref::<Coded>().map_or(FAILED, |coded| coded.code)
}
