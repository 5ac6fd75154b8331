//! A training step as the notebooks take it, with no thought of speed.

use byhand_layers::loss::{Loss, LossStats, Target};
use byhand_layers::{Network, Pass, Workspace};

/// Forward (twice, where the loss cost the notebook a second pass), loss, backward, `theta -= rate * dtheta`, for better or worse: a
/// loss that is not finite does not stop it.
#[derive(Debug)]
pub struct NotebookStep {
    workspace: Workspace<f32>,
    theta: Vec<f32>,
    dtheta: Vec<f32>,
    /// The learning rate.
    pub rate: f32,
    /// Whether each step runs the network forward twice.
    pub second_forward: bool,
}

impl NotebookStep {
    /// Training of `network` from `theta`, with the memory of `workspace`.
    pub fn new(workspace: Workspace<f32>, theta: Vec<f32>, rate: f32, second_forward: bool) -> Self {
        Self { workspace, dtheta: vec![0.0; theta.len()], theta, rate, second_forward }
    }

    /// The network's input, to be written before a step.
    pub fn input_mut(&mut self) -> &mut [f32] {
        self.workspace.input_mut()
    }

    /// The weights.
    pub fn theta(&self) -> &[f32] {
        &self.theta
    }

    /// The weights, when training is over.
    pub fn into_theta(self) -> Vec<f32> {
        self.theta
    }

    /// One step on what was written to [`input_mut`](Self::input_mut), with one target a sample.
    ///
    /// # Panics
    /// As [`Network::forward`] and [`Loss::value_and_gradient`].
    #[track_caller]
    pub fn step(
        &mut self,
        network: &Network<f32>,
        loss: &dyn Loss<f32>,
        pass: &Pass,
        target: Target<'_, f32>,
    ) -> LossStats {
        let stats = self.add(network, loss, pass, target, 1.0 / pass.block.samples() as f32);
        self.update();
        stats
    }

    /// Adds the gradient of a part of a minibatch, `scale` being one over the minibatch's samples.
    ///
    /// # Panics
    /// As [`step`](Self::step).
    #[track_caller]
    pub fn add(
        &mut self,
        network: &Network<f32>,
        loss: &dyn Loss<f32>,
        pass: &Pass,
        target: Target<'_, f32>,
        scale: f32,
    ) -> LossStats {
        let Self { workspace, theta, dtheta, second_forward, .. } = self;
        for _ in 0..1 + usize::from(*second_forward) {
            network.forward(pass, theta, workspace);
        }
        let (logits, dlogits) = workspace.output_and_grad_mut();
        let stats = loss.value_and_gradient(pass.block, logits, target, scale, dlogits);
        network.backward(pass, theta, dtheta, workspace);
        network.lowered().remember_all(theta, workspace);
        stats
    }

    /// `theta -= rate * dtheta`, and a new gradient begins.
    pub fn update(&mut self) {
        for (theta, dtheta) in self.theta.iter_mut().zip(&mut self.dtheta) {
            *theta -= self.rate * *dtheta;
            *dtheta = 0.0;
        }
    }
}
