//! Where data comes from: a folder, `BYHAND_DATA`, the user's cache, a download, or the built-in digits. The only module
//! that touches files, the environment or the network.
//!
//! For a published data set, in this order; the first that has it wins:
//!
//! 1. [`Sources::data_dir`], asked for explicitly: when the files are not there, that is an error;
//! 2. [`Sources::env_dir`], from the environment variable `BYHAND_DATA`;
//! 3. [`Sources::cache_dir`], where downloads are kept; its files are verified against the catalogue each time;
//! 4. a download from the catalogue's mirrors into the cache;
//! 5. the built-in digits, with a notice ([`Loaded::notices`]) that says why and how to get the real data.
//!
//! A folder holds the four files themselves, gzipped or not, or a folder named after the data set (`mnist/`,
//! `fashion-mnist/`) that does. A file that is there but damaged is always an error, never a reason to use other data. Files
//! that are not the published ones are read all the same; a notice and the [`Source`] say so.
//!
//! ```
//! use byhand_datasets::{Data, Origin, Sources, load};
//!
//! // A program says `Sources::from_env()`; with no place to look and no network, the built-in digits come.
//! let sources = Sources { digits: (200, 50), ..Sources::default() };
//! let loaded = load(&Data::Mnist, &sources, &mut |progress| println!("{} of {}", progress.received, progress.total))?;
//! assert_eq!(loaded.origin, Origin::Digits { seed: 0 });
//! assert!(loaded.notices[0].starts_with("MNIST is not at hand"));
//! assert_eq!(loaded.source.to_string(), "digits");
//! assert_eq!((loaded.train.len(), loaded.test.len()), (200, 50));
//! # Ok::<(), byhand_datasets::Error>(())
//! ```

#![expect(clippy::disallowed_methods, reason = "data come from files and from the network, within a time")]

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io::Read;
use std::path::{self, Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use base16ct::lower::encode_string;
use ndarray::{Array3, Axis};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, percent_encode};
use sha2::{Digest, Sha256};

use crate::catalogue::{self, File, Set};
use crate::dataset::Dataset;
use crate::digits::{self, Part};
use crate::error::{Error, FormatProblem};
use crate::idx;
use crate::pictures::Picture;

mod cifar;
mod csv;
pub mod doctor;
#[cfg(feature = "download")]
mod download;
mod folder;
mod names;
mod pictures;

pub use doctor::doctor;
use folder::{load_files, load_own, locate};
pub use pictures::{Prepare, load_pictures};

/// Which data to load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// MNIST.
    Mnist,
    /// Fashion-MNIST.
    FashionMnist,
    /// The built-in digits.
    Digits,
    /// Another data set of the [catalogue](crate::catalogue::SETS).
    Published(&'static Set),
    /// Anyone's own data: a folder of pictures in a folder for each class, of tables (`train.csv`, `test.csv`), or a table itself (a
    /// label and the pixels a line), a folder of CIFAR-10's six binary files, or of four IDX files with MNIST's names (`test-` for `t10k-`
    /// is accepted, and one prefix for all, as in `emnist-letters-train-images-idx3-ubyte.gz`). Classes are 0 to 9 unless a file
    /// `classes.txt` beside them names others, one a line, or [`Reading::first_label`] says how the labels count.
    Folder(PathBuf),
}

impl Data {
    /// What a request names a published data set by; none where it is not of the catalogue.
    pub fn of(set: &Set) -> Option<Data> {
        match set.id {
            "mnist" => Some(Data::Mnist),
            "fashion-mnist" => Some(Data::FashionMnist),
            id => catalogue::SETS.iter().find(|set| set.id == id).map(|set| Data::Published(set)),
        }
    }

    /// What a command line says: `mnist`, `fashion-mnist`, `digits`, or the path of an existing folder, which is made
    /// absolute, so that it is the same folder wherever the answer is used.
    ///
    /// # Errors
    /// [`Error::Request`] when it is none of these.
    pub fn from_os(text: &OsStr) -> Result<Data, Error> {
        if text == "digits" {
            return Ok(Data::Digits);
        }
        if let Some(data) = catalogue::SETS.iter().find(|set| text == set.id).and_then(|set| Data::of(set)) {
            return Ok(data);
        }
        let folder = Path::new(text);
        if folder.is_dir() || (folder.is_file() && csv::is_named(folder)) {
            return Ok(Data::Folder(absolute(folder)));
        }
        let found = folder.display();
        Err(Error::Request(if folder.exists() && !folder.is_file() {
            format!(
                "expected data, found \"{found}\", which is no file: save what it gives as a file, and name that"
            )
        } else if folder.exists() {
            format!("expected data, found the file \"{found}\": name the folder that holds the four files")
        } else {
            format!(
                "expected data \"mnist\", \"fashion-mnist\", another of the catalogue, \"digits\" or an existing folder, found \"{found}\""
            )
        }))
    }
}

impl FromStr for Data {
    type Err = Error;

    /// [`Data::from_os`] of what [`Display`](fmt::Display) wrote: a path that is no text is read from its `file:` address.
    fn from_str(text: &str) -> Result<Data, Error> {
        Data::from_os(path_of(text).as_os_str())
    }
}

impl fmt::Display for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Data::Mnist => f.write_str("mnist"),
            Data::FashionMnist => f.write_str("fashion-mnist"),
            Data::Digits => f.write_str("digits"),
            Data::Published(set) => f.write_str(set.id),
            Data::Folder(path) => f.write_str(&path_text(path)),
        }
    }
}

/// A path as text from which [`path_of`] makes the same path again. Almost always it is the path itself; one that is not
/// UTF-8, which no text file could hold, becomes a `file:` address with its odd bytes in percent signs.
pub fn path_text(path: &Path) -> String {
    const ESCAPED: &AsciiSet = &CONTROLS.add(b'%');
    match path.to_str() {
        Some(text) if !text.starts_with(ADDRESS) => text.into(),
        _ => {
            let root = if path.is_absolute() { "//" } else { "" };
            let bytes = percent_encode(path.as_os_str().as_encoded_bytes(), ESCAPED);
            format!("{ADDRESS}{root}{bytes}")
        }
    }
}

/// The path that [`path_text`] wrote.
pub fn path_of(text: &str) -> PathBuf {
    let Some(address) = text.strip_prefix(ADDRESS) else { return text.into() };
    let bytes: Vec<u8> = percent_decode_str(address.strip_prefix("//").unwrap_or(address)).collect();
    #[cfg(unix)]
    return <std::ffi::OsString as std::os::unix::ffi::OsStringExt>::from_vec(bytes).into();
    #[cfg(not(unix))]
    return String::from_utf8_lossy(&bytes).into_owned().into();
}

const ADDRESS: &str = "file:";

/// The same place whatever the working directory will be.
fn absolute(path: &Path) -> PathBuf {
    // Only an empty path or a working directory that is gone has no absolute form; opening it then says so.
    path::absolute(path).unwrap_or_else(|_| path.into())
}

/// How the files of a data set are to be understood where the format leaves it open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reading {
    /// The label of the first class. EMNIST's letters count from 1. Where it is given and no `classes.txt` is there, classes are
    /// numbered from it to the largest label.
    pub first_label: Option<u16>,
    /// Whether rows and columns are exchanged, as in EMNIST's files, and must be exchanged back.
    pub transpose: bool,
    /// Whether colours are taken as grey levels.
    pub grey: bool,
}

impl Reading {
    /// The planes of a picture: grey levels where that is asked for, else its colours if it has any.
    pub fn planes(&self, picture: &Picture) -> Array3<u8> {
        if self.grey { picture.grey().insert_axis(Axis(0)) } else { picture.planes() }
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
    /// How files are to be understood. The built-in digits need no such thing, and refuse it.
    pub reading: Reading,
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
            reading: Reading::default(),
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
    /// What a later run needs in order to find the same data and to know that they are the same.
    pub source: Source,
    /// Lines that people should see: the data are not what they asked for, not from where they expect, not the published ones,
    /// or were read in a way worth knowing.
    pub notices: Vec<String>,
}

impl Loaded {
    /// Data of one's own, in a folder or a file at `place`.
    fn own(
        place: PathBuf,
        origin: Origin,
        [train, test]: [Dataset; 2],
        sha256: String,
        notices: Vec<String>,
    ) -> Loaded {
        let source =
            Source { data: Data::Folder(place.clone()), unverified: false, folder: Some(place), sha256 };
        Loaded { train, test, origin, source, notices }
    }
}

/// What data were loaded. Its [`Display`](fmt::Display) is what results call the data: `mnist`, `mnist (unverified)`, `digits`,
/// or the folder of one's own data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The data set that was loaded, which is [`Data::Digits`] where the built-in digits stand in for another.
    pub data: Data,
    /// A published data set was asked for, and the files are not known as the published ones.
    pub unverified: bool,
    /// The absolute path of the folder that holds the files; none for the built-in digits.
    pub folder: Option<PathBuf>,
    /// SHA-256 of what was read, before anything is done to it. Over four lines, the SHA-256 of the decompressed training
    /// images, training labels, test images, test labels. Of the built-in digits the first 100 of each part are taken, since a
    /// digit does not depend on how many are drawn.
    pub sha256: String,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.data.fmt(f)?;
        f.write_str(if self.unverified { " (unverified)" } else { "" })
    }
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

/// Whether a folder holds IDX files, tables or CIFAR-10's files, and is not taken for a folder of pictures.
///
/// # Errors
/// When it cannot be read, or holds some of a data set's files and not all.
pub fn has_files(folder: &Path) -> Result<bool, Error> {
    Ok(folder::locate_in(folder, folder::Prefix::Any)?.is_some()
        || csv::locate(folder)?.is_some()
        || cifar::locate(folder)?.is_some())
}

/// Loads training and test data. See the [module](self) for the order in which places are tried.
///
/// # Errors
/// A file that is damaged or not what it should be, names of classes that do not fit the labels, an explicit folder without the
/// files, a combination that makes no sense. No network is not an error: the built-in digits come instead, with a notice.
pub fn load(data: &Data, sources: &Sources, progress: &mut dyn FnMut(Progress<'_>)) -> Result<Loaded, Error> {
    match data {
        Data::Mnist => load_set(&catalogue::MNIST, sources, progress),
        Data::FashionMnist => load_set(&catalogue::FASHION_MNIST, sources, progress),
        Data::Published(set) => load_set(set, sources, progress),
        Data::Digits | Data::Folder(_) if sources.data_dir.is_some() => Err(Error::Request(format!(
            "a data folder goes with mnist or fashion-mnist, found it with {data}: leave one of the two out"
        ))),
        Data::Digits => built_in(sources, Vec::new()),
        Data::Folder(folder) => load_own(folder, sources.max_bytes, sources.reading),
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
    let Reading { first_label, transpose, grey } = sources.reading;
    let own = Some(set.first_label).filter(|&first| first > 0);
    let reading = Reading { first_label: first_label.or(own), transpose: transpose || set.transpose, grey };
    if let Some(folder) = &sources.data_dir {
        let files = locate(folder, set)?.ok_or_else(|| Error::Missing {
            folder: folder.display().to_string(),
            missing: format!(
                "expected {}'s four files ({}, ..., gzipped or not) or a folder {}/ that holds them, found neither",
                set.name, set.files[0].name, set.id
            ),
        })?;
        return load_files(set, &files, reading, Origin::Folder, None);
    }
    let mut elsewhere = None;
    if let Some(folder) = &sources.env_dir {
        match locate(folder, set)? {
            Some(files) => return load_files(set, &files, reading, Origin::Folder, None),
            None => elsewhere = Some(format!("BYHAND_DATA={} holds no {}", folder.display(), set.name)),
        }
    }
    if let Some(folder) = cached(set, sources) {
        let notice = elsewhere.map(|why| format!("{why}; using the copy in {}", folder.display()));
        return load_files(set, &cache_paths(set, &folder), reading, Origin::Cache, notice);
    }
    let reason = match fetch(set, sources, progress) {
        Ok(folder) => {
            let notice = elsewhere.map(|why| format!("{why}; downloaded it to {}", folder.display()));
            return load_files(set, &cache_paths(set, &folder), reading, Origin::Download, notice);
        }
        Err(error) => error,
    };
    let why = elsewhere.map(|why| format!("{why}; ")).unwrap_or_default();
    let notice = format!(
        "{} is not at hand ({why}{reason}): using the built-in digits instead. For the real data put its four .gz files \
         into a folder and name it with --data-dir or BYHAND_DATA, or connect to the network",
        set.name
    );
    built_in(sources, vec![notice])
}

/// Makes sure that the cache holds a published data set, verified, and returns its folder. Good files stay as they are;
/// each other one is downloaded beside its place, verified, and only then put there.
///
/// # Errors
/// [`Error::Download`] when no mirror delivers a file in time, downloads are off, or there is no cache folder;
/// [`Error::Io`] when the cache cannot be written.
pub fn fetch(set: &Set, sources: &Sources, progress: &mut dyn FnMut(Progress<'_>)) -> Result<PathBuf, Error> {
    let fail = |reason: &str| Error::Download { file: set.name.into(), reason: reason.into() };
    if set.mirrors.is_empty() && sources.mirrors.is_none() {
        return Err(fail(
            "it comes in one archive with others (https://www.nist.gov/itl/products-and-services/emnist-dataset): unpack it, and name \
             the folder of its .gz files with --data-dir or BYHAND_DATA",
        ));
    }
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

fn built_in(sources: &Sources, notices: Vec<String>) -> Result<Loaded, Error> {
    // They have no colours.
    if (Reading { grey: false, ..sources.reading }) != Reading::default() {
        let why = notices.first().map(|notice| format!("; {notice}")).unwrap_or_default();
        return Err(Error::Request(format!(
            "how labels count and whether images are transposed is said of files, found it with the built-in digits: leave out \
             --first-label and --transpose{why}"
        )));
    }
    let seed = sources.digits_seed;
    let [known_train, known_test] = [Part::Train, Part::Test].map(|part| digits::generate(part, 100, seed));
    Ok(Loaded {
        train: digits::generate(Part::Train, sources.digits.0, seed),
        test: digits::generate(Part::Test, sources.digits.1, seed),
        origin: Origin::Digits { seed },
        source: Source {
            data: Data::Digits,
            unverified: false,
            folder: None,
            sha256: data_sha256(&known_train, &known_test),
        },
        notices,
    })
}

/// Everything in a folder whose name is text, sorted by it.
fn list(folder: &Path) -> std::io::Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if let Ok(name) = entry.file_name().into_string() {
            found.push((name, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// Parts pictures in those for training and those for testing, where nothing says which are which: one of six, chosen at random and always
/// the same. `missing` is what would say it.
fn hold_out(
    all: &Dataset,
    place: &Path,
    missing: &str,
    notices: &mut Vec<String>,
) -> Result<[Dataset; 2], Error> {
    const SHARE: usize = 6;
    const SEED: u64 = 0;
    let held_out = (all.len() / SHARE).max(1);
    notices.push(format!(
        "{}: no {missing}, so {held_out} of {} pictures, chosen at random and always the same, are for testing",
        place.display(),
        all.len()
    ));
    all.split_stratified(held_out, SEED).map(Into::into)
}

/// A part of the data as it is asked for.
fn as_read(part: Dataset, reading: Reading) -> Result<Dataset, Error> {
    let part = if reading.transpose { part.transpose() } else { part };
    if reading.grey { part.grey() } else { Ok(part) }
}

/// What [`Source::sha256`] is of these data: as if they had been read from IDX files.
fn data_sha256(train: &Dataset, test: &Dataset) -> String {
    let hash = |data: &Dataset| {
        let (images, mut labels) = (data.images(), Vec::new());
        idx::write_labels(&mut labels, data.labels()).expect("memory takes what is written");
        [
            idx::sha256(
                &idx::image_dims(images.dim()),
                images.as_slice().expect("images are contiguous by construction"),
            ),
            encode_string(&Sha256::digest(&labels)),
        ]
    };
    sha256_of_lines([train, test].into_iter().flat_map(hash))
}

/// One hash for many.
fn sha256_of_lines(lines: impl IntoIterator<Item = String>) -> String {
    let mut hasher = Sha256::new();
    for line in lines {
        hasher.update(line);
        hasher.update("\n");
    }
    encode_string(&hasher.finalize())
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
            0 => return Ok(encode_string(&hasher.finalize())),
            n => hasher.update(&buffer[..n]),
        }
    }
}

/// Opens a file of data. A pipe gives its bytes once, and data are read again: to be told apart, by `evaluate`, by a run that goes on.
fn open(path: &Path) -> Result<fs::File, Error> {
    let cannot_open = |cause| Error::io(path.display().to_string(), "open", cause);
    // Not asked of the open file: to open a pipe is to wait for who writes into it.
    if !fs::metadata(path).map_err(cannot_open)?.is_file() {
        let problem = "expected a file that can be read again, found none: save what this gives as a file, and name that";
        return Err(Error::Request(format!("{}: {problem}", path.display())));
    }
    fs::File::open(path).map_err(cannot_open)
}
