//! How the weights and gradients of each tensor are spread, from epoch to epoch.

use byhand_datasets::{Dataset, Preprocessing};
use byhand_layers::{
    Block, Network, Pass, Workspace,
    loss::{Labels, Loss, TargetRows},
    pack,
};
use byhand_trainer::Objective;
use ndarray::{Array2, s};
use serde::{Deserialize, Serialize};

/// How many numbers lie where.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The smallest finite number.
    pub low: f64,
    /// The largest.
    pub high: f64,
    /// The mean of the finite numbers.
    pub mean: f64,
    /// The root of the sum of their squares.
    pub norm: f64,
    /// Of all numbers that are finite, how many lie in each of equal parts from `low` to `high`.
    pub counts: Vec<u32>,
}

/// Parts of a [`Spread`].
const PARTS: usize = 24;

impl Spread {
    /// That of these numbers.
    pub fn of(numbers: &[f32]) -> Spread {
        let finite = || numbers.iter().copied().filter(|number| number.is_finite()).map(f64::from);
        let n = finite().count();
        if n == 0 {
            return Spread { counts: vec![0; PARTS], ..Spread::default() };
        }
        let (low, high) =
            (finite().fold(f64::INFINITY, f64::min), finite().fold(f64::NEG_INFINITY, f64::max));
        let mut counts = vec![0; PARTS];
        let scale = if high > low { PARTS as f64 / (high - low) } else { 0.0 };
        for number in finite() {
            counts[(((number - low) * scale) as usize).min(PARTS - 1)] += 1;
        }
        let (sum, squares) = finite().fold((0.0, 0.0), |(sum, squares), x| (sum + x, squares + x * x));
        Spread { low, high, mean: sum / n as f64, norm: squares.sqrt(), counts }
    }
}

/// A parameter tensor at the end of an epoch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TensorRecord {
    /// Its name, as in the model file: `0.weight`.
    pub name: String,
    /// Its numbers.
    pub weights: Spread,
    /// The gradient of the mean loss over some training images, with these weights.
    pub gradients: Spread,
}

/// Looks at weights now and then, and at their gradient on a few training images, which are always the same.
///
/// The gradient is that of the network as it is evaluated (no dropout, running statistics). It costs a part of an epoch that is below
/// one percent where there are 5,000 images or more, and touches nothing that trains.
#[derive(Debug)]
pub struct Recorder {
    network: Network<f32>,
    workspace: Workspace<f32>,
    loss: Box<dyn Loss<f32>>,
    x: Array2<f32>,
    labels: Vec<u16>,
    targets: Option<Array2<f32>>,
    dtheta: Vec<f32>,
}

impl Recorder {
    /// The most images that are looked at.
    const MOST: usize = 128;
    /// One image of so many is looked at, but at least a few.
    const OF: usize = 300;
    const LEAST: usize = 16;
    /// Images at a time: a tile.
    const AT_ONCE: usize = byhand_layers::LANES;

    /// For trainings of `network` on `train`.
    pub fn new(
        network: &Network<f32>,
        train: &Dataset,
        preprocessing: &Preprocessing,
        objective: Objective,
    ) -> Recorder {
        let images = (train.len() / Self::OF).clamp(Self::LEAST, Self::MOST).min(train.len());
        let few = train.take(images);
        Recorder {
            network: network.clone(),
            workspace: Workspace::new(network, Block::tiled(Self::AT_ONCE)),
            loss: objective.loss(),
            x: preprocessing.apply(few.images()),
            labels: few.labels().to_vec(),
            targets: few.targets().map(|targets| targets.to_owned()),
            dtheta: vec![0.0; network.param_len()],
        }
    }

    /// All parameter tensors of a network with the weights `theta`.
    ///
    /// # Panics
    /// If `theta` has not the network's length.
    #[track_caller]
    pub fn look(&mut self, theta: &[f32]) -> Vec<TensorRecord> {
        let images = self.x.nrows();
        self.dtheta.fill(0.0);
        for first in (0..images).step_by(Self::AT_ONCE) {
            let samples = first..(first + Self::AT_ONCE).min(images);
            let block = self.workspace.set_samples(samples.len());
            let pass = Pass::eval(block);
            pack(self.x.slice(s![samples.clone(), ..]), block, self.workspace.input_mut());
            self.network.forward(&pass, theta, &mut self.workspace);
            let (outputs, dlogits) = self.workspace.output_and_grad_mut();
            let target = match &self.targets {
                None => Labels(&self.labels[samples]).into(),
                Some(targets) => {
                    let rows = targets.as_slice().expect("in standard layout");
                    TargetRows(&rows[samples.start * targets.ncols()..samples.end * targets.ncols()]).into()
                }
            };
            self.loss.value_and_gradient(block, outputs, target, 1.0 / images as f32, dlogits);
            self.network.backward(&pass, theta, &mut self.dtheta, &mut self.workspace);
        }
        let trained = self.network.params().iter().filter(|param| !param.is_state);
        trained
            .map(|param| TensorRecord {
                name: param.name.clone(),
                weights: Spread::of(&theta[param.range.clone()]),
                gradients: Spread::of(&self.dtheta[param.range.clone()]),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use byhand_datasets::digits::{Part, generate};
    use byhand_layers::{
        Shape,
        init::{Init, init_network},
    };
    use byhand_models::Spec;

    use super::*;

    #[test]
    fn a_spread_counts_what_is_finite() {
        let spread = Spread::of(&[0.0, 1.0, 1.0, f32::NAN, -1.0]);
        assert_eq!((spread.low, spread.high, spread.mean), (-1.0, 1.0, 0.25));
        assert_eq!(spread.counts.iter().sum::<u32>(), 4);
        assert_eq!((spread.counts[0], spread.counts[PARTS - 1]), (1, 2));
        assert!((spread.norm - 3f64.sqrt()).abs() < 1e-12);
        assert_eq!(Spread::of(&[2.0; 5]).counts[0], 5);
        assert_eq!(Spread::of(&[f32::INFINITY]).counts, [0; PARTS]);
    }

    /// Against the slow way: the loss moves as the gradient's norm says along the gradient.
    #[test]
    fn the_gradient_is_that_of_the_mean_loss() {
        let train = generate(Part::Train, 40, 1);
        let network =
            "conv(2,5) relu pool(2) dense(10)".parse::<Spec>().unwrap().build(Shape::new(1, 28, 28)).unwrap();
        let theta = init_network(&network, Init::HeNormal, 3);
        let (preprocessing, objective) = (Preprocessing::unit(), Objective::default());
        let mut recorder = Recorder::new(&network, &train, &preprocessing, objective);
        let seen = recorder.look(&theta);
        assert_eq!(
            seen.iter().map(|tensor| tensor.name.as_str()).collect::<Vec<_>>(),
            ["0.weight", "0.bias", "4.weight", "4.bias"]
        );
        let few = train.take(Recorder::LEAST);
        let loss = |theta: &[f32]| {
            byhand_trainer::evaluate(&network, theta, &few, &preprocessing, objective, 1).unwrap().loss
        };
        let norm = seen.iter().map(|tensor| tensor.gradients.norm.powi(2)).sum::<f64>().sqrt();
        let step = 1e-3 / norm;
        let moved = |sign: f64| -> Vec<f32> {
            theta
                .iter()
                .zip(&recorder.dtheta)
                .map(|(w, d)| w + (sign * step * f64::from(*d)) as f32)
                .collect()
        };
        let slope = (loss(&moved(1.0)) - loss(&moved(-1.0))) / (2.0 * step);
        assert!((slope / norm.powi(2) - 1.0).abs() < 0.01, "{slope} {}", norm.powi(2));
    }
}
