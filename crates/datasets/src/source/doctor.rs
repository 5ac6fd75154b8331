//! The data doctor: says what the files in a folder are, and what is wrong with them.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use super::{CLASSES, file_sha256, open, own_classes};
use crate::catalogue::identify;
use crate::error::Error;
use crate::idx::{self, Idx};

/// What was found at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The file or folder examined.
    pub path: PathBuf,
    /// Every IDX file there, by path.
    pub files: Vec<FileReport>,
    /// What is wrong with the files as a whole; what is wrong with one is in its own report.
    pub problems: Vec<String>,
}

/// What one file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileReport {
    /// The file.
    pub path: PathBuf,
    /// Its size on disk.
    pub bytes: u64,
    /// SHA-256 of the file on disk.
    pub file_sha256: String,
    /// What the bytes are, or the one-line error that says why they are not IDX.
    pub content: Result<Content, String>,
}

/// What an IDX file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// Whether the file is gzipped.
    pub gzipped: bool,
    /// The dimensions; one for labels, three for images.
    pub dims: Vec<usize>,
    /// SHA-256 of the decompressed bytes.
    pub sha256: String,
    /// Which published file it is, such as "MNIST's t10k-images".
    pub published: Option<String>,
    /// How many elements have each value.
    pub histogram: Vec<u64>,
}

/// Examines an IDX file, or a folder and the folders in it. A file of more than [`idx::DEFAULT_LIMIT`] elements is a
/// problem, not read.
///
/// # Errors
/// [`Error::Io`] when the path cannot be read. Bad files are not errors but findings.
pub fn doctor(path: &Path) -> Result<Report, Error> {
    let mut problems = Vec::new();
    let metadata = fs::metadata(path).map_err(|e| Error::io(path.display().to_string(), "read", e))?;
    let paths = if metadata.is_dir() { idx_files(path)? } else { vec![path.to_path_buf()] };
    if paths.is_empty() {
        problems.push(
            "no IDX file (train-images-idx3-ubyte, ..., gzipped or not) here or one folder down".into(),
        );
    }
    let files = paths.into_iter().map(examine).collect::<Result<Vec<_>, Error>>()?;
    problems.extend(files.iter().filter_map(misnamed));
    for labels in &files {
        problems.extend(no_class(labels)?);
    }
    problems.extend(files.iter().filter_map(|images| count_mismatch(images, &files)));
    Ok(Report { path: path.to_path_buf(), files, problems })
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_healthy(&self) -> bool {
        self.problems.is_empty() && self.files.iter().all(|file| file.content.is_ok())
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
    pub fn range(&self) -> Option<(u8, u8)> {
        let first = self.histogram.iter().position(|&count| count > 0)?;
        let last = self.histogram.iter().rposition(|&count| count > 0)?;
        Some((first as u8, last as u8))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.path.display())?;
        for file in &self.files {
            writeln!(f, "  {file}")?;
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
            Err(error) => return write!(f, "problem: {error}"),
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

/// Files that look like IDX by name, in the folder and one folder down, sorted.
fn idx_files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let list = |folder: &Path| -> Result<Vec<PathBuf>, Error> {
        let fail = |e| Error::io(folder.display().to_string(), "list", e);
        let entries = fs::read_dir(folder).map_err(fail)?;
        entries.map(|entry| Ok(entry.map_err(fail)?.path())).collect()
    };
    let mut found = Vec::new();
    for path in list(folder)? {
        if path.is_dir() {
            found.extend(list(&path)?.into_iter().filter(|path| path.is_file()));
        } else {
            found.push(path);
        }
    }
    found.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.contains("ubyte") || name.contains("idx")
    });
    found.sort();
    Ok(found)
}

fn examine(path: PathBuf) -> Result<FileReport, Error> {
    let bytes = fs::metadata(&path).map_err(|e| Error::io(path.display().to_string(), "read", e))?.len();
    let file_sha256 = file_sha256(&path)?;
    let content = idx::read(open(&path)?, &path.display().to_string(), idx::DEFAULT_LIMIT)
        .map(|idx| content(&idx, &file_sha256))
        .map_err(|e| e.to_string());
    Ok(FileReport { path, bytes, file_sha256, content })
}

fn content(idx: &Idx, file_sha256: &str) -> Content {
    let sha256 = idx.sha256();
    let published =
        identify(&sha256).or_else(|| identify(file_sha256)).map(|(set, file)| set.file_title(file));
    let mut histogram = vec![0; 256];
    for &value in &idx.data {
        histogram[usize::from(value)] += 1;
    }
    Content { gzipped: idx.gzipped, dims: idx.dims.clone(), sha256, published, histogram }
}

/// Images that are called labels, or the other way round.
fn misnamed(file: &FileReport) -> Option<String> {
    let content = file.content.as_ref().ok()?;
    let name = file.path.file_name()?.to_str()?;
    let expected = ["images", "labels"].into_iter().find(|kind| name.contains(kind))?;
    (content.kind() != expected).then(|| {
        let (path, dims) = (file.path.display(), idx::dims_text(&content.dims));
        format!("{path}: expected {expected}, as it is called, found {} {dims}", content.kind())
    })
}

/// Labels that are no class of their folder.
fn no_class(file: &FileReport) -> Result<Option<String>, Error> {
    let labels = file.content.as_ref().ok().filter(|content| content.dims.len() == 1);
    let Some((_, found)) = labels.and_then(Content::range) else { return Ok(None) };
    let classes =
        own_classes(file.path.parent().unwrap_or(Path::new("")))?.map_or(CLASSES, |names| names.len());
    Ok((usize::from(found) >= classes).then(|| {
        let path = file.path.display();
        format!(
            "{path}: expected labels below the {classes} classes, found {found}; a classes.txt beside it, one name a line, \
             makes more"
        )
    }))
}

/// Labels beside images that are not as many as those.
fn count_mismatch(images: &FileReport, files: &[FileReport]) -> Option<String> {
    let stem = |file: &FileReport| {
        let name = file.path.file_name()?.to_str()?;
        Some((file.path.parent()?.to_path_buf(), name.split(['-', '.']).next()?.to_string()))
    };
    let count = |file: &FileReport| file.content.as_ref().ok().map(|content| content.dims.clone());
    let dims = count(images).filter(|dims| dims.len() == 3)?;
    let labels = files
        .iter()
        .find(|file| stem(file) == stem(images) && count(file).is_some_and(|dims| dims.len() == 1))?;
    let labels_count = count(labels)?[0];
    (labels_count != dims[0]).then(|| {
        let (images, labels) = (images.path.display(), labels.path.display());
        format!("{labels}: expected {} labels, one an image of {images}, found {labels_count}", dims[0])
    })
}
