//! How far apart rounding alone may move the weights of two sides that do the same.
//!
//! Each side has the gradient `g` with errors of its own, of at most `d`. Where a step is a multiple of `g`, as in gradient descent,
//! it has the same error times the learning rate. That is far below any tolerance, but for gradients that are sums of nothing but errors:
//! that of a bias which a batch normalisation behind it takes out again. Adam divides by the size of the gradients that it has seen:
//!
//! ```text
//! step = lr * q        q = m / (s + eps)        m = sum over k of a_k g_k        s = sqrt(sum over k of b_k g_k^2)
//! ```
//!
//! with weights `a_k` and `b_k` that sum to 1, bias corrections included. Then `m` differs by at most `2d` between the sides, and so
//! does `s`, a norm; by Cauchy and Schwarz `|m| / s <= r = sqrt(sum over k of a_k^2 / b_k)`; so
//!
//! ```text
//! |q - q'| = |(m - m') / (s + eps) + m' / (s' + eps) * (s' - s) / (s + eps)| <= min(2 r, 2d (1 + r) / (s + eps))
//! ```
//!
//! Where gradients are of the order of their rounding errors, `q` may be anything between `-r` and `r`: its sign is that of an error.
//! Where one side has a sum of zeros, and the other terms that cancel to 1e-9, the one does not move the weight and the other moves
//! it by `lr`.
//!
//! What `d` is: a gradient is a sum of `n` terms, one a sample and output place. If their signs are random, sums are `sqrt(n)` terms
//! large and err, by `n` additions with random errors `u`, by `u sqrt(n)` times their size; each term errs too, by some `u`. The
//! largest `s` of the tensor is the size of sums that did not cancel. Where all of them did, since the network is sure of every
//! sample, the gradient at its outputs is still a difference of numbers of about 1. In descent the largest step of any
//! weight is the learning rate times the size of sums that did not cancel. With a factor of four for what is not random,
//!
//! ```text
//! d = 4 u ((sqrt(n) + 16) max s + 1)
//! ```

use byhand_layers::{NamedParam, Network, Shape};
use byhand_trainer::{Adam, AdamW, Optimizer};

/// The unit roundoff of f32.
const UNIT: f64 = f32::EPSILON as f64 / 2.0;

/// What rounding may have moved each weight apart so far.
pub struct Allowance<'a> {
    params: &'a [NamedParam],
    /// Terms of a gradient, for each tensor.
    terms: Vec<f64>,
    adam: Option<Adam>,
    /// The weights before the step.
    theta: Vec<f32>,
    steps: i32,
    /// `sum over k < steps of (beta1^2 / beta2)^k`.
    geometric: f64,
    limits: Vec<f64>,
}

impl<'a> Allowance<'a> {
    /// For training from these weights.
    pub fn new(network: &'a Network<f32>, optimizer: Optimizer, batch: usize, theta: &[f32]) -> Self {
        let terms = |param: &NamedParam| {
            let Shape { h, w, .. } = param.output;
            (batch * h * w) as f64
        };
        let adam = match optimizer {
            Optimizer::Adam(adam) | Optimizer::AdamW(AdamW(adam)) => Some(adam),
            Optimizer::Sgd(_) => None,
        };
        Self {
            params: network.params(),
            terms: network.params().iter().map(terms).collect(),
            adam,
            theta: theta.to_vec(),
            steps: 0,
            geometric: 0.0,
            limits: vec![0.0; network.param_len()],
        }
    }

    /// Adds a step to these weights, after which the optimiser remembers `state`, at this learning rate.
    pub fn step(&mut self, learning_rate: f64, theta: &[f32], state: &[f32]) {
        match self.adam {
            Some(adam) => self.step_of_adam(adam, learning_rate, state),
            None => self.step_of_descent(theta),
        }
    }

    fn step_of_descent(&mut self, theta: &[f32]) {
        let trained = self.params.iter().zip(&self.terms).filter(|(param, _)| !param.is_state);
        let moved = |param: &NamedParam| {
            let (before, after) = (&self.theta[param.range.clone()], &theta[param.range.clone()]);
            before.iter().zip(after).fold(0.0f64, |most, (a, b)| most.max(f64::from((a - b).abs())))
        };
        let most = trained.clone().map(|(param, _)| moved(param)).fold(0.0, f64::max);
        for (param, terms) in trained {
            let apart = 2.0 * 4.0 * UNIT * (terms.sqrt() + 16.0) * most;
            self.limits[param.range.clone()].iter_mut().for_each(|limit| *limit += apart);
        }
        self.theta.copy_from_slice(theta);
    }

    fn step_of_adam(&mut self, adam: Adam, learning_rate: f64, state: &[f32]) {
        let Adam { beta1, beta2, eps, .. } = adam;
        self.geometric += (beta1 * beta1 / beta2).powi(self.steps);
        self.steps += 1;
        let [left1, left2] = [beta1, beta2].map(|beta| 1.0 - beta.powi(self.steps));
        let r = (1.0 - beta1) / left1 * (left2 / (1.0 - beta2) * self.geometric).sqrt();
        let (_, v) = state.split_at(self.limits.len());
        for (param, terms) in self.params.iter().zip(&self.terms) {
            let s = |v: f32| (f64::from(v) / left2).sqrt();
            let v = &v[param.range.clone()];
            let most = v.iter().fold(0.0, |most, &v| s(v).max(most));
            let d = 4.0 * UNIT * ((terms.sqrt() + 16.0) * most + 1.0);
            for (limit, &v) in self.limits[param.range.clone()].iter_mut().zip(v) {
                *limit += learning_rate * f64::min(2.0 * r, 2.0 * d * (1.0 + r) / (s(v) + eps));
            }
        }
    }

    /// What rounding may have moved each weight apart.
    pub fn limits(&self) -> &[f64] {
        &self.limits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use byhand_layers::Dense;

    /// Steps of both sides' Adam along gradients that differ by `d` at most: never further apart than allowed, and now and then nearly.
    #[test]
    fn rounding_moves_no_weight_further() {
        let network: Network = Network::new(vec![Box::new(Dense::new(1, 2, false).unwrap())]).unwrap();
        let (adam, lr) = (Adam::default(), 0.01);
        // The first weight has ordinary gradients, the second none but errors, which have the other sign on the other side.
        let mut allowed = Allowance::new(&network, Optimizer::Adam(adam), 1, &[0.0; 2]);
        let (mut m, mut v, mut theta) = ([[0.0f64; 2]; 2], [[0.0f64; 2]; 2], [[0.0f64; 2]; 2]);
        for step in 1..=50 {
            let error = 2e-7 * f64::from(step).sin();
            for (side, error) in [error, -error].into_iter().enumerate() {
                for (i, g) in [0.3 + error, error].into_iter().enumerate() {
                    m[side][i] = adam.beta1 * m[side][i] + (1.0 - adam.beta1) * g;
                    v[side][i] = adam.beta2 * v[side][i] + (1.0 - adam.beta2) * g * g;
                    let [left1, left2] = [adam.beta1, adam.beta2].map(|beta| 1.0 - beta.powi(step));
                    theta[side][i] -= lr * (m[side][i] / left1) / ((v[side][i] / left2).sqrt() + adam.eps);
                }
            }
            let state: Vec<f32> = m[0].iter().chain(&v[0]).map(|&value| value as f32).collect();
            allowed.step(lr, &[0.0; 2], &state);
            for i in 0..2 {
                let apart = (theta[0][i] - theta[1][i]).abs();
                assert!(apart <= allowed.limits()[i], "step {step}, weight {i}: {apart}");
            }
            if step == 1 {
                assert!((theta[0][1] - theta[1][1]).abs() > 0.9 * allowed.limits()[1]);
            }
        }
        assert!(allowed.limits()[0] < 1e-3 * lr * 50.0, "{}", allowed.limits()[0]);
    }

    #[test]
    fn descent_is_allowed_the_errors_of_sums_that_cancel() {
        let network: Network = Network::new(vec![Box::new(Dense::new(1, 1, true).unwrap())]).unwrap();
        let mut allowed = Allowance::new(&network, "sgd(momentum=0.9)".parse().unwrap(), 4, &[1.0, 0.0]);
        allowed.step(0.1, &[1.5, 1e-9], &[0.0; 2]);
        // A sum of 4 terms moved the weight by 0.5; the bias, whose sum is nothing but errors, may be as far off.
        let expected = 8.0 * (2.0 + 16.0) * 0.5 / f64::from(1 << 24);
        assert_eq!(allowed.limits(), [expected; 2]);
    }
}
