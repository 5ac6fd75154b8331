//! From text to tokens.

use std::ops::Range;

use super::error::{Problem, SpecError, names, nearest};
use super::{MAX_DEPTH, MAX_LAYERS, Token};
use crate::branches::BranchKind;
use crate::kinds::{DefaultValue, LayerKind, Value};

/// Reads all layers of a spec.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, SpecError> {
    let (tokens, _) = Parser { text, layers: 0 }.chain(0, 0)?;
    if tokens.is_empty() {
        return Err(SpecError::new(Problem::Empty, text, 0..text.len()));
    }
    Ok(tokens)
}

/// What stands after the last layer of a branch.
const ENDS: [char; 2] = ['|', ')'];

struct Parser<'a> {
    text: &'a str,
    /// Layers read so far, in branches too.
    layers: usize,
}

impl Parser<'_> {
    /// Reads layers from byte `start` on, up to the end of the text or, inside of `depth` branches, of the branch; and says where that is.
    fn chain(&mut self, start: usize, depth: usize) -> Result<(Vec<Token>, usize), SpecError> {
        let text = self.text;
        let is_end = |at: usize| at == text.len() || (depth > 0 && text[at..].starts_with(ENDS));
        let mut tokens = Vec::new();
        let mut at = skip(text, start, char::is_whitespace);
        while !is_end(at) {
            let token = self.token(at, depth)?;
            if self.layers == MAX_LAYERS {
                return Err(SpecError::new(Problem::TooManyLayers, text, token.at));
            }
            self.layers += 1;
            at = skip(text, token.at.end, char::is_whitespace);
            if at == token.at.end && !is_end(at) {
                return Err(unexpected(text, at, "a blank between two layers"));
            }
            tokens.push(token);
        }
        Ok((tokens, at))
    }

    /// Reads the layer that begins at byte `start`.
    fn token(&mut self, start: usize, depth: usize) -> Result<Token, SpecError> {
        let text = self.text;
        let name_end = skip(text, start, |c| !c.is_whitespace() && !"(),=|".contains(c));
        let name = &text[start..name_end];
        if name.is_empty() && text[start..].starts_with('|') {
            let expected =
                "the name of a layer; \"|\" stands between the branches of residual(...) and concat(...)";
            return Err(unexpected(text, start, expected));
        }
        if name.is_empty() {
            return Err(unexpected(text, start, "the name of a layer"));
        }
        if let Some(kind) = BranchKind::<f32>::find(name) {
            return self.branches(kind, start..name_end, depth + 1);
        }
        let Some(kind) = LayerKind::<f32>::find(name) else {
            let nearest = nearest(name, names());
            return Err(SpecError::new(Problem::UnknownLayer { nearest }, text, start..name_end));
        };
        if !text[name_end..].starts_with('(') {
            let values = values(kind, text, start..name_end, &[])?;
            return Ok(Token { name: kind.name, values, branches: Vec::new(), at: start..name_end });
        }
        let close = skip(text, name_end + 1, |c| !"()".contains(c));
        if !text[close..].starts_with(')') {
            let expected = "\")\" after the arguments";
            return Err(SpecError::new(Problem::Unexpected { expected }, text, start..close));
        }
        let at = start..close + 1;
        let values = values(kind, text, at.clone(), &split(text, name_end + 1..close))?;
        Ok(Token { name: kind.name, values, branches: Vec::new(), at })
    }

    /// Reads the branches behind the word at `name`.
    fn branches(
        &mut self,
        kind: &'static BranchKind<f32>,
        name: Range<usize>,
        depth: usize,
    ) -> Result<Token, SpecError> {
        let (text, start) = (self.text, name.start);
        let problem = |found| Problem::Branches { layer: kind.name, found };
        if depth > MAX_DEPTH {
            return Err(SpecError::new(Problem::TooDeep, text, name));
        }
        if !text[name.end..].starts_with('(') {
            return Err(SpecError::new(problem(0), text, name));
        }
        let (mut branches, mut end) = (Vec::new(), name.end);
        while !text[end..].starts_with(')') {
            let from = end + 1;
            let (chain, to) = self.chain(from, depth)?;
            if to == text.len() {
                let expected = "\")\" after the branches";
                return Err(SpecError::new(Problem::Unexpected { expected }, text, start..to));
            }
            if chain.is_empty() {
                return Err(SpecError::new(
                    Problem::EmptyBranch { layer: kind.name },
                    text,
                    from - 1..to + 1,
                ));
            }
            branches.push(chain);
            end = to;
        }
        let at = start..end + 1;
        if !(kind.least..=kind.most).contains(&branches.len()) {
            return Err(SpecError::new(problem(branches.len()), text, at));
        }
        Ok(Token { name: kind.name, values: Vec::new(), branches, at })
    }
}

/// The values of all parameters of a layer, in their order.
fn values(
    kind: &'static LayerKind<f32>,
    text: &str,
    layer_at: Range<usize>,
    arguments: &[Range<usize>],
) -> Result<Vec<Value>, SpecError> {
    let layer = kind.name;
    let mut given: Vec<Option<Value>> = vec![None; kind.parameters.len()];
    let mut named = false;
    for (position, at) in arguments.iter().enumerate() {
        let error = |problem, at: &Range<usize>| SpecError::new(problem, text, at.clone());
        let (index, value_at) = match text[at.clone()].find('=') {
            Some(equals) => {
                named = true;
                let name_at = trim(text, at.start..at.start + equals);
                let name = &text[name_at.clone()];
                let Some(index) = kind.parameters.iter().position(|parameter| parameter.name == name) else {
                    let nearest = nearest(name, kind.parameters.iter().map(|parameter| parameter.name));
                    return Err(error(Problem::UnknownParameter { layer, nearest }, &name_at));
                };
                (index, trim(text, at.start + equals + 1..at.end))
            }
            None if named => return Err(error(Problem::Positional { layer }, at)),
            None if position >= kind.parameters.len() => {
                return Err(error(Problem::TooManyArguments { layer }, at));
            }
            None => (position, at.clone()),
        };
        let parameter = &kind.parameters[index];
        if given[index].is_some() {
            return Err(error(Problem::Twice { layer, parameter: parameter.name }, at));
        }
        let Some(value) = parameter.form.read(&text[value_at]) else {
            let expected = parameter.form.to_string();
            return Err(error(Problem::Value { layer, parameter: parameter.name, expected }, at));
        };
        given[index] = Some(value);
    }
    let mut values: Vec<Value> = Vec::with_capacity(given.len());
    for (parameter, value) in kind.parameters.iter().zip(given) {
        let value = match (value, parameter.default) {
            (Some(value), _) | (None, DefaultValue::Is(value)) => value,
            (None, DefaultValue::SameAs(other)) => {
                let index = kind.parameters.iter().position(|earlier| earlier.name == other);
                values[index.expect("a default names a parameter before it")]
            }
            (None, DefaultValue::Required) => {
                return Err(SpecError::new(
                    Problem::Missing { layer, parameter: parameter.name },
                    text,
                    layer_at,
                ));
            }
        };
        values.push(value);
    }
    Ok(values)
}

/// The places of the arguments between the parentheses, blanks around them left out.
fn split(text: &str, inside: Range<usize>) -> Vec<Range<usize>> {
    if text[inside.clone()].trim().is_empty() {
        return Vec::new();
    }
    let mut start = inside.start;
    let mut arguments = Vec::new();
    for piece in text[inside].split(',') {
        arguments.push(trim(text, start..start + piece.len()));
        start += piece.len() + 1;
    }
    arguments
}

/// The place without the blanks at its two ends.
fn trim(text: &str, at: Range<usize>) -> Range<usize> {
    let piece = &text[at.clone()];
    let start = at.start + (piece.len() - piece.trim_start().len());
    start..start + piece.trim().len()
}

/// The first byte at or after `at` whose character is not `of_this`.
fn skip(text: &str, at: usize, of_this: impl Fn(char) -> bool) -> usize {
    text[at..].find(|c| !of_this(c)).map_or(text.len(), |found| at + found)
}

/// The character at `at` is not `expected`.
fn unexpected(text: &str, at: usize, expected: &'static str) -> SpecError {
    let end = at + text[at..].chars().next().map_or(0, char::len_utf8);
    SpecError::new(Problem::Unexpected { expected }, text, at..end)
}
