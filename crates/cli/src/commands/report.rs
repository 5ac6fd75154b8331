//! `byhand report`: the report of a run, from its folder.

use std::{path::PathBuf, time::Instant};

use anyhow::Result;
use clap::Args;
use serde_json::json;

use crate::{
    output::Output,
    past_run::{LookArgs, PastRun, write_page},
    run_folder::report_in,
};

/// Options of `report`.
#[derive(Args)]
#[command(after_help = "Examples:
  byhand report runs/cnn-mnist-seed0
  byhand report runs/cnn-mnist-seed0 --out look.html

The page is one file that loads nothing: learning curves, the confusion matrix, precision, recall and F1 of each class, the worst \
mistakes with what the network looked at, filters, activations, how weights and gradients spread, time per layer, and the settings. \
Training writes it into the run folder as report.html (--no-report leaves it out). Of a run that has not come to its end, the newest \
checkpoint is shown.")]
pub struct Options {
    /// A run folder
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// Where the page is written; without it, RUN/report.html
    #[arg(long = "out", value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    look: LookArgs,
}

/// Writes the page.
pub fn run(options: &Options, output: &Output) -> Result<()> {
    let run = PastRun::read(&options.run, &options.look, output)?;
    let begun = Instant::now();
    let moment = run.look(&options.look, output)?;
    moment.warning.iter().for_each(|warning| output.warn(warning));
    let page = run.page(&moment, false)?;
    let file = options.file.clone().unwrap_or_else(|| report_in(&options.run));
    write_page(&file, &page)?;
    output.print(format!("report {}", file.display()));
    output.result(json!({
        "out": file.to_string_lossy(),
        "bytes": page.len(),
        "seconds": begun.elapsed().as_secs_f64(),
        "is_over": moment.warning.is_none(),
        "samples": moment.evaluation.samples,
        "test_accuracy": moment.evaluation.accuracy(),
        "test_loss": moment.evaluation.loss,
        "weights_sha256": moment.model.weights_sha256(),
    }));
    Ok(())
}
