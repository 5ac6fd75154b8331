//! What the runs of all systems found, as one table.

use byhand_report::{mean, std};
use comfy_table::CellAlignment::{Left, Right};
use serde_json::json;

use super::{
    experiment::Outcome,
    notebook::{Notebook, Version},
};
use crate::output::Output;

/// A system with what all its runs found: one list of outcomes a version, in the order of the seeds.
pub struct Table {
    pub notebook: Notebook,
    pub outcomes: Vec<Vec<Outcome>>,
}

/// Mean and sample standard deviation over the seeds.
pub fn metric(outcomes: &[Outcome]) -> (f64, f64) {
    let values: Vec<f64> = outcomes.iter().map(|outcome| outcome.metric).collect();
    (mean(&values).unwrap_or(f64::NAN), std(&values).unwrap_or(f64::NAN))
}

/// Mean seconds of a run, and images a second over all runs.
pub fn speed(outcomes: &[Outcome]) -> (f64, f64) {
    let seconds: f64 = outcomes.iter().map(|outcome| outcome.seconds).sum();
    let images: u64 = outcomes.iter().map(|outcome| outcome.images).sum();
    (seconds / outcomes.len() as f64, if images == 0 { 0.0 } else { images as f64 / seconds })
}

/// Tells a program what the runs of a version found.
pub fn tell_version(notebook: &Notebook, version: &Version, outcomes: &[Outcome], output: &Output) {
    let (mean, std) = metric(outcomes);
    let (seconds, images_per_second) = speed(outcomes);
    let about = &notebook.about;
    output.event(
        "system",
        json!({
            "system": about.system,
            "version": version.name,
            "metric": version.metric.name(),
            "mean": mean,
            "std": std,
            "n": outcomes.len(),
            "seconds": seconds,
            "images_per_second": images_per_second,
            "printed": notebook.printed_of(version),
            "numpy_images_per_second": about.numpy_images_per_second,
            "title": about.title,
            "note": version.note,
            "lr": version.recipe.lr,
            "batch_size": version.recipe.batch_size,
            "seeds": outcomes.iter().map(|outcome| outcome.metric).collect::<Vec<_>>(),
            "data": outcomes.first().map(|outcome| outcome.data.as_str()),
            "chance": outcomes.first().and_then(|outcome| outcome.chance),
        }),
    );
}

/// Prints a row for each system, and what its versions that have none found.
pub fn print_table(tables: &[Table], output: &Output) {
    let spread = |outcomes: &[Outcome]| {
        let (mean, std) = metric(outcomes);
        if outcomes.len() > 1 { format!("{mean:.4} ± {std:.4}") } else { format!("{mean:.4}") }
    };
    let number = |value: Option<f64>| value.map_or("-".to_string(), |value| value.to_string());
    let mut rows = Vec::new();
    let mut notes = Vec::new();
    for Table { notebook: Notebook { about, versions }, outcomes } in tables {
        let named = |name: &str| {
            let index = versions.iter().position(|version| version.name == name)?;
            Some(&outcomes[index][..])
        };
        let (written, repaired) = (named("written"), named("repaired"));
        let (seconds, rate) = speed(repaired.or(written).unwrap_or_default());
        let times = about.numpy_images_per_second.map(|numpy| format!("{:.0}", rate / numpy));
        rows.push([
            about.system.clone(),
            about.title.clone(),
            number(about.printed),
            written.map_or("-".into(), spread),
            repaired.map_or("-".into(), spread),
            format!("{seconds:.2}"),
            format!("{rate:.0}"),
            number(about.numpy_images_per_second),
            times.unwrap_or("-".into()),
        ]);
        for (version, outcomes) in versions.iter().zip(outcomes) {
            let is_in_table = ["written", "repaired"].contains(&version.name.as_str())
                && version.printed.is_none()
                && version.metric == about.metric;
            if let Some(note) = version.note.as_ref().filter(|_| !is_in_table) {
                let printed =
                    version.printed.map_or(String::new(), |printed| format!(" (printed {printed})"));
                notes.push(format!(
                    "{:3} {}: {} {}{printed}; {note}",
                    about.system,
                    version.name,
                    version.metric.name(),
                    spread(outcomes)
                ));
            }
        }
    }
    let numbers = ["printed", "as written", "repaired", "seconds", "images/s", "NumPy/s", "times"];
    let [printed, written, repaired, seconds, rate, numpy, times] = numbers.map(|head| (head, Right));
    let columns = [("", Left), ("system", Left), printed, written, repaired, seconds, rate, numpy, times];
    output.table(columns, rows);
    output.print(
        "Figures: mean ± sample standard deviation over the seeds. Seconds, images/s: training of one repaired run on one thread.",
    );
    for note in notes {
        output.print(note);
    }
}
