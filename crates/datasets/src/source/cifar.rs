//! A folder of CIFAR-10's six binary files: five for training, one for testing.

use std::path::{Path, PathBuf};

use super::names::class_lines;
use super::{Loaded, Origin, Reading, absolute, as_read, data_sha256, list, open};
use crate::cifar::{CLASSES, Records};
use crate::dataset::{Dataset, numbered_classes};
use crate::error::Error;

const TRAIN: [&str; 5] =
    ["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"];
const TEST: &str = "test_batch.bin";
/// Where the names of the classes stand, one a line.
const NAMES: &str = "batches.meta.txt";
/// What the archive unpacks to.
const UNPACKED: &str = "cifar-10-batches-bin";

/// The folder that has the files: this one, or the one in it that the archive unpacks to. `None` where neither has any.
///
/// # Errors
/// When some of the files are there and not all.
pub(super) fn locate(folder: &Path) -> Result<Option<PathBuf>, Error> {
    for place in [folder.to_path_buf(), folder.join(UNPACKED)] {
        if !place.is_dir() {
            continue;
        }
        let names = list(&place).map_err(|cause| Error::io(place.display().to_string(), "list", cause))?;
        let is_there = |file: &&str| names.iter().any(|(name, path)| name == file && path.is_file());
        let (found, lacking): (Vec<&str>, Vec<&str>) = TRAIN.into_iter().chain([TEST]).partition(is_there);
        if found.is_empty() {
            continue;
        }
        if !lacking.is_empty() {
            return Err(Error::Missing {
                folder: place.display().to_string(),
                missing: format!(
                    "expected CIFAR-10's six files (data_batch_1.bin to data_batch_5.bin, {TEST}), {} not found",
                    lacking.join(" and ")
                ),
            });
        }
        return Ok(Some(place));
    }
    Ok(None)
}

/// The data in the files of a folder.
///
/// # Errors
/// A file that is not what it should be, by its place; names that are not ten; more than `limit` bytes in all.
pub(super) fn load(folder: &Path, limit: u64, reading: Reading) -> Result<Loaded, Error> {
    if reading.first_label.is_some() {
        return Err(Error::Request(format!(
            "{}: labels of CIFAR-10's files count from 0: leave out --first-label",
            folder.display()
        )));
    }
    let names = class_names(folder)?;
    let shown = folder.file_name().unwrap_or(folder.as_os_str()).display().to_string();
    let mut left = limit;
    let mut part = |files: &[&str]| -> Result<Dataset, Error> {
        let mut records = Records::default();
        for file in files {
            let path = folder.join(file);
            left -= records.read(open(&path)?, &path.display().to_string(), left)?;
        }
        records.into_dataset(&shown, names.clone())
    };
    let (train, test) = (part(&TRAIN)?, part(&[TEST])?);
    let sha256 = data_sha256(&train, &test);
    let parts = [as_read(train, reading)?, as_read(test, reading)?];
    let folder = absolute(folder);
    Ok(Loaded::own(folder.clone(), Origin::Folder(folder), parts, sha256, Vec::new()))
}

/// The ten names in the folder, else numbers.
fn class_names(folder: &Path) -> Result<Vec<String>, Error> {
    let path = folder.join(NAMES);
    match class_lines(&path)? {
        None => Ok(numbered_classes(CLASSES)),
        Some(names) if names.len() == CLASSES => Ok(names),
        Some(names) => Err(Error::Line {
            file: path.display().to_string(),
            line: names.len().min(CLASSES + 1),
            expected: format!("{CLASSES} names, one a line"),
            found: format!("{} names", names.len()),
        }),
    }
}
