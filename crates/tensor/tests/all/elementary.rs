//! The elementary functions of `f32`: how far from the right value, and at the ends of their range.

use byhand_tensor::Number;

/// The distance to `want` in units in the last place of the `f32` nearest to `want`.
fn ulps(got: f32, want: f64) -> f64 {
    let near = want as f32;
    let unit = f64::from(f32::from_bits(near.abs().to_bits() + 1)) - f64::from(near.abs());
    (f64::from(got) - want).abs() / unit
}

#[test]
fn exp_ln_tanh_are_within_two_units_of_the_last_place() {
    let mut worst = [0.0f64; 3];
    for i in 0..400_000 {
        let x = -87.0 + 175.0 * (i as f32 / 400_000.0);
        worst[0] = worst[0].max(ulps(Number::exp(x), f64::from(x).exp()));
        let a = f32::from_bits(0x0080_0000 + i * 5_300);
        worst[1] = worst[1].max(ulps(Number::ln(a), f64::from(a).ln()));
        let t = x * 0.12;
        worst[2] = worst[2].max(ulps(Number::tanh(t), f64::from(t).tanh()));
    }
    assert!(worst.iter().all(|&w| w <= 2.0), "exp, ln, tanh: {worst:?} units in the last place");
}

#[test]
fn the_normal_distribution_has_both_tails() {
    let mut worst = 0.0f64;
    for i in 0..200_000 {
        let x = -12.9 + 25.8 * (i as f32 / 200_000.0);
        let (got, want) = (f64::from(Number::normal_cdf(x)), Number::normal_cdf(f64::from(x)));
        worst = worst.max((got - want).abs() / want / (1.0 + f64::from(x).powi(2)));
    }
    assert!(worst <= 6.0 * f32::UNIT, "{} units of 1 + x^2", worst / f32::UNIT);
}

#[test]
fn special_values() {
    assert_eq!(Number::exp(0.0f32), 1.0);
    assert_eq!(Number::exp(f32::INFINITY), f32::INFINITY);
    assert_eq!(Number::exp(89.0f32), f32::INFINITY);
    assert_eq!(Number::exp(f32::NEG_INFINITY), 0.0);
    assert!(Number::exp(-100.0f32) > 0.0, "subnormal results are kept");
    assert_eq!(Number::ln(1.0f32), 0.0);
    assert_eq!(Number::ln(0.0f32), f32::NEG_INFINITY);
    assert_eq!(Number::ln(f32::INFINITY), f32::INFINITY);
    assert_eq!(Number::tanh(0.0f32), 0.0);
    assert_eq!(Number::tanh(f32::INFINITY), 1.0);
    assert_eq!(Number::tanh(f32::NEG_INFINITY), -1.0);
    assert_eq!(Number::normal_cdf(0.0f32), 0.5);
    assert_eq!(Number::normal_cdf(f32::INFINITY), 1.0);
    assert_eq!(Number::normal_cdf(f32::NEG_INFINITY), 0.0);
    assert!(Number::normal_cdf(-13.5f32) > 0.0, "subnormal results are kept");
    for f in [Number::exp, Number::ln, Number::tanh, Number::normal_cdf] as [fn(f32) -> f32; 4] {
        assert!(f(f32::NAN).is_nan());
    }
    assert!(Number::ln(-1.0f32).is_nan());
}
