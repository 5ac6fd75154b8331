//! Batch normalisation, and a ReLU behind it or none, as one step of a network's plan.

use crate::batch_norm::BatchNorm;
use crate::contract::{Describe, Kind, Layer, ParamSpec, Pass, Saved, downcast};
use crate::{Relu, Shape};
use byhand_tensor::{Block, Scalar};
use std::sync::Arc;

/// `batchnorm`, then `relu` or not, in one pass over a block. A [`Network`](crate::Network) uses it wherever its layers make such a chain;
/// nobody has to ask for it.
///
/// # Formula
/// `y = relu(batchnorm(x))`: see [`BatchNorm`] and [`Relu`].
///
/// # Backward
/// Those of both, one after the other: where `y` is not above 0, the gradient before the ReLU is 0. Every sum has the plain chain's order,
/// so its bits are the same.
///
/// # Memory
/// That of the batch normalisation. What lies between the two is never stored.
#[derive(Clone, Debug)]
pub(crate) struct BatchNormRelu {
    pub(crate) norm: BatchNorm,
    relu: bool,
}

impl BatchNormRelu {
    /// What `layers` begin with, and how many of them it takes; with the ReLU if `fuse` says so.
    pub(crate) fn beginning<T: Scalar>(layers: &[Arc<dyn Layer<T>>], fuse: bool) -> Option<(Self, usize)> {
        let norm: &BatchNorm = downcast(&**layers.first()?)?;
        let relu = fuse && layers.get(1).is_some_and(|layer| downcast::<Relu, T>(&**layer).is_some());
        Some((Self { norm: norm.clone(), relu }, 1 + usize::from(relu)))
    }

    /// Normalises a block by what was measured of the minibatch.
    pub(crate) fn normalise<T: Scalar>(
        &self,
        block: Block,
        theta: &[T],
        measured: &[T],
        x: &[T],
        y: &mut [T],
    ) {
        self.norm.normalise(block, theta, measured, x, y, self.relu);
    }

    /// The sums over a block that the gradient of the minibatch needs.
    pub(crate) fn sums<T: Scalar>(
        &self,
        block: Block,
        theta: &[T],
        saved: Saved<'_, T>,
        dy: &[T],
        sums: &mut [T],
    ) {
        self.norm.sums(block, theta, saved, dy, self.relu, sums);
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
    ) {
        self.norm.input_gradient(block, theta, saved, sums, dy, self.relu, dx);
    }
}

impl<T: Scalar> Layer<T> for BatchNormRelu {
    fn forward(&self, pass: &Pass, theta: &[T], x: &[T], y: &mut [T], tape: &mut [T], _scratch: &mut [T]) {
        self.norm.forward_pass(pass, theta, x, y, tape, self.relu);
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
        self.norm.backward_pass(pass, theta, saved, dy, dx, dtheta, scratch, self.relu);
    }
}

impl Describe for BatchNormRelu {
    fn name(&self) -> &'static str {
        self.norm.name()
    }

    fn spec(&self) -> String {
        format!("{}{}", self.norm.spec(), if self.relu { " relu" } else { "" })
    }

    fn kind(&self) -> Kind {
        Kind::Composed { batch: true }
    }

    fn input(&self) -> Shape {
        self.norm.input()
    }

    fn params(&self) -> Vec<ParamSpec> {
        self.norm.params()
    }

    fn tape_len(&self, block: Block) -> usize {
        self.norm.tape_len(block)
    }

    fn scratch_len(&self, block: Block) -> usize {
        self.norm.scratch_len(block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::{Trial, random};
    use crate::{Isa, Network};

    #[test]
    fn has_the_bits_of_the_plain_chain() {
        let norm = |shape| -> Box<dyn Layer<f32>> { Box::new(BatchNorm::new(shape, 1e-5, 0.1).unwrap()) };
        for shape in [Shape::new(3, 5, 7), Shape::new(2, 8, 8), Shape::flat(37)] {
            let relu = || -> Box<dyn Layer<f32>> { Box::new(Relu::new(shape)) };
            let network = Network::new(vec![norm(shape), relu(), norm(shape), relu()]).unwrap();
            assert_eq!((network.lowered().len(), network.unfused().lowered().len()), (2, 4));
            for block in [Block::tiled(1), Block::tiled(19), Block::tiled(32), Block::single(3)] {
                for isa in Isa::available() {
                    let trial = Trial::new(&network, block.samples(), random);
                    let pass = Pass::train(block, 0, 0, 0);
                    let [one, two] =
                        [&network, &network.unfused()].map(|network| isa.with(|| trial.run(network, &pass)));
                    assert_eq!(one, two, "{shape}, {block:?}, {isa}");
                }
            }
        }
    }
}
