//! How weights and gradients are spread, epoch by epoch.

use maud::{Markup, html};
use ndarray::Array2;

use super::scores::whole;
use crate::{
    chart::{Axis, Chart, Curve, Scale},
    picture,
    run::{Epoch, Run},
    tensors::{Spread, TensorRecord},
};

/// Columns and rows of a picture.
const COLUMNS: usize = 80;
const ROWS: usize = 48;
/// Tensors that are shown.
const TENSORS: usize = 40;

pub(super) fn spreads(run: &Run<'_>) -> Markup {
    let recorded: Vec<&Epoch> = run.history.iter().filter(|epoch| !epoch.tensors.is_empty()).collect();
    let Some(last) = recorded.last() else {
        return html! { p { "Not recorded: the run has no epoch yet, or a version wrote it that did not record them." } };
    };
    html! {
        p.note {
            "Left to right: epochs. Bottom to top: from the smallest number to the largest of all epochs. The bluer, the more numbers lie there. "
            "Gradients are those of the loss on a few training images with the weights at the epoch's end."
        }
        @if let Some(chart) = norms(&recorded) { div.row { figure { (chart) } } }
        div.wide {
            table.stack.pairs {
                tr { th { "tensor" } th { "weights" } th.n { "norm" } th { "gradients" } th.n { "norm" } }
                @for tensor in last.tensors.iter().take(TENSORS) {
                    @let name = tensor.name.as_str();
                    tr {
                        td { code { (name) } }
                        td data-head="weights" { (heat(&recorded, name, |tensor| &tensor.weights)) }
                        td.n data-head="norm" { (compact(tensor.weights.norm)) }
                        td data-head="gradients" { (heat(&recorded, name, |tensor| &tensor.gradients)) }
                        td.n data-head="norm" { (compact(tensor.gradients.norm)) }
                    }
                }
            }
        }
        @if last.tensors.len() > TENSORS { p.note { "The first " (TENSORS) " of " (last.tensors.len()) " tensors." } }
    }
}

/// The size of each weight tensor's gradient.
fn norms(epochs: &[&Epoch]) -> Option<Markup> {
    let last = epochs.last()?;
    let weights = last.tensors.iter().filter(|tensor| tensor.name.ends_with(".weight"));
    let curve = |tensor: &TensorRecord| -> Curve {
        let points = epochs.iter().filter_map(|epoch| {
            let norm = epoch.tensors.iter().find(|other| other.name == tensor.name)?.gradients.norm;
            (norm > 0.0).then_some([epoch.epoch as f64, norm])
        });
        (tensor.name.clone(), points.collect())
    };
    let ticks = (-12..=6).flat_map(|power| [1.0, 3.0].map(|first| first * 10f64.powi(power))).collect();
    Chart {
        title: "Norm of the gradient, by tensor".into(),
        x: Axis::linear("epoch", whole),
        y: Axis { name: String::new(), scale: Scale::Log, ticks, text: compact },
        series: weights.take(7).map(curve).collect(),
    }
    .part()
}

/// A picture with a column an epoch, and what its borders are.
fn heat(epochs: &[&Epoch], name: &str, of: impl Fn(&TensorRecord) -> &Spread) -> Markup {
    let stride = epochs.len().div_ceil(COLUMNS).max(1);
    let tensors = epochs
        .iter()
        .rev()
        .step_by(stride)
        .filter_map(|epoch| epoch.tensors.iter().find(|tensor| tensor.name == name));
    let mut columns: Vec<&Spread> = tensors.map(of).collect();
    columns.reverse();
    let low = columns.iter().map(|spread| spread.low).fold(f64::INFINITY, f64::min);
    let high = columns.iter().map(|spread| spread.high).fold(f64::NEG_INFINITY, f64::max);
    let mut shares = Array2::zeros((ROWS, columns.len().max(1)));
    for (column, spread) in columns.iter().enumerate() {
        spread_out(spread, [low, high], |row, count| shares[[ROWS - 1 - row, column]] += count);
    }
    let most = shares.iter().copied().fold(0.0, f64::max);
    // The root shows what is rare, too.
    shares.mapv_inplace(|count| if most > 0.0 { (count / most).sqrt() } else { 0.0 });
    html! {
        (picture::shades(shares.view(), [96, 240], "how the numbers are spread, epoch by epoch"))
        div.note { (compact(low)) " to " (compact(high)) }
    }
}

/// Three digits of a number, however small.
fn compact(x: f64) -> String {
    match x.abs() {
        0.0 => "0".into(),
        size if (0.001..10_000.0).contains(&size) => {
            let places = (2 - size.log10().floor() as i32).clamp(0, 5) as usize;
            let text = format!("{x:.places$}");
            if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').into() } else { text }
        }
        _ => format!("{x:.2e}"),
    }
}

/// Hands the counts over to the rows that they lie in, each the part that lies in it.
fn spread_out(spread: &Spread, [low, high]: [f64; 2], mut add: impl FnMut(usize, f64)) {
    let rows = ROWS as f64;
    let row = |number: f64| if high > low { (number - low) / (high - low) * rows } else { 0.5 * rows };
    let width = (spread.high - spread.low) / spread.counts.len().max(1) as f64;
    for (part, &count) in spread.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let from = row(spread.low + part as f64 * width).min(rows - 1e-6);
        let to = row(spread.low + (part + 1) as f64 * width).clamp(from + 1e-6, rows);
        for row in from as usize..(to.ceil() as usize).min(ROWS) {
            let inside = to.min((row + 1) as f64) - from.max(row as f64);
            add(row, f64::from(count) * inside.max(0.0) / (to - from));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_count_is_lost() {
        let mut numbers = Spread { low: -1.0, high: 1.0, counts: vec![3, 0, 5, 1, 7], ..Spread::default() };
        for [low, high] in [[-1.0, 1.0], [-4.0, 9.0], [-1.0, 1000.0]] {
            let (mut sum, mut last) = (0.0, 0);
            spread_out(&numbers, [low, high], |row, count| {
                sum += count;
                last = last.max(row);
            });
            assert!((sum - 16.0).abs() < 1e-6 && last < ROWS, "{low} {high}: {sum} {last}");
        }
        (numbers.low, numbers.high) = (2.0, 2.0);
        let mut sum = 0.0;
        spread_out(&numbers, [2.0, 2.0], |_, count| sum += count);
        assert!((sum - 16.0).abs() < 1e-6, "{sum}");
    }

    #[test]
    fn numbers_are_as_long_as_they_need_be() {
        for (x, text) in [
            (3.0, "3"),
            (0.3, "0.3"),
            (12.3456, "12.3"),
            (-0.0123456, "-0.0123"),
            (0.0, "0"),
            (1e-7, "1.00e-7"),
            (1234.5, "1234"),
        ] {
            assert_eq!(compact(x), text);
        }
    }
}
