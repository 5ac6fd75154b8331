//! The messages of an ONNX file, as much of them as is read: nodes, tensors, inputs and outputs. Source: `onnx/onnx.proto` of ONNX.

use std::collections::{BTreeMap, HashMap};

use crate::ExportError;
use crate::onnx::wire::{Field, Fields, Value};
use crate::onnx::{FLOAT, INT64};

/// As much of a `ModelProto` as is read.
pub(super) struct Model<'a> {
    pub(super) nodes: Vec<Node<'a>>,
    tensors: HashMap<&'a str, Tensor<'a>>,
    pub(super) inputs: Vec<(&'a str, Vec<Option<usize>>)>,
    pub(super) outputs: Vec<&'a str>,
    pub(super) notes: BTreeMap<String, String>,
    /// Which node gives a value.
    givers: HashMap<&'a str, usize>,
}

impl<'a> Model<'a> {
    /// The tensor that a value is: one of the file's, what a Constant has, or either of them by another name, as exporters write tensors
    /// that are equal.
    pub(super) fn tensor<'s>(&'s self, mut name: &'s str) -> Option<&'s Tensor<'a>> {
        const NAMES: usize = 4;
        for _ in 0..NAMES {
            if let Some(tensor) = self.tensors.get(name) {
                return Some(tensor);
            }
            let giver = &self.nodes[*self.givers.get(name)?];
            match giver.operator {
                "Constant" => return giver.attributes.get("value")?.tensor.as_ref(),
                "Identity" => name = giver.inputs.first()?,
                _ => return None,
            }
        }
        None
    }
}

/// A `NodeProto`.
#[derive(Default)]
pub(super) struct Node<'a> {
    pub(super) name: String,
    pub(super) operator: &'a str,
    pub(super) inputs: Vec<&'a str>,
    pub(super) outputs: Vec<&'a str>,
    pub(super) attributes: HashMap<&'a str, Attribute<'a>>,
}

/// An `AttributeProto`.
#[derive(Clone, Default)]
pub(super) struct Attribute<'a> {
    pub(super) float: f32,
    pub(super) int: i64,
    pub(super) text: &'a [u8],
    pub(super) ints: Vec<i64>,
    tensor: Option<Tensor<'a>>,
}

/// A `TensorProto`.
#[derive(Clone, Default)]
pub(super) struct Tensor<'a> {
    at: usize,
    pub(super) dims: Vec<usize>,
    kind: i64,
    raw: Option<&'a [u8]>,
    /// Packed or one by one.
    floats: Vec<f32>,
    integers: Vec<i64>,
    is_elsewhere: bool,
}

pub(super) struct Reader<'f> {
    pub(super) file: &'f str,
}

impl Reader<'_> {
    pub(super) fn wrong<T>(
        &self,
        offset: usize,
        expected: &str,
        found: impl Into<String>,
    ) -> Result<T, ExportError> {
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

    pub(super) fn model<'a>(&self, bytes: &'a [u8]) -> Result<Model<'a>, ExportError> {
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
            givers: HashMap::new(),
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
        let Model { tensors, inputs, nodes, givers, .. } = &mut model;
        givers.extend(
            nodes
                .iter()
                .enumerate()
                .flat_map(|(index, node)| node.outputs.iter().map(move |&name| (name, index))),
        );
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

    pub(super) fn numbers(&self, name: &str, tensor: &Tensor<'_>) -> Result<Vec<f32>, ExportError> {
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

impl Tensor<'_> {
    /// Its numbers, if they are whole ones of 64 bits.
    pub(super) fn integers(&self) -> Option<Vec<i64>> {
        let raw = self.raw.map(|raw| {
            let (numbers, _) = raw.as_chunks::<8>();
            numbers.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect()
        });
        (self.kind == INT64).then(|| raw.unwrap_or_else(|| self.integers.clone()))
    }
}

fn floats(bytes: &[u8]) -> impl Iterator<Item = f32> + '_ {
    bytes.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().expect("chunks of 4")))
}
