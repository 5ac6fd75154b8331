//! A model for PyTorch: its weights, and a script that loads them.

use anyhow::Result;
use byhand_models::{Model, Preprocessing};

use super::super::parity::script::written;
use crate::loading::MODEL_FILE;

/// The script's name.
pub const SCRIPT: &str = "model.py";

/// The files, with their names.
pub fn files(model: &Model) -> Result<[(&'static str, Vec<u8>); 2]> {
    let Preprocessing { normalize, halve, crop } = model.preprocessing;
    let mut steps = Vec::new();
    if halve {
        steps.push("halved (the mean of each 2x2 pixels, rounded down)".to_owned());
    }
    if let Some(crop) = crop {
        steps.push(format!("cropped to {}x{} from row {}, column {}", crop.h, crop.w, crop.y, crop.x));
    }
    steps.push(format!("multiplied by {:?}, and {:?} is added", normalize.scale, normalize.shift));
    let text = written(&model.network()?, include_str!("model.py"))?
        .replace("PREPROCESSING", &steps.join(", then "))
        .replace("SHAPE", &model.input.to_string());
    Ok([(MODEL_FILE, model.to_bytes()?), (SCRIPT, text.into_bytes())])
}
