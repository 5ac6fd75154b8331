//! Nodes as layers: what each operator is in the grammar, and the weights that it brings.

use super::file::{Model, Node, Reader};
use crate::ExportError;

/// A layer: its words in a spec, and its tensors in the order of its parameters.
pub(super) struct Layer {
    pub(super) words: String,
    pub(super) weights: Vec<Weights>,
}

/// A tensor: its name in its layer, its sides, its numbers.
pub(super) type Weights = (&'static str, Vec<usize>, Vec<f32>);

impl Layer {
    /// A layer without weights.
    pub(super) fn plain(words: impl Into<String>) -> Self {
        Self { words: words.into(), weights: Vec::new() }
    }
}

/// The operators that are read, for people.
const KNOWN: &str = "Conv, MaxPool, AveragePool, GlobalMaxPool, GlobalAveragePool, ReduceMean of rows and columns, Gemm, MatMul, \
                     BatchNormalization, Relu, LeakyRelu, Gelu, LogSoftmax, Tanh, Sigmoid, Flatten, Reshape, Dropout or Identity, and Add and \
                     Concat of branches";

/// A node, and where it stands.
pub(super) struct At<'r, 'a> {
    pub(super) reader: &'r Reader<'r>,
    pub(super) model: &'r Model<'a>,
    pub(super) node: &'r Node<'a>,
}

impl At<'_, '_> {
    pub(super) fn refuse<T>(&self, expected: &str, found: impl Into<String>) -> Result<T, ExportError> {
        Err(ExportError::Node {
            file: self.reader.file.to_owned(),
            node: format!("{} ({})", self.node.name, self.node.operator.escape_debug()),
            expected: expected.to_owned(),
            found: found.into(),
        })
    }

    /// The layers that the node is. `is_image` says whether its input has channels, rows and columns, and afterwards whether its output has
    /// them. `bias` is what the next node adds to a product.
    pub(super) fn layers(
        &self,
        is_image: &mut bool,
        bias: Option<Weights>,
    ) -> Result<Vec<Layer>, ExportError> {
        let attributes = &self.node.attributes;
        let flatten = |is_image: &mut bool| {
            let layers = if *is_image { vec![Layer::plain("flatten")] } else { Vec::new() };
            *is_image = false;
            layers
        };
        let layer = match self.node.operator {
            "Conv" => self.conv()?,
            "MaxPool" => self.pool("pool")?,
            "AveragePool" => self.pool("avgpool")?,
            "GlobalMaxPool" => Layer::plain("globalmaxpool"),
            "GlobalAveragePool" => Layer::plain("globalavgpool"),
            "ReduceMean" => {
                self.mean_of_places(*is_image)?;
                let mut layers = vec![Layer::plain("globalavgpool")];
                if attributes.get("keepdims").is_some_and(|keeps| keeps.int == 0) {
                    layers.extend(flatten(is_image));
                }
                return Ok(layers);
            }
            "Gemm" => self.gemm(*is_image)?,
            "MatMul" => {
                let (dims, w) = self.weights(1, 2)?;
                self.dense(dims, w, false, bias, *is_image)?
            }
            "BatchNormalization" => self.batchnorm()?,
            "Relu" => Layer::plain("relu"),
            "LeakyRelu" => {
                let slope = attributes.get("alpha").map_or(0.01, |alpha| alpha.float);
                Layer::plain(format!("leaky_relu(slope={slope})"))
            }
            "Gelu" if attributes.get("approximate").is_some_and(|how| how.text == b"tanh") => {
                Layer::plain("gelu")
            }
            "Gelu" => {
                return self.refuse("GELU by its formula with tanh (approximate=\"tanh\")", "the exact one");
            }
            "LogSoftmax" => Layer::plain("log_softmax"),
            "Tanh" => Layer::plain("tanh"),
            "Sigmoid" => Layer::plain("sigmoid"),
            "Flatten" => {
                if attributes.get("axis").is_some_and(|axis| axis.int != 1) {
                    return self.refuse("axis 1", "another");
                }
                return Ok(flatten(is_image));
            }
            "Reshape" => {
                self.reshape()?;
                return Ok(flatten(is_image));
            }
            "Dropout" | "Identity" => return Ok(Vec::new()),
            other => return self.refuse(KNOWN, other.escape_debug().to_string()),
        };
        Ok(vec![layer])
    }

    /// The weights that the node reads: their sides, and their numbers.
    fn weights(&self, input: usize, rank: usize) -> Result<(Vec<usize>, Vec<f32>), ExportError> {
        let Some(name) = self.node.inputs.get(input) else {
            return self.refuse(&format!("an input number {input}"), "fewer");
        };
        let Some(tensor) = self.model.tensor(name) else {
            return self
                .refuse(&format!("weights as its input number {input}"), "something that is computed");
        };
        if tensor.dims.len() != rank {
            return self.refuse(&format!("weights of {rank} axes"), format!("{:?}", tensor.dims));
        }
        Ok((tensor.dims.clone(), self.reader.numbers(name, tensor)?))
    }

    /// The bias as the node's third input, if it has one.
    fn bias(&self) -> Result<Option<Weights>, ExportError> {
        if self.node.inputs.get(2).is_none_or(|name| name.is_empty()) {
            return Ok(None);
        }
        let (dims, numbers) = self.weights(2, 1)?;
        Ok(Some(("bias", dims, numbers)))
    }

    /// An attribute of two numbers, along rows and columns.
    fn pair(&self, name: &str, default: [i64; 2]) -> Result<[i64; 2], ExportError> {
        match self.node.attributes.get(name).map(|attribute| &attribute.ints[..]) {
            None => Ok(default),
            Some(&[rows, columns]) if rows >= 0 && columns >= 0 => Ok([rows, columns]),
            Some(found) => self.refuse(&format!("two {name}"), format!("{found:?}")),
        }
    }

    /// Padding, as an argument of the grammar.
    fn pad(&self) -> Result<String, ExportError> {
        let attributes = &self.node.attributes;
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
        self.node.attributes.get(name).is_some_and(|attribute| attribute.int != 0)
    }

    /// That an attribute has the only value that is known.
    fn must_be(&self, name: &str, value: i64) -> Result<(), ExportError> {
        match self.node.attributes.get(name) {
            Some(attribute) if attribute.int != value || attribute.ints.iter().any(|&int| int != value) => {
                let found =
                    if attribute.ints.is_empty() { vec![attribute.int] } else { attribute.ints.clone() };
                self.refuse(&format!("{name}={value}"), format!("{found:?}"))
            }
            _ => Ok(()),
        }
    }

    fn conv(&self) -> Result<Layer, ExportError> {
        let (dims, w) = self.weights(1, 4)?;
        let kernel = per_axis([dims[2] as i64, dims[3] as i64]);
        let (stride, pad, dilation) =
            (per_axis(self.pair("strides", [1, 1])?), self.pad()?, self.dilation()?);
        let groups = match self.node.attributes.get("group").map_or(1, |group| group.int) {
            1 => String::new(),
            groups => format!(",groups={groups}"),
        };
        let bias = self.bias()?;
        let flag = if bias.is_some() { "" } else { ",bias=false" };
        let words = format!("conv({},{kernel},stride={stride}{pad}{flag}{dilation}{groups})", dims[0]);
        Ok(Layer { words, weights: [("weight", dims, w)].into_iter().chain(bias).collect() })
    }

    fn pool(&self, name: &str) -> Result<Layer, ExportError> {
        let attributes = &self.node.attributes;
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
        Ok(Layer::plain(format!("{name}({window},stride={stride}{pad}{ceil}{dilation}{count})")))
    }

    /// A mean along some axes must be one of rows and columns.
    fn mean_of_places(&self, is_image: bool) -> Result<(), ExportError> {
        let input = self.node.inputs.get(1).and_then(|name| self.model.tensor(name)?.integers());
        let attribute = || self.node.attributes.get("axes").map(|axes| axes.ints.clone());
        let axes = input.or_else(attribute).unwrap_or_default();
        let mut places: Vec<i64> =
            axes.iter().map(|&axis| if axis < 0 { axis.saturating_add(4) } else { axis }).collect();
        places.sort_unstable();
        if !is_image || places != [2, 3] {
            return self.refuse("a mean of rows and columns (axes 2 and 3)", format!("one of {axes:?}"));
        }
        Ok(())
    }

    fn gemm(&self, is_image: bool) -> Result<Layer, ExportError> {
        self.must_be("transA", 0)?;
        for name in ["alpha", "beta"] {
            if self.node.attributes.get(name).is_some_and(|attribute| attribute.float != 1.0) {
                return self.refuse(&format!("{name}=1"), "another number");
            }
        }
        let is_turned = self.node.attributes.get("transB").is_some_and(|attribute| attribute.int == 1);
        let (dims, w) = self.weights(1, 2)?;
        self.dense(dims, w, is_turned, self.bias()?, is_image)
    }

    fn dense(
        &self,
        dims: Vec<usize>,
        w: Vec<f32>,
        is_turned: bool,
        bias: Option<Weights>,
        is_image: bool,
    ) -> Result<Layer, ExportError> {
        let (outputs, inputs) = if is_turned { (dims[0], dims[1]) } else { (dims[1], dims[0]) };
        let w = if is_turned {
            w
        } else {
            (0..outputs * inputs).map(|at| w[at % inputs * outputs + at / inputs]).collect()
        };
        if is_image {
            return self.refuse("a Flatten before it", "channels, rows and columns");
        }
        let flag = if bias.is_some() { "" } else { ",bias=false" };
        let weight = ("weight", vec![outputs, inputs], w);
        let words = format!("dense({outputs}{flag})");
        Ok(Layer { words, weights: [weight].into_iter().chain(bias).collect() })
    }

    fn batchnorm(&self) -> Result<Layer, ExportError> {
        self.must_be("training_mode", 0)?;
        let eps = self.node.attributes.get("epsilon").map_or(1e-5, |attribute| attribute.float);
        let words = if eps == 1e-5 { "batchnorm".into() } else { format!("batchnorm(eps={eps})") };
        let mut weights = Vec::new();
        for (input, name) in [(1, "weight"), (2, "bias"), (3, "running_mean"), (4, "running_var")] {
            let (dims, numbers) = self.weights(input, 1)?;
            weights.push((name, dims, numbers));
        }
        Ok(Layer { words, weights })
    }

    /// To `[samples, everything else]` is a flatten; nothing else is known.
    fn reshape(&self) -> Result<(), ExportError> {
        let sides = self.node.inputs.get(1).and_then(|name| self.model.tensor(name)?.integers());
        match sides.as_deref() {
            Some([_, _]) => Ok(()),
            found => {
                self.refuse("a reshape to [samples, features]", format!("one to {:?}", found.unwrap_or(&[])))
            }
        }
    }
}

fn per_axis([rows, columns]: [i64; 2]) -> String {
    if rows == columns { rows.to_string() } else { format!("{rows}x{columns}") }
}
