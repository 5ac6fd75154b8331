//! Model files: a trained network in one `.safetensors` file. The only module of this crate that touches a disk.
//!
//! The tensors have the names and shapes of PyTorch's `nn.Sequential` (`0.weight` of `[out, in, rows, columns]`,
//! `4.bias` of `[out]`, counting every layer), so that
//!
//! ```python
//! net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(1352, 10))
//! net.load_state_dict(safetensors.torch.load_file("model.safetensors"))
//! ```
//!
//! loads them. What PyTorch does not need lies in the header's `__metadata__`, under the one key `byhand`, as JSON:
//!
//! | field | |
//! |---|---|
//! | `sha256` | SHA-256 of the text of `model`, as it stands |
//! | `model.format` | [`FORMAT`] |
//! | `model.layers`, `model.input` | the layer spec, and the shape of a sample |
//! | `model.classes` | the names of the classes |
//! | `model.preprocessing` | see [`Preprocessing`] |
//! | `model.notes` | what the writer wished to add: the data, the seed, ... |
//! | `model.weights_sha256` | see [`weights_sha256`] |
//! | `model.tensors` | SHA-256 of each tensor's bytes, to say which is damaged |
//!
//! The same model always gives the same bytes, and a flipped bit anywhere in them is an error.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use base16ct::lower::encode_string;
use byhand_datasets::{Crop, Dataset, Normalize, Preprocessing};
use byhand_files::{Disk, OS, replace};
use byhand_layers::loss::{Labels, Loss, Target, TargetRows};
use byhand_layers::metrics::{Confusion, Evaluation};
use byhand_layers::{Network, Shape};
use ndarray::{Array2, ArrayView3, s};
use safetensors::tensor::{Metadata, TensorView};
use safetensors::{Dtype, SafeTensorError};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::spec::{Spec, SpecError};

/// The version of the metadata that this program writes and reads.
pub const FORMAT: u32 = 1;
/// Images that [`Model::evaluate`] turns into numbers at a time.
const AT_ONCE: usize = 1024;
/// The longest header that is written or read, in bytes.
pub const MAX_HEADER: u64 = 4 << 20;

/// A trained network: all that is needed to use it.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// Its layers.
    pub spec: Spec,
    /// One input sample, after preprocessing.
    pub input: Shape,
    /// What the outputs stand for, one name an output.
    pub class_names: Vec<String>,
    /// What was done to the images it was trained on.
    pub preprocessing: Preprocessing,
    /// Whatever else is worth keeping: the data, the seed, the command.
    pub notes: BTreeMap<String, String>,
    /// All parameters, flat, in the network's order.
    pub theta: Vec<f32>,
}

impl Model {
    /// Builds its network.
    ///
    /// # Errors
    /// When the layers or the preprocessing do not fit, or `theta` or the class names are not as many as the network needs.
    pub fn network(&self) -> Result<Network<f32>, ModelError> {
        let network = self.spec.build::<f32>(self.input).map_err(ModelError::Spec)?;
        check_preprocessing(&self.preprocessing, self.input).map_err(ModelError::Preprocessing)?;
        let counts = [
            ("parameters", self.theta.len(), network.param_len()),
            ("class names", self.class_names.len(), network.classes()),
        ];
        for (what, found, expected) in counts {
            if found != expected {
                return Err(ModelError::Count { what, found, expected });
            }
        }
        Ok(network)
    }

    /// The probabilities `[n, classes]` for images `[n, h, w]` as bytes, which are preprocessed as those were that it was trained on. An
    /// image's probabilities have the same bits alone and among any others.
    ///
    /// # Errors
    /// As [`network`](Self::network); when images of this size make no inputs of the network.
    pub fn predict_proba(&self, images: ArrayView3<'_, u8>) -> Result<Array2<f32>, ModelError> {
        let (network, x) = (self.network()?, self.inputs(images)?);
        Ok(network.predict_proba(&self.theta, x.view()))
    }

    /// How the output of class `class` (before the softmax) moves with each number of the network's input, for images `[n, h, w]` as bytes:
    /// a saliency map each, `[n, features]`.
    ///
    /// # Errors
    /// As [`predict_proba`](Self::predict_proba).
    ///
    /// # Panics
    /// If there is no such class.
    #[track_caller]
    pub fn gradient_of_input(
        &self,
        images: ArrayView3<'_, u8>,
        class: usize,
    ) -> Result<Array2<f32>, ModelError> {
        let (network, x) = (self.network()?, self.inputs(images)?);
        assert!(class < network.classes(), "class {class} of {}", network.classes());
        let mut dy = Array2::zeros((x.nrows(), network.classes()));
        dy.column_mut(class).fill(1.0);
        Ok(network.gradient_of_input(&self.theta, x.view(), dy.view()))
    }

    /// Mean loss, accuracy and confusion on a data set, whose classes are matched to the model's by their names and whose other samples
    /// are left out. On one thread; `byhand_trainer::evaluate` takes all of them.
    ///
    /// # Errors
    /// As [`predict_proba`](Self::predict_proba); when a class of the model is none of the data set, or its rows of targets are not as long
    /// as the network's outputs.
    pub fn evaluate(&self, dataset: &Dataset, loss: &dyn Loss<f32>) -> Result<Evaluation, ModelError> {
        let network = self.network()?;
        let (outputs, targets) = (network.classes(), dataset.targets());
        let found = targets.map_or(outputs, |targets| targets.ncols());
        if found != outputs {
            return Err(ModelError::Count { what: "numbers in a row of targets", found, expected: outputs });
        }
        let dataset = match targets {
            None => dataset.match_classes(&self.class_names).map_err(ModelError::Data)?,
            Some(_) => dataset.clone(),
        };
        let target: Target<'_, f32> = match dataset.targets() {
            None => Labels(dataset.labels()).into(),
            Some(ref targets) => TargetRows(targets.to_slice().expect("rows are contiguous")).into(),
        };
        let mut all = Evaluation {
            samples: dataset.len(),
            loss: 0.0,
            confusion: Confusion::new(if target.is_labels() { outputs } else { 0 }),
        };
        // Some at a time, so that all bytes are never numbers at once.
        for first in (0..dataset.len()).step_by(AT_ONCE) {
            let samples = first..(first + AT_ONCE).min(dataset.len());
            let x = self.inputs(dataset.images().slice_move(s![samples.clone(), .., ..]))?;
            let part = network.evaluate(&self.theta, x.view(), target.of_samples(samples, outputs), loss);
            all.loss += part.loss * part.samples as f64;
            all.confusion.add(&part.confusion);
        }
        all.loss /= dataset.len() as f64;
        Ok(all)
    }

    /// Images `[n, h, w]` as inputs of the network, `[n, features]`.
    fn inputs(&self, images: ArrayView3<'_, u8>) -> Result<Array2<f32>, ModelError> {
        let (_, h, w) = images.dim();
        let crop = self.preprocessing.crop_of((h, w));
        let (expected, found) = (self.input, Shape::new(1, crop.h, crop.w));
        let fits =
            if expected.is_flat() { expected.features() == found.features() } else { expected == found };
        if !fits {
            return Err(ModelError::Images { expected, found, h, w });
        }
        Ok(self.preprocessing.apply(images))
    }

    /// SHA-256 of the weights: see [`weights_sha256`].
    pub fn weights_sha256(&self) -> String {
        weights_sha256(&self.theta)
    }

    /// Writes the model file, whole or not at all: there is never half a model under this name, and a good one is never lost to a bad one.
    ///
    /// # Errors
    /// When the folder is missing or may not be written to, and as [`to_bytes`](Self::to_bytes).
    pub fn save(&self, path: &Path) -> Result<(), ModelError> {
        self.save_on(&OS, path)
    }

    /// [`save`](Self::save) on another disk than the machine's.
    ///
    /// # Errors
    /// As [`save`](Self::save).
    pub fn save_on(&self, disk: &dyn Disk, path: &Path) -> Result<(), ModelError> {
        let bytes = self.to_bytes()?;
        replace(disk, path, &bytes).map_err(|cause| ModelError::io(path, "write", cause))
    }

    /// Reads a model file.
    ///
    /// Memory is taken for the weights only when the header, the layers and the size of the file agree on how many there
    /// are.
    ///
    /// # Errors
    /// When the file cannot be read, is not a model file, is damaged (the message names the place or the tensor), or was
    /// written by a later version.
    pub fn load(path: &Path) -> Result<Self, ModelError> {
        let (file, len) = open(path)?;
        read(file, len, &path.display().to_string())
    }

    /// The bytes of a model file.
    ///
    /// # Errors
    /// As [`network`](Self::network); when names and notes are longer than
    /// [`MAX_HEADER`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, ModelError> {
        let network = self.network()?;
        let data: Vec<u8> = self.theta.iter().flat_map(|value| value.to_le_bytes()).collect();
        let tensors = || {
            network
                .params()
                .iter()
                .map(|tensor| (tensor, &data[4 * tensor.range.start..4 * tensor.range.end]))
        };
        let description = Description {
            format: FORMAT,
            layers: self.spec.to_string(),
            input: self.input.to_string(),
            classes: self.class_names.clone(),
            preprocessing: self.preprocessing.into(),
            notes: self.notes.clone(),
            weights_sha256: self.weights_sha256(),
            tensors: tensors().map(|(tensor, bytes)| (tensor.name.clone(), sha256(bytes))).collect(),
        };
        let model = serde_json::value::to_raw_value(&description).expect("strings, numbers and maps of them");
        let envelope = Envelope { sha256: sha256(model.get().as_bytes()), model: &model };
        let text = serde_json::to_string(&envelope).expect("a string and JSON");
        let views = tensors().map(|(tensor, bytes)| {
            let view = TensorView::new(Dtype::F32, tensor.shape.clone(), bytes);
            (tensor.name.as_str(), view.expect("a tensor's range has the length of its shape"))
        });
        // One key: the map's order is not fixed, and the same model must give the same bytes.
        let bytes = safetensors::serialize(views, Some([(KEY.to_owned(), text)].into_iter().collect()));
        let bytes = bytes.map_err(ModelError::Serialize)?;
        let header = (bytes.len() - data.len() - LENGTH) as u64;
        if header > MAX_HEADER {
            return Err(ModelError::HeaderTooLong { found: header });
        }
        Ok(bytes)
    }

    /// Reads the bytes of a model file.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ModelError> {
        read(bytes, bytes.len() as u64, "model")
    }
}

/// SHA-256 of weights, in lower-case hexadecimal: of their bytes, each an IEEE-754 single, little-endian, in the order
/// of `theta`. Two trainings ended in the same bits if and only if these are equal.
///
/// ```
/// let digest = byhand_models::weights_sha256(&[1.0, -0.5]);
/// // printf '\x00\x00\x80\x3f\x00\x00\x00\xbf' | sha256sum
/// assert_eq!(digest, "e5e0ce39fac89cd93af5ba8bcad2fe35d88c75417c7e44941fe5ee4e48f1cf75");
/// ```
pub fn weights_sha256(theta: &[f32]) -> String {
    let mut digest = Sha256::new();
    for value in theta {
        digest.update(value.to_le_bytes());
    }
    encode_string(&digest.finalize())
}

/// What does not fit when preprocessing makes inputs of this shape: what was expected, and what was found.
fn check_preprocessing(preprocessing: &Preprocessing, input: Shape) -> Result<(), String> {
    let Preprocessing { normalize: Normalize { scale, shift }, crop, .. } = *preprocessing;
    if !(scale.is_finite() && shift.is_finite()) {
        return Err(format!("scale {scale} and shift {shift}, expected finite numbers"));
    }
    let Some(Crop { y, x, h, w }) = crop else { return Ok(()) };
    let fits = if input.is_flat() {
        h.checked_mul(w) == Some(input.features())
    } else {
        (h, w) == (input.h, input.w)
    };
    if !fits {
        return Err(format!("a crop of {h} rows and {w} columns, expected those of the input {input}"));
    }
    if y.unsigned_abs().max(x.unsigned_abs()) > MOST_CROPPED {
        return Err(format!("a crop from row {y} and column {x}, expected {MOST_CROPPED} at most"));
    }
    Ok(())
}

/// Farther from the picture's corner no crop begins.
const MOST_CROPPED: u32 = 1 << 20;

/// A model that cannot be written, read or used. The message is one line, and already contains its cause.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The operating system refused.
    #[error("{path}: cannot {action} the model file: {cause}")]
    Io {
        /// The file.
        path: String,
        /// `read` or `write`.
        action: &'static str,
        /// The operating system's words.
        cause: io::Error,
    },
    /// The bytes are not those of a model file.
    #[error("{file}: at byte {offset}: expected {expected}, found {found}")]
    Format {
        /// The file.
        file: String,
        /// Where.
        offset: u64,
        /// What should be there.
        expected: String,
        /// What is.
        found: String,
    },
    /// Weights without a description of their network.
    #[error(
        "{file}: at byte {LENGTH}: expected a description of the network under the metadata key \"{KEY}\", found none; weights alone \
         do not say what network they belong to"
    )]
    WeightsAlone {
        /// The file.
        file: String,
    },
    /// Bytes that are not the ones that were written.
    #[error(
        "{file}: at byte {offset}: {what} damaged: expected SHA-256 {expected}, found {found}; copy it again, or train it again"
    )]
    Digest {
        /// The file.
        file: String,
        /// Where the damaged part begins.
        offset: u64,
        /// The part, with its verb: "tensor 0.weight is".
        what: String,
        /// The digest that the file states.
        expected: String,
        /// The digest of what is there.
        found: String,
    },
    /// A file of a later version of this program.
    #[error("{file}: model format {found}, expected {FORMAT}; a newer byhand wrote it, and can read it")]
    Version {
        /// The file.
        file: String,
        /// Its format.
        found: u32,
    },
    /// A file whose description contradicts itself.
    #[error("{file}: {cause}")]
    Contradiction {
        /// The file.
        file: String,
        /// What does not fit.
        cause: Box<ModelError>,
    },
    /// Layers that cannot be built.
    #[error(transparent)]
    Spec(SpecError),
    /// Too many or too few of something.
    #[error("{found} {what}, expected {expected} for these layers")]
    Count {
        /// Of what.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many the network needs.
        expected: usize,
    },
    /// Images of a size of which no inputs of the network are made.
    #[error("expected images that make an input of {expected}, found images of {h}x{w}, which make {found}")]
    Images {
        /// The network's input.
        expected: Shape,
        /// What the images, preprocessed, are.
        found: Shape,
        /// Rows of an image.
        h: usize,
        /// Columns of an image.
        w: usize,
    },
    /// Data that have not the model's classes.
    #[error(transparent)]
    Data(byhand_datasets::Error),
    /// Preprocessing that is not finite, or makes no inputs of the network: which, and what was expected.
    #[error("preprocessing: {0}")]
    Preprocessing(String),
    /// Class names and notes that would make a header that is not read again.
    #[error("the model file's header has {found} bytes, expected at most {MAX_HEADER}; shorten the notes")]
    HeaderTooLong {
        /// Its bytes.
        found: u64,
    },
    /// The format's library refused.
    #[error("safetensors: {0}")]
    Serialize(SafeTensorError),
}

impl ModelError {
    fn io(path: &Path, action: &'static str, cause: io::Error) -> Self {
        Self::Io { path: path.display().to_string(), action, cause }
    }
}

/// The key of the header's metadata.
const KEY: &str = "byhand";
/// The bytes before the header, which hold its length.
const LENGTH: usize = 8;

/// What lies under [`KEY`].
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<'a> {
    sha256: String,
    #[serde(borrow)]
    model: &'a RawValue,
}

/// The text of [`Envelope::model`].
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    format: u32,
    layers: String,
    input: String,
    classes: Vec<String>,
    preprocessing: StoredPreprocessing,
    notes: BTreeMap<String, String>,
    weights_sha256: String,
    tensors: BTreeMap<String, String>,
}

/// [`Preprocessing`] as it is stored.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredPreprocessing {
    scale: f32,
    shift: f32,
    halve: bool,
    crop: Option<StoredCrop>,
}

/// [`Crop`] as it is stored.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredCrop {
    y: i32,
    x: i32,
    h: usize,
    w: usize,
}

impl From<Preprocessing> for StoredPreprocessing {
    fn from(preprocessing: Preprocessing) -> Self {
        let Preprocessing { normalize: Normalize { scale, shift }, halve, crop } = preprocessing;
        Self { scale, shift, halve, crop: crop.map(|Crop { y, x, h, w }| StoredCrop { y, x, h, w }) }
    }
}

impl From<StoredPreprocessing> for Preprocessing {
    fn from(stored: StoredPreprocessing) -> Self {
        let StoredPreprocessing { scale, shift, halve, crop } = stored;
        let crop = crop.map(|StoredCrop { y, x, h, w }| Crop { y, x, h, w });
        Self { normalize: Normalize { scale, shift }, halve, crop }
    }
}

/// As much of a [`Description`] as any version has.
#[derive(Deserialize)]
struct Version {
    format: u32,
}

/// Reads a model file of `len` bytes; `file` is its name in errors.
fn read(mut reader: impl Read, len: u64, file: &str) -> Result<Model, ModelError> {
    let header = Header::read(&mut reader, len, file)?;
    let Some(text) = header.metadata.metadata().as_ref().and_then(|map| map.get(KEY)) else {
        return Err(ModelError::WeightsAlone { file: file.to_owned() });
    };
    let (spec, description) = describe(text, file)?;
    let input = description.input.parse().map_err(|error: byhand_layers::ShapeError| {
        wrong(file, LENGTH as u64, "the shape of a sample", error.to_string())
    })?;
    let contradiction = |cause| ModelError::Contradiction { file: file.to_owned(), cause: Box::new(cause) };
    let network = spec.build::<f32>(input).map_err(|cause| contradiction(ModelError::Spec(cause)))?;
    let theta = header.tensors(&mut reader, &network, &|name, offset, bytes| {
        let (what, stated) = (|| format!("tensor {name} is"), description.tensors.get(name));
        check_digest(file, offset, what, stated, &sha256(bytes))
    })?;
    let model = Model {
        spec,
        input,
        class_names: description.classes,
        preprocessing: description.preprocessing.into(),
        notes: description.notes,
        theta,
    };
    check_digest(
        file,
        header.data_start,
        || "the weights as a whole are".to_owned(),
        Some(&description.weights_sha256),
        &model.weights_sha256(),
    )?;
    model.network().map_err(contradiction)?;
    Ok(model)
}

/// Reads the weights of `network` from a safetensors file whose tensors have the names and shapes of PyTorch's
/// `nn.Sequential`, as those of a [`Model`] have: what `safetensors.torch.save_file(net.state_dict(), ...)` writes.
///
/// # Errors
/// When the file cannot be read or is damaged, or its tensors are not exactly those of the network: the message names the first
/// that differs, on both sides.
pub fn load_weights(path: &Path, network: &Network<f32>) -> Result<Vec<f32>, ModelError> {
    let (mut file, len) = open(path)?;
    let name = path.display().to_string();
    let header = Header::read(&mut file, len, &name)?;
    header.tensors(&mut file, network, &|_, _, _| Ok(()))
}

/// A file to read, and its length.
#[expect(clippy::disallowed_methods, reason = "model files are large, and read part by part")]
fn open(path: &Path) -> Result<(File, u64), ModelError> {
    let open = || {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a folder"));
        }
        Ok((file, metadata.len()))
    };
    open().map_err(|cause| ModelError::io(path, "read", cause))
}

/// Looks at a tensor: its name, where it begins, its bytes.
type Check<'a> = dyn Fn(&str, u64, &[u8]) -> Result<(), ModelError> + 'a;

/// What stands before the numbers of a safetensors file.
struct Header<'a> {
    /// The file's name in errors.
    file: &'a str,
    /// Its bytes.
    len: u64,
    /// Where the numbers begin.
    data_start: u64,
    metadata: Metadata,
}

impl<'a> Header<'a> {
    fn read(reader: &mut impl Read, len: u64, file: &'a str) -> Result<Self, ModelError> {
        if len < LENGTH as u64 {
            let found = format!("a file of {len} bytes");
            return Err(wrong(file, 0, "the 8 bytes of a header's length", found));
        }
        let mut prefix = [0; LENGTH];
        fill(reader, &mut prefix, file)?;
        let header_len = u64::from_le_bytes(prefix);
        let most = MAX_HEADER.min(len - LENGTH as u64);
        if header_len > most {
            let expected = format!("a header's length of at most {most}");
            let found = format!(
                "{header_len}; expected a model file, as training writes it: this is none, or a cut one"
            );
            return Err(wrong(file, 0, &expected, found));
        }
        let mut text = vec![0; header_len as usize];
        fill(reader, &mut text, file)?;
        let start = LENGTH as u64;
        let metadata = serde_json::from_slice(&text).map_err(|error| {
            wrong(file, start + error.column() as u64, "a safetensors header", error.to_string())
        })?;
        Ok(Self { file, len, data_start: start + header_len, metadata })
    }

    /// The numbers of exactly the tensors of `network`, in its order. `check` is given the name of each, where it begins, and its
    /// bytes. Memory is taken only when the header, the network and the size of the file agree on how much.
    fn tensors(
        &self,
        reader: &mut impl Read,
        network: &Network<f32>,
        check: &Check<'_>,
    ) -> Result<Vec<f32>, ModelError> {
        let (start, stored) = (LENGTH as u64, self.metadata.tensors());
        for tensor in network.params() {
            let expected = format!("tensor {} of F32 and shape {}", tensor.name, dimensions(&tensor.shape));
            let Some(info) = stored.get(&tensor.name) else {
                return Err(wrong(self.file, start, &expected, "no tensor of this name".to_owned()));
            };
            if info.dtype != Dtype::F32 || info.shape != tensor.shape {
                let found = format!("{} and shape {}", info.dtype, dimensions(&info.shape));
                return Err(wrong(self.file, start, &expected, found));
            }
        }
        let is_known = |name: &str| network.params().iter().any(|tensor| tensor.name == name);
        if let Some(name) = stored.keys().find(|name| !is_known(name)) {
            let found = format!("tensor {}", name.escape_debug());
            return Err(wrong(self.file, start, "no tensors but those of the layers", found));
        }
        let expected_len = self.data_start + self.metadata.data_len() as u64;
        if self.len != expected_len {
            let expected =
                format!("the end of the file, as its header says (it has {} tensors)", stored.len());
            let found = format!("a file of {} bytes, not {expected_len}", self.len);
            return Err(wrong(self.file, expected_len.min(self.len), &expected, found));
        }

        let mut data = vec![0; self.metadata.data_len()];
        fill(reader, &mut data, self.file)?;
        let mut theta = vec![0.0; network.param_len()];
        for tensor in network.params() {
            let (from, to) = stored[&tensor.name].data_offsets;
            let bytes = &data[from..to];
            check(&tensor.name, self.data_start + from as u64, bytes)?;
            for (value, bytes) in theta[tensor.range.clone()].iter_mut().zip(bytes.chunks_exact(4)) {
                *value = f32::from_le_bytes(bytes.try_into().expect("chunks of 4"));
            }
        }
        Ok(theta)
    }
}

fn fill(reader: &mut impl Read, bytes: &mut [u8], file: &str) -> Result<(), ModelError> {
    reader.read_exact(bytes).map_err(|cause| ModelError::io(Path::new(file), "read", cause))
}

fn wrong(file: &str, offset: u64, expected: &str, found: String) -> ModelError {
    ModelError::Format { file: file.to_owned(), offset, expected: expected.to_owned(), found }
}

/// Reads the text under [`KEY`], and the layer spec in it.
fn describe(text: &str, file: &str) -> Result<(Spec, Description), ModelError> {
    let offset = LENGTH as u64;
    let malformed = |error: serde_json::Error| ModelError::Format {
        file: file.to_owned(),
        offset,
        expected: "a description of the network under the metadata key \"byhand\"".to_owned(),
        found: error.to_string(),
    };
    let envelope: Envelope<'_> = serde_json::from_str(text).map_err(malformed)?;
    let model = envelope.model.get();
    check_digest(
        file,
        offset,
        || "the header's description of the network is".to_owned(),
        Some(&envelope.sha256),
        &sha256(model.as_bytes()),
    )?;
    let Version { format } = serde_json::from_str(model).map_err(malformed)?;
    if format != FORMAT {
        return Err(ModelError::Version { file: file.to_owned(), found: format });
    }
    let description: Description = serde_json::from_str(model).map_err(malformed)?;
    let spec = description.layers.parse().map_err(|cause| ModelError::Contradiction {
        file: file.to_owned(),
        cause: Box::new(ModelError::Spec(cause)),
    })?;
    Ok((spec, description))
}

fn check_digest(
    file: &str,
    offset: u64,
    what: impl Fn() -> String,
    expected: Option<&String>,
    found: &str,
) -> Result<(), ModelError> {
    if expected.is_some_and(|expected| expected == found) {
        return Ok(());
    }
    Err(ModelError::Digest {
        file: file.to_owned(),
        offset,
        what: what(),
        expected: expected.map_or_else(|| "(none stated)".to_owned(), |text| text.escape_debug().to_string()),
        found: found.to_owned(),
    })
}

fn sha256(bytes: &[u8]) -> String {
    encode_string(&Sha256::digest(bytes))
}

fn dimensions(shape: &[usize]) -> String {
    format!("[{}]", shape.iter().map(usize::to_string).collect::<Vec<_>>().join(", "))
}
