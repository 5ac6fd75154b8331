//! `byhand records`: the recipes that hold a record, each trained from several seeds and held against its target.
//!
//! The test images are read once, after the last epoch of each seed. Recipes are chosen with `--held-out`, on training images alone.

use std::{num::NonZeroUsize, path::PathBuf};

use anyhow::Result;
use byhand_datasets::Dataset;
use byhand_models::weights_sha256;
use byhand_tensor::Isa;
use byhand_trainer::{Member, Views, evaluate_together};
use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    arguments::ThreadsArg,
    as_text::text,
    exit::usage,
    interrupt::Interrupt,
    memory,
    network::network_for,
    output::Output,
    prepared::{Prepared, prepared_data},
    recipes,
    seeds::{SeedsArgs, SetArgs, Spread, Timed, Trained, Tricks, wrong_section},
    settings::{Recipe, Settings, read_text},
    values::at_least_one,
};

/// Options of `records`.
#[derive(Args)]
#[command(after_help = "Examples:
  # what there is
  byhand records
  # train one, or all, and print the table of docs/records.md
  byhand records mnist-99.5 --seeds 3 --json
  byhand records all
  # how a recipe is chosen: on 5000 training images that it does not see
  byhand records --config recipes/mnist-99.5.toml --held-out 5000 --seeds 2 --first-seed 1000

Seconds are of training: from images in memory as bytes to final weights, of all networks of an ensemble, evaluation excluded. The last \
epoch counts. Some recipes take the mean of several networks, or of several views of each image; `alone` is the accuracy of one network on \
the images as they are. Accuracies and times are told and never judged: the exit code is 0 whatever was reached.")]
pub struct Options {
    /// A record, or all; without it they are listed, and nothing is trained
    #[arg(value_parser = names())]
    name: Option<String>,
    #[command(flatten)]
    seeds: SeedsArgs,
    /// Train the settings of a file with a section [record] instead of a record's
    #[arg(long, value_name = "FILE", conflicts_with = "name")]
    config: Option<PathBuf>,
    /// Judge by N training images that are kept from training, not by the test images
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    held_out: Option<NonZeroUsize>,
    #[command(flatten)]
    set: SetArgs,
    #[command(flatten)]
    threads: ThreadsArg,
}

const ALL: &str = "all";

fn names() -> clap::builder::PossibleValuesParser {
    recipes::names(|text| text.contains("\n[record]\n"), &[ALL])
}

/// The section `[record]` of a configuration.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Goal {
    /// Mean accuracy to reach.
    target: f64,
    /// In so many seconds of training.
    limit_seconds: f64,
    /// From so many seeds.
    seeds: u32,
    /// With so many networks together.
    members: Option<u32>,
    /// Each on these views.
    #[serde(default, with = "text")]
    tta: Option<Views>,
}

/// A recipe with its goal.
struct Record {
    name: String,
    goal: Goal,
    tricks: Option<Tricks>,
    recipe: Recipe,
}

/// Trains, or lists.
pub fn run(options: &Options, output: &Output) -> Result<()> {
    let records = match (&options.config, options.name.as_deref()) {
        (Some(path), _) => {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            vec![read(&name, &path.display().to_string(), &read_text(path)?, options)?]
        }
        (None, name) => {
            let wanted = |known: &str| name.is_none_or(|name| name == known || name == ALL);
            let all = recipes::all().filter(|(known, text)| text.contains("\n[record]\n") && wanted(known));
            all.map(|(name, text)| read(name, &format!("recipes/{name}.toml"), text, options))
                .collect::<Result<Vec<_>>>()?
        }
    };
    if options.config.is_none() && options.name.is_none() {
        return list(&records, output);
    }
    let interrupt = Interrupt::listen()?;
    let mut told = Vec::new();
    for record in records {
        let fields = record.train(options, output, &interrupt)?;
        output.event("record", fields.clone());
        told.push(fields);
    }
    print_table(&told, output);
    output.result(json!({"records": told, "isa": Isa::active().name()}));
    Ok(())
}

/// Reads a configuration with a section `[record]`.
fn read(name: &str, file: &str, text: &str, options: &Options) -> Result<Record> {
    let mut settings = Settings::parse(file, text)?;
    let section = settings.record.take();
    let section = section.ok_or_else(|| {
        usage(format!(
            "{file}: expected a section [record] with target, limit-seconds and seeds, as in recipes/"
        ))
    })?;
    let goal = Goal::deserialize(section).map_err(|error| wrong_section(file, "record", &error))?;
    let is_whole = (0.0..=1.0).contains(&goal.target) && goal.limit_seconds > 0.0 && goal.seeds > 0;
    if !is_whole || goal.members == Some(0) {
        let expected = "a target from 0 to 1, and limit-seconds, seeds and members above 0";
        return Err(usage(format!("{file}, [record]: expected {expected}")));
    }
    let tricks = settings.speedrun.take().map(|section| Tricks::read(file, section)).transpose()?;
    let recipe = options.set.recipe(file, settings)?;
    let recipe = Recipe { validation: options.held_out.map_or(0, NonZeroUsize::get), ..recipe };
    Ok(Record { name: name.to_string(), goal, tricks, recipe })
}

/// Says what there is.
fn list(records: &[Record], output: &Output) -> Result<()> {
    use CellAlignment::{Left, Right};
    let row = |Record { name, goal, recipe, .. }: &Record| {
        let (target, limit) = (format!("{:.2} %", 100.0 * goal.target), format!("{} s", goal.limit_seconds));
        [name.clone(), recipe.data.to_string(), target, limit, goal.seeds.to_string()]
    };
    let columns = [("record", Left), ("data", Left), ("target", Right), ("limit", Right), ("seeds", Right)];
    output.table(columns, records.iter().map(row));
    let fields = |Record { name, goal, recipe, .. }: &Record| {
        json!({"name": name, "data": recipe.data.to_string(), "target": goal.target,
            "limit_seconds": goal.limit_seconds, "seeds": goal.seeds})
    };
    output.result(json!({"records": records.iter().map(fields).collect::<Vec<_>>()}));
    Ok(())
}

impl Record {
    /// Trains from every seed: the fields of the event.
    fn train(&self, options: &Options, output: &Output, interrupt: &Interrupt) -> Result<Value> {
        let Self { name, goal, tricks, .. } = self;
        let mut recipe = self.recipe.clone();
        let data = prepared_data(&mut recipe, output)?;
        let (spec, network) = network_for(&recipe, data.input, data.train.classes())?;
        if let Some(tricks) = tricks {
            tricks.check(name, &network)?;
        }
        let timed = Timed::new(&recipe, tricks.as_ref(), &data, options.threads.asked(), output);
        memory::check_training(&network, &timed.step_config(0), |_| 0, "batch-size")?;
        let members = u64::from(goal.members.unwrap_or(1));
        let seeds: Vec<u64> = options.seeds.all(goal.seeds).collect();
        let epochs = tricks.as_ref().map_or(recipe.epochs.get(), |tricks| tricks.shares.len());
        output.note(format!(
            "{name}: {} networks of {} parameters, each trained for {epochs} epochs",
            seeds.len() as u64 * members,
            network.parameters()
        ));
        let (set, judge) = judge(&data);
        let (views, threads) = (goal.tta.unwrap_or_default(), options.threads.asked());
        let (mut accuracies, mut alone, mut all_seconds, mut used) = (Vec::new(), Vec::new(), Vec::new(), 0);
        for seed in seeds {
            // No two ensembles share a network.
            let own = (seed * members..).take(members as usize);
            let trained = own.map(|seed| timed.train(seed, interrupt)).collect::<Result<Vec<Trained>>>()?;
            let ensemble: Vec<Member<'_>> = trained
                .iter()
                .map(|Trained { theta, .. }| Member {
                    network: &network,
                    theta,
                    preprocessing: data.remaining(),
                })
                .collect();
            used = trained[0].threads;
            let test = evaluate_together(&ensemble, judge, views, threads)?;
            let (accuracy, seconds) = (test.accuracy(), trained.iter().map(|one| one.seconds).sum::<f64>());
            for member in ensemble.chunks(1) {
                alone.push(evaluate_together(member, judge, Views::default(), threads)?.accuracy());
            }
            output.note(format!(
                "{name}, seed {seed}: {set} accuracy {:.2} %, {seconds:.2} s",
                100.0 * accuracy
            ));
            let digests: Vec<String> = trained.iter().map(|one| weights_sha256(&one.theta)).collect();
            output.event(
                "seed",
                json!({"name": name, "seed": seed, "accuracy": accuracy, "loss": test.loss, "seconds": seconds,
                    "weights_sha256": digests}),
            );
            accuracies.push(accuracy);
            all_seconds.push(seconds);
        }
        let (accuracy, seconds) = (Spread::of(&accuracies), Spread::of(&all_seconds));
        Ok(json!({
            "name": name,
            "data": data.name,
            "target": goal.target,
            "limit_seconds": goal.limit_seconds,
            "accuracy_mean": accuracy.mean,
            "accuracy_std": accuracy.std,
            "accuracy_min": accuracy.min,
            "accuracy_alone": Spread::of(&alone).mean,
            "seconds_mean": seconds.mean,
            "seconds_max": seconds.max,
            "parameters": network.parameters() as u64 * members,
            "seeds": accuracies.len(),
            "first_seed": options.seeds.first_seed,
            "members": members,
            "tta": views.to_string(),
            "set": set,
            "reached": accuracy.mean >= goal.target && seconds.mean <= goal.limit_seconds,
            "epochs": epochs,
            "layers": spec.to_string(),
            "threads": used,
        }))
    }
}

/// What accuracies are of.
fn judge(data: &Prepared) -> (&'static str, &Dataset) {
    match &data.validation {
        Some(validation) => ("held-out", validation),
        None => ("test", &data.test),
    }
}

/// The table of docs/records.md.
fn print_table(records: &[Value], output: &Output) {
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN);
    table.set_header([
        "record",
        "data",
        "target",
        "accuracy",
        "worst",
        "alone",
        "seconds",
        "limit",
        "parameters",
        "epochs",
        "seeds",
        "reached",
    ]);
    for record in records {
        let number = |field: &str| record[field].as_f64().unwrap_or(f64::NAN);
        let percent = |field: &str| format!("{:.2} %", 100.0 * number(field));
        let seconds = number("seconds_mean");
        table.add_row([
            record["name"].as_str().unwrap_or_default().to_string(),
            record["data"].as_str().unwrap_or_default().to_string(),
            percent("target"),
            format!("{:.3} % ± {:.3}", 100.0 * number("accuracy_mean"), 100.0 * number("accuracy_std")),
            percent("accuracy_min"),
            percent("accuracy_alone"),
            if seconds < 10.0 { format!("{seconds:.2}") } else { format!("{seconds:.1}") },
            record["limit_seconds"].to_string(),
            record["parameters"].to_string(),
            record["epochs"].to_string(),
            record["seeds"].to_string(),
            if record["reached"] == true { "yes" } else { "no" }.to_string(),
        ]);
    }
    output.print(table);
}
