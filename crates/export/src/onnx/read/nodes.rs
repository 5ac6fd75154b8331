//! What layer a node is.

use byhand_models::{Spec, spec::MAX_PARAMETERS};

use super::constants::{Known, turned};
use super::function::{EXACT_GELU, GELU, SILU};
use super::graph::Graph;
use super::made::{Form, Made, Weights};
use crate::ExportError;

/// A row of layers that grows node by node.
pub(super) struct Row<'g, 'm, 'a> {
    graph: &'g Graph<'m, 'a>,
    pub(super) layers: Vec<Made>,
    /// What the last of them gives.
    pub(super) form: Form,
    /// Numbers of all weights so far, those of the rows before too.
    pub(super) numbers: usize,
}

impl<'g, 'm, 'a> Row<'g, 'm, 'a> {
    pub(super) fn new(graph: &'g Graph<'m, 'a>, form: Form, numbers: usize) -> Self {
        Self { graph, layers: Vec::new(), form, numbers }
    }

    /// Adds what the node of a value does to the value before.
    pub(super) fn add(&mut self, value: usize) -> Result<(), ExportError> {
        let node = self.graph.node(value);
        match node.operator {
            "Conv" => self.conv(value),
            "MaxPool" => self.pool(value, "pool"),
            "AveragePool" => self.pool(value, "avgpool"),
            "GlobalMaxPool" => self.push_image(value, Made::plain("globalmaxpool")),
            "GlobalAveragePool" => self.push_image(value, Made::plain("globalavgpool")),
            "ReduceMean" => self.mean(value),
            "Gemm" => self.gemm(value),
            "MatMul" => self.matmul(value),
            "Add" | "Mul" | "Sum" => self.affine(value),
            "BatchNormalization" => self.batchnorm(value),
            "Relu" => self.push(value, Made::plain("relu")),
            "LeakyRelu" => {
                let slope = node.attributes.get("alpha").map_or(0.01, |alpha| alpha.float);
                self.push(value, Made::new("leaky_relu", vec![format!("slope={slope}")], Vec::new()))
            }
            "Gelu" => {
                let is_tanh = node.attributes.get("approximate").is_some_and(|how| how.text == b"tanh");
                let function = if is_tanh { &GELU } else { &EXACT_GELU };
                self.push(value, function.made())
            }
            "Swish" if node.attributes.get("alpha").is_none_or(|alpha| alpha.float == 1.0) => {
                self.push(value, SILU.made())
            }
            "Swish" => self.graph.refuse(value, "alpha=1", "another number"),
            "LogSoftmax" => {
                self.over_channels(value)?;
                self.push(value, Made::plain("log_softmax"))?;
                self.form.is_image = false;
                Ok(())
            }
            "Softmax" => self.graph.refuse(
                value,
                "a softmax nowhere but at the end, where it is left out",
                "one before other nodes",
            ),
            "Tanh" => self.push(value, Made::plain("tanh")),
            "Sigmoid" => self.push(value, Made::plain("sigmoid")),
            "Flatten" => self.flatten_node(value),
            "Reshape" => self.reshape(value),
            "Squeeze" => self.squeeze(value),
            "Dropout" => self.dropout(value),
            "Identity" => Ok(()),
            operator => self.graph.refuse(value, KNOWN, operator.escape_debug().to_string()),
        }
    }

    /// Adds a layer.
    pub(super) fn push(&mut self, value: usize, made: Made) -> Result<(), ExportError> {
        let text = made.text();
        let refused = |problem: &dyn std::fmt::Display| {
            self.graph.refuse(value, "a layer that byhand can make", format!("{text}: {problem}"))
        };
        match text.parse::<Spec>().and_then(|spec| spec.build::<f32>(self.form.shape)) {
            Ok(network) => self.form.shape = network.output(),
            Err(error) => return refused(error.problem()),
        }
        self.layers.push(made);
        Ok(())
    }

    fn push_image(&mut self, value: usize, made: Made) -> Result<(), ExportError> {
        if !self.form.is_image {
            return self.graph.refuse(value, "channels, rows and columns", "features");
        }
        self.push(value, made)
    }

    /// That a softmax goes over the channels of each sample, and all of it.
    pub(super) fn over_channels(&self, value: usize) -> Result<(), ExportError> {
        let (Form { shape, is_image }, rank) = (self.form, self.form.rank());
        let axis = self.int(value, "axis", if self.graph.opset < 13 { 1 } else { -1 });
        // Before operator set 13 it went over this axis and all behind it.
        let whole = self.graph.opset < 13 || shape.c == shape.features();
        match if axis < 0 { axis + rank } else { axis } {
            1 if whole || !is_image => Ok(()),
            _ => self.graph.refuse(
                value,
                "axis 1 of [samples, classes]",
                format!("axis {axis} of {rank} axes"),
            ),
        }
    }

    fn int(&self, value: usize, name: &str, default: i64) -> i64 {
        self.graph.node(value).attributes.get(name).map_or(default, |attribute| attribute.int)
    }

    /// The weights that a node reads in a place.
    fn weights(&mut self, value: usize, input: usize) -> Result<(Vec<usize>, Vec<f32>), ExportError> {
        if input >= self.graph.operands(value).len() {
            return self.graph.refuse(value, &format!("an input number {input}"), "fewer");
        }
        let Some((name, known)) = self.graph.weight(value, input) else {
            let expected = format!("weights as its input number {input}");
            return self.graph.refuse(value, &expected, "something that is computed");
        };
        // Counted before memory is asked for.
        let all =
            known.len().and_then(|len| len.checked_add(self.numbers)).filter(|&all| all <= MAX_PARAMETERS);
        let Some(all) = all else {
            let expected = format!("weights of at most {MAX_PARAMETERS} numbers in all");
            return self.graph.refuse(
                value,
                &expected,
                format!("{:?} and {} before", known.dims, self.numbers),
            );
        };
        let found = (known.dims.clone(), known.floats(self.graph.reader, name)?);
        self.numbers = all;
        Ok(found)
    }

    fn weights_of_rank(
        &mut self,
        value: usize,
        input: usize,
        rank: usize,
    ) -> Result<(Vec<usize>, Vec<f32>), ExportError> {
        let (dims, numbers) = self.weights(value, input)?;
        if dims.len() != rank {
            return self.graph.refuse(value, &format!("weights of {rank} axes"), format!("{dims:?}"));
        }
        Ok((dims, numbers))
    }

    fn has(&self, value: usize, input: usize) -> bool {
        self.graph.node(value).inputs.get(input).is_some_and(|name| !name.is_empty())
    }

    /// An attribute of two numbers, along rows and columns.
    fn pair(&self, value: usize, name: &str, default: [i64; 2]) -> Result<[i64; 2], ExportError> {
        match self.graph.node(value).attributes.get(name).map(|attribute| &attribute.ints[..]) {
            None => Ok(default),
            Some(&[rows, columns]) if rows >= 0 && columns >= 0 => Ok([rows, columns]),
            Some(found) => self.graph.refuse(value, &format!("two {name}"), format!("{found:?}")),
        }
    }

    /// Padding, as an argument of the grammar.
    fn pad(&self, value: usize) -> Result<String, ExportError> {
        let attributes = &self.graph.node(value).attributes;
        match attributes.get("auto_pad").map_or(&b""[..], |attribute| attribute.text) {
            b"" | b"NOTSET" => {}
            b"VALID" => return Ok(String::new()),
            b"SAME_UPPER" => return Ok("pad=same".into()),
            b"SAME_LOWER" => return Ok("pad=same_lower".into()),
            other => {
                let found = String::from_utf8_lossy(other).escape_debug().to_string();
                let expected = "auto_pad NOTSET, VALID, SAME_UPPER or SAME_LOWER";
                return self.graph.refuse(value, expected, found);
            }
        }
        match attributes.get("pads").map(|attribute| &attribute.ints[..]) {
            None | Some([0, 0, 0, 0]) => Ok(String::new()),
            Some(&[top, left, bottom, right]) if [top, left] == [bottom, right] => {
                Ok(format!("pad={}", per_axis([top, left])))
            }
            Some(&[top, left, bottom, right]) => Ok(format!("pad={top}x{left}x{bottom}x{right}")),
            Some(found) => self.graph.refuse(value, "four pads", format!("{found:?}")),
        }
    }

    /// Strides and dilations, as arguments of the grammar.
    fn steps(&self, value: usize) -> Result<[String; 2], ExportError> {
        let stride = format!("stride={}", per_axis(self.pair(value, "strides", [1, 1])?));
        Ok([
            stride,
            match self.pair(value, "dilations", [1, 1])? {
                [1, 1] => String::new(),
                dilation => format!("dilation={}", per_axis(dilation)),
            },
        ])
    }

    /// That an attribute has the only value that is known.
    fn must_be(&self, value: usize, name: &str, only: i64) -> Result<(), ExportError> {
        match self.int(value, name, only) {
            found if found == only => Ok(()),
            found => self.graph.refuse(value, &format!("{name}={only}"), found.to_string()),
        }
    }

    fn conv(&mut self, value: usize) -> Result<(), ExportError> {
        let (dims, numbers) = self.weights_of_rank(value, 1, 4)?;
        let kernel = per_axis([dims[2] as i64, dims[3] as i64]);
        let [stride, dilation] = self.steps(value)?;
        let groups = match self.int(value, "group", 1) {
            1 => String::new(),
            groups => format!("groups={groups}"),
        };
        let arguments = vec![dims[0].to_string(), kernel, stride, self.pad(value)?, dilation, groups];
        let mut weights = vec![Weights { name: "weight", dims, numbers }];
        if self.has(value, 2) {
            let (dims, numbers) = self.weights_of_rank(value, 2, 1)?;
            weights.push(Weights { name: "bias", dims, numbers });
        }
        self.push_image(value, Made::new("conv", arguments, weights))
    }

    fn pool(&mut self, value: usize, word: &'static str) -> Result<(), ExportError> {
        let attributes = &self.graph.node(value).attributes;
        let window = match attributes.get("kernel_shape").map(|attribute| &attribute.ints[..]) {
            Some(&[rows, columns]) => per_axis([rows, columns]),
            Some(window) => {
                return self.graph.refuse(value, "a kernel_shape of two axes", format!("{window:?}"));
            }
            None => return self.graph.refuse(value, "a kernel_shape", "none"),
        };
        let ([stride, dilation], pad) = (self.steps(value)?, self.pad(value)?);
        let ceil = if self.int(value, "ceil_mode", 0) == 0 { "" } else { "ceil=true" };
        // Nothing but zeros is counted or not.
        let counts = self.int(value, "count_include_pad", 0) != 0 || pad.is_empty();
        let count = if word == "avgpool" && !counts { "count_pad=false" } else { "" };
        let arguments = vec![window, stride, pad, ceil.into(), dilation, count.into()];
        self.push_image(value, Made::new(word, arguments, Vec::new()))
    }

    /// A mean over rows and columns is a global pooling.
    fn mean(&mut self, value: usize) -> Result<(), ExportError> {
        let axes = self.axes(value);
        if axes != [2, 3] {
            return self.graph.refuse(value, "axes [2, 3], rows and columns", format!("{axes:?}"));
        }
        self.push_image(value, Made::plain("globalavgpool"))?;
        if self.int(value, "keepdims", 1) == 0 { self.flatten(value) } else { Ok(()) }
    }

    /// The axes of four that a node is given, as an attribute or, later, an input: counted from the first, in order.
    fn axes(&self, value: usize) -> Vec<i64> {
        let input = || self.graph.weight(value, 1)?.1.integers();
        let attribute = self.graph.node(value).attributes.get("axes").map(|axes| axes.ints.clone());
        let mut axes = attribute.or_else(input).unwrap_or_default();
        axes.iter_mut().filter(|axis| **axis < 0).for_each(|axis| *axis += 4);
        axes.sort_unstable();
        axes
    }

    fn gemm(&mut self, value: usize) -> Result<(), ExportError> {
        self.must_be(value, "transA", 0)?;
        let is_turned = self.int(value, "transB", 0) == 1;
        let (dims, numbers) = self.weights_of_rank(value, 1, 2)?;
        let outputs = if is_turned { dims[0] } else { dims[1] };
        let mut bias = None;
        if self.has(value, 2) {
            let (dims, numbers) = self.weights(value, 2)?;
            let Some(numbers) = each(&dims, numbers, outputs, &[]) else {
                let expected = format!("one bias, or {outputs}, the same for each sample");
                return self.graph.refuse(value, &expected, format!("{dims:?}"));
            };
            bias = Some(numbers);
        }
        let factor =
            |name: &str| self.graph.node(value).attributes.get(name).map_or(1.0, |factor| factor.float);
        let (alpha, beta) = (factor("alpha"), factor("beta"));
        let times =
            |numbers: Vec<f32>, factor: f32| numbers.into_iter().map(|number| factor * number).collect();
        self.dense(value, dims, times(numbers, alpha), is_turned, bias.map(|bias| times(bias, beta)))
    }

    fn matmul(&mut self, value: usize) -> Result<(), ExportError> {
        let (dims, numbers) = self.weights_of_rank(value, 1, 2)?;
        self.dense(value, dims, numbers, false, None)
    }

    fn dense(
        &mut self,
        value: usize,
        dims: Vec<usize>,
        numbers: Vec<f32>,
        is_turned: bool,
        bias: Option<Vec<f32>>,
    ) -> Result<(), ExportError> {
        if self.form.is_image {
            return self.graph.refuse(value, "a Flatten before it", "channels, rows and columns");
        }
        let (outputs, inputs) = if is_turned { (dims[0], dims[1]) } else { (dims[1], dims[0]) };
        let features = self.form.shape.features();
        if inputs != features {
            let expected = format!("weights for {features} features");
            return self.graph.refuse(value, &expected, format!("for {inputs}"));
        }
        let numbers = if is_turned { numbers } else { turned(&numbers, outputs, inputs) };
        let mut weights = vec![Weights { name: "weight", dims: vec![outputs, inputs], numbers }];
        if let Some(numbers) = bias {
            weights.push(Weights { name: "bias", dims: vec![outputs], numbers });
        }
        self.push(value, Made::new("dense", vec![outputs.to_string()], weights))
    }

    /// A number for each channel that is added or multiplied: the layer before it, which has such numbers, takes it in.
    fn affine(&mut self, value: usize) -> Result<(), ExportError> {
        let known = (0..2).find(|&input| self.graph.weight(value, input).is_some());
        let (Some(input), 2) = (known, self.graph.operands(value).len()) else {
            return self.graph.refuse(value, KNOWN, "a sum or product of several values in another place");
        };
        let (dims, numbers) = self.weights(value, input)?;
        let Form { shape, is_image } = self.form;
        let channels = if is_image { shape.c } else { shape.features() };
        // As the first operator sets had it: one row of numbers, and its axis.
        let is_row = is_image && dims == [channels] && self.int(value, "axis", 0) == 1;
        let behind: &[usize] = if is_image && !is_row { &[1, 1] } else { &[] };
        let Some(numbers) = each(&dims, numbers, channels, behind) else {
            let expected = format!("one number, or one for each of the {channels} channels");
            return self.graph.refuse(value, &expected, format!("{dims:?}"));
        };
        let last = self.layers.last_mut().filter(|last| ["conv", "dense", "batchnorm"].contains(&last.word));
        let Some(last) = last else {
            let expected = "a Conv, Gemm, MatMul or BatchNormalization before it, which takes the numbers in";
            return self.graph.refuse(value, expected, "another node");
        };
        let is_sum = self.graph.node(value).operator != "Mul";
        for weights in last.weights.iter_mut().filter(|weights| ["weight", "bias"].contains(&weights.name)) {
            let len = weights.numbers.len() / channels;
            for (row, number) in weights.numbers.chunks_exact_mut(len).zip(&numbers) {
                match (is_sum, weights.name) {
                    (true, "weight") => {}
                    (true, _) => row.iter_mut().for_each(|bias| *bias += number),
                    (false, _) => row.iter_mut().for_each(|weight| *weight *= number),
                }
            }
        }
        if is_sum && last.weights.len() == 1 {
            last.weights.push(Weights { name: "bias", dims: vec![channels], numbers });
        }
        Ok(())
    }

    fn batchnorm(&mut self, value: usize) -> Result<(), ExportError> {
        self.must_be(value, "training_mode", 0)?;
        self.must_be(value, "spatial", 1)?;
        let attribute = |name: &str| self.graph.node(value).attributes.get(name);
        let mut arguments = Vec::new();
        if let Some(eps) = attribute("epsilon").filter(|eps| eps.float != 1e-5) {
            arguments.push(format!("eps={}", eps.float));
        }
        // ONNX says what stays of the running statistics, the grammar what they are given.
        let kept = attribute("momentum").map_or(0.9, |momentum| f64::from(momentum.float));
        let given = ((1.0 - kept) * 1e6).round() / 1e6;
        if given != 0.1 && (0.0..1.0).contains(&given) {
            arguments.push(format!("momentum={given}"));
        }
        let mut weights = Vec::new();
        for (input, name) in [(1, "weight"), (2, "bias"), (3, "running_mean"), (4, "running_var")] {
            let (dims, numbers) = self.weights_of_rank(value, input, 1)?;
            weights.push(Weights { name, dims, numbers });
        }
        self.push(value, Made::new("batchnorm", arguments, weights))
    }

    /// Does nothing, unless it is to draw random numbers when the file is run.
    fn dropout(&mut self, value: usize) -> Result<(), ExportError> {
        let input = |input| self.graph.weight(value, input).map(|(_, known)| known);
        let nothing = input(1).is_some_and(|ratio| ratio.scalar(self.graph.reader) == Some(0.0));
        if input(2).is_some_and(Known::is_true) && !nothing {
            return self.graph.refuse(value, "training_mode=false", "true");
        }
        Ok(())
    }

    fn flatten_node(&mut self, value: usize) -> Result<(), ExportError> {
        let axis = self.int(value, "axis", 1);
        if axis != 1 && axis + self.form.rank() != 1 {
            return self.graph.refuse(value, "axis 1", axis.to_string());
        }
        self.flatten(value)
    }

    fn flatten(&mut self, value: usize) -> Result<(), ExportError> {
        if self.form.is_image {
            self.push(value, Made::plain("flatten"))?;
            self.form.is_image = false;
        }
        Ok(())
    }

    /// To `[samples, everything else]` is a flatten, to the same sides nothing; nothing else is known.
    fn reshape(&mut self, value: usize) -> Result<(), ExportError> {
        let attribute = self.graph.node(value).attributes.get("shape").map(|shape| shape.ints.clone());
        let sides = attribute.or_else(|| self.graph.weight(value, 1)?.1.integers());
        let Form { shape, is_image } = self.form;
        // 0 is the side that is there; -1, once, what is left.
        let is = |side: i64, expected: usize| side == -1 || side == expected as i64;
        let inferred = sides.iter().flatten().filter(|&&side| side == -1).count();
        match sides.as_deref() {
            Some(&[_, features]) if inferred <= 1 && is(features, shape.features()) => self.flatten(value),
            Some(&[_, 0]) if shape.c == shape.features() => self.flatten(value),
            Some(&[_, c, h, w])
                if is_image
                    && inferred <= 1
                    && [(c, shape.c), (h, shape.h), (w, shape.w)]
                        .iter()
                        .all(|&(side, old)| side == 0 || is(side, old)) =>
            {
                Ok(())
            }
            found => {
                let expected = format!("a reshape to [samples, {}]", shape.features());
                self.graph.refuse(value, &expected, format!("one to {:?}", found.unwrap_or(&[])))
            }
        }
    }

    /// Rows and columns of one pixel are left out.
    fn squeeze(&mut self, value: usize) -> Result<(), ExportError> {
        let axes = self.axes(value);
        if axes != [2, 3] || !self.form.is_image {
            return self.graph.refuse(value, "axes [2, 3], rows and columns", format!("{axes:?}"));
        }
        self.flatten(value)
    }
}

/// A number for each channel, of one number or one each that lies on its axis, with these sides `behind` it.
fn each(dims: &[usize], numbers: Vec<f32>, channels: usize, behind: &[usize]) -> Option<Vec<f32>> {
    if numbers.len() == 1 {
        return Some(vec![numbers[0]; channels]);
    }
    let own = dims.iter().position(|&side| side != 1).map_or(&[][..], |first| &dims[first..]);
    (own.first() == Some(&channels) && own[1..] == *behind).then_some(numbers)
}

fn per_axis([rows, columns]: [i64; 2]) -> String {
    if rows == columns { rows.to_string() } else { format!("{rows}x{columns}") }
}

const KNOWN: &str = "Conv, MaxPool, AveragePool, GlobalMaxPool, GlobalAveragePool, Gemm, MatMul, BatchNormalization, Relu, LeakyRelu, \
     Gelu, Swish, LogSoftmax, Tanh, Sigmoid, Flatten, Reshape, Squeeze, ReduceMean, Dropout, Identity, Add or Concat of branches, or a \
     Softmax at the end";
