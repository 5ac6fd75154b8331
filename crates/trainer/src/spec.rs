//! `name(key=value, ...)`: how optimisers and schedules are written on a command line and in a configuration.

use std::fmt;

use crate::error::SpecError;

/// A parsed `name(key=value, ...)`. The keys taken out by [`Call::number`] and the like are known; what is left at
/// [`Call::finish`] is an error.
pub(crate) struct Call<'a> {
    text: &'a str,
    name: &'a str,
    arguments: Vec<(&'a str, Option<&'a str>)>,
    known: Vec<&'static str>,
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

    /// The number given for `key`, or `default`; it must satisfy `valid`, described by `expected`.
    pub(crate) fn number(
        &mut self,
        key: &'static str,
        default: f64,
        valid: impl Fn(f64) -> bool,
        expected: &str,
    ) -> Result<f64, SpecError> {
        match self.take(key) {
            None => Ok(default),
            Some(value) => {
                let value = value.unwrap_or("nothing");
                match value.parse::<f64>() {
                    Ok(number) if valid(number) => Ok(number),
                    _ => Err(self.error(format!("expected `{key}` to be {expected}, found {value}"))),
                }
            }
        }
    }

    /// The whole number given for `key`, or `default`; at least `least`.
    pub(crate) fn count(&mut self, key: &'static str, default: u64, least: u64) -> Result<u64, SpecError> {
        match self.take(key) {
            None => Ok(default),
            Some(value) => {
                let value = value.unwrap_or("nothing");
                match value.parse::<u64>() {
                    Ok(number) if number >= least => Ok(number),
                    _ => Err(self.error(format!(
                        "expected `{key}` to be a whole number of at least {least}, found {value}"
                    ))),
                }
            }
        }
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

    /// Ends the parse: no argument may be left.
    pub(crate) fn finish(self) -> Result<(), SpecError> {
        match self.arguments.first() {
            None => Ok(()),
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

/// Writes `name` or `name(a,b,...)`.
pub(crate) fn write_call(f: &mut fmt::Formatter<'_>, name: &str, arguments: &[String]) -> fmt::Result {
    match arguments {
        [] => f.write_str(name),
        _ => write!(f, "{name}({})", arguments.join(",")),
    }
}
