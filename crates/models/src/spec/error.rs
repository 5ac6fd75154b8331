//! What is wrong with a layer spec, and where.

use std::ops::Range;

use byhand_layers::LayerError;
use thiserror::Error;

use super::{MAX_DEPTH, MAX_FEATURES, MAX_LAYERS, MAX_PARAMETERS};
use crate::branches::BranchKind;
use crate::kinds::LayerKind;

/// A layer spec that cannot be read or built. `Display` is one line: the place, the layer, what was found and what was
/// expected; [`diagram`](Self::diagram) draws the place.
#[derive(Debug, Error)]
#[error("layer spec, byte {}, \"{}\": {problem}", at.start, excerpt(&text[at.clone()]))]
pub struct SpecError {
    problem: Box<Problem>,
    text: String,
    at: Range<usize>,
}

/// The kinds of mistake in a layer spec.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Problem {
    /// Nothing but blanks.
    #[error(
        "no layers; expected some, with blanks between them, such as \"conv(8,5) relu pool(2) dense(10)\""
    )]
    Empty,
    /// More than [`MAX_LAYERS`].
    #[error("expected at most {MAX_LAYERS} layers, found more")]
    TooManyLayers,
    /// A word that no layer has.
    #[error("no layer has this name{} ({})", hint(*nearest), names().collect::<Vec<_>>().join(", "))]
    UnknownLayer {
        /// The layer whose name looks most like it.
        nearest: Option<&'static str>,
    },
    /// A character that cannot stand here.
    #[error("expected {expected}")]
    Unexpected {
        /// What could.
        expected: &'static str,
    },
    /// An argument with a name that the layer has no parameter of.
    #[error("{layer} has no parameter of this name{}; expected {}", hint(*nearest), signature(layer))]
    UnknownParameter {
        /// The layer.
        layer: &'static str,
        /// Its parameter whose name looks most like it.
        nearest: Option<&'static str>,
    },
    /// More arguments than parameters.
    #[error("one argument too many; expected {}", signature(layer))]
    TooManyArguments {
        /// The layer.
        layer: &'static str,
    },
    /// An argument without a name after one with a name.
    #[error("an argument without a name after one with a name; expected {}", signature(layer))]
    Positional {
        /// The layer.
        layer: &'static str,
    },
    /// A parameter given twice.
    #[error("{parameter} is given twice; expected {}", signature(layer))]
    Twice {
        /// The layer.
        layer: &'static str,
        /// The parameter.
        parameter: &'static str,
    },
    /// A parameter that must be given, and is not.
    #[error("{parameter} is missing; expected {}", signature(layer))]
    Missing {
        /// The layer.
        layer: &'static str,
        /// The parameter.
        parameter: &'static str,
    },
    /// A value that is not of the parameter's form or range.
    #[error("{parameter} must be {expected}; in {}", signature(layer))]
    Value {
        /// The layer.
        layer: &'static str,
        /// The parameter.
        parameter: &'static str,
        /// Its form, in words.
        expected: String,
    },
    /// Too few branches, or too many.
    #[error("{layer} with {found} branches; expected {}", signature(layer))]
    Branches {
        /// The layer.
        layer: &'static str,
        /// How many it was given.
        found: usize,
    },
    /// A branch of no layers.
    #[error("a branch without layers; linear is the input itself; expected {}", signature(layer))]
    EmptyBranch {
        /// The layer.
        layer: &'static str,
    },
    /// Branches in branches in branches.
    #[error("expected branches inside of at most {MAX_DEPTH} others, found more")]
    TooDeep,
    /// A layer that does not fit on what is before it.
    #[error(transparent)]
    Layer(LayerError),
    /// An input or output of no values, or of too many.
    #[error("{what} is {shape}, {found} values a sample; expected 1 to {MAX_FEATURES}")]
    Size {
        /// "the input" or "its output".
        what: &'static str,
        /// The shape, as `CxHxW`.
        shape: String,
        /// Its values.
        found: u128,
    },
    /// A network of too many parameters.
    #[error("{found} parameters up to this layer; expected at most {MAX_PARAMETERS}")]
    TooManyParameters {
        /// How many.
        found: u128,
    },
    /// No layer that could be given this number of classes.
    #[error(
        "no dense layer to give {classes} outputs, one a class; expected one at the end, such as dense({classes})"
    )]
    NoClassifier {
        /// The classes wanted.
        classes: usize,
    },
}

impl SpecError {
    pub(super) fn new(problem: Problem, text: &str, at: Range<usize>) -> Self {
        Self { problem: Box::new(problem), text: text.to_owned(), at }
    }

    /// What is wrong.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    /// The bytes of the spec that are to blame.
    pub fn at(&self) -> Range<usize> {
        self.at.clone()
    }

    /// Three lines for a person: the spec, a line of carets under the place, the problem.
    pub fn diagram(&self) -> String {
        // One column a character: what has no width of its own, or is more than a character wide, would shift the carets.
        let columns =
            |text: &str| text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>();
        let indent = self.text[..self.at.start].chars().count();
        let carets = self.text[self.at.clone()].chars().count().max(1);
        format!("{}\n{}{}\n{}", columns(&self.text), " ".repeat(indent), "^".repeat(carets), self.problem)
    }
}

/// The name among `names` that looks most like `word`, if one does.
pub(crate) fn nearest(word: &str, names: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    let distance = |name: &str| strsim::damerau_levenshtein(word, name);
    // Long words are not typos, and the distance takes the product of the lengths in time.
    let close = names.filter(|name| word.len() <= 2 * name.len() + 8).map(|name| (distance(name), name));
    close
        .min_by_key(|&(distance, _)| distance)
        .filter(|&(d, name)| 2 * d <= name.len().max(2))
        .map(|(_, name)| name)
}

/// `; did you mean "relu"?`, or nothing.
pub(crate) fn hint(nearest: Option<&'static str>) -> String {
    nearest.map_or_else(String::new, |name| format!("; did you mean \"{name}\"?"))
}

/// The words of all layers.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    let branches = BranchKind::<f32>::ALL.iter().map(|kind| kind.name);
    LayerKind::<f32>::ALL.iter().map(|kind| kind.name).chain(branches)
}

fn signature(layer: &str) -> String {
    match BranchKind::<f32>::find(layer) {
        Some(kind) => kind.signature.to_owned(),
        None => LayerKind::<f32>::find(layer).map_or_else(|| layer.to_owned(), LayerKind::signature),
    }
}

/// At most 40 characters, on one line, whatever is in them.
fn excerpt(text: &str) -> String {
    let mut short: String = text.chars().take(40).flat_map(char::escape_debug).collect();
    if text.chars().nth(40).is_some() {
        short.push_str("...");
    }
    short
}
