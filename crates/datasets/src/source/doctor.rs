//! The data doctor: says what the files in a folder are, and what training would say of them.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use super::folder::{Prefix, find_own, load_own, locate_in, role};
use super::pictures::bad_pictures;
use super::{Loaded, Reading, Sources, csv, file_sha256, list, load_set, open};
use crate::catalogue::{SETS, identify};
use crate::dataset::missing_line;
use crate::error::Error;
use crate::idx::{self, Idx};

/// Problems that are told one by one: a folder may have thousands of bad pictures.
const MOST_PROBLEMS: usize = 50;

/// What was found at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The file or folder examined.
    pub path: PathBuf,
    /// Every file there that is IDX by its name, also those that no training reads.
    pub files: Vec<FileReport>,
    /// What training on the data says and goes on.
    pub notes: Vec<String>,
    /// Why training on the data is refused.
    pub problems: Vec<String>,
}

/// What one file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileReport {
    /// The file.
    pub path: PathBuf,
    /// Its size on disk.
    pub bytes: u64,
    /// What the bytes are, or the one-line error that says why they are not IDX.
    pub content: Result<Content, String>,
}

/// What an IDX file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// Whether the file is gzipped.
    pub gzipped: bool,
    /// The dimensions; one for labels, three for grey images, four for images in colour.
    pub dims: Vec<usize>,
    /// SHA-256 of the decompressed bytes.
    pub sha256: String,
    /// Which published file it is, such as "MNIST's t10k-images".
    pub published: Option<String>,
    /// How many elements have each value.
    pub histogram: Vec<u64>,
    /// What the reader made of elements of another type, when it did anything.
    pub note: Option<String>,
}

/// Examines an IDX file, a table, or a folder and the folders in it. What is wrong with a folder is what [`load`](super::load) says of
/// it: the folder itself as one's own data in any form, or `mnist` and `fashion-mnist` in it as what they are called, or any other folder
/// in it that holds such files. A file of more than [`idx::DEFAULT_LIMIT`] elements is a problem, not read.
///
/// # Errors
/// [`Error::Io`] when the path cannot be read. Bad files are not errors but findings.
pub fn doctor(path: &Path, reading: Reading) -> Result<Report, Error> {
    let cannot_read = |e| Error::io(path.display().to_string(), "read", e);
    let (mut notes, mut problems) = (Vec::new(), Vec::new());
    let is_folder = fs::metadata(path).map_err(cannot_read)?.is_dir();
    if !is_folder && !csv::is_named(path) {
        let file = examine(path.to_path_buf());
        match &file.content {
            Ok(content) => notes.extend(content.note.clone()),
            Err(problem) => problems.push(problem.clone()),
        }
        return Ok(Report { path: path.to_path_buf(), files: vec![file], notes, problems });
    }
    let (mut files, mut sets) = (Vec::new(), Vec::new());
    if is_folder {
        files = idx_files(path)?.into_iter().map(examine).collect();
        sets = data_sets(path, reading)?;
    }
    // Four files that lie here are a data set already, or the reason why there is none.
    if !is_folder || matches!(locate_in(path, Prefix::Any), Ok(None)) {
        match find_own(path, idx::DEFAULT_LIMIT, reading) {
            Ok(Some(loaded)) => {
                notes.push(summary(&loaded));
                sets.push(Ok(loaded));
            }
            Ok(None) if sets.is_empty() => problems.push(
                "no data set (train-images-idx3-ubyte, ..., gzipped or not) here or one folder down, no pictures, tables or CIFAR-10's \
                 files here"
                    .into(),
            ),
            Ok(None) => {}
            Err(error) => {
                let others = bad_pictures(path, idx::DEFAULT_LIMIT, reading).unwrap_or_default();
                let first = error.to_string();
                sets.push(Err(error));
                sets.extend(others.into_iter().filter(|other| other.to_string() != first).map(Err));
            }
        }
    }
    for set in sets {
        match set {
            Ok(loaded) => {
                notes.extend(loaded.notices);
                notes.extend(missing_line(&[("training", &loaded.train), ("testing", &loaded.test)]));
            }
            Err(error) => problems.push(error.to_string()),
        }
    }
    if let more @ 1.. = problems.len().saturating_sub(MOST_PROBLEMS) {
        problems.truncate(MOST_PROBLEMS);
        problems.push(format!("{more} more of these"));
    }
    Ok(Report { path: path.to_path_buf(), files, notes, problems })
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_healthy(&self) -> bool {
        self.problems.is_empty()
    }
}

impl Content {
    /// "images", "labels" or "vectors".
    pub fn kind(&self) -> &'static str {
        match self.dims.len() {
            1 => "labels",
            2 => "vectors",
            _ => "images",
        }
    }

    /// Smallest and largest value; `None` when there is none at all.
    pub fn range(&self) -> Option<(u16, u16)> {
        let first = self.histogram.iter().position(|&count| count > 0)?;
        let last = self.histogram.iter().rposition(|&count| count > 0)?;
        Some((first as u16, last as u16))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.path.display())?;
        // What is wrong with a file stands among the problems where it matters.
        let said = |file: &&FileReport| file.content.as_ref().is_err_and(|e| self.problems.contains(e));
        for file in self.files.iter().filter(|file| !said(file)) {
            writeln!(f, "  {file}")?;
        }
        for note in &self.notes {
            writeln!(f, "  note: {note}")?;
        }
        for problem in &self.problems {
            writeln!(f, "  problem: {problem}")?;
        }
        f.write_str(if self.is_healthy() { "nothing wrong" } else { "something is wrong" })
    }
}

impl fmt::Display for FileReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let content = match &self.content {
            Ok(content) => content,
            // The error names the file.
            Err(error) => return write!(f, "not readable: {error}"),
        };
        let gzipped = if content.gzipped { ", gzipped" } else { "" };
        let dims = idx::dims_text(&content.dims);
        write!(f, "{}: {} {dims}, {} bytes{gzipped}, ", self.path.display(), content.kind(), self.bytes)?;
        match &content.published {
            Some(published) => write!(f, "{published} as published")?,
            None => f.write_str("not a file of the catalogue")?,
        }
        if let Some((low, high)) = content.range() {
            write!(f, "; values {low} to {high}")?;
            if content.dims.len() == 1 {
                let counts: Vec<String> =
                    content.histogram[..=usize::from(high)].iter().map(u64::to_string).collect();
                write!(f, "; of each {}", counts.join(" "))?;
            }
        }
        write!(f, "; SHA-256 {}", content.sha256)
    }
}

/// What data are that do not lie in IDX files.
fn summary(loaded: &Loaded) -> String {
    let Loaded { train, test, .. } = loaded;
    let ((h, w), colours) = (train.image_size(), if train.channels() == 1 { "grey" } else { "in colour" });
    format!(
        "{} pictures for training and {} for testing, {h}x{w}, {colours}, of {} classes",
        train.len(),
        test.len(),
        train.classes()
    )
}

/// What training says of each data set in a folder.
fn data_sets(folder: &Path, reading: Reading) -> Result<Vec<Result<Loaded, Error>>, Error> {
    let mut loaded = match locate_in(folder, Prefix::Any) {
        Ok(None) => vec![],
        Ok(Some(_)) => vec![load_own(folder, idx::DEFAULT_LIMIT, reading)],
        Err(error) => vec![Err(error)],
    };
    if !matches!(locate_in(folder, Prefix::None), Ok(None)) {
        // What lies here is taken for every data set, and nothing in the folders below is read.
        return Ok(loaded);
    }
    let inner = list(folder).map_err(|e| Error::io(folder.display().to_string(), "list", e))?;
    loaded.extend(inner.into_iter().filter(|(_, path)| path.is_dir()).filter_map(|(name, path)| {
        let set = SETS.into_iter().find(|set| set.id == name);
        match locate_in(&path, if set.is_none() { Prefix::Any } else { Prefix::None }) {
            Ok(None) => return None,
            Ok(Some(_)) => {}
            Err(error) => return Some(Err(error)),
        }
        Some(match set {
            Some(set) => {
                load_set(set, &Sources { data_dir: Some(path), reading, ..Sources::default() }, &mut |_| ())
            }
            None => load_own(&path, idx::DEFAULT_LIMIT, reading),
        })
    }));
    Ok(loaded)
}

/// Files that are IDX by name, in the folder and one folder down, sorted.
fn idx_files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let list = |folder: &Path| list(folder).map_err(|e| Error::io(folder.display().to_string(), "list", e));
    let mut found = Vec::new();
    for (name, path) in list(folder)? {
        if path.is_dir() {
            found.extend(list(&path)?.into_iter().filter(|(_, path)| path.is_file()));
        } else {
            found.push((name, path));
        }
    }
    found.retain(|(name, _)| name.contains("ubyte") || name.contains("idx"));
    let mut paths: Vec<PathBuf> = found.into_iter().map(|(_, path)| path).collect();
    paths.sort();
    Ok(paths)
}

/// What a file is; also that it cannot be opened is something to say of it.
fn examine(path: PathBuf) -> FileReport {
    let rank = path.file_name().and_then(|name| name.to_str()).and_then(role).map(|role| role.rank());
    let content = || -> Result<Content, Error> {
        let idx = idx::read_rank(open(&path)?, &path.display().to_string(), idx::DEFAULT_LIMIT, rank)?;
        content(idx, &path)
    };
    FileReport {
        bytes: fs::metadata(&path).map_or(0, |metadata| metadata.len()),
        content: content().map_err(|e| e.to_string()),
        path,
    }
}

fn content(idx: Idx, path: &Path) -> Result<Content, Error> {
    let published = match identify(&idx.sha256) {
        None => identify(&file_sha256(path)?),
        found => found,
    };
    let mut histogram = vec![0; 256];
    for value in idx.values().map(usize::from) {
        if value >= histogram.len() {
            histogram.resize(value + 1, 0);
        }
        histogram[value] += 1;
    }
    Ok(Content {
        gzipped: idx.gzipped,
        dims: idx.dims,
        sha256: idx.sha256,
        published: published.map(|(set, file)| set.file_title(file)),
        histogram,
        note: idx.note,
    })
}
