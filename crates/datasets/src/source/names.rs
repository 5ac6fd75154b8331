//! The names of classes in a file of their own, one a line.

use std::collections::HashMap;
use std::fs;
use std::io::{ErrorKind, Read};
use std::path::Path;

use super::open;
use crate::dataset::MAX_CLASSES;
use crate::error::Error;

/// The lines of a file, if it is there: each a name of its own.
pub(super) fn class_lines(path: &Path) -> Result<Option<Vec<String>>, Error> {
    const LIMIT: u64 = 1 << 20;
    let shown = path.display().to_string();
    let fail = |line: usize, expected: &str, found: String| {
        Err(Error::Line { file: shown.clone(), line, expected: expected.into(), found })
    };
    let mut bytes = Vec::new();
    match fs::metadata(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io(shown, "read", e)),
        Ok(metadata) if metadata.is_dir() => {
            return fail(1, "a file with the name of a class on each line", "a folder".into());
        }
        Ok(_) => open(path)?.take(LIMIT + 1).read_to_end(&mut bytes),
    }
    .map_err(|e| Error::io(path.display().to_string(), "read", e))?;
    if bytes.len() as u64 > LIMIT {
        return fail(1, &format!("names of at most {LIMIT} bytes in all"), "a longer file".into());
    }
    let text = match std::str::from_utf8(&bytes) {
        Ok(text) => text.trim_start_matches('\u{feff}').trim_end(),
        Err(e) => {
            let line = bytes[..e.valid_up_to()].iter().filter(|&&byte| byte == b'\n').count() + 1;
            return fail(line, "text in UTF-8", "other bytes: save the file as UTF-8".into());
        }
    };
    let names: Vec<String> = text.lines().map(|line| line.trim().to_string()).collect();
    if names.is_empty() {
        return fail(1, "the name of a class on each line", "an empty file".into());
    }
    let mut seen = HashMap::new();
    for (i, name) in names.iter().enumerate() {
        if name.is_empty() {
            return fail(i + 1, "the name of a class", "an empty line".into());
        }
        if i == MAX_CLASSES {
            return fail(i + 1, &format!("at most {MAX_CLASSES} names"), format!("{} names", names.len()));
        }
        if let Some(other) = seen.insert(name, i + 1) {
            let found = format!("\"{name}\", which stands in line {other} too");
            return fail(i + 1, "a name of its own for each class", found);
        }
    }
    Ok(Some(names))
}
