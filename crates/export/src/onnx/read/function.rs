//! Activations that a file spells out in several nodes, known by what they compute.

use super::graph::{Graph, Operand};

/// The most nodes that one function is spelt in.
const MOST_NODES: usize = 32;
/// The largest difference of a value, relative to the argument, if that is above 1: constants are single floats.
const CLOSE: f64 = 1e-6;

type Function = (&'static str, fn(f64) -> f64);

/// Those with a word of the grammar; and one without, which is known so that it can be named.
const FUNCTIONS: [Function; 3] = [
    ("silu", |x| x * sigmoid(x)),
    ("gelu", |x| x * sigmoid((8.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x))),
    (EXACT_GELU, |x| x / 2.0 * (1.0 + erf(x * std::f64::consts::FRAC_1_SQRT_2))),
];
pub(super) const EXACT_GELU: &str = "exact GELU";

/// The function that makes `value` of the nearest value before it, and that value; none before `from` is looked at.
pub(super) fn find(graph: &Graph<'_, '_>, value: usize, from: usize) -> Option<(&'static str, usize)> {
    let mut x = value;
    for _ in 0..MOST_NODES {
        if x == from {
            return None;
        }
        x = graph.before(x);
        if let Some(word) = word(graph, value, x) {
            return Some((word, x));
        }
    }
    None
}

fn word(graph: &Graph<'_, '_>, value: usize, x: usize) -> Option<&'static str> {
    let points: Vec<(f64, f64)> = (-24..=24)
        .map(|point| {
            let at = f64::from(point) / 4.0;
            Some((at, Evaluation { graph, x, at, found: Vec::new() }.value(value)?))
        })
        .collect::<Option<_>>()?;
    let is_close = |function: fn(f64) -> f64| {
        points.iter().all(|&(at, y)| (function(at) - y).abs() <= CLOSE * at.abs().max(1.0))
    };
    FUNCTIONS.iter().find(|(_, function)| is_close(*function)).map(|&(word, _)| word)
}

/// A value of the graph where another one is a given number.
struct Evaluation<'g, 'm, 'a> {
    graph: &'g Graph<'m, 'a>,
    x: usize,
    at: f64,
    found: Vec<(usize, f64)>,
}

impl Evaluation<'_, '_, '_> {
    /// Nothing where a node is no function of each number alone, or there are too many.
    fn value(&mut self, value: usize) -> Option<f64> {
        if value == self.x {
            return Some(self.at);
        }
        if let Some(&(_, number)) = self.found.iter().find(|(found, _)| *found == value) {
            return Some(number);
        }
        // Values before x are no functions of it. Each is noted before its operands, which bounds how deep this goes.
        if value < self.x || self.found.len() >= MOST_NODES {
            return None;
        }
        let slot = self.found.len();
        self.found.push((value, f64::NAN));
        let graph = self.graph;
        let mut operands = Vec::new();
        for operand in graph.operands(value) {
            operands.push(match *operand {
                Operand::Nothing => return None,
                // Of what only gives its type, the number does not matter.
                Operand::Known(name) => graph.known(name)?.scalar(graph.reader)?,
                Operand::Computed(_) if graph.node(value).operator == "CastLike" && !operands.is_empty() => {
                    0.0
                }
                Operand::Computed(other) => self.value(other)?,
            });
        }
        let number = match (graph.node(value).operator, &operands[..]) {
            ("Add" | "Sum", [a, b]) => a + b,
            ("Sub", [a, b]) => a - b,
            ("Mul", [a, b]) => a * b,
            ("Div", [a, b]) => a / b,
            ("Pow", [a, b]) => a.powf(*b),
            ("Neg", [a]) => -a,
            ("Reciprocal", [a]) => 1.0 / a,
            ("Sqrt", [a]) => a.sqrt(),
            ("Exp", [a]) => a.exp(),
            ("Tanh", [a]) => a.tanh(),
            ("Sigmoid", [a]) => sigmoid(*a),
            ("Erf", [a]) => erf(*a),
            ("Identity" | "CastLike", [a, ..]) => *a,
            _ => return None,
        };
        self.found[slot].1 = number;
        Some(number)
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// To 1.5e-7, which is enough to know it by.
///
/// Reference: Abramowitz and Stegun, "Handbook of mathematical functions", 7.1.26.
fn erf(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.3275911 * x.abs());
    let sum = [1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592]
        .iter()
        .fold(0.0, |sum, coefficient| (sum + coefficient) * t);
    (1.0 - sum * (-x * x).exp()).copysign(x)
}
