//! The numbers that kernels compute with, and their arithmetic. No kernel is named here: that is for [`dispatch`](crate::dispatch).

use std::fmt::Debug;
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub, SubAssign};

/// The largest value of the normal density: `1 / sqrt(2 pi)`.
pub(crate) const NORMAL_PEAK: f64 = 0.5 * std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2;

/// The arithmetic of `f32`, and with the feature `proofs` of `f64` and `Dual`.
pub trait Number:
    Copy
    + Send
    + Sync
    + Debug
    + Default
    + PartialEq
    + PartialOrd
    + 'static
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + SubAssign
    + MulAssign
{
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// Unit roundoff: the largest relative error of a rounding.
    const UNIT: f64;

    /// The nearest number of this type.
    fn from_f64(value: f64) -> Self;
    /// The value, without a dual number's slope.
    fn to_f64(self) -> f64;
    /// The square root, correctly rounded.
    fn sqrt(self) -> Self;
    /// The absolute value.
    fn abs(self) -> Self;
    /// `e^x`. For `f32` this is our own function: the same bits on every machine.
    fn exp(self) -> Self;
    /// The natural logarithm. For `f32` this is our own function.
    fn ln(self) -> Self;
    /// The hyperbolic tangent. For `f32` this is our own function.
    fn tanh(self) -> Self;
    /// `P(X <= x)` of a normal `X` of mean 0 and deviation 1, which is `(1 + erf(x / sqrt(2))) / 2`. For `f32` this is our own function.
    fn normal_cdf(self) -> Self;
    /// `self * a + b`; fused where the type is `f32` or `f64`.
    fn mul_add(self, a: Self, b: Self) -> Self;
    /// Neither infinite nor NaN.
    fn is_finite(self) -> bool;
    /// NaN.
    fn is_nan(self) -> bool;
}

#[cfg(feature = "proofs")]
impl Number for f64 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    const UNIT: f64 = f64::EPSILON / 2.0;

    #[inline(always)]
    fn from_f64(value: f64) -> Self {
        value
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        self
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        f64::sqrt(self)
    }
    #[inline(always)]
    fn abs(self) -> Self {
        f64::abs(self)
    }
    fn exp(self) -> Self {
        f64::exp(self)
    }
    fn ln(self) -> Self {
        f64::ln(self)
    }
    fn tanh(self) -> Self {
        f64::tanh(self)
    }
    fn normal_cdf(self) -> Self {
        0.5 * libm::erfc(-self * std::f64::consts::FRAC_1_SQRT_2)
    }
    #[inline(always)]
    fn mul_add(self, a: Self, b: Self) -> Self {
        f64::mul_add(self, a, b)
    }
    #[inline(always)]
    fn is_finite(self) -> bool {
        f64::is_finite(self)
    }
    #[inline(always)]
    fn is_nan(self) -> bool {
        f64::is_nan(self)
    }
}
