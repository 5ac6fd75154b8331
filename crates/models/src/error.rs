//! What can be wrong with a model and its file.

use std::io;
use std::path::Path;

use byhand_layers::Shape;
use safetensors::SafeTensorError;
use thiserror::Error;

use crate::format::{FORMAT, KEY, LENGTH, MAX_HEADER};
use crate::spec::SpecError;

/// A model that cannot be written, read or used. The message is one line, and already contains its cause.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The operating system refused.
    #[error("{path}: cannot {action} the model file: {cause}")]
    Io {
        /// The file.
        path: String,
        /// `read` or `write`.
        action: &'static str,
        /// The operating system's words.
        cause: io::Error,
    },
    /// The bytes are not those of a model file.
    #[error("{file}: at byte {offset}: expected {expected}, found {found}")]
    Format {
        /// The file.
        file: String,
        /// Where.
        offset: u64,
        /// What should be there.
        expected: String,
        /// What is.
        found: String,
    },
    /// Weights without a description of their network.
    #[error(
        "{file}: at byte {LENGTH}: expected a description of the network under the metadata key \"{KEY}\", found none; weights alone \
         do not say what network they belong to"
    )]
    WeightsAlone {
        /// The file.
        file: String,
    },
    /// Bytes that are not the ones that were written.
    #[error(
        "{file}: at byte {offset}: {what} damaged: expected SHA-256 {expected}, found {found}; copy it again, or train it again"
    )]
    Digest {
        /// The file.
        file: String,
        /// Where the damaged part begins.
        offset: u64,
        /// The part, with its verb: "tensor 0.weight is".
        what: String,
        /// The digest that the file states.
        expected: String,
        /// The digest of what is there.
        found: String,
    },
    /// A file of a later version of this program.
    #[error("{file}: model format {found}, expected {FORMAT}; a newer byhand wrote it, and can read it")]
    Version {
        /// The file.
        file: String,
        /// Its format.
        found: u32,
    },
    /// A file whose description contradicts itself.
    #[error("{file}: {cause}")]
    Contradiction {
        /// The file.
        file: String,
        /// What does not fit.
        cause: Box<ModelError>,
    },
    /// Layers that cannot be built.
    #[error(transparent)]
    Spec(SpecError),
    /// Too many or too few of something.
    #[error("{found} {what}, expected {expected} for these layers")]
    Count {
        /// Of what.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many the network needs.
        expected: usize,
    },
    /// Images of a size of which no inputs of the network are made.
    #[error("expected images that make an input of {expected}, found images of {h}x{w}, which make {found}")]
    Images {
        /// The network's input.
        expected: Shape,
        /// What the images, preprocessed, are.
        found: Shape,
        /// Rows of an image.
        h: usize,
        /// Columns of an image.
        w: usize,
    },
    /// Data that have not the model's classes.
    #[error(transparent)]
    Data(byhand_datasets::Error),
    /// Preprocessing that is not finite, or makes no inputs of the network: which, and what was expected.
    #[error("preprocessing: {0}")]
    Preprocessing(String),
    /// Class names and notes that would make a header that is not read again.
    #[error("the model file's header has {found} bytes, expected at most {MAX_HEADER}; shorten the notes")]
    HeaderTooLong {
        /// Its bytes.
        found: u64,
    },
    /// The format's library refused.
    #[error("safetensors: {0}")]
    Serialize(SafeTensorError),
}

impl ModelError {
    pub(crate) fn io(path: &Path, action: &'static str, cause: io::Error) -> Self {
        Self::Io { path: path.display().to_string(), action, cause }
    }
}
