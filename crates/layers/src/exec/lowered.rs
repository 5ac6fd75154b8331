//! Operations in turn, each on what earlier ones wrote, forward and backward.

use super::Product;
use super::flow::{Back, Flow, Give, flows};
use crate::batch_norm_chain::BatchNormChain;
use crate::branches::{Branches, Join, add};
use crate::contract::{Layer, Pass, Saved, downcast};
use crate::conv_pool2d::ConvPool2d;
use crate::workspace::{Memory, Workspace};
use crate::{Dense, Describe, Relu, Shape, Sigmoid, Tanh};
use byhand_tensor::{Block, Buffer, Input, RowView, Scalar};
use std::ops::Range;
use std::sync::Arc;

/// What a network runs: its layers but for the identities, chains of convolution, ReLU and pooling as one, dense
/// layers as [products](Product), the layers of [`Branches`] one by one and then what joins them. Like a network it holds no parameters
/// and no state.
#[derive(Clone, Debug)]
pub struct Lowered<T: Scalar = f32> {
    pub(super) input: Shape,
    pub(super) nodes: Vec<Node<T>>,
    pub(super) param_len: usize,
    /// Slots for gradients, and the one in which that of the input is in the end.
    slots: usize,
    input_slot: usize,
}

/// An operation, what it reads, and where its parameters lie.
#[derive(Clone, Debug)]
pub(super) struct Node<T: Scalar> {
    pub(super) op: Op<T>,
    /// The activations that it reads; it writes the one behind its place.
    pub(super) reads: Vec<usize>,
    /// Where the gradients of those lie.
    pub(super) flow: Flow,
    pub(super) origin: Origin,
    pub(super) theta: Range<usize>,
}

/// The layer of the network that an operation is made of, or begins with.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    /// Its index in the network; behind it, for each layer of branches around it, the index of the branch and that in the branch. Dropout
    /// draws by it.
    path: Vec<usize>,
    /// The same in words: `3`, `3.main.0`.
    name: String,
}

/// One of few kinds of operation.
#[derive(Clone, Debug)]
pub(super) enum Op<T: Scalar> {
    /// A dense layer.
    Product(Product),
    /// A batch normalisation, with a ReLU and a pooling behind it or without, which the parts of a minibatch do together.
    Norm(BatchNormChain),
    /// Any other layer, of which nothing more is known than the contract says.
    Layer(Arc<dyn Layer<T>>),
    /// The end of branches, and the shape of what they become.
    Join(Join, Shape),
}

/// An operation, as [`Lowered::operations`] lists it.
#[derive(Clone, PartialEq, Debug)]
pub struct Operation<'a> {
    /// The layer of the network that it is made of, or begins with: `3`, or `3.main.0` in a branch.
    pub layer: &'a str,
    /// Its word in the layer-spec grammar.
    pub name: &'static str,
    /// All layers that it is made of, as the grammar says them; of what joins branches the word alone.
    pub spec: String,
    /// Its output shape.
    pub output: Shape,
    /// How many parameters it has.
    pub params: usize,
    /// Numbers of its output and of what it keeps for the backward pass, for a block of that layout.
    pub activations: usize,
    /// Floating-point operations of the forward pass for one sample.
    pub forward_flops: u64,
    /// Floating-point operations of the backward pass for one sample, as far as a training step needs it.
    pub backward_flops: u64,
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
        let mut made = Made { nodes: Vec::new(), param_len: 0, fuse };
        made.add_chain(layers, &Origin { path: Vec::new(), name: String::new() }, 0);
        Self::of(input, made.nodes, made.param_len)
    }

    pub(super) fn of(input: Shape, mut nodes: Vec<Node<T>>, param_len: usize) -> Self {
        let operations: Vec<_> = nodes.iter().map(|node| (node.reads.clone(), node.op.back())).collect();
        let (flows, slots, input_slot) = flows(&operations);
        nodes.iter_mut().zip(flows).for_each(|(node, flow)| node.flow = flow);
        Self { input, nodes, param_len, slots, input_slot }
    }

    /// Shape of an input sample.
    pub fn input(&self) -> Shape {
        self.input
    }

    /// Shape of an output sample.
    pub fn output(&self) -> Shape {
        self.nodes.last().map_or(self.input, |node| node.op.output())
    }

    /// Length of `theta`.
    pub fn param_len(&self) -> usize {
        self.param_len
    }

    /// Whether no layer sees more of an input than a list of numbers: there are no images in it, and no channels.
    pub fn is_flat(&self) -> bool {
        let mut layers = self.nodes.iter().filter_map(|node| node.op.layer());
        layers.all(|layer| layer.input().is_flat() && layer.output().is_flat())
    }

    /// Floating-point operations of a training step for one sample: forward, and backward for parameters and inputs,
    /// but for the chain's own input. Matrix products and convolutions only; a multiply-add counts 2.
    pub fn flops(&self) -> u64 {
        let operations = self.operations(Block::single(1));
        operations.map(|operation| operation.forward_flops + operation.backward_flops).sum()
    }

    /// Whether the input may come as rows, one sample after the other, so many numbers apart, whatever the block.
    pub fn takes_rows(&self, apart: usize) -> bool {
        let first = self.nodes.first().and_then(|node| node.op.product());
        let others = self.nodes.iter().skip(1).flat_map(|node| &node.reads);
        first.is_some_and(|product| product.takes_rows(apart)) && others.into_iter().all(|read| *read > 0)
    }

    /// The operations, in order, each of which writes one activation, and what they take for a block.
    pub fn operations(&self, block: Block) -> impl Iterator<Item = Operation<'_>> {
        let first = self.first_trained(0);
        self.nodes.iter().map(move |node| {
            let (layer, with_dx) = (node.op.layer(), node.reads[0] > first);
            let Lengths { y, tape, .. } = node.lengths(block);
            Operation {
                layer: &node.origin.name,
                name: node.op.name(),
                spec: layer.map_or_else(|| node.op.name().to_owned(), |layer| layer.spec()),
                output: node.op.output(),
                params: node.theta.len(),
                activations: y + tape,
                forward_flops: layer.map_or(0, |layer| layer.flops()),
                backward_flops: layer.map_or(0, |layer| layer.backward_flops(with_dx)),
            }
        })
    }

    /// The products, in order: the layer of the network, its range of `theta`, itself.
    pub fn products(&self) -> impl Iterator<Item = (&str, Range<usize>, &Product)> {
        self.nodes
            .iter()
            .filter_map(|node| Some((&*node.origin.name, node.theta.clone(), node.op.product()?)))
    }

    /// The ranges of `theta` that are [state](crate::ParamSpec::is_state), in order.
    pub fn states(&self) -> impl Iterator<Item = Range<usize>> {
        self.nodes.iter().filter_map(|node| {
            let state = node.op.layer()?.params().into_iter().filter(|param| param.is_state);
            let len = state.map(|state| state.len()).sum::<usize>();
            (len > 0).then(|| node.theta.end - len..node.theta.end)
        })
    }

    /// Layers that see the whole minibatch. Its parts must be trained in stages: there is one stage more.
    pub fn norms(&self) -> usize {
        self.all_norms().count()
    }

    /// Runs all operations on `rows`, where the chain [takes](Self::takes_rows) them and there are such, else on
    /// [`Workspace::input_mut`], and leaves the result in [`Workspace::output`]. The block is the minibatch.
    ///
    /// # Panics
    /// If `theta` has not [`param_len`](Self::param_len) numbers, the workspace was built for another chain, its
    /// block is not the pass's, or there are rows that the chain does not take.
    #[track_caller]
    pub fn forward(&self, pass: &Pass, theta: &[T], rows: Option<RowView<'_, T>>, ws: &mut Workspace<T>) {
        self.forward_watched(pass, theta, rows, ws, |_| ());
    }

    /// The same; each operation's place is told when it is done.
    ///
    /// # Panics
    /// As [`forward`](Self::forward).
    #[track_caller]
    pub fn forward_watched(
        &self,
        pass: &Pass,
        theta: &[T],
        rows: Option<RowView<'_, T>>,
        ws: &mut Workspace<T>,
        mut done: impl FnMut(usize),
    ) {
        self.assert_fits(pass, theta, ws);
        for place in 0..self.nodes.len() {
            self.forward_one(place, pass, theta, rows, ws);
            done(place);
        }
    }

    /// One stage of the forward pass of a part of a minibatch: what follows batch normalisation `stage - 1` (or the
    /// input, of stage 0), up to batch normalisation `stage`, of which it measures the input. Between two stages
    /// all parts' workspaces go through [`merge`](Self::merge). The last stage leaves the output.
    ///
    /// # Panics
    /// As [`forward`](Self::forward).
    #[track_caller]
    pub fn forward_stage(
        &self,
        stage: usize,
        pass: &Pass,
        theta: &[T],
        rows: Option<RowView<'_, T>>,
        ws: &mut Workspace<T>,
    ) {
        self.assert_fits(pass, theta, ws);
        let (before, next) = (stage.checked_sub(1).and_then(|stage| self.norm(stage)), self.norm(stage));
        if let Some((place, norm)) = before {
            let node = &self.nodes[place];
            let Lengths { y, tape, scratch } = node.lengths(pass.block);
            let (before, after) = ws.activations.split_at_mut(place + 1);
            let x = &before[node.reads[0]][..pass.block.len(ws.features[node.reads[0]])];
            let (y, tape) = (&mut after[0][..y], &mut ws.tapes[place][..tape]);
            let (theta, scratch) = (&theta[node.theta.clone()], &mut ws.scratch[..scratch]);
            norm.normalise(pass.block, theta, x, y, tape, scratch);
        }
        let start = before.map_or(0, |(place, _)| place + 1);
        let end = next.map_or(self.nodes.len(), |(place, _)| place);
        (start..end).for_each(|place| self.forward_one(place, pass, theta, rows, ws));
        if let Some((place, norm)) = next {
            let read = self.nodes[place].reads[0];
            let x = &ws.activations[read][..pass.block.len(ws.features[read])];
            norm.measure(pass.block, x, &mut ws.tapes[place]);
        }
    }

    /// Makes what parts of a minibatch measured of batch normalisation `norm` what the minibatch measures, in the
    /// workspaces of all. They are merged pairwise, (0+1)+(2+3)+..., whoever computed them.
    pub fn merge<P>(&self, norm: usize, parts: &mut [P], workspace: impl Fn(&mut P) -> &mut Workspace<T>) {
        let Some((place, norm)) = self.norm(norm) else { return };
        merge_tapes(
            parts,
            |part| norm.measured_mut(&mut workspace(part).tapes[place]),
            |a, b| norm.merge(a, b),
        );
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
        let mut measured = self.all_norms().flat_map(|(place, norm)| norm.measured(&ws.tapes[place]));
        measured.all(|number| number.is_finite())
    }

    /// Has all batch normalisations behind the first `frozen` parameters remember what was measured of a minibatch. Other layers have a tape
    /// for each part of it, and no part stands for the whole.
    pub fn remember(&self, frozen: usize, theta: &mut [T], ws: &Workspace<T>) {
        for (place, norm) in self.all_norms() {
            let range = &self.nodes[place].theta;
            if range.start >= frozen {
                norm.remember(ws.block(), &ws.tapes[place], &mut theta[range.clone()]);
            }
        }
    }

    /// Has all layers remember what [`forward`](Self::forward) over a minibatch left on their tapes.
    pub fn remember_all(&self, theta: &mut [T], ws: &Workspace<T>) {
        for (node, tape) in self.nodes.iter().zip(&ws.tapes) {
            let own = &mut theta[node.theta.clone()];
            if let Some(layer) = node.op.layer() {
                layer.remember(ws.block(), &tape[..layer.tape_len(ws.block())], own);
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
        self.backward_watched(pass, theta, backward, ws, |_| ());
    }

    /// The same; each operation's place is told when it is done, of those that are run.
    ///
    /// # Panics
    /// As [`backward`](Self::backward).
    #[track_caller]
    pub fn backward_watched(
        &self,
        pass: &Pass,
        theta: &[T],
        backward: Backward<'_, '_, T>,
        ws: &mut Workspace<T>,
        mut done: impl FnMut(usize),
    ) {
        let mut way = self.way(pass, theta, backward, ws);
        for place in (way.first..self.nodes.len()).rev() {
            self.backward_one(place, pass, theta, &mut way, ws);
            done(place);
        }
        way.ends.end(ws);
    }

    /// One stage of the backward pass of a part of a minibatch, last stage first: from the output (of the last stage, or
    /// from batch normalisation `stage`) down to batch normalisation `stage - 1`, of which it makes the sums. Between
    /// two stages all parts' workspaces go through [`merge_sums`](Self::merge_sums). The gradient of the chain's input is
    /// written in stage 0.
    ///
    /// # Panics
    /// As [`backward`](Self::backward).
    #[track_caller]
    pub fn backward_stage(
        &self,
        stage: usize,
        pass: &Pass,
        theta: &[T],
        backward: Backward<'_, '_, T>,
        ws: &mut Workspace<T>,
    ) {
        let mut way = self.way(pass, theta, backward, ws);
        let first = way.first;
        let (below, above) = (stage.checked_sub(1).and_then(|stage| self.norm(stage)), self.norm(stage));
        if let Some((place, norm)) = above.filter(|(place, _)| *place >= first) {
            let node = &self.nodes[place];
            let (Lengths { y, tape, scratch }, give) = (node.lengths(pass.block), node.flow.to[0]);
            let x = &ws.activations[give.input][..pass.block.len(ws.features[give.input])];
            if let (dy, Some(dx)) = way.ends.of(node, give, [y, x.len()], &mut ws.gradients) {
                let (theta, scratch) = (&theta[node.theta.clone()], &mut ws.scratch[..scratch]);
                let saved = Saved { x, y: &ws.activations[place + 1][..y], tape: &ws.tapes[place][..tape] };
                norm.input_gradient(pass.block, theta, saved, &ws.sums[place], dy, dx, scratch);
                way.ends.add(give, x.len(), &mut ws.gradients);
            }
        }
        let start = below.map_or(0, |(place, _)| place + 1).max(first);
        let end = above.map_or(self.nodes.len(), |(place, _)| place);
        (start..end).rev().for_each(|place| self.backward_one(place, pass, theta, &mut way, ws));
        if let Some((place, norm)) = below.filter(|(place, _)| *place >= first) {
            let node = &self.nodes[place];
            let (Lengths { y, tape, scratch }, read) = (node.lengths(pass.block), node.reads[0]);
            let x = &ws.activations[read][..pass.block.len(ws.features[read])];
            let saved = Saved { x, y: &ws.activations[place + 1][..y], tape: &ws.tapes[place][..tape] };
            let (theta, dtheta) = (&theta[node.theta.clone()], &mut way.dtheta[node.theta.clone()]);
            let (dy, sums, scratch) =
                (&ws.gradients[node.flow.dy][..y], &mut ws.sums[place], &mut ws.scratch[..scratch]);
            norm.sums(pass.block, theta, saved, dy, sums, dtheta, scratch);
        }
        if stage == 0 {
            way.ends.end(ws);
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
        let readers = self.nodes.iter().flat_map(|node| &node.reads).filter(|read| **read == 0).count();
        let input = (readers != 1).then_some(self.input_slot);
        Way { rows, dtheta, first, save, ends: Ends { dx, first, input } }
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
        let Lengths { y, tape, scratch } = node.lengths(pass.block);
        let (before, after) = ws.activations.split_at_mut(place + 1);
        let read =
            |input: usize| &before[node.reads[input]][..pass.block.len(ws.features[node.reads[input]])];
        let (y, tape) = (&mut after[0][..y], &mut ws.tapes[place][..tape]);
        let (theta, scratch) = (&theta[node.theta.clone()], &mut ws.scratch[..scratch]);
        match &node.op {
            Op::Product(product) => {
                product.forward(pass.block, theta, input_of(node, rows, read(0)), y, scratch);
            }
            Op::Norm(norm) => norm.forward(&node.pass(pass), theta, read(0), y, tape, scratch),
            Op::Layer(layer) => layer.forward(&node.pass(pass), theta, read(0), y, tape, scratch),
            Op::Join(join, _) => join.forward(pass.block, read, y),
        }
    }

    /// From the gradient of the operation's output to those of its inputs.
    fn backward_one(
        &self,
        place: usize,
        pass: &Pass,
        theta: &[T],
        way: &mut Way<'_, '_, T>,
        ws: &mut Workspace<T>,
    ) {
        let node = &self.nodes[place];
        let Lengths { y, tape, scratch } = node.lengths(pass.block);
        if let Op::Join(join, _) = &node.op {
            for (branch, &give) in node.flow.to.iter().enumerate() {
                let len = pass.block.len(ws.features[give.input]);
                if let (dy, Some(dx)) = way.ends.of(node, give, [y, len], &mut ws.gradients) {
                    join.backward(branch, pass.block, dy, dx);
                }
                way.ends.add(give, len, &mut ws.gradients);
            }
            return;
        }
        let give = node.flow.to[0];
        let x = &ws.activations[give.input][..pass.block.len(ws.features[give.input])];
        let (dy, dx) = way.ends.of(node, give, [y, x.len()], &mut ws.gradients);
        let (theta, dtheta) = (&theta[node.theta.clone()], &mut way.dtheta[node.theta.clone()]);
        let scratch = &mut ws.scratch[..scratch];
        if let Op::Product(product) = &node.op {
            let x = input_of(node, way.rows, x);
            let before = self.nodes[..place].iter().filter(|node| node.op.product().is_some()).count();
            let dtheta = (!(way.save)(before, product, x, dy)).then_some(dtheta);
            product.backward(pass.block, theta, x, dy, dx, dtheta, scratch);
        } else if let Some(layer) = node.op.layer() {
            let saved = Saved { x, y: &ws.activations[place + 1][..y], tape: &ws.tapes[place][..tape] };
            layer.backward(&node.pass(pass), theta, saved, dy, dx, dtheta, scratch);
        }
        way.ends.add(give, x.len(), &mut ws.gradients);
    }

    /// Where batch normalisation `norm` is, if there are so many.
    fn norm(&self, norm: usize) -> Option<(usize, &BatchNormChain)> {
        self.all_norms().nth(norm)
    }

    fn all_norms(&self) -> impl Iterator<Item = (usize, &BatchNormChain)> {
        self.nodes.iter().enumerate().filter_map(|(place, node)| match &node.op {
            Op::Norm(norm) => Some((place, norm)),
            _ => None,
        })
    }

    /// What a workspace has room for.
    pub(crate) fn memory(&self, block: Block) -> Memory {
        let lengths = || self.nodes.iter().map(|node| node.lengths(block));
        let sums = |node: &Node<T>| if let Op::Norm(norm) = &node.op { norm.sums_len() } else { 0 };
        Memory {
            features: self.features().collect(),
            tapes: lengths().map(|node| node.tape).collect(),
            sums: self.nodes.iter().map(sums).collect(),
            scratch: lengths().map(|node| node.scratch).max().unwrap_or(0),
            gradients: self.slots,
        }
    }

    /// Features of the input and of every output.
    fn features(&self) -> impl Iterator<Item = usize> {
        let outputs = self.nodes.iter().map(|node| node.op.output().features());
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
    /// Where it ends.
    first: usize,
    save: &'a mut Save<'s, T>,
    ends: Ends<'a, T>,
}

/// Both ends of an operation on the way back, and of the whole way.
struct Ends<'a, T> {
    /// The gradient of the input, if it is wanted.
    dx: Option<&'a mut [T]>,
    /// Of activations up to this one no gradient is wanted, but for the input's.
    first: usize,
    /// The slot that has the gradient of the input in the end; none where its only reader writes it to where it is wanted.
    input: Option<usize>,
}

impl<T: Scalar> Ends<'_, T> {
    fn wants(&self, activation: usize) -> bool {
        activation > self.first || self.dx.is_some()
    }

    /// The gradient of the output, and where that of an input is written, if it is wanted; `[output, input]` are their lengths.
    fn of<'g>(
        &'g mut self,
        node: &Node<T>,
        give: Give,
        [output, input]: [usize; 2],
        gradients: &'g mut [Buffer<T>],
    ) -> (&'g [T], Option<&'g mut [T]>) {
        match give.write.filter(|_| self.wants(give.input)) {
            Some(slot) if give.input > 0 || self.input.is_some() => {
                let [dy, dx] =
                    gradients.get_disjoint_mut([node.flow.dy, slot]).expect("two slots of the workspace");
                (&dy[..output], Some(&mut dx[..input]))
            }
            Some(_) => (&gradients[node.flow.dy][..output], self.dx.as_deref_mut()),
            None => (&gradients[node.flow.dy][..output], None),
        }
    }

    /// Adds what was written, where the input has a gradient by another operation that reads it.
    fn add(&self, give: Give, len: usize, gradients: &mut [Buffer<T>]) {
        if let Some((from, to)) = give.add.filter(|_| self.wants(give.input)) {
            let [from, to] = gradients.get_disjoint_mut([from, to]).expect("two slots of the workspace");
            add(&from[..len], &mut to[..len]);
        }
    }

    /// The gradient of the input, if it lies elsewhere.
    fn end(self, ws: &Workspace<T>) {
        if let (Some(dx), Some(slot)) = (self.dx, self.input) {
            dx.copy_from_slice(&ws.gradients[slot][..dx.len()]);
        }
    }
}

/// Operations as they are made of layers.
struct Made<T: Scalar> {
    nodes: Vec<Node<T>>,
    param_len: usize,
    fuse: bool,
}

impl<T: Scalar> Made<T> {
    /// Adds layers that read an activation, and says which one they leave.
    fn add_chain(&mut self, layers: &[Arc<dyn Layer<T>>], around: &Origin, x: usize) -> usize {
        let (mut index, mut x) = (0, x);
        while index < layers.len() {
            let origin = around.inside(index, &index.to_string());
            if let Some(branches) = Branches::of(&*layers[index]) {
                x = self.add_branches(branches, origin, x);
                index += 1;
                continue;
            }
            let (op, count) = self.operation(&layers[index..]);
            let params = layers[index..index + count].iter().flat_map(|layer| layer.params());
            let params = params.map(|param| param.len()).sum();
            if !op.layer().is_some_and(|layer| layer.is_identity()) {
                x = self.add(op, vec![x], origin, params);
            }
            index += count;
        }
        x
    }

    /// What layers begin with, and how many of them it takes.
    fn operation(&self, layers: &[Arc<dyn Layer<T>>]) -> (Op<T>, usize) {
        if let Some((chain, count)) = ConvPool2d::beginning(layers).filter(|_| self.fuse) {
            (Op::Layer(Arc::new(chain)), count)
        } else if let Some((norm, count)) = BatchNormChain::beginning(layers, self.fuse) {
            (Op::Norm(norm), count)
        } else if let Some(dense) = downcast::<Dense, T>(&*layers[0]) {
            (Op::Product(Product::new(dense.clone())), 1)
        } else {
            (Op::Layer(Arc::clone(&layers[0])), 1)
        }
    }

    fn add_branches(&mut self, branches: &Branches<dyn Layer<T>>, origin: Origin, x: usize) -> usize {
        let ends = branches
            .chains()
            .enumerate()
            .map(|(branch, (name, chain))| self.add_chain(chain.layers(), &origin.inside(branch, &name), x));
        let ends = ends.collect();
        self.add(Op::Join(branches.join().clone(), branches.output()), ends, origin, 0)
    }

    fn add(&mut self, op: Op<T>, reads: Vec<usize>, origin: Origin, params: usize) -> usize {
        let theta = self.param_len..self.param_len + params;
        self.param_len = theta.end;
        self.nodes.push(Node { op, reads, flow: Flow::default(), origin, theta });
        self.nodes.len()
    }
}

impl Origin {
    /// A layer of a chain, or a branch of a layer.
    fn inside(&self, index: usize, word: &str) -> Self {
        let name = if self.name.is_empty() { word.to_owned() } else { format!("{}.{word}", self.name) };
        Self { path: self.path.iter().copied().chain([index]).collect(), name }
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

/// Lengths of what an operation writes to for a block.
struct Lengths {
    y: usize,
    tape: usize,
    scratch: usize,
}

impl<T: Scalar> Node<T> {
    /// An operation that reads one activation.
    pub(super) fn new(op: Op<T>, read: usize, origin: Origin, theta: Range<usize>) -> Self {
        Self { op, reads: vec![read], flow: Flow::default(), origin, theta }
    }

    fn lengths(&self, block: Block) -> Lengths {
        let (tape, scratch) =
            self.op.layer().map_or((0, 0), |layer| (layer.tape_len(block), layer.scratch_len(block)));
        Lengths { y: self.len(block), tape, scratch }
    }

    /// Length of the output.
    fn len(&self, block: Block) -> usize {
        block.len(self.op.output().features())
    }

    fn pass(&self, pass: &Pass) -> Pass {
        self.origin.path.iter().fold(*pass, |pass, &index| pass.for_layer(index))
    }
}

impl<T: Scalar> Op<T> {
    /// The layer that it is, if it is one.
    pub(super) fn layer(&self) -> Option<&dyn Layer<T>> {
        match self {
            Self::Product(product) => Some(product.layer()),
            Self::Norm(norm) => Some(norm),
            Self::Layer(layer) => Some(&**layer),
            Self::Join(..) => None,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Join(join, _) => join.name(),
            _ => self.layer().map_or("", |layer| layer.name()),
        }
    }

    /// Shape of an output sample.
    pub(super) fn output(&self) -> Shape {
        match self {
            Self::Product(product) => product.layer().output(),
            Self::Norm(norm) => norm.output(),
            Self::Layer(layer) => layer.output(),
            Self::Join(_, output) => *output,
        }
    }

    /// What becomes of the gradient of its output.
    fn back(&self) -> Back {
        match self {
            Self::Join(Join::Sum, _) => Back::HandsOn,
            _ => Back::Writes,
        }
    }

    pub(super) fn product(&self) -> Option<&Product> {
        match self {
            Self::Product(product) => Some(product),
            _ => None,
        }
    }

    /// The same of `features` features, if it is a function of each by itself.
    pub(super) fn of_features(&self, features: usize) -> Option<Self> {
        let (layer, shape) = (self.layer()?, Shape::flat(features));
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

/// What an operation is fed: rows, if there are any, instead of the input, else the activation that it reads.
fn input_of<'a, T: Scalar>(
    node: &Node<T>,
    rows: Option<RowView<'a, T>>,
    activation: &'a [T],
) -> Input<'a, T> {
    match rows {
        Some(rows) if node.reads == [0] => Input::Rows(rows),
        _ => Input::Block(activation),
    }
}
