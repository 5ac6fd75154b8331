//! `Graph`: a model as operations on values, which every format is written from.

use byhand_layers::{Branches, Layer, Network, Shape};
use byhand_models::{Model, Spec, kinds::Arguments};
use byhand_tensor::Conv2d;
use std::sync::Arc;

use crate::ExportError;

/// A model as operations, each on the values of earlier ones. Layers that do nothing when a model is used (`linear`, `dropout`) are gone.
#[derive(Debug)]
pub(crate) struct Graph<'a> {
    /// Shape of a sample.
    pub(crate) input: Shape,
    /// Whether a sample is an image to its first layer, not a list of features.
    pub(crate) is_image: bool,
    /// Node `i` makes value `i + 1`; value 0 is the input.
    pub(crate) nodes: Vec<Node<'a>>,
    /// The value that is the model's output.
    pub(crate) output: usize,
}

/// An operation.
#[derive(Debug)]
pub(crate) struct Node<'a> {
    /// The layer as PyTorch's `nn.Sequential` counts it: `3`.
    pub(crate) layer: String,
    pub(crate) op: Op<'a>,
    /// The layer it comes from, with its parameters.
    pub(crate) source: Arc<dyn Layer<f32>>,
    pub(crate) theta: &'a [f32],
    /// The values it reads.
    pub(crate) inputs: Vec<usize>,
    /// Shape of what it reads, and of what it makes.
    pub(crate) from: Shape,
    pub(crate) to: Shape,
}

/// What an operation does.
#[derive(Debug)]
pub(crate) enum Op<'a> {
    /// `y[o, i, j] = b[o] + sum_{c, u, v} w[o, c, u, v] x[c, i s + u d - top, j s + v d - left]`, in groups of channels.
    Conv {
        window: Window,
        groups: usize,
        w: &'a [f32],
        b: Option<&'a [f32]>,
        winograd: bool,
    },
    MaxPool(Window),
    AvgPool(Window),
    GlobalMaxPool,
    GlobalAvgPool,
    /// `y = W x + b`.
    Dense {
        w: &'a [f32],
        b: Option<&'a [f32]>,
    },
    /// `y = (x - mean) / sqrt(variance + eps) * weight + bias`, channel by channel.
    BatchNorm {
        weight: &'a [f32],
        bias: &'a [f32],
        mean: &'a [f32],
        variance: &'a [f32],
        eps: f64,
    },
    Relu,
    LeakyRelu {
        slope: f64,
    },
    Gelu {
        exact: bool,
    },
    Silu,
    Tanh,
    LogSoftmax,
    Sigmoid,
    Flatten,
    /// The sum of two values.
    Add,
    /// Values one behind the other, channel by channel.
    Concat,
}

/// Where a convolution or a pooling looks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Window {
    pub(crate) size: [usize; 2],
    pub(crate) stride: [usize; 2],
    /// Above, left, below, right.
    pub(crate) pad: [usize; 4],
    pub(crate) dilation: [usize; 2],
    /// The number of windows is rounded up.
    pub(crate) ceil: bool,
    /// A mean counts the zeros of the padding.
    pub(crate) counts_pad: bool,
}

impl Window {
    /// Windows that lie side by side, without padding.
    pub(crate) fn tiling(size: [usize; 2]) -> Self {
        Self { size, stride: size, pad: [0; 4], dilation: [1, 1], ceil: false, counts_pad: true }
    }
}

impl<'a> Graph<'a> {
    /// The operations of a model whose network is this.
    pub(crate) fn new(model: &'a Model, network: &Network<f32>) -> Result<Self, ExportError> {
        if let Some(tensor) = network.first_non_finite(&model.theta) {
            return Err(ExportError::NotFinite { tensor: tensor.name.clone() });
        }
        let mut graph =
            Self { input: model.input, is_image: reads_image(network), nodes: Vec::new(), output: 0 };
        let chain = network.layers().iter().enumerate();
        for (index, layer) in chain {
            graph.output = graph.add(graph.output, &index.to_string(), layer, model, network)?;
        }
        Ok(graph)
    }

    /// Adds what a layer makes of a value, and returns that value. `place` is the layer's: `3`, in a branch `3.main.0`.
    fn add(
        &mut self,
        value: usize,
        place: &str,
        layer: &Arc<dyn Layer<f32>>,
        model: &'a Model,
        network: &Network<f32>,
    ) -> Result<usize, ExportError> {
        let params = || {
            network.params().iter().filter_map(|param| {
                let name = param.name.strip_prefix(place)?.strip_prefix('.')?;
                Some((name, &param.range))
            })
        };
        if let Some(branches) = Branches::of(&**layer) {
            let mut inputs = Vec::new();
            for (branch, chain) in branches.chains() {
                let mut last = value;
                for (inside, layer) in chain.layers().iter().enumerate() {
                    last = self.add(last, &format!("{place}.{branch}.{inside}"), layer, model, network)?;
                }
                inputs.push(last);
            }
            let op = if branches.is_residual() { Op::Add } else { Op::Concat };
            return Ok(self.push(place, op, layer, &[], inputs));
        }
        let spec: Spec = layer.spec().parse().map_err(ExportError::Spec)?;
        let arguments = spec.tokens()[0].arguments();
        let tensor = |name: &str| {
            let found = params().find(|(found, _)| *found == name);
            found.map(|(_, range)| &model.theta[range.clone()])
        };
        let of_layer = |name: &str| tensor(name).ok_or_else(|| ExportError::Layer { layer: layer.spec() });
        let op = match layer.name() {
            "linear" | "dropout" => return Ok(value),
            "conv" => {
                let (size, stride, dilation) =
                    (arguments.extent("kernel"), arguments.extent("stride"), arguments.extent("dilation"));
                let pad = arguments.padding("pad").around(layer.input(), size, stride, dilation);
                let window = Window { size, stride, pad, dilation, ceil: false, counts_pad: true };
                let groups = arguments.count("groups");
                let winograd = is_winograd(&window, [layer.input().c / groups, layer.output().c / groups]);
                Op::Conv { window, groups, w: of_layer("weight")?, b: tensor("bias"), winograd }
            }
            "pool" => Op::MaxPool(pool(&arguments, layer.input(), true)),
            "avgpool" => Op::AvgPool(pool(&arguments, layer.input(), arguments.flag("count_pad"))),
            "globalmaxpool" => Op::GlobalMaxPool,
            "globalavgpool" => Op::GlobalAvgPool,
            "dense" => Op::Dense { w: of_layer("weight")?, b: tensor("bias") },
            "batchnorm" => Op::BatchNorm {
                weight: of_layer("weight")?,
                bias: of_layer("bias")?,
                mean: of_layer("running_mean")?,
                variance: of_layer("running_var")?,
                eps: arguments.fraction("eps"),
            },
            "relu" => Op::Relu,
            "leaky_relu" => Op::LeakyRelu { slope: arguments.fraction("slope") },
            "gelu" => Op::Gelu { exact: arguments.flag("exact") },
            "silu" => Op::Silu,
            "log_softmax" => Op::LogSoftmax,
            "tanh" => Op::Tanh,
            "sigmoid" => Op::Sigmoid,
            "flatten" => Op::Flatten,
            _ => return Err(ExportError::Layer { layer: layer.spec() }),
        };
        let mut ranges = params().map(|(_, range)| range);
        let theta = ranges.next().map_or(0..0, |first| first.start..ranges.next_back().unwrap_or(first).end);
        Ok(self.push(place, op, layer, &model.theta[theta], vec![value]))
    }

    fn push(
        &mut self,
        place: &str,
        op: Op<'a>,
        source: &Arc<dyn Layer<f32>>,
        theta: &'a [f32],
        inputs: Vec<usize>,
    ) -> usize {
        let (from, to) = (source.input(), source.output());
        self.nodes.push(Node {
            layer: place.to_owned(),
            op,
            source: Arc::clone(source),
            theta,
            inputs,
            from,
            to,
        });
        self.nodes.len()
    }

    /// The shape of a value.
    pub(crate) fn shape(&self, value: usize) -> Shape {
        value.checked_sub(1).map_or(self.input, |index| self.nodes[index].to)
    }

    /// How many operations read a value; the model's output counts as one.
    pub(crate) fn readers(&self, value: usize) -> usize {
        let readers =
            self.nodes.iter().flat_map(|node| &node.inputs).filter(|&&input| input == value).count();
        readers + usize::from(self.output == value)
    }
}

fn pool(arguments: &Arguments<'_>, input: Shape, counts_pad: bool) -> Window {
    let (size, stride, dilation) =
        (arguments.extent("window"), arguments.extent("stride"), arguments.extent("dilation"));
    let pad = arguments.padding("pad").around(input, size, stride, dilation);
    Window { size, stride, pad, dilation, ceil: arguments.flag("ceil"), counts_pad }
}

/// Whether our kernels compute a convolution of so many channels in a group by Winograd's filtering.
fn is_winograd(window: &Window, [c_in, c_out]: [usize; 2]) -> bool {
    let neighbours = (0..2).all(|axis| window.dilation[axis].is_multiple_of(window.stride[axis]));
    let plain = Conv2d::new([c_in, 3, 3], c_out, window.size, [1, 1], [0, 0]);
    neighbours && plain.is_ok_and(|plain| plain.is_winograd())
}

/// Whether the first layer that is more than a function of each number reads channels of images, or there is none and samples have rows and
/// columns.
fn reads_image(network: &Network<f32>) -> bool {
    fn first(layers: &[Arc<dyn Layer<f32>>]) -> Option<&'static str> {
        layers.iter().find_map(|layer| match Branches::of(&**layer) {
            Some(branches) => branches.chains().find_map(|(_, chain)| first(chain.layers())),
            None => Some(layer.name()).filter(|name| {
                ["conv", "pool", "avgpool", "globalmaxpool", "globalavgpool", "dense", "flatten"]
                    .contains(name)
            }),
        })
    }
    let input = network.input();
    (input.h, input.w) != (1, 1) || !matches!(first(network.layers()), None | Some("dense" | "flatten"))
}
