//! What can be wrong with a model that is to be taken elsewhere, or a file from elsewhere.

use byhand_layers::Shape;
use byhand_models::{ModelError, SpecError};
use std::ops::RangeInclusive;
use thiserror::Error;

/// A model that cannot be taken elsewhere, or a file from elsewhere that cannot be read. The message is one line.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The model's parts do not fit together.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A layer's own words cannot be read.
    #[error(transparent)]
    Spec(SpecError),
    /// A weight that no other program should be given.
    #[error("tensor {tensor}: expected finite numbers, found one that is not; the model has diverged")]
    NotFinite {
        /// The tensor's name.
        tensor: String,
    },
    /// A layer that the format has not.
    #[error("layer {layer}: expected a layer that this format can say")]
    Layer {
        /// The layer.
        layer: String,
    },
    /// An operator set that is not written.
    #[error("opset {found}: expected {} to {}", known.start(), known.end())]
    Opset {
        /// What is written.
        known: RangeInclusive<u32>,
        /// What was asked for.
        found: u32,
    },
    /// A layer that only later operator sets have.
    #[error("layer {layer}: expected opset {opset} or later, found {found}")]
    Later {
        /// The layer.
        layer: String,
        /// The first operator set that has it.
        opset: u32,
        /// What was asked for.
        found: u32,
    },
    /// Pictures that make no inputs of the network.
    #[error("preprocessing: expected pictures that make {expected}, found {found}")]
    Pictures {
        /// The network's input.
        expected: Shape,
        /// What the pictures make.
        found: Shape,
    },
    /// A sum that 32 bits may not hold.
    #[error(
        "layer {layer}: expected sums of at most {most} products for whole numbers of eight bits, found {found}"
    )]
    Products {
        /// The layer.
        layer: String,
        /// How many one output sums.
        found: usize,
        /// How many may be summed.
        most: usize,
    },
    /// A file that cannot be read.
    #[error("{file}: at byte {offset}: expected {expected}, found {found}")]
    Format {
        /// The file's name.
        file: String,
        /// Where.
        offset: usize,
        /// What should be there.
        expected: String,
        /// What is.
        found: String,
    },
    /// A node of a graph that has no counterpart.
    #[error("{file}: node {node}: expected {expected}, found {found}")]
    Node {
        /// The file's name.
        file: String,
        /// The node's name, or its place.
        node: String,
        /// What can be read.
        expected: String,
        /// What is there.
        found: String,
    },
}
