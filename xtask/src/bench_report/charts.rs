//! The charts: two logarithmic axes, a curve or a mark per series, named at its end.

use std::path::Path;

use anyhow::Result;
use svg::{
    Document, Node,
    node::element::{Circle, Line, Polyline, Rectangle, Text, Title},
};

use super::{
    numbers::{Curve, mean},
    tables,
};
use crate::records::{Record, Records};

const INK: &str = "#24292f";
const GREY: &str = "#57606a";
const PALE: &str = "#d8dee4";
const CARD: &str = "#ffffff";
/// Told apart by people who see colours differently (Okabe and Ito), darkened for thin lines on white.
const COLOURS: [&str; 7] = ["#0072b2", "#c2410c", "#007a5a", "#a3478a", "#946c00", "#24292f", "#2d8fc4"];

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 400.0;
/// The corners of what the axes enclose.
const LEFT: f64 = 64.0;
const RIGHT: f64 = 600.0;
const TOP: f64 = 56.0;
const BOTTOM: f64 = 340.0;

/// The charts that have records, each with its name.
pub fn all(root: &Path) -> Result<Vec<(&'static str, String)>> {
    let charts = [("throughput", throughput(root)?), ("accuracy", accuracy(root)?)];
    Ok(charts.into_iter().filter_map(|(name, chart)| Some((name, chart?.draw()))).collect())
}

/// How many times as fast as the best peer a step is, by batch.
fn throughput(root: &Path) -> Result<Option<Chart>> {
    let Some((processor, curves)) = tables::leads(root)? else { return Ok(None) };
    Ok(Some(Chart {
        title: format!("Training step beside the best other framework, two threads, {processor}"),
        x: Axis {
            name: "samples per step",
            ticks: vec![1.0, 8.0, 32.0, 128.0, 1000.0],
            text: |x| format!("{x:.0}"),
            flipped: false,
        },
        y: Axis {
            name: "times as fast",
            ticks: vec![1.0, 2.0, 5.0, 10.0, 20.0, 50.0],
            text: |x| format!("{x:.0}"),
            flipped: false,
        },
        series: curves,
    }))
}

/// Accuracy on MNIST against seconds of training: the named commands epoch by epoch, and the speedruns.
fn accuracy(root: &Path) -> Result<Option<Chart>> {
    let (training, speedrun) = (Records::read(root, "training")?, Records::read(root, "speedrun")?);
    let trained = training.newest(tables::subject)?;
    let Some((processor, group)) = trained.into_iter().next() else { return Ok(None) };
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
            name: "seconds of training",
            ticks: vec![0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0],
            text: |x| format!("{x}"),
            flipped: false,
        },
        y: Axis {
            name: "test accuracy",
            ticks: vec![0.2, 0.1, 0.05, 0.02, 0.01, 0.005],
            text: |error| format!("{} %", (1000.0 * (1.0 - error)).round() / 10.0),
            flipped: true,
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

struct Axis {
    name: &'static str,
    ticks: Vec<f64>,
    text: fn(f64) -> String,
    /// Whether small numbers stand at the far end.
    flipped: bool,
}

impl Axis {
    /// Where a number stands, from 0 to 1; the axis reaches a little beyond the outer ticks and points.
    fn place(&self, x: f64, [least, most]: [f64; 2]) -> f64 {
        let share = (x / least).ln() / (most / least).ln();
        let share = if self.flipped { 1.0 - share } else { share };
        0.04 + 0.92 * share
    }

    /// What the axis has to reach, of its ticks and of the points.
    fn reach(&self, points: impl Iterator<Item = f64> + Clone) -> [f64; 2] {
        let least = points.clone().fold(f64::INFINITY, f64::min);
        let most = points.fold(0.0, f64::max);
        let below = self.ticks.iter().copied().filter(|&tick| tick <= least).fold(0.0, f64::max);
        let above = self.ticks.iter().copied().filter(|&tick| tick >= most).fold(f64::INFINITY, f64::min);
        [if below > 0.0 { below } else { least }, if above.is_finite() { above } else { most }]
    }
}

struct Chart {
    title: String,
    x: Axis,
    y: Axis,
    series: Vec<Curve>,
}

impl Chart {
    fn draw(&self) -> String {
        let points = || self.series.iter().flat_map(|(_, points)| points);
        let across = self.x.reach(points().map(|[x, _]| *x));
        let up = self.y.reach(points().map(|[_, y]| *y));
        let x = |value| LEFT + (RIGHT - LEFT) * self.x.place(value, across);
        let y = |value| BOTTOM - (BOTTOM - TOP) * self.y.place(value, up);
        let is_within = |[least, most]: [f64; 2]| move |tick: &&f64| (least..=most).contains(*tick);

        let card = Rectangle::new()
            .set("x", 0.5)
            .set("y", 0.5)
            .set("width", WIDTH - 1.0)
            .set("height", HEIGHT - 1.0);
        let mut document = Document::new()
            .set("viewBox", format!("0 0 {WIDTH} {HEIGHT}"))
            .set("width", WIDTH)
            .set("height", HEIGHT)
            .set("role", "img")
            .set("font-family", "Helvetica, Arial, sans-serif")
            .add(Title::new(self.title.as_str()))
            .add(card.set("rx", 8).set("fill", CARD).set("stroke", "#d0d7de"))
            .add(text([24.0, 30.0], 16.0, "start", INK, &self.title))
            .add(text([(LEFT + RIGHT) / 2.0, HEIGHT - 18.0], 13.0, "middle", GREY, self.x.name))
            .add(text([LEFT - 8.0, TOP - 6.0], 13.0, "start", GREY, self.y.name));
        for &tick in self.x.ticks.iter().filter(is_within(across)) {
            document.append(line([x(tick), TOP], [x(tick), BOTTOM]));
            document.append(text([x(tick), BOTTOM + 18.0], 13.0, "middle", GREY, &(self.x.text)(tick)));
        }
        for &tick in self.y.ticks.iter().filter(is_within(up)) {
            document.append(line([LEFT, y(tick)], [RIGHT, y(tick)]));
            document.append(text([LEFT - 8.0, y(tick) + 4.5], 13.0, "end", GREY, &(self.y.text)(tick)));
        }
        let ends: Vec<[f64; 2]> = self
            .series
            .iter()
            .map(|(_, points)| points[points.len() - 1])
            .map(|[a, b]| [x(a), y(b)])
            .collect();
        let names = apart(&ends, 16.0);
        for (i, (name, points)) in self.series.iter().enumerate() {
            let colour = COLOURS[i % COLOURS.len()];
            let places: Vec<[f64; 2]> = points.iter().map(|&[a, b]| [x(a), y(b)]).collect();
            let joined: Vec<String> = places.iter().map(|[x, y]| format!("{x:.1},{y:.1}")).collect();
            let curve = Polyline::new().set("points", joined.join(" ")).set("fill", "none");
            document.append(curve.set("stroke", colour).set("stroke-width", 2));
            for [x, y] in &places {
                let mark = Circle::new().set("cx", format!("{x:.1}")).set("cy", format!("{y:.1}"));
                document.append(mark.set("r", 3.5).set("fill", colour));
            }
            let name = text([ends[i][0] + 9.0, names[i] + 4.5], 13.0, "start", colour, name);
            // Lines end before the letters.
            document.append(name.set("paint-order", "stroke").set("stroke", CARD).set("stroke-width", 4));
        }
        format!("{document}\n")
    }
}

/// Heights for the names of ends, none nearer than `gap` to another whose name begins beside it.
fn apart(ends: &[[f64; 2]], gap: f64) -> Vec<f64> {
    const LENGTH: f64 = 130.0;
    let mut order: Vec<usize> = (0..ends.len()).collect();
    order.sort_by(|&a, &b| ends[a][1].total_cmp(&ends[b][1]));
    let mut heights: Vec<f64> = ends.iter().map(|end| end[1]).collect();
    for (i, &this) in order.iter().enumerate() {
        for &above in &order[..i] {
            if (ends[this][0] - ends[above][0]).abs() < LENGTH && heights[this] - heights[above] < gap {
                heights[this] = heights[above] + gap;
            }
        }
    }
    heights
}

fn line(from: [f64; 2], to: [f64; 2]) -> Line {
    let ends = [("x1", from[0]), ("y1", from[1]), ("x2", to[0]), ("y2", to[1])];
    ends.into_iter()
        .fold(Line::new().set("stroke", PALE), |line, (name, at)| line.set(name, format!("{at:.1}")))
}

fn text([x, y]: [f64; 2], size: f64, hold: &str, colour: &str, words: &str) -> Text {
    let text =
        Text::new(words).set("x", format!("{x:.1}")).set("y", format!("{y:.1}")).set("font-size", size);
    text.set("text-anchor", hold).set("fill", colour)
}
