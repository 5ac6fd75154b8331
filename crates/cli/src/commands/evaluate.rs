//! `byhand evaluate`: loss, accuracy and confusion matrix of a trained model.

use std::path::PathBuf;

use anyhow::Result;
use byhand_datasets::{Data, Normalize};
use byhand_trainer::{Objective, Preprocess, evaluate};
use clap::Args;
use serde_json::json;

use crate::{
    exit::usage,
    loading::{ReadingOptions, data_option, load_data, load_model, prepare},
    output::Output,
};

/// Options of `evaluate`.
#[derive(Args)]
#[command(after_help = "Examples:
  byhand evaluate runs/cnn-mnist-seed0
  byhand evaluate model.safetensors --data digits --json")]
pub struct Options {
    /// A run folder or a .safetensors file
    model: PathBuf,
    /// mnist, fashion-mnist, digits, or a folder; without it, what the model was trained on
    #[arg(long, value_parser = data_option())]
    data: Option<Data>,
    /// Where the data's files are
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    reading: ReadingOptions,
    /// Evaluate on the training images instead of the test images
    #[arg(long)]
    train: bool,
    /// Threads, 0 for all cores
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(..=1024))]
    threads: u16,
}

/// Evaluates and prints.
pub fn run(options: &Options, output: &Output) -> Result<()> {
    let model = load_model(&options.model)?;
    let network = model.network()?;
    let data = match (&options.data, model.notes.get("data")) {
        (Some(data), _) => data.clone(),
        (None, Some(name)) => name.parse().map_err(usage)?,
        (None, None) => return Err(usage("the model does not say what it was trained on; expected --data")),
    };
    let mut reading = options.reading.reading();
    if options.data.is_none() {
        // The data of the run, read as the run read them.
        let first_label = model.notes.get("first_label").and_then(|label| label.parse().ok());
        reading.first_label = reading.first_label.or(first_label);
        reading.transpose |= model.notes.contains_key("transpose");
    }
    let loaded = load_data(&data, options.data_dir.as_deref(), reading, (None, None), output)?;
    let name = loaded.source.to_string();
    let mut dataset = if options.train { loaded.train } else { loaded.test };
    let known: Vec<u8> = (0..dataset.classes() as u8)
        .filter(|&class| model.class_names.contains(&dataset.class_names()[usize::from(class)]))
        .collect();
    if known.len() != model.class_names.len() {
        return Err(usage(format!(
            "{name} has the classes {}; expected those of the model: {}",
            dataset.class_names().join(", "),
            model.class_names.join(", ")
        )));
    }
    if known.len() < dataset.classes() {
        dataset = dataset.keep_classes(&known)?;
    }
    let dataset = prepare(dataset, &model.preprocessing)?;
    let normalize = Normalize { scale: model.preprocessing.scale, shift: model.preprocessing.shift };
    let preprocess = Preprocess { normalize, crop: None };
    // Whoever wrote the model without us may not have said it.
    let objective =
        model.notes.get("loss").map_or(Ok(Objective::default()), |loss| loss.parse()).map_err(usage)?;
    let evaluation =
        evaluate(&network, &model.theta, &dataset, &preprocess, objective, options.threads.into())?;
    output.print(format!(
        "accuracy {:.2} %, loss {:.4} ({objective}) on {} images of {name}",
        100.0 * evaluation.accuracy(),
        evaluation.loss,
        evaluation.samples
    ));
    output.print(&evaluation.confusion);
    let counts: Vec<Vec<u64>> =
        evaluation.confusion.counts().rows().into_iter().map(|row| row.to_vec()).collect();
    output.result(json!({
        "data": name,
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
