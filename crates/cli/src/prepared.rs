//! The data of a run, cut and split as its recipe says.

use std::num::NonZeroUsize;

use anyhow::Result;
use byhand_datasets::{Crop, Data, Dataset, Preprocessing, Reading, Source};
use byhand_layers::Shape;

use crate::{
    exit::{must_exist, usage},
    loading::{load_data, warn_of_missing_classes},
    output::Output,
    pictures::Manner,
    settings::Recipe,
};

/// The data of a run, cut and split as the recipe says.
pub struct Prepared {
    /// What results call the data.
    pub name: String,
    /// Where the data were, and the hash of what was read.
    pub source: Source,
    pub train: Dataset,
    pub validation: Option<Dataset>,
    pub test: Dataset,
    pub input: Shape,
    pub preprocessing: Preprocessing,
    /// What the training pictures have in common.
    pub manner: Manner,
}

impl Prepared {
    /// What is left to be done to its images, which were halved once, not in every step.
    pub fn remaining(&self) -> Preprocessing {
        Preprocessing { halve: false, ..self.preprocessing }
    }
}

/// Loads and cuts the data. When the built-in digits stand in for what was asked, the recipe says so from here on.
pub fn prepared_data(recipe: &mut Recipe, output: &Output) -> Result<Prepared> {
    if let Data::Folder(folder) = &recipe.data {
        must_exist(folder, "the folder of the data")?;
    }
    let limit = recipe.train_limit.map(NonZeroUsize::get);
    let test_limit = recipe.test_limit.map(NonZeroUsize::get);
    // How many digits must be drawn to keep so many of some classes is not known before.
    let drawn = if recipe.classes.is_none() { (limit, test_limit) } else { (None, None) };
    let reading = Reading { first_label: recipe.first_label, transpose: recipe.transpose, grey: recipe.grey };
    let loaded = load_data(&recipe.data, recipe.data_dir.as_deref(), reading, drawn, output)?;
    let source = loaded.source;
    recipe.data = source.data.clone();
    // What reads images of these files later must know.
    recipe.transpose |= matches!(recipe.data, Data::Published(set) if set.transpose);
    let cut = |mut dataset: Dataset| -> Result<Dataset> {
        if let Some(classes) = &recipe.classes {
            dataset = dataset.keep_classes(classes).map_err(usage)?;
        }
        Ok(if recipe.halve { dataset.halve()? } else { dataset })
    };
    let manner = Manner::of(&loaded.train);
    let (split, seed) = (recipe.split, recipe.split_seed);
    let mut train = split.limited(cut(loaded.train)?, limit, seed)?;
    let test = split.limited(cut(loaded.test)?, test_limit, seed)?;
    let validation = match recipe.validation {
        0 => None,
        n if n >= train.len() => {
            return Err(usage(format!(
                "--validation {n}: expected less than the {} training images",
                train.len()
            )));
        }
        n => {
            let (kept, validation) = split.held_out(&train, n, seed)?;
            train = kept;
            Some(validation)
        }
    };
    let mut parts = vec![("training", &train), ("testing", &test)];
    parts.extend(validation.as_ref().map(|validation| ("validation", validation)));
    warn_of_missing_classes(&parts, output);
    let (channels, (h, w)) = (train.channels(), train.image_size());
    let crop = recipe.crop.map(|side| middle((h, w), side.get())).transpose()?;
    let preprocessing = Preprocessing { normalize: recipe.normalize.of(&train), halve: recipe.halve, crop };
    let (h, w) = crop.map_or((h, w), |crop| (crop.h, crop.w));
    Ok(Prepared {
        name: source.to_string(),
        source,
        train,
        validation,
        test,
        input: Shape::new(channels, h, w),
        preprocessing,
        manner,
    })
}

/// The middle rows and columns of an image of (rows, columns).
fn middle((h, w): (usize, usize), side: usize) -> Result<Crop> {
    if side > h.min(w) {
        return Err(usage(format!("--crop {side}: expected at most the {} of images of {w}x{h}", h.min(w))));
    }
    Ok(Crop::center((h, w), side, side))
}
