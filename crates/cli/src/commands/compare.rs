//! `byhand compare`: runs beside each other, as a page and as a table.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::Result;
use byhand_report::{Compared, compare, differences, pairs, probability, wilson};
use clap::Args;
use comfy_table::CellAlignment::{Left, Right};
use serde_json::json;

use crate::{
    output::Output,
    past_run::{LookArgs, Moment, PastRun, write_page},
    reporting::name_of,
};

/// Options of `compare`.
#[derive(Args)]
#[command(after_help = "Examples:
  byhand compare runs/cnn-mnist-seed0 runs/mlp-mnist-seed0
  byhand compare runs/a runs/b runs/c --out three.html --json

The page has the learning curves over each other, the settings in which the runs differ, and for each two of them McNemar's exact test \
and the pictures that just one of them has right. Two runs are compared picture by picture when they have the same test images and classes.")]
pub struct Options {
    /// Run folders
    #[arg(value_name = "RUN", required = true, num_args = 2..)]
    runs: Vec<PathBuf>,
    /// Where the page is written
    #[arg(long = "out", value_name = "FILE", default_value = "compare.html")]
    file: PathBuf,
    #[command(flatten)]
    look: LookArgs,
}

/// Writes the page and prints the table.
pub fn run(options: &Options, output: &Output) -> Result<()> {
    let names = names(&options.runs);
    let mut past: Vec<(PastRun, Moment, BTreeMap<String, String>)> = Vec::new();
    for (run, name) in options.runs.iter().zip(&names) {
        let run = PastRun::read(run, &options.look, output)?;
        let moment = run.look(&options.look, output)?;
        moment.warning.iter().for_each(|warning| output.warn(format!("{name}: {warning}")));
        let settings = run.recipe.shown()?;
        past.push((run, moment, settings));
    }
    let compared = past.iter().zip(&names).map(|((run, moment, settings), name)| Compared {
        name: name.clone(),
        settings,
        history: &moment.history,
        class_names: &moment.model.class_names,
        test: &run.data.test,
        predictions: &moment.predictions,
        loss: moment.evaluation.loss,
    });
    let runs: Vec<Compared<'_>> = compared.collect();
    let file = &options.file;
    write_page(file, &compare(&runs))?;
    print(&runs, output);
    output.print(format!("page {}", file.display()));
    let told: Vec<_> = pairs(&runs)
        .into_iter()
        .map(|pair| {
            let [both, only_a, only_b, neither] = pair.counts;
            json!({"a": names[pair.a], "b": names[pair.b], "both": both, "only_a": only_a, "only_b": only_b, "neither": neither,
                "mcnemar_p": pair.p})
        })
        .collect();
    output.result(json!({"out": file.to_string_lossy(), "runs": runs.len(), "pairs": told}));
    Ok(())
}

/// The folders' names; of folders that are called alike, their paths.
fn names(runs: &[PathBuf]) -> Vec<String> {
    let short: Vec<String> = runs.iter().map(|run| name_of(run)).collect();
    let is_alone = |name: &String| short.iter().filter(|other| *other == name).count() == 1;
    short
        .iter()
        .zip(runs)
        .map(|(name, run)| if is_alone(name) { name.clone() } else { run.display().to_string() })
        .collect()
}

fn print(runs: &[Compared<'_>], output: &Output) {
    let rows = runs.iter().map(|run| {
        let (correct, n) = (run.correct(), run.predictions.len() as u64);
        let [low, high] = wilson(correct, n);
        let seconds: Option<f64> = run.history.iter().map(|epoch| epoch.seconds).sum();
        output.event(
            "run",
            json!({"run": run.name, "test_accuracy": correct as f64 / n as f64, "interval": [low, high], "test_loss": run.loss, "images": n,
                "epochs": run.history.last().map(|epoch| epoch.epoch), "seconds": seconds}),
        );
        [
            run.name.clone(),
            format!("{:.2} %", 100.0 * correct as f64 / n as f64),
            format!("{:.2} to {:.2} %", 100.0 * low, 100.0 * high),
            format!("{:.4}", run.loss),
            run.history.last().map_or("-".into(), |epoch| epoch.epoch.to_string()),
            seconds.filter(|_| !run.history.is_empty()).map_or("-".into(), |seconds| format!("{seconds:.2}")),
        ]
    });
    let rows: Vec<_> = rows.collect();
    let columns = [
        ("run", Left),
        ("accuracy", Right),
        ("95 % interval", Right),
        ("loss", Right),
        ("epochs", Right),
        ("seconds", Right),
    ];
    output.table(columns, rows);
    let differences = differences(runs);
    for (name, values) in &differences {
        output.event("difference", json!({"setting": name, "values": values}));
    }
    if !differences.is_empty() {
        output.print("");
        let rows = differences.into_iter().map(|(name, values)| [name, values.join("  |  ")]);
        output.table([("differs", Left), ("in this order", Left)], rows);
    }
    for pair in pairs(runs) {
        let ([_, only_a, only_b, _], a, b) = (pair.counts, &runs[pair.a].name, &runs[pair.b].name);
        output.print(format!(
            "\nonly {a} has {only_a} right, only {b} {only_b}: McNemar's exact test {}",
            probability(pair.p)
        ));
    }
}
