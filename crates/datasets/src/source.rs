//! Where data comes from: a folder, `BYHAND_DATA`, the user's cache, a download, or the built-in digits. The only module
//! that touches files, the environment or the network.
//!
//! For a published data set, in this order; the first that has it wins:
//!
//! 1. [`Sources::data_dir`], asked for explicitly: when the files are not there, that is an error;
//! 2. [`Sources::env_dir`], from the environment variable `BYHAND_DATA`;
//! 3. [`Sources::cache_dir`], where downloads are kept; its files are verified against the catalogue each time;
//! 4. a download from the catalogue's mirrors into the cache;
//! 5. the built-in digits, with a [`Loaded::notice`] that says why and how to get the real data.
//!
//! A folder holds the four files themselves, gzipped or not, or a folder named after the data set (`mnist/`,
//! `fashion-mnist/`) that does. A file that is there but damaged is always an error, never a reason to use other data.
//!
//! ```
//! use byhand_datasets::{Data, Origin, Sources, load};
//!
//! // A program says `Sources::from_env()`; with no place to look and no network, the built-in digits come.
//! let sources = Sources { digits: (200, 50), ..Sources::default() };
//! let loaded = load(&Data::Mnist, &sources, &mut |progress| println!("{} of {}", progress.received, progress.total))?;
//! assert_eq!(loaded.origin, Origin::Digits { seed: 0 });
//! assert!(loaded.notice.is_some_and(|line| line.starts_with("MNIST is not at hand")));
//! assert_eq!((loaded.train.len(), loaded.test.len()), (200, 50));
//! # Ok::<(), byhand_datasets::Error>(())
//! ```

use std::fmt;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::catalogue::{self, File, Set};
use crate::dataset::{Dataset, numbered_classes};
use crate::digits::{self, Part};
use crate::error::{Error, FormatProblem};
use crate::idx::{self, Idx};

pub mod doctor;
#[cfg(feature = "download")]
mod download;

pub use doctor::doctor;

/// Which data to load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// MNIST.
    Mnist,
    /// Fashion-MNIST.
    FashionMnist,
    /// The built-in digits.
    Digits,
    /// Anyone's own data: a folder of four IDX files with MNIST's names. They need not be in the catalogue. Classes are
    /// 0 to 9 unless a file `classes.txt` beside them names others, one a line.
    Folder(PathBuf),
}

impl FromStr for Data {
    type Err = Error;

    /// `mnist`, `fashion-mnist`, `digits`, or the path of an existing folder.
    fn from_str(text: &str) -> Result<Data, Error> {
        match text {
            "mnist" => Ok(Data::Mnist),
            "fashion-mnist" => Ok(Data::FashionMnist),
            "digits" => Ok(Data::Digits),
            folder if Path::new(folder).is_dir() => Ok(Data::Folder(folder.into())),
            _ => Err(Error::Request(format!(
                "expected data \"mnist\", \"fashion-mnist\", \"digits\" or an existing folder, found \"{text}\""
            ))),
        }
    }
}

impl fmt::Display for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Data::Mnist => f.write_str("mnist"),
            Data::FashionMnist => f.write_str("fashion-mnist"),
            Data::Digits => f.write_str("digits"),
            Data::Folder(path) => path.display().fmt(f),
        }
    }
}

/// Where to look, and how hard to try. The default has no place to look and no network.
#[derive(Debug, Clone, PartialEq)]
pub struct Sources {
    /// The folder asked for explicitly.
    pub data_dir: Option<PathBuf>,
    /// What `BYHAND_DATA` says.
    pub env_dir: Option<PathBuf>,
    /// Where downloads are kept, in a folder for each data set.
    pub cache_dir: Option<PathBuf>,
    /// Whether to download what is missing.
    pub download: bool,
    /// Addresses to download from instead of the catalogue's.
    pub mirrors: Option<Vec<String>>,
    /// Time for all downloads of a call together.
    pub deadline: Duration,
    /// Time to reach one server, so that a machine without a network knows in seconds.
    pub connect_timeout: Duration,
    /// The seed of the built-in digits.
    pub digits_seed: u64,
    /// How many built-in digits to draw for training and for testing.
    pub digits: (usize, usize),
    /// Most elements that a file of unknown origin may have. Files of the catalogue may have as many as it says.
    pub max_bytes: u64,
}

impl Default for Sources {
    fn default() -> Sources {
        Sources {
            data_dir: None,
            env_dir: None,
            cache_dir: None,
            download: false,
            mirrors: None,
            deadline: Duration::from_secs(120),
            connect_timeout: Duration::from_secs(5),
            digits_seed: digits::SEED,
            digits: (60_000, 10_000),
            max_bytes: idx::DEFAULT_LIMIT,
        }
    }
}

impl Sources {
    /// What a program uses: `BYHAND_DATA`, the user's cache folder (`byhand` in it), downloads if compiled in. The only
    /// function that reads the environment.
    pub fn from_env() -> Sources {
        Sources {
            env_dir: std::env::var_os("BYHAND_DATA").filter(|dir| !dir.is_empty()).map(PathBuf::from),
            cache_dir: dirs::cache_dir().map(|dir| dir.join("byhand")),
            download: cfg!(feature = "download"),
            ..Sources::default()
        }
    }
}

/// A data set and its story.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// For training (and validation: [`Dataset::split_at`]).
    pub train: Dataset,
    /// For testing.
    pub test: Dataset,
    /// Where it came from.
    pub origin: Origin,
    /// One line that people should see, when the data are not what they asked for or not from where they expect.
    pub notice: Option<String>,
}

/// Where a data set came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A folder that was asked for.
    Folder(PathBuf),
    /// An earlier download, verified again.
    Cache(PathBuf),
    /// Downloaded and verified just now, kept in this folder.
    Download(PathBuf),
    /// Drawn by the program.
    Digits {
        /// From this seed.
        seed: u64,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Folder(path) => path.display().fmt(f),
            Origin::Cache(path) => write!(f, "the cache, {}", path.display()),
            Origin::Download(path) => write!(f, "downloaded to {}", path.display()),
            Origin::Digits { seed } => write!(f, "the built-in digits, seed {seed}"),
        }
    }
}

/// How far a download is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress<'a> {
    /// The file's name.
    pub file: &'a str,
    /// Where it comes from.
    pub url: &'a str,
    /// Bytes so far.
    pub received: u64,
    /// Bytes in all.
    pub total: u64,
}

/// Loads training and test data. See the [module](self) for the order in which places are tried.
///
/// # Errors
/// A file that is damaged or not what it should be, an explicit folder without the files, a combination that makes no
/// sense. No network is not an error: the built-in digits come instead, with a notice.
pub fn load(data: &Data, sources: &Sources, progress: &mut dyn FnMut(Progress<'_>)) -> Result<Loaded, Error> {
    match data {
        Data::Mnist => load_set(&catalogue::MNIST, sources, progress),
        Data::FashionMnist => load_set(&catalogue::FASHION_MNIST, sources, progress),
        Data::Digits | Data::Folder(_) if sources.data_dir.is_some() => Err(Error::Request(format!(
            "a data folder goes with mnist or fashion-mnist, found it with {data}: leave one of the two out"
        ))),
        Data::Digits => Ok(built_in(sources, None)),
        Data::Folder(folder) => load_own(folder, sources),
    }
}

/// [`load`] for a published data set, of our catalogue or described like one of it.
///
/// # Errors
/// As [`load`].
pub fn load_set(
    set: &Set,
    sources: &Sources,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Loaded, Error> {
    if let Some(folder) = &sources.data_dir {
        let files = locate(folder, set)?.ok_or_else(|| Error::Missing {
            folder: folder.display().to_string(),
            missing: format!(
                "expected {}'s four files ({}, ..., gzipped or not) or a folder {}/ that holds them, found neither",
                set.name, set.files[0].name, set.id
            ),
        })?;
        return load_files(set, &files, Origin::Folder(folder_of(&files)), None);
    }
    let mut elsewhere = None;
    if let Some(folder) = &sources.env_dir {
        match locate(folder, set)? {
            Some(files) => return load_files(set, &files, Origin::Folder(folder_of(&files)), None),
            None => elsewhere = Some(format!("BYHAND_DATA={} holds no {}", folder.display(), set.name)),
        }
    }
    if let Some(folder) = cached(set, sources) {
        let notice = elsewhere.map(|why| format!("{why}; using the copy in {}", folder.display()));
        return load_files(set, &cache_paths(set, &folder), Origin::Cache(folder), notice);
    }
    let reason = match fetch(set, sources, progress) {
        Ok(folder) => {
            let notice = elsewhere.map(|why| format!("{why}; downloaded it to {}", folder.display()));
            return load_files(set, &cache_paths(set, &folder), Origin::Download(folder), notice);
        }
        Err(error) => error,
    };
    let why = elsewhere.map(|why| format!("{why}; ")).unwrap_or_default();
    let notice = format!(
        "{} is not at hand ({why}{reason}): using the built-in digits instead. For the real data put its four .gz files \
         into a folder and name it with --data-dir or BYHAND_DATA, or connect to the network",
        set.name
    );
    Ok(built_in(sources, Some(notice)))
}

/// Makes sure that the cache holds a published data set, verified, and returns its folder. Good files stay as they are;
/// each other one is downloaded beside its place, verified, and only then put there.
///
/// # Errors
/// [`Error::Download`] when no mirror delivers a file in time, downloads are off, or there is no cache folder;
/// [`Error::Io`] when the cache cannot be written.
pub fn fetch(set: &Set, sources: &Sources, progress: &mut dyn FnMut(Progress<'_>)) -> Result<PathBuf, Error> {
    let fail = |reason: &str| Error::Download { file: set.name.into(), reason: reason.into() };
    let cache = sources.cache_dir.as_ref().ok_or_else(|| fail("there is no cache folder"))?;
    let folder = cache.join(set.id);
    let deadline = Instant::now() + sources.deadline;
    for (file, path) in set.files.iter().zip(cache_paths(set, &folder)) {
        if verify_gz(file, &path).is_ok() {
            continue;
        }
        if !sources.download {
            return Err(fail("downloads are off"));
        }
        download_file(set, file, &path, sources, deadline, progress)?;
    }
    Ok(folder)
}

#[cfg(feature = "download")]
use download::download_file;

#[cfg(not(feature = "download"))]
fn download_file(
    _: &Set,
    file: &File,
    _: &Path,
    _: &Sources,
    _: Instant,
    _: &mut dyn FnMut(Progress<'_>),
) -> Result<(), Error> {
    let reason = "this program was built without the feature \"download\"".into();
    Err(Error::Download { file: file.name.into(), reason })
}

fn built_in(sources: &Sources, notice: Option<String>) -> Loaded {
    let seed = sources.digits_seed;
    Loaded {
        train: digits::generate(Part::Train, sources.digits.0, seed),
        test: digits::generate(Part::Test, sources.digits.1, seed),
        origin: Origin::Digits { seed },
        notice,
    }
}

/// The four files in `folder` itself, else in the folder in it that is named after the set; `None` when neither has any.
fn locate(folder: &Path, set: &Set) -> Result<Option<[PathBuf; 4]>, Error> {
    match locate_in(folder, set)? {
        Some(files) => Ok(Some(files)),
        None => locate_in(&folder.join(set.id), set),
    }
}

/// The four files in `folder`; `None` when it has none, an error when it has some.
fn locate_in(folder: &Path, set: &Set) -> Result<Option<[PathBuf; 4]>, Error> {
    let found = set.files.each_ref().map(|file| find(folder, file.name));
    let missing: Vec<&str> =
        set.files.iter().zip(&found).filter(|(_, path)| path.is_none()).map(|(file, _)| file.name).collect();
    match missing.len() {
        0 => Ok(Some(found.map(|path| path.expect("none is missing")))),
        4 => Ok(None),
        _ => Err(Error::Missing {
            folder: folder.display().to_string(),
            missing: format!("expected four files, {} (or with .gz) not found", missing.join(" and ")),
        }),
    }
}

/// A file by its usual names: `train-images-idx3-ubyte` or `train-images.idx3-ubyte`, with or without `.gz`.
fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    let dotted = name.replace("-idx", ".idx");
    [name.into(), format!("{name}.gz"), dotted.clone(), format!("{dotted}.gz")]
        .iter()
        .map(|name| folder.join(name))
        .find(|path| path.is_file())
}

fn folder_of(files: &[PathBuf; 4]) -> PathBuf {
    files[0].parent().map(Path::to_path_buf).unwrap_or_default()
}

fn load_files(
    set: &Set,
    files: &[PathBuf; 4],
    origin: Origin,
    notice: Option<String>,
) -> Result<Loaded, Error> {
    let read = |k: usize| {
        let file = &set.files[k];
        let idx = read_file(&files[k], file.elements(), file.dims.len() as u8)?;
        match catalogue::identify(&idx.sha256()) {
            Some((other_set, other)) if (other_set.name, other.name) != (set.name, file.name) => {
                Err(Error::Mistaken {
                    file: files[k].display().to_string(),
                    expected: set.file_title(file),
                    found: other_set.file_title(other),
                })
            }
            _ => Ok(idx),
        }
    };
    let names: Vec<String> = set.class_names.map(String::from).to_vec();
    let train = pair(set.name, read(0)?, read(1)?, [&files[0], &files[1]], &names)?;
    let test = pair(set.name, read(2)?, read(3)?, [&files[2], &files[3]], &names)?;
    same_size(&train, &test, &files[2])?;
    Ok(Loaded { train, test, origin, notice })
}

fn load_own(folder: &Path, sources: &Sources) -> Result<Loaded, Error> {
    // The names of the files are MNIST's; nothing else of it is assumed.
    let files = locate_in(folder, &catalogue::MNIST)?.ok_or_else(|| Error::Missing {
        folder: folder.display().to_string(),
        missing: format!(
            "expected {} (gzipped or not), found none of them",
            catalogue::MNIST.files.map(|file| file.name).join(", ")
        ),
    })?;
    let [images, labels] = [3, 1];
    let read = |k: usize, rank| read_file(&files[k], sources.max_bytes, rank);
    let (train_images, train_labels) = (read(0, images)?, read(1, labels)?);

    let known = catalogue::identify(&train_labels.sha256()).map(|(set, _)| set);
    let name = match known {
        Some(set) => set.name.into(),
        None => folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy().into_owned(),
    };
    let classes = match (own_classes(folder)?, known) {
        (Some(classes), _) => classes,
        (None, Some(set)) => set.class_names.map(String::from).to_vec(),
        (None, None) => numbered_classes(CLASSES),
    };
    let train = pair(&name, train_images, train_labels, [&files[0], &files[1]], &classes)?;
    let test = pair(&name, read(2, images)?, read(3, labels)?, [&files[2], &files[3]], &classes)?;
    same_size(&train, &test, &files[2])?;
    Ok(Loaded { train, test, origin: Origin::Folder(folder.into()), notice: None })
}

/// Classes of a folder that does not say what they are called.
const CLASSES: usize = 10;

/// The lines of `classes.txt`, if there is one.
fn own_classes(folder: &Path) -> Result<Option<Vec<String>>, Error> {
    let path = folder.join("classes.txt");
    if !path.is_file() {
        return Ok(None);
    }
    let mut text = String::new();
    open(&path)?
        .take(1 << 16)
        .read_to_string(&mut text)
        .map_err(|e| Error::io(path.display().to_string(), "read", e))?;
    Ok(Some(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(String::from).collect()))
}

fn pair(
    name: &str,
    images: Idx,
    labels: Idx,
    [images_path, labels_path]: [&PathBuf; 2],
    classes: &[String],
) -> Result<Dataset, Error> {
    let images = idx::images(images, &images_path.display().to_string())?;
    let labels_file = labels_path.display().to_string();
    let labels = idx::labels(labels, &labels_file, classes.len())?;
    if labels.len() != images.dim().0 {
        let (expected, found) =
            (format!("{} labels, one an image of {}", images.dim().0, images_path.display()), labels.len());
        return Err(idx::format_error(
            &labels_file,
            4,
            FormatProblem::Dimensions,
            expected,
            found.to_string(),
        ));
    }
    Dataset::new(name, images, labels, classes.to_vec())
}

fn same_size(train: &Dataset, test: &Dataset, path: &Path) -> Result<(), Error> {
    let ((h, w), (test_h, test_w)) = (train.image_size(), test.image_size());
    if (h, w) == (test_h, test_w) {
        return Ok(());
    }
    let expected = format!("images of {h}x{w} like those for training");
    let file = path.display().to_string();
    Err(idx::format_error(&file, 8, FormatProblem::Dimensions, expected, format!("{test_h}x{test_w}")))
}

/// The cache's folder of the set when all four files are there and are the published ones.
fn cached(set: &Set, sources: &Sources) -> Option<PathBuf> {
    let folder = sources.cache_dir.as_ref()?.join(set.id);
    let good =
        set.files.iter().zip(cache_paths(set, &folder)).all(|(file, path)| verify_gz(file, &path).is_ok());
    good.then_some(folder)
}

fn cache_paths(set: &Set, folder: &Path) -> [PathBuf; 4] {
    set.files.each_ref().map(|file| folder.join(format!("{}.gz", file.name)))
}

/// Whether `path` is the published `.gz`, by size, then by hash.
fn verify_gz(file: &File, path: &Path) -> Result<(), Error> {
    let name = path.display().to_string();
    let len = fs::metadata(path).map_err(|e| Error::io(&name, "read", e))?.len();
    if len != file.gz_len {
        let expected = format!("{} bytes", file.gz_len);
        return Err(idx::format_error(
            &name,
            len.min(file.gz_len),
            FormatProblem::Hash,
            expected,
            len.to_string(),
        ));
    }
    let found = file_sha256(path)?;
    if found != file.gz_sha256 {
        let expected = format!("SHA-256 {}", file.gz_sha256);
        return Err(idx::format_error(&name, 0, FormatProblem::Hash, expected, found));
    }
    Ok(())
}

fn file_sha256(path: &Path) -> Result<String, Error> {
    let mut reader = open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match reader.read(&mut buffer).map_err(|e| Error::io(path.display().to_string(), "read", e))? {
            0 => return Ok(idx::hex(&hasher.finalize())),
            n => hasher.update(&buffer[..n]),
        }
    }
}

fn read_file(path: &Path, limit: u64, rank: u8) -> Result<Idx, Error> {
    idx::read_rank(open(path)?, &path.display().to_string(), limit, Some(rank))
}

fn open(path: &Path) -> Result<fs::File, Error> {
    fs::File::open(path).map_err(|e| Error::io(path.display().to_string(), "open", e))
}
