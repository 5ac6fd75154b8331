//! How folders, data, and what has a text of its own stand in TOML: for `#[serde(with = ...)]`.

/// A folder as its path, which need not be UTF-8.
pub mod folder {
    use std::path::PathBuf;

    use byhand_datasets::source::{path_of, path_text};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(folder: &Option<PathBuf>, to: S) -> Result<S::Ok, S::Error> {
        folder.as_deref().map(path_text).serialize(to)
    }

    pub fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<Option<PathBuf>, D::Error> {
        Ok(Option::<String>::deserialize(from)?.map(|text| path_of(&text)))
    }
}

/// Data as [`text`], but the folder of a configuration need not be there: another one may be asked for.
pub mod data {
    use byhand_datasets::{Data, source::path_of};
    use serde::{Deserialize, Deserializer};

    pub use super::text::serialize;

    pub fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<Option<Data>, D::Error> {
        required::deserialize(from).map(Some)
    }

    pub mod required {
        use super::*;
        pub use crate::as_text::text::required::serialize;

        pub fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<Data, D::Error> {
            let text = String::deserialize(from)?;
            Ok(text.parse().unwrap_or_else(|_| Data::Folder(path_of(&text))))
        }
    }
}

/// Writes a value as its text and reads it back: how a spec, an optimiser or a schedule stands in TOML.
pub mod text {
    use std::{fmt::Display, str::FromStr};

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<T: Display, S: Serializer>(value: &Option<T>, to: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => to.serialize_some(&value.to_string()),
            None => to.serialize_none(),
        }
    }

    pub fn deserialize<'a, T: FromStr<Err: Display>, D: Deserializer<'a>>(
        from: D,
    ) -> Result<Option<T>, D::Error> {
        required::deserialize(from).map(Some)
    }

    pub mod required {
        use super::*;

        pub fn serialize<T: Display, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
            to.collect_str(value)
        }

        pub fn deserialize<'a, T: FromStr<Err: Display>, D: Deserializer<'a>>(
            from: D,
        ) -> Result<T, D::Error> {
            String::deserialize(from)?.parse().map_err(D::Error::custom)
        }
    }
}
