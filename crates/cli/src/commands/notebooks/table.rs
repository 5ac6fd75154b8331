//! The list of systems, and their training runs as one table.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use anyhow::{Context, Result};
use serde_json::json;

use super::{
    Command, Options, Run, demo,
    experiment::{self, Outcome, Prepared, prepare},
    preset::{self, PRESETS, Preset, Row, load},
    report,
};
use crate::{output::Output, program};

/// Lists, shows or runs.
pub fn run(options: &Options, output: &Output) -> Result<()> {
    match &options.command {
        None | Some(Command::List) => list(output),
        Some(Command::Show { name }) => {
            let text = preset::text(name)?;
            output.print(text.trim_end());
            output.result(json!({"system": name, "preset": text}));
            Ok(())
        }
        Some(Command::Run(run)) => run_systems(run, output),
    }
}

fn list(output: &Output) -> Result<()> {
    output.print(format!("The systems ({} notebooks run NAME):", program::name()));
    for (_, text) in PRESETS {
        let preset: Preset = toml::from_str(text)?;
        let layers = &preset.repaired().layers;
        output.print(format!("  {:3} {:26} {layers}", preset.system, preset.title));
        output.event(
            "system",
            json!({"system": preset.system, "title": preset.title, "layers": layers.to_string()}),
        );
    }
    output.print(format!("\nThe wrong lines in them: `{} museum`", program::name()));
    output.result(json!({"systems": PRESETS.len()}));
    Ok(())
}

/// One training run of the table: which preset, which of its rows, which seed.
#[derive(Clone, Copy)]
struct Job {
    preset: usize,
    row: usize,
    seed: u64,
}

/// A system with what all its runs found: one list of outcomes a row, in the order of the seeds.
pub struct Table {
    pub preset: Preset,
    pub outcomes: Vec<Vec<Outcome>>,
}

fn run_systems(options: &Run, output: &Output) -> Result<()> {
    let began = Instant::now();
    let presets = load(&options.name)?;
    let prepared = prepare(&presets, options.data_dir.as_deref(), output)?;
    let threads = match options.threads {
        0 => thread::available_parallelism().map_or(1, usize::from),
        n => n.into(),
    };
    let outcomes = run_jobs(&presets, &prepared, options.seeds, threads, output)?;
    let tables: Vec<Table> =
        presets.into_iter().zip(outcomes).map(|(preset, outcomes)| Table { preset, outcomes }).collect();
    for Table { preset, outcomes } in &tables {
        for (row, outcomes) in preset.rows.iter().zip(outcomes) {
            tell_row(preset, row, outcomes, output);
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
    let data: Vec<&str> = prepared.iter().flat_map(Prepared::names).collect();
    output.result(json!({
        "systems": tables.iter().map(|table| table.preset.system.as_str()).collect::<Vec<_>>(),
        "seeds": options.seeds,
        "data": data,
        "threads": threads,
        "seconds": seconds,
    }));
    Ok(())
}

/// Runs every row of every preset for every seed, `threads` at a time; the longest first, so that none is left alone.
fn run_jobs(
    presets: &[Preset],
    prepared: &[Prepared],
    seeds: u64,
    threads: usize,
    output: &Output,
) -> Result<Vec<Vec<Vec<Outcome>>>> {
    let mut jobs: Vec<Job> = Vec::new();
    for (p, preset) in presets.iter().enumerate() {
        for (r, row) in preset.rows.iter().enumerate() {
            let seeds = seeds.min(row.most_seeds.unwrap_or(u64::MAX));
            jobs.extend((1..=seeds).map(|seed| Job { preset: p, row: r, seed }));
        }
    }
    let cost =
        |job: &Job| prepared[job.preset].cost(&presets[job.preset], &presets[job.preset].rows[job.row]);
    jobs.sort_by_key(|job| std::cmp::Reverse(cost(job)));
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(Job, Result<Outcome>)>> = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..threads.min(jobs.len()) {
            scope.spawn(|| {
                while let Some(&job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let preset = &presets[job.preset];
                    let row = &preset.rows[job.row];
                    let outcome = experiment::run(preset, row, &prepared[job.preset], job.seed);
                    if let Ok(outcome) = &outcome {
                        let Outcome { metric, seconds, .. } = outcome;
                        let (system, version, seed) = (&preset.system, &row.version, job.seed);
                        output
                            .note(format!("{system} {version}, seed {seed}: {metric:.4} in {seconds:.2} s"));
                    }
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((job, outcome));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(job, _)| (job.preset, job.row, job.seed));
    let mut outcomes: Vec<Vec<Vec<Outcome>>> =
        presets.iter().map(|preset| preset.rows.iter().map(|_| Vec::new()).collect()).collect();
    for (job, outcome) in done {
        outcomes[job.preset][job.row].push(outcome?);
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

fn tell_row(preset: &Preset, row: &Row, outcomes: &[Outcome], output: &Output) {
    let (mean, std) = metric(outcomes);
    let (seconds, images_per_second) = speed(outcomes);
    output.event(
        "system",
        json!({
            "system": preset.system,
            "version": row.version,
            "metric": preset.metric_of(row),
            "mean": mean,
            "std": std,
            "n": outcomes.len(),
            "seconds": seconds,
            "images_per_second": images_per_second,
            "printed": preset.printed_of(row),
            "numpy_images_per_second": preset.numpy_images_per_second,
            "title": preset.title,
            "note": row.note,
            "rate": row.rate,
            "batch_size": row.batch_size,
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
    output.print(format!(
        "{:3} {:24} {:>8} {:>17} {:>17} {:>8} {:>10} {:>9} {:>8}",
        "", "system", "printed", "as written", "repaired", "seconds", "images/s", "NumPy/s", "times"
    ));
    let mut notes = Vec::new();
    for Table { preset, outcomes } in tables {
        let row = |version: &str| {
            let index = preset.rows.iter().position(|row| row.version == version)?;
            Some(&outcomes[index][..])
        };
        let (written, repaired) = (row("written"), row("repaired"));
        let (seconds, rate) = speed(repaired.or(written).unwrap_or_default());
        let times = preset.numpy_images_per_second.map(|numpy| format!("{:.0}", rate / numpy));
        output.print(format!(
            "{:3} {:24} {:>8} {:>17} {:>17} {:>8.2} {:>10.0} {:>9} {:>8}",
            preset.system,
            preset.title,
            number(preset.printed),
            written.map_or("-".into(), spread),
            repaired.map_or("-".into(), spread),
            seconds,
            rate,
            number(preset.numpy_images_per_second),
            times.unwrap_or("-".into()),
        ));
        for (row, outcomes) in preset.rows.iter().zip(outcomes) {
            let main = ["written", "repaired"].contains(&row.version.as_str());
            if let Some(note) =
                row.note.as_ref().filter(|_| !main || row.printed.is_some() || row.metric.is_some())
            {
                let printed = row.printed.map_or(String::new(), |printed| format!(" (printed {printed})"));
                notes.push(format!(
                    "{:3} {}: {} {}{printed}; {note}",
                    preset.system,
                    row.version,
                    preset.metric_of(row),
                    spread(outcomes)
                ));
            }
        }
    }
    output.print(
        "Figures: mean ± sample standard deviation over the seeds. Seconds, images/s: training of one repaired run on one thread.",
    );
    for note in notes {
        output.print(note);
    }
}
