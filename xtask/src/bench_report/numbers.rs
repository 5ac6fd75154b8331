//! How the tables write numbers, and what they make of several.

/// A name and points.
pub type Curve = (String, Vec<[f64; 2]>);

/// Thousands parted by commas.
pub fn count(x: f64) -> String {
    let digits = format!("{x:.0}");
    let mut parted = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            parted.push(',');
        }
        parted.push(digit);
    }
    parted
}

/// Two significant digits, or all before the point: 0.31, 6.9, 24.
pub fn short(x: f64) -> String {
    let decimals = match x {
        x if x >= 9.95 => 0,
        x if x >= 0.995 => 1,
        _ => 2,
    };
    format!("{x:.decimals$}")
}

/// Two digits behind the point up to 2, where they matter, then one.
pub fn ratio(x: f64) -> String {
    if x < 1.995 { format!("{x:.2}") } else { format!("{x:.1}") }
}

/// Of no numbers, none.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The standard deviation of a sample; 0 of one number.
pub fn std(values: &[f64]) -> Option<f64> {
    let mean = mean(values)?;
    let squares: f64 = values.iter().map(|x| (x - mean) * (x - mean)).sum();
    Some((squares / (values.len() as f64 - 1.0).max(1.0)).sqrt())
}

/// The middle one, of an even number the upper.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

/// The least and the greatest.
pub fn extremes(values: &[f64]) -> Option<[f64; 2]> {
    let least = values.iter().copied().min_by(f64::total_cmp)?;
    Some([least, values.iter().copied().max_by(f64::total_cmp)?])
}
