//! The layer-spec grammar: text to tokens to a network, and back.
//!
//! ```text
//! spec      = { blank } layer { blank { blank } layer } { blank }
//! layer     = name [ "(" [ argument { "," argument } ] ")" ] | name "(" spec { "|" spec } ")"
//! argument  = [ parameter "=" ] value         without a name: the parameters in their order
//! value     = whole number | HEIGHTxWIDTH | TOPxLEFTxBOTTOMxRIGHT | word | fraction
//! ```
//!
//! The names and their parameters are the rows of [`LayerKind::ALL`]; those whose parentheses hold the layers of branches are the rows of
//! [`BranchKind::ALL`]. A dense layer after an image gets a flatten
//! before it, so that a layer's index is the one PyTorch's `nn.Sequential` gives it:
//! `conv(8,3) pool(2) dense(10)` is `Conv2d, MaxPool2d, Flatten, Linear`, with the parameters `0.weight`, `0.bias`,
//! `3.weight`, `3.bias`.

mod error;
mod parse;

use std::fmt;
use std::ops::Range;
use std::str::FromStr;
use std::sync::Arc;

use byhand_layers::{Chain, Flatten, Layer, LayerError, Network, Scalar, Shape};

use crate::branches::BranchKind;
use crate::kinds::{Arguments, DefaultValue, LayerKind, Parameter, Role, Value};

pub use error::{Problem, SpecError};
pub(crate) use error::{hint, nearest};

/// The most layers a spec may have.
pub const MAX_LAYERS: usize = 1000;
/// The most branches that may be inside of each other.
pub const MAX_DEPTH: usize = 16;
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
    branches: Vec<Vec<Token>>,
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
        let mut made = Made { shape: input, is_image: (input.h, input.w) != (1, 1), layers: Vec::new() };
        self.add_layers(&self.tokens, &mut made, &mut 0)?;
        Network::new(made.layers).map_err(|error| self.error(Problem::Layer(error), whole))
    }

    /// Makes layers; `parameters` are those of all so far.
    fn add_layers<T: Scalar>(
        &self,
        tokens: &[Token],
        made: &mut Made<T>,
        parameters: &mut u128,
    ) -> Result<(), SpecError> {
        for token in tokens {
            let refused = |error| self.error(Problem::Layer(error), token.at.clone());
            let layer: Box<dyn Layer<T>> = if let Some(kind) = BranchKind::find(token.name) {
                let chains = self.branches(token, made, parameters)?;
                Box::new((kind.build)(chains).map_err(refused)?)
            } else {
                let kind = LayerKind::find(token.name).expect("a token's name is a row of a table");
                if kind.role == Role::Features && made.is_image {
                    made.push(Box::new(Flatten::new(made.shape)));
                }
                let layer = (kind.build)(made.shape, &token.arguments()).map_err(refused)?;
                made.is_image = match kind.role {
                    Role::Image => true,
                    Role::Elementwise => made.is_image,
                    Role::Flatten | Role::Features => false,
                };
                *parameters += layer.params().iter().map(|tensor| elements(&tensor.shape)).sum::<u128>();
                layer
            };
            self.check_size(layer.output(), "its output", &token.at)?;
            if *parameters > MAX_PARAMETERS as u128 {
                return Err(self.error(Problem::TooManyParameters { found: *parameters }, token.at.clone()));
            }
            made.push(layer);
        }
        Ok(())
    }

    /// The branches of a layer on what was made before it; whether they give images is noted there.
    fn branches<T: Scalar>(
        &self,
        token: &Token,
        before: &mut Made<T>,
        parameters: &mut u128,
    ) -> Result<Vec<Chain<dyn Layer<T>>>, SpecError> {
        let (shape, is_image) = (before.shape, before.is_image);
        let mut chains = Vec::new();
        for (branch, tokens) in token.branches.iter().enumerate() {
            let mut made = Made { shape, is_image, layers: Vec::new() };
            self.add_layers(tokens, &mut made, parameters)?;
            if branch == 0 {
                before.is_image = made.is_image;
            }
            let name = |is_image| if is_image { "an image" } else { "features" };
            if made.is_image != before.is_image {
                let expected = format!(
                    "{}, as the first does (flatten makes features of an image)",
                    name(before.is_image)
                );
                let (found, layer) = (name(made.is_image).to_owned(), token.name);
                let error = LayerError::Branches { layer, branch: branch + 1, expected, found };
                return Err(self.error(Problem::Layer(error), token.at.clone()));
            }
            let layers = made.layers.into_iter().map(Arc::from).collect();
            chains.push(
                Chain::new(shape, layers)
                    .map_err(|error| self.error(Problem::Layer(error), token.at.clone()))?,
            );
        }
        Ok(chains)
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

/// Layers, and what they give.
struct Made<T: Scalar> {
    shape: Shape,
    is_image: bool,
    layers: Vec<Box<dyn Layer<T>>>,
}

impl<T: Scalar> Made<T> {
    fn push(&mut self, layer: Box<dyn Layer<T>>) {
        self.shape = layer.output();
        self.layers.push(layer);
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
        Arguments { parameters: self.parameters(), values: &self.values }
    }

    /// The layers of its branches, if it has such.
    pub fn branches(&self) -> &[Vec<Token>] {
        &self.branches
    }

    fn parameters(&self) -> &'static [Parameter] {
        LayerKind::<f32>::find(self.name).map_or(&[], |kind| kind.parameters)
    }

    fn parameter(&self, name: &str) -> usize {
        self.parameters().iter().position(|parameter| parameter.name == name).expect("a parameter of the row")
    }
}

/// The shortest spelling.
impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&spelt(&self.tokens))
    }
}

/// The shortest spelling: required values in their order, then those that are not the default, by name.
impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.branches.is_empty() {
            let branches: Vec<String> = self.branches.iter().map(|branch| spelt(branch)).collect();
            return write!(f, "{}({})", self.name, branches.join(" | "));
        }
        let mut words = Vec::new();
        for (parameter, value) in self.parameters().iter().zip(&self.values) {
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
        (self.name, &self.values, &self.branches) == (other.name, &other.values, &other.branches)
    }
}

fn spelt(layers: &[Token]) -> String {
    layers.iter().map(Token::to_string).collect::<Vec<_>>().join(" ")
}

/// The layer whose outputs are the classes.
const CLASSIFIER: &str = "dense";

/// The product, without overflow: five factors of a `usize` at most matter here, and the bounds stop far earlier.
fn elements(shape: &[usize]) -> u128 {
    shape.iter().fold(1, |product: u128, &n| product.saturating_mul(n as u128))
}
