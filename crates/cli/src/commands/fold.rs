//! `byhand fold`: a model file without batch normalisations, for use and for other programs.

use std::path::PathBuf;

use anyhow::Result;
use byhand_models::Model;
use clap::Args;
use serde_json::json;

use crate::{exit::usage, loading::load_model, output::Output};

/// Options of `fold`.
#[derive(Args)]
#[command(after_help = "Examples:
  byhand fold runs/cnn-mnist-seed0 folded.safetensors
  byhand evaluate folded.safetensors --data mnist")]
pub struct Options {
    /// A run folder or a .safetensors file
    model: PathBuf,
    /// Where to write the model that says the same with fewer layers
    file: PathBuf,
}

/// Writes the folded model.
pub fn run(options: &Options, output: &Output) -> Result<()> {
    if options.file.is_dir() {
        let file = options.file.display();
        return Err(usage(format!(
            "expected a file to write, found the folder {file}; name a file in it: {file}/folded.safetensors"
        )));
    }
    let model = load_model(&options.model)?;
    let folded = model.folded()?;
    let count = |model: &Model| model.network().map(|network| network.lowered().norms());
    let (before, after) = (count(&model)?, count(&folded)?);
    folded.save(&options.file)?;
    output.print(format!(
        "{}: {} batch normalisations folded, {after} left",
        options.file.display(),
        before - after
    ));
    output.print(&folded.spec);
    output.result(json!({"file": options.file.display().to_string(), "layers": folded.spec.to_string(),
        "folded": before - after, "left": after}));
    Ok(())
}
