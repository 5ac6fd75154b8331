//! Layers, losses and steps in f64 against numbers from elsewhere: `golden FILE`, a file of `benches/peers/layers.py`.
//!
//! A tensor is called `NUMBER CASE/NAME`, and a case one of
//!
//! - `SPEC of INPUT`, a layer: `x`, `dy` and `theta` go in (`theta` has all tensors in the order of the network), `y`, `dx` and `dtheta` are to come
//!   out; where it has running statistics also `after`, `theta` behind the minibatches `batches`, each as large as `x`;
//! - `loss=NAME,... of CLASSES`: `y`, `target` (labels, or rows) and perhaps `weights` of the classes go in, `loss` and `dy` come out;
//! - `steps=OPTIMIZER ... of INPUT SPEC`, training: `x` and `labels`, minibatch after minibatch, and `theta` go in, `loss` and `thetas` of each step
//!   come out. Behind the optimiser stand `lr=`, `smoothing=`, `decay=`, `clip=` and `ema=`.
//!
//! Prints the largest relative difference for each kind. It may be 1e-12, of branches 1e-11, after steps 1e-9; of what the trainer alone does
//! (`decay`, `clip`, `ema`), and so in f32, 1e-4.

#![allow(clippy::print_stdout, reason = "the differences are what it is run for")]

mod layers;
mod steps;

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;

use safetensors::SafeTensors;

/// What a case gave.
struct Found {
    kind: String,
    /// The largest relative difference that there may be.
    limit: f64,
    /// Names of tensors, and what was found for each.
    numbers: Vec<(&'static str, Vec<f64>)>,
}

/// Of one kind.
#[derive(Default)]
struct Worst {
    cases: usize,
    limit: f64,
    difference: f64,
    place: String,
}

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("expected the file of benches/peers/layers.py")?;
    let bytes = std::fs::read(path)?;
    let file = SafeTensors::deserialize(&bytes)?;
    let names: BTreeSet<&str> =
        file.names().into_iter().filter_map(|name| Some(name.rsplit_once('/')?.0)).collect();
    let mut worst: BTreeMap<String, Worst> = BTreeMap::new();
    for case in names {
        let (_, text) = case.split_once(' ').ok_or("expected a number before the case")?;
        let (what, on) = text.rsplit_once(" of ").ok_or("expected what it is of")?;
        let numbers = |name: &str| -> Vec<f64> {
            let tensor = file.tensor(&format!("{case}/{name}"));
            let words = tensor.map(|tensor| {
                tensor.data().as_chunks().0.iter().map(|word| f64::from_le_bytes(*word)).collect()
            });
            words.unwrap_or_default()
        };
        let found = if let Some(words) = what.strip_prefix("loss=") {
            layers::loss(words, on.parse()?, &numbers)?
        } else if let Some(settings) = what.strip_prefix("steps=") {
            steps::train(settings, on, &numbers)?
        } else {
            layers::layer(&what.parse()?, on.parse()?, &numbers)?
        };
        let worst = worst.entry(found.kind).or_default();
        worst.cases += 1;
        worst.limit = found.limit;
        for (name, found) in found.numbers {
            let difference = difference(&numbers(name), &found);
            if difference > worst.difference {
                (worst.difference, worst.place) = (difference, format!("{name} of {text}"));
            }
        }
    }
    let mut failed = false;
    for (kind, Worst { cases, limit, difference, place }) in worst {
        println!("{kind:24} {cases:5} cases, largest difference {difference:.1e} of {limit:.0e} ({place})");
        failed |= difference > limit;
    }
    if failed { Err("a difference above its limit".into()) } else { Ok(()) }
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
