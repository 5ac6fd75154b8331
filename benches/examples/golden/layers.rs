//! One layer, one loss.

use std::error::Error;

use byhand_layers::loss::{
    Labels, Loss, NegativeLogLikelihood, SoftmaxCrossEntropy, SquaredError, Target, TargetRows, Weighting,
};
use byhand_layers::{Block, Layer, Network, Pass, Saved, Shape, Workspace, pack, pack_gradient, unpack};
use byhand_models::Spec;
use ndarray::ArrayView2;

use crate::Found;

const LIMIT: f64 = 1e-12;
/// Of branches, which hold up to five layers: each takes over the rounding of those before it.
const BRANCHES: f64 = 1e-11;

/// The first layer of a spec, in both layouts.
pub(crate) fn layer(
    spec: &Spec,
    input: Shape,
    numbers: &impl Fn(&str) -> Vec<f64>,
) -> Result<Found, Box<dyn Error>> {
    let network: Network<f64> = spec.build(input)?;
    let layer = &*network.layers()[0];
    let samples = numbers("x").len() / input.features();
    let mut found = Vec::new();
    for block in [Block::tiled(samples), Block::single(samples)] {
        found.extend(run(layer, block, numbers));
        if network.params().iter().any(|param| param.is_state) {
            found.push(("after", statistics(&network, block, numbers)?));
        }
    }
    let limit = if matches!(layer.name(), "residual" | "concat") { BRANCHES } else { LIMIT };
    Ok(Found { kind: layer.name().to_owned(), limit, numbers: found })
}

/// y, dx and the gradient of all tensors, sample after sample.
fn run(
    layer: &dyn Layer<f64>,
    block: Block,
    numbers: &impl Fn(&str) -> Vec<f64>,
) -> [(&'static str, Vec<f64>); 3] {
    let (inputs, outputs) = (layer.input().features(), layer.output().features());
    let theta = numbers("theta");
    let (x, dy) = (laid(&numbers("x"), block, inputs), laid(&numbers("dy"), block, outputs));
    let (mut y, mut dx) = (vec![f64::NAN; dy.len()], vec![f64::NAN; x.len()]);
    let (mut tape, mut dtheta) = (vec![f64::NAN; layer.tape_len(block)], vec![0.0; theta.len()]);
    let mut scratch = vec![f64::NAN; layer.scratch_len(block)];
    let pass = Pass::train(block, 0, 0, 0);
    layer.forward(&pass, &theta, &x, &mut y, &mut tape, &mut scratch);
    let saved = Saved { x: &x, y: &y, tape: &tape };
    layer.backward(&pass, &theta, saved, &dy, Some(&mut dx), &mut dtheta, &mut scratch);
    [("y", rows(&y, block, outputs)), ("dx", rows(&dx, block, inputs)), ("dtheta", dtheta)]
}

/// All tensors after some minibatches, which move the running statistics alone.
fn statistics(
    network: &Network<f64>,
    block: Block,
    numbers: &impl Fn(&str) -> Vec<f64>,
) -> Result<Vec<f64>, Box<dyn Error>> {
    let (mut theta, features) = (numbers("theta"), network.input().features());
    let mut ws = Workspace::new(network, block);
    for (step, batch) in numbers("batches").chunks_exact(block.samples() * features).enumerate() {
        pack(ArrayView2::from_shape((block.samples(), features), batch)?, block, ws.input_mut());
        network.forward(&Pass::train(block, 0, step as u64, 0), &theta, &mut ws);
        network.lowered().remember(0, &mut theta, &ws);
    }
    Ok(theta)
}

/// A loss of these words, in both layouts.
pub(crate) fn loss(
    words: &str,
    classes: usize,
    numbers: &impl Fn(&str) -> Vec<f64>,
) -> Result<Found, Box<dyn Error>> {
    let mut words = words.split(',');
    let kind = words.next().unwrap_or_default();
    let (mut label_smoothing, mut weighting) = (0.0, Weighting { classes: numbers("weights"), ignore: None });
    for word in words {
        match word.split_once('=').ok_or("expected a value")? {
            ("smoothing", value) => label_smoothing = value.parse()?,
            ("ignore", value) => weighting.ignore = Some(value.parse()?),
            (other, _) => return Err(format!("no option {other}").into()),
        }
    }
    let loss: Box<dyn Loss<f64>> = match kind {
        "cross-entropy" => Box::new(SoftmaxCrossEntropy { label_smoothing, weighting }),
        "negative log-likelihood" => Box::new(NegativeLogLikelihood { weighting }),
        _ => Box::new(SquaredError),
    };
    let (y, target) = (numbers("y"), numbers("target"));
    let samples = y.len() / classes;
    let labels: Vec<u16> = target.iter().map(|&label| label as u16).collect();
    let mut found = Vec::new();
    for block in [Block::tiled(samples), Block::single(samples)] {
        let target: Target<'_, f64> =
            if target.len() == samples { Labels(&labels).into() } else { TargetRows(&target).into() };
        let scale = 1.0 / loss.weighting().total(target, samples);
        let mut dy = vec![f64::NAN; block.len(classes)];
        let stats = loss.value_and_gradient(block, &laid(&y, block, classes), target, scale, &mut dy);
        found.extend([("loss", vec![stats.loss * scale]), ("dy", rows(&dy, block, classes))]);
    }
    Ok(Found { kind: kind.to_owned(), limit: LIMIT, numbers: found })
}

/// Numbers sample after sample in the layout of a block, with zero in lanes without a sample.
fn laid(rows: &[f64], block: Block, features: usize) -> Vec<f64> {
    let mut out = vec![f64::NAN; block.len(features)];
    let rows = ArrayView2::from_shape((block.samples(), features), rows).expect("a row for each sample");
    pack_gradient(rows, block, &mut out);
    out
}

/// The way back.
fn rows(laid: &[f64], block: Block, features: usize) -> Vec<f64> {
    unpack(block, features, laid).into_raw_vec_and_offset().0
}
