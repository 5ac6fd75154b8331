//! `byhand inspect`: what a model file is, as it says itself.

use std::path::{Path, PathBuf};

use anyhow::Result;
use byhand_layers::Network;
use byhand_models::Model;
use clap::Args;
use comfy_table::CellAlignment::Left;
use serde_json::json;

use crate::{loading::load_model, output::Output, program};

/// Options of `inspect`.
#[derive(Args)]
#[command(after_help = "Examples:
  byhand inspect runs/cnn-mnist-seed0
  byhand inspect model.safetensors --json")]
pub struct Options {
    /// A run folder or a .safetensors file
    model: PathBuf,
}

/// Prints what the file says.
pub fn run(options: &Options, output: &Output) -> Result<()> {
    let model = load_model(&options.model)?;
    let network = model.network()?;
    output.table(
        [("", Left), ("", Left)],
        rows(&model, &network, &options.model).map(|(name, value)| [name.to_string(), value]),
    );
    let crop = model.preprocessing.crop;
    output.result(json!({
        "layers": model.spec.to_string(),
        "input": model.input.to_string(),
        "classes": model.class_names,
        "parameters": network.parameters(),
        "preprocessing": {
            "scale": model.preprocessing.normalize.scale,
            "shift": model.preprocessing.normalize.shift,
            "halve": model.preprocessing.halve,
            "crop": crop.map(|crop| json!({"y": crop.y, "x": crop.x, "h": crop.h, "w": crop.w})),
        },
        "notes": model.notes,
        "weights_sha256": model.weights_sha256(),
    }));
    Ok(())
}

/// What is told, for people.
fn rows(model: &Model, network: &Network<f32>, path: &Path) -> impl Iterator<Item = (&'static str, String)> {
    let note = |key: &str| model.notes.get(key).map(|text| text.escape_debug().to_string());
    let number = |key: &str| model.notes.get(key)?.parse::<f64>().ok();
    let accuracy = match (number("test_accuracy"), number("test_loss"), note("test_images")) {
        (Some(accuracy), Some(loss), Some(images)) => {
            format!("{:.2} %, loss {loss:.4}, on {images} test images", 100.0 * accuracy)
        }
        _ => format!("not recorded; `{} evaluate {}` measures it", program::name(), path.display()),
    };
    let normalize = model.preprocessing.normalize;
    let mut preprocessing = format!("pixel x {} + {}", normalize.scale, normalize.shift);
    if model.preprocessing.halve {
        preprocessing = format!("halved to 14x14 or the like, {preprocessing}");
    }
    if let Some(crop) = model.preprocessing.crop {
        preprocessing += &format!(", {}x{} from row {}, column {}", crop.h, crop.w, crop.y, crop.x);
    }
    let trained = match (note("epochs"), note("steps")) {
        (Some(epochs), Some(steps)) => {
            Some(format!("{epochs} epochs, {steps} steps, seed {}", note("seed").unwrap_or("?".into())))
        }
        _ => note("seed").map(|seed| format!("seed {seed}")),
    };
    let unknown = || Some("not recorded".to_string());
    [
        ("run", note("run").or_else(unknown)),
        ("model", note("model")),
        ("layers", Some(model.spec.to_string())),
        ("input", Some(model.input.to_string())),
        ("classes", Some(format!("{}: {}", model.class_names.len(), listed(&model.class_names)))),
        ("parameters", Some(network.parameters().to_string())),
        ("preprocessing", Some(preprocessing)),
        ("data", note("data").or_else(unknown)),
        ("data SHA-256", note("data_sha256")),
        ("trained", trained),
        ("loss", note("loss")),
        ("accuracy", Some(accuracy)),
        ("written by", note("byhand").map(|version| format!("byhand {version}"))),
        ("weights SHA-256", Some(model.weights_sha256())),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?)))
}

/// The first names.
fn listed(names: &[String]) -> String {
    const SHOWN: usize = 20;
    let shown: Vec<String> = names.iter().take(SHOWN).map(|name| name.escape_debug().to_string()).collect();
    let more = if names.len() > SHOWN { ", ..." } else { "" };
    format!("{}{more}", shown.join(", "))
}
