//! A model from an ONNX file: layers that byhand has, one after the other or in branches, with their weights.

mod constants;
mod function;
mod graph;
mod made;
mod nodes;
mod proto;
mod tree;

use byhand_layers::Shape;
use byhand_models::Spec;
use std::collections::BTreeMap;

use self::graph::Graph;
use self::made::{Form, text};
use self::proto::{Declared, Model, Reader};
use self::tree::Tree;
use super::FLOAT;
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
    /// Whether the file ends with a softmax. It is left out of the layers: what our networks put out is what a softmax is given.
    pub has_softmax: bool,
    /// What the writer added: those of [`write`](super::write) have keys such as `byhand.classes`.
    pub notes: BTreeMap<String, String>,
}

/// Reads an ONNX file; `file` is its name in errors.
///
/// # Errors
/// When the bytes are no ONNX file, or hold a graph that is not made of layers that byhand has: the message names the place or the node.
pub fn read(bytes: &[u8], file: &str) -> Result<Imported, ExportError> {
    let reader = Reader { file };
    let model = reader.model(bytes)?;
    let form = input(&reader, &model)?;
    let graph = Graph::new(&reader, &model)?;
    let (layers, has_softmax) = Tree::new(&graph).layers(form)?;
    let spec: Spec = text(&layers).parse().map_err(ExportError::Spec)?;
    let network = spec.build::<f32>(form.shape).map_err(ExportError::Spec)?;
    let mut weights = Vec::new();
    layers.into_iter().for_each(|layer| layer.give(&mut weights));
    let mut weights = weights.into_iter();
    let mut theta = Vec::with_capacity(network.param_len());
    for param in network.params() {
        let name = param.name.rsplit('.').next().unwrap_or_default();
        match weights.next() {
            Some(found) if found.name == name && found.dims == param.shape => theta.extend(found.numbers),
            found => {
                let found = found
                    .map_or_else(|| "none".into(), |found| format!("{} of {:?}", found.name, found.dims));
                return reader.wrong(0, &format!("tensor {} of {:?}", param.name, param.shape), found);
            }
        }
    }
    // In its shortest spelling.
    let spec = spec.to_string().parse().map_err(ExportError::Spec)?;
    Ok(Imported { spec, input: form.shape, theta, has_softmax, notes: model.notes })
}

/// What a sample looks like.
fn input(reader: &Reader<'_>, model: &Model<'_>) -> Result<Form, ExportError> {
    let expected = "one input [samples, channels, rows, columns] or [samples, features]";
    let [Declared { kind, sides, .. }] = &model.inputs[..] else {
        return reader.wrong(0, expected, format!("{} inputs", model.inputs.len()));
    };
    if *kind != FLOAT {
        let expected = "an input of 32-bit floats (export writes one without --preprocess)";
        return reader.wrong(0, expected, format!("ONNX's element type {kind}"));
    }
    let shape = match sides[..] {
        [_, Some(features)] => Shape::flat(features),
        [_, Some(c), Some(h), Some(w)] => Shape::new(c, h, w),
        _ => {
            let shown = |side: &Option<usize>| side.map_or_else(|| "?".to_owned(), |side| side.to_string());
            let sides: Vec<String> = sides.iter().map(shown).collect();
            let expected = format!("{expected}, all but the samples fixed");
            return reader.wrong(0, &expected, format!("[{}]", sides.join(", ")));
        }
    };
    Ok(Form { shape, is_image: sides.len() == 4 })
}
