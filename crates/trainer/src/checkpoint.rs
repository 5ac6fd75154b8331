//! Checkpoints: all that is needed to stop a fit and resume it bit for bit, in one file. The only module that touches
//! the file system.
//!
//! The file is safetensors: tensors `theta` and `optimizer` (little-endian f32), the rest as text in the metadata, with a
//! SHA-256 over all of it.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use base16ct::lower::encode_string;
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};
use sha2::{Digest, Sha256};

use crate::fit::Sums;

/// The state of a [`Fit`](crate::Fit) between two steps.
///
/// ```
/// use byhand_datasets::digits::{self, Part};
/// use byhand_layers::{Dense, Network};
/// use byhand_trainer::{Checkpoint, Fit, FitConfig, Silent};
///
/// let train = digits::generate(Part::Train, 100, 1);
/// let network: Network = Network::new(vec![Box::new(Dense::new(784, 10, true)?)])?;
/// let fit = || Fit::new(&network, vec![0.0; 7850], &train, None, FitConfig { epochs: 2, ..FitConfig::default() });
/// let mut whole = fit()?;
/// whole.run(&mut Silent)?;
///
/// let mut stopped = fit()?;
/// stopped.run_until(5, &mut Silent)?;
/// # let folder = tempfile::tempdir()?;
/// # let path = &folder.path().join("checkpoint.safetensors");
/// stopped.checkpoint().save(path)?;
///
/// // Later, in another process: the bits of the fit that never stopped.
/// let config = FitConfig { epochs: 2, ..FitConfig::default() };
/// let mut resumed = Fit::resume(&network, Checkpoint::load(path)?, &train, None, config)?;
/// resumed.run(&mut Silent)?;
/// assert_eq!(resumed.theta(), whole.theta());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    pub(crate) theta: Vec<f32>,
    pub(crate) state: Vec<f32>,
    pub(crate) step: u64,
    pub(crate) epoch: u64,
    pub(crate) epoch_sums: Sums,
    pub(crate) window_sums: Sums,
    pub(crate) settings: BTreeMap<String, String>,
}

impl Checkpoint {
    /// The weights.
    pub fn theta(&self) -> &[f32] {
        &self.theta
    }

    /// Steps done.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Epochs done.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// What the fit was set to, by name, as text.
    pub fn settings(&self) -> &BTreeMap<String, String> {
        &self.settings
    }

    /// Writes the checkpoint to `path`, replacing what is there only when all is written. Who may read it is the umask's to say,
    /// as of any new file.
    ///
    /// # Errors
    /// When the folder cannot be written to.
    pub fn save(&self, path: &Path) -> Result<(), CheckpointError> {
        let io_error = |cause| CheckpointError::io(path, "write", cause);
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut builder = tempfile::Builder::new();
        // The library's own choice is the owner alone.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let mut file = builder.tempfile_in(folder).map_err(io_error)?;
        file.write_all(&self.to_bytes()).map_err(io_error)?;
        file.as_file().sync_all().map_err(io_error)?;
        file.persist(path).map_err(|error| io_error(error.error))?;
        Ok(())
    }

    /// Reads the checkpoint at `path`.
    ///
    /// # Errors
    /// When it cannot be read, is no checkpoint, or a bit of it has changed.
    pub fn load(path: &Path) -> Result<Checkpoint, CheckpointError> {
        let io_error = |cause| CheckpointError::io(path, "read", cause);
        let found = std::fs::metadata(path).map_err(io_error)?.len();
        if found > MAX_BYTES {
            return Err(CheckpointError::Format {
                path: path.display().to_string(),
                expected: format!("a checkpoint of at most {MAX_BYTES} bytes"),
                found: format!("a file of {found}"),
            });
        }
        let bytes = std::fs::read(path).map_err(io_error)?;
        Checkpoint::from_bytes(&bytes).map_err(|(expected, found)| CheckpointError::Format {
            path: path.display().to_string(),
            expected,
            found,
        })
    }

    fn to_bytes(&self) -> Vec<u8> {
        let (theta, state) = (to_bytes(&self.theta), to_bytes(&self.state));
        let mut metadata = self.metadata();
        metadata.insert(SHA256.into(), sha256(&metadata, &theta, &state));
        let tensor = |values: &[f32], bytes| {
            TensorView::new(Dtype::F32, vec![values.len()], bytes).expect("four bytes a number")
        };
        let tensors = [("theta", tensor(&self.theta, &theta)), ("optimizer", tensor(&self.state, &state))];
        serialize(tensors, Some(metadata.into_iter().collect())).expect("two tensors of different names")
    }

    /// The error is (what was expected, what was found).
    fn from_bytes(bytes: &[u8]) -> Result<Checkpoint, (String, String)> {
        let wrong = |expected: &str, found: String| (expected.to_string(), found);
        let (_, header) = SafeTensors::read_metadata(bytes)
            .map_err(|error| wrong("a safetensors file", format!("one whose header is damaged ({error})")))?;
        let metadata = header.metadata().clone().ok_or_else(|| wrong(FORMAT, "no metadata".into()))?;
        let mut metadata: BTreeMap<String, String> = metadata.into_iter().collect();
        match metadata.get("format") {
            Some(format) if format == FORMAT => {}
            Some(format) => return Err(wrong(FORMAT, format!("format {format}"))),
            None => return Err(wrong(FORMAT, "a safetensors file of another kind".into())),
        }
        let file = SafeTensors::deserialize(bytes)
            .map_err(|error| wrong("a whole safetensors file", format!("a damaged one ({error})")))?;
        let tensor = |name: &str| match file.tensor(name) {
            Ok(tensor) if tensor.dtype() == Dtype::F32 => Ok(tensor.data()),
            Ok(_) => Err(wrong("numbers of type F32", format!("others in tensor {name}"))),
            Err(_) => Err(wrong("a tensor named", format!("none named {name}"))),
        };
        let (theta, state) = (tensor("theta")?, tensor("optimizer")?);
        let written = metadata.remove(SHA256).unwrap_or_else(|| "none".into());
        let actual = sha256(&metadata, theta, state);
        if written != actual {
            return Err((
                format!("SHA-256 {written}, as noted in the file"),
                format!("{actual}: bits have changed"),
            ));
        }
        let number = |key: &str| {
            let text = metadata.get(key).map_or("nothing", String::as_str);
            text.parse::<u64>().map_err(|_| (format!("a whole number for {key}"), text.to_string()))
        };
        let sums = |name: &str| {
            Ok::<_, (String, String)>(Sums {
                loss: f64::from_bits(number(&format!("{name}_loss_bits"))?),
                correct: number(&format!("{name}_correct"))?,
                samples: number(&format!("{name}_samples"))?,
            })
        };
        let settings = metadata.get("settings").map_or("nothing", String::as_str);
        Ok(Checkpoint {
            theta: from_bytes(theta),
            state: from_bytes(state),
            step: number("step")?,
            epoch: number("epoch")?,
            epoch_sums: sums("epoch")?,
            window_sums: sums("window")?,
            settings: serde_json::from_str(settings)
                .map_err(|error| wrong("settings as a JSON object", error.to_string()))?,
        })
    }

    fn metadata(&self) -> BTreeMap<String, String> {
        let mut metadata = BTreeMap::from([
            ("format".to_string(), FORMAT.to_string()),
            ("step".into(), self.step.to_string()),
            ("epoch".into(), self.epoch.to_string()),
            ("settings".into(), serde_json::to_string(&self.settings).expect("text keys and values")),
        ]);
        for (name, sums) in [("epoch", &self.epoch_sums), ("window", &self.window_sums)] {
            metadata.insert(format!("{name}_loss_bits"), sums.loss.to_bits().to_string());
            metadata.insert(format!("{name}_correct"), sums.correct.to_string());
            metadata.insert(format!("{name}_samples"), sums.samples.to_string());
        }
        metadata
    }
}

/// A checkpoint that cannot be written or read. The message already contains its cause.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The system refused.
    #[error("cannot {action} checkpoint {path}: {cause}")]
    Io {
        /// The file.
        path: String,
        /// What was tried.
        action: &'static str,
        /// Why not.
        cause: io::Error,
    },
    /// The file is no checkpoint, or a damaged one.
    #[error("{path}: expected {expected}, found {found}")]
    Format {
        /// The file.
        path: String,
        /// What it should hold.
        expected: String,
        /// What it holds.
        found: String,
    },
}

impl CheckpointError {
    fn io(path: &Path, action: &'static str, cause: io::Error) -> CheckpointError {
        CheckpointError::Io { path: path.display().to_string(), action, cause }
    }
}

/// The SHA-256 of weights, as little-endian f32, in lower-case hexadecimal: equal exactly when all bits are.
pub fn weights_sha256(theta: &[f32]) -> String {
    encode_string(&Sha256::digest(to_bytes(theta)))
}

/// A file that is larger is none of ours, and is not read: a network of 2^28 parameters with two numbers of state each.
const MAX_BYTES: u64 = 3 * 4 * (1 << 28) + (1 << 20);

const FORMAT: &str = "byhand-checkpoint-1";
const SHA256: &str = "sha256";

fn sha256(metadata: &BTreeMap<String, String>, theta: &[u8], state: &[u8]) -> String {
    let mut hasher = Sha256::new();
    hasher.update(serde_json::to_string(metadata).expect("text keys and values"));
    hasher.update((theta.len() as u64).to_le_bytes());
    hasher.update(theta);
    hasher.update(state);
    encode_string(&hasher.finalize())
}

fn to_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn from_bytes(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|&four| f32::from_le_bytes(four)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint() -> Checkpoint {
        Checkpoint {
            theta: vec![1.0, -0.0, f32::MIN_POSITIVE],
            state: vec![0.5],
            step: 7,
            epoch: 2,
            epoch_sums: Sums { loss: 0.1 + 0.2, correct: 3, samples: 5 },
            window_sums: Sums::default(),
            settings: BTreeMap::from([("seed".to_string(), "1".to_string())]),
        }
    }

    #[test]
    fn saved_and_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint.safetensors");
        checkpoint().save(&path).unwrap();
        checkpoint().save(&path).unwrap();
        assert_eq!(Checkpoint::load(&path).unwrap(), checkpoint());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let plain = folder.path().join("plain");
            std::fs::write(&plain, "").unwrap();
            let mode = |path| std::fs::metadata(path).unwrap().permissions().mode();
            assert_eq!(mode(&path), mode(&plain), "read by whom any other new file is");
            std::fs::remove_file(plain).unwrap();
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let good = checkpoint().to_bytes();
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                // A changed blank between header and tensors would mean nothing; there is none that is not noticed.
                assert!(
                    Checkpoint::from_bytes(&bad).ok() != Some(checkpoint()) || at < 8,
                    "bit {bit} of byte {at}"
                );
                assert!(Checkpoint::from_bytes(&bad).is_err(), "bit {bit} of byte {at}");
            }
        }
        for len in 0..good.len() {
            assert!(Checkpoint::from_bytes(&good[..len]).is_err(), "the first {len} bytes");
        }
    }

    #[test]
    fn errors_name_the_file_and_what_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c");
        assert!(Checkpoint::load(&path).unwrap_err().to_string().contains("cannot read checkpoint"));
        let huge = std::fs::File::create(&path).unwrap();
        huge.set_len(MAX_BYTES + 1).unwrap();
        assert!(Checkpoint::load(&path).unwrap_err().to_string().contains("at most"));
        std::fs::write(&path, "rubbish").unwrap();
        assert!(Checkpoint::load(&path).unwrap_err().to_string().contains("expected a safetensors file"));
        let error = checkpoint().save(&path.join("below a file")).unwrap_err().to_string();
        assert!(error.contains("cannot write checkpoint"), "{error}");
    }

    #[test]
    fn the_digest_is_that_of_the_bytes() {
        // Of four zero bytes.
        let expected = "df3f619804a92fdb4057192dc43dd748ea778adc52bc498ce80524c014b81119";
        assert_eq!(weights_sha256(&[0.0]), expected);
        assert_ne!(weights_sha256(&[-0.0]), expected);
    }
}
