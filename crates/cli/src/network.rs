//! The network that a recipe asks for, and how it is fitted to the data.

use std::num::NonZeroUsize;

use anyhow::Result;
use byhand_datasets::{Data, Dataset, Preprocessing, batches::LastBatch};
use byhand_layers::{Network, Shape};
use byhand_models::{MODELS, NamedModel, Spec};
use byhand_trainer::{FitConfig, Sampling};

use crate::{
    exit::{usage, wrong_spec},
    settings::Recipe,
};

/// The network for this data. A named model is made for as many classes as the data has; a network of the user's own
/// must have them.
pub fn network_for(recipe: &Recipe, input: Shape, classes: usize) -> Result<(Spec, Network<f32>)> {
    let spec = if recipe.preset.is_some() {
        recipe.layers.with_classes(classes).map_err(usage)?
    } else {
        recipe.layers.clone()
    };
    let network = spec.build::<f32>(input).map_err(|error| match &recipe.preset {
        Some(preset) => usage(format!(
            "--preset {preset} does not fit images of {}x{}: {error}; expected {}",
            input.w,
            input.h,
            fitting(input, classes)
        )),
        None => wrong_spec(&error, format!("--layers: {error}")),
    })?;
    if network.classes() != classes {
        return Err(usage(format!(
            "--layers \"{spec}\": expected {classes} outputs, one for each class of {}, found {}; end it in dense({classes})",
            recipe.data,
            network.classes()
        )));
    }
    if let Some(weights) = &recipe.class_weights {
        weights.check(classes, recipe.loss)?;
    }
    Ok((spec, network))
}

/// The presets that can be made for such images, or what to do when there is none.
fn fitting(input: Shape, classes: usize) -> String {
    let fits =
        |model: &&NamedModel| model.spec_for(classes).is_ok_and(|spec| spec.build::<f32>(input).is_ok());
    let names: Vec<&str> = MODELS.iter().filter(fits).map(|model| model.name).collect();
    if names.is_empty() {
        "--layers of your own".into()
    } else {
        format!("{}, or --layers", names.join(", "))
    }
}

/// Image size and classes of data that is known before it is loaded.
pub fn promised(recipe: &Recipe) -> Option<(Shape, usize)> {
    let all = match recipe.data {
        Data::Folder(_) => return None,
        Data::Published(set) => set.class_names.len(),
        Data::Mnist | Data::FashionMnist | Data::Digits => 10,
    };
    let side = if recipe.halve { 14 } else { 28 };
    let side = recipe.crop.map_or(side, NonZeroUsize::get);
    Some((Shape::new(1, side, side), recipe.classes.as_ref().map_or(all, Vec::len)))
}

/// The settings of a fit to `train`, as the recipe has them.
pub fn fit_config(
    recipe: &Recipe,
    train: &Dataset,
    preprocessing: Preprocessing,
    threads: usize,
) -> FitConfig {
    FitConfig {
        epochs: recipe.epochs.get() as u64,
        batch_size: recipe.batch_size.get(),
        sampling: Sampling::Shuffled,
        last_batch: LastBatch::Keep,
        optimizer: recipe.optimizer,
        learning_rate: recipe.lr,
        schedule: recipe.schedule,
        objective: recipe.loss,
        class_weights: recipe.class_weights.as_ref().map_or_else(Vec::new, |weights| weights.of(train)),
        preprocessing,
        augment: recipe.augment(),
        weight_decay: recipe.weight_decay,
        clip: recipe.clip,
        ema: recipe.ema,
        patience: recipe.patience.map(|epochs| epochs.get() as u64),
        seed: recipe.seed,
        threads,
        ..FitConfig::default()
    }
}
