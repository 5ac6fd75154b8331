//! What a system shows beside its row of the table: learning curves, and for a network that was never trained its feature maps and
//! its level of chance.

use anyhow::Result;
use byhand_datasets::Preprocessing;
use byhand_layers::{Block, Network, Pass, Saved, Shape};
use byhand_trainer::{Objective, evaluate};

use super::{
    experiment::{Outcome, Part, Point, Prepared, network},
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

/// The first pool of a network that begins with a convolution, and perhaps a ReLU, before it.
pub fn first_pool(network: &Network<f32>) -> Option<usize> {
    let names: Vec<&str> = network.layers().iter().take(3).map(|layer| layer.name()).collect();
    match names[..] {
        ["conv", "pool", ..] => Some(1),
        ["conv", "relu", "pool"] => Some(2),
        _ => None,
    }
}

/// Activations of the first layers of a network for one image: the convolution's output and the pool's.
pub struct Maps {
    pub image: Vec<f32>,
    pub conv: (Shape, Vec<f32>),
    pub pool: (Shape, Vec<f32>),
}

/// Image 0 of the test set through the first convolution and the pool behind it.
pub fn maps(version: &Version, part: &Part, theta: &[f32], pixels: Normalization) -> Result<Maps> {
    let (h, w) = part.test.image_size();
    let whole = network(version, Shape::new(1, h, w))?;
    let normalize = pixels.of(&part.train);
    let image: Vec<f32> = part.test.image(0).iter().map(|&p| normalize.apply(p)).collect();
    let through = |layers: usize| -> Result<(Shape, Vec<f32>)> {
        let (mut x, mut shape) = (image.clone(), whole.input());
        for (layer, start) in whole.layers().iter().zip(starts(&whole)).take(layers) {
            let own = layer.params().iter().map(|param| param.len()).sum::<usize>();
            let pass = Pass::eval(Block::single(1));
            shape = layer.output();
            let mut y = vec![0.0; shape.features()];
            let mut tape = vec![0.0; layer.tape_len(pass.block)];
            let mut scratch = vec![0.0; layer.scratch_len(pass.block)];
            layer.forward(&pass, &theta[start..start + own], &x, &mut y, &mut tape, &mut scratch);
            x = y;
        }
        Ok((shape, x))
    };
    let pool = first_pool(&whole).map_or(1, |index| index + 1);
    Ok(Maps { conv: through(1)?, pool: through(pool)?, image })
}

/// Where each layer's parameters begin in `theta`.
fn starts(network: &Network<f32>) -> Vec<usize> {
    let lens =
        network.layers().iter().map(|layer| layer.params().iter().map(|param| param.len()).sum::<usize>());
    lens.scan(0, |end, len| {
        let start = *end;
        *end += len;
        Some(start)
    })
    .collect()
}

/// The mean size of what reaches each place of a pool's input, over the channels and 64 test images, when a random gradient comes
/// from above.
pub fn pool_gradient(version: &Version, outcome: &Outcome, part: &Part) -> Result<(Shape, Vec<f32>)> {
    const IMAGES: usize = 64;
    let (h, w) = part.test.image_size();
    let whole = network(version, Shape::new(1, h, w))?;
    let (conv, pool) = (&whole.layers()[0], &whole.layers()[1]);
    let block = Block::single(1);
    let pass = Pass::eval(block);
    let normalize = version.recipe.normalize.of(&part.train);
    let shape = conv.output();
    let mut mean = vec![0.0; shape.h * shape.w];
    let own: usize = conv.params().iter().map(|param| param.len()).sum();
    for index in 0..IMAGES.min(part.test.len()) {
        let x: Vec<f32> = part.test.image(index).iter().map(|&p| normalize.apply(p)).collect();
        let (mut y, mut pooled) = (vec![0.0; shape.features()], vec![0.0; pool.output().features()]);
        let mut scratch = vec![0.0; conv.scratch_len(block).max(pool.scratch_len(block))];
        let (conv_scratch, pool_scratch) = (conv.scratch_len(block), pool.scratch_len(block));
        let mut tape = vec![0.0; pool.tape_len(block)];
        conv.forward(&pass, &outcome.after[..own], &x, &mut y, &mut [], &mut scratch[..conv_scratch]);
        pool.forward(&pass, &[], &y, &mut pooled, &mut tape, &mut scratch[..pool_scratch]);
        // Signs that alternate: a gradient of random signs without a generator.
        let dy: Vec<f32> =
            (0..pooled.len()).map(|i| if (i * 7 + index) % 3 == 0 { -1.0 } else { 1.0 }).collect();
        let mut dx = vec![0.0; y.len()];
        let saved = Saved { x: &y, y: &pooled, tape: &tape };
        pool.backward(&pass, &[], saved, &dy, Some(&mut dx), &mut [], &mut scratch[..pool_scratch]);
        for (place, d) in dx.iter().enumerate() {
            mean[place % (shape.h * shape.w)] += d.abs() / (IMAGES * shape.c) as f32;
        }
    }
    Ok((Shape::new(1, shape.h, shape.w), mean))
}

fn print_curves(table: &Table, output: &Output) {
    const LINES: usize = 20;
    for (version, outcomes) in table.notebook.versions.iter().zip(&table.outcomes) {
        let Some(outcome) = outcomes.first().filter(|outcome| !outcome.curve.is_empty()) else { continue };
        let (name, window) = (&version.name, version.window.unwrap_or(0));
        output.print(format!("\n{name}, seed 1: each line over the {window} steps before it"));
        output.print(format!(
            "{:>8} {:>8} {:>9} {:>9} {:>10}",
            "step", "epochs", "loss", "accuracy", "validation"
        ));
        let epoch = outcome.train_len as f64 / version.recipe.batch_size.get() as f64;
        let stride = outcome.curve.len().div_ceil(LINES).max(1);
        // The first windows one by one, as the notebooks print them; then every so many.
        let shown = outcome.curve.iter().enumerate().filter(|(i, _)| i % stride == stride - 1 || *i < LINES);
        for (_, Point { step, accuracy, loss, validation }) in shown.take(2 * LINES) {
            let validation = validation.map_or("-".to_string(), |accuracy| format!("{accuracy:.4}"));
            output.print(format!(
                "{step:>8} {:>8.2} {loss:>9.4} {accuracy:>9.4} {validation:>10}",
                *step as f64 / epoch
            ));
        }
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
