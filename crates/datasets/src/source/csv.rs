//! Tables of pixels as data: which files of a folder they are, and the data set that they make.

use std::path::{Path, PathBuf};

use ndarray::Array3;

use super::{Loaded, Origin, Reading, absolute, as_read, data_sha256, hold_out, list, open};
use crate::csv::{self, LABELS, Table};
use crate::dataset::{Dataset, MAX_CLASSES, numbered_classes};
use crate::error::Error;

/// Whether a file is called as tables are.
pub(super) fn is_named(path: &Path) -> bool {
    let name = path.as_os_str().to_string_lossy();
    [".csv", ".csv.gz"].iter().any(|end| name.ends_with(end))
}

/// The tables of a folder: for training, and for testing if there is one. `None` where there is none.
pub(super) fn locate(folder: &Path) -> Result<Option<(PathBuf, Option<PathBuf>)>, Error> {
    let names = list(folder).map_err(|cause| Error::io(folder.display().to_string(), "list", cause))?;
    let part = |part: &str| {
        let is_part = |name: &str| {
            let name = name.to_ascii_lowercase();
            let stem = name.strip_suffix(".gz").unwrap_or(&name).strip_suffix(".csv").map(String::from);
            stem.is_some_and(|stem| {
                stem == part || stem.ends_with(&format!("_{part}")) || stem.ends_with(&format!("-{part}"))
            })
        };
        names.iter().find(|(name, path)| is_part(name) && !path.is_dir()).map(|(_, path)| path.clone())
    };
    Ok(part("train").map(|train| (train, part("test"))))
}

/// The data in tables.
///
/// # Errors
/// A line that is not a label and as many pixels as the first line has, or pixels that make no square; more than `limit` pixels.
pub(super) fn load_tables(
    train: &Path,
    test: Option<&Path>,
    limit: u64,
    reading: Reading,
) -> Result<Loaded, Error> {
    let first = reading.first_label.unwrap_or(0);
    let mut notices = Vec::new();
    let read = |path: &Path| csv::read(open(path)?, &path.display().to_string(), limit);
    let mut tables = vec![read(train)?];
    if let Some(test) = test {
        let table = read(test)?;
        match (table.labels.is_empty(), table.side == tables[0].side) {
            (true, _) => {
                notices.push(format!("{}: it has no labels, as Kaggle's, and is left out", test.display()))
            }
            (_, false) => {
                let expected = format!("{0}x{0} pixels as in {1}", tables[0].side, train.display());
                return Err(line(test, 1, expected, format!("{0}x{0}", table.side)));
            }
            _ => tables.push(table),
        }
    }
    if tables[0].labels.is_empty() {
        return Err(line(train, 1, format!("a column of labels ({})", LABELS.join(", ")), "none".into()));
    }
    let all = || tables.iter().flat_map(|table| table.labels.iter().copied());
    let (low, high) = (all().min().unwrap_or(0), all().max().unwrap_or(0));
    if low < first {
        return Err(Error::Request(format!(
            "{}: expected labels from {first} on, found {low}: give --first-label {low}",
            train.display()
        )));
    }
    let classes = usize::from(high - first) + 1;
    if classes > MAX_CLASSES {
        return Err(Error::Request(format!("{}: expected at most {MAX_CLASSES} classes", train.display())));
    }
    let names = match reading.first_label {
        Some(_) => (first..=high).map(|label| label.to_string()).collect(),
        None => numbered_classes(classes.max(if classes <= 10 { 10 } else { 0 })),
    };
    let name = train.file_stem().unwrap_or_default().display().to_string();
    let mut parts = Vec::new();
    for Table { labels, pixels, side } in tables {
        let images =
            Array3::from_shape_vec((labels.len(), side, side), pixels).expect("as many pixels a label");
        let part =
            Dataset::new(&name, images, labels.iter().map(|label| label - first).collect(), names.clone())?;
        parts.push(as_read(part, reading)?);
    }
    let parts = match <[Dataset; 2]>::try_from(parts) {
        Ok(parts) => parts,
        Err(mut parts) => {
            let all = parts.swap_remove(0);
            if all.len() < 2 {
                return Err(line(train, 2, "at least two pictures".into(), all.len().to_string()));
            }
            hold_out(&all, train, "table with labels for testing", &mut notices)?
        }
    };
    let place = absolute(if test.is_some() { train.parent().unwrap_or(train) } else { train });
    let sha256 = data_sha256(&parts[0], &parts[1]);
    Ok(Loaded::own(place.clone(), Origin::Folder(place), parts, sha256, notices))
}

fn line(path: &Path, line: usize, expected: String, found: String) -> Error {
    Error::Line { file: path.display().to_string(), line, expected, found }
}
