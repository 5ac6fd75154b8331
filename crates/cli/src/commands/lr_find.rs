//! `byhand lr-find`: which learning rate to begin with, by a short training whose rate rises from step to step.
//!
//! Smith, "Cyclical learning rates for training neural networks", 2017 (the range test).

use std::path::PathBuf;

use anyhow::{Context, Result};
use byhand_datasets::batches::epoch_order_into;
use byhand_files::{OS, replace};
use byhand_layers::init::init_network;
use byhand_report::chart::{Axis, Chart, Scale};
use byhand_trainer::{ImageBatch, StepStats, Trainer};
use clap::Args;
use serde_json::json;

use crate::{
    arguments::{BaseArgs, ThreadsArg},
    exit::{coded, usage},
    interrupt::Interrupt,
    memory,
    network::network_for,
    output::Output,
    prepared::prepared_data,
    recipes,
    settings::{Recipe, Settings},
};

/// Options of `lr-find`.
#[derive(Args)]
#[command(after_long_help = "Examples:
  byhand lr-find --preset cnn
  byhand lr-find --recipe mnist-99.5 --svg curve.svg
  byhand lr-find --layers \"conv(8,5) relu pool(2) dense(10)\" --optimizer \"sgd(momentum=0.9)\" --json

The rate rises from step to step by the same factor, from --lowest to --highest. The loss, smoothed, first stays, then falls, and at \
last goes up: the test ends where it is four times its least. The suggestion is the rate at which it falls fastest, a good peak for \
a constant or cosine schedule; a one-cycle schedule may go up to where it is least, which is told too. Nothing is saved.")]
pub struct Options {
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    base: BaseArgs,
    /// The rate of the first step
    #[arg(long, value_name = "RATE", default_value_t = 1e-5)]
    lowest: f64,
    /// The rate of the last step
    #[arg(long, value_name = "RATE", default_value_t = 10.0)]
    highest: f64,
    /// Training steps
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    steps: u32,
    /// Draw the curve into this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    #[command(flatten)]
    threads: ThreadsArg,
}

/// What is left of the smoothed loss in each step.
const SMOOTHING: f64 = 0.9;
/// So many times its least, and the loss has gone up for good.
const GIVE_UP: f64 = 4.0;

/// A step: its rate, and the smoothed loss after it.
#[derive(Clone, Copy, Debug)]
struct Point {
    rate: f64,
    loss: f64,
}

/// Trains and prints.
pub fn run(options: &Options, output: &Output) -> Result<()> {
    let Options { lowest, highest, steps, .. } = *options;
    if !(lowest > 0.0 && lowest < highest && highest.is_finite()) {
        return Err(usage(format!(
            "--lowest {lowest} --highest {highest}: expected two rates above 0, the first below the second"
        )));
    }
    let base = match options.base.settings()? {
        Some(base) => base,
        None => recipes::of_network("train-cnn", &options.settings)?,
    };
    let mut recipe = options.settings.clone().absolute()?.over(base.absolute()?)?.settle("train-cnn")?;
    if recipe.from.is_some() {
        return Err(usage("--from: expected weights drawn anew; leave it out"));
    }
    let interrupt = Interrupt::listen()?;
    let data = prepared_data(&mut recipe, output)?;
    let (spec, network) = network_for(&recipe, data.input, data.train.classes())?;
    let config = recipe.step_config(recipe.seed, options.threads.asked());
    memory::check_training(&network, &config, |_| 0, "batch-size")?;
    output.note(format!("{spec} on {}: {steps} steps, from {lowest:e} to {highest:e}", data.name));

    let mut trainer = Trainer::new(&network, init_network(&network, recipe.init, recipe.seed), config)?;
    let Recipe { batch_size, seed, .. } = recipe;
    let (augment, mut order) = (recipe.augment(), vec![0; data.train.len()]);
    let batches = order.len().div_ceil(batch_size.get()) as u64;
    let factor = (highest / lowest).powf(1.0 / f64::from(steps - 1));
    let points = trainer.session(|trainer| {
        let (mut points, mut mean, mut rate) = (Vec::new(), 0.0, lowest);
        for step in 0..u64::from(steps) {
            let (epoch, batch) = (step / batches, (step % batches) as usize);
            if batch == 0 {
                epoch_order_into(seed, epoch, &mut order);
            }
            let samples = order.chunks(batch_size.get()).nth(batch).unwrap_or_default();
            let images =
                ImageBatch::new(&data.train, samples, data.remaining()).augmented(&augment, seed, step);
            // What is not finite is the end of the curve.
            let Ok(StepStats { loss, .. }) = trainer.step(rate, &images) else { break };
            mean = SMOOTHING * mean + (1.0 - SMOOTHING) * loss;
            let loss = mean / (1.0 - SMOOTHING.powf((step + 1) as f64));
            points.push(Point { rate, loss });
            output.event("point", json!({"step": step, "learning_rate": rate, "loss": loss}));
            let least = points.iter().map(|point| point.loss).fold(f64::INFINITY, f64::min);
            if loss > GIVE_UP * least || interrupt.asked() {
                break;
            }
            rate *= factor;
        }
        points
    });
    if interrupt.asked() {
        return Err(coded(interrupt.code(), "interrupted: there is no whole curve"));
    }
    let Some((steepest, least)) = found(&points) else {
        return Err(usage(format!(
            "--lowest {lowest}: the loss was not finite after {} steps; expected a lower rate",
            points.len()
        )));
    };
    output.print(chart(&points, steepest));
    output.print(format!(
        "learning rate {steepest:.1e}, where the loss falls fastest; it is least at {least:.1e}"
    ));
    if let Some(path) = &options.svg {
        let picture = svg(&points, steepest).unwrap_or_default();
        replace(&OS, path, picture.as_bytes()).with_context(|| format!("cannot write {}", path.display()))?;
        output.note(format!("the curve is in {}", path.display()));
    }
    output.result(json!({
        "learning_rate": steepest,
        "learning_rate_of_least_loss": least,
        "steps": points.len(),
        "optimizer": recipe.optimizer.to_string(),
        "batch_size": batch_size,
        "layers": spec.to_string(),
        "data": data.name,
        "seed": seed,
    }));
    Ok(())
}

/// The rate at which the loss falls fastest over some steps, before it is least, and the rate at which it is least; nothing of fewer than
/// two points.
fn found(points: &[Point]) -> Option<(f64, f64)> {
    const APART: usize = 5;
    let least = (0..points.len()).min_by(|&a, &b| points[a].loss.total_cmp(&points[b].loss))?;
    let fall = |&at: &usize| points[at + APART.min(least - at)].loss - points[at].loss;
    let steepest = (0..least).min_by(|a, b| fall(a).total_cmp(&fall(b)))?;
    // In the middle of the fall.
    Some((points[(steepest + APART / 2).min(least)].rate, points[least].rate))
}

/// Rows of the chart.
const ROWS: usize = 12;
/// Its columns.
const COLUMNS: usize = 72;

/// The curve as text: the loss over the logarithm of the rate.
fn chart(points: &[Point], marked: f64) -> String {
    let (low, high) = range(points);
    let mut rows = vec![vec![' '; COLUMNS]; ROWS];
    let column = |at: usize| at * (COLUMNS - 1) / (points.len() - 1).max(1);
    for (at, point) in points.iter().enumerate() {
        let height = ((high - point.loss) / (high - low).max(f64::MIN_POSITIVE)).clamp(0.0, 1.0);
        rows[(height * (ROWS - 1) as f64) as usize][column(at)] =
            if point.rate == marked { 'o' } else { '.' };
    }
    let lines = rows.into_iter().enumerate().map(|(row, cells)| {
        let label = match row {
            0 => format!("{high:8.3}"),
            _ if row == ROWS - 1 => format!("{low:8.3}"),
            _ => " ".repeat(8),
        };
        format!("{label} |{}", String::from_iter(cells).trim_end())
    });
    let (first, last) = (points[0].rate, points[points.len() - 1].rate);
    let axis = format!("{:>8}  {first:<12.1e}{last:>width$.1e}", "", width = COLUMNS - 12);
    lines.chain([axis]).collect::<Vec<_>>().join("\n")
}

/// The losses that are shown: what goes up far is cut off.
fn range(points: &[Point]) -> (f64, f64) {
    let low = points.iter().map(|point| point.loss).fold(f64::INFINITY, f64::min);
    let high = points.iter().map(|point| point.loss).fold(low, f64::max);
    (low, high.min(points[0].loss.max(low) * 1.5))
}

/// The curve as a picture.
fn svg(points: &[Point], marked: f64) -> Option<String> {
    let (_, high) = range(points);
    let place = |point: &Point| [point.rate, point.loss.min(high)];
    let mark = points.iter().filter(|point| point.rate == marked).map(place);
    let decades = points.first()?.rate.log10().floor() as i32..=points.last()?.rate.log10().ceil() as i32;
    let rates = Axis {
        name: "learning rate".into(),
        scale: Scale::Log,
        ticks: decades.map(|power| 10f64.powi(power)).collect(),
        text: |rate| format!("{rate:.0e}"),
    };
    let chart = Chart {
        title: "The smoothed training loss over the learning rate".into(),
        x: rates,
        y: Axis::linear("loss", |loss| format!("{loss:.2}")),
        series: vec![
            ("loss".into(), points.iter().map(place).collect()),
            (format!("{marked:.1e}"), mark.collect()),
        ],
    };
    chart.file()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fastest_fall_and_the_least_loss() {
        // Flat, then down between the 40th and the 60th step, then up.
        let loss =
            |step: i32| 1.0 + f64::from((60 - step).clamp(0, 20)) / 10.0 + f64::from((step - 80).max(0));
        let points: Vec<Point> =
            (0..100).map(|step| Point { rate: 10f64.powi(step), loss: loss(step) }).collect();
        let (steepest, least) = found(&points).unwrap();
        assert!((1e40..=1e58).contains(&steepest), "{steepest:e}");
        assert_eq!(least, 10f64.powi(60));
        assert!(found(&points[..1]).is_none() && found(&[]).is_none());
        let chart = chart(&points, steepest);
        assert!(chart.contains('o') && chart.lines().count() == ROWS + 1, "{chart}");
        assert!(svg(&points, steepest).unwrap().contains("<circle"));
    }
}
