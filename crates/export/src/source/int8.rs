//! `Quantized`: a model in whole numbers of eight bits.
//!
//! A value `x` is `s q` with a byte `q` in `-127..=127` and one scale `s` a tensor, a weight the same with one scale an output channel;
//! there are no offsets (symmetric quantization). A sum of products is exact in 32 bits, and becomes a byte of the next value by one rounded
//! multiplication with `s_x s_w / s_y`, itself a whole number over a power of two. Scales of values are what calibrating pictures need.
//!
//! Source: Jacob et al., "Quantization and training of neural networks for efficient integer-arithmetic-only inference", 2018.

use byhand_layers::{Pass, Shape};
use byhand_models::{ImageDim, Model};
use byhand_tensor::{Block, Number};
use ndarray::{Array2, ArrayView, ArrayView2, Axis};

use super::kernels::{self, Channel, Logit, Pair};
use super::plan::{Place, Plan};
use super::program::{Argument, Call, Numbers, Pictures, Program, Sizes, identifier, whole};
use crate::ExportError;
use crate::graph::{Graph, Node, Op, Window};

/// A model in whole numbers of eight bits.
#[derive(Clone, Debug)]
pub struct Quantized {
    steps: Vec<Step>,
    inputs: usize,
    outputs: usize,
    memory: usize,
    /// Of the input.
    scale: f32,
    /// Where the output ends, in bytes, and its scale; none where the last step writes floats.
    last: Option<(Place, f32)>,
}

/// A step, and where it reads and writes.
#[derive(Clone, Debug)]
struct Step {
    operation: Operation,
    layer: String,
    /// Its number in names.
    index: String,
    from: (Place, usize),
    to: (Place, usize),
}

#[derive(Clone, Debug)]
enum Operation {
    Convolve(Sizes, Vec<i8>, Vec<Channel>),
    ConvolveToLogits(Sizes, Vec<i8>, Vec<Logit>),
    Dense(Vec<i8>, Vec<Channel>),
    DenseToLogits(Vec<i8>, Vec<Logit>),
    MaxPool(Sizes),
    AveragePool(Sizes),
    Rescale(Vec<Channel>),
    Relu,
    /// A function of a byte, from -128 on.
    LookUp(Vec<i8>),
    /// To what is there.
    Add(Pair),
    Copy,
}

/// Calibrating pictures at a time.
const AT_ONCE: usize = 64;
/// Products of a sum at most, so that it and a bias are no larger than 32 bits hold.
const MOST_PRODUCTS: usize = 1 << 16;

impl Quantized {
    /// A model in whole numbers, its scales what these pictures `[n, rows, columns]` or `[n, channels, rows, columns]` need: some hundred
    /// of those that it was trained on.
    ///
    /// # Errors
    /// When the model's parts do not fit together, a weight is not finite, pictures make no inputs of the network, or a sum has more than
    /// 65,536 products.
    pub fn new<D: ImageDim>(model: &Model, pictures: ArrayView<'_, u8, D>) -> Result<Self, ExportError> {
        let pictures = D::with_channels(pictures);
        // What a batch normalisation does to a sum is then part of the sum, before it is rounded to a byte.
        let model = &model.folded()?;
        let network = model.network()?;
        let graph = Graph::new(model, &network)?;
        let (_, channels, h, w) = pictures.dim();
        let crop = model.preprocessing.crop_of((h, w));
        let (expected, found) = (graph.input, Shape::new(channels, crop.h, crop.w));
        if !expected.takes_image(found) {
            return Err(ExportError::Pictures { expected, found });
        }
        let mut ranges = vec![0.0f32; graph.nodes.len() + 1];
        for part in pictures.axis_chunks_iter(Axis(0), AT_ONCE) {
            graph.measure(model.preprocessing.apply(part).view(), &mut ranges);
        }
        let scales = graph.scales(&ranges);

        let last = graph.nodes.last();
        let ends_in_floats = last.is_some_and(|node| matches!(node.op, Op::Conv { .. } | Op::Dense { .. }));
        let plan = Plan::new(&graph, !ends_in_floats, |_| 0);
        let mut quantized = Self {
            steps: Vec::new(),
            inputs: graph.input.features(),
            outputs: network.classes(),
            memory: plan.memory,
            scale: scales[0],
            last: (!ends_in_floats).then_some((plan.output, scales[graph.output])),
        };
        for step in &plan.steps {
            let node = step.node;
            let mut push = |operation, index: String, from, to| {
                let layer = node.source.spec();
                quantized.steps.push(Step { operation, layer, index, from, to });
            };
            let index = identifier(&node.layer);
            let value =
                graph.nodes.iter().position(|other| std::ptr::eq(other, node)).expect("a node of the graph")
                    + 1;
            let to = scales[value];
            let whole = (step.to, node.to.features());
            let inputs = step.from.iter().zip(&node.inputs);
            match node.op {
                Op::Add => {
                    if step.from[0] != step.to {
                        push(Operation::Copy, index.clone(), (step.from[0], whole.1), whole);
                    }
                    let pair = pair(scales[node.inputs[0]] / to, scales[node.inputs[1]] / to);
                    push(Operation::Add(pair), index, (step.from[1], whole.1), whole);
                }
                Op::Concat => {
                    let mut start = 0;
                    for (part, (&from, &input)) in inputs.enumerate() {
                        let len = graph.shape(input).features();
                        let place = (step.to.after(start), len);
                        push(Operation::Copy, format!("{index}_{part}"), (from, len), place);
                        let scale = f64::from(scales[input]) / f64::from(to);
                        if scale != 1.0 {
                            let channels = vec![channel(0, scale / 256.0)];
                            push(Operation::Rescale(channels), format!("{index}_{part}"), place, place);
                        }
                        start += len;
                    }
                }
                _ => {
                    let operation =
                        operation(node, scales[node.inputs[0]], to, matches!(step.to, Place::Output(_)))?;
                    push(operation, index, (step.from[0], node.from.features()), whole);
                }
            }
        }
        Ok(quantized)
    }

    /// The outputs `[n, classes]` for inputs `[n, features]` of the network, which become bytes first: what the source code computes, to
    /// the bit.
    pub fn predict(&self, x: ArrayView2<'_, f32>) -> Array2<f32> {
        let mut logits = Array2::zeros((x.nrows(), self.outputs));
        let mut memory = vec![0; self.memory];
        for (x, mut logits) in x.rows().into_iter().zip(logits.rows_mut()) {
            let input: Vec<i8> = x.iter().map(|&x| byte(x / self.scale)).collect();
            self.run(&input, logits.as_slice_mut().expect("rows are contiguous"), &mut memory);
        }
        logits
    }

    fn run(&self, input: &[i8], logits: &mut [f32], memory: &mut [i8]) {
        for Step { operation, from, to, .. } in &self.steps {
            // A copy, so that what is read and what is written may lie in one memory.
            let x: Vec<i8> = match from.0 {
                Place::Memory(start) => memory[start..start + from.1].to_vec(),
                Place::Input | Place::Output(_) => input.to_vec(),
            };
            let y = match to.0 {
                Place::Memory(start) => &mut memory[start..start + to.1],
                Place::Input | Place::Output(_) => &mut [],
            };
            let adds = matches!(operation, Operation::Add(_));
            if x.len() == y.len() && !adds {
                y.copy_from_slice(&x);
            }
            match operation {
                Operation::Convolve(sizes, w, scales) => kernels::convolve(&window(sizes), &x, w, scales, y),
                Operation::ConvolveToLogits(sizes, w, scales) => {
                    kernels::convolve_to_logits(&window(sizes), &x, w, scales, logits);
                }
                Operation::Dense(w, scales) => kernels::dense(&x, w, scales, y),
                Operation::DenseToLogits(w, scales) => kernels::dense_to_logits(&x, w, scales, logits),
                Operation::MaxPool(sizes) => kernels::max_pool(&window(sizes), &x, y),
                Operation::AveragePool(sizes) => kernels::average_pool(&window(sizes), &x, y),
                Operation::Rescale(scales) => kernels::rescale(scales, y),
                Operation::Relu => kernels::relu(y),
                Operation::LookUp(table) => kernels::look_up(table, y),
                Operation::Add(pair) => kernels::add(pair, &x, y),
                Operation::Copy => {}
            }
        }
        match self.last {
            Some((Place::Memory(start), scale)) => {
                kernels::to_logits(scale, &memory[start..start + self.outputs], logits);
            }
            Some((_, scale)) => kernels::to_logits(scale, input, logits),
            None => {}
        }
    }

    /// The same as calls of kernels.
    pub(super) fn program(&self, pictures: Option<Pictures>, classes: Vec<String>) -> Program {
        let mut program = Program {
            arrays: Vec::new(),
            calls: Vec::new(),
            inputs: self.inputs,
            outputs: self.outputs,
            memory: self.memory,
            is_int8: true,
            pictures,
            classes,
        };
        if let Some(pictures) = &program.pictures {
            let level = |p: u8| byte(pictures.normalize.apply(p) / self.scale);
            let levels = (0..=255).map(level).collect();
            program.array("level".into(), Numbers::Int8(levels));
        }
        for Step { operation, layer, index, from, to } in &self.steps {
            let name = |what: &str| format!("{what}_{index}");
            let lengths = [from.1, to.1].map(Argument::Length).to_vec();
            let mut array = |what: &str, numbers: Numbers| program.array(name(what), numbers);
            let mut window = |sizes: &Sizes| vec![array("window", Numbers::Sizes(*sizes))];
            let (kernel, first, constants) = match operation {
                Operation::MaxPool(sizes) => ("max_pool", window(sizes), Vec::new()),
                Operation::AveragePool(sizes) => ("average_pool", window(sizes), Vec::new()),
                Operation::Convolve(sizes, w, channels) => {
                    let first = window(sizes);
                    let w = array("weight", Numbers::Int8(w.clone()));
                    ("convolve", first, vec![w, array("channels", Numbers::Channels(channels.clone()))])
                }
                Operation::ConvolveToLogits(sizes, w, logits) => {
                    let first = window(sizes);
                    let w = array("weight", Numbers::Int8(w.clone()));
                    ("convolve_to_logits", first, vec![w, array("scales", Numbers::Logits(logits.clone()))])
                }
                Operation::Dense(w, channels) => {
                    let w = array("weight", Numbers::Int8(w.clone()));
                    ("dense", lengths, vec![w, array("channels", Numbers::Channels(channels.clone()))])
                }
                Operation::DenseToLogits(w, logits) => {
                    let w = array("weight", Numbers::Int8(w.clone()));
                    ("dense_to_logits", lengths, vec![w, array("scales", Numbers::Logits(logits.clone()))])
                }
                Operation::Rescale(channels) => {
                    let pixels = Argument::Length(to.1 / channels.len());
                    let channels_len = Argument::Length(channels.len());
                    let channels = array("channels", Numbers::Channels(channels.clone()));
                    ("rescale", vec![channels_len, pixels, channels], Vec::new())
                }
                Operation::Relu => ("relu", vec![Argument::Length(to.1)], Vec::new()),
                Operation::Copy | Operation::Add(_) => ("copy", vec![Argument::Length(to.1)], Vec::new()),
                Operation::LookUp(table) => {
                    let table = array("table", Numbers::Int8(table.clone()));
                    ("look_up", vec![Argument::Length(to.1), table], Vec::new())
                }
            };
            if let Operation::Add(pair) = operation {
                let pair = program.array(name("pair"), Numbers::Pair(*pair));
                program.add(layer, *from, *to, "add", vec![pair]);
                continue;
            }
            let is_elementwise = matches!(
                operation,
                Operation::Rescale(_) | Operation::Relu | Operation::LookUp(_) | Operation::Copy
            );
            let (layer, from, to) = (layer.clone(), *from, *to);
            program.calls.push(Call {
                kernel,
                layer,
                first,
                from,
                constants,
                to,
                scratch: (0, 0),
                is_elementwise,
            });
        }
        if let Some((place, scale)) = self.last {
            program.calls.push(Call {
                kernel: "to_logits",
                layer: "bytes to floats".into(),
                first: vec![Argument::Length(self.outputs), Argument::Float(scale)],
                from: (place, self.outputs),
                constants: Vec::new(),
                to: (Place::Output(0), self.outputs),
                scratch: (0, 0),
                is_elementwise: false,
            });
        }
        program
    }
}

impl Graph<'_> {
    /// Raises the largest magnitude of each value to what inputs `[n, features]` make of it.
    fn measure(&self, x: ArrayView2<'_, f32>, ranges: &mut [f32]) {
        let block = Block::single(x.nrows());
        let mut values = vec![x.iter().copied().collect::<Vec<f32>>()];
        for node in &self.nodes {
            let layer = &node.source;
            let mut y = vec![0.0; block.len(node.to.features())];
            match node.op {
                Op::Add => {
                    let [a, b] = [0, 1].map(|input| &values[node.inputs[input]]);
                    y.iter_mut().zip(a).zip(b).for_each(|((y, a), b)| *y = a + b);
                    values.push(y);
                    continue;
                }
                Op::Concat => {
                    y.clear();
                    for sample in 0..x.nrows() {
                        for &input in &node.inputs {
                            let len = self.shape(input).features();
                            y.extend(&values[input][sample * len..][..len]);
                        }
                    }
                    values.push(y);
                    continue;
                }
                _ => {}
            }
            let mut tape = vec![0.0; layer.tape_len(block)];
            let mut scratch = vec![0.0; layer.scratch_len(block)];
            let x = &values[node.inputs[0]];
            layer.forward(&Pass::eval(block), node.theta, x, &mut y, &mut tape, &mut scratch);
            values.push(y);
        }
        for (range, values) in ranges.iter_mut().zip(&values) {
            *range =
                values.iter().fold(*range, |most, value| if value.abs() > most { value.abs() } else { most });
        }
    }

    /// The scale of each value. What a value becomes by choosing among its numbers (a maximum, a ReLU) has its scale, and it need not
    /// hold more than what is chosen.
    fn scales(&self, ranges: &[f32]) -> Vec<f32> {
        let keeps = |node: &Node<'_>| {
            matches!(
                node.op,
                Op::Flatten
                    | Op::MaxPool(_)
                    | Op::AvgPool(_)
                    | Op::GlobalMaxPool
                    | Op::GlobalAvgPool
                    | Op::Relu
            )
        };
        let chooses = |node: &Node<'_>| keeps(node) && !matches!(node.op, Op::AvgPool(_) | Op::GlobalAvgPool);
        let mut scales = Vec::with_capacity(ranges.len());
        for value in 0..ranges.len() {
            if let Some(node) =
                value.checked_sub(1).map(|index| &self.nodes[index]).filter(|node| keeps(node))
            {
                scales.push(scales[node.inputs[0]]);
                continue;
            }
            let mut end = value;
            while self.readers(end) == 1
                && let Some(next) = self.nodes.iter().position(|node| node.inputs.contains(&end))
                && chooses(&self.nodes[next])
            {
                end = next + 1;
            }
            scales.push(if ranges[end] > 0.0 { ranges[end] / 127.0 } else { 1.0 });
        }
        scales
    }
}

/// A node in whole numbers, from and to values of these scales, or to floats.
fn operation(node: &Node<'_>, from: f32, to: f32, to_floats: bool) -> Result<Operation, ExportError> {
    let sizes = |window: Window| Sizes {
        from: [node.from.c, node.from.h, node.from.w],
        to: [node.to.c, node.to.h, node.to.w],
        window,
        groups: if let Op::Conv { groups, .. } = node.op { groups } else { 1 },
    };
    let table = |function: fn(f64) -> f64| {
        let of = |q: i32| byte((function(f64::from(from) * f64::from(q)) / f64::from(to)) as f32);
        Operation::LookUp((-128..128).map(of).collect())
    };
    let bias = |b: Option<f32>, scale: f32| {
        let bias = f64::from(b.unwrap_or(0.0)) / f64::from(scale);
        // Far beyond what any sum of products reaches.
        bias.round().clamp(-f64::from(1 << 30), f64::from(1 << 30)) as i32
    };
    // Weights of each output, and what its sum is multiplied by.
    let products = |w: &[f32], outputs: usize| -> Result<(Vec<i8>, Vec<f32>), ExportError> {
        let row = w.len() / outputs;
        if row > MOST_PRODUCTS {
            return Err(ExportError::Products { layer: node.source.spec(), found: row, most: MOST_PRODUCTS });
        }
        let mut scales = Vec::with_capacity(outputs);
        let mut bytes = Vec::with_capacity(w.len());
        for w in w.chunks_exact(row) {
            let most = w.iter().fold(0.0f32, |most, w| if w.abs() > most { w.abs() } else { most });
            let scale = if most > 0.0 { most / 127.0 } else { 1.0 };
            bytes.extend(w.iter().map(|w| byte(w / scale)));
            scales.push(from * scale);
        }
        Ok((bytes, scales))
    };
    let channels = |scales: &[f32], b: Option<&[f32]>| -> Vec<Channel> {
        let channel = |(o, &scale): (usize, &f32)| {
            channel(bias(b.map(|b| b[o]), scale), f64::from(scale) / f64::from(to))
        };
        scales.iter().enumerate().map(channel).collect()
    };
    let logits = |scales: &[f32], b: Option<&[f32]>| -> Vec<Logit> {
        let logit = |(o, &scale): (usize, &f32)| Logit { bias: bias(b.map(|b| b[o]), scale), scale };
        scales.iter().enumerate().map(logit).collect()
    };
    Ok(match &node.op {
        Op::Conv { window, w, b, .. } => {
            let (w, scales) = products(w, node.to.c)?;
            if to_floats {
                Operation::ConvolveToLogits(sizes(*window), w, logits(&scales, *b))
            } else {
                Operation::Convolve(sizes(*window), w, channels(&scales, *b))
            }
        }
        Op::Dense { w, b } => {
            let (w, scales) = products(w, node.to.features())?;
            if to_floats {
                Operation::DenseToLogits(w, logits(&scales, *b))
            } else {
                Operation::Dense(w, channels(&scales, *b))
            }
        }
        Op::MaxPool(window) => Operation::MaxPool(sizes(*window)),
        Op::AvgPool(window) => Operation::AveragePool(sizes(*window)),
        Op::GlobalMaxPool => Operation::MaxPool(sizes(whole(node))),
        Op::GlobalAvgPool => Operation::AveragePool(sizes(whole(node))),
        Op::BatchNorm { weight, bias, mean, variance, eps } => {
            let of = |c: usize| {
                let scale = f64::from(weight[c]) / (f64::from(variance[c]) + eps).sqrt();
                let shift = f64::from(bias[c]) - f64::from(mean[c]) * scale;
                // Of 256 q, where q is the byte.
                let factor = f64::from(from) * scale / 256.0;
                let start = if factor == 0.0 { 0.0 } else { shift / factor };
                channel(start.round().clamp(-1e9, 1e9) as i32, factor / f64::from(to))
            };
            Operation::Rescale((0..weight.len()).map(of).collect())
        }
        Op::Relu => Operation::Relu,
        &Op::LeakyRelu { slope } => {
            let of = |q: i32| {
                let x = f64::from(from) * f64::from(q);
                byte((if q > 0 { x } else { slope * x } / f64::from(to)) as f32)
            };
            Operation::LookUp((-128..128).map(of).collect())
        }
        Op::Gelu { exact: true } => table(|x| x * f64::from(Number::normal_cdf(x as f32))),
        Op::Gelu { exact: false } => table(|x| {
            x / (1.0 + (-2.0 * (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x)).exp())
        }),
        Op::Silu => table(|x| x / (1.0 + (-x).exp())),
        Op::LogSoftmax => return Err(ExportError::Layer { layer: node.source.spec() }),
        Op::Tanh => table(f64::tanh),
        Op::Sigmoid => table(|x| 1.0 / (1.0 + (-x).exp())),
        Op::Flatten | Op::Add | Op::Concat => unreachable!("they have no kernel of their own"),
    })
}

/// A bias, and a number as `factor / 2^shift` with a factor of 31 bits.
fn channel(bias: i32, number: f64) -> Channel {
    let (mut factor, mut shift) = (number, 0);
    while factor.abs() < f64::from(1 << 29) && shift < 62 {
        (factor, shift) = (2.0 * factor, shift + 1);
    }
    // A number of 2^29 and more makes every sum a largest byte.
    let factor = factor.round().clamp(-f64::from(i32::MAX), f64::from(i32::MAX)) as i32;
    if shift == 0 { Channel { bias, factor, shift: 1 } } else { Channel { bias, factor, shift } }
}

/// Two numbers as factors of 30 bits over one power of two.
fn pair(own: f32, other: f32) -> Pair {
    let (own, other) = (f64::from(own), f64::from(other));
    let mut shift = 0;
    while own.max(other) * f64::from(2u32).powi(shift) < f64::from(1 << 29) && shift < 62 {
        shift += 1;
    }
    let whole = |number: f64| (number * f64::from(2u32).powi(shift)).round().min(f64::from(i32::MAX)) as i32;
    Pair { own: whole(own), other: whole(other), shift: shift.max(1) }
}

/// The nearest byte.
fn byte(x: f32) -> i8 {
    x.round().clamp(-127.0, 127.0) as i8
}

fn window(sizes: &Sizes) -> kernels::Window {
    let Sizes { from: [c_in, h_in, w_in], to: [c_out, h_out, w_out], window, groups } = *sizes;
    let Window { size: [rows, columns], stride, pad: [top, left, ..], dilation, .. } = window;
    let ((end, before), pad) = (sizes.counted(), [top, left]);
    kernels::Window {
        c_in,
        h_in,
        w_in,
        c_out,
        h_out,
        w_out,
        rows,
        columns,
        stride,
        pad,
        dilation,
        groups,
        end,
        before,
    }
}
