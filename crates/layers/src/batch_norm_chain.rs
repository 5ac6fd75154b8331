//! Batch normalisation, and a ReLU and a max-pooling behind it or not, as one step of a network's plan.

use crate::batch_norm::{BatchNorm, Part};
use crate::chain::specs;
use crate::contract::{Describe, Kind, Layer, Mode, ParamSpec, Pass, Saved, layer_at};
use crate::{MaxPool2d, Relu, Shape};
use byhand_tensor::{Block, Pool2d, Scalar};
use std::ops::Range;
use std::sync::Arc;

/// `batchnorm`, then `relu` or not, then `pool` or not, in one pass over a block. The plan of a [`Network`](crate::Network) uses it wherever
/// its layers make such a chain; nobody has to ask for it.
///
/// # Formula
/// `y = max_pool(relu(batchnorm(x)))`: see [`BatchNorm`], [`Relu`] and [`MaxPool2d`].
///
/// # Shapes
/// `x: c x h x w`, `y: c x h_pool x w_pool`, or as `x` without a pooling; parameters as the batch normalisation's.
///
/// # Backward
/// Those of the three, one after the other: where what is normalised is not above 0, the gradient before the ReLU is 0. Every sum has the
/// plain chain's order, so its bits are the same.
///
/// # Memory
/// The tape holds what the batch normalisation measures, and the place of each maximum. Scratch: two sums a channel, and one channel of one
/// tile, since what lies before a pooling is never stored whole.
#[derive(Clone, Debug)]
pub(crate) struct BatchNormChain {
    norm: BatchNorm,
    relu: bool,
    pool: Option<Pool2d>,
    output: Shape,
    spec: String,
}

impl BatchNormChain {
    /// What `layers` begin with, and how many of them it takes; no more than the batch normalisation if `fuse` does not say so.
    pub(crate) fn beginning<T: Scalar>(layers: &[Arc<dyn Layer<T>>], fuse: bool) -> Option<(Self, usize)> {
        let norm: &BatchNorm = layer_at(layers, 0)?;
        let relu = fuse && layer_at::<Relu, T>(layers, 1).is_some();
        let pool: Option<&MaxPool2d> = layer_at(layers, 1 + usize::from(relu)).filter(|_| fuse);
        let count = 1 + usize::from(relu) + usize::from(pool.is_some());
        let chain = Self {
            norm: norm.clone(),
            relu,
            pool: pool.map(|pool| *pool.kernel()),
            output: layers[count - 1].output(),
            spec: specs(&layers[..count]),
        };
        Some((chain, count))
    }

    /// Sums per block that the gradient of the minibatch needs.
    pub(crate) fn sums_len(&self) -> usize {
        2 * self.norm.input().c
    }

    /// What was measured of a block, with which the tape begins.
    pub(crate) fn measured<'a, T>(&self, tape: &'a [T]) -> &'a [T] {
        &tape[..self.norm.measured_len()]
    }

    /// The same, to be written.
    pub(crate) fn measured_mut<'a, T>(&self, tape: &'a mut [T]) -> &'a mut [T] {
        &mut tape[..self.norm.measured_len()]
    }

    /// Measures a block.
    pub(crate) fn measure<T: Scalar>(&self, block: Block, x: &[T], tape: &mut [T]) {
        self.norm.measure(block, x, self.measured_mut(tape));
    }

    /// Makes of what was measured of two blocks what would be measured of both.
    pub(crate) fn merge<T: Scalar>(&self, a: &mut [T], b: &[T]) {
        self.norm.merge(a, b);
    }

    /// What becomes of a block, by what was measured of the minibatch.
    pub(crate) fn normalise<T: Scalar>(
        &self,
        block: Block,
        theta: &[T],
        x: &[T],
        y: &mut [T],
        tape: &mut [T],
        scratch: &mut [T],
    ) {
        let (measured, places) = tape.split_at_mut(self.norm.measured_len());
        let Some(pool) = self.pool else {
            return self.norm.normalise(self.norm.all(block), theta, measured, x, y, self.relu);
        };
        for Piece { part, pool, x: from, y: to } in self.pieces(block, pool) {
            let normalised = &mut scratch[..from.len()];
            self.norm.normalise(part, theta, measured, &x[from], normalised, self.relu);
            pool.max_forward(part.block, normalised, &mut y[to.clone()], &mut places[to]);
        }
    }

    /// The sums over a block that the gradient of the minibatch needs; adds the block's gradient of the parameters.
    pub(crate) fn sums<T: Scalar>(
        &self,
        block: Block,
        theta: &[T],
        saved: Saved<'_, T>,
        dy: &[T],
        sums: &mut [T],
        dtheta: &mut [T],
        scratch: &mut [T],
    ) {
        sums.fill(T::ZERO);
        self.each_gradient(block, saved, dy, scratch, |part, saved, _, dy| {
            self.norm.sums(part, theta, saved, dy, self.relu, sums);
        });
        self.norm.add_params(saved.tape, sums, dtheta);
    }

    /// `dx` of a block, by the sums of the whole minibatch.
    pub(crate) fn input_gradient<T: Scalar>(
        &self,
        block: Block,
        theta: &[T],
        saved: Saved<'_, T>,
        sums: &[T],
        dy: &[T],
        dx: &mut [T],
        scratch: &mut [T],
    ) {
        self.each_gradient(block, saved, dy, scratch, |part, saved, x, dy| {
            self.norm.input_gradient(part, theta, saved, sums, dy, self.relu, &mut dx[x]);
        });
    }

    /// Hands on each part of a block: what the batch normalisation saved of it, where its input lies, and the gradient before the pooling.
    fn each_gradient<T: Scalar>(
        &self,
        block: Block,
        saved: Saved<'_, T>,
        dy: &[T],
        scratch: &mut [T],
        mut each: impl FnMut(Part, Saved<'_, T>, Range<usize>, &[T]),
    ) {
        let Some(pool) = self.pool else {
            return each(self.norm.all(block), saved, 0..saved.x.len(), dy);
        };
        let (measured, places) = saved.tape.split_at(self.norm.measured_len());
        for piece in self.pieces(block, pool) {
            let gradient = &mut scratch[..piece.x.len()];
            piece.pool.max_backward(piece.part.block, &dy[piece.y.clone()], &places[piece.y], gradient);
            let saved = Saved { x: &saved.x[piece.x.clone()], y: &[], tape: measured };
            each(piece.part, saved, piece.x, gradient);
        }
    }

    /// The pieces of a block whose normalised numbers are pooled at once, while a near cache holds them: a channel of a tile, or all of
    /// single samples.
    fn pieces(&self, block: Block, pool: Pool2d) -> impl Iterator<Item = Piece> {
        let all = self.norm.all(block);
        let whole = (block.lanes() == 1).then(|| {
            let [x, y] = [pool.inputs(), pool.outputs()].map(|features| 0..block.len(features));
            Piece { part: all, pool, x, y }
        });
        let channels = if whole.is_some() { 0..0 } else { all.each() };
        let pool = pool.of_one_channel();
        let pooled = Part { pixels: pool.outputs(), ..all };
        let planes = channels.flat_map(move |channel| {
            (0..block.tiles()).map(move |tile| {
                let part = Part { block: Block::tiled(block.live(tile)), first: channel, count: 1, ..all };
                Piece { part, pool, x: all.run(tile, channel), y: pooled.run(tile, channel) }
            })
        });
        whole.into_iter().chain(planes)
    }
}

/// A piece of a block: its channels, how they are pooled, and where their numbers lie before and behind the pooling.
struct Piece {
    part: Part,
    pool: Pool2d,
    x: Range<usize>,
    y: Range<usize>,
}

impl<T: Scalar> Layer<T> for BatchNormChain {
    fn forward(&self, pass: &Pass, theta: &[T], x: &[T], y: &mut [T], tape: &mut [T], scratch: &mut [T]) {
        self.norm.statistics(pass, theta, x, self.measured_mut(tape));
        self.normalise(pass.block, theta, x, y, tape, scratch);
    }

    fn backward(
        &self,
        pass: &Pass,
        theta: &[T],
        saved: Saved<'_, T>,
        dy: &[T],
        dx: Option<&mut [T]>,
        dtheta: &mut [T],
        scratch: &mut [T],
    ) {
        let (sums, scratch) = scratch.split_at_mut(self.sums_len());
        self.sums(pass.block, theta, saved, dy, sums, dtheta, scratch);
        if let Some(dx) = dx {
            // In evaluation mean and variance are constants.
            if pass.mode == Mode::Eval {
                sums.fill(T::ZERO);
            }
            self.input_gradient(pass.block, theta, saved, sums, dy, dx, scratch);
        }
    }

    fn remember(&self, block: Block, tape: &[T], theta: &mut [T]) {
        self.norm.remember(block, self.measured(tape), theta);
    }
}

impl Describe for BatchNormChain {
    fn name(&self) -> &'static str {
        self.norm.name()
    }

    fn spec(&self) -> String {
        self.spec.clone()
    }

    fn kind(&self) -> Kind {
        Kind::Composed { batch: true }
    }

    fn input(&self) -> Shape {
        self.norm.input()
    }

    fn output(&self) -> Shape {
        self.output
    }

    fn params(&self) -> Vec<ParamSpec> {
        self.norm.params()
    }

    fn tape_len(&self, block: Block) -> usize {
        let places = if self.pool.is_some() { block.len(self.output.features()) } else { 0 };
        self.norm.measured_len() + places
    }

    fn scratch_len(&self, block: Block) -> usize {
        // All pieces are equally long.
        let piece = self.pool.and_then(|pool| self.pieces(block, pool).next());
        self.sums_len() + piece.map_or(0, |piece| piece.x.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::{Trial, random};
    use crate::{Isa, Network};

    #[test]
    fn has_the_bits_of_the_plain_chain() {
        fn boxed(layer: impl Layer<f32> + 'static) -> Box<dyn Layer<f32>> {
            Box::new(layer)
        }
        let norm = |shape| boxed(BatchNorm::new(shape, 1e-5, 0.1).unwrap());
        let relu = |shape| boxed(Relu::new(shape));
        let pool = |shape, window, stride| MaxPool2d::new(shape, window, stride).unwrap();
        let mut networks = Vec::new();
        for shape in [Shape::new(3, 5, 7), Shape::new(2, 8, 8), Shape::flat(37)] {
            networks.push((2, 4, vec![norm(shape), relu(shape), norm(shape), relu(shape)]));
        }
        // Windows side by side with a rest, ones that overlap, and no ReLU.
        for (shape, window, stride) in
            [(Shape::new(3, 5, 7), [2, 2], [2, 2]), (Shape::new(2, 40, 8), [3, 2], [2, 1])]
        {
            let pooled = || boxed(pool(shape, window, stride));
            let small = pool(shape, window, stride).output();
            networks.push((2, 5, vec![norm(shape), relu(shape), pooled(), norm(small), relu(small)]));
            networks.push((2, 4, vec![norm(shape), pooled(), norm(small), relu(small)]));
        }
        for (fused, plain, layers) in networks {
            let network = Network::new(layers).unwrap();
            assert_eq!((network.lowered().len(), network.unfused().lowered().len()), (fused, plain));
            for block in [Block::tiled(1), Block::tiled(19), Block::tiled(32), Block::single(3)] {
                for isa in Isa::available() {
                    let trial = Trial::new(&network, block.samples(), random);
                    let pass = Pass::train(block, 0, 0, 0);
                    let [one, two] =
                        [&network, &network.unfused()].map(|network| isa.with(|| trial.run(network, &pass)));
                    assert_eq!(one, two, "{}, {block:?}, {isa}", network.input());
                }
            }
        }
    }
}
