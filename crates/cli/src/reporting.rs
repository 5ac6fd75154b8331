//! The report of a run, from what is known of it.

use std::{path::Path, time::Duration};

use anyhow::Result;
use byhand_datasets::Dataset;
use byhand_layers::Network;
use byhand_models::Model;
use byhand_report::{Epoch, Run, Timing, report};
use byhand_tensor::Isa;
use byhand_trainer::{Evaluation, Prediction, StepConfig, layer_times, peak::peak_gflops, training_bytes};
use serde_json::{Value, json};

use crate::{machine, program, run_folder::config_in, settings::Recipe};

/// What is shown of a run.
pub struct Shown<'a> {
    /// Its folder.
    pub folder: &'a Path,
    pub warning: Option<String>,
    pub recipe: &'a Recipe,
    pub model: &'a Model,
    pub test: &'a Dataset,
    pub evaluation: &'a Evaluation,
    pub predictions: &'a [Prediction],
    pub history: &'a [Epoch],
    /// What `result.json` says, if it is there.
    pub result: Option<&'a Value>,
}

/// The page. A `live` one loads itself anew when the run has news.
pub fn page(shown: &Shown<'_>, live: bool) -> Result<String> {
    let network = shown.model.network()?;
    let timing = timing(&network, &shown.model.theta, shown.recipe.batch_size.get());
    let config = config_in(shown.folder);
    let again = format!("{} train --config {}", program::name(), config.display());
    Ok(report(
        &Run {
            name: name_of(shown.folder),
            warning: shown.warning.clone(),
            model: shown.model,
            test: shown.test,
            evaluation: shown.evaluation,
            predictions: shown.predictions,
            history: shown.history,
            timing: &timing,
            settings: &shown.recipe.shown()?,
            facts: &facts(shown.result),
            again,
        },
        live,
    )?)
}

/// How long the layers take, measured on as many images as do not keep anybody waiting.
fn timing(network: &Network<f32>, theta: &[f32], batch_size: usize) -> Timing {
    const LENGTH: Duration = Duration::from_millis(100);
    const FLOPS: u64 = 5_000_000_000;
    const BYTES: u64 = 1 << 28;
    let mut batch_size = batch_size.min(256);
    let is_much = |batch_size: usize| {
        let config = StepConfig { batch_size, threads: 1, ..StepConfig::default() };
        network.flops() * batch_size as u64 > FLOPS || training_bytes(network, &config) > BYTES
    };
    while batch_size > 1 && is_much(batch_size) {
        batch_size /= 2;
    }
    let peak = peak_gflops(1);
    let layers = layer_times(network, theta, batch_size, LENGTH);
    Timing { layers, batch_size, peak_gflops: peak.max(peak_gflops(1)) }
}

/// What a run folder is called.
pub fn name_of(folder: &Path) -> String {
    let whole = folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf());
    whole.file_name().unwrap_or(whole.as_os_str()).to_string_lossy().into_owned()
}

/// What `result.json` has beside the result: where and how the run was trained.
pub fn environment(threads: Option<usize>) -> Value {
    let command: Vec<String> =
        std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    json!({
        "byhand": env!("CARGO_PKG_VERSION"),
        "isa": Isa::active().name(),
        "threads": threads,
        "processor": machine::processor(),
        "cores": machine::cores(),
        "system": format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        "command": format!("{} {}", program::name(), command.join(" ")),
    })
}

/// Names and values for the page.
fn facts(result: Option<&Value>) -> Vec<(String, String)> {
    let Some(result) = result else {
        return vec![(
            "trained".into(),
            "not recorded: the run has not come to its end, or an older version wrote it".into(),
        )];
    };
    let shown = [
        ("command", "/environment/command"),
        ("byhand", "/environment/byhand"),
        ("instruction set", "/environment/isa"),
        ("threads", "/environment/threads"),
        ("processor", "/environment/processor"),
        ("cores", "/environment/cores"),
        ("system", "/environment/system"),
        ("seconds of training", "/train_seconds"),
        ("training images", "/train_images"),
        ("steps", "/steps"),
        ("SHA-256 of the data", "/data_sha256"),
    ];
    let text = |place: &str| match result.pointer(place)? {
        Value::String(text) => Some(text.clone()),
        Value::Null => None,
        value => Some(value.to_string()),
    };
    shown.into_iter().filter_map(|(name, place)| Some((name.to_string(), text(place)?))).collect()
}
