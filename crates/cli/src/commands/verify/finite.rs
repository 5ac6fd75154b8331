//! Check that nothing moves when a number is not finite.

use std::sync::Arc;

use anyhow::Result;
use byhand_layers::{
    Describe, Kind, Layer, Network, ParamSpec, Pass, Saved, Shape,
    init::{Init, init_network},
};
use byhand_models::MODELS;
use byhand_tensor::Block;
use byhand_trainer::{Diverged, Rows, StepConfig, Trainer};
use ndarray::Array2;

use super::{Outcome, small::Chance};

/// Samples of the minibatch.
const SAMPLES: usize = 24;

/// `places` random places of every parameter tensor and of its gradient, and so many random pixels, in every model.
pub fn not_finite(places: usize) -> Result<Outcome> {
    let mut chance = Chance::new(3);
    let (mut cases, mut failures) = (0, Vec::new());
    for model in MODELS {
        let network = model.network::<f32>();
        let theta = init_network::<f32>(&network, Init::HeNormal, 1);
        let features = network.input().features();
        let labels: Vec<u16> = (0..SAMPLES).map(|sample| (sample % network.classes()) as u16).collect();
        let x =
            Array2::from_shape_fn((SAMPLES, features), |(sample, pixel)| ((sample + pixel) % 7) as f32 / 7.0);
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut hold = |network: &Network<f32>,
                            theta: &[f32],
                            x: &Array2<f32>,
                            place: &str,
                            threads: usize|
             -> Result<()> {
                let config = StepConfig { batch_size: SAMPLES, threads, ..StepConfig::default() };
                let mut trainer = Trainer::new(network, theta.to_vec(), config)?;
                let found = trainer.step(0.1, &Rows::new(x.view(), &labels));
                let is_unmoved = trainer.theta().iter().zip(theta).all(|(a, b)| a.to_bits() == b.to_bits());
                let is_named =
                    matches!(&found, Err(Diverged { place: Some(named), .. }) if named.starts_with(place));
                cases += 1;
                if !(is_unmoved && is_named && trainer.steps() == 0) {
                    failures.push(format!("{}: {value} in {place}: {found:?}", model.name));
                }
                Ok(())
            };
            for param in network.params() {
                for place in 0..places {
                    let at = chance.below(param.range.len());
                    let mut bad = theta.clone();
                    bad[param.range.start + at] = value;
                    hold(&network, &bad, &x, &param.name, 1 + place % 2)?;
                    let layer = &network.layers()[param.layer];
                    let first = network.params().iter().find(|first| first.layer == param.layer);
                    let at = param.range.start + at - first.map_or(0, |first| first.range.start);
                    let broken = Broken { layer: Arc::clone(layer), at, value };
                    hold(
                        &network.with_layer(param.layer, Box::new(broken))?,
                        &theta,
                        &x,
                        &param.name,
                        1 + place % 2,
                    )?;
                }
            }
            for place in 0..places {
                let mut x = x.clone();
                x[[chance.below(SAMPLES), chance.below(features)]] = value;
                hold(&network, &theta, &x, "the input", 1 + place % 2)?;
            }
        }
    }
    let stopped = cases - failures.len();
    let figure =
        format!("{stopped} of {cases} in {} models stopped before the update, place named", MODELS.len());
    Ok(Outcome::of(figure, &failures))
}

/// A layer that puts `value` into its gradient, at place `at` of its parameters. The museum has such wrappers, but is only in builds with the
/// proofs, and `verify` is in all.
#[derive(Debug)]
struct Broken {
    layer: Arc<dyn Layer<f32>>,
    at: usize,
    value: f32,
}

impl Describe for Broken {
    fn name(&self) -> &'static str {
        self.layer.name()
    }

    fn spec(&self) -> String {
        self.layer.spec()
    }

    fn kind(&self) -> Kind {
        self.layer.kind()
    }

    fn input(&self) -> Shape {
        self.layer.input()
    }

    fn output(&self) -> Shape {
        self.layer.output()
    }

    fn params(&self) -> Vec<ParamSpec> {
        self.layer.params()
    }

    fn tape_len(&self, block: Block) -> usize {
        self.layer.tape_len(block)
    }

    fn scratch_len(&self, block: Block) -> usize {
        self.layer.scratch_len(block)
    }
}

impl Layer<f32> for Broken {
    fn forward(
        &self,
        pass: &Pass,
        theta: &[f32],
        x: &[f32],
        y: &mut [f32],
        tape: &mut [f32],
        scratch: &mut [f32],
    ) {
        self.layer.forward(pass, theta, x, y, tape, scratch);
    }

    fn backward(
        &self,
        pass: &Pass,
        theta: &[f32],
        saved: Saved<'_, f32>,
        dy: &[f32],
        dx: Option<&mut [f32]>,
        dtheta: &mut [f32],
        scratch: &mut [f32],
    ) {
        self.layer.backward(pass, theta, saved, dy, dx, dtheta, scratch);
        dtheta[self.at] = self.value;
    }

    fn remember(&self, block: Block, tape: &[f32], theta: &mut [f32]) {
        self.layer.remember(block, tape, theta);
    }
}
