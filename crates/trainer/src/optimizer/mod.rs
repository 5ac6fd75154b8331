//! Optimisers: each one loop over flat slices, in PyTorch's conventions, for any range of the parameters.
//!
//! An update is elementwise, so cutting the parameters into chunks, in any way and on any thread, changes no bit.
//! Coefficients are computed in f64 and rounded once to the scalar of the parameters. What an optimiser remembers is zero where it is below the smallest
//! normal number of `f32`.
//!
//! A new optimiser is one file and one variant of [`Optimizer`].

mod adam;
mod sgd;

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use byhand_layers::{Buffer, Scalar};

pub(crate) use self::adam::power;
pub use self::adam::{Adam, AdamW};
pub use self::sgd::Sgd;
use crate::error::{SpecError, TrainerError};
use crate::spec::Call;

/// Which optimiser, with its hyper-parameters. Written `sgd`, `sgd(momentum=0.9, nesterov)`, `adam(beta1=0.9)`, ...
///
/// ```
/// use byhand_trainer::{Optimizer, Sgd};
/// let optimizer: Optimizer = "sgd(momentum=0.9, nesterov)".parse()?;
/// assert_eq!(optimizer, Optimizer::Sgd(Sgd { momentum: 0.9, nesterov: true, weight_decay: 0.0 }));
/// assert_eq!(optimizer.to_string(), "sgd(momentum=0.9,nesterov)");
/// # Ok::<(), byhand_trainer::SpecError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Optimizer {
    /// Gradient descent, with momentum if wanted.
    Sgd(Sgd),
    /// Adam; its weight decay is an L2 term in the gradient.
    Adam(Adam),
    /// Adam with decoupled weight decay.
    AdamW(AdamW),
}

impl Optimizer {
    /// How many numbers of state a parameter needs: 0, 1 or 2.
    pub fn slots(&self) -> usize {
        match self {
            Optimizer::Sgd(sgd) => sgd.slots(),
            Optimizer::Adam(_) | Optimizer::AdamW(_) => 2,
        }
    }

    /// Whether an update is `theta -= lr * gradient` and nothing else.
    pub fn is_plain_descent(&self) -> bool {
        matches!(self, Optimizer::Sgd(Sgd { momentum: 0.0, weight_decay: 0.0, .. }))
    }

    /// That its numbers are in their ranges.
    ///
    /// # Errors
    /// Names the first that is not.
    pub fn validate(&self) -> Result<(), TrainerError> {
        match self {
            Optimizer::Sgd(sgd) => sgd.validate(),
            Optimizer::Adam(adam) | Optimizer::AdamW(AdamW(adam)) => adam.validate(),
        }
    }

    /// Moves `theta` once along `gradient`.
    ///
    /// `step` counts from 0 (Adam's bias correction needs it); `learning_rate` is that of this step. `theta`,
    /// `gradient` and `state` are the same range of the parameters, which may be any.
    ///
    /// # Panics
    /// When the slices differ in length or `state` lacks a slot.
    #[track_caller]
    #[inline(always)]
    pub fn update<T: Scalar>(
        &self,
        step: u64,
        learning_rate: f64,
        theta: &mut [T],
        gradient: &[T],
        state: StateMut<'_, T>,
    ) {
        let n = theta.len();
        assert!(gradient.len() == n, "{} gradients for {n} parameters", gradient.len());
        for slot in state.slots.iter().take(self.slots()) {
            assert!(slot.len() == n, "a slot of {} numbers for {n} parameters", slot.len());
        }
        match self {
            Optimizer::Sgd(sgd) => sgd.update(learning_rate, theta, gradient, state),
            Optimizer::Adam(adam) => adam.update(step, learning_rate, theta, gradient, state),
            Optimizer::AdamW(adamw) => adamw.update(step, learning_rate, theta, gradient, state),
        }
    }
}

impl FromStr for Optimizer {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Optimizer, SpecError> {
        let mut call = Call::parse(text)?;
        let optimizer = match call.name() {
            "sgd" => Optimizer::Sgd(Sgd::from_call(&mut call)?),
            "adam" => Optimizer::Adam(Adam::from_call(&mut call, 0.0)?),
            "adamw" => Optimizer::AdamW(AdamW::from_call(&mut call)?),
            _ => return Err(call.unknown_name("sgd, adam, adamw")),
        };
        call.finish(optimizer.validate())?;
        Ok(optimizer)
    }
}

impl fmt::Display for Optimizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Optimizer::Sgd(sgd) => sgd.fmt(f),
            Optimizer::Adam(adam) => adam.fmt(f),
            Optimizer::AdamW(adamw) => adamw.fmt(f),
        }
    }
}

/// `x`, or 0 where it is so small that `f32` would hold it with fewer digits: a processor takes some hundred cycles for each such number. What is
/// remembered of weights whose gradient stays zero, as of those of pixels without ink, would come there and stay.
#[inline(always)]
fn flushed<T: Scalar>(x: T) -> T {
    if x.abs() < T::from_f64(f64::from(f32::MIN_POSITIVE)) { T::ZERO } else { x }
}

/// What an optimiser remembers between steps: one flat buffer, slot after slot, each as long as the parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct OptimizerState<T: Scalar> {
    values: Buffer<T>,
    param_len: usize,
}

impl<T: Scalar> OptimizerState<T> {
    /// The state before the first step: all zero.
    pub fn new(optimizer: &Optimizer, param_len: usize) -> OptimizerState<T> {
        OptimizerState { values: Buffer::zeros(optimizer.slots() * param_len), param_len }
    }

    /// The state saved as `values` (what [`values`](OptimizerState::values) gave), if it has the length this
    /// optimiser needs.
    pub fn from_values(optimizer: &Optimizer, param_len: usize, values: Vec<T>) -> Option<OptimizerState<T>> {
        OptimizerState::of_slots(optimizer.slots(), param_len, &values)
    }

    /// The same with one slot more, which holds `values`: no optimiser reads it.
    pub(crate) fn with_slot(self, values: &[T]) -> OptimizerState<T> {
        assert_eq!(values.len(), self.param_len, "numbers of a slot");
        let all: Vec<T> = self.values.iter().chain(values).copied().collect();
        OptimizerState { values: Buffer::from(&*all), ..self }
    }

    /// As many slots for so many parameters, all zero.
    pub(crate) fn zeros(&self, param_len: usize) -> OptimizerState<T> {
        OptimizerState { values: Buffer::zeros(self.slots() * param_len), param_len }
    }

    /// `values` as so many slots, if they are.
    pub(crate) fn of_slots(slots: usize, param_len: usize, values: &[T]) -> Option<OptimizerState<T>> {
        (values.len() == slots * param_len)
            .then(|| OptimizerState { values: Buffer::from(values), param_len })
    }

    /// All of it, slot after slot.
    pub fn values(&self) -> &[T] {
        &self.values
    }

    /// Number of slots.
    pub(crate) fn slots(&self) -> usize {
        self.values.len() / self.param_len.max(1)
    }

    /// One number a parameter.
    pub(crate) fn slot(&self, slot: usize) -> &[T] {
        &self.values[slot * self.param_len..][..self.param_len]
    }

    /// The same, to be written.
    pub(crate) fn slot_mut(&mut self, slot: usize) -> &mut [T] {
        &mut self.values[slot * self.param_len..][..self.param_len]
    }

    /// All of it, to be updated.
    pub fn as_mut(&mut self) -> StateMut<'_, T> {
        let n = self.param_len.min(self.values.len());
        let (first, rest) = self.values.split_at_mut(n);
        let second = n.min(rest.len());
        StateMut { slots: [first, &mut rest[..second]] }
    }
}

/// The state of a range of the parameters. Slots an optimiser does not use are empty.
#[derive(Debug)]
pub struct StateMut<'a, T> {
    slots: [&'a mut [T]; 2],
}

impl<'a, T> StateMut<'a, T> {
    /// The state of the first `mid` parameters and that of the others.
    #[inline]
    pub fn split_at(self, mid: usize) -> (StateMut<'a, T>, StateMut<'a, T>) {
        let [first, second] = self.slots;
        let (first, first_rest) = first.split_at_mut(mid.min(first.len()));
        let (second, second_rest) = second.split_at_mut(mid.min(second.len()));
        (StateMut { slots: [first, second] }, StateMut { slots: [first_rest, second_rest] })
    }

    /// The state of parameters `range`.
    #[inline]
    pub fn range(self, range: Range<usize>) -> StateMut<'a, T> {
        self.split_at(range.start).1.split_at(range.len()).0
    }

    /// The same range, borrowed for less long.
    #[inline]
    pub fn reborrow(&mut self) -> StateMut<'_, T> {
        let [first, second] = &mut self.slots;
        StateMut { slots: [first, second] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten steps on f(theta) = theta^2 / 2 from 1, 2, ..., in one piece.
    fn run(optimizer: &Optimizer, n: usize, chunk: usize) -> (Vec<f32>, Vec<f32>) {
        let mut theta: Vec<f32> = (1..=n).map(|i| i as f32).collect();
        let mut state = OptimizerState::new(optimizer, n);
        for step in 0..10 {
            let gradient = theta.clone();
            let mut rest = state.as_mut();
            for (theta, gradient) in theta.chunks_mut(chunk).zip(gradient.chunks(chunk)) {
                let (part, next) = rest.split_at(theta.len());
                optimizer.update(step, 0.05, theta, gradient, part);
                rest = next;
            }
        }
        (theta, state.values().to_vec())
    }

    #[test]
    fn bits_do_not_depend_on_the_chunks() {
        for text in
            ["sgd", "sgd(momentum=0.9,weight_decay=0.01)", "sgd(momentum=0.9,nesterov)", "adam", "adamw"]
        {
            let optimizer: Optimizer = text.parse().unwrap();
            let whole = run(&optimizer, 103, 103);
            for chunk in [1, 7, 16, 64] {
                assert_eq!(run(&optimizer, 103, chunk), whole, "{text} in chunks of {chunk}");
            }
        }
    }

    #[test]
    fn what_fades_ends_at_zero() {
        for text in ["sgd(momentum=0.9)", "sgd(momentum=0.9,nesterov)", "adam(beta2=0.9)", "adamw(beta2=0.9)"]
        {
            let optimizer: Optimizer = text.parse().unwrap();
            let (mut theta, mut state) = ([1.0_f32], OptimizerState::new(&optimizer, 1));
            optimizer.update(0, 0.1, &mut theta, &[1.0], state.as_mut());
            for step in 1..2000 {
                assert!(state.values().iter().all(|v| *v == 0.0 || v.is_normal()), "{text}, step {step}");
                optimizer.update(step, 0.1, &mut theta, &[0.0], state.as_mut());
            }
            assert!(state.values().iter().all(|v| *v == 0.0), "{text}: {:?}", state.values());
        }
    }

    #[test]
    fn text_and_back() {
        for text in [
            "sgd",
            "sgd(momentum=0.9,nesterov,weight_decay=0.0005)",
            "adam",
            "adam(beta1=0.7,eps=0.001)",
            "adamw",
            "adamw(weight_decay=0.1)",
        ] {
            let optimizer: Optimizer = text.parse().unwrap();
            assert_eq!(optimizer.to_string(), text);
        }
    }

    #[test]
    fn errors_name_the_key_and_what_was_expected() {
        for (text, expected) in [
            ("sdg", "expected one of sgd, adam, adamw, found `sdg`"),
            ("sgd(momentum=1)", "expected `momentum` to be at least 0 and below 1, found 1"),
            ("sgd(nesterov)", "expected `momentum` to be above 0, as nesterov needs it, found 0"),
            ("sgd(weight_decay=-1)", "expected `weight_decay` to be a number of at least 0, found -1"),
            ("adam(beta2=2)", "expected `beta2` to be at least 0 and below 1, found 2"),
            ("adam(beta3=0.9)", "expected one of beta1, beta2, eps, weight_decay, found `beta3`"),
            ("adam(eps=0", "closing parenthesis"),
            ("adam(eps=nan)", "found NaN"),
            ("adam(eps=small)", "expected `eps` to be a number, found small"),
            ("sgd(momentum=0.9,momentum=0.8)", "given twice"),
        ] {
            let error = text.parse::<Optimizer>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
