//! How the tables write numbers, and what they make of several.

use byhand_report::grouped;

/// Thousands parted by commas, without what is behind the point.
pub fn count(x: f64) -> String {
    grouped(x.round_ties_even() as usize)
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

/// The middle one, of an even number the upper.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}
