//! What is held to be right: gradients, bits, the same training in PyTorch.

use std::path::Path;

use anyhow::Result;
use serde_json::Value;

use super::{commits, distinct, markdown, parted, scientific, values};
use crate::{
    bench_report::numbers::count,
    records::{Record, Records},
};

pub fn gradients(root: &Path) -> Result<String> {
    let records = Records::read(root, "gradients")?;
    let groups = records.newest(|_| Ok(()))?;
    let Some((processor, group)) = groups.first() else { return Ok(String::new()) };
    let record = group[group.len() - 1];
    let mut rows = ["largest, of at most", "in"].map(|name| vec![name.to_string()]);
    let (mut head, mut exact) = (vec!["clause"], Vec::new());
    for clause in record.list("clauses") {
        let (Some(name), Some(worst), Some(limit)) =
            (clause["clause"].as_str(), clause["worst"].as_f64(), clause["limit"].as_f64())
        else {
            continue;
        };
        if [worst, limit] == [0.0, 0.0] {
            exact.push(name);
            continue;
        }
        head.push(name);
        rows[0].push(format!("{} of {}", scientific(worst), scientific(limit)));
        rows[1].push(format!("`{}`", clause["layer"].as_str().unwrap_or_default()));
    }
    let isas: Vec<&str> = record.list("isas").iter().filter_map(Value::as_str).collect();
    Ok(format!(
        "{}\nExact: {}.\n{} configurations, {} checks, {} failures; {} and f64. {}, commit {}.",
        markdown(1, &head, rows),
        exact.join(", "),
        count(record.number("configurations")?),
        count(record.number("checks")?),
        count(record.number("failures")?),
        isas.join(", "),
        processor.name,
        record.text("commit")?
    ))
}

pub fn bits(root: &Path) -> Result<String> {
    let records = Records::read(root, "bits")?;
    let model = |record: &Record| Ok(record.text("model")?.to_string());
    let groups = records.newest(model)?;
    let Some((processor, group)) = groups.first() else { return Ok(String::new()) };
    let (mut head, mut row) = (vec!["model".to_string()], vec!["hash".to_string()]);
    for (model, records) in parted(group, model)? {
        let hashes = distinct(records.iter().filter_map(|record| record.text("weights_sha256").ok()));
        let hashes = hashes.into_iter().map(|hash| format!("`{}`", hash.get(..16).unwrap_or(hash)));
        head.push(format!("`{model}`"));
        row.push(hashes.collect::<Vec<_>>().join(", which is not "));
    }
    let runs =
        parted(group, |record| Ok(record.text("isa")?.to_string()))?.into_iter().map(|(isa, records)| {
            let threads = distinct(values(&records, "threads").into_iter()).into_iter().map(count);
            format!("{} threads with {isa}", threads.collect::<Vec<_>>().join(", "))
        });
    let runs = runs.collect::<Vec<_>>().join("; ");
    Ok(format!(
        "{}\n{runs}. {}, commit {}, seed 0.",
        markdown(1, &head, [row]),
        processor.name,
        commits(group)?
    ))
}

pub fn parity(root: &Path) -> Result<String> {
    let records = Records::read(root, "parity")?;
    let key =
        |record: &Record| Ok((record.text("model")?.to_string(), record.text("optimizer")?.to_string()));
    let mut text = String::new();
    for (processor, group) in records.newest(key)? {
        let optimizers = distinct(group.iter().filter_map(|record| record.text("optimizer").ok()));
        let mut rows = Vec::new();
        for (model, records) in parted(&group, |record| Ok(record.text("model")?.to_string()))? {
            let mut row = vec![format!("`{model}`")];
            for optimizer in &optimizers {
                let record = records
                    .iter()
                    .rfind(|record| record.text("optimizer").is_ok_and(|found| found == *optimizer));
                let Some(record) = record else { continue };
                let from = record
                    .maybe_number("first_step_beyond_tolerance")
                    .map(|step| format!(" from step {step}"));
                row.push(scientific(record.number("largest_weight_difference")?) + &from.unwrap_or_default());
            }
            rows.push(row);
        }
        let head: Vec<String> =
            ["model".to_string()].into_iter().chain(optimizers.iter().map(|o| format!("`{o}`"))).collect();
        let version = group.first().map_or("", |record| record.text_or("pytorch", ""));
        text += &markdown(1, &head, rows);
        text += &format!("\nPyTorch {version}; {}, commit {}.", processor.name, commits(&group)?);
    }
    Ok(text)
}
