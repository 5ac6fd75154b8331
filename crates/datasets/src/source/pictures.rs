//! A folder of pictures: a folder for each class, in one folder or in one for training and one for testing.

use std::fs;
use std::path::{Path, PathBuf};

use ndarray::{Array3, Array4};

use super::{Loaded, Origin, Reading, absolute, as_read, data_sha256, hold_out, list, open};
use crate::dataset::{Dataset, MAX_CLASSES};
use crate::error::{Error, FormatProblem};
use crate::idx::format_error;
use crate::pictures::{self, Picture};

/// What the folders of the two parts are called.
const TRAIN: [&str; 2] = ["train", "training"];
const TEST: [&str; 5] = ["test", "testing", "val", "valid", "validation"];

/// Makes planes `[channels, h, w]` of a picture, one of grey levels or three of colours, or says what was expected and found.
pub type Prepare<'a> = dyn FnMut(&Picture) -> Result<Array3<u8>, String> + 'a;

/// The folders of classes, each with its name and its pictures.
type Classes = Vec<(String, Vec<PathBuf>)>;

/// What a folder of pictures holds.
struct Layout {
    train: Classes,
    /// None where nothing says which pictures are for testing.
    test: Option<Classes>,
    /// Files that are no pictures by their names.
    others: usize,
}

/// The data in a folder of pictures, each made planes by `prepare`, all of one size; `None` where the folder has no pictures in folders.
/// They are grey where every one of them is, else all have three channels.
///
/// # Errors
/// A file that is no picture, pictures of several sizes, a class that has pictures for testing alone, more than `limit` bytes of
/// pixels.
pub fn load_pictures(
    folder: &Path,
    limit: u64,
    reading: Reading,
    prepare: &mut Prepare<'_>,
) -> Result<Option<Loaded>, Error> {
    let Some(Layout { train, test, others }) = layout(folder)? else { return Ok(None) };
    if reading.first_label.is_some() {
        return Err(Error::Request(format!(
            "{}: classes are folders here, whose labels count from 0: leave out --first-label",
            folder.display()
        )));
    }
    let names: Vec<String> = train.iter().map(|(name, _)| name.clone()).collect();
    if names.len() > MAX_CLASSES {
        return Err(Error::Request(format!(
            "{}: expected at most {MAX_CLASSES} classes, found {}",
            folder.display(),
            names.len()
        )));
    }
    let mut notices = Vec::new();
    if others > 0 {
        notices.push(format!(
            "{}: files that are no pictures by their names, left out: {others}",
            folder.display()
        ));
    }
    let shown = folder.file_name().unwrap_or(folder.as_os_str()).display().to_string();
    let mut reader = Reader::new(limit, prepare);
    let mut read = |classes: &Classes| -> Result<Part, Error> {
        let mut part = Part::default();
        for (name, files) in classes {
            let Some(label) = names.iter().position(|known| known == name) else {
                return Err(Error::Missing {
                    folder: folder.display().to_string(),
                    missing: format!(
                        "expected pictures of each class for training, found class \"{name}\" for testing alone"
                    ),
                });
            };
            for file in files {
                reader.read(file, &mut part)?;
                part.labels.push(label as u16);
            }
        }
        Ok(part)
    };
    let train = read(&train)?;
    let test = test.map(|test| read(&test)).transpose()?;
    // One picture in colour, and all are.
    let (channels, (h, w)) = (reader.channels, reader.size.map_or((1, 1), |(size, _)| size));
    let dataset = |mut part: Part| {
        part.colour(channels, h * w);
        let shape = (part.labels.len(), channels, h, w);
        let images = Array4::from_shape_vec(shape, part.pixels).expect("pictures of one size");
        as_read(Dataset::new(&shown, images, part.labels, names.clone())?, reading)
    };
    let train = dataset(train)?;
    let [train, test] = match test {
        Some(test) => [train, dataset(test)?],
        None => hold_out(&train, folder, "folder train/ and test/ in it", &mut notices)?,
    };
    if train.is_empty() || test.is_empty() {
        return Err(Error::Missing {
            folder: folder.display().to_string(),
            missing: format!(
                "expected pictures for training and for testing, found {} and {}",
                train.len(),
                test.len()
            ),
        });
    }
    let folder = absolute(folder);
    let sha256 = data_sha256(&train, &test);
    Ok(Some(Loaded::own(folder.clone(), Origin::Folder(folder), [train, test], sha256, notices)))
}

/// What is wrong with each picture of a folder that cannot be used, in the order in which [`load_pictures`] stops at the first.
pub(super) fn bad_pictures(folder: &Path, limit: u64, reading: Reading) -> Result<Vec<Error>, Error> {
    let Some(Layout { train, test, .. }) = layout(folder)? else { return Ok(Vec::new()) };
    let prepare: &mut Prepare<'_> = &mut |picture| Ok(reading.planes(picture));
    let mut reader = Reader::new(limit, prepare);
    let files = train.iter().chain(test.iter().flatten()).flat_map(|(_, files)| files);
    Ok(files.filter_map(|file| reader.read(file, &mut Part::default()).err()).collect())
}

/// Pictures of training or of testing, one after the other.
struct Part {
    pixels: Vec<u8>,
    labels: Vec<u16>,
    channels: usize,
}

impl Default for Part {
    fn default() -> Self {
        Self { pixels: Vec::new(), labels: Vec::new(), channels: 1 }
    }
}

impl Part {
    /// Makes grey planes of `place` pixels each three of the same levels, if that is what is asked for.
    fn colour(&mut self, channels: usize, place: usize) {
        if channels > self.channels {
            self.channels = channels;
            self.pixels = self.pixels.chunks_exact(place).flat_map(|plane| plane.repeat(channels)).collect();
        }
    }
}

struct Reader<'a, 'p> {
    /// Of all pictures, and the first one's name.
    size: Option<((usize, usize), PathBuf)>,
    /// Most of a picture so far.
    channels: usize,
    /// Pixels of all pictures so far, whatever their channels.
    places: u64,
    limit: u64,
    prepare: &'a mut Prepare<'p>,
}

impl<'a, 'p> Reader<'a, 'p> {
    fn new(limit: u64, prepare: &'a mut Prepare<'p>) -> Self {
        Self { size: None, channels: 1, places: 0, limit, prepare }
    }

    /// Adds a picture's pixels.
    fn read(&mut self, path: &Path, part: &mut Part) -> Result<(), Error> {
        let name = path.display().to_string();
        let wrong = |expected: String, found: String| {
            Err(format_error(&name, 0, FormatProblem::Picture, expected, found))
        };
        let picture = pictures::read(open(path)?, &name)?;
        let planes = match (self.prepare)(&picture) {
            Ok(planes) => planes,
            Err(told) => return Err(Error::Request(format!("{name}: {told}"))),
        };
        let (channels, h, w) = planes.dim();
        let found = (h, w);
        let shown = |(h, w): (usize, usize)| format!("{w}x{h}");
        let (size, first) = self.size.get_or_insert_with(|| (found, path.to_path_buf()));
        if *size != found {
            let expected = format!("{} pixels (width x height) like {}", shown(*size), first.display());
            return wrong(
                expected,
                format!("{}: `byhand data import` with --size scales all to one", shown(found)),
            );
        }
        self.channels = self.channels.max(channels);
        self.places += (h * w) as u64;
        if self.places * self.channels as u64 > self.limit {
            let expected = format!("at most {} bytes of pixels in all pictures", self.limit);
            return wrong(expected, "more with this one".into());
        }
        part.colour(channels, h * w);
        for _ in 0..part.channels / channels {
            part.pixels.extend(planes.iter());
        }
        Ok(())
    }
}

/// Where the pictures of a folder are.
fn layout(folder: &Path) -> Result<Option<Layout>, Error> {
    let folders = folders(folder)?;
    let part = |names: &[&str]| {
        names.iter().find_map(|name| folders.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)))
    };
    let mut others = 0;
    let layout = match (part(&TRAIN), part(&TEST)) {
        (Some((_, train)), test) => {
            let train = classes(train, &mut others)?;
            let test = test.map(|(_, test)| classes(test, &mut others)).transpose()?;
            Layout { train, test, others }
        }
        (None, _) => Layout { train: classes(folder, &mut others)?, test: None, others },
    };
    Ok((!layout.train.is_empty()).then_some(layout))
}

/// The folders in a folder that have pictures, as classes: sorted by name, numbers by their size.
fn classes(folder: &Path, others: &mut usize) -> Result<Classes, Error> {
    let mut classes = Vec::new();
    for (name, path) in folders(folder)? {
        let mut files = Vec::new();
        for (name, path) in
            list(&path).map_err(|cause| Error::io(path.display().to_string(), "list", cause))?
        {
            match () {
                () if name.starts_with('.') || path.is_dir() => {}
                () if pictures::is_named(&path) => files.push(path),
                () => *others += 1,
            }
        }
        if !files.is_empty() {
            classes.push((name, files));
        }
    }
    if classes.iter().all(|(name, _)| name.parse::<u64>().is_ok()) {
        classes.sort_by_key(|(name, _)| name.parse::<u64>().unwrap_or_default());
    }
    Ok(classes)
}

/// The folders in a folder that are not hidden.
fn folders(folder: &Path) -> Result<Vec<(String, PathBuf)>, Error> {
    match list(folder) {
        Ok(mut found) => {
            found.retain(|(name, path)| {
                !name.starts_with('.') && fs::metadata(path).is_ok_and(|found| found.is_dir())
            });
            Ok(found)
        }
        Err(cause) => Err(Error::io(folder.display().to_string(), "list", cause)),
    }
}
