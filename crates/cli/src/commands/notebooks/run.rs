//! The list of systems, and their training runs.

use std::{
    collections::BTreeSet,
    fs,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use anyhow::{Context, Result};
use byhand_files::{OS, replace};
use comfy_table::CellAlignment::Left;
use serde_json::json;

use super::{
    Command, Options, Run, demo,
    experiment::{self, Outcome, Prepared, prepare},
    notebook::{NOTEBOOKS, Notebook, load, source},
    report,
    table::{Table, print_table, tell_version},
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
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let file = folder.join("index.html");
        let page = report::page(&tables, &prepared)?;
        replace(&OS, &file, page.as_bytes()).with_context(|| format!("cannot write {}", file.display()))?;
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
