//! Runs a layer on made-up data, with all the memory it is lent poisoned.

use crate::contract::{Describe, Kind, Layer, Mode, ParamSpec, Pass, Saved};
use byhand_tensor::{Block, Scalar};
use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};

/// What goes into a pass, as plain rows `[sample][feature]` in f64, whatever layout and scalar it will run in.
#[derive(Clone, Debug)]
pub(super) struct Data {
    pub(super) theta: Vec<f64>,
    pub(super) x: Vec<f64>,
    pub(super) dy: Vec<f64>,
}

/// What comes out of a pass, in the layout and scalar it ran in.
#[derive(Clone, Debug)]
pub(super) struct Run<T> {
    pub(super) y: Vec<T>,
    pub(super) dx: Vec<T>,
    pub(super) dtheta: Vec<T>,
}

/// A training pass whose first sample is not the minibatch's.
pub(super) fn train(block: Block) -> Pass {
    Pass { block, mode: Mode::Train { seed: 11, step: 3, first_sample: 32 } }
}

/// Real numbers in f32 precision. Layers with kinks get an `x` whose numbers stay away from 0 and from each other.
pub(super) fn reals(layer: &(impl Describe + ?Sized), samples: usize, rng: &mut ChaCha8Rng) -> Data {
    let features = layer.input().features();
    let x = match layer.kind() {
        Kind::Rectifying | Kind::Selecting => (0..samples).flat_map(|_| apart(features, rng)).collect(),
        Kind::Bilinear { .. } | Kind::Smooth | Kind::Batch | Kind::Composed { .. } => {
            uniform(samples * features, rng)
        }
    };
    let theta = theta(layer, |n| uniform(n, rng));
    Data { theta, x, dy: uniform(samples * layer.output().features(), rng) }
}

/// Integers from -3 to 3: on them f32 arithmetic is exact.
pub(super) fn integers(layer: &(impl Describe + ?Sized), samples: usize, rng: &mut ChaCha8Rng) -> Data {
    let mut draw = |n: usize| (0..n).map(|_| f64::from(rng.next_u32() % 7) - 3.0).collect();
    Data {
        theta: theta(layer, &mut draw),
        x: draw(samples * layer.input().features()),
        dy: draw(samples * layer.output().features()),
    }
}

pub(super) fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

pub(super) fn param_len(layer: &(impl Describe + ?Sized)) -> usize {
    layer.params().iter().map(|param| param.len()).sum()
}

/// Parameters as `draw` says, and state that is not what it starts from; variances stay positive.
fn theta(layer: &(impl Describe + ?Sized), mut draw: impl FnMut(usize) -> Vec<f64>) -> Vec<f64> {
    let tensor = |param: ParamSpec| match param.is_state {
        true => (0..param.len()).map(|i| param.start.unwrap_or(0.0) + (i % 8) as f64 / 8.0).collect(),
        false => draw(param.len()),
    };
    layer.params().into_iter().flat_map(tensor).collect()
}

/// `n` of the numbers below `of`, in random order; all of them if there are no more.
pub(super) fn choose(n: usize, of: usize, rng: &mut ChaCha8Rng) -> Vec<usize> {
    let mut all: Vec<usize> = (0..of).collect();
    shuffle(&mut all, rng);
    all.truncate(n);
    all
}

/// Uniform in -1..1, in f32 precision.
pub(super) fn uniform(n: usize, rng: &mut ChaCha8Rng) -> Vec<f64> {
    (0..n).map(|_| (f64::from(rng.next_u32() >> 8) + 0.5) / f64::from(1 << 23) - 1.0).map(in_f32).collect()
}

/// Rows laid out as the block says; dead lanes repeat the last sample.
pub(super) fn lay<T: Scalar>(block: Block, features: usize, rows: &[f64]) -> Vec<T> {
    spread(block, features, |sample, feature| {
        T::from_f64(rows[sample.min(block.samples() - 1) * features + feature])
    })
}

/// Rows laid out as the block says; dead lanes are zero.
pub(super) fn lay_gradient<T: Scalar>(block: Block, features: usize, rows: &[f64]) -> Vec<T> {
    spread(block, features, |sample, feature| {
        if sample < block.samples() { T::from_f64(rows[sample * features + feature]) } else { T::ZERO }
    })
}

/// A number for every lane, dead ones too, of which `value` is asked with a sample number past the last.
pub(super) fn spread<T: Scalar>(block: Block, features: usize, value: impl Fn(usize, usize) -> T) -> Vec<T> {
    let mut out = vec![T::ZERO; block.len(features)];
    for sample in 0..block.tiles() * block.lanes() {
        for feature in 0..features {
            out[block.index(features, sample, feature)] = value(sample, feature);
        }
    }
    out
}

/// The rows of the live samples.
pub(super) fn rows<T: Scalar>(block: Block, features: usize, laid: &[T]) -> Vec<f64> {
    let row =
        |sample| (0..features).map(move |feature| laid[block.index(features, sample, feature)].to_f64());
    (0..block.samples()).flat_map(row).collect()
}

pub(super) fn numbers<T: Scalar>(values: &[f64]) -> Vec<T> {
    values.iter().map(|&value| T::from_f64(value)).collect()
}

/// Forward and backward with memory full of NaN and `dtheta` from zero.
pub(super) fn run<T: Scalar>(layer: &dyn Layer<T>, pass: Pass, data: &Data) -> Run<T> {
    let x = lay(pass.block, layer.input().features(), &data.x);
    let dy = lay_gradient(pass.block, layer.output().features(), &data.dy);
    let dtheta = vec![T::ZERO; data.theta.len()];
    run_with(layer, pass, &numbers(&data.theta), &x, &dy, T::from_f64(f64::NAN), dtheta, true)
}

/// Forward and backward on operands in the block's layout, with memory full of `poison` and `dtheta` as given. Without `with_dx`
/// the run's `dx` is empty.
pub(super) fn run_with<T: Scalar>(
    layer: &dyn Layer<T>,
    pass: Pass,
    theta: &[T],
    x: &[T],
    dy: &[T],
    poison: T,
    mut dtheta: Vec<T>,
    with_dx: bool,
) -> Run<T> {
    let (y, tape) = forward(layer, pass, theta, x, poison);
    let mut dx = vec![poison; if with_dx { x.len() } else { 0 }];
    let mut scratch = vec![poison; layer.scratch_len(pass.block)];
    let saved = Saved { x, y: &y, tape: &tape };
    let wanted = with_dx.then_some(&mut dx[..]);
    layer.backward(&pass, theta, saved, dy, wanted, &mut dtheta, &mut scratch);
    Run { y, dx, dtheta }
}

/// `y` and tape.
pub(super) fn forward<T: Scalar>(
    layer: &dyn Layer<T>,
    pass: Pass,
    theta: &[T],
    x: &[T],
    poison: T,
) -> (Vec<T>, Vec<T>) {
    let mut y = vec![poison; pass.block.len(layer.output().features())];
    let mut tape = vec![poison; layer.tape_len(pass.block)];
    let mut scratch = vec![poison; layer.scratch_len(pass.block)];
    layer.forward(&pass, theta, x, &mut y, &mut tape, &mut scratch);
    (y, tape)
}

fn in_f32(value: f64) -> f64 {
    f64::from(value as f32)
}

/// `n` numbers in random order, at least 1/128 from 0 and 1/64 from each other.
fn apart(n: usize, rng: &mut ChaCha8Rng) -> Vec<f64> {
    let mut values: Vec<f64> = (0..n).map(|i| (i as f64 - (n / 2) as f64 + 0.5) / 64.0).collect();
    shuffle(&mut values, rng);
    values
}

fn shuffle<V>(values: &mut [V], rng: &mut ChaCha8Rng) {
    for i in (1..values.len()).rev() {
        values.swap(i, rng.next_u32() as usize % (i + 1));
    }
}
