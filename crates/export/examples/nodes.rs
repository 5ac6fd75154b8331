//! Cases of others in the layers that import makes of them: `nodes FOLDER`, a folder of `benches/peers/nodes.py`.
//!
//! A case is `NAME.safetensors`: `input` and `output` of the network in `NAME.onnx`, of a batch normalisation in training also
//! `running_mean` and `running_var` after it; or `logits`, `labels`, `weights` and `losses` of the loss that its notes describe. Prints a
//! line for each: its name, the layers, the largest difference (relative to the expected number, if that is above 1) or nothing, and why
//! it is refused.

#![allow(clippy::print_stdout, reason = "the differences are what it is run for")]

use std::collections::HashMap;
use std::error::Error;
use std::path::{Path, PathBuf};

use byhand_export::onnx;
use byhand_layers::loss::{Labels, Loss, NegativeLogLikelihood, SoftmaxCrossEntropy, Weighting};
use byhand_layers::{Block, Network, Pass, Workspace, pack};
use ndarray::Array2;
use safetensors::SafeTensors;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).ok_or("expected a folder of benches/peers/nodes.py")?;
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder)?.map(|file| Ok(file?.path())).collect::<Result<_, Box<dyn Error>>>()?;
    files.sort();
    for path in files.iter().filter(|path| path.extension().is_some_and(|end| end == "safetensors")) {
        let bytes = std::fs::read(path)?;
        let case = Case { tensors: SafeTensors::deserialize(&bytes)?, path };
        let (_, header) = SafeTensors::read_metadata(&bytes)?;
        let notes =
            header.metadata().iter().flatten().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        match if case.has("input") { case.network() } else { case.loss(&notes) } {
            Ok((layers, difference)) => println!("{name}\t{layers}\t{difference:.1e}\t"),
            Err(refusal) => println!("{name}\t\t\t{refusal}"),
        }
    }
    Ok(())
}

struct Case<'a> {
    tensors: SafeTensors<'a>,
    path: &'a Path,
}

impl Case<'_> {
    fn has(&self, name: &str) -> bool {
        self.tensors.tensor(name).is_ok()
    }

    fn numbers(&self, name: &str) -> Result<Vec<f32>, Box<dyn Error>> {
        Ok(self
            .tensors
            .tensor(name)?
            .data()
            .as_chunks()
            .0
            .iter()
            .map(|bytes| f32::from_le_bytes(*bytes))
            .collect())
    }

    fn network(&self) -> Result<(String, f64), Box<dyn Error>> {
        let file = self.path.with_extension("onnx");
        let imported = onnx::read(&std::fs::read(&file)?, "file")?;
        let network: Network = imported.spec.build(imported.input)?;
        let mut theta = imported.theta;
        let (x, expected) = (self.numbers("input")?, self.numbers("output")?);
        let features = network.input().features();
        let x = Array2::from_shape_vec((x.len() / features, features), x)?;
        let mut worst;
        if self.has("running_mean") {
            let block = Block::single(x.nrows());
            let mut ws = Workspace::new(&network, block);
            pack(x.view(), block, ws.input_mut());
            network.forward(&Pass::train(block, 0, 0, 0), &theta, &mut ws);
            network.lowered().remember_all(&mut theta, &ws);
            worst = difference(ws.output(), &expected);
            for name in ["running_mean", "running_var"] {
                let param = network
                    .params()
                    .iter()
                    .find(|param| param.name.ends_with(name))
                    .ok_or("no statistics")?;
                worst = worst.max(difference(&theta[param.range.clone()], &self.numbers(name)?));
            }
        } else if imported.has_softmax {
            worst =
                difference(network.predict_proba(&theta, x.view()).as_slice().ok_or("layout")?, &expected);
        } else {
            worst = difference(network.predict(&theta, x.view()).as_slice().ok_or("layout")?, &expected);
        }
        Ok((imported.spec.to_string() + if imported.has_softmax { " (softmax)" } else { "" }, worst))
    }

    fn loss(&self, notes: &HashMap<&str, &str>) -> Result<(String, f64), Box<dyn Error>> {
        let note = |name: &str| notes.get(name).copied().unwrap_or_default();
        let (logits, expected) = (self.numbers("logits")?, self.numbers("losses")?);
        let labels: Vec<u16> = self.numbers("labels")?.iter().map(|&label| label as u16).collect();
        let classes = if self.has("weights") {
            self.numbers("weights")?.into_iter().map(f64::from).collect()
        } else {
            Vec::new()
        };
        let weighting = Weighting { classes, ignore: note("ignore").parse().ok() };
        let loss: Box<dyn Loss<f32>> = match note("loss") {
            "cross-entropy" => Box::new(SoftmaxCrossEntropy { weighting, ..SoftmaxCrossEntropy::default() }),
            _ => Box::new(NegativeLogLikelihood { weighting }),
        };
        let mut dy = vec![0.0; logits.len()];
        let classes = logits.len() / labels.len();
        let sum = |labels: &[u16], logits: &[f32], dy: &mut [f32]| {
            loss.value_and_gradient(Block::single(labels.len()), logits, Labels(labels).into(), 1.0, dy).loss
        };
        let found: Vec<f32> = match note("reduction") {
            "none" => {
                let samples = labels.chunks(1).zip(logits.chunks(classes)).zip(dy.chunks_mut(classes));
                samples.map(|((labels, logits), dy)| sum(labels, logits, dy) as f32).collect()
            }
            "sum" => vec![sum(&labels, &logits, &mut dy) as f32],
            _ => {
                let total = loss.weighting().total::<f32>(Labels(&labels).into(), labels.len());
                vec![(sum(&labels, &logits, &mut dy) / total) as f32]
            }
        };
        Ok((note("loss").to_owned(), difference(&found, &expected)))
    }
}

/// The largest, relative to the expected number, if that is above 1.
fn difference(found: &[f32], expected: &[f32]) -> f64 {
    if found.len() != expected.len() {
        return f64::INFINITY;
    }
    let pairs = found.iter().zip(expected).map(|(&found, &expected)| (f64::from(found), f64::from(expected)));
    let errors = pairs.map(|(f, e)| if f == e { 0.0 } else { (f - e).abs() / e.abs().max(1.0) });
    // What is no number is as far apart as can be.
    errors.fold(0.0, |largest, error| if error.is_nan() { f64::INFINITY } else { error.max(largest) })
}
