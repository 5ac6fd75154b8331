//! The layer-spec grammar: text to tokens to a network, and back.
//!
//! ```text
//! spec      = { blank } layer { blank { blank } layer } { blank }
//! layer     = name [ "(" [ argument { "," argument } ] ")" ]
//! argument  = [ parameter "=" ] value         without a name: the parameters in their order
//! value     = whole number | HEIGHTxWIDTH | true | false | fraction
//! ```
//!
//! The names and their parameters are the rows of [`LayerKind::ALL`]. A dense layer after an image gets a flatten
//! before it, so that a layer's index is the one PyTorch's `nn.Sequential` gives it:
//! `conv(8,3) pool(2) dense(10)` is `Conv2d, MaxPool2d, Flatten, Linear`, with the parameters `0.weight`, `0.bias`,
//! `3.weight`, `3.bias`.

mod error;
mod parse;

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use byhand_layers::{Flatten, Layer, Network, Scalar, Shape};

use crate::kinds::{Arguments, DefaultValue, LayerKind, Role, Value};

pub use error::{Problem, SpecError};
pub(crate) use error::{hint, nearest};

/// The most layers a spec may have.
pub const MAX_LAYERS: usize = 1000;
/// The most values one layer may put out for one sample.
pub const MAX_FEATURES: usize = 1 << 22;
/// The most parameters a network may have: 1 GiB of them.
pub const MAX_PARAMETERS: usize = 1 << 28;

/// A layer spec that was read: a list of [`Token`]s, not yet a network, for it has no input shape.
///
/// Its `Display` is the shortest spelling, with defaults left out; it parses to an equal spec.
///
/// ```
/// use byhand_models::Spec;
/// use byhand_layers::Shape;
///
/// let spec = Spec::parse("conv(8, kernel=3, stride=1x1) pool(2) dense(10)")?;
/// assert_eq!(spec.to_string(), "conv(8,3) pool(2) dense(10)");
///
/// let network = spec.build::<f32>(Shape { c: 1, h: 28, w: 28 })?;
/// assert_eq!(network.param_len(), 8 * 9 + 8 + 1352 * 10 + 10);
/// # Ok::<(), byhand_models::SpecError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Spec {
    text: String,
    tokens: Vec<Token>,
}

/// One layer of a [`Spec`].
#[derive(Debug, Clone)]
pub struct Token {
    name: &'static str,
    /// One value a parameter of the kind, in its order, defaults filled in.
    values: Vec<Value>,
    at: Range<usize>,
}

impl Spec {
    /// Reads a spec.
    ///
    /// # Errors
    /// Points at the first thing that cannot be read.
    ///
    /// ```
    /// let error = byhand_models::Spec::parse("conv(8,5) rleu pool(2)").unwrap_err();
    /// let expected = "layer spec, byte 10, \"rleu\": no layer has this name; did you mean \"relu\"? (conv, pool, ";
    /// assert!(error.to_string().starts_with(expected));
    /// assert!(error.diagram().starts_with("conv(8,5) rleu pool(2)\n          ^^^^\n"));
    /// ```
    pub fn parse(text: &str) -> Result<Self, SpecError> {
        let tokens = parse::tokens(text)?;
        Ok(Self { text: text.to_owned(), tokens })
    }

    /// The layers as they were written, without the flattens that [`build`](Self::build) puts in.
    pub fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    /// The number of classes: the outputs of the last dense layer, `None` without one.
    pub fn classes(&self) -> Option<usize> {
        self.tokens
            .iter()
            .rev()
            .find(|token| token.name == CLASSIFIER)
            .map(|token| token.arguments().count("outputs"))
    }

    /// The same network for another number of classes: the last dense layer gets that many outputs.
    ///
    /// # Errors
    /// When no layer is dense, or the number is out of range.
    pub fn with_classes(&self, classes: usize) -> Result<Self, SpecError> {
        let Some(index) = self.tokens.iter().rposition(|token| token.name == CLASSIFIER) else {
            return Err(self.error(Problem::NoClassifier { classes }, 0..self.text.len()));
        };
        let mut spec = self.clone();
        let outputs = spec.tokens[index].parameter("outputs");
        spec.tokens[index].values[outputs] = Value::Count(classes);
        // Read again, so that the places belong to the text and the number is checked.
        spec.to_string().parse()
    }

    /// Makes the network for inputs of this shape, its parameters not yet given values.
    ///
    /// # Errors
    /// When a layer does not fit on what the layers before it give (a pool larger than its input), pointing at the
    /// layer; when the input or a layer is larger than [`MAX_FEATURES`], or the network than [`MAX_PARAMETERS`].
    pub fn build<T: Scalar>(&self, input: Shape) -> Result<Network<T>, SpecError> {
        let whole = 0..self.text.len();
        self.check_size(input, "the input", &whole)?;
        let mut layers: Vec<Box<dyn Layer<T>>> = Vec::new();
        let mut shape = input;
        let mut is_image = (input.h, input.w) != (1, 1);
        let mut parameters = 0;
        for token in &self.tokens {
            let kind = token.kind::<T>();
            if kind.role == Role::Features && is_image {
                layers.push(Box::new(Flatten::new(shape)));
                shape = layers[layers.len() - 1].output();
            }
            let layer = (kind.build)(shape, &token.arguments())
                .map_err(|error| self.error(Problem::Layer(error), token.at.clone()))?;
            shape = layer.output();
            self.check_size(shape, "its output", &token.at)?;
            parameters += layer.params().iter().map(|tensor| elements(&tensor.shape)).sum::<u128>();
            if parameters > MAX_PARAMETERS as u128 {
                return Err(self.error(Problem::TooManyParameters { found: parameters }, token.at.clone()));
            }
            layers.push(layer);
            is_image = match kind.role {
                Role::Image => true,
                Role::Elementwise => is_image,
                Role::Flatten | Role::Features => false,
            };
        }
        Network::new(layers).map_err(|error| self.error(Problem::Layer(error), whole))
    }

    fn check_size(&self, shape: Shape, what: &'static str, at: &Range<usize>) -> Result<(), SpecError> {
        let found = elements(&[shape.c, shape.h, shape.w]);
        if found == 0 || found > MAX_FEATURES as u128 {
            return Err(self.error(Problem::Size { what, shape: shape.to_string(), found }, at.clone()));
        }
        Ok(())
    }

    fn error(&self, problem: Problem, at: Range<usize>) -> SpecError {
        SpecError::new(problem, &self.text, at)
    }
}

impl Token {
    /// The layer's word.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The bytes of the spec's text it was read from.
    pub fn at(&self) -> Range<usize> {
        self.at.clone()
    }

    /// The values of its parameters.
    pub fn arguments(&self) -> Arguments<'_> {
        Arguments { parameters: self.kind::<f32>().parameters, values: &self.values }
    }

    fn kind<T: Scalar>(&self) -> &'static LayerKind<T> {
        LayerKind::find(self.name).expect("a token's name is a row of the table")
    }

    fn parameter(&self, name: &str) -> usize {
        let parameters = self.kind::<f32>().parameters;
        parameters.iter().position(|parameter| parameter.name == name).expect("a parameter of the row")
    }
}

/// The shortest spelling.
impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, token) in self.tokens.iter().enumerate() {
            let blank = if index == 0 { "" } else { " " };
            write!(f, "{blank}{token}")?;
        }
        Ok(())
    }
}

/// The shortest spelling: required values in their order, then those that are not the default, by name.
impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Vec::new();
        for (parameter, value) in self.kind::<f32>().parameters.iter().zip(&self.values) {
            let default = match parameter.default {
                DefaultValue::Required => {
                    words.push(value.to_string());
                    continue;
                }
                DefaultValue::Is(value) => value,
                DefaultValue::SameAs(other) => self.values[self.parameter(other)],
            };
            if *value != default {
                words.push(format!("{}={value}", parameter.name));
            }
        }
        f.write_str(self.name)?;
        if words.is_empty() { Ok(()) } else { write!(f, "({})", words.join(",")) }
    }
}

impl FromStr for Spec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        Self::parse(text)
    }
}

/// Equal when the same layers are asked for, however they are spelt.
impl PartialEq for Spec {
    fn eq(&self, other: &Self) -> bool {
        self.tokens == other.tokens
    }
}

/// Equal when the same layer is asked for, wherever it stands and however it is spelt.
impl PartialEq for Token {
    fn eq(&self, other: &Self) -> bool {
        (self.name, &self.values) == (other.name, &other.values)
    }
}

/// The layer whose outputs are the classes.
const CLASSIFIER: &str = "dense";

/// The product, without overflow: five factors of a `usize` at most matter here, and the bounds stop far earlier.
fn elements(shape: &[usize]) -> u128 {
    shape.iter().fold(1, |product: u128, &n| product.saturating_mul(n as u128))
}
