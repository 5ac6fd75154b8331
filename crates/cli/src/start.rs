//! `--from`: the weights of a run, of a model file, or of a file that holds weights alone, to start a new run from.

use std::{num::NonZeroUsize, path::Path};

use anyhow::Result;
use byhand_datasets::{Crop, Preprocessing};
use byhand_layers::Network;
use byhand_models::{Model, ModelError, load_weights};

use crate::{
    exit::{must_exist, usage},
    loading::MODEL_FILE,
    run_folder::{config_in, has_checkpoint, newest_checkpoint_in},
    settings::{Normalization, Settings},
};

/// What `path` says of the run to come: a run folder all that the earlier run was set to, a model file its network, weights alone
/// nothing.
pub fn settings(path: &Path) -> Result<Settings> {
    must_last(path, "a run folder, a model file or a file of weights")?;
    if path.is_dir() {
        let config = config_in(path);
        must_exist(&config, "the config.toml of a run")?;
        return Ok(Settings { from: None, from_sha256: None, data_sha256: None, ..Settings::read(&config)? });
    }
    let Some(model) = model(path)? else { return Ok(Settings::default()) };
    let Preprocessing { normalize, halve, crop } = model.preprocessing;
    let side = if halve { 14 } else { 28 };
    let crop = match crop {
        None => None,
        Some(crop) if crop == Crop::center((side, side), crop.h, crop.h) => NonZeroUsize::new(crop.h),
        Some(_) => {
            let problem =
                "its images were cropped; expected whole images or their middle, as train reads them";
            return Err(usage(format!("--from {}: {problem}", path.display())));
        }
    };
    Ok(Settings {
        layers: Some(model.spec),
        halve: Some(halve),
        crop,
        normalize: Some(Normalization::named(normalize).unwrap_or(Normalization::Standard)),
        loss: model.notes.get("loss").and_then(|loss| loss.parse().ok()),
        ..Settings::default()
    })
}

/// The weights in `path` for a network whose outputs stand for `classes`.
pub fn weights(path: &Path, network: &Network<f32>, classes: &[String]) -> Result<Vec<f32>> {
    must_last(path, "the weights to start from")?;
    let refused = |problem: String| usage(format!("--from {}: {problem}", path.display()));
    let file = if path.is_dir() { path.join(MODEL_FILE) } else { path.to_path_buf() };
    if !file.exists() {
        return of_checkpoint(path, network);
    }
    let Some(model) = model(&file)? else {
        return load_weights(&file, network).map_err(|e| refused(e.to_string()));
    };
    let theirs = model.network()?;
    for (index, (there, here)) in theirs.layers().iter().zip(network.layers()).enumerate() {
        if (there.spec(), there.input()) != (here.spec(), here.input()) {
            return Err(refused(format!(
                "its layer {index} is {} on {}, expected {} on {}, as this run has it",
                there.spec(),
                there.input(),
                here.spec(),
                here.input()
            )));
        }
    }
    if theirs.layers().len() != network.layers().len() {
        let (found, expected) = (theirs.layers().len(), network.layers().len());
        return Err(refused(format!("it has {found} layers, expected the {expected} of this run")));
    }
    if model.class_names != classes {
        let (found, expected) = (model.class_names.join(", "), classes.join(", "));
        return Err(refused(format!("its classes are {found}; expected those of the data, {expected}")));
    }
    Ok(model.theta)
}

/// That something is there, and may be read again: a pipe gives its bytes once, and the run's config.toml names it.
fn must_last(path: &Path, expected: &str) -> Result<()> {
    must_exist(path, expected)?;
    if path.is_dir() || path.is_file() {
        return Ok(());
    }
    Err(usage(format!(
        "--from {}: expected {expected}, found what can be read once; save what it gives as a file, and name that",
        path.display()
    )))
}

/// A run that ended before it wrote its model, as one that diverged, has the weights of its last checkpoint.
fn of_checkpoint(run: &Path, network: &Network<f32>) -> Result<Vec<f32>> {
    if !has_checkpoint(run) {
        let problem = format!("expected a {MODEL_FILE} or a checkpoint of this run, found none");
        return Err(usage(format!("--from {}: {problem}", run.display())));
    }
    let theta = newest_checkpoint_in(run)?.theta().to_vec();
    let (found, expected) = (theta.len(), network.param_len());
    if found != expected {
        let problem =
            format!("its checkpoint has {found} weights, expected {expected} for the layers of this run");
        return Err(usage(format!("--from {}: {problem}", run.display())));
    }
    Ok(theta)
}

/// The model in a file, or nothing when it holds weights alone.
fn model(file: &Path) -> Result<Option<Model>> {
    match Model::load(file) {
        Ok(model) => Ok(Some(model)),
        Err(ModelError::WeightsAlone { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
