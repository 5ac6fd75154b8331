//! A chain of operations, forward and backward.

use super::Product;
use crate::contract::{Layer, Pass, Saved};
use crate::conv_pool2d::ConvPool2d;
use crate::workspace::Workspace;
use crate::{Dense, Relu, Shape, Sigmoid, Tanh};
use byhand_tensor::{Block, Input, RowView, Scalar};
use std::any::Any;
use std::ops::Range;
use std::sync::Arc;

/// What a network runs: its layers but for the identities, chains of convolution, ReLU and pooling as one, dense
/// layers as [products](Product). Like a network it holds no parameters and no state.
#[derive(Clone, Debug)]
pub struct Lowered<T: Scalar = f32> {
    pub(super) input: Shape,
    pub(super) nodes: Vec<Node<T>>,
    pub(super) param_len: usize,
}

/// An operation, and where its parameters lie.
#[derive(Clone, Debug)]
pub(super) struct Node<T: Scalar> {
    pub(super) op: Op<T>,
    /// Index of its first layer in the network; dropout draws by it.
    pub(super) index: usize,
    pub(super) theta: Range<usize>,
}

/// One of few kinds of operation.
#[derive(Clone, Debug)]
pub(super) enum Op<T: Scalar> {
    /// A dense layer.
    Product(Product),
    /// Any other layer, of which nothing more is known than the contract says.
    Layer(Arc<dyn Layer<T>>),
}

/// Saves the operands of a product, or says that it does not: given are its place among the products, itself, its `x`
/// and its `dy`.
pub type Save<'a, T> = dyn FnMut(usize, &Product, Input<'_, T>, &[T]) -> bool + 'a;

/// What a backward pass over a part of a minibatch takes and gives, beside the gradient of the output.
pub struct Backward<'a, 's, T> {
    /// The rows of the forward pass, if there were any.
    pub rows: Option<RowView<'a, T>>,
    /// The gradient of the parameters, which is added to.
    pub dtheta: &'a mut [T],
    /// The gradient of the input, which is overwritten, if it is wanted.
    pub dx: Option<&'a mut [T]>,
    /// So many parameters, from the first on, are constants: nothing that only their gradient would need is computed.
    pub frozen: usize,
    /// Called for each product, last one first. Where it saves the operands, nothing is added to `dtheta`.
    pub save: &'a mut Save<'s, T>,
}

impl<T: Scalar> Lowered<T> {
    /// These layers; with chains as one if `fuse` says so.
    pub(crate) fn new(layers: &[Arc<dyn Layer<T>>], input: Shape, fuse: bool) -> Self {
        let (mut nodes, mut start, mut index) = (Vec::new(), 0, 0);
        while index < layers.len() {
            let chain = ConvPool2d::beginning(&layers[index..]).filter(|_| fuse);
            let count = chain.as_ref().map_or(1, |(_, count)| *count);
            let params = layers[index..index + count].iter().flat_map(|layer| layer.params());
            let end = start + params.map(|param| param.len()).sum::<usize>();
            let op = match chain {
                Some((chain, _)) => Op::Layer(Arc::new(chain)),
                None => Op::of(&layers[index]),
            };
            if !op.layer().is_identity() {
                nodes.push(Node { op, index, theta: start..end });
            }
            (start, index) = (end, index + count);
        }
        Self { input, nodes, param_len: start }
    }

    /// Shape of an input sample.
    pub fn input(&self) -> Shape {
        self.input
    }

    /// Shape of an output sample.
    pub fn output(&self) -> Shape {
        self.nodes.last().map_or(self.input, |node| node.op.layer().output())
    }

    /// Length of `theta`.
    pub fn param_len(&self) -> usize {
        self.param_len
    }

    /// Whether no layer sees more of an input than a list of numbers: there are no images in it, and no channels.
    pub fn is_flat(&self) -> bool {
        let mut layers = self.nodes.iter().map(|node| node.op.layer());
        layers.all(|layer| layer.input().is_flat() && layer.output().is_flat())
    }

    /// Floating-point operations of a training step for one sample: forward, and backward for parameters and inputs,
    /// but for the chain's own input. Matrix products and convolutions only; a multiply-add counts 2.
    pub fn flops(&self) -> u64 {
        let first = self.first_trained(0);
        let layers = self.nodes.iter().map(|node| node.op.layer()).enumerate();
        layers.map(|(place, layer)| layer.flops() + layer.backward_flops(place > first)).sum()
    }

    /// Whether the input may come as rows, one sample after the other, so many numbers apart, whatever the block.
    pub fn takes_rows(&self, apart: usize) -> bool {
        let first = self.nodes.first().and_then(|node| node.op.product());
        first.is_some_and(|product| product.takes_rows(apart))
    }

    /// The products, in order: the index of each layer in the network, its range of `theta`, itself.
    pub fn products(&self) -> impl Iterator<Item = (usize, Range<usize>, &Product)> {
        self.nodes.iter().filter_map(|node| Some((node.index, node.theta.clone(), node.op.product()?)))
    }

    /// Runs all operations on `rows`, where the chain [takes](Self::takes_rows) them and there are such, else on
    /// [`Workspace::input_mut`], and leaves the result in [`Workspace::output`].
    ///
    /// # Panics
    /// If `theta` has not [`param_len`](Self::param_len) numbers, the workspace was built for another chain, its
    /// block is not the pass's, or there are rows that the chain does not take.
    #[track_caller]
    pub fn forward(&self, pass: &Pass, theta: &[T], rows: Option<RowView<'_, T>>, ws: &mut Workspace<T>) {
        self.assert_fits(pass, theta, ws);
        for (place, node) in self.nodes.iter().enumerate() {
            let Lengths { x, y, tape, scratch } = node.lengths(pass.block);
            let (before, after) = ws.activations.split_at_mut(place + 1);
            let x = input_of(place, rows, &before[place][..x]);
            let (y, tape) = (&mut after[0][..y], &mut ws.tapes[place][..tape]);
            let (theta, scratch) = (&theta[node.theta.clone()], &mut ws.scratch[..scratch]);
            match &node.op {
                Op::Product(product) => product.forward(pass.block, theta, x, y, scratch),
                Op::Layer(layer) => layer.forward(&node.pass(pass), theta, x.block(), y, tape, scratch),
            }
        }
    }

    /// Runs all operations backwards from [`Workspace::output_grad_mut`], after a forward pass of the same block.
    ///
    /// # Panics
    /// As [`forward`](Self::forward); `dtheta` must be as long as `theta`.
    #[track_caller]
    pub fn backward(&self, pass: &Pass, theta: &[T], backward: Backward<'_, '_, T>, ws: &mut Workspace<T>) {
        let Backward { rows, dtheta, dx: mut input_grad, frozen, save } = backward;
        self.assert_fits(pass, theta, ws);
        assert_eq!(dtheta.len(), self.param_len, "network: length of dtheta");
        let [dy, dx] = &mut ws.gradients;
        let (mut dy, mut dx) = (dy, dx);
        let mut products = self.products().count();
        let first = if input_grad.is_some() { 0 } else { self.first_trained(frozen) };
        for (place, node) in self.nodes.iter().enumerate().skip(first).rev() {
            let Lengths { x, y, tape, scratch } = node.lengths(pass.block);
            let wanted_dx = if place > first { Some(&mut dx[..x]) } else { input_grad.take() };
            let (x, dy_now) = (input_of(place, rows, &ws.activations[place][..x]), &dy[..y]);
            let (theta, dtheta) = (&theta[node.theta.clone()], &mut dtheta[node.theta.clone()]);
            let scratch = &mut ws.scratch[..scratch];
            match &node.op {
                Op::Product(product) => {
                    products -= 1;
                    let dtheta = (!save(products, product, x, dy_now)).then_some(dtheta);
                    product.backward(pass.block, theta, x, dy_now, wanted_dx, dtheta, scratch);
                }
                Op::Layer(layer) => {
                    let (y, tape) = (&ws.activations[place + 1][..y], &ws.tapes[place][..tape]);
                    let saved = Saved { x: x.block(), y, tape };
                    layer.backward(&node.pass(pass), theta, saved, dy_now, wanted_dx, dtheta, scratch);
                }
            }
            std::mem::swap(&mut dy, &mut dx);
        }
        // There was no operation.
        if let Some(dx) = input_grad {
            dx.copy_from_slice(&dy[..dx.len()]);
        }
    }

    /// What a workspace has room for: features of the input and of every output, numbers of every tape, and of scratch.
    pub(crate) fn memory(&self, block: Block) -> (Vec<usize>, Vec<usize>, usize) {
        let layers = || self.nodes.iter().map(|node| node.op.layer());
        let outputs = layers().map(|layer| layer.output().features());
        let features = [self.input.features()].into_iter().chain(outputs).collect();
        let tapes = layers().map(|layer| layer.tape_len(block)).collect();
        (features, tapes, layers().map(|layer| layer.scratch_len(block)).max().unwrap_or(0))
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Where the way back ends: the first operation with parameters, if the first `frozen` are constants.
    fn first_trained(&self, frozen: usize) -> usize {
        self.nodes.iter().take_while(|node| node.theta.end <= frozen).count()
    }

    #[track_caller]
    fn assert_fits(&self, pass: &Pass, theta: &[T], ws: &Workspace<T>) {
        assert_eq!(theta.len(), self.param_len, "network: length of theta");
        assert_eq!(pass.block, ws.block(), "network: block of the pass against block of the workspace");
        let outputs = self.nodes.iter().map(|node| node.op.layer().output().features());
        let features = [self.input.features()].into_iter().chain(outputs);
        assert!(
            features.eq(ws.features.iter().copied()),
            "network: the workspace was built for another network"
        );
    }
}

/// Lengths of a node's operands for a block.
struct Lengths {
    x: usize,
    y: usize,
    tape: usize,
    scratch: usize,
}

impl<T: Scalar> Node<T> {
    fn lengths(&self, block: Block) -> Lengths {
        let layer = self.op.layer();
        Lengths {
            x: block.len(layer.input().features()),
            y: block.len(layer.output().features()),
            tape: layer.tape_len(block),
            scratch: layer.scratch_len(block),
        }
    }

    fn pass(&self, pass: &Pass) -> Pass {
        Pass { block: pass.block, mode: pass.mode.for_layer(self.index) }
    }
}

impl<T: Scalar> Op<T> {
    fn of(layer: &Arc<dyn Layer<T>>) -> Self {
        match downcast::<Dense, T>(&**layer) {
            Some(dense) => Self::Product(Product::new(dense.clone())),
            None => Self::Layer(Arc::clone(layer)),
        }
    }

    pub(super) fn layer(&self) -> &dyn Layer<T> {
        match self {
            Self::Product(product) => product.layer(),
            Self::Layer(layer) => &**layer,
        }
    }

    pub(super) fn product(&self) -> Option<&Product> {
        match self {
            Self::Product(product) => Some(product),
            Self::Layer(_) => None,
        }
    }

    /// The same of `features` features, if it is a function of each by itself.
    pub(super) fn of_features(&self, features: usize) -> Option<Self> {
        let (layer, shape) = (self.layer(), Shape::flat(features));
        let narrow: Option<Arc<dyn Layer<T>>> = if downcast::<Relu, T>(layer).is_some() {
            Some(Arc::new(Relu::new(shape)))
        } else if downcast::<Tanh, T>(layer).is_some() {
            Some(Arc::new(Tanh::new(shape)))
        } else if downcast::<Sigmoid, T>(layer).is_some() {
            Some(Arc::new(Sigmoid::new(shape)))
        } else {
            None
        };
        narrow.map(Self::Layer)
    }
}

/// The layer, if it is such a one.
pub(crate) fn downcast<L: 'static, T: Scalar>(layer: &dyn Layer<T>) -> Option<&L> {
    let layer: &dyn Any = layer;
    layer.downcast_ref()
}

/// What the operation at `place` is fed: the first one rows, if there are any, else the activation there.
fn input_of<'a, T: Copy>(place: usize, rows: Option<RowView<'a, T>>, activation: &'a [T]) -> Input<'a, T> {
    match rows {
        Some(rows) if place == 0 => Input::Rows(rows),
        _ => Input::Block(activation),
    }
}
