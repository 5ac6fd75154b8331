//! A disk in memory, for tests: it counts operations, fails or stops at the one that is named, and can lose its power.
//!
//! It promises what POSIX does and no more. Bytes are safe when their file was synced; a name (a new one, a changed one, a removed one)
//! is safe when its folder was synced. [`MemoryDisk::without_power`] keeps of everything else what chance says.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::{Disk, Writer, folder_of, too_large};

/// A disk in memory. Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub struct MemoryDisk {
    state: Arc<Mutex<State>>,
}

/// What goes wrong on a [`MemoryDisk`], at operation `at`, counted from 0 over all that change it or make it safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// The operation.
    pub at: u64,
    /// What happens there.
    pub kind: FaultKind,
}

/// What happens at a [`Fault`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// The process is gone: a write in hand is cut in two, and from here on every operation fails.
    Stop,
    /// The operation fails once, with this error; a write in hand is cut in two.
    Once(ErrorKind),
    /// This operation and all later ones fail with this error, but for removals and reading: a full disk, say.
    FromHere(ErrorKind),
}

#[derive(Debug, Default)]
struct State {
    operations: u64,
    fault: Option<Fault>,
    stopped: bool,
    /// A disk that says "done" before it is.
    lies: bool,
    contents: Vec<Content>,
    names: BTreeMap<PathBuf, Entry>,
    /// Names as they are safe.
    safe: BTreeMap<PathBuf, Entry>,
    /// Changes of names that no sync has made safe, in order.
    pending: Vec<Change>,
}

#[derive(Debug, Clone, Default)]
struct Content {
    bytes: Vec<u8>,
    safe: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    Folder,
    /// The number of a content.
    File(usize),
}

#[derive(Debug, Clone)]
enum Change {
    Add(PathBuf, Entry),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf),
}

impl MemoryDisk {
    /// An empty disk with this folder.
    pub fn with_folder(folder: &Path) -> MemoryDisk {
        let disk = MemoryDisk::default();
        let all = folder.ancestors().filter(|path| !path.as_os_str().is_empty());
        let names: BTreeMap<PathBuf, Entry> = all.map(|path| (path.to_owned(), Entry::Folder)).collect();
        {
            let mut state = disk.state();
            state.safe = names.clone();
            state.names = names;
        }
        disk
    }

    /// Counts operations anew, and lets this go wrong.
    pub fn set_fault(&self, fault: Option<Fault>) {
        let mut state = self.state();
        (state.operations, state.stopped, state.fault) = (0, false, fault);
    }

    /// From now on syncs do nothing, and say they did.
    pub fn set_lying(&self) {
        self.state().lies = true;
    }

    /// Operations since the fault was set.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Whether its [`Fault`] stopped it.
    pub fn is_stopped(&self) -> bool {
        self.state().stopped
    }

    /// The disk that the next process finds when this one was killed: all that was written is there.
    pub fn without_process(&self) -> MemoryDisk {
        let state = self.state();
        let next = State {
            contents: state.contents.clone(),
            names: state.names.clone(),
            safe: state.safe.clone(),
            pending: state.pending.clone(),
            lies: state.lies,
            ..State::default()
        };
        MemoryDisk { state: Arc::new(Mutex::new(next)) }
    }

    /// The disk that is found when the power was lost: what was synced is there, and of the rest what chance says (`chance(n)` is a
    /// number below n): a part of the bytes, and any of the changes of names.
    pub fn without_power(&self, chance: &mut dyn FnMut(usize) -> usize) -> MemoryDisk {
        let state = self.state();
        let mut names = state.safe.clone();
        for change in state.pending.iter().filter(|_| chance(2) == 0) {
            apply(&mut names, change);
        }
        // What is in a folder that was lost is lost.
        let all = names.clone();
        names.retain(|path, _| {
            path.ancestors().skip(1).all(|up| up.as_os_str().is_empty() || all.contains_key(up))
        });
        let contents = state.contents.iter().map(|content| {
            let (safe, bytes) = (&content.safe, &content.bytes);
            let mut kept = safe.clone();
            if bytes.len() > safe.len() {
                // Some came to the disk; of some only the length did.
                let reached = safe.len() + chance(bytes.len() - safe.len() + 1);
                kept.extend(&bytes[safe.len()..reached]);
                kept.resize(reached + chance(bytes.len() - reached + 1), 0);
            }
            Content { safe: kept.clone(), bytes: kept }
        });
        let contents = contents.collect();
        let next = State { contents, safe: names.clone(), names, lies: state.lies, ..State::default() };
        MemoryDisk { state: Arc::new(Mutex::new(next)) }
    }

    /// Every file and its bytes.
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let state = self.state();
        let files = state.names.iter().filter_map(|(path, entry)| match entry {
            Entry::File(content) => Some((path.clone(), state.contents[*content].bytes.clone())),
            Entry::Folder => None,
        });
        files.collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Counts an operation, and fails when this is the one. What must be written all the same is a part.
    fn operate(&mut self, is_removal: bool) -> io::Result<()> {
        let number = self.operations;
        self.operations += 1;
        if self.stopped {
            return Err(io::Error::other("the process has ended"));
        }
        match self.fault {
            Some(Fault { at, kind: FaultKind::Stop }) if at == number => {
                self.stopped = true;
                Err(io::Error::other("the process has ended"))
            }
            Some(Fault { at, kind: FaultKind::Once(kind) }) if at == number => Err(kind.into()),
            Some(Fault { at, kind: FaultKind::FromHere(kind) }) if at <= number && !is_removal => {
                Err(kind.into())
            }
            _ => Ok(()),
        }
    }

    fn change(&mut self, change: Change) {
        apply(&mut self.names, &change);
        self.pending.push(change);
    }

    fn file(&self, path: &Path) -> io::Result<usize> {
        match self.names.get(path) {
            Some(Entry::File(content)) => Ok(*content),
            Some(Entry::Folder) => Err(ErrorKind::IsADirectory.into()),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    fn add(&mut self, path: &Path, entry: Entry) -> io::Result<()> {
        if self.names.contains_key(path) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        self.folder(folder_of(path))?;
        self.change(Change::Add(path.into(), entry));
        Ok(())
    }

    fn folder(&self, path: &Path) -> io::Result<()> {
        match self.names.get(path) {
            Some(Entry::Folder) => Ok(()),
            Some(Entry::File(_)) => Err(ErrorKind::NotADirectory.into()),
            None => Err(ErrorKind::NotFound.into()),
        }
    }
}

/// A change of names; one that no longer makes sense, as others were lost, changes nothing.
fn apply(names: &mut BTreeMap<PathBuf, Entry>, change: &Change) {
    match change {
        Change::Add(path, entry) => {
            names.insert(path.clone(), *entry);
        }
        Change::Remove(path) => {
            names.remove(path);
        }
        Change::Rename(from, to) => {
            let moved: BTreeSet<PathBuf> =
                names.keys().filter(|path| path.starts_with(from)).cloned().collect();
            for path in moved {
                let entry = names.remove(&path).expect("it is there");
                let rest = path.strip_prefix(from).expect("it begins so");
                names.insert(if rest.as_os_str().is_empty() { to.clone() } else { to.join(rest) }, entry);
            }
        }
    }
}

/// The folders whose sync makes a change safe.
fn is_in(change: &Change, folder: &Path) -> bool {
    match change {
        Change::Add(path, _) | Change::Remove(path) | Change::Rename(_, path) => folder_of(path) == folder,
    }
}

impl Disk for MemoryDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn Writer>> {
        let mut state = self.state();
        state.operate(false)?;
        let content = state.contents.len();
        state.add(path, Entry::File(content))?;
        state.contents.push(Content::default());
        Ok(Box::new(MemoryFile { disk: self.clone(), content }))
    }

    fn append(&self, path: &Path) -> io::Result<Box<dyn Writer>> {
        let mut state = self.state();
        state.operate(false)?;
        let content = state.file(path)?;
        Ok(Box::new(MemoryFile { disk: self.clone(), content }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.operate(false)?;
        if !state.names.contains_key(from) {
            return Err(ErrorKind::NotFound.into());
        }
        state.folder(folder_of(to))?;
        if state.names.get(to) == Some(&Entry::Folder) {
            return Err(ErrorKind::IsADirectory.into());
        }
        state.change(Change::Rename(from.into(), to.into()));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.operate(true)?;
        state.file(path)?;
        state.change(Change::Remove(path.into()));
        Ok(())
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.operate(false)?;
        state.add(path, Entry::Folder)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.operate(false)?;
        state.folder(path)?;
        if !state.lies {
            let (safe, pending) =
                std::mem::take(&mut state.pending).into_iter().partition(|c| is_in(c, path));
            let safe: Vec<Change> = safe;
            safe.iter().for_each(|change| apply(&mut state.safe, change));
            state.pending = pending;
        }
        Ok(())
    }

    fn read(&self, path: &Path, at_most: u64) -> io::Result<Vec<u8>> {
        let state = self.state();
        let bytes = &state.contents[state.file(path)?].bytes;
        match bytes.len() as u64 {
            found if found > at_most => Err(too_large(found, at_most)),
            _ => Ok(bytes.clone()),
        }
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        let state = self.state();
        state.folder(folder)?;
        Ok(state.names.keys().filter(|path| *path != folder && folder_of(path) == folder).cloned().collect())
    }
}

#[derive(Debug)]
struct MemoryFile {
    disk: MemoryDisk,
    content: usize,
}

impl Write for MemoryFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.disk.state();
        let was_stopped = state.stopped;
        let done = state.operate(false);
        let written = match &done {
            Ok(()) => bytes.len(),
            Err(_) if was_stopped => 0,
            // Torn.
            Err(_) => bytes.len() / 2,
        };
        state.contents[self.content].bytes.extend(&bytes[..written]);
        done.map(|()| written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Writer for MemoryFile {
    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.disk.state();
        state.operate(false)?;
        if !state.lies {
            let content = &mut state.contents[self.content];
            content.safe = content.bytes.clone();
        }
        Ok(())
    }
}
