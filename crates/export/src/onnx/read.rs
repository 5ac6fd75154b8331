//! A model from an ONNX file: a chain of the layers that byhand has, with their weights.

use byhand_layers::Shape;
use byhand_models::Spec;
use std::collections::{BTreeMap, HashMap};

use super::wire::{Field, Fields, Value};
use super::{FLOAT, INT64};
use crate::ExportError;

/// What an ONNX file holds.
#[derive(Clone, Debug)]
pub struct Imported {
    /// Its layers.
    pub spec: Spec,
    /// Shape of a sample.
    pub input: Shape,
    /// All parameters, in the order of the network that the spec makes.
    pub theta: Vec<f32>,
    /// What the writer added: those of [`write`](super::write) have keys such as `byhand.classes`.
    pub notes: BTreeMap<String, String>,
}

/// Reads an ONNX file; `file` is its name in errors.
///
/// # Errors
/// When the bytes are no ONNX file, or hold a graph that is not a chain of layers that byhand has: the message names the place or the node.
pub fn read(bytes: &[u8], file: &str) -> Result<Imported, ExportError> {
    let reader = Reader { file };
    let model = reader.model(bytes)?;
    let mut chain = Chain::new(&reader, &model)?;
    while !chain.is_done() {
        chain.take()?;
    }
    chain.finish()
}

/// As much of a `ModelProto` as is read.
struct Model<'a> {
    nodes: Vec<Node<'a>>,
    tensors: HashMap<&'a str, Tensor<'a>>,
    inputs: Vec<(&'a str, Vec<Option<usize>>)>,
    outputs: Vec<&'a str>,
    notes: BTreeMap<String, String>,
}

/// A `NodeProto`.
#[derive(Default)]
struct Node<'a> {
    name: String,
    operator: &'a str,
    inputs: Vec<&'a str>,
    outputs: Vec<&'a str>,
    attributes: HashMap<&'a str, Attribute<'a>>,
}

/// An `AttributeProto`.
#[derive(Clone, Default)]
struct Attribute<'a> {
    float: f32,
    int: i64,
    text: &'a [u8],
    ints: Vec<i64>,
    tensor: Option<Tensor<'a>>,
}

/// A `TensorProto`.
#[derive(Clone, Default)]
struct Tensor<'a> {
    at: usize,
    dims: Vec<usize>,
    kind: i64,
    raw: Option<&'a [u8]>,
    /// Packed or one by one.
    floats: Vec<f32>,
    integers: Vec<i64>,
    is_elsewhere: bool,
}

struct Reader<'f> {
    file: &'f str,
}

impl Reader<'_> {
    fn wrong<T>(&self, offset: usize, expected: &str, found: impl Into<String>) -> Result<T, ExportError> {
        let (file, expected, found) = (self.file.to_owned(), expected.to_owned(), found.into());
        Err(ExportError::Format { file, offset, expected, found })
    }

    /// Calls `each` for every field of a message.
    fn fields<'a>(
        &self,
        message: Fields<'a>,
        mut each: impl FnMut(Field<'a>) -> Result<(), ExportError>,
    ) -> Result<(), ExportError> {
        for field in message {
            match field {
                Ok(field) => each(field)?,
                Err(at) => {
                    return self.wrong(
                        at,
                        "a field of an ONNX file",
                        "something else: not an ONNX file, or a damaged or shortened one",
                    );
                }
            }
        }
        Ok(())
    }

    fn message<'a>(&self, field: &Field<'a>) -> Result<Fields<'a>, ExportError> {
        match field.value {
            Value::Bytes(bytes, start) => Ok(Fields::new(bytes, start)),
            _ => self.wrong(field.at, "a message", "a number"),
        }
    }

    fn bytes<'a>(&self, field: &Field<'a>) -> Result<&'a [u8], ExportError> {
        match field.value {
            Value::Bytes(bytes, _) => Ok(bytes),
            _ => self.wrong(field.at, "a run of bytes", "a number"),
        }
    }

    fn text<'a>(&self, field: &Field<'a>) -> Result<&'a str, ExportError> {
        match std::str::from_utf8(self.bytes(field)?) {
            Ok(text) => Ok(text),
            Err(_) => self.wrong(field.at, "text in UTF-8", "other bytes"),
        }
    }

    fn int(&self, field: &Field<'_>) -> Result<i64, ExportError> {
        match field.value {
            Value::Int(value) => Ok(value as i64),
            _ => self.wrong(field.at, "a whole number", "something else"),
        }
    }

    /// Whole numbers, packed or one by one.
    fn ints(&self, field: &Field<'_>, to: &mut Vec<i64>) -> Result<(), ExportError> {
        match field.value {
            Value::Bytes(bytes, start) => {
                // A packed field is numbers without tags: each is read as if it had one.
                let mut at = 0;
                while at < bytes.len() {
                    let end = bytes[at..].iter().position(|byte| byte & 0x80 == 0).map(|len| at + len + 1);
                    let Some(end) = end.filter(|end| end - at <= 10) else {
                        return self.wrong(start + at, "a whole number", "a longer run of bytes");
                    };
                    let digits = bytes[at..end].iter().rev();
                    to.push(digits.fold(0u64, |value, byte| value << 7 | u64::from(byte & 0x7f)) as i64);
                    at = end;
                }
                Ok(())
            }
            _ => {
                to.push(self.int(field)?);
                Ok(())
            }
        }
    }

    fn model<'a>(&self, bytes: &'a [u8]) -> Result<Model<'a>, ExportError> {
        let (mut body, mut notes) = (None, BTreeMap::new());
        self.fields(Fields::new(bytes, 0), |field| {
            match field.number {
                7 => body = Some(self.message(&field)?),
                14 => {
                    let (mut key, mut value) = ("", "");
                    self.fields(self.message(&field)?, |field| {
                        match field.number {
                            1 => key = self.text(&field)?,
                            2 => value = self.text(&field)?,
                            _ => {}
                        }
                        Ok(())
                    })?;
                    notes.insert(key.to_owned(), value.to_owned());
                }
                _ => {}
            }
            Ok(())
        })?;
        let Some(body) = body else { return self.wrong(0, "an ONNX file with a graph", "none") };
        let mut model = Model {
            nodes: Vec::new(),
            tensors: HashMap::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            notes,
        };
        self.fields(body, |field| {
            match field.number {
                1 => {
                    let node = self.node(self.message(&field)?, model.nodes.len())?;
                    model.nodes.push(node);
                }
                5 => {
                    let (name, tensor) = self.tensor(self.message(&field)?)?;
                    model.tensors.insert(name, tensor);
                }
                11 => model.inputs.push(self.value(self.message(&field)?)?),
                12 => model.outputs.push(self.value(self.message(&field)?)?.0),
                _ => {}
            }
            Ok(())
        })?;
        // Files of the first versions list weights among the inputs.
        let Model { tensors, inputs, .. } = &mut model;
        inputs.retain(|(name, _)| !tensors.contains_key(name));
        Ok(model)
    }

    fn node<'a>(&self, message: Fields<'a>, index: usize) -> Result<Node<'a>, ExportError> {
        let mut node = Node { name: format!("number {index}"), ..Node::default() };
        self.fields(message, |field| {
            match field.number {
                1 => node.inputs.push(self.text(&field)?),
                2 => node.outputs.push(self.text(&field)?),
                3 => {
                    let name = self.text(&field)?;
                    if !name.is_empty() {
                        node.name = name.escape_debug().to_string();
                    }
                }
                4 => node.operator = self.text(&field)?,
                5 => {
                    let (name, attribute) = self.attribute(self.message(&field)?)?;
                    node.attributes.insert(name, attribute);
                }
                _ => {}
            }
            Ok(())
        })?;
        Ok(node)
    }

    fn attribute<'a>(&self, message: Fields<'a>) -> Result<(&'a str, Attribute<'a>), ExportError> {
        let (mut name, mut attribute) = ("", Attribute::default());
        self.fields(message, |field| {
            match (field.number, field.value) {
                (1, _) => name = self.text(&field)?,
                (2, Value::Fixed32(bytes)) => attribute.float = f32::from_le_bytes(bytes),
                (3, _) => attribute.int = self.int(&field)?,
                (4, _) => attribute.text = self.bytes(&field)?,
                (5, _) => attribute.tensor = Some(self.tensor(self.message(&field)?)?.1),
                (8, _) => self.ints(&field, &mut attribute.ints)?,
                _ => {}
            }
            Ok(())
        })?;
        Ok((name, attribute))
    }

    fn tensor<'a>(&self, message: Fields<'a>) -> Result<(&'a str, Tensor<'a>), ExportError> {
        let (mut name, mut tensor) = ("", Tensor { at: message.start, ..Tensor::default() });
        let mut dims = Vec::new();
        self.fields(message, |field| {
            match (field.number, field.value) {
                (1, _) => self.ints(&field, &mut dims)?,
                (2, _) => tensor.kind = self.int(&field)?,
                (4, Value::Fixed32(bytes)) => tensor.floats.push(f32::from_le_bytes(bytes)),
                (4, Value::Bytes(bytes, _)) => tensor.floats.extend(floats(bytes)),
                (7, _) => self.ints(&field, &mut tensor.integers)?,
                (8, _) => name = self.text(&field)?,
                (9, _) => tensor.raw = Some(self.bytes(&field)?),
                (13, _) => tensor.is_elsewhere = true,
                (14, _) => tensor.is_elsewhere |= self.int(&field)? == 1,
                _ => {}
            }
            Ok(())
        })?;
        for dim in dims {
            match usize::try_from(dim) {
                Ok(dim) => tensor.dims.push(dim),
                Err(_) => return self.wrong(tensor.at, "sides of a tensor", format!("a side of {dim}")),
            }
        }
        Ok((name, tensor))
    }

    /// The name of a value and its sides; `None` where one is not fixed.
    fn value<'a>(&self, message: Fields<'a>) -> Result<(&'a str, Vec<Option<usize>>), ExportError> {
        let (mut name, mut sides) = ("", Vec::new());
        self.fields(message, |field| {
            match field.number {
                1 => name = self.text(&field)?,
                2 => self.fields(self.message(&field)?, |field| {
                    // Of a tensor, its shape, its sides.
                    if field.number != 1 {
                        return Ok(());
                    }
                    self.fields(self.message(&field)?, |field| {
                        if field.number != 2 {
                            return Ok(());
                        }
                        self.fields(self.message(&field)?, |field| {
                            let mut side = None;
                            self.fields(self.message(&field)?, |field| {
                                if field.number == 1 {
                                    side = usize::try_from(self.int(&field)?).ok();
                                }
                                Ok(())
                            })?;
                            sides.push(side);
                            Ok(())
                        })
                    })
                })?,
                _ => {}
            }
            Ok(())
        })?;
        Ok((name, sides))
    }

    fn numbers(&self, name: &str, tensor: &Tensor<'_>) -> Result<Vec<f32>, ExportError> {
        let expected = format!("tensor {} of 32-bit floats in the file itself", name.escape_debug());
        if tensor.kind != FLOAT || tensor.is_elsewhere {
            let found = if tensor.is_elsewhere {
                "numbers in another file".to_owned()
            } else {
                format!("ONNX's element type {}", tensor.kind)
            };
            return self.wrong(tensor.at, &expected, found);
        }
        let numbers = tensor.raw.map_or_else(|| tensor.floats.clone(), |raw| floats(raw).collect());
        let len = tensor.dims.iter().try_fold(1usize, |product, &side| product.checked_mul(side));
        if len != Some(numbers.len()) {
            let expected = format!("{expected}, as many as its sides {:?} say", tensor.dims);
            return self.wrong(tensor.at, &expected, format!("{} of them", numbers.len()));
        }
        Ok(numbers)
    }
}

fn floats(bytes: &[u8]) -> impl Iterator<Item = f32> + '_ {
    bytes.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().expect("chunks of 4")))
}

/// The nodes of a graph as a row of layers.
struct Chain<'r, 'a> {
    reader: &'r Reader<'r>,
    model: &'r Model<'a>,
    /// The next node.
    next: usize,
    /// The value that it must read.
    value: &'a str,
    input: Shape,
    layers: Vec<String>,
    /// Whether the value still has channels, rows and columns.
    is_image: bool,
    /// Weights, in the order of the layers.
    weights: Vec<(String, Vec<usize>, Vec<f32>)>,
}

impl<'r, 'a> Chain<'r, 'a> {
    fn new(reader: &'r Reader<'r>, model: &'r Model<'a>) -> Result<Self, ExportError> {
        let expected = "one input [samples, channels, rows, columns] or [samples, features]";
        let [(value, sides)] = &model.inputs[..] else {
            return reader.wrong(0, expected, format!("{} inputs", model.inputs.len()));
        };
        let input = match sides[..] {
            [_, Some(features)] => Some(Shape::flat(features)),
            [_, Some(c), Some(h), Some(w)] => Some(Shape::new(c, h, w)),
            _ => None,
        };
        let shown = |side: &Option<usize>| side.map_or_else(|| "?".to_owned(), |side| side.to_string());
        let Some(input) = input else {
            let sides: Vec<String> = sides.iter().map(shown).collect();
            return reader.wrong(
                0,
                &format!("{expected}, all but the samples fixed"),
                format!("[{}]", sides.join(", ")),
            );
        };
        let is_image = sides.len() == 4;
        Ok(Self { reader, model, next: 0, value, input, layers: Vec::new(), is_image, weights: Vec::new() })
    }

    fn is_done(&self) -> bool {
        self.next >= self.model.nodes.len()
    }

    fn node(&self) -> &'r Node<'a> {
        &self.model.nodes[self.next]
    }

    fn refuse<T>(&self, expected: &str, found: impl Into<String>) -> Result<T, ExportError> {
        let node = self.node();
        Err(ExportError::Node {
            file: self.reader.file.to_owned(),
            node: format!("{} ({})", node.name, node.operator.escape_debug()),
            expected: expected.to_owned(),
            found: found.into(),
        })
    }

    /// Makes layers of the next node, or of the next few that are one layer.
    fn take(&mut self) -> Result<(), ExportError> {
        let node = self.node();
        if node.operator == "Constant" {
            self.next += 1;
            return Ok(());
        }
        if self.take_gelu() || self.take_silu() {
            return Ok(());
        }
        if node.inputs.first() != Some(&self.value) && !(node.operator == "Add" || node.operator == "Mul") {
            return self.refuse(
                "a chain, in which each node reads what the one before it gives",
                format!("the input {:?} after {:?}", node.inputs.first().unwrap_or(&""), self.value),
            );
        }
        match node.operator {
            "Conv" => self.conv()?,
            "MaxPool" => self.pool("pool")?,
            "AveragePool" => self.pool("avgpool")?,
            "GlobalMaxPool" => self.layers.push("globalmaxpool".into()),
            "GlobalAveragePool" => self.layers.push("globalavgpool".into()),
            "Gemm" => self.gemm()?,
            "MatMul" => self.matmul()?,
            "BatchNormalization" => self.batchnorm()?,
            "Relu" => self.layers.push("relu".into()),
            "LeakyRelu" => {
                let slope = node.attributes.get("alpha").map_or(0.01, |alpha| alpha.float);
                self.layers.push(format!("leaky_relu(slope={slope})"));
            }
            "Gelu" if node.attributes.get("approximate").is_some_and(|how| how.text == b"tanh") => {
                self.layers.push("gelu".into());
            }
            "Gelu" => {
                return self.refuse("GELU by its formula with tanh (approximate=\"tanh\")", "the exact one");
            }
            "LogSoftmax" => self.layers.push("log_softmax".into()),
            "Tanh" => self.layers.push("tanh".into()),
            "Sigmoid" => self.layers.push("sigmoid".into()),
            "Flatten" => {
                if node.attributes.get("axis").is_some_and(|axis| axis.int != 1) {
                    return self.refuse("axis 1", "another");
                }
                self.flatten();
            }
            "Reshape" => self.reshape()?,
            "Dropout" | "Identity" => {}
            _ => {
                let known = "Conv, MaxPool, AveragePool, GlobalMaxPool, GlobalAveragePool, Gemm, MatMul, BatchNormalization, Relu, \
                             LeakyRelu, Gelu, LogSoftmax, Tanh, Sigmoid, Flatten, Reshape, Dropout or Identity";
                return self.refuse(known, node.operator.escape_debug().to_string());
            }
        }
        self.value = node.outputs.first().copied().unwrap_or_default();
        self.next += 1;
        Ok(())
    }

    fn flatten(&mut self) {
        if self.is_image {
            self.layers.push("flatten".into());
            self.is_image = false;
        }
    }

    /// `y = x sigmoid(x)`.
    fn take_silu(&mut self) -> bool {
        let [sigmoid, mul, ..] = &self.model.nodes[self.next..] else { return false };
        let (Some(&x), Some(&s)) = (sigmoid.inputs.first(), sigmoid.outputs.first()) else { return false };
        let is_silu = [sigmoid.operator, mul.operator] == ["Sigmoid", "Mul"]
            && x == self.value
            && (mul.inputs == [x, s] || mul.inputs == [s, x]);
        if is_silu {
            self.layers.push("silu".into());
            self.value = mul.outputs.first().copied().unwrap_or_default();
            self.next += 2;
        }
        is_silu
    }

    /// GELU as [`write`](super::write) writes it before there was an operator for it.
    fn take_gelu(&mut self) -> bool {
        let nodes = &self.model.nodes[self.next..];
        let operators = ["Mul", "Mul", "Mul", "Add", "Mul", "Sigmoid", "Mul"];
        let x = self.value;
        let (Some(nodes), output) =
            (nodes.get(..operators.len()), |node: &Node<'a>| node.outputs.first().copied())
        else {
            return false;
        };
        let outputs: Vec<&str> = nodes.iter().filter_map(output).collect();
        if !nodes.iter().map(|node| node.operator).eq(operators) || outputs.len() < operators.len() {
            return false;
        }
        let constant = |node: &Node<'_>, value: f32| {
            let tensor = node.inputs.get(1).and_then(|name| self.model.tensors.get(name));
            let numbers = tensor.and_then(|tensor| self.reader.numbers("", tensor).ok());
            numbers.is_some_and(|numbers| numbers.len() == 1 && (numbers[0] - value).abs() < 1e-6)
        };
        let reads = |node: usize, inputs: &[&str]| nodes[node].inputs[..].starts_with(inputs);
        let is_gelu = reads(0, &[x, x])
            && reads(1, &[outputs[0], x])
            && reads(2, &[outputs[1]])
            && reads(3, &[x, outputs[2]])
            && reads(4, &[outputs[3]])
            && reads(5, &[outputs[4]])
            && reads(6, &[x, outputs[5]])
            && constant(&nodes[2], 0.044715)
            && constant(&nodes[4], (8.0 / std::f32::consts::PI).sqrt());
        if is_gelu {
            self.layers.push("gelu".into());
            self.value = outputs[6];
            self.next += operators.len();
        }
        is_gelu
    }

    /// The weights that a node reads: their sides, and their numbers.
    fn weights(&self, input: usize, rank: usize) -> Result<(Vec<usize>, Vec<f32>), ExportError> {
        let Some(name) = self.node().inputs.get(input) else {
            return self.refuse(&format!("an input number {input}"), "fewer");
        };
        let Some(tensor) = self.model.tensors.get(name) else {
            return self
                .refuse(&format!("weights as its input number {input}"), "something that is computed");
        };
        if tensor.dims.len() != rank {
            return self.refuse(&format!("weights of {rank} axes"), format!("{:?}", tensor.dims));
        }
        Ok((tensor.dims.clone(), self.reader.numbers(name, tensor)?))
    }

    fn has(&self, input: usize) -> bool {
        self.node().inputs.get(input).is_some_and(|name| !name.is_empty())
    }

    /// An attribute of two numbers, along rows and columns.
    fn pair(&self, name: &str, default: [i64; 2]) -> Result<[i64; 2], ExportError> {
        match self.node().attributes.get(name).map(|attribute| &attribute.ints[..]) {
            None => Ok(default),
            Some(&[rows, columns]) if rows >= 0 && columns >= 0 => Ok([rows, columns]),
            Some(found) => self.refuse(&format!("two {name}"), format!("{found:?}")),
        }
    }

    /// Padding, as an argument of the grammar.
    fn pad(&self) -> Result<String, ExportError> {
        let attributes = &self.node().attributes;
        match attributes.get("auto_pad").map_or(&b""[..], |attribute| attribute.text) {
            b"" | b"NOTSET" => {}
            b"VALID" => return Ok(String::new()),
            b"SAME_UPPER" => return Ok(",pad=same".into()),
            b"SAME_LOWER" => return Ok(",pad=same_lower".into()),
            other => {
                return self.refuse("auto_pad", String::from_utf8_lossy(other).escape_debug().to_string());
            }
        }
        match attributes.get("pads").map(|attribute| &attribute.ints[..]) {
            None | Some([0, 0, 0, 0]) => Ok(String::new()),
            Some(&[top, left, bottom, right]) if [top, left] == [bottom, right] => {
                Ok(format!(",pad={}", per_axis([top, left])))
            }
            Some(&[top, left, bottom, right]) => Ok(format!(",pad={top}x{left}x{bottom}x{right}")),
            Some(found) => self.refuse("four pads", format!("{found:?}")),
        }
    }

    /// Dilation, as an argument of the grammar.
    fn dilation(&self) -> Result<String, ExportError> {
        Ok(match self.pair("dilations", [1, 1])? {
            [1, 1] => String::new(),
            dilation => format!(",dilation={}", per_axis(dilation)),
        })
    }

    fn flag(&self, name: &str) -> bool {
        self.node().attributes.get(name).is_some_and(|attribute| attribute.int != 0)
    }

    /// That an attribute has the only value that is known.
    fn must_be(&self, name: &str, value: i64) -> Result<(), ExportError> {
        match self.node().attributes.get(name) {
            Some(attribute) if attribute.int != value || attribute.ints.iter().any(|&int| int != value) => {
                let found =
                    if attribute.ints.is_empty() { vec![attribute.int] } else { attribute.ints.clone() };
                self.refuse(&format!("{name}={value}"), format!("{found:?}"))
            }
            _ => Ok(()),
        }
    }

    fn conv(&mut self) -> Result<(), ExportError> {
        let (dims, w) = self.weights(1, 4)?;
        let kernel = per_axis([dims[2] as i64, dims[3] as i64]);
        let (stride, pad, dilation) =
            (per_axis(self.pair("strides", [1, 1])?), self.pad()?, self.dilation()?);
        let groups = match self.node().attributes.get("group").map_or(1, |group| group.int) {
            1 => String::new(),
            groups => format!(",groups={groups}"),
        };
        let bias = if self.has(2) { Some(self.weights(2, 1)?) } else { None };
        let flag = if bias.is_some() { "" } else { ",bias=false" };
        self.layers.push(format!("conv({},{kernel},stride={stride}{pad}{flag}{dilation}{groups})", dims[0]));
        self.keep("weight", dims, w);
        if let Some((dims, b)) = bias {
            self.keep("bias", dims, b);
        }
        Ok(())
    }

    fn pool(&mut self, name: &str) -> Result<(), ExportError> {
        let attributes = &self.node().attributes;
        let Some(window) = attributes.get("kernel_shape").map(|attribute| &attribute.ints[..]) else {
            return self.refuse("a kernel_shape", "none");
        };
        let &[rows, columns] = window else {
            return self.refuse("a window of two axes", format!("{window:?}"));
        };
        let (window, stride) = (per_axis([rows, columns]), per_axis(self.pair("strides", [1, 1])?));
        let (pad, dilation) = (self.pad()?, self.dilation()?);
        let ceil = if self.flag("ceil_mode") { ",ceil=true" } else { "" };
        // Nothing but zeros is counted or not.
        let count = if name == "avgpool" && !self.flag("count_include_pad") && !pad.is_empty() {
            ",count_pad=false"
        } else {
            ""
        };
        self.layers.push(format!("{name}({window},stride={stride}{pad}{ceil}{dilation}{count})"));
        Ok(())
    }

    fn gemm(&mut self) -> Result<(), ExportError> {
        self.must_be("transA", 0)?;
        for name in ["alpha", "beta"] {
            if self.node().attributes.get(name).is_some_and(|attribute| attribute.float != 1.0) {
                return self.refuse(&format!("{name}=1"), "another number");
            }
        }
        let is_turned = self.node().attributes.get("transB").is_some_and(|attribute| attribute.int == 1);
        let (dims, w) = self.weights(1, 2)?;
        let bias = if self.has(2) { Some(self.weights(2, 1)?) } else { None };
        self.dense(dims, w, is_turned, bias)
    }

    /// A product without bias, or with one in the next node.
    fn matmul(&mut self) -> Result<(), ExportError> {
        let (dims, w) = self.weights(1, 2)?;
        let output = self.node().outputs.first().copied().unwrap_or_default();
        let mut bias = None;
        if let Some(add) = self.model.nodes.get(self.next + 1).filter(|node| node.operator == "Add") {
            let other = add.inputs.iter().find(|&&name| name != output);
            let tensor = other.and_then(|name| Some((name, self.model.tensors.get(name)?)));
            if let Some((name, tensor)) = tensor.filter(|_| add.inputs.contains(&output)) {
                let numbers = self.reader.numbers(name, tensor)?;
                if numbers.len() == dims[1] {
                    bias = Some((vec![numbers.len()], numbers));
                    self.next += 1;
                }
            }
        }
        self.dense(dims, w, false, bias)
    }

    fn dense(
        &mut self,
        dims: Vec<usize>,
        w: Vec<f32>,
        is_turned: bool,
        bias: Option<(Vec<usize>, Vec<f32>)>,
    ) -> Result<(), ExportError> {
        let (outputs, inputs) = if is_turned { (dims[0], dims[1]) } else { (dims[1], dims[0]) };
        let w = if is_turned {
            w
        } else {
            (0..outputs * inputs).map(|at| w[at % inputs * outputs + at / inputs]).collect()
        };
        let flag = if bias.is_some() { "" } else { ",bias=false" };
        if self.is_image {
            return self.refuse("a Flatten before it", "channels, rows and columns");
        }
        self.layers.push(format!("dense({outputs}{flag})"));
        self.keep("weight", vec![outputs, inputs], w);
        if let Some((dims, b)) = bias {
            self.keep("bias", dims, b);
        }
        Ok(())
    }

    fn batchnorm(&mut self) -> Result<(), ExportError> {
        self.must_be("training_mode", 0)?;
        let eps = self.node().attributes.get("epsilon").map_or(1e-5, |attribute| attribute.float);
        self.layers.push(if eps == 1e-5 { "batchnorm".into() } else { format!("batchnorm(eps={eps})") });
        for (input, name) in [(1, "weight"), (2, "bias"), (3, "running_mean"), (4, "running_var")] {
            let (dims, numbers) = self.weights(input, 1)?;
            self.keep(name, dims, numbers);
        }
        Ok(())
    }

    /// To `[samples, everything else]` is a flatten; nothing else is known.
    fn reshape(&mut self) -> Result<(), ExportError> {
        let name = self.node().inputs.get(1).copied().unwrap_or_default();
        let constant = self.model.nodes.iter().find(|node| node.outputs.first() == Some(&name));
        let constant = constant.and_then(|node| node.attributes.get("value")?.tensor.as_ref());
        let tensor = self.model.tensors.get(name).or(constant);
        let sides = tensor.filter(|tensor| tensor.kind == INT64).map(|tensor| {
            let raw = tensor.raw.map(|raw| {
                raw.chunks_exact(8)
                    .map(|bytes| i64::from_le_bytes(bytes.try_into().expect("chunks of 8")))
                    .collect()
            });
            raw.unwrap_or_else(|| tensor.integers.clone())
        });
        match sides.as_deref() {
            Some([_, _]) => {
                self.flatten();
                Ok(())
            }
            found => {
                self.refuse("a reshape to [samples, features]", format!("one to {:?}", found.unwrap_or(&[])))
            }
        }
    }

    fn keep(&mut self, name: &str, dims: Vec<usize>, numbers: Vec<f32>) {
        self.weights.push((format!("{}.{name}", self.layers.len() - 1), dims, numbers));
    }

    fn finish(self) -> Result<Imported, ExportError> {
        if !self.model.outputs.contains(&self.value) || self.model.outputs.len() != 1 {
            let found = format!("{:?} after {:?}", self.model.outputs, self.value);
            return self.reader.wrong(0, "one output, what the last node gives", found);
        }
        if self.layers.is_empty() {
            return self.reader.wrong(0, "at least one layer", "none");
        }
        let spec: Spec = self.layers.join(" ").parse().map_err(ExportError::Spec)?;
        let network = spec.build::<f32>(self.input).map_err(ExportError::Spec)?;
        let mut theta = Vec::with_capacity(network.param_len());
        let mut weights = self.weights.into_iter();
        for param in network.params() {
            match weights.next() {
                Some((name, dims, numbers)) if name == param.name && dims == param.shape => {
                    theta.extend(numbers)
                }
                found => {
                    let found =
                        found.map_or_else(|| "none".into(), |(name, dims, _)| format!("{name} of {dims:?}"));
                    let expected = format!("tensor {} of {:?}", param.name, param.shape);
                    return self.reader.wrong(0, &expected, found);
                }
            }
        }
        // In its shortest spelling.
        let spec = spec.to_string().parse().map_err(ExportError::Spec)?;
        Ok(Imported { spec, input: self.input, theta, notes: self.model.notes.clone() })
    }
}

fn per_axis([rows, columns]: [i64; 2]) -> String {
    if rows == columns { rows.to_string() } else { format!("{rows}x{columns}") }
}
