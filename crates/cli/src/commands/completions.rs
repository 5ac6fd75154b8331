//! `byhand completions`: the script that lets a shell complete the program's commands and options.

use anyhow::Result;
use clap::{Args, CommandFactory};
use serde_json::json;

use crate::{Cli, output::Output};

/// Options of `completions`.
#[derive(Args)]
#[command(after_help = "Examples:
  byhand completions bash > ~/.local/share/bash-completion/completions/byhand
  byhand completions zsh > ~/.zfunc/_byhand
  byhand completions fish > ~/.config/fish/completions/byhand.fish")]
pub struct Options {
    /// The shell that is to read it
    shell: clap_complete::Shell,
}

/// Prints the script.
pub fn run(options: &Options, output: &Output) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut Cli::command(), "byhand", &mut script);
    let script = String::from_utf8(script)?;
    output.print(script.trim_end());
    output.result(json!({"shell": options.shell.to_string(), "script": script}));
    Ok(())
}
