//! A model from an ONNX file: the layers that byhand has, in chains and branches, with their weights.

mod chains;
mod file;
mod layers;

use byhand_layers::Shape;
use byhand_models::Spec;
use std::collections::{BTreeMap, HashMap};

use self::chains::{Chains, Piece};
use self::file::{Model, Reader};
use self::layers::Weights;
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
/// When the bytes are no ONNX file, or hold a graph that is not made of layers that byhand has, one after the other or in branches that meet
/// again: the message names the place or the node.
pub fn read(bytes: &[u8], file: &str) -> Result<Imported, ExportError> {
    let reader = Reader { file };
    let model = reader.model(bytes)?;
    let (value, input, is_image) = input(&reader, &model)?;
    let pieces = Chains::new(&reader, &model).whole(value, is_image)?;
    let (words, mut weights) = (words(&pieces), HashMap::new());
    collect(pieces, "", &mut weights);
    let spec: Spec = words.parse().map_err(ExportError::Spec)?;
    let network = spec.build::<f32>(input).map_err(ExportError::Spec)?;
    let mut theta = Vec::with_capacity(network.param_len());
    for param in network.params() {
        match weights.remove(&param.name) {
            Some((dims, numbers)) if dims == param.shape => theta.extend(numbers),
            found => {
                let found = found.map_or_else(|| "none".into(), |(dims, _)| format!("{dims:?}"));
                return reader.wrong(0, &format!("tensor {} of {:?}", param.name, param.shape), found);
            }
        }
    }
    if let Some(name) = weights.keys().min() {
        return reader.wrong(0, "tensors of the layers alone", format!("another, {name}"));
    }
    // In its shortest spelling.
    let spec = spec.to_string().parse().map_err(ExportError::Spec)?;
    Ok(Imported { spec, input, theta, notes: model.notes })
}

/// The value that samples are, their shape, and whether they have channels, rows and columns.
fn input<'a>(reader: &Reader<'_>, model: &Model<'a>) -> Result<(&'a str, Shape, bool), ExportError> {
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
        let expected = format!("{expected}, all but the samples fixed");
        return reader.wrong(0, &expected, format!("[{}]", sides.join(", ")));
    };
    Ok((*value, input, sides.len() == 4))
}

/// Layers as a spec; a branch of none is the identity.
fn words(pieces: &[Piece]) -> String {
    let word = |piece: &Piece| match piece {
        Piece::Layer(layer) => layer.words.clone(),
        Piece::Branches { join, chains } => {
            let chains: Vec<String> = chains.iter().map(|chain| words(chain)).collect();
            match (join.is_sum(), &chains[..]) {
                (true, [main, shortcut]) if shortcut == IDENTITY => format!("residual({main})"),
                (true, _) => format!("residual({})", chains.join(" | ")),
                (false, _) => format!("concat({})", chains.join(" | ")),
            }
        }
    };
    if pieces.is_empty() { IDENTITY.into() } else { pieces.iter().map(word).collect::<Vec<_>>().join(" ") }
}

const IDENTITY: &str = "linear";

/// The tensors of layers by the names that a network has for them.
fn collect(pieces: Vec<Piece>, place: &str, weights: &mut HashMap<String, (Vec<usize>, Vec<f32>)>) {
    for (index, piece) in pieces.into_iter().enumerate() {
        match piece {
            Piece::Layer(layer) => {
                let named =
                    |(name, dims, numbers): Weights| (format!("{place}{index}.{name}"), (dims, numbers));
                weights.extend(layer.weights.into_iter().map(named));
            }
            Piece::Branches { join, chains } => {
                for (branch, chain) in chains.into_iter().enumerate() {
                    let name = match (join.is_sum(), branch) {
                        (true, 0) => "main".into(),
                        (true, _) => "shortcut".into(),
                        (false, _) => branch.to_string(),
                    };
                    collect(chain, &format!("{place}{index}.{name}."), weights);
                }
            }
        }
    }
}
