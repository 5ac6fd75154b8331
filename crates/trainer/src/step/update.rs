//! The end of a step: one pass over memory that adds the shards' gradients and moves the parameters.

use std::ops::Range;

use byhand_layers::LANES;
use byhand_layers::exec::{Loop, vectorised};

use super::cost::CHUNK;
use super::crew::Crew;
use super::shards::MAX_SHARDS;
use crate::optimizer::{Optimizer, StateMut};

/// Parameters whose gradients of all shards fit the innermost cache together.
const SLICE: usize = 512;

/// A range of the parameters, with the gradients of all shards and the optimiser's state.
pub(super) struct Part<'a> {
    pub(super) theta: &'a mut [f32],
    pub(super) dtheta: [&'a mut [f32]; MAX_SHARDS],
    pub(super) state: StateMut<'a, f32>,
    /// Gradients that there are.
    pub(super) active: usize,
}

impl<'a> Part<'a> {
    /// The first `mid` parameters and the others.
    #[inline(always)]
    fn split_at(self, mid: usize) -> (Part<'a>, Part<'a>) {
        let (theta, theta_rest) = self.theta.split_at_mut(mid);
        let (state, state_rest) = self.state.split_at(mid);
        let (mut dtheta, active) = (self.dtheta, self.active);
        let mut dtheta_rest: [&mut [f32]; MAX_SHARDS] = Default::default();
        for (dtheta, rest) in dtheta.iter_mut().zip(&mut dtheta_rest) {
            let all = std::mem::take(dtheta);
            (*dtheta, *rest) = all.split_at_mut(mid.min(all.len()));
        }
        let rest = Part { theta: theta_rest, dtheta: dtheta_rest, state: state_rest, active };
        (Part { theta, dtheta, state, active }, rest)
    }
}

/// The end of a step: sum the shards' gradients, move the parameters, zero the gradients; one pass over memory.
#[derive(Clone, Copy)]
pub(super) struct Update {
    pub(super) optimizer: Optimizer,
    pub(super) step: u64,
    pub(super) learning_rate: f64,
    /// What is left of a weight that decays.
    pub(super) keep: f32,
    /// What gradients are multiplied by first.
    pub(super) scale: f32,
}

impl Update {
    /// Any thread may take any chunk: every operation is elementwise.
    pub(super) fn share(self, crew: &Crew, part: Part<'_>) {
        if part.theta.len() <= CHUNK {
            return self.apply(part);
        }
        let mid = (part.theta.len() / 2).next_multiple_of(SLICE);
        let (a, b) = part.split_at(mid);
        crew.join(|| self.share(crew, a), || self.share(crew, b));
    }

    pub(super) fn apply(self, part: Part<'_>) {
        vectorised(Apply { update: self, part });
    }

    #[inline(always)]
    fn slices(self, part: Part<'_>) {
        let Part { theta, mut dtheta, mut state, active } = part;
        let dtheta = &mut dtheta[..active];
        for (i, theta) in theta.chunks_mut(SLICE).enumerate() {
            let slice = i * SLICE..i * SLICE + theta.len();
            add_shards(dtheta, slice.clone());
            if self.scale != 1.0 {
                dtheta[0][slice.clone()].iter_mut().for_each(|d| *d *= self.scale);
            }
            let (gradient, state) = (&dtheta[0][slice.clone()], state.reborrow().range(slice.clone()));
            self.optimizer.update(self.step, self.learning_rate, theta, gradient, state);
            for dtheta in &mut *dtheta {
                dtheta[slice.clone()].fill(0.0);
            }
        }
    }
}

/// [`Update::apply`], compiled for the active instruction set.
struct Apply<'a> {
    update: Update,
    part: Part<'a>,
}

impl Loop for Apply<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        self.update.slices(self.part);
    }
}

/// Adds the gradients of all shards into the first's, in the tree: neighbours, then neighbouring pairs, ...
#[inline(always)]
fn add_shards(dtheta: &mut [&mut [f32]], slice: Range<usize>) {
    let mut distance = 1;
    while distance < dtheta.len() {
        for pair in dtheta.chunks_mut(2 * distance) {
            if let Some((a, b)) = pair.split_at_mut_checked(distance)
                && let Some(b) = b.first()
            {
                add(&mut a[0][slice.clone()], &b[slice.clone()]);
            }
        }
        distance *= 2;
    }
}

/// Adds the gradients of all shards up, leaves the others' at zero, and gives the sum of the squares.
pub(super) fn sum_up(part: Part<'_>) -> f64 {
    vectorised(SumUp(part))
}

struct SumUp<'a>(Part<'a>);

impl Loop for SumUp<'_> {
    type Output = f64;

    #[inline(always)]
    fn run(self) -> f64 {
        let Part { theta, mut dtheta, active, .. } = self.0;
        let dtheta = &mut dtheta[..active];
        // Sixteen sums, whatever the instruction set.
        let mut sums = [0.0; LANES];
        for start in (0..theta.len()).step_by(SLICE) {
            let slice = start..(start + SLICE).min(theta.len());
            add_shards(dtheta, slice.clone());
            let Some((first, others)) = dtheta.split_first_mut() else { break };
            others.iter_mut().for_each(|other| other[slice.clone()].fill(0.0));
            for chunk in first[slice].chunks(LANES) {
                for (sum, &d) in sums.iter_mut().zip(chunk) {
                    *sum += f64::from(d) * f64::from(d);
                }
            }
        }
        sums.iter().fold(0.0, |all, sum| all + sum)
    }
}

/// `average = decay * average + (1 - decay) * theta`.
pub(super) fn average(average: &mut [f32], theta: &[f32], decay: f64) {
    vectorised(Average { average, theta, decay: decay as f32, rest: (1.0 - decay) as f32 });
}

struct Average<'a> {
    average: &'a mut [f32],
    theta: &'a [f32],
    decay: f32,
    rest: f32,
}

impl Loop for Average<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for (average, theta) in self.average.iter_mut().zip(self.theta) {
            *average = self.decay * *average + self.rest * theta;
        }
    }
}

/// `a += b`.
#[inline(always)]
fn add(a: &mut [f32], b: &[f32]) {
    for (a, &b) in a.iter_mut().zip(b) {
        *a += b;
    }
}

/// Gradients of a shard must stay below this: the sum over all shards is then finite.
pub(super) const LARGEST_GRADIENT: f32 = f32::MAX / MAX_SHARDS as f32;

/// Operands of a gradient that is a sum over so many samples must stay below this: it is then below
/// [`LARGEST_GRADIENT`].
pub(super) fn largest_factor(samples: usize) -> f32 {
    (LARGEST_GRADIENT / samples as f32).sqrt() / 2.0
}

/// Whether every number is smaller in size than `limit`; NaN is not.
pub(super) fn all_below(values: &[f32], limit: f32) -> bool {
    vectorised(AllBelow { values, limit })
}

struct AllBelow<'a> {
    values: &'a [f32],
    limit: f32,
}

impl Loop for AllBelow<'_> {
    type Output = bool;

    #[inline(always)]
    fn run(self) -> bool {
        for values in self.values.chunks(SLICE) {
            // Counting, not stopping at the first: that vectorises.
            let mut above = 0u32;
            for v in values {
                let below = v.abs() < self.limit;
                above += u32::from(!below);
            }
            if above > 0 {
                return false;
            }
        }
        true
    }
}
