//! The proofs of a gradient: exact adjoint, differences, dual numbers, and f32 against f64.

use super::compare::show;
use super::report::{Clause, Report};
use super::run::{Data, Run, choose, forward, integers, lay, numbers, reals, rng, rows, run, train, uniform};
use super::{Checked, Options};
use crate::contract::{Kind, Layer, Pass};
use byhand_tensor::{Block, Dual, Isa, Scalar};

/// Single coordinates of `x`, and of `theta`, that are checked one by one; all, if there are no more.
const COORDINATES: usize = 40;

/// Random directions in all of `x` and `theta` at once, checked besides.
const DIRECTIONS: usize = 2;

pub(super) fn adjoint(layer: &dyn Checked, options: &Options, report: &mut Report) {
    match layer.kind() {
        Kind::Bilinear { exact: true } => {
            options.each(|isa, block| adjoint_holds::<f32>(layer, options, Some(isa), block, 0.0, report));
        }
        Kind::Bilinear { exact: false } => {
            options
                .blocks()
                .for_each(|block| adjoint_holds::<f64>(layer, options, None, block, 1e-12, report));
        }
        Kind::Smooth | Kind::Rectifying | Kind::Selecting | Kind::Batch | Kind::Composed { .. } => {}
    }
}

/// `<dy, f(x) - f(0)> = <dx, x>` for every sample, and `<dy, f(theta)> = <dtheta, theta>` for all together; the inner products
/// are sums of integers in f64, or of real numbers with an error relative to the sum of their absolute values.
fn adjoint_holds<T: Scalar>(
    layer: &dyn Layer<T>,
    options: &Options,
    isa: Option<Isa>,
    block: Block,
    limit: f64,
    report: &mut Report,
) {
    let (inputs, outputs) = (layer.input().features(), layer.output().features());
    for pass in [Pass::eval(block), train(block)] {
        let data = integers(layer, block.samples(), &mut rng(options.seed + 20));
        let run: Run<T> = run(layer, pass, &data);
        let zero = lay::<T>(block, inputs, &vec![0.0; data.x.len()]);
        let (origin, _) = forward(layer, pass, &numbers(&data.theta), &zero, T::ZERO);
        let (y, origin) = (rows(block, outputs, &run.y), rows(block, outputs, &origin));
        let (dx, difference) = (rows(block, inputs, &run.dx), minus(&y, &origin));
        let mut compare = |what: String, (left, left_size): (f64, f64), (right, right_size): (f64, f64)| {
            let error = (left - right).abs();
            let scale = if limit == 0.0 { 1.0 } else { left_size.max(right_size).max(f64::MIN_POSITIVE) };
            report.record(Clause::Adjoint, isa, error / scale, limit, || {
                format!("{}: {what}: {left} is not {right}", show(block))
            });
        };
        for sample in 0..block.samples() {
            let (x, y) = (sample * inputs..(sample + 1) * inputs, sample * outputs..(sample + 1) * outputs);
            compare(
                format!("<dy, f(x) - f(0)> against <dx, x> of sample {sample}"),
                inner(&data.dy[y.clone()], &difference[y]),
                inner(&dx[x.clone()], &data.x[x]),
            );
        }
        if !data.theta.is_empty() {
            let dtheta: Vec<f64> = run.dtheta.iter().map(|d| d.to_f64()).collect();
            let what = "<dy, f(theta)> against <dtheta, theta>".to_owned();
            compare(what, inner(&data.dy, &y), inner(&dtheta, &data.theta));
        }
    }
}

pub(super) fn central_difference(layer: &dyn Checked, options: &Options, report: &mut Report) {
    differences(layer, options, report, Clause::CentralDifference, 1e-7, |slope| slope(1e-5));
}

pub(super) fn four_point_difference(layer: &dyn Checked, options: &Options, report: &mut Report) {
    differences(layer, options, report, Clause::FourPointDifference, 1e-9, |slope| {
        let h = 5e-4;
        (4.0 * slope(h) - slope(2.0 * h)) / 3.0
    });
}

/// Compares every chosen derivative of `<dy, y>` with a formula made of central differences `slope(h)`.
fn differences(
    layer: &dyn Layer<f64>,
    options: &Options,
    report: &mut Report,
    clause: Clause,
    limit: f64,
    formula: impl Fn(&dyn Fn(f64) -> f64) -> f64,
) {
    for block in [Block::tiled(3), Block::single(2)] {
        let problem = Problem::new(layer, options, block);
        for way in &problem.ways {
            let slope = |h: f64| {
                let y = |t: f64| problem.output(layer, |value, slope| value + t * slope, way);
                // Output by output first, so that outputs that do not change round to exactly nothing.
                let change = minus(&y(h), &y(-h));
                inner(&problem.data.dy, &change).0 / (2.0 * h)
            };
            problem.compare(report, clause, way, formula(&slope), limit);
        }
    }
}

pub(super) fn dual_numbers(layer: &dyn Checked, options: &Options, report: &mut Report) {
    for block in [Block::tiled(3), Block::single(2)] {
        let problem = Problem::new(layer, options, block);
        for way in &problem.ways {
            let y = problem.evaluate::<Dual>(layer, |value, slope| Dual { value, slope }, way);
            let features = layer.output().features();
            let slope = |sample, feature| y[block.index(features, sample, feature)].slope;
            let slopes: Vec<f64> = (0..block.samples())
                .flat_map(|s| (0..features).map(move |f| (s, f)))
                .map(|(s, f)| slope(s, f))
                .collect();
            problem.compare(report, Clause::DualNumbers, way, inner(&problem.data.dy, &slopes).0, 1e-12);
        }
    }
}

/// A layer at one point: its gradient there, and the ways to go from it.
struct Problem {
    block: Block,
    data: Data,
    /// Gradient with respect to the rows of `x`, then `theta`.
    gradient: Vec<f64>,
    /// Root mean square of the gradient: what a gradient of zero is compared with.
    typical: f64,
    ways: Vec<Way>,
}

/// A direction in (`x`, `theta`) space.
enum Way {
    Coordinate(usize),
    Direction(Vec<f64>),
}

impl Problem {
    fn new(layer: &dyn Layer<f64>, options: &Options, block: Block) -> Self {
        let rng = &mut rng(options.seed + 21);
        let data = reals(layer, block.samples(), rng);
        let run: Run<f64> = run(layer, train(block), &data);
        let mut gradient = rows(block, layer.input().features(), &run.dx);
        let inputs = gradient.len();
        gradient.extend(&run.dtheta);
        let typical = (inner(&gradient, &gradient).0 / gradient.len() as f64).sqrt();
        let x = choose(COORDINATES, inputs, rng);
        let theta = choose(COORDINATES, data.theta.len(), rng).into_iter().map(|i| inputs + i);
        let mut ways: Vec<Way> = x.into_iter().chain(theta).map(Way::Coordinate).collect();
        ways.extend((0..DIRECTIONS).map(|_| Way::Direction(uniform(gradient.len(), rng))));
        Self { block, data, gradient, typical, ways }
    }

    /// The layout's `y` for inputs made of a value and its slope along the way.
    fn evaluate<T: Scalar>(&self, layer: &dyn Layer<T>, make: impl Fn(f64, f64) -> T, way: &Way) -> Vec<T> {
        let slope = |index: usize| match way {
            Way::Coordinate(coordinate) => f64::from(u8::from(*coordinate == index)),
            Way::Direction(direction) => direction[index],
        };
        let (block, features) = (self.block, layer.input().features());
        let x = super::run::spread(block, features, |sample, feature| {
            let index = sample.min(block.samples() - 1) * features + feature;
            make(self.data.x[index], slope(index))
        });
        let theta: Vec<T> =
            self.data.theta.iter().enumerate().map(|(i, &t)| make(t, slope(self.data.x.len() + i))).collect();
        forward(layer, train(block), &theta, &x, T::ZERO).0
    }

    fn output(&self, layer: &dyn Layer<f64>, make: impl Fn(f64, f64) -> f64, way: &Way) -> Vec<f64> {
        rows(self.block, layer.output().features(), &self.evaluate(layer, make, way))
    }

    /// Records the error of `expected`, relative to the larger of the two derivatives and a typical one.
    fn compare(&self, report: &mut Report, clause: Clause, way: &Way, expected: f64, limit: f64) {
        let (found, typical, what) = match way {
            Way::Coordinate(i) => {
                let inputs = self.data.x.len();
                let what = if *i < inputs { format!("dx[{i}]") } else { format!("dtheta[{}]", i - inputs) };
                (self.gradient[*i], self.typical, what)
            }
            Way::Direction(direction) => {
                let steps = self.gradient.len() as f64;
                let found = inner(&self.gradient, direction).0;
                (found, self.typical * steps.sqrt(), "along a random direction".to_owned())
            }
        };
        let scale = expected.abs().max(found.abs()).max(typical);
        let error = if expected == found { 0.0 } else { (found - expected).abs() / scale };
        report.record(clause, None, error, limit, || {
            format!("{what}, {}: expected {expected:e}, found {found:e}", show(self.block))
        });
    }
}

/// f32 kernels against f64, number by number, with the bound that the kind of layer has:
///
/// * bilinear: `gamma(n) * f(|x|, |theta|)` for `y`, and so for both gradients, with `n` the number of products in the sum plus 3
///   (bias, scale, storing);
/// * rectifying: `y` a number or its product with a constant, `gamma(2) |y|`; selecting: `y` exactly; of both `dx` a sum of at most as many
///   such numbers as there are outputs, and two roundings more;
/// * batch: `64 u max|x| s` for `y`, with the steepest slope `s` of `y`; `dx` and `dtheta` that times their sums;
/// * composed: none, its layers have theirs;
/// * smooth: `16 u |y|` for `y`, `64 u max|dy|` for `dx`: what `exp` and `tanh` with errors of a few units in the last place leave.
pub(super) fn oracle(layer: &dyn Checked, options: &Options, report: &mut Report) {
    let (inputs, outputs) = (layer.input().features(), layer.output().features());
    options.each(|isa, block| {
        let data = reals(layer, block.samples(), &mut rng(options.seed + 22));
        let (found, exact): (Run<f32>, Run<f64>) =
            (run(layer, train(block), &data), run(layer, train(block), &data));
        let sizes = match layer.kind() {
            Kind::Bilinear { .. } => sizes_of_bilinear(layer, block, &data),
            Kind::Rectifying | Kind::Selecting => {
                let all = Data { dy: absolute(&data.dy), ..data.clone() };
                let run: Run<f64> = run(layer, train(block), &all);
                let g = gamma(outputs + 2);
                let dx = rows(block, inputs, &run.dx).iter().map(|size| g * size).collect();
                let y = match layer.kind() {
                    Kind::Rectifying => {
                        absolute(&rows(block, outputs, &exact.y)).iter().map(|y| gamma(2) * y).collect()
                    }
                    _ => vec![0.0; data.dy.len()],
                };
                Run { y, dx, dtheta: vec![] }
            }
            Kind::Smooth => {
                let largest = data.dy.iter().fold(0.0f64, |largest, dy| largest.max(dy.abs()));
                let y = rows(block, outputs, &exact.y).iter().map(|y| 16.0 * UNIT * y.abs()).collect();
                let (dx, dtheta) = (vec![64.0 * UNIT * largest; data.x.len()], vec![0.0; data.theta.len()]);
                Run { y, dx, dtheta }
            }
            // It has no kernel of its own.
            Kind::Composed { .. } => return,
            Kind::Batch => {
                // The steepest slope stands for one over the smallest deviation.
                let largest = |values: &[f64]| values.iter().fold(1.0f64, |largest, v| largest.max(v.abs()));
                let (x, dy) = (largest(&data.x), largest(&data.dy));
                let slope = largest(&rows(block, inputs, &exact.dx)) / dy;
                let (y, n) = (64.0 * UNIT * x * slope.max(1.0), (data.x.len() as f64).max(1.0));
                Run {
                    y: vec![y; data.dy.len()],
                    dx: vec![y * dy * slope.max(1.0); data.x.len()],
                    dtheta: vec![y * dy * n; data.theta.len()],
                }
            }
        };
        for (what, exact, found, bound) in [
            ("y", rows(block, outputs, &exact.y), rows(block, outputs, &found.y), &sizes.y),
            ("dx", rows(block, inputs, &exact.dx), rows(block, inputs, &found.dx), &sizes.dx),
            (
                "dtheta",
                exact.dtheta.clone(),
                found.dtheta.iter().map(|&d| f64::from(d)).collect(),
                &sizes.dtheta,
            ),
        ] {
            let errors = (0..exact.len()).map(|i| match (found[i] - exact[i]).abs() {
                0.0 => 0.0,
                error => error / bound[i],
            });
            let worst = errors.enumerate().max_by(|a, b| a.1.total_cmp(&b.1));
            if let Some((i, error)) = worst {
                report.record(Clause::Oracle, Some(isa), error, 1.0, || {
                    format!(
                        "{what}, {}: f64 {:e}, f32 {:e}: {error} of the bound",
                        show(block),
                        exact[i],
                        found[i]
                    )
                });
            }
        }
    });
}

/// The unit roundoff of f32.
const UNIT: f64 = 1.0 / (1 << 24) as f64;

/// Bounds for `y`, `dx`, `dtheta` of a bilinear layer: itself in f64, run on absolute values.
fn sizes_of_bilinear(layer: &dyn Layer<f64>, block: Block, data: &Data) -> Run<f64> {
    let all = Data { theta: absolute(&data.theta), x: absolute(&data.x), dy: absolute(&data.dy) };
    let run: Run<f64> = run(layer, train(block), &all);
    let (input, output) = (layer.input(), layer.output());
    let params = layer.params();
    let fan_in = params.first().map_or(input.features(), |param| param.fan_in);
    let fan_out = params.first().map_or(output.features(), |param| param.fan_out);
    let sums = block.len(1) * output.h * output.w;
    let scaled = |n: usize, sizes: Vec<f64>| sizes.iter().map(|size| gamma(n + 3) * size).collect();
    Run {
        y: scaled(fan_in, rows(block, output.features(), &run.y)),
        dx: scaled(fan_out, rows(block, input.features(), &run.dx)),
        dtheta: scaled(sums, run.dtheta),
    }
}

fn gamma(n: usize) -> f64 {
    let nu = n as f64 * UNIT;
    nu / (1.0 - nu)
}

fn absolute(values: &[f64]) -> Vec<f64> {
    values.iter().map(|value| value.abs()).collect()
}

fn minus(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

/// The inner product, and the sum of the absolute values of its terms.
fn inner(a: &[f64], b: &[f64]) -> (f64, f64) {
    a.iter().zip(b).fold((0.0, 0.0), |(sum, size), (a, b)| (sum + a * b, size + (a * b).abs()))
}
