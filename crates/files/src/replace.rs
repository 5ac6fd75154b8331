//! Files that take their place whole or not at all.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::disk::{Disk, Writer, folder_of};

/// Puts `bytes` at `path`, whole or not at all: whatever happens, there is the file of before or this one. When this returns, it is on
/// the disk.
///
/// # Errors
/// When the folder cannot be written to. The file of before is then there, and no other is left behind.
pub fn replace(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut new = NewFile::create(disk, path)?;
    new.write_all(bytes)?;
    new.finish()
}

/// A file that takes its place when it is [finished](NewFile::finish). Dropped before, it leaves nothing behind.
#[derive(Debug)]
pub struct NewFile<'a> {
    disk: &'a dyn Disk,
    place: PathBuf,
    path: PathBuf,
    file: Option<Box<dyn Writer>>,
}

impl<'a> NewFile<'a> {
    /// Begins a file that will be at `place`, in the same folder: only within a file system is a rename atomic.
    ///
    /// # Errors
    /// When the folder cannot be written to.
    pub fn create(disk: &'a dyn Disk, place: &Path) -> io::Result<NewFile<'a>> {
        let folder = folder_of(place);
        for number in 0.. {
            let path = folder.join(format!("{UNFINISHED}{number}"));
            match disk.create(&path) {
                // Somebody else writes in this folder.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                file => return Ok(NewFile { disk, place: place.into(), path, file: Some(file?) }),
            }
        }
        unreachable!("some number is free")
    }

    /// Where it is while it is not finished.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it its place.
    ///
    /// # Errors
    /// When it cannot be put on the disk. What was in its place is there still.
    pub fn finish(mut self) -> io::Result<()> {
        self.writer().sync()?;
        self.disk.rename(&self.path, &self.place)?;
        self.file = None;
        self.disk.sync_folder(folder_of(&self.place))
    }

    fn writer(&mut self) -> &mut dyn Writer {
        &mut **self.file.as_mut().expect("until it is finished")
    }
}

impl Write for NewFile<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer().flush()
    }
}

impl Drop for NewFile<'_> {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            // What cannot be removed does no harm.
            let _ = self.disk.remove(&self.path);
        }
    }
}

/// Removes what was left in a folder by writers that were killed. Only who holds the folder's [`Lock`](crate::Lock) may: another's file
/// may be in work.
pub fn remove_unfinished(disk: &dyn Disk, folder: &Path) {
    let is_unfinished = |path: &Path| {
        path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(UNFINISHED.as_bytes()))
    };
    for path in disk.list(folder).unwrap_or_default().into_iter().filter(|path| is_unfinished(path)) {
        // What cannot be removed does no harm.
        let _ = disk.remove(&path);
    }
}

/// What the names of unfinished files begin with.
const UNFINISHED: &str = ".unfinished-";
