//! Kernels and steps, in percent of the peak.

use std::{collections::BTreeMap, path::Path};

use anyhow::Result;

use super::{across, commits, isas, markdown, optional, parted, sources, values};
use crate::{
    bench_report::numbers::{count, median},
    records::{Record, Records},
};

/// Steps and kernels on all processors, in percent of the peak: medians over networks and shapes.
pub fn kernels(root: &Path) -> Result<String> {
    let records = Records::read(root, "benchmarks")?;
    let mut groups = records.newest(benchmark)?;
    for (_, group) in &mut groups {
        // The plain step is the slow twin of the step.
        group.retain(|r| {
            r.maybe_number("percent").is_some() && r.text("operation").is_ok_and(|o| o != "plain-step")
        });
    }
    let row = |record: &Record| benchmark(record).map(|(operation, _, _, threads)| (operation, threads));
    let names = |records: &[&Record]| {
        let (operation, threads) = row(records[0])?;
        Ok(vec![operation, threads.to_string()])
    };
    let cell = |records: &[&Record]| {
        let cells = parted(records, |record| Ok(record.number("batch")? as usize))?.into_iter().map(
            |(batch, records)| {
                (batch, optional(median(&values(&records, "percent")), |percent| format!("{percent:.0}")))
            },
        );
        let cells: BTreeMap<usize, String> = cells.collect();
        let cells: Vec<String> =
            cells.into_iter().map(|(batch, percent)| format!("{batch}: **{percent}**")).collect();
        Ok(cells.join(", "))
    };
    let peaks: Vec<String> = groups
        .iter()
        .map(|(p, group)| (p, peak(group)))
        .filter(|(_, peak)| !peak.is_empty())
        .map(|(p, peak)| format!(" {}{peak}.", p.name))
        .collect();
    Ok(across(&["kernel", "threads"], &groups, row, names, cell)? + &sources(&groups)? + &peaks.concat())
}

/// Every benchmark, for who wants to look a shape up.
pub fn all_benchmarks(root: &Path) -> Result<String> {
    let records = Records::read(root, "benchmarks")?;
    let mut text = String::new();
    for (processor, group) in records.newest(benchmark)? {
        text += &format!(
            "**{}**, commit {}, {}{}\n\n",
            processor.name,
            commits(&group)?,
            isas(&group),
            peak(&group)
        );
        let batches = batches(&group)?;
        let mut rows = Vec::new();
        for ((operation, subject, threads), of) in
            parted(&group, |record| benchmark(record).map(|(o, s, _, t)| (o, s, t)))?
        {
            let cell = |&batch: &usize| {
                let Some(record) = of.iter().find(|r| r.maybe_number("batch") == Some(batch as f64)) else {
                    return String::new();
                };
                let rate = [("images_per_second", ""), ("gflops", " GFLOP/s"), ("gb_per_second", " GB/s")];
                let rate = rate
                    .iter()
                    .find_map(|(field, unit)| Some(format!("{}{unit}", count(record.maybe_number(field)?))));
                let percent = record.maybe_number("percent");
                let told = percent.map(|percent| format!(", {percent:.0} %")).unwrap_or_default();
                // A roof below the peak is what the kernel should be held against.
                let roof = record
                    .maybe_number("roof_percent")
                    .filter(|roof| percent.is_some_and(|of_peak| *roof > of_peak));
                let roof = roof.map(|roof| format!(" ({roof:.0} % of the roof)")).unwrap_or_default();
                rate.unwrap_or_default() + &told + &roof
            };
            let names = [operation, subject, threads.to_string()];
            rows.push(names.into_iter().chain(batches.iter().map(cell)).collect::<Vec<_>>());
        }
        let head = ["operation", "subject", "threads"].map(str::to_string);
        let head: Vec<String> =
            head.into_iter().chain(batches.iter().map(|b| format!("batch {b}"))).collect();
        text += &(markdown(2, &head, rows) + "\n");
    }
    Ok(text.trim_end().to_string())
}

type Benchmark = (String, String, usize, usize);

fn benchmark(record: &Record) -> Result<Benchmark> {
    let number = |field| record.number(field).map(|x| x as usize);
    Ok((
        record.text("operation")?.to_string(),
        record.text("subject")?.to_string(),
        number("batch")?,
        number("threads")?,
    ))
}

fn batches(records: &[&Record]) -> Result<Vec<usize>> {
    let mut batches =
        records.iter().map(|record| Ok(record.number("batch")? as usize)).collect::<Result<Vec<_>>>()?;
    batches.sort_unstable();
    batches.dedup();
    Ok(batches)
}

/// The median peak of each number of threads, where it was written down.
fn peak(records: &[&Record]) -> String {
    let mut peaks: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    for record in records {
        if let (Some(threads), Some(peak)) =
            (record.maybe_number("threads"), record.maybe_number("peak_gflops"))
        {
            peaks.entry(threads as usize).or_default().push(peak);
        }
    }
    let told = peaks.iter().filter_map(|(threads, peaks)| {
        Some(format!(", peak on {threads} threads {} GFLOP/s", count(median(peaks)?)))
    });
    told.collect::<String>().replace("on 1 threads", "on one thread")
}
