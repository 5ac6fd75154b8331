//! The lock of a folder: one process at a time writes into it.

#![expect(clippy::disallowed_methods, reason = "a lock is the file system's")]

use std::fs::{File, TryLockError};
use std::io::{self, Read, Write};
use std::path::Path;
use std::process;

/// Held as long as it lives. The system lifts it when the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// The name of the file that is locked, which names the process. It stays: to take it away would let two processes lock two files of one
/// name.
const FILE: &str = ".lock";

/// Takes the folder for this process. When another has it, the answer is what that one wrote: its process id.
///
/// It writes a file: permissions and a full disk show now, not after an hour. Where the file system knows no locks, everyone gets it.
///
/// # Errors
/// When the folder cannot be written to.
pub fn lock(folder: &Path) -> io::Result<Result<Lock, String>> {
    let path = folder.join(FILE);
    let mut file = File::options().create(true).write(true).truncate(false).open(&path)?;
    if let Err(TryLockError::WouldBlock) = file.try_lock() {
        let mut process = String::new();
        // A number; of whatever else lies there, no more is read.
        let _ = File::open(&path)?.take(20).read_to_string(&mut process);
        return Ok(Err(process.trim().to_owned()));
    }
    file.set_len(0)?;
    writeln!(file, "{}", process::id())?;
    Ok(Ok(Lock { _file: file }))
}
