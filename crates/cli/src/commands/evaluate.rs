//! `byhand evaluate`: loss, accuracy and confusion matrix of a trained model.

use std::path::PathBuf;

use anyhow::Result;
use byhand_layers::metrics::Confusion;
use byhand_trainer::{Objective, evaluate};
use clap::Args;
use comfy_table::CellAlignment::{Left, Right};
use serde_json::json;

use crate::{
    arguments::{DataArgs, ThreadsArg},
    exit::usage,
    loading::{ReadingOptions, load_data_of, load_model},
    memory,
    output::Output,
};

/// Options of `evaluate`.
#[derive(Args)]
#[command(after_help = "Examples:
  byhand evaluate runs/cnn-mnist-seed0
  byhand evaluate model.safetensors --data digits --json

Without --data the model is evaluated on the data that it was trained on, found where the run found them or in --data-dir.")]
pub struct Options {
    /// A run folder or a .safetensors file
    model: PathBuf,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    reading: ReadingOptions,
    /// Evaluate on the training images instead of the test images
    #[arg(long)]
    train: bool,
    #[command(flatten)]
    threads: ThreadsArg,
}

/// Evaluates and prints.
pub fn run(options: &Options, output: &Output) -> Result<()> {
    let model = load_model(&options.model)?;
    let network = model.network()?;
    memory::check_evaluation(&network, options.threads.asked(), &options.model)?;
    let (loaded, other) = load_data_of(&model, options.data.asked(), options.reading, output)?;
    let sha256 = loaded.source.sha256.clone();
    let name = loaded.source.to_string();
    let dataset = if options.train { loaded.train } else { loaded.test };
    let all = dataset.len();
    let dataset = dataset
        .match_classes(&model.class_names)
        .map_err(|error| usage(format!("{error}; the model has {}", model.class_names.join(", "))))?;
    other.iter().for_each(|told| output.warn(told));
    if dataset.len() < all {
        output.note(format!("{} of {all} images are of the model's classes", dataset.len()));
    }
    // Whoever wrote the model without us may not have said it.
    let objective =
        model.notes.get("loss").map_or(Ok(Objective::default()), |loss| loss.parse()).map_err(usage)?;
    let evaluation =
        evaluate(&network, &model.theta, &dataset, &model.preprocessing, objective, options.threads.asked())?;
    output.print(format!(
        "accuracy {:.2} %, loss {:.4} ({objective}) on {} images of {name}",
        100.0 * evaluation.accuracy(),
        evaluation.loss,
        evaluation.samples
    ));
    print_confusion(&evaluation.confusion, &model.class_names, output);
    let counts: Vec<Vec<u64>> =
        evaluation.confusion.counts().rows().into_iter().map(|row| row.to_vec()).collect();
    output.result(json!({
        "data": name,
        "data_sha256": sha256,
        "samples": evaluation.samples,
        "loss": evaluation.loss,
        "objective": objective.to_string(),
        "accuracy": evaluation.accuracy(),
        "per_class_accuracy": evaluation.confusion.per_class_accuracy(),
        "confusion": counts,
        "class_names": model.class_names,
        "weights_sha256": model.weights_sha256(),
    }));
    Ok(())
}

/// A row for each true class, a column for each predicted one, and the share recognised.
fn print_confusion(confusion: &Confusion, names: &[String], output: &Output) {
    /// The longest heading of a column; rows have the whole names.
    const HEADING: usize = 12;
    // A name with a line break or a tab would break the table.
    let names: Vec<String> = names.iter().map(|name| name.replace(char::is_control, " ")).collect();
    let heading = |name: &String| match name.char_indices().nth(HEADING - 1) {
        Some((end, _)) if name.chars().count() > HEADING => format!("{}…", &name[..end]),
        _ => name.clone(),
    };
    let columns = names.iter().map(|name| (heading(name), Right));
    let columns = [("true \\ as".to_string(), Left)].into_iter().chain(columns);
    let counts = confusion.counts();
    let rows = names.iter().zip(counts.rows()).zip(confusion.per_class_accuracy());
    let rows = rows.map(|((name, counts), share)| -> Vec<String> {
        let share = share.map_or("-".to_string(), |share| format!("{:.2} %", 100.0 * share));
        [name.clone()].into_iter().chain(counts.iter().map(u64::to_string)).chain([share]).collect()
    });
    output.table(columns.chain([("recognised".to_string(), Right)]), rows);
}
