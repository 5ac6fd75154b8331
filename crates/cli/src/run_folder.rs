//! The folder of a run: made, locked and proved writable before anything is trained, so that no result is lost at the end.
//!
//! A folder holds the files of one run. Those of an earlier one are set aside before the first new one is written, and two
//! runs do not write into one folder at once. Every file goes to the disk through [`Disk`], whole or not at all.

#[cfg(feature = "live")]
use std::time::SystemTime;
use std::{
    fs,
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result, anyhow};
use byhand_files::{Disk, Lock, OS, Writer, lock, remove_unfinished, replace};
use byhand_models::Model;
use byhand_report::Epoch;
use byhand_trainer::{Checkpoint, CheckpointError};
use serde_json::Value;

use crate::{exit::usage, loading::MODEL_FILE};

const CONFIG_FILE: &str = "config.toml";
const HISTORY_FILE: &str = "history.jsonl";
/// The weights that were best on the validation set.
const BEST_FILE: &str = "best.safetensors";
/// What a run that diverged leaves: what happened, and the state before the step.
const FAILURE_FILE: &str = "failure.json";
const FAILED_STATE_FILE: &str = "failure.safetensors";
/// What the run came to, and where.
const RESULT_FILE: &str = "result.json";
/// The page to look at.
const REPORT_FILE: &str = "report.html";
/// The folder of TensorBoard's event files.
pub const BOARD: &str = "tensorboard";
/// The folder of the checkpoints, each named by its step.
const CHECKPOINTS: &str = "checkpoints";
/// How many checkpoints are kept: the newest ones.
const KEPT: usize = 3;
/// A history that is longer is none of ours.
const LONGEST_HISTORY: u64 = 1 << 30;

/// Where a run writes its model, configuration, history and checkpoints.
pub struct RunFolder {
    path: PathBuf,
    disk: Arc<dyn Disk>,
    _lock: Option<Lock>,
}

impl RunFolder {
    /// Makes the folder that the user named, or uses it when it is there.
    pub fn named(path: &Path) -> Result<Self> {
        fs::create_dir_all(path).with_context(|| cannot_write(path))?;
        Self::locked(path)
    }

    /// Makes a folder that was not there: `runs/<name>`, or `runs/<name>-2` and on when that is taken.
    pub fn fresh(name: &str) -> Result<Self> {
        let runs = Path::new("runs");
        fs::create_dir_all(runs).with_context(|| cannot_write(runs))?;
        for number in 1.. {
            let path = runs.join(if number == 1 { name.to_string() } else { format!("{name}-{number}") });
            match fs::create_dir(&path) {
                Ok(()) => return Self::locked(&path),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error).with_context(|| cannot_write(&path)),
            }
        }
        unreachable!("some number is free")
    }

    /// A folder on another disk than the machine's, which nobody else has.
    pub fn on(disk: Arc<dyn Disk>, path: &Path) -> Self {
        for folder in [path, &checkpoints_of(path)] {
            remove_unfinished(&*disk, folder);
        }
        Self { path: path.to_path_buf(), disk, _lock: None }
    }

    /// Takes the folder for this process.
    fn locked(path: &Path) -> Result<Self> {
        match lock(path).with_context(|| cannot_write(path))? {
            Ok(lock) => Ok(Self { _lock: Some(lock), ..Self::on(Arc::new(OS), path) }),
            Err(process) => Err(usage(format!(
                "{}: process {process} is training into this folder; wait for it or end it, or choose another with --out DIR",
                path.display(),
            ))),
        }
    }

    /// Moves the files of an earlier run into a folder beside them, which is given back. None is lost.
    pub fn set_aside(&self) -> Result<Option<PathBuf>> {
        let files = [
            MODEL_FILE,
            BEST_FILE,
            FAILURE_FILE,
            FAILED_STATE_FILE,
            CHECKPOINTS,
            HISTORY_FILE,
            RESULT_FILE,
            REPORT_FILE,
            BOARD,
            CONFIG_FILE,
        ];
        let there = self.disk.list(&self.path).with_context(|| cannot_write(&self.path))?;
        let is_there = |path: &PathBuf| there.contains(path);
        let earlier: Vec<&str> = files.into_iter().filter(|file| is_there(&self.path.join(file))).collect();
        if earlier.is_empty() {
            return Ok(None);
        }
        let mut aside = (1..).map(|number| self.path.join(format!("earlier-{number}")));
        let aside = aside.find(|path| !is_there(path)).expect("some number is free");
        let moved = || {
            self.disk.create_folder(&aside)?;
            for file in earlier {
                self.disk.rename(&self.path.join(file), &aside.join(file))?;
            }
            self.disk.sync_folder(&aside)?;
            self.disk.sync_folder(&self.path)
        };
        moved().with_context(|| cannot_write(&aside))?;
        Ok(Some(aside))
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is a model or a checkpoint.
    pub fn has_results(&self) -> bool {
        let model = self.path.join(MODEL_FILE);
        let has_model = self.disk.list(&self.path).is_ok_and(|files| files.contains(&model));
        has_model || !checkpoints(&*self.disk, &self.path).is_empty()
    }

    /// Writes the trained model.
    pub fn save_model(&self, model: &Model) -> Result<()> {
        Ok(model.save_on(&*self.disk, &self.path.join(MODEL_FILE))?)
    }

    /// Writes the model that was best on the validation set.
    pub fn save_best(&self, model: &Model) -> Result<()> {
        Ok(model.save_on(&*self.disk, &self.path.join(BEST_FILE))?)
    }

    /// Writes what `--resume` goes on from, and removes what is older than the last few of these.
    pub fn save_checkpoint(&self, checkpoint: &Checkpoint) -> Result<()> {
        let folder = checkpoints_of(&self.path);
        match self.disk.create_folder(&folder) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            made => made
                .and_then(|()| self.disk.sync_folder(&self.path))
                .with_context(|| cannot_write(&folder))?,
        }
        checkpoint.save_on(&*self.disk, &folder.join(format!("step-{}.safetensors", checkpoint.step())))?;
        for (_, old) in checkpoints(&*self.disk, &self.path).iter().skip(KEPT) {
            self.disk.remove(old).with_context(|| format!("cannot remove {}", old.display()))?;
        }
        Ok(())
    }

    /// The newest checkpoint that is whole. Those that are not get another name, and `tell` is told.
    pub fn newest_checkpoint(&self, tell: &mut dyn FnMut(String)) -> Result<Option<Checkpoint>> {
        for (_, path) in checkpoints(&*self.disk, &self.path) {
            match Checkpoint::load_from(&*self.disk, &path) {
                Ok(checkpoint) => return Ok(Some(checkpoint)),
                // It may be whole: the disk does not say.
                Err(CheckpointError::Io { cause, .. }) if cause.kind() != ErrorKind::FileTooLarge => {
                    return Err(cause).with_context(|| format!("cannot read {}", path.display()));
                }
                Err(error) => {
                    let names = (1..).map(|number| path.with_extension(format!("damaged-{number}")));
                    let folder =
                        self.disk.list(&checkpoints_of(&self.path)).with_context(|| cannot_write(&path))?;
                    let aside = { names }.find(|name| !folder.contains(name)).expect("some number is free");
                    self.disk.rename(&path, &aside).with_context(|| cannot_write(&path))?;
                    tell(format!("{error}; it is {} now, and the one before is taken", aside.display()));
                }
            }
        }
        Ok(None)
    }

    /// Writes what `train --config` reads.
    pub fn write_config(&self, text: &str) -> Result<()> {
        self.replace(CONFIG_FILE, text)
    }

    /// Writes what the run came to.
    pub fn write_result(&self, result: &Value) -> Result<()> {
        self.replace(RESULT_FILE, &format!("{result:#}\n"))
    }

    /// Writes the page to look at.
    pub fn write_report(&self, page: &str) -> Result<()> {
        self.replace(REPORT_FILE, page)
    }

    /// Writes what `replay` reads: what happened, and the state before it.
    pub fn write_failure(&self, told: &Value, state: &Checkpoint) -> Result<()> {
        state.save_on(&*self.disk, &self.path.join(FAILED_STATE_FILE))?;
        self.replace(FAILURE_FILE, &format!("{told:#}\n"))
    }

    /// Removes what an earlier failure left: the run goes on.
    pub fn clear_failure(&self) -> Result<()> {
        for file in [FAILURE_FILE, FAILED_STATE_FILE].map(|file| self.path.join(file)) {
            match self.disk.remove(&file) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(error).with_context(|| cannot_write(&file));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A history without epochs.
    pub fn new_history(&self) -> Result<History> {
        self.history("")
    }

    /// The history of the run in `folder`, up to step `step`, to be continued in this folder. An epoch that was told, and whose
    /// checkpoint could not be saved, comes again and is left out here.
    pub fn history_of(&self, folder: &Path, step: u64) -> Result<History> {
        // Bytes: a line that a full disk cut short is left out below.
        let text = self.disk.read(&folder.join(HISTORY_FILE), LONGEST_HISTORY).unwrap_or_default();
        let mut last = 0;
        let mut kept = String::new();
        for line in String::from_utf8_lossy(&text).lines() {
            let told = serde_json::from_str::<Value>(line).ok().and_then(|entry| entry["step"].as_u64());
            if let Some(told) = told.filter(|told| (last + 1..=step).contains(told)) {
                last = told;
                kept += line;
                kept.push('\n');
            }
        }
        self.history(&kept)
    }

    fn history(&self, text: &str) -> Result<History> {
        let path = self.path.join(HISTORY_FILE);
        self.replace(HISTORY_FILE, text)?;
        let file = self.disk.append(&path).with_context(|| cannot_write(&path))?;
        Ok(History { file, path })
    }

    fn replace(&self, file: &str, text: &str) -> Result<()> {
        let path = self.path.join(file);
        replace(&*self.disk, &path, text.as_bytes()).with_context(|| cannot_write(&path))
    }
}

/// Whether the run in `folder` has a checkpoint, whole or not.
pub fn has_checkpoint(folder: &Path) -> bool {
    !checkpoints(&OS, folder).is_empty()
}

/// The newest checkpoint that is whole of a run that is only looked at, or why there is none.
pub fn newest_checkpoint_in(folder: &Path) -> Result<Checkpoint> {
    let mut first = None;
    for (_, path) in checkpoints(&OS, folder) {
        match Checkpoint::load(&path) {
            Ok(checkpoint) => return Ok(checkpoint),
            Err(error) => first = first.or(Some(error)),
        }
    }
    Err(match first {
        Some(error) => error.into(),
        None => usage(format!("{}: expected a run folder with a checkpoint, found none", folder.display())),
    })
}

/// The state of a run before the step that failed, and what was told of it.
pub fn failure_in(folder: &Path) -> Result<(Value, Checkpoint)> {
    let path = folder.join(FAILURE_FILE);
    let text = OS.read(&path, 1 << 24);
    let text = text.map_err(|error| {
        usage(format!("{}: {error}; expected the folder of a run that diverged", path.display()))
    })?;
    let damaged = || format!("cannot replay the failure in {}; train again to see it", folder.display());
    let told = serde_json::from_slice(&text);
    let told = told.map_err(|error| anyhow!("{}: expected JSON, found {error}", path.display()));
    Ok((
        told.with_context(damaged)?,
        Checkpoint::load(&folder.join(FAILED_STATE_FILE)).with_context(damaged)?,
    ))
}

/// The epochs of the run in `folder`, and how many lines of its history are none.
pub fn history_in(folder: &Path) -> Result<(Vec<Epoch>, usize)> {
    let path = folder.join(HISTORY_FILE);
    let text = match OS.read(&path, LONGEST_HISTORY) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok((Vec::new(), 0)),
        text => text.with_context(|| format!("cannot read {}", path.display()))?,
    };
    let lines: Vec<Option<Epoch>> =
        String::from_utf8_lossy(&text).lines().map(|line| serde_json::from_str(line).ok()).collect();
    let all = lines.len();
    let epochs: Vec<Epoch> = lines.into_iter().flatten().collect();
    let unread = all - epochs.len();
    Ok((epochs, unread))
}

/// What the run in `folder` came to, if it came to its end.
pub fn result_in(folder: &Path) -> Result<Option<Value>> {
    let path = folder.join(RESULT_FILE);
    match OS.read(&path, 1 << 24) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        text => {
            let text = text.with_context(|| format!("cannot read {}", path.display()))?;
            let result = serde_json::from_slice(&text);
            result
                .map_err(|error| anyhow::anyhow!("{}: expected JSON, found {error}", path.display()))
                .map(Some)
        }
    }
}

/// The files in `folder` that tell of a run's progress, each with when it was written and its length.
#[cfg(feature = "live")]
pub fn written_in(folder: &Path) -> Vec<(PathBuf, SystemTime, u64)> {
    let files =
        [CONFIG_FILE, HISTORY_FILE, RESULT_FILE, FAILURE_FILE, MODEL_FILE].map(|file| folder.join(file));
    let checkpoints = checkpoints(&OS, folder).into_iter().map(|(_, path)| path);
    let written = |path: PathBuf| {
        let metadata = fs::metadata(&path).ok()?;
        Some((path, metadata.modified().ok()?, metadata.len()))
    };
    files.into_iter().chain(checkpoints).filter_map(written).collect()
}

/// The page of the run in `folder`.
pub fn report_in(folder: &Path) -> PathBuf {
    folder.join(REPORT_FILE)
}

/// The configuration of the run in `folder`.
pub fn config_in(folder: &Path) -> PathBuf {
    folder.join(CONFIG_FILE)
}

/// The checkpoints of a run and their steps, newest first.
fn checkpoints(disk: &dyn Disk, folder: &Path) -> Vec<(u64, PathBuf)> {
    let paths = disk.list(&checkpoints_of(folder)).unwrap_or_default().into_iter();
    let named = paths.filter_map(|path| {
        let step =
            path.file_name()?.to_str()?.strip_prefix("step-")?.strip_suffix(".safetensors")?.parse().ok()?;
        Some((step, path))
    });
    let mut named: Vec<(u64, PathBuf)> = named.collect();
    named.sort_by(|a, b| b.cmp(a));
    named
}

fn checkpoints_of(folder: &Path) -> PathBuf {
    folder.join(CHECKPOINTS)
}

/// `history.jsonl`, open.
pub struct History {
    file: Box<dyn Writer>,
    path: PathBuf,
}

impl History {
    /// Adds a line.
    pub fn add(&mut self, entry: &Value) -> Result<()> {
        self.file.write_all(format!("{entry}\n").as_bytes()).with_context(|| cannot_write(&self.path))
    }

    /// Waits until it is on the disk.
    pub fn sync(&mut self) -> Result<()> {
        self.file.sync().with_context(|| cannot_write(&self.path))
    }
}

fn cannot_write(path: &Path) -> String {
    format!(
        "cannot write {}; expected a folder that may be written (choose another with --out DIR)",
        path.display()
    )
}
