//! A model as an ONNX file. Source: the message definitions of `onnx/onnx.proto`, and `docs/Operators.md` of ONNX.

use byhand_layers::Shape;
use byhand_models::{Crop, Model, Normalize, Preprocessing, Spec};
use std::ops::RangeInclusive;

use super::wire::Message;
use super::{FLOAT, INT64, UINT8};
use crate::ExportError;
use crate::graph::{Graph, Node, Op, Window};

/// The operator sets that can be asked for.
pub const OPSETS: RangeInclusive<u32> = 11..=22;
/// The operator set that every runtime of the last years reads.
pub const DEFAULT_OPSET: u32 = 17;
/// From this operator set on there is an operator for GELU.
const GELU: u32 = 20;
/// From this one on an average may have dilation.
const DILATED_MEAN: u32 = 19;

/// What kind of file is written.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The version of ONNX's operators, one of [`OPSETS`].
    pub opset: u32,
    /// Where the preprocessing belongs into the file, rows and columns of the pictures: its input then is bytes,
    /// `[samples, channels, rows, columns]`, and not what the network sees.
    pub pictures: Option<(usize, usize)>,
}

impl Default for Options {
    fn default() -> Self {
        Self { opset: DEFAULT_OPSET, pictures: None }
    }
}

/// The bytes of an ONNX file. Its input is `input`, of `[samples, channels, rows, columns]` or `[samples, features]`, its output `logits`,
/// `[samples, classes]`, with any number of samples. Weights have the names that PyTorch's `nn.Sequential` gives them.
///
/// # Errors
/// When the model's parts do not fit together, a weight is not finite, a layer has no counterpart in ONNX, or the operator set is none of
/// [`OPSETS`].
pub fn write(model: &Model, options: Options) -> Result<Vec<u8>, ExportError> {
    if !OPSETS.contains(&options.opset) {
        return Err(ExportError::Opset { known: OPSETS, found: options.opset });
    }
    let network = model.network()?;
    let graph = Graph::new(model, &network)?;
    let mut writer = Writer { opset: options.opset, nodes: Vec::new(), tensors: Vec::new(), constants: 0 };
    let input_dims: Vec<usize> = dims(graph.input, graph.is_image);
    let (first, elements, dims_in) = match options.pictures {
        None => (INPUT.to_owned(), FLOAT, input_dims.clone()),
        Some((h, w)) => (writer.preprocess(model, (h, w), &graph)?, UINT8, vec![model.channels(), h, w]),
    };
    let name = |value: usize| match value {
        0 => first.clone(),
        _ if value == graph.output => OUTPUT.to_owned(),
        _ => {
            let node = &graph.nodes[value - 1];
            format!("{}.{}", node.layer, operator(&node.op).to_lowercase())
        }
    };
    for (index, node) in graph.nodes.iter().enumerate() {
        let inputs: Vec<String> = node.inputs.iter().map(|&value| name(value)).collect();
        writer.operation(node, &inputs, &name(index + 1))?;
    }
    if graph.output == 0 {
        writer.node("Identity", &[&first], OUTPUT, &[]);
    }
    let classes = network.classes();
    let Writer { nodes, tensors, .. } = writer;
    let body = Message::default()
        .messages(1, &nodes)
        .text(2, "byhand")
        .messages(5, &tensors)
        .message(11, &value(INPUT, elements, &dims_in))
        .message(12, &value(OUTPUT, FLOAT, &[classes]));
    let notes = [
        ("layers", model.spec.to_string()),
        ("input", model.input.to_string()),
        ("classes", model.class_names.join("\n")),
        ("scale", model.preprocessing.normalize.scale.to_string()),
        ("shift", model.preprocessing.normalize.shift.to_string()),
        ("weights_sha256", model.weights_sha256()),
    ];
    let notes =
        notes.map(|(key, value)| Message::default().text(1, &format!("byhand.{key}")).text(2, &value));
    let file = Message::default()
        .int(1, ir_version(options.opset))
        .text(2, "byhand")
        .text(3, env!("CARGO_PKG_VERSION"))
        .message(7, &body)
        .message(8, &Message::default().text(1, "").int(2, i64::from(options.opset)))
        .messages(14, &notes);
    Ok(file.0)
}

const INPUT: &str = "input";
const OUTPUT: &str = "logits";

/// The version of the file format that came with an operator set.
fn ir_version(opset: u32) -> i64 {
    match opset {
        ..=11 => 6,
        12..=14 => 7,
        15..=18 => 8,
        19..=20 => 9,
        _ => 10,
    }
}

/// A sample's dimensions, without the number of samples.
fn dims(shape: Shape, is_image: bool) -> Vec<usize> {
    if is_image { vec![shape.c, shape.h, shape.w] } else { vec![shape.features()] }
}

/// A named value of any number of samples.
fn value(name: &str, elements: i64, sample: &[usize]) -> Message {
    let samples = Message::default().text(2, "samples");
    let sides = sample.iter().map(|&side| Message::default().int(1, side as i64));
    let shape = Message::default().messages(1, &[samples].into_iter().chain(sides).collect::<Vec<_>>());
    let tensor = Message::default().int(1, elements).message(2, &shape);
    Message::default().text(1, name).message(2, &Message::default().message(1, &tensor))
}

/// What an operation is called in ONNX, or would be.
fn operator(op: &Op<'_>) -> &'static str {
    match op {
        Op::Conv { .. } => "Conv",
        Op::MaxPool(_) => "MaxPool",
        Op::AvgPool(_) => "AveragePool",
        Op::GlobalMaxPool => "GlobalMaxPool",
        Op::GlobalAvgPool => "GlobalAveragePool",
        Op::Dense { .. } => "Gemm",
        Op::BatchNorm { .. } => "BatchNormalization",
        Op::Relu => "Relu",
        Op::LeakyRelu { .. } => "LeakyRelu",
        Op::Gelu { .. } => "Gelu",
        Op::Silu => "Silu",
        Op::LogSoftmax => "LogSoftmax",
        Op::Tanh => "Tanh",
        Op::Sigmoid => "Sigmoid",
        Op::Flatten => "Flatten",
        Op::Add => "Add",
        Op::Concat => "Concat",
    }
}

struct Writer {
    opset: u32,
    nodes: Vec<Message>,
    tensors: Vec<Message>,
    /// Unnamed ones so far.
    constants: usize,
}

impl Writer {
    fn operation(&mut self, node: &Node<'_>, inputs: &[String], output: &str) -> Result<(), ExportError> {
        let Node { layer, from, to, .. } = node;
        let x = inputs[0].as_str();
        let plain = operator(&node.op);
        let named = |name: &str| format!("{layer}.{name}");
        match &node.op {
            Op::Conv { window, groups, w, b, .. } => {
                let names = [named("weight"), named("bias")];
                self.tensor(&names[0], &[to.c, from.c / groups, window.size[0], window.size[1]], w);
                let mut inputs = vec![x, &names[0]];
                if let Some(b) = b {
                    self.tensor(&names[1], &[b.len()], b);
                    inputs.push(&names[1]);
                }
                let attributes = [window_attributes(*window), vec![int("group", *groups as i64)]].concat();
                self.node(plain, &inputs, output, &attributes);
            }
            Op::MaxPool(window) => {
                let attributes =
                    [window_attributes(*window), vec![int("ceil_mode", window.ceil.into())]].concat();
                self.node(plain, &[x], output, &attributes);
            }
            Op::AvgPool(window) if window.dilation != [1, 1] && self.opset < DILATED_MEAN => {
                return Err(ExportError::Later {
                    layer: node.source.spec(),
                    opset: DILATED_MEAN,
                    found: self.opset,
                });
            }
            Op::AvgPool(window) => {
                let own = [("ceil_mode", window.ceil), ("count_include_pad", window.counts_pad)];
                let own = own.map(|(name, is)| int(name, is.into()));
                self.node(plain, &[x], output, &[window_attributes(*window), own.to_vec()].concat());
            }
            Op::Dense { w, b } => {
                let names = [named("weight"), named("bias")];
                self.tensor(&names[0], &[to.features(), from.features()], w);
                let mut inputs = vec![x, &names[0]];
                if let Some(b) = b {
                    self.tensor(&names[1], &[b.len()], b);
                    inputs.push(&names[1]);
                }
                self.node(plain, &inputs, output, &[int("transB", 1)]);
            }
            Op::BatchNorm { weight, bias, mean, variance, eps } => {
                let names = ["weight", "bias", "running_mean", "running_var"].map(named);
                for (name, numbers) in names.iter().zip([weight, bias, mean, variance]) {
                    self.tensor(name, &[numbers.len()], numbers);
                }
                let [weight, bias, mean, variance] = names.each_ref().map(String::as_str);
                let inputs = [x, weight, bias, mean, variance];
                // ONNX says what stays of the running statistics, the grammar what they are given.
                let given = spec_of(node)?.tokens()[0].arguments().fraction("momentum");
                let attributes = [float("epsilon", *eps as f32), float("momentum", (1.0 - given) as f32)];
                self.node(plain, &inputs, output, &attributes);
            }
            Op::LeakyRelu { slope } => self.node(plain, &[x], output, &[float("alpha", *slope as f32)]),
            Op::Gelu { exact } if self.opset >= GELU => {
                let how = if *exact { "none" } else { "tanh" };
                self.node(plain, &[x], output, &[text("approximate", how)]);
            }
            Op::Gelu { exact: true } => self.exact_gelu(x, output),
            Op::Gelu { exact: false } => self.gelu(x, output),
            Op::Silu => {
                let gate = format!("{output}.gate");
                self.node("Sigmoid", &[x], &gate, &[]);
                self.node("Mul", &[x, &gate], output, &[]);
            }
            Op::Flatten | Op::LogSoftmax => self.node(plain, &[x], output, &[int("axis", 1)]),
            Op::Add | Op::Concat => {
                let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
                let axis = matches!(node.op, Op::Concat).then(|| int("axis", 1));
                self.node(plain, &inputs, output, axis.as_slice());
            }
            Op::GlobalMaxPool | Op::GlobalAvgPool | Op::Relu | Op::Tanh | Op::Sigmoid => {
                self.node(plain, &[x], output, &[]);
            }
        }
        Ok(())
    }

    /// `y = x sigmoid(2 sqrt(2/pi) (x + 0.044715 x^3))`, which is `x/2 (1 + tanh(...))`.
    fn gelu(&mut self, x: &str, output: &str) {
        let step = |name: &str| format!("{output}.{name}");
        let [square, cube, small, sum, fed, gate] =
            ["square", "cube", "small", "sum", "fed", "gate"].map(step);
        let share = self.scalar(0.044715);
        let scale = self.scalar((8.0 / std::f64::consts::PI).sqrt() as f32);
        self.node("Mul", &[x, x], &square, &[]);
        self.node("Mul", &[&square, x], &cube, &[]);
        self.node("Mul", &[&cube, &share], &small, &[]);
        self.node("Add", &[x, &small], &sum, &[]);
        self.node("Mul", &[&sum, &scale], &fed, &[]);
        self.node("Sigmoid", &[&fed], &gate, &[]);
        self.node("Mul", &[x, &gate], output, &[]);
    }

    /// `y = x (1/2 + erf(x / sqrt(2)) / 2)`.
    fn exact_gelu(&mut self, x: &str, output: &str) {
        let [fed, error, half, gate] = ["fed", "erf", "half", "gate"].map(|name| format!("{output}.{name}"));
        let scale = self.scalar(std::f32::consts::FRAC_1_SQRT_2);
        let (share, middle) = (self.scalar(0.5), self.scalar(0.5));
        self.node("Mul", &[x, &scale], &fed, &[]);
        self.node("Erf", &[&fed], &error, &[]);
        self.node("Mul", &[&error, &share], &half, &[]);
        self.node("Add", &[&half, &middle], &gate, &[]);
        self.node("Mul", &[x, &gate], output, &[]);
    }

    /// From bytes `[samples, channels, h, w]` to what the network sees: halved, cropped, normalised. Returns the name of what comes out.
    fn preprocess(
        &mut self,
        model: &Model,
        size: (usize, usize),
        graph: &Graph<'_>,
    ) -> Result<String, ExportError> {
        let Preprocessing { normalize: Normalize { scale, shift }, halve, .. } = model.preprocessing;
        let crop = model.preprocessing.crop_of(size);
        let (expected, found) = (graph.input, Shape::new(model.channels(), crop.h, crop.w));
        if !expected.takes_image(found) {
            return Err(ExportError::Pictures { expected, found });
        }
        self.node("Cast", &[INPUT], "pixels", &[int("to", FLOAT)]);
        let mut last = "pixels";
        if halve {
            let window = Window::tiling([2, 2]);
            self.node("AveragePool", &[last], "pixels.mean", &window_attributes(window));
            self.node("Floor", &["pixels.mean"], "pixels.halved", &[]);
            last = "pixels.halved";
        }
        let (h, w) = model.preprocessing.size_of(size);
        if crop != Crop::full((h, w)) {
            last = self.crop(last, crop, (h, w));
        }
        let (scale, shift) = (self.scalar(scale), self.scalar(shift));
        self.node("Mul", &[last, &scale], "pixels.scaled", &[]);
        self.node("Add", &["pixels.scaled", &shift], "pixels.normalized", &[]);
        if graph.is_image {
            return Ok("pixels.normalized".to_owned());
        }
        self.node("Flatten", &["pixels.normalized"], "pixels.flat", &[int("axis", 1)]);
        Ok("pixels.flat".to_owned())
    }

    /// The window `crop`, zero outside of the image: first what lies inside, then zeros around it.
    fn crop(&mut self, x: &str, crop: Crop, (h, w): (usize, usize)) -> &'static str {
        let inside = |first: i32, len: usize, side: usize| {
            let (first, end) = (i64::from(first), i64::from(first) + len as i64);
            let side = side as i64;
            // Before, from, to, after; a window that misses the image has all of its zeros before it.
            let (from, to) = (first.clamp(0, side), end.clamp(0, side));
            let before = if from < to { from - first } else { len as i64 };
            (before, from, to, (end - first) - before - (to - from))
        };
        let rows = inside(crop.y, crop.h, h);
        let columns = inside(crop.x, crop.w, w);
        let starts = self.integers(&[rows.1, columns.1]);
        let ends = self.integers(&[rows.2, columns.2]);
        let axes = self.integers(&[2, 3]);
        let pads = self.integers(&[0, 0, rows.0, columns.0, 0, 0, rows.3, columns.3]);
        self.node("Slice", &[x, &starts, &ends, &axes], "pixels.inside", &[]);
        self.node("Pad", &["pixels.inside", &pads], "pixels.cropped", &[]);
        "pixels.cropped"
    }

    fn node(&mut self, operator: &str, inputs: &[&str], output: &str, attributes: &[Message]) {
        let node = inputs.iter().fold(Message::default(), |node, input| node.text(1, input));
        self.nodes.push(
            node.text(2, output).text(3, &format!("{output}.node")).text(4, operator).messages(5, attributes),
        );
    }

    fn tensor(&mut self, name: &str, dims: &[usize], numbers: &[f32]) {
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        let tensor = Message::default().ints(1, dims).int(2, FLOAT).text(8, name).bytes(9, &bytes);
        self.tensors.push(tensor);
    }

    fn scalar(&mut self, number: f32) -> String {
        let name = self.constant();
        self.tensor(&name, &[], &[number]);
        name
    }

    fn integers(&mut self, numbers: &[i64]) -> String {
        let name = self.constant();
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        let tensor =
            Message::default().ints(1, &[numbers.len()]).int(2, INT64).text(8, &name).bytes(9, &bytes);
        self.tensors.push(tensor);
        name
    }

    fn constant(&mut self) -> String {
        self.constants += 1;
        format!("constant.{}", self.constants)
    }
}

fn spec_of(node: &Node<'_>) -> Result<Spec, ExportError> {
    node.source.spec().parse().map_err(ExportError::Spec)
}

fn window_attributes(window: Window) -> Vec<Message> {
    let Window { size, stride, pad, dilation, .. } = window;
    let mut attributes = vec![ints("kernel_shape", &size), ints("strides", &stride), ints("pads", &pad)];
    if dilation != [1, 1] {
        attributes.push(ints("dilations", &dilation));
    }
    attributes
}

fn int(name: &str, value: i64) -> Message {
    Message::default().text(1, name).int(3, value).int(20, 2)
}

fn float(name: &str, value: f32) -> Message {
    Message::default().text(1, name).float(2, value).int(20, 1)
}

fn text(name: &str, value: &str) -> Message {
    Message::default().text(1, name).text(4, value).int(20, 3)
}

fn ints(name: &str, values: &[usize]) -> Message {
    Message::default().text(1, name).ints(8, values).int(20, 7)
}
