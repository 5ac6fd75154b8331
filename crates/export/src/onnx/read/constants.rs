//! Values that do not depend on the input: weights as they are stored, and what nodes make of them before they are used.

use super::super::BOOL;
use super::proto::{Node, Reader, Tensor, integers};
use crate::ExportError;

/// A value that is known without the input. Numbers are copied when they are asked for.
#[derive(Clone)]
pub(super) struct Known<'m, 'a> {
    pub(super) dims: Vec<usize>,
    from: Source<'m, 'a>,
}

#[derive(Clone)]
enum Source<'m, 'a> {
    Stored(&'m Tensor<'a>),
    /// A matrix, rows and columns exchanged.
    Turned(&'m Tensor<'a>),
    /// One number everywhere.
    Fill(f32),
    Floats(&'m [f32]),
    Integers(&'m [i64]),
}

impl<'m, 'a> Known<'m, 'a> {
    pub(super) fn stored(tensor: &'m Tensor<'a>) -> Self {
        Self { dims: tensor.dims.clone(), from: Source::Stored(tensor) }
    }

    /// How many numbers it has; `None` where that is more than a machine counts.
    pub(super) fn len(&self) -> Option<usize> {
        self.dims.iter().try_fold(1usize, |product, &side| product.checked_mul(side))
    }

    /// Its numbers; `name` is its name in errors. The caller has bounded [`len`](Self::len).
    pub(super) fn floats(&self, reader: &Reader<'_>, name: &str) -> Result<Vec<f32>, ExportError> {
        match &self.from {
            Source::Stored(tensor) => reader.numbers(name, tensor),
            Source::Turned(tensor) => Ok(turned(&reader.numbers(name, tensor)?, self.dims[0], self.dims[1])),
            Source::Fill(number) => Ok(vec![*number; self.len().unwrap_or(0)]),
            Source::Floats(numbers) => Ok(numbers.to_vec()),
            Source::Integers(_) => {
                reader.wrong(0, &format!("tensor {} of floats", name.escape_debug()), "whole numbers")
            }
        }
    }

    /// The number, if it is a single one.
    pub(super) fn scalar(&self, reader: &Reader<'_>) -> Option<f64> {
        let numbers = if self.len() == Some(1) { self.floats(reader, "").ok()? } else { return None };
        numbers.first().map(|&number| number.into())
    }

    /// Whether it is a byte that is not 0, as ONNX stores truth.
    pub(super) fn is_true(&self) -> bool {
        matches!(self.from, Source::Stored(Tensor { kind: BOOL, raw: Some([byte]), .. }) if *byte != 0)
    }

    pub(super) fn integers(&self) -> Option<Vec<i64>> {
        match self.from {
            Source::Stored(tensor) => integers(tensor),
            Source::Integers(numbers) => Some(numbers.to_vec()),
            _ => None,
        }
    }

    /// What a node makes of known values; nothing where it is not a node that only arranges them.
    pub(super) fn fold(node: &'m Node<'a>, inputs: &[&Self], reader: &Reader<'_>) -> Option<Self> {
        let attribute = |name: &str| node.attributes.get(name);
        let axes = || match attribute("axes") {
            Some(axes) => Some(axes.ints.clone()),
            None => inputs.get(1)?.integers(),
        };
        match (node.operator, inputs) {
            ("Constant", []) => {
                if let Some(tensor) = attribute("value").and_then(|value| value.tensor.as_ref()) {
                    return Some(Self::stored(tensor));
                }
                let one = |from| Some(Self { dims: Vec::new(), from });
                let row = |from, len| Some(Self { dims: vec![len], from });
                if let Some(value) = attribute("value_float") {
                    one(Source::Fill(value.float))
                } else if let Some(value) = attribute("value_int") {
                    one(Source::Integers(std::slice::from_ref(&value.int)))
                } else if let Some(value) = attribute("value_floats") {
                    row(Source::Floats(&value.floats), value.floats.len())
                } else {
                    let value = attribute("value_ints")?;
                    row(Source::Integers(&value.ints), value.ints.len())
                }
            }
            ("ConstantOfShape", [shape]) => {
                let sides = shape.integers()?.into_iter().map(usize::try_from);
                let number = match attribute("value") {
                    Some(value) => reader.numbers("", value.tensor.as_ref()?).ok()?.first().copied()?,
                    None => 0.0,
                };
                Some(Self { dims: sides.collect::<Result<_, _>>().ok()?, from: Source::Fill(number) })
            }
            ("Identity", [value]) => Some((*value).clone()),
            ("Transpose", [Self { dims, from: Source::Stored(tensor) }]) if dims.len() == 2 => {
                let is_turned = attribute("perm").is_none_or(|perm| perm.ints == [1, 0]);
                is_turned.then(|| Self { dims: vec![dims[1], dims[0]], from: Source::Turned(tensor) })
            }
            ("Unsqueeze", [value, ..]) => {
                let (axes, mut dims) = (axes()?, value.dims.clone());
                let rank = (dims.len() + axes.len()) as i64;
                let mut axes: Vec<i64> =
                    axes.iter().map(|&axis| if axis < 0 { axis + rank } else { axis }).collect();
                axes.sort_unstable();
                for axis in axes {
                    let axis = usize::try_from(axis).ok().filter(|&axis| axis <= dims.len())?;
                    dims.insert(axis, 1);
                }
                Some(Self { dims, from: value.from.clone() })
            }
            ("Reshape", [value, shape]) => {
                let dims: Vec<usize> =
                    shape.integers()?.into_iter().map(usize::try_from).collect::<Result<_, _>>().ok()?;
                let new = Self { dims, from: value.from.clone() };
                // Turned numbers are laid out by the sides that they have.
                (new.len() == value.len() && !matches!(value.from, Source::Turned(_))).then_some(new)
            }
            _ => None,
        }
    }
}

/// Row by row, the numbers of a matrix of so many rows and columns that are given column by column.
pub(super) fn turned(numbers: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    (0..numbers.len()).map(|at| numbers[at % columns * rows + at / columns]).collect()
}
