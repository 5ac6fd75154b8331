//! A dense layer as a step sees it: a product that takes rows, and whose parameter gradient can wait.

use crate::contract::Describe;
use crate::params::ParamsMut;
use crate::{Dense, LayerError};
use byhand_tensor::{Block, Input, Kept, Scalar, Tiles};
use std::ops::Range;

/// A dense layer. Its parameter gradient is a product of its `x` and its `dy` over the samples, and better made once
/// for a whole minibatch than block by block: long sums are fast sums, threads share its rows instead of adding up
/// gradients of their own, and for plain gradient descent it is never stored at all.
#[derive(Clone, PartialEq, Debug)]
pub struct Product(Dense);

/// What is done with a parameter gradient that was deferred.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Apply<T> {
    /// It is added to the gradient.
    Accumulate,
    /// Parameters descend along it at this rate, to the bits of both steps apart: it is never stored.
    Descend(T),
}

impl Product {
    pub(super) fn new(dense: Dense) -> Self {
        Self(dense)
    }

    pub(super) fn layer(&self) -> &Dense {
        &self.0
    }

    /// Inputs of a sample.
    pub fn inputs(&self) -> usize {
        self.0.kernel().inputs()
    }

    /// Outputs of a sample: rows of the weight, each of which can be computed and moved by itself.
    pub fn outputs(&self) -> usize {
        self.0.kernel().outputs()
    }

    /// Floating-point operations of the forward pass of a sample.
    pub fn flops(&self) -> u64 {
        Describe::flops(&self.0)
    }

    /// The product of some outputs alone, with only those terms of its sums that are of `inputs`. The products of all
    /// parts of the inputs add up to the whole; the bias goes with the first input.
    pub(super) fn slice(&self, outputs: Range<usize>, inputs: Range<usize>) -> Result<Self, LayerError> {
        let bias = self.0.has_bias() && inputs.start == 0;
        Ok(Self(Dense::new(inputs.len(), outputs.len(), bias)?))
    }

    /// Whether `x` may be rows that lie so many numbers apart, whatever the block: the results have the same bits.
    pub fn takes_rows(&self, apart: usize) -> bool {
        self.0.kernel().takes_rows(apart)
    }

    pub(super) fn forward<T: Scalar>(
        &self,
        block: Block,
        theta: &[T],
        x: Input<'_, T>,
        y: &mut [T],
        scratch: &mut [T],
    ) {
        let params = self.0.split(theta);
        self.0.kernel().forward(block, params.weight, params.bias, x, Tiles::new(block, y), scratch);
    }

    /// The parameter gradient is added, and `dx` overwritten, where they are wanted.
    pub(super) fn backward<T: Scalar>(
        &self,
        block: Block,
        theta: &[T],
        x: Input<'_, T>,
        dy: &[T],
        dx: Option<&mut [T]>,
        dtheta: Option<&mut [T]>,
        scratch: &mut [T],
    ) {
        let kernel = self.0.kernel();
        if let Some(dtheta) = dtheta {
            let ParamsMut { weight: dw, bias: db } = self.0.split_mut(dtheta);
            kernel.backward_params(0..self.outputs(), block, x, dy, dw, db, scratch);
        }
        if let Some(dx) = dx {
            let (w, dx) = (self.0.split(theta).weight, Tiles::new(block, dx));
            kernel.backward_input(0..self.inputs(), block, w, dy, dx, scratch);
        }
    }

    /// Numbers that [`keep`](Self::keep) needs for blocks that make up such a one, if their `x` are rows or not.
    pub fn kept_len(&self, block: Block, of_rows: bool) -> usize {
        self.0.kernel().kept_len(block, of_rows)
    }

    /// Keeps `x` and `dy` of a block as the samples from `first` on of `kept`; of rows only `dy`, and they must be
    /// [given](Kept::with_rows) again.
    pub fn keep<T: Scalar>(&self, block: Block, x: Input<'_, T>, dy: &[T], first: usize, kept: &mut [T]) {
        self.0.kernel().keep(block, x, dy, first, kept);
    }

    /// Applies the gradient of all kept samples to rows `rows`, which are all that `params` holds. The gradient has
    /// the bits of one block of these samples.
    pub fn apply_rows<T: Scalar>(
        &self,
        rows: Range<usize>,
        kept: &[Kept<'_, T>],
        apply: Apply<T>,
        params: ParamsMut<'_, T>,
    ) {
        let rate = match apply {
            Apply::Accumulate => None,
            Apply::Descend(rate) => Some(rate),
        };
        self.0.kernel().apply(rows, kept, rate, params.weight, params.bias);
    }

    /// A range of `theta` or of `dtheta`, split into its tensors.
    ///
    /// # Panics
    /// If the length is not that of the parameters.
    #[track_caller]
    pub fn split_mut<'a, T>(&self, theta: &'a mut [T]) -> ParamsMut<'a, T> {
        self.0.split_mut(theta)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{Layer, Pass, Saved};
    use crate::trial::random;
    use byhand_tensor::{Isa, RowView, pack, pack_gradient};
    use ndarray::ArrayView2;

    const RATE: f32 = 0.3;

    /// What the layer itself makes of some samples.
    struct Expected {
        block: Block,
        x: Vec<f32>,
        rows: Vec<f32>,
        theta: Vec<f32>,
        dy: Vec<f32>,
        y: Vec<f32>,
        dx: Vec<f32>,
        dtheta: Vec<f32>,
    }

    impl Expected {
        fn of(dense: &Dense, block: Block) -> Self {
            let (inputs, outputs) = (dense.kernel().inputs(), dense.kernel().outputs());
            let rows = random(1, block.samples() * inputs);
            let laid = |rows: &[f32], features: usize| {
                let mut out = vec![0.0; block.len(features)];
                let rows = ArrayView2::from_shape((block.samples(), features), rows).unwrap();
                pack(rows, block, &mut out);
                out
            };
            let x = laid(&rows, inputs);
            let (dy_rows, mut dy) =
                (random(2, block.samples() * outputs), vec![f32::NAN; block.len(outputs)]);
            let dy_rows = ArrayView2::from_shape((block.samples(), outputs), &dy_rows).unwrap();
            pack_gradient(dy_rows, block, &mut dy);
            let theta = random(3, dense.params().iter().map(|param| param.len()).sum());
            let (mut y, mut dx) = (vec![0.0; dy.len()], vec![0.0; x.len()]);
            let mut dtheta = vec![0.0; theta.len()];
            let mut scratch = vec![f32::NAN; dense.scratch_len(block)];
            let pass = Pass::eval(block);
            dense.forward(&pass, &theta, &x, &mut y, &mut [], &mut scratch);
            let saved = Saved { x: &x, y: &y, tape: &[] };
            dense.backward(&pass, &theta, saved, &dy, Some(&mut dx), &mut dtheta, &mut scratch);
            Self { block, x, rows, theta, dy, y, dx, dtheta }
        }

        /// The bits of what belongs to a sample.
        fn live(&self, features: usize, numbers: &[f32]) -> Vec<u32> {
            let each = (0..self.block.samples()).flat_map(|s| (0..features).map(move |f| (s, f)));
            each.map(|(s, f)| numbers[self.block.index(features, s, f)].to_bits()).collect()
        }
    }

    fn bits(numbers: &[f32]) -> Vec<u32> {
        numbers.iter().map(|number| number.to_bits()).collect()
    }

    /// Every size, number of samples, layout and instruction set.
    fn each(check: impl Fn(&Product, &Expected, &str)) {
        for (inputs, outputs, bias) in
            [(5, 3, true), (16, 16, true), (48, 33, false), (80, 27, true), (300, 7, true)]
        {
            let dense = Dense::new(inputs, outputs, bias).unwrap();
            let blocks = [1, 2, 5, 8, 16, 17, 40].map(|n| [Block::tiled(n), Block::single(n)]);
            for block in blocks.into_iter().flatten() {
                for isa in Isa::available() {
                    let at = format!("{inputs} to {outputs}, {block:?}, {isa}");
                    isa.with(|| check(&Product::new(dense.clone()), &Expected::of(&dense, block), &at));
                }
            }
        }
    }

    #[test]
    fn a_gradient_that_waited_has_the_bits_of_the_layers() {
        each(|product, expected, at| {
            let Expected { block, x, theta, dy, dtheta, .. } = expected;
            let (block, lanes) = (*block, block.lanes());
            let (inputs, outputs) = (product.inputs(), product.outputs());
            // The same samples as one block, and tile by tile: all in a buffer, and each in a buffer of its own.
            let of_tile = |t: usize, features: usize| t * features * lanes..(t + 1) * features * lanes;
            let tile = |t: usize| if lanes == 1 { Block::single(1) } else { Block::tiled(block.live(t)) };
            let room = || vec![f32::NAN; product.kept_len(block, false)];
            let (mut whole, mut in_turn) = (room(), room());
            product.keep(block, Input::Block(x), dy, 0, &mut whole);
            let mut apart = vec![room(); block.tiles()];
            for (t, apart) in apart.iter_mut().enumerate() {
                let (x, dy) = (Input::Block(&x[of_tile(t, inputs)]), &dy[of_tile(t, outputs)]);
                product.keep(tile(t), x, dy, t * lanes, &mut in_turn);
                product.keep(tile(t), x, dy, 0, apart);
            }
            let apart = apart.iter().enumerate().map(|(t, apart)| Kept::new(tile(t), block, apart)).collect();
            let one = |kept| vec![Kept::new(block, block, kept)];
            let stepped: Vec<f32> =
                theta.iter().zip(dtheta).map(|(theta, dtheta)| theta - RATE * dtheta).collect();
            for (how, kept) in [("as one", one(&whole)), ("in turn", one(&in_turn)), ("apart", apart)] {
                for (apply, mut found, wanted) in [
                    (Apply::Accumulate, vec![0.0; theta.len()], dtheta),
                    (Apply::Descend(RATE), theta.clone(), &stepped),
                ] {
                    let mid = outputs / 2;
                    let (first, rest) = product.split_mut(&mut found).split_rows(mid, outputs);
                    product.apply_rows(0..mid, &kept, apply, first);
                    product.apply_rows(mid..outputs, &kept, apply, rest);
                    assert_eq!(bits(&found), bits(wanted), "{apply:?}, kept {how}, {at}");
                }
            }
            let (mut dx, mut scratch) =
                (vec![f32::NAN; x.len()], vec![f32::NAN; product.0.scratch_len(block)]);
            product.backward(block, theta, Input::Block(x), dy, Some(&mut dx), None, &mut scratch);
            assert_eq!(expected.live(inputs, &dx), expected.live(inputs, &expected.dx), "dx alone, {at}");
        });
    }

    #[test]
    fn rows_as_they_come_have_the_bits_of_blocks() {
        each(|product, expected, at| {
            let Expected { block, rows, theta, dy, y, dtheta, .. } = expected;
            let (block, inputs, outputs) = (*block, product.inputs(), product.outputs());
            assert_eq!(product.takes_rows(inputs), [16, 48, 80].contains(&inputs), "{at}");
            if !product.takes_rows(inputs) {
                return;
            }
            let rows = RowView::new(inputs, rows);
            let mut scratch = vec![f32::NAN; product.0.scratch_len(block)];
            let mut found = vec![f32::NAN; y.len()];
            product.forward(block, theta, Input::Rows(rows), &mut found, &mut scratch);
            assert_eq!(expected.live(outputs, &found), expected.live(outputs, y), "y, {at}");
            let mut found = vec![0.0; theta.len()];
            scratch.fill(f32::NAN);
            product.backward(block, theta, Input::Rows(rows), dy, None, Some(&mut found), &mut scratch);
            assert_eq!(bits(&found), bits(dtheta), "dtheta, {at}");
            let mut kept = vec![f32::NAN; product.kept_len(block, true)];
            product.keep(block, Input::Rows(rows), dy, 0, &mut kept);
            let kept = [Kept::new(block, block, &kept).with_rows(rows)];
            let mut found = vec![0.0; theta.len()];
            product.apply_rows(0..outputs, &kept, Apply::Accumulate, product.split_mut(&mut found));
            assert_eq!(bits(&found), bits(dtheta), "dtheta, dy kept, {at}");
        });
    }
}
