//! Activations that a file spells out in several nodes, known by what they compute.

use byhand_tensor::Number;

use super::graph::{Graph, Operand};
use super::made::Made;

/// The most nodes that one function is spelt in.
const MOST_NODES: usize = 32;
/// The largest difference of a value, relative to the argument, if that is above 1: constants are single floats.
const CLOSE: f64 = 1e-6;

/// An activation as the grammar says it, and what it computes.
pub(super) struct Function {
    word: &'static str,
    argument: &'static str,
    of: fn(f64) -> f64,
}

impl Function {
    pub(super) fn made(&self) -> Made {
        Made::new(self.word, vec![self.argument.to_owned()], Vec::new())
    }
}

pub(super) static SILU: Function = Function { word: "silu", argument: "", of: |x| x * sigmoid(x) };
pub(super) static GELU: Function = Function {
    word: "gelu",
    argument: "",
    of: |x| x * sigmoid((8.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x)),
};
pub(super) static EXACT_GELU: Function = Function {
    word: "gelu",
    argument: "exact=true",
    of: |x| x / 2.0 * (1.0 + erf(x * std::f64::consts::FRAC_1_SQRT_2)),
};

/// The function that makes `value` of the nearest value before it, and that value; none before `from` is looked at.
pub(super) fn find(graph: &Graph<'_, '_>, value: usize, from: usize) -> Option<(&'static Function, usize)> {
    let mut x = value;
    for _ in 0..MOST_NODES {
        if x == from {
            return None;
        }
        x = graph.before(x);
        if let Some(function) = function(graph, value, x) {
            return Some((function, x));
        }
    }
    None
}

fn function(graph: &Graph<'_, '_>, value: usize, x: usize) -> Option<&'static Function> {
    let points: Vec<(f64, f64)> = (-24..=24)
        .map(|point| {
            let at = f64::from(point) / 4.0;
            Some((at, Evaluation { graph, x, at, found: Vec::new() }.value(value)?))
        })
        .collect::<Option<_>>()?;
    let is_close = |function: fn(f64) -> f64| {
        points.iter().all(|&(at, y)| (function(at) - y).abs() <= CLOSE * at.abs().max(1.0))
    };
    [&SILU, &GELU, &EXACT_GELU].into_iter().find(|function| is_close(function.of))
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

/// To the precision of a single float, which is enough to know it by.
fn erf(x: f64) -> f64 {
    let p: f32 = Number::normal_cdf((x * std::f64::consts::SQRT_2) as f32);
    2.0 * f64::from(p) - 1.0
}
