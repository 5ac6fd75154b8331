//! Presets: an experiment as data, one TOML file a system.

use std::{fmt::Display, fs, path::Path, str::FromStr};

use anyhow::{Context, Result};
use byhand_layers::{Shape, init::Init};
use byhand_models::Spec;
use serde::{Deserialize, Deserializer};

use crate::exit::usage;

/// The systems of the notebooks, by name.
pub const PRESETS: [(&str, &str); 8] = [
    ("A", include_str!("presets/A.toml")),
    ("B1", include_str!("presets/B1.toml")),
    ("B2", include_str!("presets/B2.toml")),
    ("B3", include_str!("presets/B3.toml")),
    ("C1", include_str!("presets/C1.toml")),
    ("C2", include_str!("presets/C2.toml")),
    ("D", include_str!("presets/D.toml")),
    ("E", include_str!("presets/E.toml")),
];

/// A system: its data, and its versions as rows.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Preset {
    pub system: String,
    pub title: String,
    /// What is measured at the end of a run.
    pub metric: Metric,
    /// The figure in the notebook.
    pub printed: Option<f64>,
    /// The notebook's own speed.
    pub numpy_images_per_second: Option<f64>,
    pub data: DataChoice,
    #[serde(rename = "row")]
    pub rows: Vec<Row>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub enum Metric {
    #[serde(rename = "test accuracy")]
    TestAccuracy,
    #[serde(rename = "test loss")]
    TestLoss,
    #[serde(rename = "agreement with the teacher")]
    Agreement,
}

impl Metric {
    pub fn name(self) -> &'static str {
        match self {
            Self::TestAccuracy => "test accuracy",
            Self::TestLoss => "test loss",
            Self::Agreement => "agreement with the teacher",
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct DataChoice {
    /// mnist, fashion-mnist, digits, a folder, or teacher.
    pub set: String,
    /// The first so many images.
    pub train: Option<usize>,
    pub test: Option<usize>,
    /// The last so many training images are kept for validation.
    pub validation: Option<usize>,
    pub classes: Option<Vec<u16>>,
    pub per_class: Option<PerClass>,
    #[serde(default)]
    pub halve: bool,
    pub teacher: Option<Teacher>,
}

/// The first so many images of each class.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PerClass {
    pub train: usize,
    pub test: usize,
}

/// A random network that labels random images.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Teacher {
    #[serde(deserialize_with = "parsed")]
    pub input: Shape,
    #[serde(deserialize_with = "parsed")]
    pub layers: Spec,
    #[serde(deserialize_with = "parsed")]
    pub init: Init,
}

/// One version of a system.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Row {
    /// written, repaired, or a word of its own for a row beside them.
    pub version: String,
    pub note: Option<String>,
    /// Where it differs from the preset's.
    pub metric: Option<Metric>,
    pub printed: Option<f64>,
    /// Another data set of the same kind.
    pub set: Option<String>,
    pub train: Option<usize>,
    pub test: Option<usize>,
    #[serde(deserialize_with = "parsed")]
    pub layers: Spec,
    /// Pieces of the museum in the place of layers.
    #[serde(default)]
    pub wrong: Vec<Wrong>,
    /// A loss of the museum; softmax cross-entropy without it.
    pub loss: Option<String>,
    /// The loss is computed by a forward pass of its own.
    #[serde(default)]
    pub second_forward: bool,
    #[serde(deserialize_with = "parsed")]
    pub init: Init,
    /// Of convolutions, where it differs.
    #[serde(default, deserialize_with = "some_parsed")]
    pub init_conv: Option<Init>,
    pub pixels: Pixels,
    #[serde(default)]
    pub sampling: Order,
    pub batch_size: usize,
    pub rate: f64,
    pub epochs: Option<u64>,
    /// Instead of epochs; 0 for a network that is not trained.
    pub steps: Option<u64>,
    /// Steps of a point of the learning curve.
    pub window: Option<u64>,
    /// No more runs than this, however many seeds there are.
    pub most_seeds: Option<u64>,
}

/// A piece of the museum in the place of a layer (flattens counted, as `summary` counts).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wrong {
    pub layer: usize,
    pub piece: String,
}

/// How bytes become numbers.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pixels {
    /// 0 to 1.
    Unit,
    /// -0.5 to 0.5.
    Centered,
    /// 0 to 255.
    Raw,
    /// Mean 0, deviation 1 over the training images.
    Standard,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    #[default]
    Shuffled,
    WithReplacement,
}

impl Preset {
    /// The row that counts as repaired: the one of that name, or the last.
    pub fn repaired(&self) -> &Row {
        let named = self.rows.iter().find(|row| row.version == "repaired");
        named.unwrap_or(&self.rows[self.rows.len() - 1])
    }

    pub fn metric_of(&self, row: &Row) -> &'static str {
        row.metric.unwrap_or(self.metric).name()
    }

    pub fn printed_of(&self, row: &Row) -> Option<f64> {
        row.printed.or(self.printed.filter(|_| ["written", "repaired"].contains(&row.version.as_str())))
    }
}

/// The presets of a name: one system, all of them, or a file.
pub fn load(name: &str) -> Result<Vec<Preset>> {
    if name == "all" {
        return PRESETS.iter().map(|(name, _)| parse(name, &text(name)?)).collect();
    }
    Ok(vec![parse(name, &text(name)?)?])
}

/// The TOML text of a system or a file.
pub fn text(name: &str) -> Result<String> {
    if let Some((_, text)) = PRESETS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
        return Ok((*text).to_string());
    }
    if Path::new(name).extension().is_some_and(|extension| extension == "toml") {
        return fs::read_to_string(name).with_context(|| format!("cannot read {name}"));
    }
    let names: Vec<&str> = PRESETS.iter().map(|(name, _)| *name).collect();
    Err(usage(format!("no system is called '{name}'; expected {}, all or a .toml file", names.join(", "))))
}

fn parse(name: &str, text: &str) -> Result<Preset> {
    let preset: Preset = toml::from_str(text).map_err(|error| usage(format!("{name}: {error}")))?;
    if preset.rows.is_empty() {
        return Err(usage(format!("{name}: expected at least one [[row]]")));
    }
    for row in &preset.rows {
        if row.batch_size == 0 || row.batch_size > 1 << 20 {
            return Err(usage(format!("{name}, {}: batch-size must be 1 to {}", row.version, 1 << 20)));
        }
        if row.epochs.is_some() == row.steps.is_some() {
            return Err(usage(format!("{name}, {}: expected either epochs or steps", row.version)));
        }
        if row.window == Some(0) || row.epochs == Some(0) {
            return Err(usage(format!("{name}, {}: window and epochs must be at least 1", row.version)));
        }
    }
    Ok(preset)
}

/// A value written as text, read by its own `FromStr`.
fn parsed<'de, D: Deserializer<'de>, V: FromStr<Err: Display>>(deserializer: D) -> Result<V, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

fn some_parsed<'de, D: Deserializer<'de>, V: FromStr<Err: Display>>(
    deserializer: D,
) -> Result<Option<V>, D::Error> {
    parsed(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::notebooks::experiment::network;

    #[test]
    fn every_preset_is_read_and_its_networks_are_built() {
        let presets = load("all").unwrap();
        assert_eq!(presets.len(), 8);
        for preset in presets {
            assert_eq!(preset.repaired().version, "repaired", "{}", preset.system);
            assert!(preset.rows.iter().any(|row| row.version == "written"), "{}", preset.system);
            for row in &preset.rows {
                let side = if preset.data.halve { 14 } else { 28 };
                let image = Shape::new(1, side, side);
                let input = preset.data.teacher.as_ref().map_or(image, |teacher| teacher.input);
                network(row, input).unwrap();
            }
        }
    }

    #[test]
    fn a_wrong_preset_is_answered_with_what_was_expected() {
        let text = text("A").unwrap();
        let error = |text: &str| parse("mine.toml", text).unwrap_err().to_string();
        assert!(error(&text.replace("epochs = 3", "")).contains("either epochs or steps"));
        assert!(error(&text.replace("epochs = 3", "epochs = 3\nepoch = 3")).contains("epoch"));
        assert!(error(&text.replace("scaled-normal", "scald-normal")).contains("he-normal"));
    }
}
