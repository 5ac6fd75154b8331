//! Loading what a command works on: a data set (with its notice and progress), a trained model.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, ensure};
use byhand_datasets::{
    Data, Dataset, Loaded, Reading, Sources,
    dataset::missing_line,
    source::{self, Progress, path_of},
};
use byhand_models::Model;
use clap::{Args, ValueEnum};
use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};

use crate::{
    exit::{must_exist, usage},
    output::Output,
};

/// The name of the model in a run folder.
pub const MODEL_FILE: &str = "model.safetensors";

/// How many images the built-in digits have, unless fewer are asked for.
const DIGITS: (usize, usize) = (60_000, 10_000);

/// How the files of a data set are to be understood.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Data")]
pub struct ReadingOptions {
    /// The label of the first class, where labels do not count from 0 (1 for EMNIST's letters)
    #[arg(long, value_name = "N")]
    first_label: Option<u16>,
    /// Exchange rows and columns of the images, which EMNIST's files store so
    #[arg(long)]
    transpose: bool,
    /// Take pictures in colour as grey levels
    #[arg(long)]
    grey: bool,
}

impl ReadingOptions {
    /// The same for the library.
    pub fn reading(self) -> Reading {
        Reading { first_label: self.first_label, transpose: self.transpose, grey: self.grey }
    }
}

/// How a limit or a validation set chooses among the images.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// At random; each class keeps its share
    Stratified,
    /// By their place: the first images, for validation the last
    Range,
}

impl Split {
    /// At most `limit` samples of `data`.
    pub fn limited(self, data: Dataset, limit: Option<usize>, seed: u64) -> Result<Dataset> {
        Ok(match (limit, self) {
            (Some(limit), Split::Stratified) if limit < data.len() => data.split_stratified(limit, seed)?.1,
            (Some(limit), _) => data.take(limit),
            (None, _) => data,
        })
    }

    /// Sets `second` samples aside: (the others, those).
    pub fn held_out(self, data: &Dataset, second: usize, seed: u64) -> Result<(Dataset, Dataset)> {
        Ok(match self {
            Split::Stratified => data.split_stratified(second, seed)?,
            Split::Range => data.split_at(data.len() - second)?,
        })
    }
}

/// Says, in one line, which classes have no image in which part of the data.
pub fn warn_of_missing_classes(parts: &[(&str, &Dataset)], output: &Output) {
    missing_line(parts).iter().for_each(|line| output.warn(line));
}

/// Loads a data set. `limits` (training, test) bound how many built-in digits are drawn; nothing else is cut.
pub fn load_data(
    data: &Data,
    data_dir: Option<&Path>,
    reading: Reading,
    limits: (Option<usize>, Option<usize>),
    output: &Output,
) -> Result<Loaded> {
    if let Some(folder) = data_dir {
        must_exist(folder, "the folder of the data")?;
        if !folder.is_dir() {
            return Err(usage(format!(
                "{}: expected the folder of the data, found a file",
                folder.display()
            )));
        }
    }
    let mut sources = Sources { reading, ..sources(data_dir) };
    let (train, test) = (limits.0.unwrap_or(DIGITS.0), limits.1.unwrap_or(DIGITS.1));
    sources.digits = (train.min(DIGITS.0), test.min(DIGITS.1));
    let bar = download_bar(output);
    let loaded = source::load(data, &sources, &mut |progress| show_download(&bar, &progress));
    bar.finish_and_clear();
    let loaded = loaded.map_err(|error| {
        let told = format!("cannot load the data '{data}': {error}");
        // What was asked is impossible, whatever the files are.
        if matches!(error, byhand_datasets::Error::Request(_)) { usage(told) } else { anyhow!(told) }
    })?;
    loaded.notices.iter().for_each(|notice| output.warn(notice));
    Ok(loaded)
}

/// Which data somebody asks for, and where.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub data: Option<&'a Data>,
    pub data_dir: Option<&'a Path>,
}

/// Loads the data of a model: those asked for, else those that it was trained on, found where the run found them and read as the run read
/// them. Beside it what is to be told when these are other data than those that it was trained on. `limits` as for [`load_data`].
pub fn load_data_of(
    model: &Model,
    asked: Asked<'_>,
    reading: ReadingOptions,
    limits: (Option<usize>, Option<usize>),
    output: &Output,
) -> Result<(Loaded, Option<String>)> {
    let (data, folder) = wanted(model, asked)?;
    let mut reading = reading.reading();
    // A model of grey pictures is shown no others.
    reading.grey |= model.channels() == 1;
    if asked.data.is_none() {
        let first_label = model.notes.get("first_label").and_then(|label| label.parse().ok());
        reading.first_label = reading.first_label.or(first_label);
        reading.transpose |= model.notes.contains_key("transpose");
    }
    let loaded = load_data(&data, folder.as_deref(), reading, limits, output)?;
    let other = other_data(model, &data, &loaded, asked)?;
    Ok((loaded, other))
}

/// The data asked for, else those of the run, where it found them; and the folder of a published set.
fn wanted(model: &Model, asked: Asked<'_>) -> Result<(Data, Option<PathBuf>)> {
    if let Some(data) = asked.data {
        return Ok((data.clone(), asked.data_dir.map(PathBuf::from)));
    }
    let Some(name) = model.notes.get("data") else {
        return Err(usage("the model does not say what it was trained on; expected --data"));
    };
    let remembered = || model.notes.get("data_folder").map(|text| path_of(text));
    let Some(folder) = asked.data_dir.map(PathBuf::from).or_else(remembered) else {
        return Ok((name.parse().map_err(usage)?, None));
    };
    if asked.data_dir.is_none() && !folder.exists() {
        return Err(usage(format!(
            "the model was trained on the data in {}, where nothing is now; expected its new place with --data-dir, or other \
             data with --data",
            folder.display()
        )));
    }
    Ok(match name.parse() {
        Ok(published @ (Data::Mnist | Data::FashionMnist | Data::Published(_) | Data::Digits)) => {
            (published, Some(folder))
        }
        _ => (Data::Folder(folder), None),
    })
}

/// That these are other data than those that the model was trained on: to be told when somebody asked for them, else an error.
fn other_data(model: &Model, data: &Data, loaded: &Loaded, asked: Asked<'_>) -> Result<Option<String>> {
    let found = &loaded.source;
    let is_asked = asked.data.is_some() || asked.data_dir.is_some();
    if !is_asked && found.data != *data {
        return Err(usage(format!(
            "the model was trained on {data}; expected its folder with --data-dir, or other data with --data"
        )));
    }
    match model.notes.get("data_sha256") {
        Some(expected) if *expected != found.sha256 => {
            let place =
                found.folder.as_ref().map_or(found.to_string(), |folder| folder.display().to_string());
            let told = format!(
                "{place}: not the data that the model was trained on (expected SHA-256 {expected}, found {})",
                found.sha256
            );
            ensure!(is_asked, "{told}; name the data with --data to evaluate on them all the same");
            Ok(Some(told))
        }
        _ => Ok(None),
    }
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
