//! `byhand man`: the manual pages, made of the same words as `--help`.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};
use clap::{Args, CommandFactory};
use serde_json::json;

use crate::{Cli, output::Output};

/// Options of `man`.
#[derive(Args)]
#[command(after_help = "Examples:
  byhand man > byhand.1
  # a page for every command, which `man byhand-train` finds
  byhand man ~/.local/share/man/man1")]
pub struct Options {
    /// The folder to write a page for every command into; without it, the program's own page is printed
    dir: Option<PathBuf>,
}

/// Prints a page or writes them all.
pub fn run(options: &Options, output: &Output) -> Result<()> {
    let Some(dir) = &options.dir else {
        let mut page = Vec::new();
        clap_mangen::Man::new(Cli::command()).render(&mut page)?;
        let page = String::from_utf8(page)?;
        output.print(page.trim_end());
        output.result(json!({"page": page}));
        return Ok(());
    };
    fs::create_dir_all(dir)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), dir))
        .with_context(|| format!("cannot write manual pages into {}", dir.display()))?;
    output.print(format!("wrote manual pages into {}; `man byhand` finds them there", dir.display()));
    output.result(json!({"dir": dir.to_string_lossy()}));
    Ok(())
}
