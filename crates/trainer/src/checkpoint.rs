//! Checkpoints: all that is needed to stop a fit and resume it bit for bit, in one file.
//!
//! The file is safetensors: tensors `theta`, `optimizer` and, if there was an evaluation, `best` (little-endian f32), the rest as text
//! in the metadata, with a SHA-256 over all of it.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use base16ct::lower::encode_string;
use byhand_files::{Disk, OS, replace};
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};
use sha2::{Digest, Sha256};

use crate::step::StepStats;
use crate::trend::Trend;
use crate::watch::Watch;

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
    pub(crate) trend: Trend,
    pub(crate) watch: Watch,
    pub(crate) best: Option<Best>,
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

    /// The weights that were best when they were evaluated.
    pub fn best(&self) -> Option<&Best> {
        self.best.as_ref()
    }

    /// What the fit was set to, by name, as text.
    pub fn settings(&self) -> &BTreeMap<String, String> {
        &self.settings
    }

    /// Writes the checkpoint to `path`, whole or not at all: what is there is replaced only when all is on the disk. Who may read it is
    /// the umask's to say, as of any new file.
    ///
    /// # Errors
    /// When the folder cannot be written to.
    pub fn save(&self, path: &Path) -> Result<(), CheckpointError> {
        self.save_on(&OS, path)
    }

    /// [`save`](Self::save) on another disk than the machine's.
    ///
    /// # Errors
    /// As [`save`](Self::save).
    pub fn save_on(&self, disk: &dyn Disk, path: &Path) -> Result<(), CheckpointError> {
        replace(disk, path, &self.to_bytes()).map_err(|cause| CheckpointError::io(path, "write", cause))
    }

    /// Reads the checkpoint at `path`.
    ///
    /// # Errors
    /// When it cannot be read, is no checkpoint, or a bit of it has changed.
    pub fn load(path: &Path) -> Result<Checkpoint, CheckpointError> {
        Checkpoint::load_from(&OS, path)
    }

    /// [`load`](Self::load) from another disk than the machine's.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_from(disk: &dyn Disk, path: &Path) -> Result<Checkpoint, CheckpointError> {
        let bytes = disk.read(path, MAX_BYTES).map_err(|cause| CheckpointError::io(path, "read", cause))?;
        Checkpoint::from_bytes(&bytes).map_err(|(expected, found)| CheckpointError::Format {
            path: path.display().to_string(),
            expected,
            found,
        })
    }

    fn to_bytes(&self) -> Vec<u8> {
        let best = self.best.as_ref().map(|best| ("best", &best.theta));
        let tensors = [("theta", &self.theta), ("optimizer", &self.state)].into_iter().chain(best);
        let tensors: Vec<(&str, Vec<u8>)> = tensors.map(|(name, values)| (name, to_bytes(values))).collect();
        let mut metadata = self.metadata();
        metadata.insert(SHA256.into(), sha256(&metadata, tensors.iter().map(|(_, bytes)| &**bytes)));
        let view = |bytes| {
            TensorView::new(Dtype::F32, vec![<[u8]>::len(bytes) / 4], bytes).expect("four bytes a number")
        };
        let tensors = tensors.iter().map(|(name, bytes)| (*name, view(bytes)));
        serialize(tensors, Some(metadata.into_iter().collect())).expect("tensors of different names")
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
        let best = metadata.contains_key("best").then(|| tensor("best")).transpose()?;
        let written = metadata.remove(SHA256).unwrap_or_else(|| "none".into());
        let actual = sha256(&metadata, [theta, state].into_iter().chain(best));
        if written != actual {
            return Err((
                format!("SHA-256 {written}, as noted in the file"),
                format!("{actual}: bits have changed"),
            ));
        }
        let text = |key: &str| metadata.get(key).map_or("nothing", String::as_str);
        fn all<const N: usize>(key: &str, text: &str) -> Result<[u64; N], (String, String)> {
            let numbers: Option<Vec<u64>> = text.split(' ').map(|number| number.parse().ok()).collect();
            let numbers = numbers.and_then(|numbers| numbers.try_into().ok());
            numbers.ok_or_else(|| (format!("{N} whole numbers for {key}"), text.to_string()))
        }
        let miscounted = |key: &str| wrong(&format!("counts that can be for {key}"), text(key).to_string());
        let [step, epoch] = all("position", text("position"))?;
        let best = match best {
            Some(theta) => Some(Best::of(all("best", text("best"))?, from_bytes(theta))),
            None => None,
        };
        Ok(Checkpoint {
            theta: from_bytes(theta),
            state: from_bytes(state),
            step,
            epoch,
            epoch_sums: Sums::of(all("epoch", text("epoch"))?).ok_or_else(|| miscounted("epoch"))?,
            window_sums: Sums::of(all("window", text("window"))?).ok_or_else(|| miscounted("window"))?,
            trend: Trend::of(all("trend", text("trend"))?).ok_or_else(|| miscounted("trend"))?,
            watch: match metadata.get("watch") {
                Some(numbers) => Watch::of(all("watch", numbers)?).ok_or_else(|| miscounted("watch"))?,
                None => Watch::new(step),
            },
            best,
            settings: serde_json::from_str(text("settings"))
                .map_err(|error| wrong("settings as a JSON object", error.to_string()))?,
        })
    }

    /// Numbers are whole ones with blanks between; floats are told by their bits.
    fn metadata(&self) -> BTreeMap<String, String> {
        let text = |numbers: &[u64]| numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(" ");
        let mut metadata = BTreeMap::from([
            ("format".to_string(), FORMAT.to_string()),
            ("position".into(), text(&[self.step, self.epoch])),
            ("epoch".into(), text(&self.epoch_sums.numbers())),
            ("window".into(), text(&self.window_sums.numbers())),
            ("trend".into(), text(&self.trend.numbers())),
            ("watch".into(), text(&self.watch.numbers())),
            ("settings".into(), serde_json::to_string(&self.settings).expect("text keys and values")),
        ]);
        if let Some(best) = &self.best {
            metadata.insert("best".into(), text(&best.numbers()));
        }
        metadata
    }
}

/// The weights that were best on the test set when they were evaluated: those of the highest accuracy, of equal ones those of the lowest
/// loss, of equal ones the first. (A test set that chooses weights says too much of them: give a validation set instead.)
#[derive(Debug, Clone, PartialEq)]
pub struct Best {
    /// Steps done.
    pub step: u64,
    /// The epoch, from 1.
    pub epoch: u64,
    /// Mean loss.
    pub loss: f64,
    /// Share classified correctly.
    pub accuracy: f64,
    /// The weights.
    pub theta: Vec<f32>,
}

impl Best {
    fn numbers(&self) -> [u64; 4] {
        [self.step, self.epoch, self.loss.to_bits(), self.accuracy.to_bits()]
    }

    fn of([step, epoch, loss, accuracy]: [u64; 4], theta: Vec<f32>) -> Best {
        let [loss, accuracy] = [loss, accuracy].map(f64::from_bits);
        Best { step, epoch, loss, accuracy, theta }
    }
}

/// Sums over steps, for means.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Sums {
    pub(crate) loss: f64,
    pub(crate) correct: u64,
    pub(crate) samples: u64,
}

impl Sums {
    pub(crate) fn add(&mut self, stats: &StepStats) {
        self.loss += stats.loss * stats.samples as f64;
        self.correct += stats.correct as u64;
        self.samples += stats.samples as u64;
    }

    fn numbers(&self) -> [u64; 3] {
        [self.loss.to_bits(), self.correct, self.samples]
    }

    /// Of numbers that can be: none is so large that counting on would overflow.
    fn of([loss, correct, samples]: [u64; 3]) -> Option<Sums> {
        let can_be = correct <= samples && samples <= 1 << 53;
        can_be.then_some(Sums { loss: f64::from_bits(loss), correct, samples })
    }

    /// Mean loss and share correct.
    pub(crate) fn means(self) -> (f64, f64) {
        (self.loss / self.samples as f64, self.correct as f64 / self.samples as f64)
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

/// A file that is larger is none of ours, and is not read: a network of 2^28 parameters, its best ones, and two numbers of state each.
const MAX_BYTES: u64 = 4 * 4 * (1 << 28) + (1 << 20);

const FORMAT: &str = "byhand-checkpoint-2";
const SHA256: &str = "sha256";

fn sha256<'a>(metadata: &BTreeMap<String, String>, tensors: impl Iterator<Item = &'a [u8]>) -> String {
    let mut hasher = Sha256::new();
    hasher.update(serde_json::to_string(metadata).expect("text keys and values"));
    for bytes in tensors {
        hasher.update((bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    }
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
            trend: Trend::default(),
            watch: Watch::of([5, 1, 1]).unwrap(),
            best: Some(Best { step: 5, epoch: 1, loss: 0.25, accuracy: 0.5, theta: vec![1.0, 2.0, -3.0] }),
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
        assert!(Checkpoint::load(&path).unwrap_err().to_string().contains("expected at most"));
        std::fs::write(&path, "rubbish").unwrap();
        assert!(Checkpoint::load(&path).unwrap_err().to_string().contains("expected a safetensors file"));
        let error = checkpoint().save(&path.join("below a file")).unwrap_err().to_string();
        assert!(error.contains("cannot write checkpoint"), "{error}");
    }
}
