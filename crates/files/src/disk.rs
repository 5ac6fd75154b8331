//! What a file system is here: the operations that files are written with.

use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A file system, or what stands for one. Paths are used as they are given.
pub trait Disk: fmt::Debug + Send + Sync {
    /// Makes a file that was not there, to be written.
    ///
    /// # Errors
    /// [`AlreadyExists`](io::ErrorKind::AlreadyExists), or whatever the system says. The same holds for all of these.
    fn create(&self, path: &Path) -> io::Result<Box<dyn Writer>>;

    /// Opens a file that is there, to be written at its end.
    fn append(&self, path: &Path) -> io::Result<Box<dyn Writer>>;

    /// Gives a file or a folder another name; a file of that name is replaced.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes a folder that was not there, in one that is.
    fn create_folder(&self, path: &Path) -> io::Result<()>;

    /// Waits until the names in a folder are on the disk.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;

    /// The bytes of a file, which is [`FileTooLarge`](io::ErrorKind::FileTooLarge) when it has more than `at_most`: nothing is read
    /// then, and no memory is asked for.
    fn read(&self, path: &Path, at_most: u64) -> io::Result<Vec<u8>>;

    /// The paths of all that is in a folder, in order.
    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>>;
}

/// A file that is being written.
pub trait Writer: Write + fmt::Debug + Send {
    /// Waits until all bytes are on the disk.
    ///
    /// # Errors
    /// When they cannot be put there.
    fn sync(&mut self) -> io::Result<()>;
}

/// The folder that a path is in.
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

pub(crate) fn too_large(found: u64, at_most: u64) -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, format!("expected at most {at_most} bytes, found {found}"))
}
