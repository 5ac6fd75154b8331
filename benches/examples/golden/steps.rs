//! Steps of training.

use std::error::Error;

use byhand_layers::loss::{Labels, Loss, SoftmaxCrossEntropy};
use byhand_layers::{Block, Network, Pass, Shape, Workspace, pack};
use byhand_models::Spec;
use byhand_trainer::{Objective, Optimizer, OptimizerState, Rows, StepConfig, Trainer};
use ndarray::{Array2, ArrayView2};

use crate::Found;

/// In f64.
const LIMIT: f64 = 1e-9;
/// In f32.
const SINGLE: f64 = 1e-4;

/// The loss of each step, and all tensors after each.
pub(crate) fn train(
    settings: &str,
    network: &str,
    numbers: &impl Fn(&str) -> Vec<f64>,
) -> Result<Found, Box<dyn Error>> {
    let (input, spec) = network.split_once(' ').ok_or("expected an input before the layers")?;
    let run = Run {
        settings: Settings::new(settings)?,
        spec: spec.parse()?,
        input: input.parse()?,
        x: numbers("x"),
        labels: numbers("labels").into_iter().map(|label| label as u16).collect(),
        theta: numbers("theta"),
        steps: numbers("loss").len(),
    };
    let is_single = run.settings.is_of_trainer();
    let (losses, thetas) = if is_single { run.in_f32()? } else { run.in_f64()? };
    let name = run.settings.optimizer.to_string();
    let name = name.split('(').next().unwrap_or_default();
    let (kind, limit) = match is_single {
        true => ("steps of the trainer".to_owned(), SINGLE),
        false => (format!("steps of {name}"), LIMIT),
    };
    Ok(Found { kind, limit, numbers: vec![("loss", losses), ("thetas", thetas)] })
}

struct Settings {
    optimizer: Optimizer,
    rate: f64,
    smoothing: f64,
    decay: f64,
    clip: Option<f64>,
    ema: Option<f64>,
}

impl Settings {
    fn new(text: &str) -> Result<Self, Box<dyn Error>> {
        let mut words = text.split(' ');
        let optimizer = words.next().unwrap_or_default().parse()?;
        let mut settings = Self { optimizer, rate: 0.1, smoothing: 0.0, decay: 0.0, clip: None, ema: None };
        for word in words {
            let (name, value) = word.split_once('=').ok_or("expected a value")?;
            let value: f64 = value.parse()?;
            match name {
                "lr" => settings.rate = value,
                "smoothing" => settings.smoothing = value,
                "decay" => settings.decay = value,
                "clip" => settings.clip = Some(value),
                "ema" => settings.ema = Some(value),
                _ => return Err(format!("no setting {name}").into()),
            }
        }
        Ok(settings)
    }

    fn is_of_trainer(&self) -> bool {
        self.decay > 0.0 || self.clip.is_some() || self.ema.is_some()
    }
}

struct Run {
    settings: Settings,
    spec: Spec,
    input: Shape,
    x: Vec<f64>,
    labels: Vec<u16>,
    theta: Vec<f64>,
    steps: usize,
}

/// The loss of each step, and all weights and statistics after each.
type Trained = (Vec<f64>, Vec<f64>);

impl Run {
    fn in_f64(&self) -> Result<Trained, Box<dyn Error>> {
        let network: Network<f64> = self.spec.build(self.input)?;
        let (mut theta, samples) = (self.theta.clone(), self.labels.len() / self.steps);
        let mut state = OptimizerState::new(&self.settings.optimizer, theta.len());
        let block = Block::tiled(samples);
        let mut ws = Workspace::new(&network, block);
        let loss = SoftmaxCrossEntropy { label_smoothing: self.settings.smoothing, ..Default::default() };
        let (mut losses, mut thetas) = (Vec::new(), Vec::new());
        let batches = self.x.chunks_exact(self.x.len() / self.steps).zip(self.labels.chunks_exact(samples));
        for (step, (x, labels)) in batches.enumerate() {
            let pass = Pass::train(block, 0, step as u64, 0);
            pack(ArrayView2::from_shape((samples, x.len() / samples), x)?, block, ws.input_mut());
            network.forward(&pass, &theta, &mut ws);
            let (y, dy) = ws.output_and_grad_mut();
            let scale = 1.0 / samples as f64;
            let stats = loss.value_and_gradient(block, y, Labels(labels).into(), scale, dy);
            let mut dtheta = vec![0.0; theta.len()];
            network.backward(&pass, &theta, &mut dtheta, &mut ws);
            for param in network.params().iter().filter(|param| !param.is_state) {
                let range = param.range.clone();
                let (theta, dtheta) = (&mut theta[range.clone()], &dtheta[range.clone()]);
                let state = state.as_mut().range(range);
                self.settings.optimizer.update(step as u64, self.settings.rate, theta, dtheta, state);
            }
            network.lowered().remember(0, &mut theta, &ws);
            losses.push(stats.loss * scale);
            thetas.extend(&theta);
        }
        Ok((losses, thetas))
    }

    fn in_f32(&self) -> Result<Trained, Box<dyn Error>> {
        let network: Network = self.spec.build(self.input)?;
        let Settings { optimizer, rate, smoothing, decay, clip, ema } = self.settings;
        let samples = self.labels.len() / self.steps;
        let objective = Objective::SoftmaxCrossEntropy { label_smoothing: smoothing };
        let config = StepConfig {
            optimizer,
            objective,
            batch_size: samples,
            threads: 1,
            weight_decay: decay,
            clip,
            ema,
            ..StepConfig::default()
        };
        let theta = self.theta.iter().map(|&weight| weight as f32).collect();
        let mut trainer = Trainer::new(&network, theta, config)?;
        let (mut losses, mut thetas) = (Vec::new(), Vec::new());
        let batches = self.x.chunks_exact(self.x.len() / self.steps).zip(self.labels.chunks_exact(samples));
        for (x, labels) in batches {
            let x = x.iter().map(|&value| value as f32).collect();
            let x = Array2::from_shape_vec((samples, self.input.features()), x)?;
            losses.push(trainer.step(rate, &Rows::new(x.view(), labels))?.loss);
            // The weights themselves, where no average is kept.
            thetas.extend(trainer.average().iter().map(|&weight| f64::from(weight)));
        }
        Ok((losses, thetas))
    }
}
