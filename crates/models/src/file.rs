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
//! loads them. Branches have the names of a module with the parts `main` and `shortcut` (`3.main.0.weight`), or of a `ModuleList`
//! (`3.0.0.weight`); `byhand parity export` writes such modules. What PyTorch does not need lies in the header's
//! `__metadata__`, under the one key `byhand`, as JSON:
//!
//! | field | |
//! |---|---|
//! | `sha256` | SHA-256 of the text of `model`, as it stands |
//! | `model.format` | [`FORMAT`] |
//! | `model.layers`, `model.input` | the layer spec, and the shape of a sample |
//! | `model.classes` | the names of the classes |
//! | `model.preprocessing` | see [`Preprocessing`](crate::Preprocessing) |
//! | `model.notes` | what the writer wished to add: the data, the seed, ... |
//! | `model.weights_sha256` | see [`weights_sha256`](crate::weights_sha256) |
//! | `model.tensors` | SHA-256 of each tensor's bytes, to say which is damaged |
//!
//! The same model always gives the same bytes, and a flipped bit anywhere in them is an error.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use base16ct::lower::encode_string;
use byhand_files::{Disk, OS, replace};
use byhand_layers::Network;
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorView};
use sha2::{Digest, Sha256};

use crate::error::ModelError;
use crate::format::{Description, Envelope, KEY, LENGTH, Version};
use crate::model::Model;
use crate::spec::{MAX_PARAMETERS, Spec};

pub use crate::format::{FORMAT, MAX_HEADER};

impl Model {
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
fn open(path: &Path) -> Result<(Box<dyn Read>, u64), ModelError> {
    const MOST: u64 = LENGTH as u64 + MAX_HEADER + 4 * MAX_PARAMETERS as u64;
    let open = || -> io::Result<(Box<dyn Read>, u64)> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a folder"));
        }
        if metadata.is_file() {
            return Ok((Box::new(file), metadata.len()));
        }
        // How much a pipe gives is known at its end.
        let mut bytes = Vec::new();
        let len = file.take(MOST + 1).read_to_end(&mut bytes)? as u64;
        if len > MOST {
            let problem = format!("expected at most {MOST} bytes, found more");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, problem));
        }
        Ok((Box::new(io::Cursor::new(bytes)), len))
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
