//! Learning-rate schedules: pure functions of the step, and one that waits for evaluations.

use std::fmt;
use std::str::FromStr;

use crate::error::{SpecError, TrainerError};
use crate::spec::{Call, check, write_call};

/// How the learning rate moves over a run, with linear warm-up. Written `constant`, `cosine(warmup=100)`,
/// `step(parts=3, factor=0.1)`, `linear`, `one-cycle(rise=0.3)`, `plateau(patience=3)`, ...
///
/// During the first `warmup` steps (k = 0, 1, ...) the rate is `(k + 1) / (warmup + 1)` of what the shape starts with;
/// the shape then runs over the steps that are left. No function of the platform's libm is used, so the rates have the
/// same bits on every machine.
///
/// ```
/// use byhand_trainer::Schedule;
/// let schedule: Schedule = "linear(warmup=3)".parse()?;
/// let rates: Vec<f64> = (0..7).map(|step| schedule.rate(0.4, step, 7)).collect();
/// assert_eq!(rates, [0.1, 0.2, 0.30000000000000004, 0.4, 0.30000000000000004, 0.2, 0.1]);
/// # Ok::<(), byhand_trainer::SpecError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// What the rate does after the warm-up.
    pub shape: ScheduleShape,
    /// Steps of linear warm-up.
    pub warmup: u64,
}

/// The shape of a [`Schedule`]; `p = k / n` is the part done of the `n` steps after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ScheduleShape {
    /// `lr`.
    Constant,
    /// The run is cut into `parts` equal parts; each has `factor` times the rate of the one before:
    /// `lr * factor^floor(p * parts)`.
    Step {
        /// Number of parts, at least 1.
        parts: u64,
        /// What the rate is multiplied by after each part.
        factor: f64,
    },
    /// `lr * (floor + (1 - floor) * (1 + cos(pi p)) / 2)`. Loshchilov, Hutter, "SGDR: stochastic gradient descent with
    /// warm restarts", ICLR 2017 (one period).
    Cosine {
        /// The part of the rate that is left at the end.
        floor: f64,
    },
    /// `lr * (floor + (1 - floor) * (1 - p))`.
    Linear {
        /// The part of the rate that is left at the end.
        floor: f64,
    },
    /// From `lr / start` up to `lr` within the first `rise` of the run, then down to `lr / start / end`, both along half
    /// a cosine, as PyTorch's `OneCycleLR`. Smith, Topin, "Super-convergence: very fast training of neural networks
    /// using large learning rates", 2018.
    OneCycle {
        /// The part of the run in which the rate rises, above 0 and below 1.
        rise: f64,
        /// The first rate is `lr / start`.
        start: f64,
        /// The last rate is `lr / start / end`.
        end: f64,
    },
    /// `lr * factor^r`, with `r` the reductions so far: one each time that `patience` epochs in a row were no better on the watched set than
    /// the best, the count beginning anew after each. Only a [`Fit`](crate::Fit) with a test set knows `r`; without it the rate is `lr`.
    Plateau {
        /// Epochs, at least 1.
        patience: u64,
        /// What the rate is multiplied by.
        factor: f64,
    },
}

impl Schedule {
    /// The same rate in every step.
    pub const CONSTANT: Schedule = Schedule { shape: ScheduleShape::Constant, warmup: 0 };

    /// The learning rate of step `step` (from 0) of a run of `total` steps whose peak rate is `lr`.
    ///
    /// Steps beyond the last have the rate of the last.
    pub fn rate(&self, lr: f64, step: u64, total: u64) -> f64 {
        if step < self.warmup {
            let (k, n) = ((step + 1) as f64, (self.warmup + 1) as f64);
            return self.shape_rate(lr, 0, total.saturating_sub(self.warmup)) * (k / n);
        }
        let n = total.saturating_sub(self.warmup);
        self.shape_rate(lr, (step - self.warmup).min(n.saturating_sub(1)), n)
    }

    /// That its numbers are in their ranges.
    ///
    /// # Errors
    /// Names the first that is not.
    pub fn validate(&self) -> Result<(), TrainerError> {
        let floor = |v| check("floor", v, |v| (0.0..=1.0).contains(&v), "between 0 and 1");
        let divisor = |key, v| check(key, v, |v| v >= 1.0 && v.is_finite(), "a number of at least 1");
        let count = |key, n: u64, least| match n {
            n if (least..=MOST).contains(&n) => Ok(()),
            n => Err(TrainerError::setting(
                key,
                format!("a whole number from {least} to {MOST}"),
                n.to_string(),
            )),
        };
        match self.shape {
            ScheduleShape::Constant => {}
            ScheduleShape::Step { parts, factor } => {
                count("parts", parts, 1)?;
                check("factor", factor, |v| v > 0.0 && v.is_finite(), "a number above 0")?;
            }
            ScheduleShape::Plateau { patience, factor } => {
                count("patience", patience, 1)?;
                check("factor", factor, |v| v > 0.0 && v < 1.0, "above 0 and below 1")?;
            }
            ScheduleShape::Cosine { floor: v } | ScheduleShape::Linear { floor: v } => floor(v)?,
            ScheduleShape::OneCycle { rise, start, end } => {
                check("rise", rise, |v| v > 0.0 && v < 1.0, "above 0 and below 1")?;
                divisor("start", start)?;
                divisor("end", end)?;
            }
        }
        count("warmup", self.warmup, 0)
    }

    /// Whether the rate of a step depends on the length of the run.
    pub fn depends_on_total(&self) -> bool {
        !matches!(self.shape, ScheduleShape::Constant | ScheduleShape::Plateau { .. })
    }

    /// Whether it waits for evaluations.
    pub fn is_plateau(&self) -> bool {
        matches!(self.shape, ScheduleShape::Plateau { .. })
    }

    fn shape_rate(&self, lr: f64, k: u64, n: u64) -> f64 {
        let p = k as f64 / n.max(1) as f64;
        match self.shape {
            ScheduleShape::Constant | ScheduleShape::Plateau { .. } => lr,
            ScheduleShape::Step { parts, factor } => {
                let part = u128::from(k) * u128::from(parts) / u128::from(n.max(1));
                (0..part).fold(lr, |lr, _| lr * factor)
            }
            ScheduleShape::Cosine { floor } => lr * (floor + (1.0 - floor) * ((1.0 + cos_pi(p)) / 2.0)),
            ScheduleShape::Linear { floor } => lr * (floor + (1.0 - floor) * (1.0 - p)),
            ScheduleShape::OneCycle { rise, start, end } => {
                // PyTorch's phases end at the steps rise * n - 1 and n - 1.
                let (k, top) = (k as f64, rise * n as f64 - 1.0);
                let last = n.max(1) as f64 - 1.0;
                let (first_rate, last_rate) = (lr / start, lr / start / end);
                let half_cosine = |from: f64, to: f64, p: f64| to + (from - to) * ((1.0 + cos_pi(p)) / 2.0);
                if k <= top {
                    half_cosine(first_rate, lr, k / top.max(f64::MIN_POSITIVE))
                } else {
                    half_cosine(lr, last_rate, ((k - top) / (last - top).max(f64::MIN_POSITIVE)).min(1.0))
                }
            }
        }
    }
}

impl Default for Schedule {
    fn default() -> Schedule {
        Schedule::CONSTANT
    }
}

impl FromStr for Schedule {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Schedule, SpecError> {
        let mut call = Call::parse(text)?;
        let shape = match call.name() {
            "constant" => ScheduleShape::Constant,
            "step" => ScheduleShape::Step {
                parts: call.number("parts", STEP_PARTS)?,
                factor: call.number("factor", STEP_FACTOR)?,
            },
            "cosine" => ScheduleShape::Cosine { floor: call.number("floor", 0.0)? },
            "linear" => ScheduleShape::Linear { floor: call.number("floor", 0.0)? },
            "one-cycle" => ScheduleShape::OneCycle {
                rise: call.number("rise", RISE)?,
                start: call.number("start", START)?,
                end: call.number("end", END)?,
            },
            "plateau" => ScheduleShape::Plateau {
                patience: call.number("patience", PATIENCE)?,
                factor: call.number("factor", STEP_FACTOR)?,
            },
            _ => return Err(call.unknown_name("constant, step, cosine, linear, one-cycle, plateau")),
        };
        let schedule = Schedule { shape, warmup: call.number("warmup", 0)? };
        call.finish(schedule.validate())?;
        Ok(schedule)
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, arguments): (_, &[(&str, f64, f64)]) = match self.shape {
            ScheduleShape::Constant => ("constant", &[]),
            ScheduleShape::Step { parts, factor } => {
                ("step", &[("parts", parts as f64, STEP_PARTS as f64), ("factor", factor, STEP_FACTOR)])
            }
            ScheduleShape::Cosine { floor } => ("cosine", &[("floor", floor, 0.0)]),
            ScheduleShape::Linear { floor } => ("linear", &[("floor", floor, 0.0)]),
            ScheduleShape::OneCycle { rise, start, end } => {
                ("one-cycle", &[("rise", rise, RISE), ("start", start, START), ("end", end, END)])
            }
            ScheduleShape::Plateau { patience, factor } => (
                "plateau",
                &[("patience", patience as f64, PATIENCE as f64), ("factor", factor, STEP_FACTOR)],
            ),
        };
        let warmup = [("warmup", self.warmup as f64, 0.0)];
        let arguments: Vec<String> = arguments
            .iter()
            .chain(&warmup)
            .filter(|(_, value, standard)| value != standard)
            .map(|(key, value, _)| format!("{key}={value}"))
            .collect();
        write_call(f, name, &arguments)
    }
}

/// The most steps of a warm-up and parts of a run: far more than a run has, and so few that a rate is found at once.
const MOST: u64 = 1_000_000;

const STEP_PARTS: u64 = 3;
const STEP_FACTOR: f64 = 0.1;
const PATIENCE: u64 = 3;
const RISE: f64 = 0.3;
const START: f64 = 25.0;
const END: f64 = 1e4;

/// cos(pi p) for p in [0, 1], by its Taylor series on [0, pi/2]: the first term left out is below 2e-17.
fn cos_pi(p: f64) -> f64 {
    if p > 0.5 {
        return -cos_pi(1.0 - p);
    }
    let x = std::f64::consts::PI * p;
    let square = x * x;
    let (mut sum, mut term) = (1.0, 1.0);
    for i in 1..=10 {
        let n = f64::from(2 * i);
        term *= -square / (n * (n - 1.0));
        sum += term;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(text: &str, lr: f64, total: u64) -> Vec<f64> {
        let schedule: Schedule = text.parse().unwrap();
        (0..total).map(|step| schedule.rate(lr, step, total)).collect()
    }

    fn close(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (i, (a, b)) in found.iter().zip(expected).enumerate() {
            assert!((a - b).abs() <= 1e-12 * b.abs().max(1e-3), "step {i}: {a}, expected {b}");
        }
    }

    #[test]
    fn tables() {
        close(&rates("constant", 0.5, 3), &[0.5; 3]);
        close(&rates("step(parts=3,factor=0.5)", 1.0, 7), &[1.0, 1.0, 1.0, 0.5, 0.5, 0.25, 0.25]);
        close(&rates("linear", 1.0, 4), &[1.0, 0.75, 0.5, 0.25]);
        close(&rates("linear(floor=0.2)", 1.0, 4), &[1.0, 0.8, 0.6, 0.4]);
        let half = 0.5_f64.sqrt();
        close(&rates("cosine", 2.0, 4), &[2.0, 1.0 + half, 1.0, 1.0 - half]);
        close(&rates("cosine(warmup=1)", 2.0, 5), &[1.0, 2.0, 1.0 + half, 1.0, 1.0 - half]);
        close(&rates("constant(warmup=4)", 1.0, 6), &[0.2, 0.4, 0.6, 0.8, 1.0, 1.0]);
    }

    #[test]
    fn one_cycle_is_pytorchs() {
        // The turning points of OneCycleLR(max_lr=1, total_steps=10): lr/25 at step 0, lr at step 0.3 * 10 - 1 = 2,
        // lr/25/1e4 at step 9; half-way up at step 1.
        let found = rates("one-cycle", 1.0, 10);
        close(&found[..3], &[0.04, 0.52, 1.0]);
        close(&found[9..], &[0.04 / 1e4]);
        assert!(found[2..].windows(2).all(|w| w[0] > w[1]));
    }

    #[test]
    fn extremes_are_finite() {
        for text in
            ["constant", "step", "cosine", "linear", "one-cycle", "cosine(warmup=10)", "one-cycle(warmup=3)"]
        {
            let schedule: Schedule = text.parse().unwrap();
            for (step, total) in
                [(0, 0), (0, 1), (1, 1), (5, 2), (9, 10), (10, 10), (u64::MAX, 10), (3, u64::MAX)]
            {
                let rate = schedule.rate(0.1, step, total);
                assert!((0.0..=0.1 + 1e-12).contains(&rate), "{text} at {step} of {total}: {rate}");
            }
        }
    }

    #[test]
    fn cosine_is_the_cosine() {
        for i in 0..=1000 {
            let p = f64::from(i) / 1000.0;
            assert!((cos_pi(p) - (std::f64::consts::PI * p).cos()).abs() < 5e-16, "{p}");
        }
        assert_eq!(cos_pi(1.0), -1.0);
    }

    #[test]
    fn text_and_back_and_errors() {
        for text in [
            "constant",
            "step(parts=4,factor=0.5)",
            "cosine(floor=0.1,warmup=50)",
            "one-cycle(rise=0.2)",
            "plateau(patience=5,factor=0.5)",
        ] {
            assert_eq!(text.parse::<Schedule>().unwrap().to_string(), text);
        }
        for (text, expected) in [
            ("cosin", "expected one of constant, step, cosine, linear, one-cycle, plateau, found `cosin`"),
            ("cosine(warmup=-1)", "whole number of at least 0, found -1"),
            ("one-cycle(rise=1)", "above 0 and below 1, found 1"),
            ("step(parts=0)", "from 1 to 1000000, found 0"),
            ("plateau(patience=0)", "from 1 to 1000000, found 0"),
            ("plateau(factor=1)", "above 0 and below 1, found 1"),
        ] {
            let error = text.parse::<Schedule>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
