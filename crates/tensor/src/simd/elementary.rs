//! Our own `exp`, `ln`, `tanh` and normal distribution for `f32`: no libm, the same bits on every machine and for every vector width.
//!
//! They use plain multiplications and additions, never a fused one, so that an instruction set without fused
//! multiply-add agrees too. The polynomials are those of S. Moshier's Cephes library (*Methods and Programs for
//! Mathematical Functions*, 1989); errors against `f64` are held under 2 units in the last place by the tests below.

use super::portable::Wide;
use super::vector::Vector;
use crate::number::Number;

/// `e^x`: `x = n ln 2 + r`, `|r| <= ln 2 / 2`, then `2^n` times a polynomial in `r`. Overflows to infinity, underflows
/// through the subnormal numbers to 0, NaN stays NaN.
#[inline(always)]
pub(crate) fn exp<V: Vector<Elem = f32>>(x: V) -> V {
    // Beyond these the result is infinity or zero anyway; NaN passes, for it compares false.
    let x = V::select(x.gt(V::splat(104.0)), V::splat(104.0), x);
    let x = V::select(V::splat(-104.0).gt(x), V::splat(-104.0), x);
    // Adding and subtracting 1.5 * 2^23 rounds to the nearest integer.
    let magic = V::splat(12_582_912.0);
    let n = x.mul(V::splat(std::f32::consts::LOG2_E)).add(magic).sub(magic);
    // ln 2 in two parts; the first has so few bits that n times it is exact.
    let r = x.sub(n.mul(V::splat(0.693_359_4))).sub(n.mul(V::splat(-2.121_944_4e-4)));
    let mut p = V::splat(1.987_569_1e-4);
    for c in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 5.0e-1] {
        p = p.mul(r).add(V::splat(c));
    }
    let y = p.mul(r.mul(r)).add(r).add(V::splat(1.0));
    // 2^n in two factors, so that n = 128 and the subnormal results are reached.
    let half = n.mul(V::splat(0.5)).add(magic).sub(magic);
    y.mul(half.pow2()).mul(n.sub(half).pow2())
}

/// `tanh(x)`: an odd polynomial near 0, `1 - 2 / (e^(2|x|) + 1)` with the sign of `x` elsewhere.
#[inline(always)]
pub(crate) fn tanh<V: Vector<Elem = f32>>(x: V) -> V {
    let zero = V::splat(0.0);
    let negative = zero.gt(x);
    let a = V::select(negative, zero.sub(x), x);
    let far = V::splat(1.0).sub(V::splat(2.0).div(exp(a.add(a)).add(V::splat(1.0))));
    let far = V::select(negative, zero.sub(far), far);
    let z = x.mul(x);
    let mut p = V::splat(-5.704_988_7e-3);
    for c in [2.063_909e-2, -5.373_972e-2, 1.333_144_2e-1, -3.333_328e-1] {
        p = p.mul(z).add(V::splat(c));
    }
    let near = p.mul(z).mul(x).add(x);
    V::select(a.gt(V::splat(0.625)), far, near)
}

/// `P(X <= x)` of a normal `X`: for negative `x` it is `e^(-x^2/2)` times a rational function of `|x|`, which is a polynomial in
/// `t = 1 / (1 + 0.35 |x|)`; for the others it is 1 minus that of `-x`. The form is that of Abramowitz and Stegun, "Handbook of mathematical
/// functions", 26.2.17; the polynomial, with a relative error of 3.2e-8, was fitted for this. The rounding of `x^2` makes the relative error
/// of the result grow as `x^2`; both tails are reached, down to the subnormal numbers.
#[inline(always)]
pub(crate) fn normal_cdf<V: Vector<Elem = f32>>(x: V) -> V {
    let (zero, one) = (V::splat(0.0), V::splat(1.0));
    let negative = zero.gt(x);
    let a = V::select(negative, zero.sub(x), x);
    let t = one.div(one.add(V::splat(0.35).mul(a)));
    let mut p = V::splat(-2.915_949_4e-2);
    for c in [
        1.440_388_9e-1,
        -2.558_557_7e-1,
        1.593_392_5e-1,
        -2.322_612_1e-2,
        1.055_584_8e-1,
        1.198_197_3e-1,
        1.398_637_3e-1,
        1.396_212_9e-1,
    ] {
        p = p.mul(t).add(V::splat(c));
    }
    let tail = p.mul(t).mul(exp(V::splat(-0.5).mul(a.mul(a))));
    V::select(negative, tail, one.sub(tail))
}

/// The natural logarithm of one number: `x = 2^e m` with `m` in `[sqrt(1/2), sqrt(2))`, then a polynomial in `m - 1`.
#[inline]
pub(crate) fn ln(x: f32) -> f32 {
    // Subnormal numbers are scaled into the normal range first.
    let (scaled, shift) = if x < f32::MIN_POSITIVE { (x * 8_388_608.0, 23) } else { (x, 0) };
    let bits = scaled.to_bits();
    let e = (bits >> 23) as i32 - 126 - shift;
    let m = f32::from_bits((bits & 0x007f_ffff) | 0x3f00_0000);
    let (m, e) = if m < std::f32::consts::FRAC_1_SQRT_2 { (m + m, e - 1) } else { (m, e) };
    let r = m - 1.0;
    let z = r * r;
    let mut p = 7.037_683_6e-2_f32;
    for c in [
        -1.151_461e-1,
        1.167_699_9e-1,
        -1.242_014_1e-1,
        1.424_932_3e-1,
        -1.666_805_7e-1,
        2.000_071_5e-1,
        -2.499_999_4e-1,
        3.333_333e-1,
    ] {
        p = p * r + c;
    }
    let e = e as f32;
    let y = p * r * z + e * -2.121_944_4e-4 - 0.5 * z;
    // Special cases last, as choices between results: a loop over this has no branch.
    if x > 0.0 && x < f32::INFINITY {
        r + y + e * 0.693_359_4
    } else if x == 0.0 {
        f32::NEG_INFINITY
    } else if x > 0.0 {
        x
    } else {
        f32::NAN
    }
}

/// The functions of one number are those of lanes.
impl Number for f32 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    const UNIT: f64 = f32::EPSILON as f64 / 2.0;

    #[inline(always)]
    fn from_f64(value: f64) -> Self {
        value as f32
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        f32::sqrt(self)
    }
    #[inline(always)]
    fn abs(self) -> Self {
        f32::abs(self)
    }
    fn exp(self) -> Self {
        exp(Wide::<f32, 1, false>([self])).0[0]
    }
    #[inline]
    fn ln(self) -> Self {
        ln(self)
    }
    fn tanh(self) -> Self {
        tanh(Wide::<f32, 1, false>([self])).0[0]
    }
    fn normal_cdf(self) -> Self {
        normal_cdf(Wide::<f32, 1, false>([self])).0[0]
    }
    #[inline(always)]
    fn mul_add(self, a: Self, b: Self) -> Self {
        f32::mul_add(self, a, b)
    }
    #[inline(always)]
    fn is_finite(self) -> bool {
        f32::is_finite(self)
    }
    #[inline(always)]
    fn is_nan(self) -> bool {
        f32::is_nan(self)
    }
}
