//! Adam, and AdamW with its decoupled weight decay.

use std::fmt;

use byhand_layers::Scalar;

use super::{StateMut, flushed};
use crate::error::{SpecError, TrainerError};
use crate::spec::{Call, check, check_share, check_weight};

/// Adam, with t = step + 1.
///
/// ```text
/// g     = dtheta + weight_decay * theta
/// m     = beta1 * m + (1 - beta1) * g
/// v     = beta2 * v + (1 - beta2) * g * g
/// theta = theta - lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
/// ```
///
/// Kingma, Ba, "Adam: a method for stochastic optimization", ICLR 2015; `eps` stands where PyTorch has it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adam {
    /// Decay of the mean of gradients, in `0 <= beta1 < 1`.
    pub beta1: f64,
    /// Decay of the mean of squared gradients, in `0 <= beta2 < 1`.
    pub beta2: f64,
    /// Keeps the quotient finite; above 0.
    pub eps: f64,
    /// L2 penalty: this times theta is added to the gradient.
    pub weight_decay: f64,
}

impl Default for Adam {
    /// beta1 0.9, beta2 0.999, eps 1e-8, no weight decay.
    fn default() -> Adam {
        Adam { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0 }
    }
}

impl Adam {
    #[inline(always)]
    pub(super) fn update<T: Scalar>(
        &self,
        step: u64,
        lr: f64,
        theta: &mut [T],
        gradient: &[T],
        state: StateMut<'_, T>,
    ) {
        let decay = T::from_f64(self.weight_decay);
        self.descend(step, lr, theta, gradient, state, |theta, dtheta| (theta, dtheta + decay * theta));
    }

    /// The loop of both variants; `decayed(theta, dtheta)` is where they differ.
    #[inline(always)]
    fn descend<T: Scalar>(
        &self,
        step: u64,
        lr: f64,
        theta: &mut [T],
        gradient: &[T],
        state: StateMut<'_, T>,
        decayed: impl Fn(T, T) -> (T, T),
    ) {
        let t = step + 1;
        let rate = T::from_f64(lr / (1.0 - power(self.beta1, t)));
        let correction = T::from_f64((1.0 - power(self.beta2, t)).sqrt());
        let (beta1, beta2, eps) = (T::from_f64(self.beta1), T::from_f64(self.beta2), T::from_f64(self.eps));
        let (new1, new2) = (T::from_f64(1.0 - self.beta1), T::from_f64(1.0 - self.beta2));
        let [m, v] = state.slots;
        for (((theta, &dtheta), m), v) in theta.iter_mut().zip(gradient).zip(m).zip(v) {
            let (from, g) = decayed(*theta, dtheta);
            *m = flushed(beta1 * *m + new1 * g);
            *v = flushed(beta2 * *v + new2 * g * g);
            *theta = from - rate * (*m / (v.sqrt() / correction + eps));
        }
    }

    pub(super) fn from_call(call: &mut Call<'_>, weight_decay: f64) -> Result<Adam, SpecError> {
        let standard = Adam::default();
        Ok(Adam {
            beta1: call.number("beta1", standard.beta1)?,
            beta2: call.number("beta2", standard.beta2)?,
            eps: call.number("eps", standard.eps)?,
            weight_decay: call.number("weight_decay", weight_decay)?,
        })
    }

    pub(super) fn validate(&self) -> Result<(), TrainerError> {
        check_share("beta1", self.beta1)?;
        check_share("beta2", self.beta2)?;
        check("eps", self.eps, |v| v > 0.0 && v.is_finite(), "a number above 0")?;
        check_weight("weight_decay", self.weight_decay)
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, name: &str, standard: &Adam) -> fmt::Result {
        let arguments: Vec<String> = [
            ("beta1", self.beta1, standard.beta1),
            ("beta2", self.beta2, standard.beta2),
            ("eps", self.eps, standard.eps),
            ("weight_decay", self.weight_decay, standard.weight_decay),
        ]
        .iter()
        .filter(|(_, value, standard)| value != standard)
        .map(|(key, value, _)| format!("{key}={value}"))
        .collect();
        crate::spec::write_call(f, name, &arguments)
    }
}

impl fmt::Display for Adam {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, "adam", &Adam::default())
    }
}

/// Adam with decoupled weight decay: as [`Adam`], but the decay is no part of the gradient.
///
/// ```text
/// theta = theta - lr * weight_decay * theta
/// then Adam's update with g = dtheta
/// ```
///
/// Loshchilov, Hutter, "Decoupled weight decay regularization", ICLR 2019.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamW(
    /// Its hyper-parameters; `weight_decay` is the decoupled one.
    pub Adam,
);

impl Default for AdamW {
    /// As [`Adam`], with weight decay 0.01.
    fn default() -> AdamW {
        AdamW(Adam { weight_decay: 0.01, ..Adam::default() })
    }
}

impl AdamW {
    #[inline(always)]
    pub(super) fn update<T: Scalar>(
        &self,
        step: u64,
        lr: f64,
        theta: &mut [T],
        gradient: &[T],
        state: StateMut<'_, T>,
    ) {
        let keep = T::from_f64(1.0 - lr * self.0.weight_decay);
        self.0.descend(step, lr, theta, gradient, state, |theta, dtheta| (keep * theta, dtheta));
    }

    pub(super) fn from_call(call: &mut Call<'_>) -> Result<AdamW, SpecError> {
        Adam::from_call(call, AdamW::default().0.weight_decay).map(AdamW)
    }
}

impl fmt::Display for AdamW {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write(f, "adamw", &AdamW::default().0)
    }
}

/// x^n by squaring: unlike `powi`, the same bits on every machine.
pub(crate) fn power(x: f64, mut n: u64) -> f64 {
    let (mut result, mut square) = (1.0, x);
    while n > 0 {
        if n & 1 == 1 {
            result *= square;
        }
        square *= square;
        n >>= 1;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::super::{Optimizer, OptimizerState};
    use super::*;

    /// theta after each of `n` steps with gradient `gradient(step)`, lr 0.1, from 1.
    fn steps(optimizer: Optimizer, n: u64, gradient: impl Fn(u64) -> f64) -> Vec<f64> {
        let mut state = OptimizerState::new(&optimizer, 1);
        let mut theta = [1.0];
        (0..n)
            .map(|step| {
                optimizer.update(step, 0.1, &mut theta, &[gradient(step)], state.as_mut());
                theta[0]
            })
            .collect()
    }

    #[test]
    fn a_constant_gradient_moves_by_the_rate() {
        // m / (1 - beta1^t) = g and v / (1 - beta2^t) = g^2 exactly in real numbers: every step is lr g / (|g| + eps).
        for g in [1e-3, 1.0, -7.0] {
            let found = steps(Optimizer::Adam(Adam::default()), 20, |_| g);
            for (t, theta) in found.iter().enumerate() {
                let expected = 1.0 - 0.1 * (t + 1) as f64 * g / (g.abs() + 1e-8);
                assert!((theta - expected).abs() < 1e-12, "g {g}, step {t}: {theta}, expected {expected}");
            }
        }
    }

    #[test]
    fn changing_gradients_follow_the_paper() {
        // The sums of the paper's equation (1), written out instead of recursively.
        let adam = Adam { beta1: 0.7, beta2: 0.95, eps: 1e-3, weight_decay: 0.0 };
        let gradient = |t: u64| (t as f64 * 1.7).sin() + 0.3;
        let found = steps(Optimizer::Adam(adam), 10, gradient);
        let mut theta = 1.0;
        for t in 1..=10_i32 {
            let mean = |beta: f64, power: i32| {
                let sum: f64 = (1..=t).map(|i| beta.powi(t - i) * gradient(i as u64 - 1).powi(power)).sum();
                (1.0 - beta) * sum / (1.0 - beta.powi(t))
            };
            theta -= 0.1 * mean(0.7, 1) / (mean(0.95, 2).sqrt() + 1e-3);
            let found = found[t as usize - 1];
            assert!((found - theta).abs() < 1e-12, "step {t}: {found}, expected {theta}");
        }
    }

    #[test]
    fn decay_is_coupled_in_adam_and_decoupled_in_adamw() {
        // With no gradient of its own, Adam's first step is lr * sign(decay * theta), AdamW's lr * decay * theta.
        let decay = Adam { weight_decay: 0.5, ..Adam::default() };
        assert!((steps(Optimizer::Adam(decay), 1, |_| 0.0)[0] - 0.9).abs() < 1e-8);
        let found = steps(Optimizer::AdamW(AdamW(decay)), 3, |_| 0.0);
        for (t, theta) in found.iter().enumerate() {
            assert!((theta - 0.95_f64.powi(t as i32 + 1)).abs() < 1e-15);
        }
    }

    #[test]
    fn powers() {
        for n in [0, 1, 2, 3, 10, 1000, 60_000] {
            let expected = 0.999_f64.powf(n as f64);
            assert!((power(0.999, n) - expected).abs() < 1e-12 * expected, "{n}");
        }
        assert_eq!(power(0.0, 1), 0.0);
    }
}
