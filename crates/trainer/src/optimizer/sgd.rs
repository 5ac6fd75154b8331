//! Stochastic gradient descent with momentum, Nesterov's variant and weight decay.

use std::fmt;

use byhand_layers::Scalar;

use super::{StateMut, flushed};
use crate::error::{SpecError, TrainerError};
use crate::spec::{Call, check, check_share, check_weight};

/// Stochastic gradient descent.
///
/// ```text
/// g     = dtheta + weight_decay * theta
/// v     = momentum * v + g                (v starts at 0; PyTorch's convention: no dampening)
/// theta = theta - lr * v                  plain momentum (momentum = 0: v = g)
/// theta = theta - lr * (g + momentum * v) Nesterov
/// ```
///
/// Polyak, "Some methods of speeding up the convergence of iteration methods", 1964; Sutskever, Martens, Dahl, Hinton,
/// "On the importance of initialization and momentum in deep learning", ICML 2013 (Nesterov's form).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Sgd {
    /// How much of the last velocity is kept, in `0 <= momentum < 1`. With 0 no state is kept.
    pub momentum: f64,
    /// Look ahead along the velocity. Needs a momentum.
    pub nesterov: bool,
    /// L2 penalty: this times theta is added to the gradient.
    pub weight_decay: f64,
}

impl Sgd {
    pub(super) fn slots(&self) -> usize {
        usize::from(self.momentum != 0.0)
    }

    #[inline(always)]
    pub(super) fn update<T: Scalar>(&self, lr: f64, theta: &mut [T], gradient: &[T], state: StateMut<'_, T>) {
        let (lr, mu, decay) = (T::from_f64(lr), T::from_f64(self.momentum), T::from_f64(self.weight_decay));
        let [velocity, _] = state.slots;
        match (self.momentum != 0.0, self.nesterov) {
            (false, _) => {
                for (theta, &dtheta) in theta.iter_mut().zip(gradient) {
                    let g = dtheta + decay * *theta;
                    *theta -= lr * g;
                }
            }
            (true, false) => {
                for ((theta, &dtheta), v) in theta.iter_mut().zip(gradient).zip(velocity) {
                    let g = dtheta + decay * *theta;
                    *v = flushed(mu * *v + g);
                    *theta -= lr * *v;
                }
            }
            (true, true) => {
                for ((theta, &dtheta), v) in theta.iter_mut().zip(gradient).zip(velocity) {
                    let g = dtheta + decay * *theta;
                    *v = flushed(mu * *v + g);
                    *theta -= lr * (g + mu * *v);
                }
            }
        }
    }

    pub(super) fn from_call(call: &mut Call<'_>) -> Result<Sgd, SpecError> {
        Ok(Sgd {
            momentum: call.number("momentum", 0.0)?,
            nesterov: call.flag("nesterov")?,
            weight_decay: call.number("weight_decay", 0.0)?,
        })
    }

    pub(super) fn validate(&self) -> Result<(), TrainerError> {
        check_share("momentum", self.momentum)?;
        if self.nesterov {
            check("momentum", self.momentum, |v| v > 0.0, "above 0, as nesterov needs it")?;
        }
        check_weight("weight_decay", self.weight_decay)
    }
}

impl fmt::Display for Sgd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut arguments = Vec::new();
        if self.momentum != 0.0 {
            arguments.push(format!("momentum={}", self.momentum));
        }
        if self.nesterov {
            arguments.push("nesterov".into());
        }
        if self.weight_decay != 0.0 {
            arguments.push(format!("weight_decay={}", self.weight_decay));
        }
        crate::spec::write_call(f, "sgd", &arguments)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Optimizer, OptimizerState};
    use super::*;

    /// theta after each of three steps with the constant gradient 1, lr 0.1, from 1.
    fn three(sgd: Sgd) -> Vec<f64> {
        let optimizer = Optimizer::Sgd(sgd);
        let mut state = OptimizerState::new(&optimizer, 1);
        let mut theta = [1.0];
        (0..3)
            .map(|step| {
                optimizer.update(step, 0.1, &mut theta, &[1.0], state.as_mut());
                theta[0]
            })
            .collect()
    }

    fn close(found: &[f64], expected: &[f64]) {
        assert!(
            found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-15),
            "{found:?}, expected {expected:?}"
        );
    }

    #[test]
    fn hand_computed_steps() {
        close(&three(Sgd::default()), &[0.9, 0.8, 0.7]);
        // v = 1, 1.5, 1.75
        close(&three(Sgd { momentum: 0.5, ..Sgd::default() }), &[0.9, 0.75, 0.575]);
        // g + v / 2 = 1.5, 1.75, 1.875
        close(&three(Sgd { momentum: 0.5, nesterov: true, ..Sgd::default() }), &[0.85, 0.675, 0.4875]);
        // g = 1 + 0.1 theta: 1.1; theta = 0.89: 1.089; theta = 0.7811: 1.07811
        close(&three(Sgd { weight_decay: 0.1, ..Sgd::default() }), &[0.89, 0.7811, 0.673289]);
    }

    #[test]
    fn momentum_on_a_quadratic_follows_its_recurrence() {
        // f = a theta^2 / 2: theta[t+1] = (1 + mu - lr a) theta[t] - mu theta[t-1], a linear recurrence.
        let (a, lr, mu) = (3.0, 0.1, 0.9);
        let optimizer = Optimizer::Sgd(Sgd { momentum: mu, ..Sgd::default() });
        let mut state = OptimizerState::new(&optimizer, 1);
        let mut theta = [1.0_f64];
        let (mut before, mut now) = (1.0, 1.0);
        for step in 0..50 {
            let gradient = [a * theta[0]];
            optimizer.update(step, lr, &mut theta, &gradient, state.as_mut());
            (before, now) = (now, (1.0 + mu - lr * a) * now - mu * before);
            assert!((theta[0] - now).abs() < 1e-12, "step {step}: {} and {now}", theta[0]);
        }
    }
}
