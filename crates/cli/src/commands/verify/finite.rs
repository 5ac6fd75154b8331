//! Check that nothing moves when a number is not finite.

use anyhow::Result;
use byhand_layers::init::{Init, init_network};
use byhand_models::MODELS;
use byhand_trainer::{Diverged, Rows, StepConfig, Trainer};
use ndarray::Array2;

use super::{Outcome, small::Chance};

/// Samples of the minibatch.
const SAMPLES: usize = 24;

/// `places` random places of every parameter tensor, and so many random pixels, in every model.
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
            let mut hold = |theta: &[f32], x: &Array2<f32>, place: &str, threads: usize| -> Result<()> {
                let config = StepConfig { batch_size: SAMPLES, threads, ..StepConfig::default() };
                let mut trainer = Trainer::new(&network, theta.to_vec(), config)?;
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
                    let mut theta = theta.clone();
                    theta[param.range.start + chance.below(param.range.len())] = value;
                    hold(&theta, &x, &param.name, 1 + place % 2)?;
                }
            }
            for place in 0..places {
                let mut x = x.clone();
                x[[chance.below(SAMPLES), chance.below(features)]] = value;
                hold(&theta, &x, "the input", 1 + place % 2)?;
            }
        }
    }
    let stopped = cases - failures.len();
    let figure =
        format!("{stopped} of {cases} in {} models stopped before the update, place named", MODELS.len());
    Ok(Outcome::of(figure, &failures))
}
