//! Where words go: results to stdout, talk to stderr, events as JSON Lines to stdout under `--json`.

use std::{
    fmt::Display,
    io,
    io::Write,
    process,
    sync::atomic::{AtomicBool, Ordering},
};

use clap::Args;
use comfy_table::{CellAlignment, Row, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::exit::{self, is_interruption};

/// Whether the result was told.
static IS_TOLD: AtomicBool = AtomicBool::new(false);

/// How a command speaks; shared by all of them.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Output")]
pub struct Output {
    /// Print JSON Lines on stdout: one event an object, the last one {"event":"result", ...}
    #[arg(long, global = true)]
    json: bool,
    /// Say nothing on stderr but warnings and errors
    #[arg(long, global = true)]
    quiet: bool,
}

impl Output {
    /// How to speak when the command line could not be understood.
    pub fn new(json: bool) -> Self {
        Self { json, quiet: false }
    }

    /// Nothing but warnings and errors.
    pub fn quiet() -> Self {
        Self { json: false, quiet: true }
    }

    /// A line of the result, for people (stdout). Silent under `--json`, where events speak.
    pub fn print(&self, line: impl Display) {
        if !self.json {
            stdout_line(&line);
        }
    }

    /// A table of the result, for people: the head of each column, and to which side its cells stand.
    pub fn table<Head: Into<String>>(
        &self,
        columns: impl IntoIterator<Item = (Head, CellAlignment)>,
        rows: impl IntoIterator<Item = impl Into<Row>>,
    ) {
        let (heads, sides): (Vec<String>, Vec<_>) =
            columns.into_iter().map(|(head, side)| (head.into(), side)).unzip();
        let mut table = Table::new();
        table.load_preset(presets::NOTHING).add_rows(rows);
        if heads.iter().any(|head| !head.is_empty()) {
            table.set_header(heads);
        }
        for (column, side) in table.column_iter_mut().zip(sides) {
            column.set_padding((0, 2)).set_cell_alignment(side);
        }
        self.print(table.trim_fmt());
    }

    /// A line of talk about what goes on (stderr).
    pub fn note(&self, line: impl Display) {
        if !self.quiet {
            stderr_line(&line);
        }
    }

    /// A line that matters even under `--quiet` (stderr).
    pub fn warn(&self, line: impl Display) {
        stderr_line(&line);
    }

    /// An event, under `--json`: an object whose first field is `event`.
    pub fn event(&self, name: &str, fields: Value) {
        if self.json {
            let fields = fields.as_object().expect("the fields of an event are an object");
            let name = Value::from(name);
            let fields: String =
                fields.iter().map(|(key, value)| format!(",{}:{value}", Value::from(key.as_str()))).collect();
            stdout_line(&format!("{{\"event\":{name}{fields}}}"));
        }
    }

    /// The last event of a command.
    pub fn result(&self, fields: Value) {
        IS_TOLD.store(true, Ordering::Relaxed);
        self.event("result", fields);
    }

    /// The error a command ends with: one line on stderr, after the place where there is one to show, and, under `--json`, an event. The
    /// result of an interrupted run stays the last event.
    pub fn error(&self, error: &anyhow::Error, code: u8) {
        let message = one_line(&format!("{error:#}"));
        if !(is_interruption(code) && IS_TOLD.load(Ordering::Relaxed)) {
            self.event("error", json!({"message": message, "code": code}));
        }
        if let Some(place) = exit::place(error) {
            stderr_line(&place);
        }
        stderr_line(&format!("error: {message}"));
    }

    /// A bar on stderr counting to `length`; draws nothing when stderr is no terminal or under `--quiet`.
    pub fn bar(&self, length: u64, template: &str) -> ProgressBar {
        if self.quiet {
            return ProgressBar::hidden();
        }
        let style = ProgressStyle::with_template(template).expect("a bar's template is a constant");
        ProgressBar::new(length).with_style(style)
    }
}

/// Whatever an error quotes, it stays on one line.
fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

/// A reader that went away (`| head`) is no failure of ours; any other trouble is.
fn stdout_line(line: &impl Display) {
    let mut stdout = io::stdout().lock();
    if let Err(error) = writeln!(stdout, "{line}").and_then(|()| stdout.flush())
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        stderr_line(&format!("error: cannot write to stdout: {error}"));
        process::exit(1);
    }
}

/// Nothing can be said when stderr itself is closed.
fn stderr_line(line: &impl Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}
