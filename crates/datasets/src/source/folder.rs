//! The four files in a folder: which they are, what they hold, what their classes are called. Training and the doctor read
//! data here and nowhere else, so that what one says the other says.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::names::class_lines;
use super::pictures::load_pictures;
use super::{Data, Loaded, Origin, Reading, absolute, as_read, file_sha256, list, open, sha256_of_lines};
use super::{cifar, csv};
use crate::catalogue::{self, File, Set};
use crate::dataset::{Dataset, numbered_classes};
use crate::error::{Error, FormatProblem};
use crate::idx::{self, Idx};

/// Training images, training labels, test images, test labels.
pub(super) type Paths = [PathBuf; 4];

/// The dimensions of the four files.
const RANKS: [u8; 4] = [3, 1, 3, 1];

/// Classes of a folder that does not say what they are called.
const CLASSES: usize = 10;

/// The four files in `folder` itself, else in the folder in it that is named after the set; `None` when neither has any.
pub(super) fn locate(folder: &Path, set: &Set) -> Result<Option<Paths>, Error> {
    let prefix = if set.prefix.is_empty() { Prefix::None } else { Prefix::Is(set.prefix) };
    // All of EMNIST lies in one folder.
    let family = set.id.split('-').next().unwrap_or_default();
    for place in [folder.to_path_buf(), folder.join(set.id), folder.join(family)] {
        if let Some(files) = locate_in(&place, prefix)? {
            return Ok(Some(files));
        }
    }
    Ok(None)
}

/// What names of files may begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prefix {
    /// Nothing: they are called as MNIST's.
    None,
    /// This.
    Is(&'static str),
    /// Anything, such as `emnist-letters-`, where nothing is called as in MNIST.
    Any,
}

/// The four files in `folder`; `None` when it has none or is not there, an error when it has some.
pub(super) fn locate_in(folder: &Path, prefix: Prefix) -> Result<Option<Paths>, Error> {
    let missing = |missing: String| Err(Error::Missing { folder: folder.display().to_string(), missing });
    let names = match list(folder) {
        Ok(names) => names,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) if e.kind() == ErrorKind::NotADirectory => {
            return missing("expected a folder that holds the four files, found a file".into());
        }
        Err(e) => return Err(Error::io(folder.display().to_string(), "list", e)),
    };
    let mut sets: BTreeMap<&str, [Vec<Found<'_>>; 4]> = BTreeMap::new();
    for (name, path) in &names {
        if let Some(role) = role(name).filter(|role| prefix.fits(role.prefix)) {
            let files = &mut sets.entry(role.prefix).or_default()[role.file];
            files.push((path.is_dir(), role, path.clone()));
        }
    }
    let whole = |files: &[Vec<_>; 4]| files.iter().all(|files| !files.is_empty());
    let chosen = match (sets.contains_key(""), sets.len()) {
        (true, _) => "",
        (false, 0) => return Ok(None),
        (false, 1) => sets.keys().next().expect("there is one"),
        (false, _) => {
            let mut complete = sets.iter().filter(|(_, files)| whole(files)).map(|(prefix, _)| *prefix);
            match (complete.next(), complete.next()) {
                (Some(one), None) => one,
                _ => {
                    let prefixes: Vec<String> = sets.keys().map(|prefix| format!("{prefix}*")).collect();
                    return missing(format!(
                        "expected one data set, found {}: put the files of one into a folder of its own",
                        prefixes.join(", ")
                    ));
                }
            }
        }
    };
    let mut found = sets.remove(chosen).expect("it was found there");
    let lacking: Vec<String> = catalogue::MNIST
        .files
        .iter()
        .zip(&found)
        .filter(|(_, files)| files.is_empty())
        .map(|(file, _)| format!("{chosen}{}", file.name))
        .collect();
    if !lacking.is_empty() {
        return missing(format!("expected four files, {} (or with .gz) not found", lacking.join(" and ")));
    }
    for files in &mut found {
        files.sort();
        let (is_folder, _, path) = &files[0];
        if *is_folder {
            return Err(Error::Missing {
                folder: path.display().to_string(),
                missing: "expected a file, found a folder: put the file that it holds in its place".into(),
            });
        }
    }
    Ok(Some(found.map(|mut files| files.swap_remove(0).2)))
}

impl Prefix {
    fn fits(self, found: &str) -> bool {
        match self {
            Self::None => found.is_empty(),
            Self::Is(prefix) => found == prefix,
            Self::Any => true,
        }
    }
}

/// A file by its role, after whether it is a folder: sorted, the best comes first.
type Found<'a> = (bool, Role<'a>, PathBuf);

/// What a file is by its name. Of several with the same prefix and place the least is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Role<'a> {
    prefix: &'a str,
    /// Its place among the four.
    file: usize,
    /// `test` where MNIST says `t10k`.
    renamed: bool,
    /// `train-images.idx3-ubyte`, as some archives unpack.
    dotted: bool,
    gzipped: bool,
}

impl Role<'_> {
    /// The rank of a file with this role.
    pub(super) fn rank(self) -> u8 {
        RANKS[self.file]
    }
}

/// The role of `[prefix-](train|t10k|test)-(images|labels)(-|.)idxN-type[.gz]`.
pub(super) fn role(name: &str) -> Option<Role<'_>> {
    let (plain, gzipped) = name.strip_suffix(".gz").map_or((name, false), |plain| (plain, true));
    let (start, kind) = plain.rsplit_once("idx")?;
    if !matches!(kind.split_once('-'), Some(("1" | "2" | "3" | "4", "ubyte" | "byte" | "short" | "int"))) {
        return None;
    }
    let (start, dotted) = match start.strip_suffix('.') {
        Some(start) => (start, true),
        None => (start.strip_suffix('-')?, false),
    };
    let (start, what) = start.rsplit_once('-')?;
    let prefix_len = start.rfind('-').map_or(0, |at| at + 1);
    let (prefix, part) = start.split_at(prefix_len);
    let file = match (part, what) {
        ("train", "images") => 0,
        ("train", "labels") => 1,
        ("t10k" | "test", "images") => 2,
        ("t10k" | "test", "labels") => 3,
        _ => return None,
    };
    Some(Role { prefix, file, renamed: part == "test", dotted, gzipped })
}

/// Loads a published data set from these files. Files from the cache and from a download were verified before.
pub(super) fn load_files(
    set: &Set,
    paths: &Paths,
    reading: Reading,
    origin: fn(PathBuf) -> Origin,
    notice: Option<String>,
) -> Result<Loaded, Error> {
    let folder = absolute(paths[0].parent().unwrap_or(Path::new("")));
    let origin = origin(folder.clone());
    let verified = !matches!(origin, Origin::Folder(_));
    let mut unknown = Vec::new();
    let mut read = |k: usize| -> Result<Idx, Error> {
        let (file, path) = (&set.files[k], &paths[k]);
        let idx = read_file(path, file.elements(), RANKS[k])?;
        match identify(file, path, &idx)? {
            Some((other_set, other)) => {
                expect_file(path, set, file, other_set, other)?;
            }
            None if !verified => unknown.push(path.file_name().unwrap_or_default().display().to_string()),
            None => {}
        }
        Ok(idx)
    };
    let four = [read(0)?, read(1)?, read(2)?, read(3)?];
    let mut loaded = assemble(set.name, paths, four, Names::Published(set), reading, origin)?;
    loaded.source.unverified = !unknown.is_empty();
    loaded.source.data = Data::of(set).unwrap_or(loaded.source.data);
    if !unknown.is_empty() {
        loaded.notices.insert(
            0,
            format!(
                "{}: not known as the published files of {} by their SHA-256: {}; results call the data {}",
                folder.display(),
                set.name,
                unknown.join(", "),
                loaded.source
            ),
        );
    }
    loaded.notices.splice(0..0, notice);
    Ok(loaded)
}

/// Loads anyone's own data.
pub(super) fn load_own(folder: &Path, limit: u64, reading: Reading) -> Result<Loaded, Error> {
    find_own(folder, limit, reading)?.ok_or_else(|| Error::Missing {
        folder: folder.display().to_string(),
        missing: format!(
            "expected {} (gzipped or not), a folder of pictures for each class, train.csv, or data_batch_1.bin and CIFAR-10's others, \
             found none of them{}",
            catalogue::MNIST.files.map(|file| file.name).join(", "),
            contents(folder)
        ),
    })
}

/// Anyone's own data, in the first of the forms that are known; `None` where a place has none of them.
pub(super) fn find_own(folder: &Path, limit: u64, reading: Reading) -> Result<Option<Loaded>, Error> {
    if folder.is_file() {
        return csv::load_tables(folder, None, limit, reading).map(Some);
    }
    // The names of the files are MNIST's; nothing else of it is assumed.
    if let Some(paths) = locate_in(folder, Prefix::Any)? {
        return load_idx(folder, &paths, limit, reading).map(Some);
    }
    if !folder.is_dir() {
        return Ok(None);
    }
    if let Some((train, test)) = csv::locate(folder)? {
        return csv::load_tables(&train, test.as_deref(), limit, reading).map(Some);
    }
    if let Some(place) = cifar::locate(folder)? {
        return cifar::load(&place, limit, reading).map(Some);
    }
    load_pictures(folder, limit, reading, &mut |picture| Ok(reading.planes(picture)))
}

/// The data in four files of a folder.
fn load_idx(folder: &Path, paths: &Paths, limit: u64, reading: Reading) -> Result<Loaded, Error> {
    let read = |k: usize| read_file(&paths[k], limit, RANKS[k]);
    let four = [read(0)?, read(1)?, read(2)?, read(3)?];
    // Someone's folder may hold a published set, but then each file in its place.
    let mut known = None;
    for (k, idx) in four.iter().enumerate() {
        if let Some((other_set, other)) = catalogue::identify(&idx.sha256) {
            let set = *known.get_or_insert(other_set);
            expect_file(&paths[k], set, &set.files[k], other_set, other)?;
        }
    }
    let name = match known {
        Some(set) => set.name.into(),
        None => folder.file_name().unwrap_or(folder.as_os_str()).display().to_string(),
    };
    let own = folder.join("classes.txt");
    let names = match (class_lines(&own)?, known) {
        (Some(names), _) => Names::File(own, names),
        (None, Some(set)) => Names::Published(set),
        (None, None) => Names::Numbered,
    };
    assemble(&name, paths, four, names, reading, Origin::Folder(folder.into()))
}

/// "; it holds a, b and c": helps to see what a folder has instead.
fn contents(folder: &Path) -> String {
    const SHOWN: usize = 5;
    let names = list(folder).unwrap_or_default();
    let shown: Vec<&str> = names.iter().take(SHOWN).map(|(name, _)| name.as_str()).collect();
    match names.len() {
        0 => String::new(),
        n if n > SHOWN => format!("; it holds {} and {} more", shown.join(", "), n - SHOWN),
        _ => format!("; it holds {}", shown.join(", ")),
    }
}

fn read_file(path: &Path, limit: u64, rank: u8) -> Result<Idx, Error> {
    idx::read_rank(open(path)?, &path.display().to_string(), limit, Some(rank))
}

/// Which published file this is. Some are known by their `.gz` alone.
fn identify(file: &File, path: &Path, idx: &Idx) -> Result<Option<(&'static Set, &'static File)>, Error> {
    match catalogue::identify(&idx.sha256) {
        None if file.idx_sha256.is_none() && idx.gzipped => Ok(catalogue::identify(&file_sha256(path)?)),
        found => Ok(found),
    }
}

fn expect_file(path: &Path, set: &Set, file: &File, other_set: &Set, other: &File) -> Result<(), Error> {
    if (other_set.name, other.name) == (set.name, file.name) {
        return Ok(());
    }
    Err(Error::Mistaken {
        file: path.display().to_string(),
        expected: set.file_title(file),
        found: other_set.file_title(other),
    })
}

/// What says what the classes are called.
enum Names<'a> {
    Published(&'a Set),
    /// The lines of this `classes.txt`.
    File(PathBuf, Vec<String>),
    Numbered,
}

/// The data set that the four files are.
fn assemble(
    name: &str,
    paths: &Paths,
    four: [Idx; 4],
    names: Names<'_>,
    reading: Reading,
    origin: Origin,
) -> Result<Loaded, Error> {
    let folder = absolute(paths[0].parent().unwrap_or(Path::new("")));
    let sha256 = sha256_of_lines(four.iter().map(|idx| idx.sha256.clone()));
    let mut notices: Vec<String> = four.iter().filter_map(|idx| idx.note.clone()).collect();
    if !reading.transpose && looks_like_emnist(paths) {
        notices.push(
            "the names look like EMNIST, whose images have rows and columns exchanged: --transpose puts them upright"
                .into(),
        );
    }
    let [train_images, train_labels, test_images, test_labels] = four;
    let part = |k: usize, images: Idx, labels: &Idx| {
        let images = idx::images(images, &paths[k].display().to_string())?;
        if labels.dims != [images.dim().0] {
            let expected = format!("{} labels, one an image of {}", images.dim().0, paths[k].display());
            let file = paths[k + 1].display().to_string();
            let found = idx::dims_text(&labels.dims);
            return Err(idx::format_error(&file, 4, FormatProblem::Dimensions, expected, found));
        }
        Ok(images)
    };
    let train_images = part(0, train_images, &train_labels)?;
    let test_images = part(2, test_images, &test_labels)?;
    let [shown, found] =
        [&train_images, &test_images].map(|images| idx::dims_text(&idx::image_dims(images.dim())[1..]));
    if shown != found {
        let expected = format!("images of {shown} like those for training");
        let file = paths[2].display().to_string();
        return Err(idx::format_error(&file, 8, FormatProblem::Dimensions, expected, found));
    }
    let classes = classes(names, [(&paths[1], &train_labels), (&paths[3], &test_labels)], reading)?;
    let first = reading.first_label.unwrap_or(0);
    let part = |images, labels: Idx| -> Result<Dataset, Error> {
        let labels = labels.values().map(|label| label - first).collect();
        as_read(Dataset::new(name, images, labels, classes.clone())?, reading)
    };
    let parts = [part(train_images, train_labels)?, part(test_images, test_labels)?];
    Ok(Loaded::own(folder, origin, parts, sha256, notices))
}

/// The names of the classes, when every label is one of them.
fn classes(names: Names<'_>, labels: [(&PathBuf, &Idx); 2], reading: Reading) -> Result<Vec<String>, Error> {
    let all = || labels.iter().flat_map(|(_, idx)| idx.values());
    let (low, high) = (all().min().unwrap_or(0), all().max().unwrap_or(0));
    let first = reading.first_label.unwrap_or(0);
    let range = format!("labels run from {low} to {high}");
    // The label that is out of a range of `n`, and what to do.
    let wrong = |n: usize, remedy: String| {
        let is_wrong = |label: u16| label < first || usize::from(label - first) >= n;
        let find = |(path, idx): &(&PathBuf, &Idx)| {
            let (i, found) = idx.values().enumerate().find(|&(_, label)| is_wrong(label))?;
            let last = usize::from(first) + n - 1;
            Some(idx::format_error(
                &path.display().to_string(),
                idx.offset(i),
                FormatProblem::Label,
                format!("a label from {first} to {last}"),
                format!("{found}; {range}: {remedy}"),
            ))
        };
        labels.iter().find_map(find).expect("a label is wrong")
    };
    let count_from = |remedy: u16| format!("give --first-label {remedy}");
    let spread = usize::from(high - low) + 1;
    if low < first {
        return Err(wrong(usize::from(high.saturating_sub(first)) + 1, count_from(low)));
    }
    let needed = usize::from(high - first) + 1;
    match names {
        Names::Published(set) if needed > set.class_names.len() => {
            let fits = spread <= set.class_names.len();
            let remedy = if fits { count_from(low) } else { format!("{} has no such class", set.name) };
            Err(wrong(set.class_names.len(), remedy))
        }
        Names::Published(set) => Ok(set.class_names.iter().map(|name| name.to_string()).collect()),
        Names::File(_, names) if needed == names.len() => Ok(names),
        Names::File(_, names) if needed > names.len() && spread == names.len() => {
            Err(wrong(names.len(), count_from(low)))
        }
        Names::File(path, names) => {
            let surplus = names.get(needed).map(|name| format!("\"{name}\""));
            Err(Error::Line {
                file: path.display().to_string(),
                line: names.len().min(needed + 1),
                expected: format!("{needed} names, one for each label from {first} to {high}"),
                found: surplus.map_or_else(
                    || format!("{} names", names.len()),
                    |name| format!("{} names, here {name}", names.len()),
                ),
            })
        }
        Names::Numbered if reading.first_label.is_some() => {
            Ok((first..=high).map(|label| label.to_string()).collect())
        }
        Names::Numbered if needed > CLASSES => Err(wrong(
            CLASSES,
            if spread <= CLASSES {
                count_from(low)
            } else {
                format!(
                    "name the {spread} classes in a classes.txt beside it, one a line{}, or number them with --first-label {low}",
                    if low > 0 { format!(", with --first-label {low}") } else { String::new() }
                )
            },
        )),
        Names::Numbered => Ok(numbered_classes(CLASSES)),
    }
}

/// Whether the files or their folder are called as EMNIST's are.
fn looks_like_emnist(paths: &Paths) -> bool {
    let names = [paths[0].parent().and_then(Path::file_name), paths[0].file_name()];
    names.into_iter().flatten().any(|name| {
        let name = name.to_string_lossy().to_lowercase();
        name.split(|c: char| !c.is_alphanumeric()).any(|word| word == "emnist")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files() {
        let of =
            |name| role(name).map(|role| (role.prefix, role.file, role.renamed, role.dotted, role.gzipped));
        assert_eq!(of("train-images-idx3-ubyte"), Some(("", 0, false, false, false)));
        assert_eq!(of("t10k-labels.idx1-ubyte.gz"), Some(("", 3, false, true, true)));
        assert_eq!(of("train-images-idx4-ubyte"), Some(("", 0, false, false, false)));
        assert_eq!(of("test-images-idx3-ubyte"), Some(("", 2, true, false, false)));
        assert_eq!(
            of("emnist-letters-train-labels-idx1-ubyte.gz"),
            Some(("emnist-letters-", 1, false, false, true))
        );
        assert_eq!(of("qmnist-test-labels-idx2-int.gz"), Some(("qmnist-", 3, true, false, true)));
        for other in [
            "classes.txt",
            "train-images",
            "train-images-idx3-ubyte.zip",
            "xtrain-images-idx3-ubyte",
            "idx",
            "",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
