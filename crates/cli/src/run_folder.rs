//! The folder of a run: made and proved writable before anything is trained, so that no result is lost at the end.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::loading::MODEL_FILE;

/// Where a run writes its model, configuration, history and checkpoint.
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// Makes the folder that the user named, or uses it when it is there.
    pub fn named(path: &Path) -> Result<Self> {
        fs::create_dir_all(path).with_context(|| cannot_write(path))?;
        Self::proved(path)
    }

    /// Makes a folder that was not there: `runs/<name>`, or `runs/<name>-2` and on when that is taken.
    pub fn fresh(name: &str) -> Result<Self> {
        let runs = Path::new("runs");
        fs::create_dir_all(runs).with_context(|| cannot_write(runs))?;
        for number in 1.. {
            let path = runs.join(if number == 1 { name.to_string() } else { format!("{name}-{number}") });
            match fs::create_dir(&path) {
                Ok(()) => return Self::proved(&path),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error).with_context(|| cannot_write(&path)),
            }
        }
        unreachable!("some number is free")
    }

    /// Writes a file and takes it away again: permissions and a full disk show now, not after an hour.
    fn proved(path: &Path) -> Result<Self> {
        tempfile::NamedTempFile::new_in(path)
            .and_then(|mut file| file.write_all(b"writable"))
            .with_context(|| cannot_write(path))?;
        Ok(Self { path: path.to_path_buf() })
    }

    /// Whether an earlier run left its model or its history here.
    pub fn is_used(&self) -> bool {
        self.model().exists() || self.history_path().exists()
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
        self.path.join("checkpoint.safetensors")
    }

    /// What `train --config` reads.
    pub fn config(&self) -> PathBuf {
        self.path.join("config.toml")
    }

    fn history_path(&self) -> PathBuf {
        self.path.join("history.jsonl")
    }

    /// The history, one JSON object an epoch: begun anew, or continued.
    pub fn history(&self, resume: bool) -> Result<History> {
        let path = self.history_path();
        let file = File::options().create(true).write(true).append(resume).truncate(!resume).open(&path);
        Ok(History { file: file.with_context(|| cannot_write(&path))?, path })
    }
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

fn cannot_write(path: &Path) -> String {
    format!(
        "cannot write {}; expected a folder that may be written (choose another with --out DIR)",
        path.display()
    )
}
