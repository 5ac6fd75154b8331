//! The messages of an ONNX file, as far as they are read. Source: `onnx/onnx.proto`.

use std::collections::{BTreeMap, HashMap};

use super::super::wire::{Field, Fields, Value};
use super::super::{FLOAT, INT64};
use crate::ExportError;

/// As much of a `ModelProto` as is read.
pub(super) struct Model<'a> {
    pub(super) nodes: Vec<Node<'a>>,
    pub(super) tensors: HashMap<&'a str, Tensor<'a>>,
    pub(super) inputs: Vec<Declared<'a>>,
    pub(super) outputs: Vec<&'a str>,
    pub(super) notes: BTreeMap<String, String>,
    /// The version of ONNX's own operators.
    pub(super) opset: i64,
}

/// A `ValueInfoProto`: a name, ONNX's element type, and the sides; `None` where one is not fixed.
pub(super) struct Declared<'a> {
    pub(super) name: &'a str,
    pub(super) kind: i64,
    pub(super) sides: Vec<Option<usize>>,
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
    pub(super) floats: Vec<f32>,
    pub(super) int: i64,
    pub(super) text: &'a [u8],
    pub(super) ints: Vec<i64>,
    pub(super) tensor: Option<Tensor<'a>>,
}

/// A `TensorProto`.
#[derive(Clone, Default)]
pub(super) struct Tensor<'a> {
    pub(super) at: usize,
    pub(super) dims: Vec<usize>,
    pub(super) kind: i64,
    pub(super) raw: Option<&'a [u8]>,
    /// Packed or one by one.
    pub(super) floats: Vec<f32>,
    pub(super) integers: Vec<i64>,
    pub(super) is_elsewhere: bool,
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
                for number in Fields::new(bytes, start).packed() {
                    match number {
                        Ok(number) => to.push(number),
                        Err(at) => return self.wrong(at, "a whole number", "a longer run of bytes"),
                    }
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
        let (mut body, mut notes, mut opset) = (None, BTreeMap::new(), 1);
        self.fields(Fields::new(bytes, 0), |field| {
            match field.number {
                7 => body = Some(self.message(&field)?),
                8 => {
                    let (mut domain, mut version) = ("", 1);
                    self.fields(self.message(&field)?, |field| {
                        match field.number {
                            1 => domain = self.text(&field)?,
                            2 => version = self.int(&field)?,
                            _ => {}
                        }
                        Ok(())
                    })?;
                    if matches!(domain, "" | "ai.onnx") {
                        opset = version;
                    }
                }
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
            opset,
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
                12 => model.outputs.push(self.value(self.message(&field)?)?.name),
                _ => {}
            }
            Ok(())
        })?;
        // Files of the first versions list weights among the inputs.
        let Model { tensors, inputs, .. } = &mut model;
        inputs.retain(|input| !tensors.contains_key(input.name));
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
                (7, Value::Fixed32(bytes)) => attribute.floats.push(f32::from_le_bytes(bytes)),
                (7, Value::Bytes(bytes, _)) => attribute.floats.extend(floats(bytes)),
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

    fn value<'a>(&self, message: Fields<'a>) -> Result<Declared<'a>, ExportError> {
        let (mut name, mut kind, mut sides) = ("", 0, Vec::new());
        self.fields(message, |field| {
            match field.number {
                1 => name = self.text(&field)?,
                2 => self.fields(self.message(&field)?, |field| {
                    // Of a tensor, its shape, its sides.
                    if field.number != 1 {
                        return Ok(());
                    }
                    self.fields(self.message(&field)?, |field| {
                        if field.number == 1 {
                            kind = self.int(&field)?;
                        }
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
        Ok(Declared { name, kind, sides })
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

/// The whole numbers of a tensor of them.
pub(super) fn integers(tensor: &Tensor<'_>) -> Option<Vec<i64>> {
    if tensor.kind != INT64 || tensor.is_elsewhere {
        return None;
    }
    let of_raw = |raw: &[u8]| raw.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect();
    Some(tensor.raw.map_or_else(|| tensor.integers.clone(), of_raw))
}

fn floats(bytes: &[u8]) -> impl Iterator<Item = f32> + '_ {
    bytes.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().expect("chunks of 4")))
}
