//! A file is replaced whole or not at all, wherever it goes wrong; and a disk that lies about its syncs shows that this test can fail.

use std::io::ErrorKind;
use std::path::Path;

use byhand_files::memory::{Fault, FaultKind, MemoryDisk};
use byhand_files::{Disk, NewFile, OS, lock, remove_unfinished, replace};

const FOLDER: &str = "run";

fn with_old() -> MemoryDisk {
    let disk = MemoryDisk::with_folder(Path::new(FOLDER));
    replace(&disk, &file(), b"old").unwrap();
    disk.set_fault(None);
    disk
}

fn file() -> std::path::PathBuf {
    Path::new(FOLDER).join("file")
}

fn read(disk: &MemoryDisk) -> Vec<u8> {
    disk.read(&file(), 100).unwrap()
}

/// Numbers that look random, from a seed.
fn chance(seed: u64) -> impl FnMut(usize) -> usize {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move |n| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 33) as usize % n
    }
}

#[test]
fn old_or_new_after_every_fault() {
    let whole = with_old();
    replace(&whole, &file(), b"brand new").unwrap();
    let operations = whole.operations();
    assert_eq!(operations, 5, "create, write, sync, rename, sync");
    for at in 0..operations {
        for kind in
            [FaultKind::Once(ErrorKind::StorageFull), FaultKind::FromHere(ErrorKind::PermissionDenied)]
        {
            let disk = with_old();
            disk.set_fault(Some(Fault { at, kind }));
            assert!(replace(&disk, &file(), b"brand new").is_err());
            // The last one fails when the new file is there.
            assert_eq!(read(&disk), if at < 4 { &b"old"[..] } else { b"brand new" }, "{kind:?} at {at}");
            assert_eq!(disk.files().len(), 1, "nothing is left behind: {kind:?} at {at}");
        }
        for seed in 0..50 {
            let disk = with_old();
            disk.set_fault(Some(Fault { at, kind: FaultKind::Stop }));
            assert!(replace(&disk, &file(), b"brand new").is_err());
            for found in [disk.without_process(), disk.without_power(&mut chance(seed))] {
                assert!(
                    [&b"old"[..], b"brand new"].contains(&&*read(&found)),
                    "stopped at {at}, seed {seed}"
                );
                remove_unfinished(&found, Path::new(FOLDER));
                assert_eq!(found.files().len(), 1);
                replace(&found, &file(), b"newer").unwrap();
                assert_eq!(read(&found), b"newer");
            }
        }
    }
}

#[test]
fn what_is_done_survives_a_loss_of_power_unless_the_disk_lies() {
    let outcomes = |lies: bool| {
        (0..50).map(move |seed| {
            let disk = with_old();
            if lies {
                disk.set_lying();
            }
            replace(&disk, &file(), b"brand new").unwrap();
            read(&disk.without_power(&mut chance(seed)))
        })
    };
    assert!(outcomes(false).all(|found| found == b"brand new"));
    assert!(outcomes(true).any(|found| found != b"brand new" && found != b"old"));
}

#[test]
fn the_same_on_the_machine() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    replace(&OS, &path, b"old").unwrap();
    replace(&OS, &path, b"new").unwrap();
    assert_eq!(OS.read(&path, 3).unwrap(), b"new");
    assert_eq!(OS.read(&path, 2).unwrap_err().kind(), ErrorKind::FileTooLarge);
    assert_eq!(OS.list(folder.path()).unwrap(), std::slice::from_ref(&path));
    // A folder is in the way: nothing of the attempt stays.
    let in_the_way = folder.path().join("folder");
    OS.create_folder(&in_the_way).unwrap();
    replace(&OS, &in_the_way, b"new").unwrap_err();
    assert_eq!(OS.list(folder.path()).unwrap().len(), 2);
    // Two at once do not meet; who was killed leaves what the next removes.
    let first = NewFile::create(&OS, &path).unwrap();
    let second = NewFile::create(&OS, &path).unwrap();
    assert_ne!(first.path(), second.path());
    std::mem::forget((first, second));
    remove_unfinished(&OS, folder.path());
    assert_eq!(OS.list(folder.path()).unwrap().len(), 2);
    let held = lock(folder.path()).unwrap().unwrap();
    assert_eq!(lock(folder.path()).unwrap().unwrap_err(), std::process::id().to_string());
    drop(held);
    lock(folder.path()).unwrap().unwrap();
}
