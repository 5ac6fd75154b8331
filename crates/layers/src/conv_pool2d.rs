//! Convolution, ReLU and max-pooling as one step of a network's plan.

use crate::chain::specs;
use crate::contract::{Describe, Kind, Layer, ParamSpec, Pass, Saved, layer_at};
use crate::{Conv2d, MaxPool2d, Params, ParamsMut, PoolOptions, Relu, Shape};
use byhand_tensor::{self as tensor, Block, Scalar};
use std::sync::Arc;

/// `conv`, then `relu` or not, then `pool` with windows that do not overlap, in one pass over a tile. The plan of a
/// [`Network`](crate::Network) uses it wherever its layers make such a chain; nobody has to ask for it.
///
/// # Formula
/// `y = max_pool(relu(conv(x)))`: see [`Conv2d`], [`Relu`] and [`MaxPool2d`]. `relu` after the pooling is the same function.
///
/// # Shapes
/// `x: c x h x w`, `y: c_out x h_pool x w_pool`, parameters as the convolution's.
///
/// # Backward
/// Those of the three layers, one after the other. Every sum has the plain chain's order, so its bits are the same; a test
/// holds that.
///
/// # Memory
/// Tape: the place of each maximum. Scratch: a few rows of the convolution's output; all rows of one tile where the input
/// gradient is wanted.
///
/// # Reference
/// The chain is that of LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document recognition", 1998.
#[derive(Clone, Debug)]
pub(crate) struct ConvPool2d {
    conv: Conv2d,
    kernel: tensor::ConvPool2d,
    output: Shape,
    spec: String,
}

impl ConvPool2d {
    /// The chain that `layers` begin with, if it is faster in one pass, and how many of them it takes.
    ///
    /// Padded convolutions lose a little in one pass (rows are pooled through memory, and the border is walked again for each),
    /// but for those by Winograd's filtering, whose planes are whole in any case.
    pub(crate) fn beginning<T: Scalar>(layers: &[Arc<dyn Layer<T>>]) -> Option<(Self, usize)> {
        Self::chain(layers).filter(|(chain, _)| {
            let conv = chain.kernel.conv();
            conv.pad() == [0, 0] || conv.is_winograd()
        })
    }

    /// The chain that `layers` begin with, and how many of them it takes.
    fn chain<T: Scalar>(layers: &[Arc<dyn Layer<T>>]) -> Option<(Self, usize)> {
        let conv: &Conv2d = layer_at(layers, 0)?;
        let relu_first = layer_at::<Relu, T>(layers, 1).is_some();
        let place = 1 + usize::from(relu_first);
        let pool: &MaxPool2d = layer_at(layers, place)?;
        let relu_last = layer_at::<Relu, T>(layers, place + 1).is_some();
        let count = place + 1 + usize::from(relu_last);
        let PoolOptions { window, stride, .. } = pool.options();
        if window != stride || !pool.kernel().is_plain() {
            return None;
        }
        let kernel = tensor::ConvPool2d::new(*conv.kernel()?, window, relu_first || relu_last).ok()?;
        let spec = specs(&layers[..count]);
        Some((Self { conv: conv.clone(), kernel, output: pool.output(), spec }, count))
    }
}

impl<T: Scalar> Layer<T> for ConvPool2d {
    fn forward(&self, pass: &Pass, theta: &[T], x: &[T], y: &mut [T], tape: &mut [T], scratch: &mut [T]) {
        let Params { weight: w, bias: b } = self.conv.split(theta);
        self.kernel.forward(pass.block, w, b, x, y, tape, scratch);
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
        let w = self.conv.split(theta).weight;
        let ParamsMut { weight: dw, bias: db } = self.conv.split_mut(dtheta);
        let dx = dx.map(|dx| (0..self.conv.input().c, dx));
        self.kernel.backward(pass.block, w, saved.x, saved.tape, dy, dx, Some(dw), db, scratch);
    }
}

impl Describe for ConvPool2d {
    fn name(&self) -> &'static str {
        "conv"
    }

    fn spec(&self) -> String {
        self.spec.clone()
    }

    /// Its kinks are met with probability 0: as far as proofs go it is smooth.
    fn kind(&self) -> Kind {
        Kind::Smooth
    }

    fn input(&self) -> Shape {
        self.conv.input()
    }

    fn output(&self) -> Shape {
        self.output
    }

    fn params(&self) -> Vec<ParamSpec> {
        self.conv.params()
    }

    fn tape_len(&self, block: Block) -> usize {
        self.kernel.tape_len(block)
    }

    fn scratch_len(&self, block: Block) -> usize {
        self.kernel.scratch_len(block)
    }

    fn flops(&self) -> u64 {
        self.conv.flops()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Clause, Failure, Options, check_layer};
    use crate::trial::{Trial, random};
    use crate::{ConvOptions, Isa, Network, Padding};
    use proptest::prelude::*;

    /// Bits of output and gradients of a network, for one block.
    fn bits(network: &Network, block: Block) -> Vec<u32> {
        let [y, dtheta] = run(network, block, None);
        // `+ 0.0` turns -0 into 0: the plain chain adds zeros that the fused one leaves out.
        y.iter().chain(&dtheta).map(|value| (value + 0.0).to_bits()).collect()
    }

    /// Output and parameter gradient of a network on random numbers, one of which is put into x by hand.
    fn run(network: &Network, block: Block, spoilt: Option<(usize, f32)>) -> [Vec<f32>; 2] {
        let mut trial = Trial::new(network, block.samples(), random);
        if let Some((place, value)) = spoilt {
            trial.x[[0, place]] = value;
        }
        trial.run(network, &Pass::train(block, 1, 0, 0))
    }

    /// `conv`, `relu` or not and `pool`, one by one, if they fit.
    fn plain(
        input: Shape,
        channels: usize,
        options: ConvOptions,
        window: [usize; 2],
        relu: bool,
    ) -> Option<Vec<Arc<dyn Layer<f32>>>> {
        let conv = Conv2d::new(input, channels, options).ok()?;
        let output = conv.output();
        let pool = MaxPool2d::new(output, window, window).ok()?;
        let relu = relu.then(|| Arc::new(Relu::new(output)) as Arc<dyn Layer<f32>>);
        Some([Some(Arc::new(conv) as _), relu, Some(Arc::new(pool) as _)].into_iter().flatten().collect())
    }

    fn fused(plain: &[Arc<dyn Layer<f32>>]) -> ConvPool2d {
        let (chain, count) = ConvPool2d::chain(plain).unwrap();
        assert_eq!(count, plain.len());
        chain
    }

    /// Every clause holds but for those that cannot, and `excused` ones.
    fn assert_proved(chain: &ConvPool2d, options: &Options, excused: &[Clause]) {
        // Dual numbers take the branch that the numbers take; a difference may step over a kink. The rounding bound is the
        // plain layers', whose bits these are.
        let others = [Clause::CentralDifference, Clause::FourPointDifference, Clause::Oracle];
        let report = check_layer(chain, options);
        let failures: Vec<&Failure> = report
            .failures
            .iter()
            .filter(|failure| !others.contains(&failure.clause) && !excused.contains(&failure.clause))
            .collect();
        assert!(failures.is_empty(), "{}: {failures:?}", chain.spec);
    }

    /// A chain of `first`, one of a second convolution, so that its input gradient counts, both ways; whether they fit.
    fn assert_same_bits(
        input: Shape,
        channels: usize,
        first: ConvOptions,
        window: [usize; 2],
        relu: bool,
    ) -> bool {
        let second = ConvOptions { kernel: [2, 3], pad: Padding::axes([1, 0]), ..ConvOptions::square(1) };
        let Some(a) = plain(input, channels, first, window, relu) else { return false };
        let Some(b) = plain(a.last().unwrap().output(), 5, second, window, relu) else { return false };
        let fused: Network = Network::new(vec![Box::new(fused(&a)), Box::new(fused(&b))]).unwrap();
        let plain = Network::of(a.into_iter().chain(b).collect()).unwrap().unfused();
        for isa in Isa::available() {
            for block in [Block::tiled(1), Block::tiled(21), Block::single(1), Block::single(3)] {
                isa.with(|| {
                    let (fused, plain) = (bits(&fused, block), bits(&plain, block));
                    assert_eq!(
                        fused, plain,
                        "{input:?} {channels} {first:?} {window:?} {relu} {block:?} {isa}"
                    );
                });
            }
        }
        true
    }

    #[test]
    fn proves_itself() {
        let chains = [
            (Shape::new(1, 10, 13), 3, [3, 3], [0, 0], [2, 2], true),
            (Shape::new(1, 12, 38), 5, [5, 5], [0, 0], [2, 2], true),
            (Shape::new(4, 8, 8), 4, [3, 3], [1, 1], [2, 2], true),
            (Shape::new(2, 9, 11), 2, [2, 3], [1, 0], [3, 2], false),
        ];
        for (input, channels, kernel, pad, window, relu) in chains {
            let options = ConvOptions { kernel, pad: Padding::axes(pad), ..ConvOptions::square(1) };
            let chain = plain(input, channels, options, window, relu).unwrap();
            assert_proved(&fused(&chain), &Options::default(), &[]);
        }
    }

    #[test]
    fn has_the_bits_of_the_plain_chain() {
        let options = |kernel, pad| ConvOptions { kernel, pad: Padding::axes(pad), ..ConvOptions::square(1) };
        // Rests of rows and columns; odd channels.
        let chains = [
            (Shape::new(1, 13, 15), options([3, 3], [0, 0]), [2, 2], true),
            (Shape::new(2, 12, 23), options([3, 2], [1, 1]), [2, 3], false),
            (Shape::new(3, 16, 40), options([1, 5], [0, 2]), [2, 2], true),
            (Shape::new(2, 14, 31), options([7, 9], [0, 0]), [2, 2], true),
            (Shape::new(16, 15, 14), options([3, 3], [0, 0]), [2, 2], true),
        ];
        for (input, first, window, relu) in chains {
            assert!(assert_same_bits(input, input.c.max(9), first, window, relu));
        }
    }

    /// What the contract says of numbers that are not finite: in x they reach the same outputs in one pass as in three, and a NaN reaches
    /// the parameter gradient.
    #[test]
    fn what_is_not_finite_reaches_the_same_outputs() {
        for (input, pad) in [(Shape::new(1, 12, 14), [0, 0]), (Shape::new(2, 10, 12), [1, 1])] {
            let options = ConvOptions { pad: Padding::axes(pad), ..ConvOptions::square(3) };
            let layers = plain(input, 5, options, [2, 2], true).unwrap();
            let one: Network = Network::new(vec![Box::new(fused(&layers))]).unwrap();
            let three = Network::of(layers).unwrap().unfused();
            let blocks = [Block::tiled(1), Block::tiled(5), Block::tiled(17), Block::single(2)];
            for (isa, block) in Isa::available().into_iter().flat_map(|isa| blocks.map(|block| (isa, block)))
            {
                for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                    // A pixel in the middle of the first sample.
                    let spoilt = Some((5 * input.w + 6, value));
                    let [one, three] = isa.with(|| [&one, &three].map(|network| run(network, block, spoilt)));
                    let differs =
                        one[0].iter().zip(&three[0]).position(|(a, b)| a != b && !(a.is_nan() && b.is_nan()));
                    assert_eq!(differs, None, "y of {input}, {block:?} on {isa}, {value} in x");
                    assert!(one[0].iter().any(|y| !y.is_finite()), "{value} reaches y");
                    for [_, dtheta] in [one, three] {
                        assert!(!value.is_nan() || dtheta.iter().any(|d| d.is_nan()), "a NaN reaches dtheta");
                    }
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn random_geometries(
            size in (1usize..4, 1usize..16, 1usize..40),
            channels in 1usize..20,
            kernel in [1usize..6, 1usize..6],
            stride in [1usize..4, 1usize..4],
            pad in [0usize..3, 0usize..3],
            window in [1usize..4, 1usize..4],
            bias: bool,
            relu: bool,
            seed: u64,
        ) {
            let input = Shape::new(size.0, size.1, size.2);
            let pad = Padding::axes(pad);
            let conv = ConvOptions { kernel, stride, pad, bias, ..ConvOptions::square(1) };
            if let Some(chain) = plain(input, channels, conv, window, relu) {
                // Where few windows pass a ReLU, none may be there for a NaN to travel through.
                let options = Options { seed, samples: vec![3, 17], ..Options::default() };
                assert_proved(&fused(&chain), &options, &[Clause::NanTravels]);
                assert_same_bits(input, channels, conv, window, relu);
            }
        }
    }

    #[test]
    fn networks_take_the_chains_that_gain() {
        let nodes = |channels, pad| {
            let options = ConvOptions { pad: Padding::axes([pad, pad]), ..ConvOptions::square(3) };
            let conv = Conv2d::new(Shape::new(16, 8, 8), channels, options).unwrap();
            let pool = MaxPool2d::new(conv.output(), [2, 2], [2, 2]).unwrap();
            Network::<f32>::new(vec![Box::new(conv), Box::new(pool)]).unwrap().lowered().len()
        };
        assert_eq!(nodes(8, 0), 1);
        assert_eq!(nodes(8, 1), 2, "padded");
        assert_eq!(nodes(16, 1), 1, "by Winograd's filtering");
    }
}
