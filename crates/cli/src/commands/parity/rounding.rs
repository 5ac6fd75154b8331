//! How far apart rounding alone may move the weights of two sides that do the same.
//!
//! Each side has the gradient `g` with errors of its own, of at most `d`. Where a step is a multiple of `g`, as in gradient descent,
//! it has the same relative error, far below any tolerance. Adam divides by the size of the gradients that it has seen:
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
//! sample, the gradient at its outputs is still a difference of numbers of about 1. With a factor of four for what is not random,
//!
//! ```text
//! d = 4 u ((sqrt(n) + 16) max s + 1)
//! ```

use byhand_layers::{NamedParam, Network, Shape};
use byhand_trainer::{Adam, AdamW, Optimizer};

/// What rounding may have moved each weight apart so far.
pub struct Allowance<'a> {
    params: &'a [NamedParam],
    /// Terms of a gradient, for each tensor.
    terms: Vec<f64>,
    adam: Option<Adam>,
    steps: i32,
    /// `sum over k < steps of (beta1^2 / beta2)^k`.
    geometric: f64,
    limits: Vec<f64>,
}

impl<'a> Allowance<'a> {
    pub fn new(network: &'a Network<f32>, optimizer: Optimizer, batch: usize) -> Self {
        let terms = |param: &NamedParam| {
            let Shape { h, w, .. } = network.layers()[param.layer].output();
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
            steps: 0,
            geometric: 0.0,
            limits: vec![0.0; network.param_len()],
        }
    }

    /// Adds a step, after which the optimiser remembers `state`, at this learning rate.
    pub fn step(&mut self, learning_rate: f64, state: &[f32]) {
        const UNIT: f64 = f32::EPSILON as f64 / 2.0;
        let Some(Adam { beta1, beta2, eps, .. }) = self.adam else { return };
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
        let mut allowed = Allowance::new(&network, Optimizer::Adam(adam), 1);
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
            allowed.step(lr, &state);
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
    fn descent_is_allowed_nothing() {
        let network: Network = Network::new(vec![Box::new(Dense::new(1, 2, false).unwrap())]).unwrap();
        let mut allowed = Allowance::new(&network, "sgd(momentum=0.9)".parse().unwrap(), 1);
        allowed.step(0.1, &[0.0; 2]);
        assert_eq!(allowed.limits(), [0.0; 2]);
    }
}
