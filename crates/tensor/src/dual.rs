//! Dual numbers: a value and its derivative, carried through every operation.

use crate::number::{NORMAL_PEAK, Number};
use std::cmp::Ordering;
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub, SubAssign};

/// `value + slope * eps` with `eps^2 = 0`: after `f(Dual { value: x, slope: 1 })`, `slope` is `f'(x)` to the last bit that
/// rounding leaves (forward-mode differentiation: Clifford 1873; Griewank & Walther, *Evaluating Derivatives*, ch. 3).
///
/// Comparisons look at `value` alone, so a branch is taken as the plain number takes it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Dual {
    /// The number.
    pub value: f64,
    /// Its derivative by the variable whose slope was set to 1.
    pub slope: f64,
}

impl PartialEq for Dual {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl PartialOrd for Dual {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.value.partial_cmp(&other.value)
    }
}

impl Add for Dual {
    type Output = Self;
    fn add(self, b: Self) -> Self {
        Self { value: self.value + b.value, slope: self.slope + b.slope }
    }
}

impl Sub for Dual {
    type Output = Self;
    fn sub(self, b: Self) -> Self {
        Self { value: self.value - b.value, slope: self.slope - b.slope }
    }
}

impl Mul for Dual {
    type Output = Self;
    fn mul(self, b: Self) -> Self {
        Self { value: self.value * b.value, slope: self.slope * b.value + self.value * b.slope }
    }
}

impl Div for Dual {
    type Output = Self;
    fn div(self, b: Self) -> Self {
        let quotient = self.value / b.value;
        Self { value: quotient, slope: (self.slope - quotient * b.slope) / b.value }
    }
}

impl Neg for Dual {
    type Output = Self;
    fn neg(self) -> Self {
        Self { value: -self.value, slope: -self.slope }
    }
}

impl AddAssign for Dual {
    fn add_assign(&mut self, b: Self) {
        *self = *self + b;
    }
}

impl SubAssign for Dual {
    fn sub_assign(&mut self, b: Self) {
        *self = *self - b;
    }
}

impl MulAssign for Dual {
    fn mul_assign(&mut self, b: Self) {
        *self = *self * b;
    }
}

impl Number for Dual {
    const ZERO: Self = Self { value: 0.0, slope: 0.0 };
    const ONE: Self = Self { value: 1.0, slope: 0.0 };
    const UNIT: f64 = f64::UNIT;

    fn from_f64(value: f64) -> Self {
        Self { value, slope: 0.0 }
    }
    fn to_f64(self) -> f64 {
        self.value
    }
    fn sqrt(self) -> Self {
        let root = self.value.sqrt();
        Self { value: root, slope: self.slope / (2.0 * root) }
    }
    fn abs(self) -> Self {
        if self.value < 0.0 { -self } else { self }
    }
    fn exp(self) -> Self {
        let e = self.value.exp();
        Self { value: e, slope: self.slope * e }
    }
    fn ln(self) -> Self {
        Self { value: self.value.ln(), slope: self.slope / self.value }
    }
    fn tanh(self) -> Self {
        let t = self.value.tanh();
        Self { value: t, slope: self.slope * (1.0 - t * t) }
    }
    fn normal_cdf(self) -> Self {
        let density = NORMAL_PEAK * (-0.5 * self.value * self.value).exp();
        Self { value: self.value.normal_cdf(), slope: self.slope * density }
    }
    fn mul_add(self, a: Self, b: Self) -> Self {
        self * a + b
    }
    fn is_finite(self) -> bool {
        self.value.is_finite() && self.slope.is_finite()
    }
    fn is_nan(self) -> bool {
        self.value.is_nan() || self.slope.is_nan()
    }
}
