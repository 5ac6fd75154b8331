//! What can be wrong with a layer, a network, or the text that names an initialiser.

use crate::Shape;
use byhand_tensor::GeometryError;
use thiserror::Error;

/// A layer or network that cannot be built: names the layer, what was expected and what was found.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LayerError {
    /// Sizes that no kernel can compute.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    /// A hyper-parameter out of its range.
    #[error("{layer}: {what} must be {expected}, found {found}")]
    Value {
        /// The layer that refused.
        layer: &'static str,
        /// Which hyper-parameter.
        what: &'static str,
        /// The values it may have.
        expected: &'static str,
        /// The value it was given.
        found: String,
    },
    /// A layer does not fit behind the one before it.
    #[error(
        "layer {index}, {layer}: expected an input of {expected}, found {found} from the layer before it{hint}",
        hint = if expected.is_flat() && expected.features() == found.features() { " (put a flatten between them)" } else { "" }
    )]
    Chain {
        /// Index of the layer that does not fit, counted from 0.
        index: usize,
        /// That layer's spec.
        layer: String,
        /// The input it was built for.
        expected: Shape,
        /// The output of the layer before it.
        found: Shape,
    },
    /// A branch that does not fit beside the first.
    #[error("{layer}: expected branch {branch} to give {expected}, found {found}")]
    Branches {
        /// The layer whose branch it is.
        layer: &'static str,
        /// Which, counted from 1.
        branch: usize,
        /// What it should give.
        expected: String,
        /// What it gives.
        found: String,
    },
    /// A network of no layers.
    #[error("network: expected at least one layer, found none")]
    Empty,
}

/// A text that names no initialiser.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("initialiser: expected one of {expected}, found `{found}`")]
pub struct InitError {
    /// The names there are.
    pub expected: String,
    /// The text.
    pub found: String,
}
