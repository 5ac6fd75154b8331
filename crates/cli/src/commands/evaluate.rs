//! `byhand evaluate`: loss, accuracy and confusion matrix of a trained model, or of several together.

use std::path::{Path, PathBuf};

use anyhow::Result;
use byhand_datasets::Dataset;
use byhand_layers::{Network, metrics::Confusion};
use byhand_models::Model;
use byhand_trainer::{Evaluation, Member, Objective, Views, evaluate, evaluate_together};
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
  # an ensemble: the mean of what three models say; and each of five views of an image
  byhand evaluate runs/cnn-mnist-seed0 runs/cnn-mnist-seed1 runs/cnn-mnist-seed2
  byhand evaluate runs/cnn-mnist-seed0 --tta shift

Without --data the model is evaluated on the data that it was trained on, found where the run found them or in --data-dir.")]
pub struct Options {
    /// Run folders or .safetensors files; several are asked together, and the mean of their probabilities counts
    #[arg(value_name = "MODEL", required = true)]
    models: Vec<PathBuf>,
    /// Ask for further views of each image too, and take the mean (test-time augmentation): shift for those moved by a pixel, flip for the
    /// mirror images, shift,flip for both
    #[arg(long, value_name = "VIEWS")]
    tta: Option<Views>,
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

/// A model that is asked.
struct Voter<'a> {
    path: &'a Path,
    model: Model,
    network: Network<f32>,
    objective: Objective,
}

/// Evaluates and prints.
pub fn run(options: &Options, output: &Output) -> Result<()> {
    let voters = options.models.iter().map(|path| load(path, options)).collect::<Result<Vec<Voter<'_>>>>()?;
    let [first, others @ ..] = &*voters else { unreachable!("clap asks for a model") };
    let (model, objective) = (&first.model, first.objective);
    // Of the built-in digits, only the part that is looked at is drawn.
    let limits = if options.train { (None, Some(1)) } else { (Some(1), None) };
    let (loaded, other) = load_data_of(model, options.data.asked(), options.reading, limits, output)?;
    let is_asked = options.data.data.is_some() || options.data.data_dir.is_some();
    others.iter().try_for_each(|other| check_together(first, other, is_asked))?;
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
    let alone: Vec<Evaluation> = voters
        .iter()
        .map(|Voter { model, network, objective, .. }| {
            let threads = options.threads.asked();
            Ok(evaluate(network, &model.theta, &dataset, &model.preprocessing, *objective, threads)?)
        })
        .collect::<Result<_>>()?;
    let evaluation = match (&*alone, options.tta) {
        ([one], None) => one.clone(),
        _ => together(&voters, &dataset, options)?,
    };
    if !others.is_empty() {
        for (voter, evaluation) in voters.iter().zip(&alone) {
            output.print(format!(
                "accuracy {:.2} %, loss {:.4}: {} alone",
                100.0 * evaluation.accuracy(),
                evaluation.loss,
                voter.path.display()
            ));
        }
    }
    let count = voters.len() * options.tta.unwrap_or_default().count();
    let how = if count == 1 { String::new() } else { format!(", the mean of {count} answers") };
    output.print(format!(
        "accuracy {:.2} %, loss {:.4} ({objective}) on {} images of {name}{how}",
        100.0 * evaluation.accuracy(),
        evaluation.loss,
        evaluation.samples
    ));
    print_confusion(&evaluation.confusion, &model.class_names, output);
    let counts: Vec<Vec<u64>> =
        evaluation.confusion.counts().rows().into_iter().map(|row| row.to_vec()).collect();
    let members = voters.iter().zip(&alone).map(|(voter, evaluation)| {
        json!({"model": voter.path.to_string_lossy(), "accuracy": evaluation.accuracy(), "loss": evaluation.loss,
            "weights_sha256": voter.model.weights_sha256()})
    });
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
        "weights_sha256": others.is_empty().then(|| model.weights_sha256()),
        "tta": options.tta.map(|views| views.to_string()),
        "members": members.collect::<Vec<_>>(),
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

/// Loads a model whose activations fit into memory.
fn load<'a>(path: &'a Path, options: &Options) -> Result<Voter<'a>> {
    let model = load_model(path)?;
    let network = model.network()?;
    memory::check_evaluation(&network, options.threads.asked(), path)?;
    // Whoever wrote the model without us may not have said it.
    let objective =
        model.notes.get("loss").map_or(Ok(Objective::default()), |loss| loss.parse()).map_err(usage)?;
    Ok(Voter { path, model, network, objective: objective.unsmoothed() })
}

/// That what two models say can be averaged, and that they were trained on the same data if nobody asked for any.
fn check_together(first: &Voter<'_>, other: &Voter<'_>, is_asked: bool) -> Result<()> {
    let data = |voter: &Voter<'_>| voter.model.notes.get("data_sha256").cloned();
    if !is_asked && data(first) != data(other) {
        return Err(usage(format!(
            "{}: trained on other data than {}; name the data to evaluate both on with --data",
            other.path.display(),
            first.path.display()
        )));
    }
    let (here, there) = (&other.model.class_names, &first.model.class_names);
    if here == there {
        return Ok(());
    }
    Err(usage(format!(
        "{}: its classes are {}, expected those of {}, {}: models that are asked together have the same, in the same order",
        other.path.display(),
        here.join(", "),
        first.path.display(),
        there.join(", ")
    )))
}

/// What all models say together, each of all views.
fn together(voters: &[Voter<'_>], dataset: &Dataset, options: &Options) -> Result<Evaluation> {
    let members = voters.iter().map(|Voter { path, model, network, objective }| match objective {
        Objective::SoftmaxCrossEntropy { .. } => {
            Ok(Member { network, theta: &model.theta, preprocessing: model.preprocessing })
        }
        objective => Err(usage(format!(
            "{}: it was trained with {objective} and gives no probabilities; expected softmax-cross-entropy for several \
             models or --tta",
            path.display()
        ))),
    });
    let (members, views) = (members.collect::<Result<Vec<_>>>()?, options.tta.unwrap_or_default());
    Ok(evaluate_together(&members, dataset, views, options.threads.asked())?)
}
