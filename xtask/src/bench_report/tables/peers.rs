//! The training step beside other frameworks.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, Result};
use byhand_report::{chart::Curve, extremes};

use super::{distinct, markdown, optional, parted, range, sources};
use crate::{
    bench_report::numbers::{count, median, ratio},
    records::{Processor, Record, Records},
};

pub fn peers(root: &Path) -> Result<String> {
    let records = Records::read(root, "peers")?;
    let mut text = String::new();
    let newest = records
        .newest(|record| Ok((record.text_or("workload", "").to_string(), record.maybe_number("threads"))))?;
    let mut versions = Vec::new();
    for ((processor, cells), (_, group)) in cells(&records)?.into_iter().zip(&newest) {
        let batches = distinct(cells.iter().map(|((_, batch, _), _)| *batch));
        let networks = distinct(cells.iter().map(|((network, ..), _)| network.clone()));
        let find = |network: &str, batch, threads| {
            let same = |(place, _): &&(Place, Cell<'_>)| {
                place.0 == network && (place.1, place.2) == (batch, threads)
            };
            cells.iter().find(same).map(|(_, cell)| cell)
        };
        let rows = networks.iter().map(|network| {
            let cell = |&batch: &usize| {
                let Some(cell) = find(network, batch, 2) else { return String::new() };
                let lead = |cell: &Cell<'_>| optional(cell.lead(), ratio);
                let alone =
                    find(network, batch, 1).map(|cell| format!(" ({})", lead(cell))).unwrap_or_default();
                format!("{}, **{}**{alone}", count(batch as f64 / cell.ours * 1e6), lead(cell))
            };
            [network.clone()].into_iter().chain(batches.iter().map(cell)).collect::<Vec<_>>()
        });
        let batches = batches.iter().map(|batch| format!("batch {batch}"));
        let head: Vec<String> = [processor.name.clone()].into_iter().chain(batches).collect();
        text += &(markdown(1, &head, rows) + "\n");
        versions.extend(
            group
                .iter()
                .filter_map(|r| r.text("version").ok())
                .filter(|name| name.contains(' '))
                .map(published),
        );
    }
    versions.sort();
    versions.dedup();
    Ok(text.clone() + sources(&newest)?.trim_start() + &format!("\nOthers: {}.", versions.join(", ")))
}

/// A framework's name and release as its authors write them, whatever it called itself when it was measured.
fn published(version: &str) -> String {
    let release = version.split('+').next().unwrap_or(version);
    [("torch ", "PyTorch "), ("jax ", "JAX ")].into_iter().fold(
        release.to_string(),
        |name, (own, published)| {
            name.strip_prefix(own).map(|number| format!("{published}{number}")).unwrap_or(name)
        },
    )
}

/// The peers one by one on the first processor, where more than the best was written down.
pub fn rivals(root: &Path) -> Result<String> {
    let records = Records::read(root, "peers")?;
    let all = cells(&records)?;
    let Some((processor, cells)) =
        all.iter().find(|(_, cells)| cells.iter().any(|(_, cell)| cell.peers.len() > 2))
    else {
        return Ok(String::new());
    };
    let names = distinct(cells.iter().flat_map(|(_, cell)| cell.peers.iter().map(|(name, _)| *name)));
    let measured = |asked: &usize| cells.iter().any(|((.., threads), _)| threads == asked);
    let rows = [2, 1].into_iter().filter(measured).map(|asked| {
        let lead = |name: &&str| {
            let of = cells.iter().filter(|((.., threads), _)| *threads == asked);
            let times = of.filter_map(|(_, cell)| {
                Some(cell.peers.iter().find(|(peer, _)| peer == name)?.1 / cell.ours)
            });
            let ratios: Vec<f64> = times.collect();
            let range =
                optional(extremes(&ratios), |[least, most]| format!("{} to {}", ratio(least), ratio(most)));
            format!("**{}**, {range}", optional(median(&ratios), ratio))
        };
        [asked.to_string()].into_iter().chain(names.iter().map(lead)).collect::<Vec<_>>()
    });
    let head: Vec<&str> = ["threads"].into_iter().chain(names.iter().copied()).collect();
    let newest = records.newest(|record| Ok(record.text("peer")?.to_string()))?;
    let group =
        newest.iter().find(|(other, _)| other.record == processor.record).map_or(&[][..], |(_, group)| group);
    let differing =
        group.iter().filter(|record| record.maybe_number("median_us").is_some() && !record.is("agrees"));
    let differing = distinct(differing.filter_map(|record| record.text("peer").ok()));
    let left_out = match differing.len() {
        0 => String::new(),
        _ => format!(" Left out where its losses differ: {}.", differing.join(", ")),
    };
    let table = markdown(1, &head, rows);
    Ok(format!("{table}\n{}: median, least and most of all cells.{left_out}", processor.name))
}

/// The leads on a processor in a sentence.
pub fn leads_told(root: &Path, on: &Processor) -> Result<String> {
    let records = Records::read(root, "peers")?;
    let all = cells(&records)?;
    let cells = all.iter().find(|(processor, _)| processor.record == on.record);
    let on_two = cells.iter().flat_map(|(_, cells)| cells).filter(|((.., threads), _)| *threads == 2);
    let leads: Vec<f64> = on_two.filter_map(|(_, cell)| cell.lead()).collect();
    Ok(extremes(&leads).map_or(String::new(), |leads| {
        let leads = range(leads, ratio);
        format!("For a training step on two threads the best other framework takes {leads} times as long.\n")
    }))
}

/// The lead over the best peer by network, at each batch: for the chart.
pub fn leads(root: &Path) -> Result<Option<(String, Vec<Curve>)>> {
    let records = Records::read(root, "peers")?;
    let Some((processor, cells)) = cells(&records)?.into_iter().next() else { return Ok(None) };
    let mut curves: Vec<Curve> = Vec::new();
    for ((network, batch, threads), cell) in cells {
        if let (2, Some(lead)) = (threads, cell.lead()) {
            let at = curves.iter().position(|(known, _)| *known == network).unwrap_or_else(|| {
                curves.push((network, Vec::new()));
                curves.len() - 1
            });
            curves[at].1.push([batch as f64, lead]);
        }
    }
    Ok(Some((processor.name.clone(), curves)))
}

/// Who was timed in a cell of the comparison, on the same steps.
pub struct Cell<'a> {
    ours: f64,
    peers: Vec<(&'a str, f64)>,
}

impl Cell<'_> {
    /// The time of the best peer, divided by ours.
    pub fn lead(&self) -> Option<f64> {
        self.peers.iter().map(|(_, us)| us / self.ours).min_by(f64::total_cmp)
    }
}

/// Network, batch and threads.
pub type Place = (String, usize, usize);

pub type Cells<'a> = Vec<(&'a Processor, Vec<(Place, Cell<'a>)>)>;

fn place(record: &Record) -> Result<Place> {
    let number = |field| record.number(field).map(|x| x as usize);
    Ok((record.text("workload")?.to_string(), number("batch")?, number("threads")?))
}

/// The comparison, cell by cell. A peer whose losses differ computes something else and is no measure.
pub fn cells(records: &Records) -> Result<Cells<'_>> {
    // What is missing has no time, and perhaps no cell.
    let timed = |record: &Record| match record.maybe_number("median_us") {
        Some(_) => place(record).map(Some),
        None => Ok(None),
    };
    let mut all = Vec::new();
    for (processor, group) in records.newest(timed)? {
        let mut cells = Vec::new();
        for (place, records) in parted(&group, timed)? {
            let Some(place) = place else { continue };
            let mut times: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
            for record in records.iter().filter(|record| record.is("agrees")) {
                times.entry(record.text("peer")?).or_default().push(record.number("median_us")?);
            }
            let mut times: Vec<_> =
                times.into_iter().filter_map(|(peer, us)| Some((peer, median(&us)?))).collect();
            let ours = times.iter().position(|(peer, _)| *peer == "ours");
            let (_, ours) = times
                .swap_remove(ours.with_context(|| format!("{}: no record of ours at {}", place.0, place.1))?);
            cells.push((place, Cell { ours, peers: times }));
        }
        all.push((processor, cells));
    }
    Ok(all)
}
