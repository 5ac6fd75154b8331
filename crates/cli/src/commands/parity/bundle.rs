//! The bundle: what both sides train on, in one `.safetensors` file.
//!
//! | tensor | shape | |
//! |---|---|---|
//! | `0.weight`, `0.bias`, ... | as PyTorch's `nn.Sequential` has them | initial weights |
//! | `x` | images, channels, rows, columns | every image that is used, as the network sees it |
//! | `labels` | images | its class |
//! | `order` | steps, batch | the images of each step, as numbers of rows of `x` |
//!
//! The header's metadata has one key, `byhand`: a [`Setup`] as JSON.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use byhand_files::{Disk, OS, replace};
use byhand_layers::{Network, Shape};
use byhand_models::Spec;
use byhand_trainer::{Objective, Optimizer};
use ndarray::Array2;
use safetensors::{
    Dtype, SafeTensors,
    tensor::{TensorView, serialize},
};
use serde::{Deserialize, Serialize};

use crate::program;

/// The bundle's name in its folder.
pub const BUNDLE: &str = "bundle.safetensors";
/// The script's.
pub const SCRIPT: &str = "train.py";
/// What the script writes.
pub const PYTORCH: &str = "pytorch.safetensors";
/// A file that is larger is neither.
pub const LARGEST: u64 = 1 << 33;

/// What is trained, and how; specs are text, as on the command line.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Setup {
    pub model: String,
    pub layers: String,
    pub input: String,
    pub loss: String,
    pub optimizer: String,
    pub lr: f64,
    pub data: String,
    pub seed: u64,
}

/// All that a training of some steps depends on.
pub struct Bundle {
    pub setup: Setup,
    pub network: Network<f32>,
    pub loss: Objective,
    pub optimizer: Optimizer,
    /// Initial weights.
    pub theta: Vec<f32>,
    /// The images used, `[images, features]`.
    pub x: Array2<f32>,
    pub labels: Vec<u16>,
    /// Rows of `x`: `[steps, batch]`.
    pub order: Array2<usize>,
}

impl Bundle {
    /// Writes the file.
    pub fn save(&self, path: &Path) -> Result<()> {
        let theta = bytes(self.theta.iter().map(|value| value.to_le_bytes()));
        let x = bytes(self.x.iter().map(|value| value.to_le_bytes()));
        let labels = bytes(self.labels.iter().map(|&label| i64::from(label).to_le_bytes()));
        let order = bytes(self.order.iter().map(|&row| (row as i64).to_le_bytes()));
        let input = self.network.input();
        let mut views = vec![
            ("x", TensorView::new(Dtype::F32, vec![self.x.nrows(), input.c, input.h, input.w], &x)?),
            ("labels", TensorView::new(Dtype::I64, vec![self.labels.len()], &labels)?),
            ("order", TensorView::new(Dtype::I64, self.order.shape().to_vec(), &order)?),
        ];
        for param in self.network.params() {
            let own = &theta[4 * param.range.start..4 * param.range.end];
            views.push((&param.name, TensorView::new(Dtype::F32, param.shape.clone(), own)?));
        }
        let metadata = [("byhand".to_string(), serde_json::to_string(&self.setup)?)].into();
        let bytes = serialize(views, Some(metadata))?;
        replace(&OS, path, &bytes).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Reads the file.
    pub fn load(path: &Path) -> Result<Self> {
        let shown = path.display();
        let bytes = OS.read(path, LARGEST).with_context(|| {
            let folder = path.parent().unwrap_or(path).display();
            format!("cannot read {shown}; expected what `{} parity export {folder}` writes", program::name())
        })?;
        Self::from_bytes(&bytes)
            .with_context(|| format!("{shown} is not what `{} parity export` writes", program::name()))
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let (_, metadata) = SafeTensors::read_metadata(bytes)?;
        let setup = metadata.metadata().as_ref().and_then(|map| map.get("byhand"));
        let setup: Setup =
            serde_json::from_str(setup.context("expected the key `byhand` in the header's metadata")?)?;
        let network = setup.layers.parse::<Spec>()?.build::<f32>(setup.input.parse::<Shape>()?)?;
        let tensors = SafeTensors::deserialize(bytes)?;
        let mut theta = Vec::with_capacity(network.param_len());
        for param in network.params() {
            theta.extend(floats(&tensors, &param.name, &param.shape)?);
        }
        let labels: Vec<u16> = integers(&tensors, "labels")?;
        ensure!(
            labels.iter().all(|&label| usize::from(label) < network.classes()),
            "labels: expected numbers below the {} classes",
            network.classes()
        );
        let Shape { c, h, w } = network.input();
        let x = floats(&tensors, "x", &[labels.len(), c, h, w])?;
        let x = Array2::from_shape_vec((labels.len(), network.input().features()), x)?;
        let order: Vec<usize> = integers(&tensors, "order")?;
        let [steps, batch] = *tensors.tensor("order")?.shape() else {
            bail!("order: expected the shape [steps, batch]");
        };
        ensure!(
            steps > 0 && batch > 0 && order.iter().all(|&row| row < labels.len()),
            "order: expected steps and rows of x, of which there are {}",
            labels.len()
        );
        Ok(Self {
            loss: setup.loss.parse()?,
            optimizer: setup.optimizer.parse()?,
            network,
            theta,
            x,
            labels,
            order: Array2::from_shape_vec((steps, batch), order)?,
            setup,
        })
    }
}

fn bytes<const N: usize>(words: impl Iterator<Item = [u8; N]>) -> Vec<u8> {
    words.flatten().collect()
}

/// A tensor of f32 of this shape, flat.
fn floats(tensors: &SafeTensors<'_>, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
    let tensor = tensors.tensor(name).with_context(|| format!("no tensor {name}"))?;
    ensure!(
        tensor.dtype() == Dtype::F32 && tensor.shape() == shape,
        "{name}: expected F32 of {shape:?}, found {} of {:?}",
        tensor.dtype(),
        tensor.shape()
    );
    let words = tensor.data().chunks_exact(4);
    Ok(words.map(|word| f32::from_le_bytes(word.try_into().expect("4 bytes"))).collect())
}

/// A tensor of I64, flat, each number in the range of `T`.
fn integers<T: TryFrom<i64>>(tensors: &SafeTensors<'_>, name: &str) -> Result<Vec<T>> {
    let tensor = tensors.tensor(name).with_context(|| format!("no tensor {name}"))?;
    ensure!(tensor.dtype() == Dtype::I64, "{name}: expected I64, found {}", tensor.dtype());
    let words = tensor.data().chunks_exact(8);
    words
        .map(|word| {
            let number = i64::from_le_bytes(word.try_into().expect("8 bytes"));
            T::try_from(number).ok().with_context(|| format!("{name}: found {number}, which is out of range"))
        })
        .collect()
}
