//! The folder of a run: made, locked and proved writable before anything is trained, so that no result is lost at the end.
//!
//! A folder holds the files of one run. Those of an earlier one are set aside before the first new one is written, and two
//! runs do not write into one folder at once.

use std::{
    ffi::OsStr,
    fs::{self, File, TryLockError},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    process,
};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{exit::usage, loading::MODEL_FILE};

const CHECKPOINT_FILE: &str = "checkpoint.safetensors";
const CONFIG_FILE: &str = "config.toml";
const HISTORY_FILE: &str = "history.jsonl";

/// Locked by the run that writes into the folder, and naming its process. The system lifts the lock when the process ends,
/// however it ends; the file stays, since to take it away would let two runs lock two files of one name.
const LOCK_FILE: &str = ".lock";

/// Where a run writes its model, configuration, history and checkpoint.
pub struct RunFolder {
    path: PathBuf,
    _lock: File,
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

    /// Takes the folder for this process. It writes a file: permissions and a full disk show now, not after an hour.
    fn locked(path: &Path) -> Result<Self> {
        let lock = path.join(LOCK_FILE);
        let mut file = File::options()
            .create(true)
            .write(true)
            .truncate(false)
            .open(&lock)
            .with_context(|| cannot_write(path))?;
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            let process = fs::read_to_string(&lock).unwrap_or_default();
            return Err(usage(format!(
                "{}: process {} is training into this folder; wait for it or end it, or choose another with --out DIR",
                path.display(),
                process.trim()
            )));
        }
        // Whoever is on a file system without locks trains all the same.
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", process::id()))
            .with_context(|| cannot_write(path))?;
        remove_unfinished(path);
        Ok(Self { path: path.to_path_buf(), _lock: file })
    }

    /// Moves the files of an earlier run into a folder beside them, which is given back. None is lost.
    pub fn set_aside(&self) -> Result<Option<PathBuf>> {
        let files = [MODEL_FILE, CHECKPOINT_FILE, HISTORY_FILE, CONFIG_FILE];
        let earlier: Vec<&str> = files.into_iter().filter(|file| self.path.join(file).exists()).collect();
        if earlier.is_empty() {
            return Ok(None);
        }
        let mut aside = (1..).map(|number| self.path.join(format!("earlier-{number}")));
        let aside = aside.find(|path| !path.exists()).expect("some number is free");
        fs::create_dir(&aside).with_context(|| cannot_write(&aside))?;
        for file in earlier {
            fs::rename(self.path.join(file), aside.join(file)).with_context(|| cannot_write(&aside))?;
        }
        Ok(Some(aside))
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The trained model.
    pub fn model(&self) -> PathBuf {
        self.path.join(MODEL_FILE)
    }

    /// What `--resume` continues from.
    pub fn checkpoint(&self) -> PathBuf {
        checkpoint_in(&self.path)
    }

    /// Writes what `train --config` reads.
    pub fn write_config(&self, text: &str) -> Result<()> {
        replace(&config_in(&self.path), text)
    }

    /// A history without epochs.
    pub fn new_history(&self) -> Result<History> {
        self.history("")
    }

    /// The history of the run in `folder`, up to step `step`, to be continued in this folder. An epoch that was told, and whose
    /// checkpoint could not be saved, comes again and is left out here.
    pub fn history_of(&self, folder: &Path, step: u64) -> Result<History> {
        // Bytes: a line that a full disk cut short is left out below.
        let text = fs::read(folder.join(HISTORY_FILE)).unwrap_or_default();
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
        replace(&path, text)?;
        let file = File::options().append(true).open(&path).with_context(|| cannot_write(&path))?;
        Ok(History { file, path })
    }
}

/// The checkpoint of the run in `folder`.
pub fn checkpoint_in(folder: &Path) -> PathBuf {
    folder.join(CHECKPOINT_FILE)
}

/// The configuration of the run in `folder`.
pub fn config_in(folder: &Path) -> PathBuf {
    folder.join(CONFIG_FILE)
}

/// `history.jsonl`, open.
pub struct History {
    file: File,
    path: PathBuf,
}

impl History {
    /// Adds a line.
    pub fn add(&mut self, entry: &Value) -> Result<()> {
        writeln!(self.file, "{entry}").with_context(|| cannot_write(&self.path))
    }
}

/// Writes a file whole or not at all. The folder is locked, so the other name is free.
fn replace(path: &Path, text: &str) -> Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, text).and_then(|()| fs::rename(&new, path)).with_context(|| cannot_write(path))
}

fn cannot_write(path: &Path) -> String {
    format!(
        "cannot write {}; expected a folder that may be written (choose another with --out DIR)",
        path.display()
    )
}

/// Removes what a save left that was killed: a temporary file, which is part of no run. Who holds the lock is the only one who writes.
/// What cannot be removed does no harm.
fn remove_unfinished(folder: &Path) {
    // As `tempfile` calls its files.
    let is_unfinished = |name: &OsStr| name.as_encoded_bytes().starts_with(b".tmp") && name.len() == 10;
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if is_unfinished(&entry.file_name()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}
