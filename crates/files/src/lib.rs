//! The operations on files that byhand writes with, behind one trait: [`Disk`].
//!
//! [`OS`] is the machine's file system. [`memory::MemoryDisk`] is a disk in memory that fails, stops or forgets at the operation that a
//! test names, so that a test can try each of them. [`replace`] writes a file whole or not at all: a new file in the same folder, its
//! bytes, a sync of the file, a rename, a sync of the folder. After a crash or a loss of power the file is the old one or the new one.

#![cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types))]

mod disk;
mod lock;
pub mod memory;
mod os;
mod replace;

pub use disk::{Disk, Writer, folder_of};
pub use lock::{Lock, lock};
pub use os::{OS, Os};
pub use replace::{NewFile, remove_unfinished, replace};
