//! Loading what a command works on: a data set (with its notice and progress), a trained model.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use byhand_datasets::{
    Data, Dataset, Loaded, Sources,
    source::{self, Progress},
};
use byhand_models::{Model, Preprocessing};
use indicatif::ProgressBar;

use crate::{
    exit::{must_exist, usage},
    output::Output,
};

/// The name of the model in a run folder.
pub const MODEL_FILE: &str = "model.safetensors";

/// How many images the built-in digits have, unless fewer are asked for.
const DIGITS: (usize, usize) = (60_000, 10_000);

/// Loads a data set. `limits` (training, test) bound how many built-in digits are drawn; nothing else is cut.
pub fn load_data(
    data: &Data,
    data_dir: Option<&Path>,
    limits: (Option<usize>, Option<usize>),
    output: &Output,
) -> Result<Loaded> {
    if let Some(folder) = data_dir {
        must_exist(folder, "the folder of the data")?;
    }
    let mut sources = sources(data_dir);
    let (train, test) = (limits.0.unwrap_or(DIGITS.0), limits.1.unwrap_or(DIGITS.1));
    sources.digits = (train.min(DIGITS.0), test.min(DIGITS.1));
    let bar = download_bar(output);
    let loaded = source::load(data, &sources, &mut |progress| show_download(&bar, &progress));
    bar.finish_and_clear();
    let loaded = loaded.with_context(|| format!("cannot load the data '{data}'"))?;
    loaded.notices.iter().for_each(|notice| output.warn(notice));
    Ok(loaded)
}

/// Where data is looked for: the folder given, `BYHAND_DATA`, the cache, the mirrors.
pub fn sources(data_dir: Option<&Path>) -> Sources {
    Sources { data_dir: data_dir.map(PathBuf::from), download: true, ..Sources::from_env() }
}

/// Shows how far a download is: a bar in bytes.
pub fn download_bar(output: &Output) -> ProgressBar {
    output.bar(0, "{msg:28} {bar:30} {bytes}/{total_bytes} {bytes_per_sec}, {eta} left")
}

/// Moves the bar to where the download is.
pub fn show_download(bar: &ProgressBar, progress: &Progress<'_>) {
    bar.set_length(progress.total);
    bar.set_message(progress.file.to_string());
    bar.set_position(progress.received);
}

/// Loads a model from a run folder or a `.safetensors` file.
pub fn load_model(path: &Path) -> Result<Model> {
    let file = if path.is_dir() { path.join(MODEL_FILE) } else { path.to_path_buf() };
    if !file.exists() {
        return Err(usage(format!(
            "{}: no model here; expected a run folder that holds {MODEL_FILE}, or a .safetensors file",
            path.display()
        )));
    }
    Ok(Model::load(&file)?)
}

/// The images as the network wants them before normalising: halved if it was trained so.
pub fn prepare(dataset: Dataset, preprocessing: &Preprocessing) -> Result<Dataset> {
    Ok(if preprocessing.halve { dataset.halve()? } else { dataset })
}
