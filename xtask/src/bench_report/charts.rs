//! The charts of the results: what is on them.

use std::path::Path;

use anyhow::Result;
use byhand_report::{
    chart::{Axis, Chart, Scale},
    mean,
};

use super::tables;
use crate::records::{Record, Records, last};

/// The charts that have records, each with its name.
pub fn all(root: &Path) -> Result<Vec<(&'static str, String)>> {
    let charts = [("throughput", throughput(root)?), ("accuracy", accuracy(root)?)];
    Ok(charts.into_iter().filter_map(|(name, chart)| Some((name, chart?.file()?))).collect())
}

/// How many times as fast as the best peer a step is, by batch.
fn throughput(root: &Path) -> Result<Option<Chart>> {
    let Some((processor, curves)) = tables::leads(root)? else { return Ok(None) };
    Ok(Some(Chart {
        title: format!("Training step beside the best other framework, two threads, {processor}"),
        x: Axis {
            name: "samples per step".into(),
            scale: Scale::Log,
            ticks: vec![1.0, 8.0, 32.0, 128.0, 1000.0],
            text: |x| format!("{x:.0}"),
        },
        y: Axis {
            name: "times as fast".into(),
            scale: Scale::Log,
            ticks: vec![1.0, 2.0, 5.0, 10.0, 20.0, 50.0],
            text: |x| format!("{x:.0}"),
        },
        series: curves,
    }))
}

/// Accuracy on MNIST against seconds of training: the named commands epoch by epoch, and the speedruns.
fn accuracy(root: &Path) -> Result<Option<Chart>> {
    let (training, speedrun) = (Records::read(root, "training")?, Records::read(root, "speedrun")?);
    let trained = training.newest(tables::subject)?;
    let Some((processor, group)) = last(&trained) else { return Ok(None) };
    let mut series = Vec::new();
    for model in ["cnn", "dnn", "mlp"] {
        let of: Vec<&Record> = group
            .iter()
            .filter(|r| {
                r.text("model").is_ok_and(|found| found == model)
                    && r.text("data").is_ok_and(|data| data == "mnist")
            })
            .copied()
            .collect();
        let curves: Vec<Vec<[f64; 2]>> =
            of.iter().map(|record| curve(record)).filter(|curve| !curve.is_empty()).collect();
        let number =
            |field| mean(&of.iter().filter_map(|record| record.maybe_number(field)).collect::<Vec<_>>());
        let points =
            match (curves.iter().map(Vec::len).min(), number("train_seconds"), number("test_accuracy")) {
                (Some(epochs), ..) => {
                    (0..epochs).map(|epoch| middle(curves.iter().map(|curve| curve[epoch]))).collect()
                }
                (None, Some(seconds), Some(accuracy)) => vec![[seconds, accuracy]],
                _ => continue,
            };
        series.push((format!("train-{model}"), points));
    }
    let ran = speedrun.newest(tables::framework)?;
    let ran =
        ran.iter().find(|(other, _)| other.record == processor.record).map_or(&[][..], |(_, group)| group);
    for (ours, name) in [(true, "speedrun"), (false, "speedrun in PyTorch")] {
        let of = ran.iter().filter(|record| tables::is_ours(record) == ours);
        let points = of.map(|record| Ok([record.number("seconds_mean")?, record.number("accuracy_mean")?]));
        let points = points.collect::<Result<Vec<_>>>()?;
        if !points.is_empty() {
            series.push((name.to_string(), vec![middle(points.into_iter())]));
        }
    }
    // On the axis are errors, which a logarithm spreads; their ticks say what is right.
    for (_, points) in &mut series {
        points.iter_mut().for_each(|[_, accuracy]| *accuracy = 1.0 - *accuracy);
    }
    Ok(Some(Chart {
        title: format!("Test accuracy on MNIST against seconds of training, two threads, {}", processor.name),
        x: Axis {
            name: "seconds of training".into(),
            scale: Scale::Log,
            ticks: vec![0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0],
            text: |x| format!("{x}"),
        },
        y: Axis {
            name: "test accuracy".into(),
            scale: Scale::LogFlipped,
            ticks: vec![0.2, 0.1, 0.05, 0.02, 0.01, 0.005],
            text: |error| format!("{} %", (1000.0 * (1.0 - error)).round() / 10.0),
        },
        series,
    }))
}

/// Seconds and accuracy after each epoch.
fn curve(record: &Record) -> Vec<[f64; 2]> {
    let point = |value: &serde_json::Value| Some([value[0].as_f64()?, value[1].as_f64()?]);
    record.list("curve").iter().filter_map(point).collect()
}

fn middle(points: impl Iterator<Item = [f64; 2]>) -> [f64; 2] {
    let (x, y): (Vec<f64>, Vec<f64>) = points.map(|[x, y]| (x, y)).unzip();
    [mean(&x), mean(&y)].map(|mean| mean.unwrap_or(f64::NAN))
}
