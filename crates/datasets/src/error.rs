//! What can go wrong: the file system, the bytes, the caller, the network, each its own variant.

use std::fmt;
use std::io;

/// Any failure of this crate. The message is one line that names the file, the place, what was expected and what was
/// found; it already contains its cause.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("{path}: cannot {action}: {cause}")]
    Io {
        /// The file or folder, or the name given to a reader.
        path: String,
        /// What was attempted, as in "cannot ...".
        action: &'static str,
        /// The operating system's words.
        cause: io::Error,
    },
    /// The bytes are not what they should be.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// Files that were asked for explicitly are not there.
    #[error("{folder}: {missing}")]
    Missing {
        /// The folder that was searched.
        folder: String,
        /// What is missing, and what to do.
        missing: String,
    },
    /// The bytes are those of another file of the catalogue.
    #[error("{file}: this is {found}, expected {expected}")]
    Mistaken {
        /// The file.
        file: String,
        /// What it should have been, as in "MNIST's t10k-images".
        expected: String,
        /// What its SHA-256 says it is.
        found: String,
    },
    /// A line of a text file (names of classes, a table of numbers) is not what it should be.
    #[error("{file}, line {line}: expected {expected}, found {found}")]
    Line {
        /// The file.
        file: String,
        /// The line, counted from 1.
        line: usize,
        /// What should have been there.
        expected: String,
        /// What was there.
        found: String,
    },
    /// The caller asked for something impossible (a split larger than the data set, a class that does not exist, ...).
    #[error("{0}")]
    Request(String),
    /// No mirror delivered a file within the deadline.
    #[error("cannot download {file}: {reason}")]
    Download {
        /// The file.
        file: String,
        /// One clause a mirror: its address and why it failed.
        reason: String,
    },
}

impl Error {
    pub(crate) fn io(path: impl Into<String>, action: &'static str, cause: io::Error) -> Error {
        Error::Io { path: path.into(), action, cause }
    }
}

/// Bytes that are not a valid file of the kind expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: at byte {offset}: expected {expected}, found {found}")]
pub struct FormatError {
    /// The file, or the name given to the reader.
    pub file: String,
    /// Offset of the first wrong byte, counted in the decompressed bytes.
    pub offset: u64,
    /// What should have been there.
    pub expected: String,
    /// What was there.
    pub found: String,
    /// The class of the problem, for programs.
    pub problem: FormatProblem,
}

/// The classes of [`FormatError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FormatProblem {
    /// The file ends before it should.
    Truncated,
    /// The first four bytes are not an IDX magic number of unsigned bytes.
    Magic,
    /// A valid IDX file, but labels where images should be, or the reverse.
    Swapped,
    /// The product of the dimensions does not fit in 64 bits.
    Overflow,
    /// More bytes than the reader was allowed to accept.
    TooLarge,
    /// Bytes after the last element.
    Trailing,
    /// A label that is no class.
    Label,
    /// A dimension of zero, or one that disagrees with the companion file.
    Dimensions,
    /// The gzip stream is damaged.
    Gzip,
    /// No picture, or a damaged one.
    Picture,
    /// The bytes are not those whose SHA-256 the catalogue pins.
    Hash,
}

impl fmt::Display for FormatProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FormatProblem::Truncated => "truncated",
            FormatProblem::Magic => "wrong magic number",
            FormatProblem::Swapped => "images and labels swapped",
            FormatProblem::Overflow => "dimensions overflow",
            FormatProblem::TooLarge => "too large",
            FormatProblem::Trailing => "trailing bytes",
            FormatProblem::Label => "label out of range",
            FormatProblem::Dimensions => "wrong dimensions",
            FormatProblem::Gzip => "damaged gzip stream",
            FormatProblem::Picture => "no picture",
            FormatProblem::Hash => "wrong SHA-256",
        })
    }
}
