//! What training gave: accuracy, seconds, memory.

use std::path::Path;

use anyhow::Result;
use byhand_report::{extremes, mean, std};

use super::{REBUILT, across, optional, range, sources, values};
use crate::{
    bench_report::numbers::{count, short},
    records::{Processor, Record, Records},
};

pub fn training(root: &Path) -> Result<String> {
    let records = Records::read(root, "training")?;
    let groups = records.newest(subject)?;
    let names = |records: &[&Record]| {
        let trained = Trained::of(records)?;
        let memory = extremes(&values(records, "peak_memory_mib")).map(|[_, most]| most);
        let command = format!("`{}`", trained.command.trim_start_matches("cargo xtask "));
        Ok(vec![command, trained.data.clone(), count(trained.parameters), optional(memory, count)])
    };
    let cell = |records: &[&Record]| {
        let trained = Trained::of(records)?;
        Ok(format!("{}, {} s", trained.accuracy(), optional(mean(&trained.seconds), short)))
    };
    let table = across(&["command", "data", "parameters", "MiB"], &groups, subject, names, cell)?;
    let is_rebuilt = table.contains('¹');
    Ok(table + &sources(&groups)? + if is_rebuilt { REBUILT } else { "" })
}

pub fn speedrun(root: &Path) -> Result<String> {
    let records = Records::read(root, "speedrun")?;
    let groups = records.newest(framework)?;
    let names = |records: &[&Record]| {
        let first = records[0];
        Ok(vec![framework(first)?, count(first.number("seeds")?)])
    };
    let cell = |records: &[&Record]| {
        let seconds: Vec<String> = values(records, "seconds_mean").into_iter().map(short).collect();
        let percent =
            |field| optional(mean(&values(records, field)), |share| format!("{:.2}", 100.0 * share));
        Ok(format!(
            "{} s; {} %, worst {}",
            seconds.join(", "),
            percent("accuracy_mean"),
            percent("accuracy_min")
        ))
    };
    Ok(across(&["program", "seeds"], &groups, framework, names, cell)? + &sources(&groups)?)
}

/// The speedruns on a processor in a sentence.
pub fn speedruns_told(root: &Path, on: &Processor) -> Result<String> {
    let records = Records::read(root, "speedrun")?;
    let groups = records.newest(framework)?;
    let group = groups.into_iter().find(|(processor, _)| processor.record == on.record);
    let (ours, theirs): (Vec<_>, Vec<_>) =
        group.into_iter().flat_map(|(_, group)| group).partition(|record| is_ours(record));
    let [ours, theirs] = [ours, theirs].map(|records| extremes(&values(&records, "seconds_mean")));
    let (Some(ours), Some(theirs)) = (ours, theirs) else { return Ok(String::new()) };
    let [ours, theirs] = [ours, theirs].map(|seconds| range(seconds, short));
    Ok(format!(
        "`cargo xtask speedrun` trains to 99 % on MNIST in {ours} s; PyTorch takes {theirs} s with the same recipe.\n"
    ))
}

/// Which program did a speedrun; ours does not say.
pub fn framework(record: &Record) -> Result<String> {
    Ok(record.text_or("framework", "byhand").to_string())
}

/// Whether a speedrun is of this project.
pub fn is_ours(record: &Record) -> bool {
    record.text_or("framework", "byhand") == "byhand"
}

/// What one training command gave on one processor.
pub struct Trained {
    pub command: String,
    pub data: String,
    pub parameters: f64,
    pub accuracies: Vec<f64>,
    pub seconds: Vec<f64>,
}

impl Trained {
    pub fn of(records: &[&Record]) -> Result<Trained> {
        let command = records[0].text("command")?.split(" --seed").next().unwrap_or_default();
        let data = match records[0].text("data")? {
            "mnist" => "MNIST",
            "fashion-mnist" => "Fashion-MNIST",
            "fashion-mnist (unverified)" => "Fashion-MNIST ¹",
            other => other,
        };
        Ok(Trained {
            command: command.split(" --threads").next().unwrap_or_default().to_string(),
            data: data.to_string(),
            parameters: records[0].number("parameters")?,
            accuracies: values(records, "test_accuracy"),
            seconds: values(records, "train_seconds"),
        })
    }

    /// Mean, standard deviation and number.
    pub fn accuracy(&self) -> String {
        let percent = |value: Option<f64>| optional(value, |x| format!("{:.2}", 100.0 * x));
        let [mean, std] = [mean(&self.accuracies), std(&self.accuracies)].map(percent);
        format!("{mean} % ± {std} (n = {})", self.accuracies.len())
    }
}

/// Model and data of a training.
pub fn subject(record: &Record) -> Result<(String, String)> {
    Ok((record.text("model")?.to_string(), record.text("data")?.to_string()))
}
