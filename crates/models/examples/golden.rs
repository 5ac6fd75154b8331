//! Layers in f64 against numbers from elsewhere: `golden FILE`, a file of `benches/peers/layers.py`.
//!
//! Its tensors are called `NUMBER SPEC of INPUT/NAME`, with the names `x`, `dy`, `w`, `b` of what goes in and `y`, `dx`, `dw`, `db` of what is
//! to come out. Prints the largest relative difference for each kind of layer; fails above 1e-12.

#![allow(clippy::print_stdout, reason = "the differences are what it is run for")]

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;

use byhand_layers::{Block, Layer, Pass, Saved, Shape};
use byhand_models::Spec;
use safetensors::SafeTensors;

const LIMIT: f64 = 1e-12;

/// Cases, the largest difference, and where it is.
type Worst = (usize, f64, String);

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("expected the file of benches/peers/layers.py")?;
    let bytes = std::fs::read(path)?;
    let file = SafeTensors::deserialize(&bytes)?;
    let names: BTreeSet<&str> =
        file.names().into_iter().filter_map(|name| Some(name.rsplit_once('/')?.0)).collect();
    let mut worst: BTreeMap<&str, Worst> = BTreeMap::new();
    for case in names {
        let (_, text) = case.split_once(' ').ok_or("expected a number before the spec")?;
        let (spec, input) = text.split_once(" of ").ok_or("expected an input behind the spec")?;
        let network = spec.parse::<Spec>()?.build::<f64>(input.parse::<Shape>()?)?;
        let numbers = |name: &str| -> Vec<f64> {
            let tensor = file.tensor(&format!("{case}/{name}"));
            let words = tensor.map(|tensor| {
                tensor.data().as_chunks().0.iter().map(|word| f64::from_le_bytes(*word)).collect()
            });
            words.unwrap_or_default()
        };
        let layer = &*network.layers()[0];
        let samples = numbers("x").len() / layer.input().features();
        for block in [Block::tiled(samples), Block::single(samples)] {
            let found = run(layer, block, &numbers);
            let (count, largest, place) = worst.entry(layer.name()).or_default();
            *count += 1;
            for (name, found) in ["y", "dx", "dw", "db"].into_iter().zip(found) {
                let difference = difference(&numbers(name), &found);
                if difference > *largest {
                    (*largest, *place) = (difference, format!("{name} of {text}"));
                }
            }
        }
    }
    let mut failed = false;
    for (name, (count, largest, place)) in worst {
        println!("{name:8} {count:5} runs, largest difference {largest:.1e} ({place})");
        failed |= largest > LIMIT;
    }
    if failed { Err(format!("a difference above {LIMIT:e}").into()) } else { Ok(()) }
}

/// y, dx, dw and db, sample after sample.
fn run(layer: &dyn Layer<f64>, block: Block, numbers: &impl Fn(&str) -> Vec<f64>) -> [Vec<f64>; 4] {
    let (inputs, outputs) = (layer.input().features(), layer.output().features());
    let laid = |rows: Vec<f64>, features: usize| {
        let mut out = vec![0.0; block.len(features)];
        rows.iter()
            .enumerate()
            .for_each(|(i, &value)| out[block.index(features, i / features, i % features)] = value);
        out
    };
    let rows = |laid: &[f64], features: usize| -> Vec<f64> {
        (0..block.samples() * features)
            .map(|i| laid[block.index(features, i / features, i % features)])
            .collect()
    };
    let (w, b) = (numbers("w"), numbers("b"));
    let theta = [&w[..], &b].concat();
    let (x, dy) = (laid(numbers("x"), inputs), laid(numbers("dy"), outputs));
    let (mut y, mut dx) = (vec![f64::NAN; dy.len()], vec![f64::NAN; x.len()]);
    let (mut tape, mut dtheta) = (vec![f64::NAN; layer.tape_len(block)], vec![0.0; theta.len()]);
    let mut scratch = vec![f64::NAN; layer.scratch_len(block)];
    let pass = Pass::eval(block);
    layer.forward(&pass, &theta, &x, &mut y, &mut tape, &mut scratch);
    let saved = Saved { x: &x, y: &y, tape: &tape };
    layer.backward(&pass, &theta, saved, &dy, Some(&mut dx), &mut dtheta, &mut scratch);
    let db = dtheta.split_off(w.len());
    [rows(&y, outputs), rows(&dx, inputs), dtheta, db]
}

/// The largest difference, relative to the larger of the expected number and the root mean square of all.
fn difference(expected: &[f64], found: &[f64]) -> f64 {
    if expected.len() != found.len() {
        return f64::INFINITY;
    }
    let typical = (expected.iter().map(|e| e * e).sum::<f64>() / expected.len().max(1) as f64).sqrt();
    let pairs = expected.iter().zip(found);
    let errors = pairs.map(|(e, f)| if e == f { 0.0 } else { (e - f).abs() / e.abs().max(typical) });
    // What is no number is as far apart as can be.
    errors.fold(0.0, |largest, error| if error.is_nan() { f64::INFINITY } else { error.max(largest) })
}
