//! The machine's file system.

#![expect(clippy::disallowed_methods, reason = "the one way to the machine's files")]

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::disk::{Disk, Writer, too_large};

/// The machine's file system.
pub static OS: Os = Os;

/// The type of [`OS`]. Who may read a new file is the umask's to say.
#[derive(Debug, Clone, Copy)]
pub struct Os;

impl Disk for Os {
    fn create(&self, path: &Path) -> io::Result<Box<dyn Writer>> {
        Ok(Box::new(OsFile(File::create_new(path)?)))
    }

    fn append(&self, path: &Path) -> io::Result<Box<dyn Writer>> {
        Ok(Box::new(OsFile(File::options().append(true).open(path)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        // Elsewhere a folder cannot be opened.
        if !cfg!(unix) {
            return Ok(());
        }
        match File::open(path)?.sync_all() {
            // Some file systems of networks know no sync of a folder.
            Err(error)
                if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) =>
            {
                Ok(())
            }
            synced => synced,
        }
    }

    fn read(&self, path: &Path, at_most: u64) -> io::Result<Vec<u8>> {
        let file = File::open(path)?;
        let found = file.metadata()?.len();
        if found > at_most {
            return Err(too_large(found, at_most));
        }
        let mut bytes = Vec::with_capacity(found as usize);
        // It may grow meanwhile, and a pipe does not say how much it will give.
        file.take(at_most.saturating_add(1)).read_to_end(&mut bytes)?;
        match bytes.len() as u64 {
            found if found > at_most => Err(too_large(found, at_most)),
            _ => Ok(bytes),
        }
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        let mut paths =
            fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
        paths.sort();
        Ok(paths)
    }
}

#[derive(Debug)]
struct OsFile(File);

impl Write for OsFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Writer for OsFile {
    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_all()
    }
}
