//! `name(key=value, ...)`: how optimisers and schedules are written on a command line and in a configuration.

use std::fmt;
use std::str::FromStr;

use crate::error::{SpecError, TrainerError};

/// A parsed `name(key=value, ...)`. The keys taken out by [`Call::number`] and the like are known; what is left at
/// [`Call::finish`] is an error.
pub(crate) struct Call<'a> {
    text: &'a str,
    name: &'a str,
    arguments: Vec<(&'a str, Option<&'a str>)>,
    known: Vec<&'static str>,
}

/// What may be written for a key.
pub(crate) trait Number: FromStr {
    const KIND: &'static str;
}

impl Number for f64 {
    const KIND: &'static str = "a number";
}

impl Number for u64 {
    const KIND: &'static str = "a whole number of at least 0";
}

impl<'a> Call<'a> {
    pub(crate) fn parse(text: &'a str) -> Result<Call<'a>, SpecError> {
        let text = text.trim();
        let (name, inside) = match text.split_once('(') {
            None => (text, ""),
            Some((name, rest)) => match rest.strip_suffix(')') {
                Some(inside) => (name.trim(), inside),
                None => return Err(SpecError::new(text, "expected a closing parenthesis at the end")),
            },
        };
        let mut arguments = Vec::new();
        for argument in inside.split(',').map(str::trim).filter(|a| !a.is_empty()) {
            let (key, value) = match argument.split_once('=') {
                Some((key, value)) => (key.trim(), Some(value.trim())),
                None => (argument, None),
            };
            if arguments.iter().any(|&(k, _)| k == key) {
                return Err(SpecError::new(text, format!("`{key}` is given twice")));
            }
            arguments.push((key, value));
        }
        Ok(Call { text, name, arguments, known: Vec::new() })
    }

    pub(crate) fn name(&self) -> &'a str {
        self.name
    }

    /// The number given for `key`, or `default`. Its range is for [`Call::finish`] to check.
    pub(crate) fn number<N: Number>(&mut self, key: &'static str, default: N) -> Result<N, SpecError> {
        let Some(value) = self.take(key) else { return Ok(default) };
        let value = value.unwrap_or("nothing");
        value.parse().map_err(|_| self.error(format!("expected `{key}` to be {}, found {value}", N::KIND)))
    }

    /// Whether `key` is set: `key`, `key=true` or `key=false`; absent means false.
    pub(crate) fn flag(&mut self, key: &'static str) -> Result<bool, SpecError> {
        match self.take(key) {
            None | Some(Some("false")) => Ok(false),
            Some(None | Some("true")) => Ok(true),
            Some(Some(value)) => {
                Err(self.error(format!("expected `{key}` to be true or false, found {value}")))
            }
        }
    }

    /// Ends the parse: no argument may be left, and what was made of them must be `valid`.
    pub(crate) fn finish(self, valid: Result<(), TrainerError>) -> Result<(), SpecError> {
        match self.arguments.first() {
            None => valid.map_err(|error| match error {
                TrainerError::Setting { setting, expected, found } => {
                    self.error(format!("expected `{setting}` to be {expected}, found {found}"))
                }
                other => self.error(other.to_string()),
            }),
            Some((key, _)) if self.known.is_empty() => {
                Err(self.error(format!("`{}` takes no argument, found `{key}`", self.name)))
            }
            Some((key, _)) => {
                Err(self.error(format!("expected one of {}, found `{key}`", self.known.join(", "))))
            }
        }
    }

    pub(crate) fn unknown_name(&self, names: &str) -> SpecError {
        self.error(format!("expected one of {names}, found `{}`", self.name))
    }

    pub(crate) fn error(&self, problem: impl Into<String>) -> SpecError {
        SpecError::new(self.text, problem)
    }

    fn take(&mut self, key: &'static str) -> Option<Option<&'a str>> {
        self.known.push(key);
        let at = self.arguments.iter().position(|&(k, _)| k == key)?;
        Some(self.arguments.remove(at).1)
    }
}

/// That `number` is in its range, which is `expected` in words.
pub(crate) fn check(
    setting: &'static str,
    number: f64,
    valid: impl FnOnce(f64) -> bool,
    expected: &str,
) -> Result<(), TrainerError> {
    if valid(number) { Ok(()) } else { Err(TrainerError::setting(setting, expected, number.to_string())) }
}

/// The same of a share that may not be the whole.
pub(crate) fn check_share(setting: &'static str, number: f64) -> Result<(), TrainerError> {
    check(setting, number, |v| (0.0..1.0).contains(&v), "at least 0 and below 1")
}

/// The same of a number that may not be below 0.
pub(crate) fn check_weight(setting: &'static str, number: f64) -> Result<(), TrainerError> {
    check(setting, number, |v| v >= 0.0 && v.is_finite(), "a number of at least 0")
}

/// Writes `name` or `name(a,b,...)`.
pub(crate) fn write_call(f: &mut fmt::Formatter<'_>, name: &str, arguments: &[String]) -> fmt::Result {
    match arguments {
        [] => f.write_str(name),
        _ => write!(f, "{name}({})", arguments.join(",")),
    }
}
