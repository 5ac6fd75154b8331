//! What tests of the program have in common.

use std::process::Output;

use assert_cmd::Command;
use serde_json::Value;

/// The program with these arguments, on data of its own: what the machine has is not seen.
pub(crate) fn byhand(arguments: &[&str]) -> Command {
    let mut command = Command::cargo_bin("byhand").unwrap();
    command.env_remove("BYHAND_DATA").args(arguments);
    command
}

/// The events on its stdout, with `--json`.
#[track_caller]
pub(crate) fn events_on(stdout: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The same of a program that did what it was asked to.
#[track_caller]
pub(crate) fn events_of(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    events_on(&output.stdout)
}

/// Runs it; it fails with this code, and its last line is an error that has all `words`.
#[track_caller]
pub(crate) fn fails(command: &mut Command, code: i32, words: &[&str]) {
    let output = command.output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{told}");
    let error = told.lines().last().unwrap_or_default();
    assert!(error.starts_with("error: ") && !told.contains("panicked"), "{told}");
    for word in words {
        assert!(error.contains(word), "'{word}' is missing in: {told}");
    }
}
