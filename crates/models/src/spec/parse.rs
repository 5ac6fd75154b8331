//! From text to tokens.

use std::ops::Range;

use super::error::{Problem, SpecError, nearest};
use super::{MAX_LAYERS, Token};
use crate::kinds::{DefaultValue, LayerKind, Value};

/// Reads all layers of a spec.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, SpecError> {
    let mut tokens = Vec::new();
    let mut at = skip(text, 0, char::is_whitespace);
    while at < text.len() {
        let token = token(text, at)?;
        if tokens.len() == MAX_LAYERS {
            return Err(SpecError::new(Problem::TooManyLayers, text, token.at));
        }
        at = skip(text, token.at.end, char::is_whitespace);
        if at == token.at.end && at < text.len() {
            return Err(unexpected(text, at, "a blank between two layers"));
        }
        tokens.push(token);
    }
    if tokens.is_empty() {
        return Err(SpecError::new(Problem::Empty, text, 0..text.len()));
    }
    Ok(tokens)
}

/// Reads the layer that begins at byte `start`.
fn token(text: &str, start: usize) -> Result<Token, SpecError> {
    let name_end = skip(text, start, |c| !c.is_whitespace() && !"(),=".contains(c));
    let name = &text[start..name_end];
    if name.is_empty() {
        return Err(unexpected(text, start, "the name of a layer"));
    }
    let Some(kind) = LayerKind::<f32>::find(name) else {
        let nearest = nearest(name, LayerKind::<f32>::ALL.iter().map(|kind| kind.name));
        return Err(SpecError::new(Problem::UnknownLayer { nearest }, text, start..name_end));
    };
    if !text[name_end..].starts_with('(') {
        let values = values(kind, text, start..name_end, &[])?;
        return Ok(Token { name: kind.name, values, at: start..name_end });
    }
    let close = skip(text, name_end + 1, |c| !"()".contains(c));
    if !text[close..].starts_with(')') {
        return Err(SpecError::new(
            Problem::Unexpected { expected: "\")\" after the arguments" },
            text,
            start..close,
        ));
    }
    let at = start..close + 1;
    let values = values(kind, text, at.clone(), &split(text, name_end + 1..close))?;
    Ok(Token { name: kind.name, values, at })
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
