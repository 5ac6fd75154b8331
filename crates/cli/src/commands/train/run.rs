//! A run: what it trains, on what, where.

use anyhow::Result;
use byhand_datasets::{Data, source::path_text};
use byhand_layers::Network;
use byhand_models::Model;

use crate::{prepared::Prepared, program, run_folder::RunFolder, settings::Recipe, training::Note};

/// A run that begins, or has begun.
pub(super) struct Run<'a> {
    pub recipe: &'a Recipe,
    pub data: &'a Prepared,
    pub network: &'a Network<f32>,
    pub folder: &'a RunFolder,
}

impl Run<'_> {
    /// The model that weights make, with what it says of itself and these notes.
    pub(super) fn model(&self, theta: &[f32], more: &[Note<'_>]) -> Model {
        let Run { recipe, data, .. } = self;
        let manner = data.manner.note();
        Model {
            spec: recipe.layers.clone(),
            input: data.input,
            class_names: data.test.class_names().to_vec(),
            preprocessing: data.preprocessing,
            notes: [
                ("model", Some(recipe.name().to_string())),
                ("data", Some(recipe.data.to_string())),
                ("data_folder", data.source.folder.as_deref().map(path_text)),
                ("data_sha256", Some(data.source.sha256.clone())),
                ("seed", Some(recipe.seed.to_string())),
                ("loss", Some(recipe.loss.to_string())),
                ("first_label", recipe.first_label.map(|label| label.to_string())),
                ("transpose", recipe.transpose.then(|| "true".to_string())),
                ("run", Some(run_name(recipe))),
                ("byhand", Some(env!("CARGO_PKG_VERSION").to_string())),
                (manner.0, Some(manner.1)),
            ]
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_string(), value?)))
            .chain(more.iter().map(|(key, value)| (key.to_string(), value.clone())))
            .collect(),
            theta: theta.to_vec(),
        }
    }

    /// Writes the settings, by which the run is repeated.
    pub(super) fn write_config(&self) -> Result<()> {
        let text = toml::to_string(self.recipe)?;
        self.folder.write_config(&format!(
            "# `{} train --config` on this file repeats the run bit for bit.\n{text}",
            program::name()
        ))
    }
}

/// What a run is called if nobody says otherwise.
pub(super) fn run_name(recipe: &Recipe) -> String {
    format!("{}-{}-seed{}", recipe.name(), short(&recipe.data), recipe.seed)
}

/// The last part of a folder's path, for a run's name.
fn short(data: &Data) -> String {
    match data {
        Data::Folder(folder) => folder.file_name().unwrap_or("data".as_ref()).to_string_lossy().into_owned(),
        named => named.to_string(),
    }
}
