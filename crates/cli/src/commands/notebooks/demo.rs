//! What a system shows beside its row of the table: learning curves, and for a network that was never trained its feature maps and
//! its level of chance.

use anyhow::Result;
use byhand_datasets::Preprocessing;
use byhand_layers::Shape;
use byhand_trainer::{Objective, evaluate};
use comfy_table::CellAlignment::Right;

use super::{
    experiment::{Outcome, Part, Point, Prepared},
    maps::maps,
    notebook::Version,
    table::Table,
};
use crate::{output::Output, settings::Normalization};

/// Prints the demonstration of a system; learning curves only where it stands `alone`.
pub fn show(table: &Table, prepared: &[Prepared], alone: bool, output: &Output) -> Result<()> {
    if alone {
        print_curves(table, output);
    }
    let versions = table.notebook.versions.iter().zip(&table.outcomes).zip(prepared);
    for ((version, outcomes), prepared) in versions {
        if let (Some(0), Some(part), Some(outcome)) = (version.steps, prepared, outcomes.first()) {
            at_chance(&table.notebook.about.system, version, part, outcome, output)?;
        }
    }
    Ok(())
}

fn print_curves(table: &Table, output: &Output) {
    const LINES: usize = 20;
    for (version, outcomes) in table.notebook.versions.iter().zip(&table.outcomes) {
        let Some(outcome) = outcomes.first().filter(|outcome| !outcome.curve.is_empty()) else { continue };
        let (name, window) = (&version.name, version.window.unwrap_or(0));
        output.print(format!("\n{name}, seed 1: each line over the {window} steps before it"));
        let epoch = outcome.train_len as f64 / version.recipe.batch_size.get() as f64;
        let stride = outcome.curve.len().div_ceil(LINES).max(1);
        // The first windows one by one, as the notebooks print them; then every so many.
        let shown = outcome.curve.iter().enumerate().filter(|(i, _)| i % stride == stride - 1 || *i < LINES);
        let row = |(_, point): (usize, &Point)| {
            let Point { step, accuracy, loss, validation } = point;
            [
                step.to_string(),
                format!("{:.2}", *step as f64 / epoch),
                format!("{loss:.4}"),
                format!("{accuracy:.4}"),
                validation.map_or("-".to_string(), |accuracy| format!("{accuracy:.4}")),
            ]
        };
        let columns = ["step", "epochs", "loss", "accuracy", "validation"].map(|head| (head, Right));
        output.table(columns, shown.take(2 * LINES).map(row));
    }
}

/// The forward pass of one image, its feature maps, and the loss and accuracy of a network that was never trained.
fn at_chance(system: &str, version: &Version, part: &Part, outcome: &Outcome, output: &Output) -> Result<()> {
    let maps = maps(version, part, &outcome.before, Normalization::Raw)?;
    let shape = |shape: Shape| format!("({}, {}, {})", shape.h, shape.w, shape.c);
    let (h, w) = part.test.image_size();
    output.print(format!(
        "\n{system}, {}: one {} image of {h}x{w}, raw pixels -> conv {} -> pool {}; the {} pooled maps:",
        version.name,
        part.name,
        shape(maps.conv.0),
        shape(maps.pool.0),
        maps.pool.0.c,
    ));
    let (shape, pooled) = &maps.pool;
    for i in 0..shape.h {
        let rows =
            (0..shape.c).map(|c| shades(&pooled[c * shape.h * shape.w..][..shape.h * shape.w], i, shape.w));
        output.print(rows.collect::<Vec<_>>().join(" "));
    }
    let preprocessing = Preprocessing::from(version.recipe.normalize.of(&part.train));
    let mut accuracies = Vec::new();
    let mut loss = 0.0;
    let (hundreds, mut rest) = (part.test.len() / 100, part.test.clone());
    for _ in 0..hundreds {
        let (hundred, others) = rest.split_at(100)?;
        let found =
            evaluate(&outcome.network, &outcome.before, &hundred, &preprocessing, Objective::default(), 1)?;
        accuracies.push(found.accuracy());
        loss += found.loss / hundreds as f64;
        rest = others;
    }
    let (low, high) =
        (accuracies.iter().copied().fold(1.0, f64::min), accuracies.iter().copied().fold(0.0, f64::max));
    let chance = (outcome.network.classes() as f64).ln();
    output.print(format!(
        "untrained on {}: loss {loss:.4} (ln {} = {chance:.4}), accuracy {:.0} to {:.0} % a hundred",
        part.name,
        outcome.network.classes(),
        100.0 * low,
        100.0 * high
    ));
    Ok(())
}

/// Row `i` of a map in ten shades.
fn shades(map: &[f32], i: usize, w: usize) -> String {
    const SHADES: [char; 10] = [' ', '.', ':', '-', '=', '+', '*', '#', '%', '@'];
    let low = map.iter().copied().fold(f32::INFINITY, f32::min);
    let high = map.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let shade = |v: f32| SHADES[((v - low) / (high - low).max(f32::MIN_POSITIVE) * 9.0) as usize % 10];
    map[i * w..][..w].iter().map(|&v| shade(v)).collect()
}
