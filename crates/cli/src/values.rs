//! How the values of options are read.

use std::{
    num::NonZeroUsize,
    path::{self, PathBuf},
};

use byhand_datasets::Data;
use clap::builder::{OsStringValueParser, PathBufValueParser, TypedValueParser};

/// Reads `--data`. A folder need not have a name in UTF-8.
pub fn data_option() -> impl TypedValueParser<Value = Data> {
    OsStringValueParser::new().try_map(|text| Data::from_os(&text))
}

/// Reads a folder, as a path that holds in every working folder.
pub fn folder_option() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(path::absolute)
}

/// Reads a seed. TOML's whole numbers end where `i64` does.
pub fn seed_option() -> impl TypedValueParser<Value = u64> {
    clap::value_parser!(u64).range(..=i64::MAX as u64)
}

/// Reads a number of things that cannot be none. TOML's whole numbers end where `i64` does.
pub fn at_least_one(text: &str) -> Result<NonZeroUsize, String> {
    let number = text.parse().ok().filter(|&n| i64::try_from(n).is_ok()).and_then(NonZeroUsize::new);
    number.ok_or_else(|| format!("expected a whole number of at least 1, found {text}"))
}

/// Reads a number of things that may be none.
pub fn at_least_zero(text: &str) -> Result<usize, String> {
    if text == "0" { Ok(0) } else { at_least_one(text).map(NonZeroUsize::get) }
}
