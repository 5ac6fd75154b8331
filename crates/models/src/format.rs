//! What a model file holds besides tensors: numbers of the format, and the metadata as they are stored.

use std::collections::BTreeMap;

use byhand_datasets::{Crop, Normalize, Preprocessing};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The version of the metadata that this program writes and reads.
pub const FORMAT: u32 = 1;
/// The longest header that is written or read, in bytes.
pub const MAX_HEADER: u64 = 4 << 20;

/// The key of the header's metadata.
pub(crate) const KEY: &str = "byhand";
/// The bytes before the header, which hold its length.
pub(crate) const LENGTH: usize = 8;

/// What lies under [`KEY`].
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Envelope<'a> {
    pub(crate) sha256: String,
    #[serde(borrow)]
    pub(crate) model: &'a RawValue,
}

/// The text of [`Envelope::model`].
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Description {
    pub(crate) format: u32,
    pub(crate) layers: String,
    pub(crate) input: String,
    pub(crate) classes: Vec<String>,
    pub(crate) preprocessing: StoredPreprocessing,
    pub(crate) notes: BTreeMap<String, String>,
    pub(crate) weights_sha256: String,
    pub(crate) tensors: BTreeMap<String, String>,
}

/// [`Preprocessing`] as it is stored.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StoredPreprocessing {
    pub(crate) scale: f32,
    pub(crate) shift: f32,
    pub(crate) halve: bool,
    pub(crate) crop: Option<StoredCrop>,
}

/// [`Crop`] as it is stored.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StoredCrop {
    pub(crate) y: i32,
    pub(crate) x: i32,
    pub(crate) h: usize,
    pub(crate) w: usize,
}

impl From<Preprocessing> for StoredPreprocessing {
    fn from(preprocessing: Preprocessing) -> Self {
        let Preprocessing { normalize: Normalize { scale, shift }, halve, crop } = preprocessing;
        Self { scale, shift, halve, crop: crop.map(|Crop { y, x, h, w }| StoredCrop { y, x, h, w }) }
    }
}

impl From<StoredPreprocessing> for Preprocessing {
    fn from(stored: StoredPreprocessing) -> Self {
        let StoredPreprocessing { scale, shift, halve, crop } = stored;
        let crop = crop.map(|StoredCrop { y, x, h, w }| Crop { y, x, h, w });
        Self { normalize: Normalize { scale, shift }, halve, crop }
    }
}

/// As much of a [`Description`] as any version has.
#[derive(Deserialize)]
pub(crate) struct Version {
    pub(crate) format: u32,
}
