//! What was found, held against what was expected and recorded.

use super::report::{Clause, Report};
use byhand_tensor::{Block, Isa, Scalar};

/// Compares bit for bit (but for the bits of a NaN), and records one comparison.
pub(super) fn same_bits<T: Scalar>(
    report: &mut Report,
    clause: Clause,
    isa: Option<Isa>,
    what: &str,
    block: Block,
    expected: &[T],
    found: &[T],
) {
    let same = |a: &T, b: &T| a.to_f64().to_bits() == b.to_f64().to_bits() || (a.is_nan() && b.is_nan());
    let differs = expected.iter().zip(found).position(|(a, b)| !same(a, b));
    let same = expected.len() == found.len() && differs.is_none();
    report.record(clause, isa, if same { 0.0 } else { 1.0 }, 0.0, || match differs {
        Some(i) => {
            let (a, b) = (expected[i].to_f64(), found[i].to_f64());
            format!("{what}, {}: expected {a:e}, found {b:e} at index {i}", show(block))
        }
        None => {
            format!("{what}, {}: expected {} numbers, found {}", show(block), expected.len(), found.len())
        }
    });
}

/// Compares number by number, relative to `1 + |expected|`, and records the largest error.
pub(super) fn close(
    report: &mut Report,
    clause: Clause,
    isa: Option<Isa>,
    what: &str,
    block: Block,
    expected: &[f64],
    found: &[f64],
    limit: f64,
) {
    let error = |i: usize| (found[i] - expected[i]).abs() / (1.0 + expected[i].abs());
    let worst = (0..expected.len())
        .find(|&i| error(i).is_nan())
        .or_else(|| (0..expected.len()).max_by(|&i, &j| error(i).total_cmp(&error(j))));
    if let Some(i) = worst {
        report.record(clause, isa, error(i), limit, || {
            format!("{what}, {}: expected {:e}, found {:e} at index {i}", show(block), expected[i], found[i])
        });
    }
}

/// The block in words.
pub(super) fn show(block: Block) -> String {
    let samples = block.samples();
    if block.lanes() == 1 {
        format!("{samples} samples one by one")
    } else {
        format!("{samples} samples in tiles")
    }
}
