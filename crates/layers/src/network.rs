//! A chain of layers that is trained, and the names of its parameters in one flat vector.

use crate::branches::Branches;
use crate::chain::Chain;
use crate::contract::{Layer, Pass};
use crate::exec::{Backward, Lowered};
use crate::loss::{Loss, Target, softmax};
use crate::metrics::{Confusion, Evaluation};
use crate::workspace::Workspace;
use crate::{LayerError, Shape};
use byhand_tensor::{Block, Scalar, pack, pack_gradient, unpack};
use ndarray::{Array2, ArrayView2, s};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

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
    chain: Chain<dyn Layer<T>>,
    params: Vec<NamedParam>,
    lowered: Lowered<T>,
}

/// One parameter tensor of a network.
#[derive(Clone, PartialEq, Debug)]
pub struct NamedParam {
    /// Index of the network's layer that it belongs to, counting every layer from 0.
    pub layer: usize,
    /// Name of its layer: `conv`, `dense`; in a branch, of the layer there.
    pub layer_name: &'static str,
    /// Shape of what that layer puts out.
    pub output: Shape,
    /// Index of the layer and name of the tensor, as PyTorch's `nn.Sequential` names it: `0.weight`, in a branch `3.main.0.weight`.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Where it lies in `theta`.
    pub range: Range<usize>,
    /// Inputs that one output sums over.
    pub fan_in: usize,
    /// Outputs that one input reaches.
    pub fan_out: usize,
    /// What all its numbers start from, if no initialiser is asked.
    pub start: Option<f64>,
    /// No gradient moves it, and it counts as no parameter: running statistics.
    pub is_state: bool,
}

impl NamedParam {
    /// Whether it is a bias: started from zero, and usually spared by weight decay.
    pub fn is_bias(&self) -> bool {
        self.name.ends_with(".bias")
    }
}

impl<T: Scalar> Network<T> {
    /// Bytes of activations that a block of evaluated samples may have in any case, and the samples it has at most.
    const EVAL_BYTES: usize = 512 << 10;
    const EVAL_SAMPLES: usize = 16;

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
        let mut layers = self.chain.layers().to_vec();
        layers[index] = Arc::from(layer);
        Self::of(layers)
    }

    pub(crate) fn of(layers: Vec<Arc<dyn Layer<T>>>) -> Result<Self, LayerError> {
        let input = layers.first().ok_or(LayerError::Empty)?.input();
        let chain = Chain::new(input, layers)?;
        let params = name_params(&chain);
        let lowered = Lowered::new(chain.layers(), input, true);
        Ok(Self { chain, params, lowered })
    }

    /// The same network that runs one layer after the other, without fused chains: the same results to the bit,
    /// more slowly. For benchmarks and tests.
    pub fn unfused(&self) -> Self {
        Self { lowered: Lowered::new(self.layers(), self.input(), false), ..self.clone() }
    }

    /// Shape of an input sample.
    pub fn input(&self) -> Shape {
        self.chain.input()
    }

    /// Shape of an output sample.
    pub fn output(&self) -> Shape {
        self.chain.output()
    }

    /// Number of outputs.
    pub fn classes(&self) -> usize {
        self.output().features()
    }

    /// All layers, first to last.
    pub fn layers(&self) -> &[Arc<dyn Layer<T>>] {
        self.chain.layers()
    }

    /// Length of `theta`: of all parameters, and of the state of layers.
    pub fn param_len(&self) -> usize {
        self.lowered.param_len()
    }

    /// Parameters that training moves along their gradient: those of `theta` but for the state of layers.
    pub fn parameters(&self) -> usize {
        self.params.iter().filter(|param| !param.is_state).map(|param| param.range.len()).sum()
    }

    /// What it runs.
    pub fn lowered(&self) -> &Lowered<T> {
        &self.lowered
    }

    /// All parameter tensors, in the order in which they lie in `theta`.
    pub fn params(&self) -> &[NamedParam] {
        &self.params
    }

    /// Floating-point operations of a training step for one sample: forward, and backward for parameters and inputs, but for
    /// the network's own input. Matrix products and convolutions only; a multiply-add counts 2.
    pub fn flops(&self) -> u64 {
        self.lowered.flops()
    }

    /// A table of the layers.
    pub fn summary(&self) -> Summary {
        let mut rows = Vec::new();
        each_layer(&self.chain, &mut |index, name, layer, is_join| {
            let params = layer.params().into_iter().filter(|param| !param.is_state && !is_join);
            rows.push(SummaryRow {
                index,
                name: name.to_owned(),
                spec: if is_join { layer.name().to_owned() } else { layer.spec() },
                output: layer.output(),
                params: params.map(|param| param.len()).sum(),
                flops: if is_join { 0 } else { layer.flops() },
            });
        });
        Summary { input: self.input(), rows, params: self.parameters(), flops: self.flops() }
    }

    /// Runs all layers on [`Workspace::input_mut`] and leaves the result in [`Workspace::output`].
    ///
    /// # Panics
    /// If `theta` has not [`param_len`](Self::param_len) numbers, the workspace was built for another network, or its block is
    /// not the pass's.
    #[track_caller]
    pub fn forward(&self, pass: &Pass, theta: &[T], ws: &mut Workspace<T>) {
        self.lowered.forward(pass, theta, None, ws);
    }

    /// Runs all layers backwards from [`Workspace::output_grad_mut`], after a forward pass of the same block, and adds the
    /// gradient of the parameters to `dtheta`. The gradient of the network's input is not computed.
    ///
    /// # Panics
    /// As [`forward`](Self::forward); `dtheta` must be as long as `theta`.
    #[track_caller]
    pub fn backward(&self, pass: &Pass, theta: &[T], dtheta: &mut [T], ws: &mut Workspace<T>) {
        let backward = Backward { rows: None, dtheta, dx: None, frozen: 0, save: &mut |_, _, _, _| false };
        self.lowered.backward(pass, theta, backward, ws);
    }

    /// The samples that are evaluated or predicted at a time, of however many there are: always one after the other, never as tiles.
    ///
    /// Whatever the neighbours, each number is then summed in one order, and what a network says about a sample has the same bits alone
    /// and among any others. (Of tiles dense layers sum in another order, and of few samples in yet another.) A block's activations stay
    /// in a core's cache, or take no more room than the weights, which are read once a block.
    pub fn eval_block(&self) -> Block {
        let sample: usize = self.lowered.memory(Block::single(1)).features.iter().sum();
        let room = (Self::EVAL_BYTES / size_of::<T>()).max(self.param_len());
        Block::single((room / sample).clamp(1, Self::EVAL_SAMPLES))
    }

    /// The outputs `[samples, classes]` for inputs `[samples, features]`, in evaluation mode. A sample's outputs have the same bits alone
    /// and among any others: see [`eval_block`](Self::eval_block). A convenience: it allocates.
    ///
    /// # Panics
    /// If `x` has not the network's features, or `theta` not its length.
    #[track_caller]
    pub fn predict(&self, theta: &[T], x: ArrayView2<'_, T>) -> Array2<T> {
        let mut y = Array2::from_elem((x.nrows(), self.classes()), T::ZERO);
        self.for_each_block(theta, x, |samples, pass, ws| {
            y.slice_mut(s![samples, ..]).assign(&unpack(pass.block, self.classes(), ws.output()));
        });
        y
    }

    /// The probabilities `[samples, classes]` for inputs `[samples, features]`: the [softmax](crate::loss::softmax) of what
    /// [`predict`](Self::predict) says, for a network that was trained with softmax cross-entropy.
    ///
    /// # Panics
    /// As [`predict`](Self::predict).
    #[track_caller]
    pub fn predict_proba(&self, theta: &[T], x: ArrayView2<'_, T>) -> Array2<T> {
        softmax(self.predict(theta, x).view())
    }

    /// How the outputs for inputs `[samples, features]` move with the inputs: `dx = (df/dx)^T dy`, `[samples, features]`, with one row of
    /// `dy`, `[samples, outputs]`, for each sample. With a 1 for a class and zeros elsewhere it is the gradient of the class's output (a
    /// saliency map); with what a loss writes as `dlogits` it is the gradient of the loss. In evaluation mode. A convenience: it allocates.
    ///
    /// ```
    /// use byhand_layers::{Dense, Network};
    /// use ndarray::array;
    /// let network: Network = Network::new(vec![Box::new(Dense::new(2, 2, false)?)])?;
    /// let dx = network.gradient_of_input(&[3.0, 4.0, 5.0, 6.0], array![[1.0, 1.0]].view(), array![[0.0, 1.0]].view());
    /// assert_eq!(dx, array![[5.0, 6.0]]);
    /// # Ok::<(), byhand_layers::LayerError>(())
    /// ```
    ///
    /// # Panics
    /// If `x` has not the network's features, `dy` not its outputs or another number of samples, or `theta` not its length.
    #[track_caller]
    pub fn gradient_of_input(&self, theta: &[T], x: ArrayView2<'_, T>, dy: ArrayView2<'_, T>) -> Array2<T> {
        assert_eq!(dy.dim(), (x.nrows(), self.classes()), "network: samples and outputs of dy");
        let mut all = Array2::from_elem(x.dim(), T::ZERO);
        // Written by layers that always compute it, read by nobody.
        let mut dtheta = vec![T::ZERO; self.param_len()];
        let mut dx = vec![T::ZERO; self.eval_block().len(self.input().features())];
        self.for_each_block(theta, x, |samples, pass, ws| {
            pack_gradient(dy.slice(s![samples.clone(), ..]), pass.block, ws.output_grad_mut());
            let dx = &mut dx[..pass.block.len(self.input().features())];
            let (frozen, dtheta) = (self.param_len(), &mut dtheta[..]);
            let backward =
                Backward { rows: None, dtheta, dx: Some(&mut *dx), frozen, save: &mut |_, _, _, _| true };
            self.lowered.backward(pass, theta, backward, ws);
            all.slice_mut(s![samples, ..]).assign(&unpack(pass.block, self.input().features(), dx));
        });
        all
    }

    /// Mean loss and confusion for inputs `[samples, features]` and what should have been said of them, in evaluation mode. A
    /// convenience: it allocates, and runs on one thread.
    ///
    /// # Panics
    /// As [`predict`](Self::predict), and where the loss does: if there is not one target for each sample, or a label is no class.
    #[track_caller]
    pub fn evaluate(
        &self,
        theta: &[T],
        x: ArrayView2<'_, T>,
        target: Target<'_, T>,
        loss: &dyn Loss<T>,
    ) -> Evaluation {
        let samples = x.nrows();
        let weighting = loss.weighting();
        let (mut sum, mut weight) = (0.0, 0.0);
        let mut confusion = Confusion::new(if target.is_labels() { self.classes() } else { 0 });
        self.for_each_block(theta, x, |samples, pass, ws| {
            let target = target.of_samples(samples, self.classes());
            let (outputs, dlogits) = ws.output_and_grad_mut();
            sum += loss.value_and_gradient(pass.block, outputs, target, T::ONE, dlogits).loss;
            weight += weighting.total(target, pass.block.samples());
            confusion.count_where(|label| weighting.of(label).is_some(), outputs, target);
        });
        Evaluation { samples, loss: sum / weight, confusion }
    }

    /// Runs the network on inputs `[samples, features]`, a block at a time, and gives each to `then`.
    #[track_caller]
    fn for_each_block(
        &self,
        theta: &[T],
        x: ArrayView2<'_, T>,
        mut then: impl FnMut(Range<usize>, &Pass, &mut Workspace<T>),
    ) {
        assert_eq!(x.ncols(), self.input().features(), "network: features of x");
        assert_eq!(theta.len(), self.param_len(), "network: length of theta");
        if x.is_empty() {
            return;
        }
        let at_once = self.eval_block().samples().min(x.nrows());
        let mut ws = Workspace::new(self, Block::single(at_once));
        for first in (0..x.nrows()).step_by(at_once) {
            let samples = first..(first + at_once).min(x.nrows());
            let pass = Pass::eval(ws.set_samples(samples.len()));
            pack(x.slice(s![samples.clone(), ..]), pass.block, ws.input_mut());
            self.forward(&pass, theta, &mut ws);
            then(samples, &pass, &mut ws);
        }
    }

    /// The first parameter tensor in which `values` (a `theta` or `dtheta`) is not finite.
    pub fn first_non_finite(&self, values: &[T]) -> Option<&NamedParam> {
        self.params.iter().find(|param| values[param.range.clone()].iter().any(|value| !value.is_finite()))
    }
}

impl<T: Scalar> Workspace<T> {
    /// Memory for `network` and blocks of this layout with up to as many tiles.
    pub fn new(network: &Network<T>, block: Block) -> Self {
        Self::of(network.lowered(), block)
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

/// One layer in a [`Summary`]; one of branches stands behind the layers of these.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SummaryRow {
    /// Index of the network's layer.
    pub index: usize,
    /// The same as text; of a layer in a branch with its place in that: `3.main.0`.
    pub name: String,
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
        writeln!(f, "input {}", self.input)?;
        for SummaryRow { name, spec, output, params, flops, .. } in &self.rows {
            writeln!(f, "{name} {spec}: {output}, {params} parameters, {flops} FLOPs")?;
        }
        write!(f, "{} parameters, {} FLOPs a sample in a training step", self.params, self.flops)
    }
}

/// Names every tensor and gives it its range of `theta`, layer by layer.
fn name_params<T: Scalar>(chain: &Chain<dyn Layer<T>>) -> Vec<NamedParam> {
    let mut params: Vec<NamedParam> = Vec::new();
    each_layer(chain, &mut |index, place, layer, is_join| {
        for spec in layer.params().into_iter().filter(|_| !is_join) {
            let start = params.last().map_or(0, |param| param.range.end);
            params.push(NamedParam {
                layer: index,
                layer_name: layer.name(),
                output: layer.output(),
                name: format!("{place}.{}", spec.name),
                range: start..start + spec.len(),
                shape: spec.shape,
                fan_in: spec.fan_in,
                fan_out: spec.fan_out,
                start: spec.start,
                is_state: spec.is_state,
            });
        }
    });
    params
}

/// Called with the index of a network's layer, the place of that layer or of one in its branches, the layer there, and whether it is of
/// branches, whose layers were before it.
type Visit<'a, T> = dyn FnMut(usize, &str, &dyn Layer<T>, bool) + 'a;

/// Visits all layers, in the order in which their parameters lie in `theta`.
fn each_layer<T: Scalar>(chain: &Chain<dyn Layer<T>>, visit: &mut Visit<'_, T>) {
    for (index, layer) in chain.layers().iter().enumerate() {
        each_inside(index, &index.to_string(), &**layer, visit);
    }
}

fn each_inside<T: Scalar>(index: usize, place: &str, layer: &dyn Layer<T>, visit: &mut Visit<'_, T>) {
    let branches = Branches::of(layer);
    for (branch, chain) in branches.iter().flat_map(|branches| branches.chains()) {
        for (inside, layer) in chain.layers().iter().enumerate() {
            each_inside(index, &format!("{place}.{branch}.{inside}"), &**layer, visit);
        }
    }
    visit(index, place, layer, branches.is_some());
}
