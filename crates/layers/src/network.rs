//! A chain of layers, its parameters in one flat vector, and the plan that runs it.

use crate::contract::{Deferred, Layer, Part, Parted, Pass, Saved};
use crate::conv_pool2d::ConvPool2d;
use crate::workspace::Workspace;
use crate::{LayerError, Shape, Share, first_half};
use byhand_tensor::{Block, Input, RowView, Scalar, Tiles, pack, unpack};
use ndarray::{Array2, ArrayView2, Axis, s};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// Keeps the operands of a deferred layer, or says that it does not: see [`Network::backward_keeping`].
pub type Keep<'a, T> = dyn FnMut(usize, &dyn Deferred<T>, Input<'_, T>, &[T]) -> bool + 'a;

/// A chain of layers. It holds no parameters and no state: one network serves any number of threads.
///
/// ```
/// use byhand_layers::init::{Init, init_network};
/// use byhand_layers::{Dense, Network, Relu, Shape};
/// let network: Network = Network::new(vec![
///     Box::new(Dense::new(784, 50, true)?),
///     Box::new(Relu::new(Shape::flat(50))),
///     Box::new(Dense::new(50, 10, true)?),
/// ])?;
/// let theta = init_network(&network, Init::HeNormal, 1);
/// let logits = network.predict(&theta, ndarray::Array2::zeros((3, 784)).view());
/// assert_eq!(logits.dim(), (3, 10));
/// # Ok::<(), byhand_layers::LayerError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Network<T: Scalar = f32> {
    input: Shape,
    layers: Vec<Arc<dyn Layer<T>>>,
    params: Vec<NamedParam>,
    param_len: usize,
    plan: Vec<Node<T>>,
}

/// One parameter tensor of a network.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NamedParam {
    /// Index of its layer, counting every layer from 0.
    pub layer: usize,
    /// Name of its layer: `conv`, `dense`.
    pub layer_name: &'static str,
    /// Index of the layer and name of the tensor, as PyTorch's `nn.Sequential` names it: `0.weight`.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Where it lies in `theta`.
    pub range: Range<usize>,
    /// Inputs that one output sums over.
    pub fan_in: usize,
    /// Outputs that one input reaches.
    pub fan_out: usize,
}

impl NamedParam {
    /// Whether it is a bias: started from zero, and usually spared by weight decay.
    pub fn is_bias(&self) -> bool {
        self.name.ends_with(".bias")
    }
}

/// One step of the plan: a layer, and where its parameters lie.
#[derive(Clone, Debug)]
pub(crate) struct Node<T: Scalar> {
    pub(crate) layer: Arc<dyn Layer<T>>,
    /// Index of the layer among all layers; dropout draws by it.
    index: usize,
    pub(crate) theta: Range<usize>,
}

impl<T: Scalar> Network<T> {
    /// Samples that [`predict`](Self::predict) computes at a time.
    const PREDICT_AT_ONCE: usize = 64;

    /// A network of these layers, first to last.
    ///
    /// # Errors
    /// There is no layer, or one does not take what the one before it gives: shapes must be equal, or both flat and equally long.
    pub fn new(layers: Vec<Box<dyn Layer<T>>>) -> Result<Self, LayerError> {
        Self::of(layers.into_iter().map(Arc::from).collect())
    }

    /// The same network with another layer in the place of layer `index`.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    ///
    /// # Panics
    /// If there are not so many layers.
    #[track_caller]
    pub fn with_layer(&self, index: usize, layer: Box<dyn Layer<T>>) -> Result<Self, LayerError> {
        let mut layers = self.layers.clone();
        layers[index] = Arc::from(layer);
        Self::of(layers)
    }

    pub(crate) fn of(layers: Vec<Arc<dyn Layer<T>>>) -> Result<Self, LayerError> {
        let input = layers.first().ok_or(LayerError::Empty)?.input();
        for (index, pair) in layers.windows(2).enumerate() {
            let (found, expected) = (pair[0].output(), pair[1].input());
            let flat = found.is_flat() && expected.is_flat() && found.features() == expected.features();
            if found != expected && !flat {
                let layer = pair[1].spec();
                return Err(LayerError::Chain { index: index + 1, layer, expected, found });
            }
        }
        let params = name_params(&layers);
        let plan = plan(&layers, &params, true);
        let param_len = params.last().map_or(0, |param| param.range.end);
        Ok(Self { input, layers, params, param_len, plan })
    }

    /// The same network with a plan that runs one layer after the other, without fused chains: the same results to the bit,
    /// more slowly. For benchmarks and tests.
    pub fn unfused(&self) -> Self {
        Self { plan: plan(&self.layers, &self.params, false), ..self.clone() }
    }

    /// The network of all layers but those of the first [`nodes`](Self::nodes), of one at least; maybe of none. They keep their indices.
    pub(crate) fn after(&self, nodes: usize) -> Self {
        let last = &self.plan[nodes - 1];
        let (first, start) = (last.index + 1, last.theta.end);
        let rest = |range: &Range<usize>| range.start - start..range.end - start;
        let params = self.params.iter().filter(|param| param.layer >= first);
        let plan = self.plan[nodes..].iter();
        Self {
            input: last.layer.output(),
            layers: self.layers[first..].to_vec(),
            params: params.map(|param| NamedParam { range: rest(&param.range), ..param.clone() }).collect(),
            param_len: self.param_len - start,
            plan: plan.map(|node| Node { theta: rest(&node.theta), ..node.clone() }).collect(),
        }
    }

    /// Shape of an input sample.
    pub fn input(&self) -> Shape {
        self.input
    }

    /// Shape of an output sample.
    pub fn output(&self) -> Shape {
        self.layers.last().map_or(self.input, |layer| layer.output())
    }

    /// Whether no layer sees more of an input than a list of numbers: there are no images in it, and no channels.
    pub fn is_flat(&self) -> bool {
        self.plan.iter().all(|node| node.layer.input().is_flat() && node.layer.output().is_flat())
    }

    /// Number of outputs.
    pub fn classes(&self) -> usize {
        self.output().features()
    }

    /// All layers, first to last.
    pub fn layers(&self) -> &[Arc<dyn Layer<T>>] {
        &self.layers
    }

    /// Length of `theta`.
    pub fn param_len(&self) -> usize {
        self.param_len
    }

    /// All parameter tensors, in the order in which they lie in `theta`.
    pub fn params(&self) -> &[NamedParam] {
        &self.params
    }

    /// Floating-point operations of a training step for one sample: forward, and backward for parameters and inputs, but for
    /// the network's own input. Matrix products and convolutions only; a multiply-add counts 2.
    pub fn flops(&self) -> u64 {
        let first = self.first_trained(0);
        let nodes = self.plan.iter().enumerate();
        nodes.map(|(place, node)| node.layer.flops() + node.layer.backward_flops(place > first)).sum()
    }

    /// A table of the layers.
    pub fn summary(&self) -> Summary {
        let row = |(index, layer): (usize, &Arc<dyn Layer<T>>)| SummaryRow {
            index,
            spec: layer.spec(),
            output: layer.output(),
            params: layer.params().iter().map(|param| param.len()).sum(),
            flops: layer.flops(),
        };
        Summary {
            input: self.input(),
            rows: self.layers.iter().enumerate().map(row).collect(),
            params: self.param_len,
            flops: self.flops(),
        }
    }

    /// Runs all layers on [`Workspace::input_mut`] and leaves the result in [`Workspace::output`].
    ///
    /// # Panics
    /// If `theta` has not [`param_len`](Self::param_len) numbers, the workspace was built for another network, or its block is
    /// not the pass's.
    #[track_caller]
    pub fn forward(&self, pass: &Pass, theta: &[T], ws: &mut Workspace<T>) {
        self.forward_shared(pass, theta, None, ws, None);
    }

    /// Whether the input may come as rows, one sample after the other, so many numbers apart, whatever the block.
    pub fn takes_rows(&self, apart: usize) -> bool {
        let first = self.plan.first().and_then(|node| node.layer.as_deferred());
        first.is_some_and(|layer| layer.takes_rows(apart))
    }

    /// [`forward`](Self::forward), to the same bits, of `rows` where the network [takes](Self::takes_rows) them, instead of the workspace's
    /// input; and with the outputs of [parted](Parted) layers by halves, where `share` says that it pays, in a workspace
    /// [for halves](Workspace::for_halves).
    ///
    /// # Panics
    /// As [`forward`](Self::forward), or if there are rows that the network does not take.
    #[track_caller]
    pub fn forward_shared(
        &self,
        pass: &Pass,
        theta: &[T],
        rows: Option<RowView<'_, T>>,
        ws: &mut Workspace<T>,
        share: Option<&dyn Share>,
    ) {
        self.assert_fits(pass, theta, ws);
        for (place, node) in self.plan.iter().enumerate() {
            let Dimensions { x_len, y_len, tape_len, scratch_len } = node.dimensions(pass.block);
            let (before, after) = ws.activations.split_at_mut(place + 1);
            let (theta, pass) = (&theta[node.theta.clone()], node.pass(pass));
            let x = input_of(place, rows, &before[place][..x_len]);
            let y = &mut after[0][..y_len];
            let tape = &mut ws.tapes[place][..tape_len];
            let [scratch, other] = &mut ws.scratch;
            let scratch = &mut scratch[..scratch_len];
            match (node.shared(pass.block, share), x) {
                (Some((layer, share)), _) => {
                    let (channels, middle) = (layer.output().c, first_half(layer.output().c));
                    let (mut y_a, mut y_b) = halves(pass.block, y, channels);
                    let (tape_a, tape_b) = tape.split_at_mut(tape.len() / channels * middle);
                    let (y_a, y_b, other) = (&mut y_a, &mut y_b, &mut other[..scratch_len]);
                    share.both(
                        &mut || {
                            layer.forward_part(&pass, theta, 0..middle, x, y_a.reborrow(), tape_a, scratch)
                        },
                        &mut || {
                            layer.forward_part(
                                &pass,
                                theta,
                                middle..channels,
                                x,
                                y_b.reborrow(),
                                tape_b,
                                other,
                            )
                        },
                    );
                }
                (None, Input::Block(x)) => node.layer.forward(&pass, theta, x, y, tape, scratch),
                (None, Input::Rows(_)) => {
                    let layer = node.layer.as_parted().expect("the first layer takes rows");
                    let (all, y) = (0..layer.output().c, Tiles::new(pass.block, y));
                    layer.forward_part(&pass, theta, all, x, y, tape, scratch);
                }
            }
        }
    }

    /// Runs all layers backwards from [`Workspace::output_grad_mut`], after a forward pass of the same block, and adds the
    /// gradient of the parameters to `dtheta`. The gradient of the network's input is not computed.
    ///
    /// # Panics
    /// As [`forward`](Self::forward); `dtheta` must be as long as `theta`.
    #[track_caller]
    pub fn backward(&self, pass: &Pass, theta: &[T], dtheta: &mut [T], ws: &mut Workspace<T>) {
        self.walk_back(pass, theta, None, dtheta, None, ws, 0, None, None);
    }

    /// [`backward`](Self::backward) for a block that is a part of a minibatch, with the `rows` of the forward pass. For each
    /// [deferred](Self::deferred) layer, last one first, `keep` is called with its place among them, the layer, its `x` and its `dy`;
    /// where it says that it kept them, the layer adds nothing to `dtheta`. The gradient of the input is written to `dx`, if it is wanted. Where
    /// `share` says that it pays, layers are done by halves, as in [`forward_shared`](Self::forward_shared). The first `frozen` parameters are
    /// constants: nothing that only their gradient would need is computed.
    ///
    /// # Panics
    /// As [`backward`](Self::backward).
    #[track_caller]
    pub fn backward_keeping(
        &self,
        pass: &Pass,
        theta: &[T],
        rows: Option<RowView<'_, T>>,
        dtheta: &mut [T],
        dx: Option<&mut [T]>,
        ws: &mut Workspace<T>,
        frozen: usize,
        keep: &mut Keep<'_, T>,
        share: Option<&dyn Share>,
    ) {
        self.walk_back(pass, theta, rows, dtheta, dx, ws, frozen, Some(keep), share);
    }

    /// Of the [floating-point operations](Self::flops) of a training step for one sample, those of layers whose halves are worth it
    /// where the step is such a block.
    pub fn shared_flops(&self, block: Block, share: &dyn Share) -> u64 {
        let first = self.first_trained(0);
        let nodes = self.plan.iter().enumerate();
        let nodes = nodes.filter(|(_, node)| node.can_share(block) && node.pays(block.samples(), share));
        nodes.map(|(place, node)| node.layer.flops() + node.layer.backward_flops(place > first)).sum()
    }

    /// The layers whose parameter gradient can wait for a whole minibatch, in order, each with its range of `theta`.
    pub fn deferred(&self) -> impl Iterator<Item = (Range<usize>, &dyn Deferred<T>)> {
        self.plan.iter().filter_map(|node| Some((node.theta.clone(), node.layer.as_deferred()?)))
    }

    /// The outputs `[samples, classes]` for inputs `[samples, features]`, in evaluation mode. A convenience: it allocates.
    ///
    /// # Panics
    /// If `x` has not the network's features, or `theta` not its length.
    #[track_caller]
    pub fn predict(&self, theta: &[T], x: ArrayView2<'_, T>) -> Array2<T> {
        let (samples, features) = x.dim();
        assert_eq!(features, self.input().features(), "network: features of x");
        assert_eq!(theta.len(), self.param_len, "network: length of theta");
        let mut y = Array2::from_elem((samples, self.classes()), T::ZERO);
        if samples == 0 {
            return y;
        }
        let mut ws = Workspace::new(self, Block::for_samples(samples.min(Self::PREDICT_AT_ONCE)));
        for (index, x) in x.axis_chunks_iter(Axis(0), Self::PREDICT_AT_ONCE).enumerate() {
            let first = index * Self::PREDICT_AT_ONCE;
            let block =
                if ws.block().lanes() == 1 { Block::single(x.nrows()) } else { Block::tiled(x.nrows()) };
            ws.set_block(block);
            pack(x, block, ws.input_mut());
            self.forward(&Pass::eval(block), theta, &mut ws);
            y.slice_mut(s![first..first + x.nrows(), ..]).assign(&unpack(block, self.classes(), ws.output()));
        }
        y
    }

    /// The first parameter tensor in which `values` (a `theta` or `dtheta`) is not finite.
    pub fn first_non_finite(&self, values: &[T]) -> Option<&NamedParam> {
        self.params.iter().find(|param| values[param.range.clone()].iter().any(|value| !value.is_finite()))
    }

    /// Both backward passes.
    #[track_caller]
    fn walk_back(
        &self,
        pass: &Pass,
        theta: &[T],
        rows: Option<RowView<'_, T>>,
        dtheta: &mut [T],
        mut input_grad: Option<&mut [T]>,
        ws: &mut Workspace<T>,
        frozen: usize,
        mut keep: Option<&mut Keep<'_, T>>,
        share: Option<&dyn Share>,
    ) {
        self.assert_fits(pass, theta, ws);
        assert_eq!(dtheta.len(), self.param_len, "network: length of dtheta");
        let [dy, dx] = &mut ws.gradients;
        let (mut dy, mut dx) = (dy, dx);
        let mut deferred = if keep.is_some() { self.deferred().count() } else { 0 };
        let first = if input_grad.is_some() { 0 } else { self.first_trained(frozen) };
        for (place, node) in self.plan.iter().enumerate().skip(first).rev() {
            let Dimensions { x_len, y_len, tape_len, scratch_len } = node.dimensions(pass.block);
            let (theta, dy_now) = (&theta[node.theta.clone()], &dy[..y_len]);
            let wanted_dx = if place > first { Some(&mut dx[..x_len]) } else { input_grad.take() };
            let [scratch, other] = &mut ws.scratch;
            let scratch = &mut scratch[..scratch_len];
            let x = input_of(place, rows, &ws.activations[place][..x_len]);
            let shared = node.shared(pass.block, share);
            let pass = &node.pass(pass);
            let kept = match (&mut keep, node.layer.as_deferred()) {
                (Some(keep), Some(layer)) => {
                    deferred -= 1;
                    keep(deferred, layer, x, dy_now)
                }
                _ => false,
            };
            let tape = &ws.tapes[place][..tape_len];
            let dtheta = &mut dtheta[node.theta.clone()];
            // Of what was kept only the inputs are left to do, if anybody wants them.
            let shared = shared.filter(|_| !kept || wanted_dx.is_some());
            let as_part = kept || matches!(x, Input::Rows(_));
            match (shared, node.layer.as_parted().filter(|_| as_part)) {
                (Some((layer, share)), _) => {
                    let (outputs, inputs) = (layer.output().c, layer.input().c);
                    let (middle, input) = (first_half(outputs), first_half(inputs));
                    let cut = |dtheta| layer.tensors(dtheta).split_rows(middle, outputs);
                    let (rows_a, rows_b) = (!kept).then_some(dtheta).map(cut).unzip();
                    let (dx_a, dx_b) = wanted_dx.map(|dx| halves(pass.block, dx, inputs)).unzip();
                    let [dx_a, dx_b] =
                        [(0..input, dx_a), (input..inputs, dx_b)].map(|(of, dx)| Some((of, dx?)));
                    // Each is run once, which a trait object cannot say.
                    let mut a = Some(Part { outputs: 0..middle, dtheta: rows_a, dx: dx_a });
                    let mut b = Some(Part { outputs: middle..outputs, dtheta: rows_b, dx: dx_b });
                    let work = |part: &mut Option<Part<'_, T>>, scratch: &mut [T]| {
                        if let Some(part) = part.take() {
                            layer.backward_part(pass, theta, x, tape, dy_now, part, scratch);
                        }
                    };
                    let other = &mut other[..scratch_len];
                    share.both(&mut || work(&mut a, scratch), &mut || work(&mut b, other));
                }
                (None, Some(layer)) => {
                    let dx = wanted_dx.map(|dx| (0..layer.input().c, Tiles::new(pass.block, dx)));
                    let dtheta = (!kept).then(|| layer.tensors(dtheta));
                    let part = Part { outputs: 0..layer.output().c, dtheta, dx };
                    layer.backward_part(pass, theta, x, tape, dy_now, part, scratch);
                }
                (None, None) => {
                    let saved = Saved { x: x.block(), y: &ws.activations[place + 1][..y_len], tape };
                    node.layer.backward(pass, theta, saved, dy_now, wanted_dx, dtheta, scratch);
                }
            }
            std::mem::swap(&mut dy, &mut dx);
        }
        // There was no layer.
        if let Some(dx) = input_grad {
            dx.copy_from_slice(&dy[..dx.len()]);
        }
    }

    /// Where the way back ends: the first of the plan's layers with parameters, if the first `frozen` are constants.
    fn first_trained(&self, frozen: usize) -> usize {
        self.plan.iter().take_while(|node| node.theta.end <= frozen).count()
    }

    pub(crate) fn nodes(&self) -> &[Node<T>] {
        &self.plan
    }

    #[track_caller]
    fn assert_fits(&self, pass: &Pass, theta: &[T], ws: &Workspace<T>) {
        assert_eq!(theta.len(), self.param_len, "network: length of theta");
        assert_eq!(pass.block, ws.block(), "network: block of the pass against block of the workspace");
        let outputs = self.plan.iter().map(|node| node.layer.output().features());
        let features = [self.input().features()].into_iter().chain(outputs);
        assert!(
            features.eq(ws.features.iter().copied()),
            "network: the workspace was built for another network"
        );
    }
}

/// The layers of a network and what they cost.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Summary {
    /// Shape of an input sample.
    pub input: Shape,
    /// One row a layer.
    pub rows: Vec<SummaryRow>,
    /// Parameters of all layers.
    pub params: usize,
    /// Floating-point operations of a training step for one sample.
    pub flops: u64,
}

/// One layer in a [`Summary`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SummaryRow {
    /// Index of the layer.
    pub index: usize,
    /// Its spec.
    pub spec: String,
    /// Its output shape.
    pub output: Shape,
    /// Its number of parameters.
    pub params: usize,
    /// Its floating-point operations in one forward pass of one sample.
    pub flops: u64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let spec_width = self.rows.iter().map(|row| row.spec.len()).max().unwrap_or(0).max("layer".len());
        writeln!(
            f,
            "{:>3}  {:spec_width$}  {:>12}  {:>10}  {:>12}",
            "", "layer", "output", "parameters", "FLOPs"
        )?;
        writeln!(f, "{:>3}  {:spec_width$}  {:>12}", "", "input", self.input)?;
        for SummaryRow { index, spec, output, params, flops } in &self.rows {
            writeln!(f, "{index:>3}  {spec:spec_width$}  {output:>12}  {params:>10}  {flops:>12}")?;
        }
        write!(f, "{} parameters, {} FLOPs a sample in a training step", self.params, self.flops)
    }
}

/// Lengths of a node's operands for a block.
struct Dimensions {
    x_len: usize,
    y_len: usize,
    tape_len: usize,
    scratch_len: usize,
}

impl<T: Scalar> Node<T> {
    /// The layer, and who shares its work on a block, if that can be cut in two and pays.
    fn shared<'a>(
        &'a self,
        block: Block,
        share: Option<&'a dyn Share>,
    ) -> Option<(&'a dyn Parted<T>, &'a dyn Share)> {
        let share = share.filter(|share| self.can_share(block) && self.pays(block.samples(), *share))?;
        Some((self.layer.as_parted()?, share))
    }

    /// Whether the layer's work on such a block can be cut.
    fn can_share(&self, block: Block) -> bool {
        self.layer.as_parted().is_some_and(|layer| block.tiles() == 1 || layer.cuts_tiles())
    }

    /// Whether halves of the layer's work on so many samples are worth it.
    fn pays(&self, samples: usize, share: &dyn Share) -> bool {
        let channels = self.layer.output().c;
        // The smaller half decides.
        let half = channels - first_half(channels);
        let flops = samples as u64 * self.layer.flops() * half as u64 / channels as u64;
        half < channels && share.pays(flops, self.theta.len() * half / channels)
    }

    fn dimensions(&self, block: Block) -> Dimensions {
        Dimensions {
            x_len: block.len(self.layer.input().features()),
            y_len: block.len(self.layer.output().features()),
            tape_len: self.layer.tape_len(block),
            scratch_len: self.layer.scratch_len(block),
        }
    }

    fn pass(&self, pass: &Pass) -> Pass {
        Pass { block: pass.block, mode: pass.mode.for_layer(self.index) }
    }
}

/// What the layer at `place` is fed: the first one rows, if there are any, else the activation there.
fn input_of<'a, T: Copy>(place: usize, rows: Option<RowView<'a, T>>, activation: &'a [T]) -> Input<'a, T> {
    match rows {
        Some(rows) if place == 0 => Input::Rows(rows),
        _ => Input::Block(activation),
    }
}

/// What lies there of the first half of the channels of each tile, and of the others.
fn halves<T>(block: Block, numbers: &mut [T], channels: usize) -> (Tiles<'_, T>, Tiles<'_, T>) {
    let all = Tiles::new(block, numbers);
    let middle = all.width() / channels * first_half(channels);
    all.split_at(middle)
}

/// Names every tensor and gives it its range of `theta`, layer by layer.
fn name_params<T: Scalar>(layers: &[Arc<dyn Layer<T>>]) -> Vec<NamedParam> {
    let mut params: Vec<NamedParam> = Vec::new();
    for (index, layer) in layers.iter().enumerate() {
        for spec in layer.params() {
            let start = params.last().map_or(0, |param| param.range.end);
            params.push(NamedParam {
                layer: index,
                layer_name: layer.name(),
                name: format!("{index}.{}", spec.name),
                range: start..start + spec.len(),
                shape: spec.shape,
                fan_in: spec.fan_in,
                fan_out: spec.fan_out,
            });
        }
    }
    params
}

/// Decides, once, what a pass runs: every layer but the identities, chains as one layer where `fuse` says so.
fn plan<T: Scalar>(layers: &[Arc<dyn Layer<T>>], params: &[NamedParam], fuse: bool) -> Vec<Node<T>> {
    let mut nodes: Vec<Node<T>> = Vec::new();
    let (mut index, mut start) = (0, 0);
    while index < layers.len() {
        let chain = ConvPool2d::beginning(&layers[index..]).filter(|_| fuse);
        let (layer, count): (Arc<dyn Layer<T>>, usize) =
            chain.map_or_else(|| (Arc::clone(&layers[index]), 1), |(chain, count)| (Arc::new(chain), count));
        let own = params.iter().filter(|param| param.layer < index + count);
        let end = own.map(|param| param.range.end).max().unwrap_or(start);
        if !layer.is_identity() {
            nodes.push(Node { layer, index, theta: start..end });
        }
        start = end;
        index += count;
    }
    nodes
}
