//! The twin check: the same numbers through a wrong version and a right one.

use byhand_layers::loss::{Labels, Loss};
use byhand_layers::{Block, Layer, Pass, Saved};
use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};

/// Sizes of the inputs. Hidden layers of a network fed raw pixels reach the largest.
const SIZES: [f64; 3] = [1.0, 1000.0, 200_000.0];

/// Samples that both are given.
const SAMPLES: usize = 3;

/// The first difference in `y`, `dx`, `dtheta` or the state, in f64 and relative to the size of the numbers; none if there is none.
pub(crate) fn compare_layers<W, R>(wrong: &W, right: &R, seed: u64) -> Option<String>
where
    W: Layer<f64>,
    R: Layer<f64>,
{
    if (wrong.input(), wrong.output()) != (right.input(), right.output()) {
        return Some(format!(
            "{} -> {}, expected {} -> {}",
            wrong.input(),
            wrong.output(),
            right.input(),
            right.output()
        ));
    }
    let random = &mut ChaCha8Rng::seed_from_u64(seed);
    let parameters = right.params().iter().map(|param| param.len()).sum();
    let block = Block::single(SAMPLES);
    for size in SIZES {
        // All negative, then of both signs: a maximum must be found among numbers of any size.
        for sign in [-1.0, 1.0] {
            let theta = signed(parameters, random);
            let x = signed(block.len(right.input().features()), random);
            let x: Vec<f64> = x.iter().map(|x| size * if sign < 0.0 { -1.0 - x.abs() } else { *x }).collect();
            let dy = signed(block.len(right.output().features()), random);
            let (expected, found) = (run(right, &theta, &x, &dy), run(wrong, &theta, &x, &dy));
            for ((what, expected), (_, found)) in expected.iter().zip(&found) {
                if let Some(difference) = first_difference(expected, found) {
                    return Some(format!("{what}, inputs of size {size}: {difference}"));
                }
            }
        }
    }
    None
}

/// The first difference in the loss or its gradient, in f32; none if there is none.
pub(crate) fn compare_losses<W, R>(wrong: &W, right: &R, classes: usize, seed: u64) -> Option<String>
where
    W: Loss<f32>,
    R: Loss<f32>,
{
    let random = &mut ChaCha8Rng::seed_from_u64(seed);
    let block = Block::single(SAMPLES);
    for size in SIZES {
        let logits: Vec<f32> = signed(block.len(classes), random).iter().map(|z| (size * z) as f32).collect();
        let labels: Vec<u16> = (0..SAMPLES).map(|_| (random.next_u32() as usize % classes) as u16).collect();
        let call = |loss: &dyn Loss<f32>| {
            let mut gradient = vec![0.0; logits.len()];
            let stats = loss.value_and_gradient(block, &logits, Labels(&labels).into(), 0.25, &mut gradient);
            let gradient: Vec<f64> = gradient.into_iter().map(f64::from).collect();
            [("loss", vec![stats.loss]), ("gradient", gradient)]
        };
        for ((what, expected), (_, found)) in call(right).iter().zip(&call(wrong)) {
            // An f32 probability has some seven digits; -ln of one near 1 has fewer.
            let rounded = |values: &[f64]| -> Vec<f64> { values.iter().map(|v| (v * 1e4).round()).collect() };
            if let Some(difference) = first_difference(&rounded(expected), &rounded(found)) {
                return Some(format!("{what} in units of 1e-4, logits of size {size}: {difference}"));
            }
        }
    }
    None
}

/// `y`, `dx` and `dtheta` of a training pass, and what it leaves of the state.
fn run(layer: &dyn Layer<f64>, theta: &[f64], x: &[f64], dy: &[f64]) -> [(&'static str, Vec<f64>); 4] {
    let pass = Pass::train(Block::single(SAMPLES), 1, 2, 0);
    let mut y = vec![0.0; dy.len()];
    let mut tape = vec![0.0; layer.tape_len(pass.block)];
    let mut scratch = vec![0.0; layer.scratch_len(pass.block)];
    layer.forward(&pass, theta, x, &mut y, &mut tape, &mut scratch);
    let (mut dx, mut dtheta) = (vec![0.0; x.len()], vec![0.0; theta.len()]);
    let saved = Saved { x, y: &y, tape: &tape };
    layer.backward(&pass, theta, saved, dy, Some(&mut dx), &mut dtheta, &mut scratch);
    let mut moved = theta.to_vec();
    layer.remember(pass.block, &tape, &mut moved);
    [("y", y), ("dx", dx), ("dtheta", dtheta), ("state", moved)]
}

fn first_difference(expected: &[f64], found: &[f64]) -> Option<String> {
    let same = |a: f64, b: f64| (a - b).abs() <= 1e-9 * (1.0 + a.abs());
    let index = expected.iter().zip(found).position(|(a, b)| !same(*a, *b))?;
    Some(format!("expected {:e}, found {:e} at index {index}", expected[index], found[index]))
}

/// Uniform in -1..1.
fn signed(n: usize, random: &mut ChaCha8Rng) -> Vec<f64> {
    (0..n).map(|_| f64::from(random.next_u32()) / f64::from(1u32 << 31) - 1.0).collect()
}
