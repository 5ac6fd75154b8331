//! The list of systems, and their training runs as one table.

use std::{
    collections::BTreeSet,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use anyhow::{Context, Result};
use comfy_table::CellAlignment::{Left, Right};
use serde_json::json;

use super::{
    Command, Options, Run, demo,
    experiment::{self, Outcome, Prepared, prepare},
    notebook::{NOTEBOOKS, Notebook, Version, load, source},
    report,
};
use crate::{output::Output, program, settings::Settings};

/// Lists, shows or runs.
pub fn run(options: &Options, output: &Output) -> Result<()> {
    match &options.command {
        None | Some(Command::List) => list(output),
        Some(Command::Show { name }) => {
            let text = source(name)?;
            output.print(text.trim_end());
            output.result(json!({"system": name, "notebook": text}));
            Ok(())
        }
        Some(Command::Run(run)) => run_systems(run, output),
    }
}

fn list(output: &Output) -> Result<()> {
    let mut rows = Vec::new();
    for notebook in load("all", &Settings::default())? {
        let (about, layers) = (&notebook.about, notebook.repaired().recipe.layers.to_string());
        output.event("system", json!({"system": about.system, "title": about.title, "layers": layers}));
        rows.push([about.system.clone(), about.title.clone(), layers]);
    }
    output.table([("system", Left), ("title", Left), ("layers", Left)], rows);
    output.print(format!("\n`{} notebooks run NAME` trains one as written and repaired", program::name()));
    output.print(format!("The wrong lines in them: `{} museum`", program::name()));
    output.result(json!({"systems": NOTEBOOKS.len()}));
    Ok(())
}

/// One training run of the table: which notebook, which of its versions, which seed.
#[derive(Clone, Copy)]
struct Job {
    notebook: usize,
    version: usize,
    seed: u64,
}

/// A system with what all its runs found: one list of outcomes a version, in the order of the seeds.
pub struct Table {
    pub notebook: Notebook,
    pub outcomes: Vec<Vec<Outcome>>,
}

fn run_systems(options: &Run, output: &Output) -> Result<()> {
    let began = Instant::now();
    let notebooks = load(&options.name, &options.data.settings())?;
    let prepared = prepare(&notebooks, output)?;
    let threads = match options.threads.asked() {
        0 => thread::available_parallelism().map_or(1, usize::from),
        n => n,
    };
    let outcomes = run_jobs(&notebooks, &prepared, options.seeds, threads, output)?;
    let tables: Vec<Table> = notebooks
        .into_iter()
        .zip(outcomes)
        .map(|(notebook, outcomes)| Table { notebook, outcomes })
        .collect();
    for Table { notebook, outcomes } in &tables {
        for (version, outcomes) in notebook.versions.iter().zip(outcomes) {
            tell_version(notebook, version, outcomes, output);
        }
    }
    print_table(&tables, output);
    for (table, data) in tables.iter().zip(&prepared) {
        demo::show(table, data, tables.len() == 1, output)?;
    }
    if let Some(folder) = &options.report {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let file = folder.join("index.html");
        let page = report::page(&tables, &prepared)?;
        std::fs::write(&file, page).with_context(|| format!("cannot write {}", file.display()))?;
        output.note(format!("wrote {}", file.display()));
    }
    let seconds = began.elapsed().as_secs_f64();
    output.print(format!("{seconds:.0} s in all, {threads} runs at a time"));
    let data: BTreeSet<&str> = prepared.iter().flatten().flatten().map(|part| part.name.as_str()).collect();
    output.result(json!({
        "systems": tables.iter().map(|table| table.notebook.about.system.as_str()).collect::<Vec<_>>(),
        "seeds": options.seeds,
        "data": data,
        "threads": threads,
        "seconds": seconds,
    }));
    Ok(())
}

/// Runs every version of every notebook for every seed, `threads` at a time; the longest first, so that none is left alone.
fn run_jobs(
    notebooks: &[Notebook],
    prepared: &[Vec<Prepared>],
    seeds: u64,
    threads: usize,
    output: &Output,
) -> Result<Vec<Vec<Vec<Outcome>>>> {
    let mut jobs: Vec<Job> = Vec::new();
    for (n, notebook) in notebooks.iter().enumerate() {
        for (v, version) in notebook.versions.iter().enumerate() {
            let seeds = seeds.min(version.most_seeds.unwrap_or(u64::MAX));
            jobs.extend((1..=seeds).map(|seed| Job { notebook: n, version: v, seed }));
        }
    }
    let of = |job: &Job| {
        let Notebook { about, versions } = &notebooks[job.notebook];
        (about, &versions[job.version], &prepared[job.notebook][job.version])
    };
    jobs.sort_by_key(|job| {
        let (about, version, prepared) = of(job);
        std::cmp::Reverse(experiment::cost(about, version, prepared))
    });
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(Job, Result<Outcome>)>> = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..threads.min(jobs.len()) {
            scope.spawn(|| {
                while let Some(&job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (about, version, prepared) = of(&job);
                    let outcome = experiment::run(about, version, prepared, job.seed);
                    if let Ok(Outcome { metric, seconds, .. }) = &outcome {
                        let (system, name, seed) = (&about.system, &version.name, job.seed);
                        output.note(format!("{system} {name}, seed {seed}: {metric:.4} in {seconds:.2} s"));
                    }
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((job, outcome));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(job, _)| (job.notebook, job.version, job.seed));
    let none = |notebook: &Notebook| notebook.versions.iter().map(|_| Vec::new()).collect();
    let mut outcomes: Vec<Vec<Vec<Outcome>>> = notebooks.iter().map(none).collect();
    for (job, outcome) in done {
        outcomes[job.notebook][job.version].push(outcome?);
    }
    Ok(outcomes)
}

/// Mean and sample standard deviation over the seeds.
pub fn mean_std(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let n = values.clone().count() as f64;
    let mean = values.clone().sum::<f64>() / n;
    let squares: f64 = values.map(|value| (value - mean).powi(2)).sum();
    (mean, if n > 1.0 { (squares / (n - 1.0)).sqrt() } else { 0.0 })
}

pub fn metric(outcomes: &[Outcome]) -> (f64, f64) {
    mean_std(outcomes.iter().map(|outcome| outcome.metric))
}

/// Mean seconds of a run, and images a second over all runs.
pub fn speed(outcomes: &[Outcome]) -> (f64, f64) {
    let seconds: f64 = outcomes.iter().map(|outcome| outcome.seconds).sum();
    let images: u64 = outcomes.iter().map(|outcome| outcome.images).sum();
    (seconds / outcomes.len() as f64, if images == 0 { 0.0 } else { images as f64 / seconds })
}

fn tell_version(notebook: &Notebook, version: &Version, outcomes: &[Outcome], output: &Output) {
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

fn print_table(tables: &[Table], output: &Output) {
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
