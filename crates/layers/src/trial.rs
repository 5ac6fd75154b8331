//! Both passes of a network on numbers of a test.

use crate::{Network, Pass, Workspace, pack, pack_gradient, unpack};
use ndarray::Array2;
use rand::{RngExt, SeedableRng};

/// Random numbers from -1 to 1.
pub(crate) fn random(seed: u64, len: usize) -> Vec<f32> {
    let mut rng = rand::rngs::ChaCha8Rng::seed_from_u64(seed);
    (0..len).map(|_| rng.random_range(-1.0..1.0)).collect()
}

/// What a network is given, of inputs and of gradients of outputs a row for each sample.
pub(crate) struct Trial {
    pub(crate) theta: Vec<f32>,
    pub(crate) x: Array2<f32>,
    pub(crate) dy: Array2<f32>,
}

impl Trial {
    /// Of as many numbers as `network` takes for so many samples; `numbers(seed, len)` makes them, such as [`random`].
    pub(crate) fn new(network: &Network, samples: usize, numbers: impl Fn(u64, usize) -> Vec<f32>) -> Self {
        let rows = |seed, features: usize| {
            Array2::from_shape_vec((samples, features), numbers(seed, samples * features)).unwrap()
        };
        let theta = numbers(1, network.param_len());
        Self { theta, x: rows(2, network.input().features()), dy: rows(3, network.classes()) }
    }

    /// Runs it forward. The workspace has the gradient of the outputs, too.
    pub(crate) fn forward(&self, network: &Network, pass: &Pass) -> Workspace<f32> {
        let mut ws = Workspace::new(network, pass.block);
        pack(self.x.view(), pass.block, ws.input_mut());
        network.forward(pass, &self.theta, &mut ws);
        pack_gradient(self.dy.view(), pass.block, ws.output_grad_mut());
        ws
    }

    /// Outputs, a row for each sample, and the gradient of the parameters.
    pub(crate) fn run(&self, network: &Network, pass: &Pass) -> [Vec<f32>; 2] {
        let mut ws = self.forward(network, pass);
        let y = unpack(pass.block, network.classes(), ws.output()).into_raw_vec_and_offset().0;
        let mut dtheta = vec![0.0; self.theta.len()];
        network.backward(pass, &self.theta, &mut dtheta, &mut ws);
        [y, dtheta]
    }
}
