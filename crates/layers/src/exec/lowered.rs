//! A chain of operations, forward and backward.

use super::Product;
use crate::contract::{Layer, Pass, Saved, downcast};
use crate::conv_pool2d::ConvPool2d;
use crate::workspace::{Memory, Workspace};
use crate::{BatchNorm, Dense, Describe, Relu, Shape, Sigmoid, Tanh};
use byhand_tensor::{Block, Input, RowView, Scalar};
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
    /// A batch normalisation, which the parts of a minibatch do together.
    Norm(BatchNorm),
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
            let layers_here = layers[index..index + count].iter();
            let params = layers_here.flat_map(|layer| layer.params().into_iter().chain(layer.state()));
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

    /// The ranges of `theta` that are [state](crate::Describe::state), in order.
    pub fn states(&self) -> impl Iterator<Item = Range<usize>> {
        self.nodes.iter().filter_map(|node| {
            let len = node.op.layer().state().iter().map(|state| state.len()).sum::<usize>();
            (len > 0).then(|| node.theta.end - len..node.theta.end)
        })
    }

    /// Layers that see the whole minibatch. Its parts must be trained in phases: there is one phase more.
    pub fn norms(&self) -> usize {
        self.norm_places().count()
    }

    /// Runs all operations on `rows`, where the chain [takes](Self::takes_rows) them and there are such, else on
    /// [`Workspace::input_mut`], and leaves the result in [`Workspace::output`]. The block is the minibatch.
    ///
    /// # Panics
    /// If `theta` has not [`param_len`](Self::param_len) numbers, the workspace was built for another chain, its
    /// block is not the pass's, or there are rows that the chain does not take.
    #[track_caller]
    pub fn forward(&self, pass: &Pass, theta: &[T], rows: Option<RowView<'_, T>>, ws: &mut Workspace<T>) {
        self.assert_fits(pass, theta, ws);
        (0..self.nodes.len()).for_each(|place| self.forward_one(place, pass, theta, rows, ws));
    }

    /// One phase of the forward pass of a part of a minibatch: what follows batch normalisation `phase - 1` (or the
    /// input, of phase 0), up to batch normalisation `phase`, of which it measures the input. Between two phases
    /// all parts' workspaces go through [`merge`](Self::merge). The last phase leaves the output.
    ///
    /// # Panics
    /// As [`forward`](Self::forward).
    #[track_caller]
    pub fn forward_phase(
        &self,
        phase: usize,
        pass: &Pass,
        theta: &[T],
        rows: Option<RowView<'_, T>>,
        ws: &mut Workspace<T>,
    ) {
        self.assert_fits(pass, theta, ws);
        let (before, next) = (phase.checked_sub(1).and_then(|phase| self.norm(phase)), self.norm(phase));
        if let Some((place, norm)) = before {
            let Lengths { x, y, tape, .. } = self.nodes[place].lengths(pass.block);
            let (before, after) = ws.activations.split_at_mut(place + 1);
            let (theta, measured) = (&theta[self.nodes[place].theta.clone()], &ws.tapes[place][..tape]);
            norm.normalise(pass.block, theta, measured, &before[place][..x], &mut after[0][..y]);
        }
        let start = before.map_or(0, |(place, _)| place + 1);
        let end = next.map_or(self.nodes.len(), |(place, _)| place);
        (start..end).for_each(|place| self.forward_one(place, pass, theta, rows, ws));
        if let Some((place, norm)) = next {
            let Lengths { x, tape, .. } = self.nodes[place].lengths(pass.block);
            norm.measure(pass.block, &ws.activations[place][..x], &mut ws.tapes[place][..tape]);
        }
    }

    /// Makes what parts of a minibatch measured of batch normalisation `norm` what the minibatch measures, in the
    /// workspaces of all. They are merged pairwise, (0+1)+(2+3)+..., whoever computed them.
    pub fn merge<P>(&self, norm: usize, parts: &mut [P], workspace: impl Fn(&mut P) -> &mut Workspace<T>) {
        let Some((place, norm)) = self.norm(norm) else { return };
        merge_tapes(parts, |part| &mut workspace(part).tapes[place], |a, b| norm.merge(a, b));
    }

    /// The same of the sums that the gradient of a batch normalisation's input needs.
    pub fn merge_sums<P>(
        &self,
        norm: usize,
        parts: &mut [P],
        workspace: impl Fn(&mut P) -> &mut Workspace<T>,
    ) {
        let Some((place, _)) = self.norm(norm) else { return };
        let add = |a: &mut [T], b: &[T]| a.iter_mut().zip(b).for_each(|(a, &b)| *a += b);
        merge_tapes(parts, |part| &mut workspace(part).sums[place], add);
    }

    /// Whether all that was measured of a minibatch is finite.
    pub fn is_measured_finite(&self, ws: &Workspace<T>) -> bool {
        self.norm_places().all(|place| ws.tapes[place].iter().all(|number| number.is_finite()))
    }

    /// Has all batch normalisations behind the first `frozen` parameters remember what was measured of a minibatch.
    pub fn remember(&self, frozen: usize, theta: &mut [T], ws: &Workspace<T>) {
        for place in self.norm_places() {
            let Node { op: Op::Norm(norm), theta: range, .. } = &self.nodes[place] else { continue };
            if range.start >= frozen {
                norm.remember(&ws.tapes[place], &mut theta[range.clone()]);
            }
        }
    }

    /// Runs all operations backwards from [`Workspace::output_grad_mut`], after a forward pass of the same block, which
    /// is the minibatch.
    ///
    /// # Panics
    /// As [`forward`](Self::forward); `dtheta` must be as long as `theta`.
    #[track_caller]
    pub fn backward(&self, pass: &Pass, theta: &[T], backward: Backward<'_, '_, T>, ws: &mut Workspace<T>) {
        let mut way = self.way(pass, theta, backward, ws);
        let places = way.first..self.nodes.len();
        places.rev().for_each(|place| self.backward_one(place, pass, theta, &mut way, ws));
        way.end(ws);
    }

    /// One phase of the backward pass of a part of a minibatch, last phase first: from the output (of the last phase, or
    /// from batch normalisation `phase`) down to batch normalisation `phase - 1`, of which it makes the sums. Between
    /// two phases all parts' workspaces go through [`merge_sums`](Self::merge_sums). The gradient of the chain's input is
    /// written in phase 0.
    ///
    /// # Panics
    /// As [`backward`](Self::backward).
    #[track_caller]
    pub fn backward_phase(
        &self,
        phase: usize,
        pass: &Pass,
        theta: &[T],
        backward: Backward<'_, '_, T>,
        ws: &mut Workspace<T>,
    ) {
        let mut way = self.way(pass, theta, backward, ws);
        let first = way.first;
        let (below, above) = (phase.checked_sub(1).and_then(|phase| self.norm(phase)), self.norm(phase));
        if let Some((place, norm)) = above.filter(|(place, _)| *place > first || way.dx.is_some()) {
            let Lengths { x, y, tape, .. } = self.nodes[place].lengths(pass.block);
            let (theta, tape) = (&theta[self.nodes[place].theta.clone()], &ws.tapes[place][..tape]);
            let [dy, dx] = &mut ws.gradients;
            let (x, dx) = (&ws.activations[place][..x], &mut dx[..x]);
            norm.input_gradient(pass.block, theta, tape, &ws.sums[place], x, &dy[..y], dx);
            ws.gradients.swap(0, 1);
        }
        let start = below.map_or(0, |(place, _)| place + 1).max(first);
        let end = above.map_or(self.nodes.len(), |(place, _)| place);
        (start..end).rev().for_each(|place| self.backward_one(place, pass, theta, &mut way, ws));
        if let Some((place, norm)) = below.filter(|(place, _)| *place >= first) {
            let Lengths { x, y, tape, .. } = self.nodes[place].lengths(pass.block);
            let (measured, sums) = (&ws.tapes[place][..tape], &mut ws.sums[place]);
            norm.sums(pass.block, measured, &ws.activations[place][..x], &ws.gradients[0][..y], sums);
            norm.add_params(measured, sums, &mut way.dtheta[self.nodes[place].theta.clone()]);
        }
        if phase == 0 {
            way.end(ws);
        }
    }

    #[track_caller]
    fn way<'a, 's>(
        &self,
        pass: &Pass,
        theta: &[T],
        backward: Backward<'a, 's, T>,
        ws: &Workspace<T>,
    ) -> Way<'a, 's, T> {
        let Backward { rows, dtheta, dx, frozen, save } = backward;
        self.assert_fits(pass, theta, ws);
        assert_eq!(dtheta.len(), self.param_len, "network: length of dtheta");
        let first = if dx.is_some() { 0 } else { self.first_trained(frozen) };
        Way { rows, dtheta, dx, first, save }
    }

    fn forward_one(
        &self,
        place: usize,
        pass: &Pass,
        theta: &[T],
        rows: Option<RowView<'_, T>>,
        ws: &mut Workspace<T>,
    ) {
        let node = &self.nodes[place];
        let Lengths { x, y, tape, scratch } = node.lengths(pass.block);
        let (before, after) = ws.activations.split_at_mut(place + 1);
        let x = input_of(place, rows, &before[place][..x]);
        let (y, tape) = (&mut after[0][..y], &mut ws.tapes[place][..tape]);
        let (theta, scratch) = (&theta[node.theta.clone()], &mut ws.scratch[..scratch]);
        match &node.op {
            Op::Product(product) => product.forward(pass.block, theta, x, y, scratch),
            Op::Norm(norm) => norm.forward(&node.pass(pass), theta, x.block(), y, tape, scratch),
            Op::Layer(layer) => layer.forward(&node.pass(pass), theta, x.block(), y, tape, scratch),
        }
    }

    /// From the gradient of the operation's output, the first of the workspace's gradients, to that of its input, which is the
    /// first then.
    fn backward_one(
        &self,
        place: usize,
        pass: &Pass,
        theta: &[T],
        way: &mut Way<'_, '_, T>,
        ws: &mut Workspace<T>,
    ) {
        let node = &self.nodes[place];
        let Lengths { x, y, tape, scratch } = node.lengths(pass.block);
        let [dy, dx] = &mut ws.gradients;
        let dx = if place > way.first { Some(&mut dx[..x]) } else { way.dx.take() };
        let (x, dy) = (input_of(place, way.rows, &ws.activations[place][..x]), &dy[..y]);
        let (theta, dtheta) = (&theta[node.theta.clone()], &mut way.dtheta[node.theta.clone()]);
        let scratch = &mut ws.scratch[..scratch];
        let layer: &dyn Layer<T> = match &node.op {
            Op::Product(product) => {
                let before = self.nodes[..place].iter().filter(|node| node.op.product().is_some()).count();
                let dtheta = (!(way.save)(before, product, x, dy)).then_some(dtheta);
                product.backward(pass.block, theta, x, dy, dx, dtheta, scratch);
                return ws.gradients.swap(0, 1);
            }
            Op::Norm(norm) => norm,
            Op::Layer(layer) => &**layer,
        };
        let (y, tape) = (&ws.activations[place + 1][..y], &ws.tapes[place][..tape]);
        let saved = Saved { x: x.block(), y, tape };
        layer.backward(&node.pass(pass), theta, saved, dy, dx, dtheta, scratch);
        ws.gradients.swap(0, 1);
    }

    /// Where batch normalisation `norm` is, if there are so many.
    fn norm(&self, norm: usize) -> Option<(usize, &BatchNorm)> {
        let place = self.norm_places().nth(norm)?;
        match &self.nodes[place].op {
            Op::Norm(norm) => Some((place, norm)),
            _ => None,
        }
    }

    fn norm_places(&self) -> impl Iterator<Item = usize> {
        let nodes = self.nodes.iter().enumerate();
        nodes.filter(|(_, node)| matches!(node.op, Op::Norm(_))).map(|(place, _)| place)
    }

    /// What a workspace has room for.
    pub(crate) fn memory(&self, block: Block) -> Memory {
        let layers = || self.nodes.iter().map(|node| node.op.layer());
        let sums = |node: &Node<T>| if let Op::Norm(norm) = &node.op { 2 * norm.input().c } else { 0 };
        Memory {
            features: self.features().collect(),
            tapes: layers().map(|layer| layer.tape_len(block)).collect(),
            sums: self.nodes.iter().map(sums).collect(),
            scratch: layers().map(|layer| layer.scratch_len(block)).max().unwrap_or(0),
        }
    }

    /// Features of the input and of every output.
    fn features(&self) -> impl Iterator<Item = usize> {
        let outputs = self.nodes.iter().map(|node| node.op.layer().output().features());
        [self.input.features()].into_iter().chain(outputs)
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
        assert!(
            self.features().eq(ws.features.iter().copied()),
            "network: the workspace was built for another network"
        );
    }
}

impl<T: Scalar> Workspace<T> {
    /// Memory for a chain of operations and blocks of this layout with up to as many tiles.
    pub fn of(chain: &Lowered<T>, block: Block) -> Self {
        Self::with(chain.memory(block), block)
    }

    /// The bytes that [`of`](Self::of) takes, without taking them.
    pub fn bytes_for(chain: &Lowered<T>, block: Block) -> usize {
        chain.memory(block).numbers(block) * size_of::<T>()
    }
}

/// What a backward pass takes along.
struct Way<'a, 's, T> {
    rows: Option<RowView<'a, T>>,
    dtheta: &'a mut [T],
    dx: Option<&'a mut [T]>,
    /// Where it ends.
    first: usize,
    save: &'a mut Save<'s, T>,
}

impl<T: Scalar> Way<'_, '_, T> {
    /// Where there was no operation, the gradient of the input is that of the output.
    fn end(self, ws: &Workspace<T>) {
        if let Some(dx) = self.dx {
            dx.copy_from_slice(&ws.gradients[0][..dx.len()]);
        }
    }
}

/// Merges the numbers of all parts, pairwise, and gives them to all.
fn merge_tapes<P, T: Scalar>(
    parts: &mut [P],
    numbers: impl Fn(&mut P) -> &mut [T],
    merge: impl Fn(&mut [T], &[T]),
) {
    let mut distance = 1;
    while distance < parts.len() {
        for pair in parts.chunks_mut(2 * distance).filter(|pair| pair.len() > distance) {
            let (a, b) = pair.split_at_mut(distance);
            merge(numbers(&mut a[0]), numbers(&mut b[0]));
        }
        distance *= 2;
    }
    if let Some((first, others)) = parts.split_first_mut() {
        others.iter_mut().for_each(|other| numbers(other).copy_from_slice(numbers(first)));
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
        if let Some(dense) = downcast::<Dense, T>(&**layer) {
            Self::Product(Product::new(dense.clone()))
        } else if let Some(norm) = downcast::<BatchNorm, T>(&**layer) {
            Self::Norm(norm.clone())
        } else {
            Self::Layer(Arc::clone(layer))
        }
    }

    pub(super) fn layer(&self) -> &dyn Layer<T> {
        match self {
            Self::Product(product) => product.layer(),
            Self::Norm(norm) => norm,
            Self::Layer(layer) => &**layer,
        }
    }

    pub(super) fn product(&self) -> Option<&Product> {
        match self {
            Self::Product(product) => Some(product),
            Self::Norm(_) | Self::Layer(_) => None,
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

/// What the operation at `place` is fed: the first one rows, if there are any, else the activation there.
fn input_of<'a, T: Copy>(place: usize, rows: Option<RowView<'a, T>>, activation: &'a [T]) -> Input<'a, T> {
    match rows {
        Some(rows) if place == 0 => Input::Rows(rows),
        _ => Input::Block(activation),
    }
}
