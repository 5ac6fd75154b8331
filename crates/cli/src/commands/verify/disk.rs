//! Checks of what is on the disk after a crash, a loss of power, an error or damage.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use byhand_datasets::digits::{self, Part};
use byhand_files::{
    Disk,
    memory::{Fault, FaultKind, MemoryDisk},
    replace,
};
use byhand_layers::init::{Init, init_network};
use byhand_models::{MODELS, Model};
use byhand_trainer::{Checkpoint, Fit, FitConfig};

use super::{
    Outcome,
    small::{Chance, RUN, Small},
};
use crate::run_folder::RunFolder;

/// A disk on which the run has not begun.
fn empty() -> MemoryDisk {
    MemoryDisk::with_folder(Path::new(RUN))
}

/// The digest of a run that nothing happens to, and the operations that it does.
fn undisturbed(small: &Small) -> Result<(String, u64)> {
    let disk = empty();
    let digest = small.run(&disk)?;
    Ok((digest, disk.operations()))
}

/// What is wrong with a disk on which the run was at last done.
fn wrong(disk: &MemoryDisk, digest: &str, expected: &str) -> Option<String> {
    let left = left_behind(disk);
    if digest != expected {
        return Some(format!("digest {digest}, expected {expected}"));
    }
    if !left.is_empty() {
        return Some(format!("left behind: {left:?}"));
    }
    let model =
        disk.read(&Path::new(RUN).join("model.safetensors"), 1 << 20).map_err(|error| error.to_string());
    let model = model.and_then(|bytes| Model::from_bytes(&bytes).map_err(|error| error.to_string()));
    match model {
        Ok(model) if model.weights_sha256() == expected => None,
        Ok(_) => Some("the model file has other weights".into()),
        Err(error) => Some(error),
    }
}

/// Files that are none of a run's.
fn left_behind(disk: &MemoryDisk) -> Vec<PathBuf> {
    let is_of_run = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        ["model.safetensors", "config.toml", "history.jsonl"].contains(&&*name) || name.starts_with("step-")
    };
    disk.files().into_keys().filter(|path| !is_of_run(path)).collect()
}

/// The checkpoints, oldest first.
fn checkpoints(disk: &MemoryDisk) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        disk.files().into_keys().filter(|path| path.to_string_lossy().contains("step-")).collect();
    // The number of a later step is no shorter.
    paths.sort_by_key(|path| (path.as_os_str().len(), path.clone()));
    paths
}

pub fn crash_exhaustive(_: usize) -> Result<Outcome> {
    let small = Small::new()?;
    let (expected, operations) = undisturbed(&small)?;
    let mut failures = Vec::new();
    for at in 0..operations {
        let disk = empty();
        disk.set_fault(Some(Fault { at, kind: FaultKind::Stop }));
        ensure!(small.run(&disk).is_err() && disk.is_stopped(), "operation {at} did not stop the run");
        let disk = disk.without_process();
        let problem = match small.run(&disk) {
            Ok(digest) => wrong(&disk, &digest, &expected),
            Err(error) => Some(format!("{error:#}")),
        };
        failures.extend(problem.map(|problem| format!("stopped at operation {at}: {problem}")));
    }
    let equal = operations as usize - failures.len();
    Ok(Outcome::of(format!("{equal} of {operations} stops, with torn writes: equal digest"), &failures))
}

pub fn power_loss(cases: usize) -> Result<Outcome> {
    let small = Small::new()?;
    let (expected, operations) = undisturbed(&small)?;
    let mut failures = Vec::new();
    let mut losses = 0;
    for case in 0..cases {
        let mut chance = Chance::new(case as u64);
        let mut disk = empty();
        // Up to three times; then it is left to come to its end.
        for _ in 0..=chance.below(3) {
            disk.set_fault(Some(Fault {
                at: chance.below(operations as usize) as u64,
                kind: FaultKind::Stop,
            }));
            let _ = small.run(&disk);
            disk = disk.without_power(&mut |n| chance.below(n));
            losses += 1;
        }
        let problem = match small.run(&disk) {
            Ok(digest) => wrong(&disk, &digest, &expected),
            Err(error) => Some(format!("{error:#}")),
        };
        failures.extend(problem.map(|problem| format!("schedule {case}: {problem}")));
    }
    Ok(Outcome::of(
        format!("{cases} schedules, {losses} losses of power: {} unrecoverable", failures.len()),
        &failures,
    ))
}

pub fn io_errors(_: usize) -> Result<Outcome> {
    let small = Small::new()?;
    let (expected, operations) = undisturbed(&small)?;
    let mut failures = Vec::new();
    let mut cases = 0;
    let kinds = [
        ErrorKind::StorageFull,
        ErrorKind::Other,
        ErrorKind::PermissionDenied,
        ErrorKind::ReadOnlyFilesystem,
    ];
    for at in 0..operations {
        for kind in kinds.into_iter().flat_map(|kind| [FaultKind::Once(kind), FaultKind::FromHere(kind)]) {
            cases += 1;
            let disk = empty();
            disk.set_fault(Some(Fault { at, kind }));
            let problem = match small.run(&disk) {
                // An old checkpoint that could not be removed, say.
                Ok(digest) => wrong(&disk, &digest, &expected),
                Err(error) if !format!("{error:#}").contains(RUN) => Some(format!("no path in: {error:#}")),
                Err(_) if !left_behind(&disk).is_empty() => Some("a temporary file is left".into()),
                Err(_) => whole_checkpoints(&disk),
            };
            disk.set_fault(None);
            let problem = problem.or_else(|| match small.run(&disk) {
                Ok(digest) => wrong(&disk, &digest, &expected),
                Err(error) => Some(format!("{error:#}")),
            });
            failures.extend(problem.map(|problem| format!("{kind:?} at operation {at}: {problem}")));
        }
    }
    let figure = format!("{cases} errors at {operations} operations: {} lost anything", failures.len());
    Ok(Outcome::of(figure, &failures))
}

/// Every checkpoint on the disk is whole.
fn whole_checkpoints(disk: &MemoryDisk) -> Option<String> {
    let mut loaded = checkpoints(disk).into_iter().map(|path| Checkpoint::load_from(disk, &path));
    loaded.find_map(|checkpoint| checkpoint.err()).map(|error| error.to_string())
}

pub fn checkpoint_damage(flips: usize) -> Result<Outcome> {
    let small = Small::new()?;
    let disk = empty();
    small.run(&disk)?;
    let mut paths = checkpoints(&disk);
    let newest = paths.pop().context("a run leaves checkpoints")?;
    let before = paths.pop().context("a run leaves several checkpoints")?;
    let before = Checkpoint::load_from(&disk, &before)?;
    let whole = disk.read(&newest, u64::MAX)?;
    let found = |damaged: &[u8]| -> Result<bool> {
        let disk = disk.without_process();
        replace(&disk, &newest, damaged)?;
        let mut told = Vec::new();
        let folder = RunFolder::on(Arc::new(disk.clone()), Path::new(RUN));
        let taken = folder.newest_checkpoint(&mut |line| told.push(line))?;
        // Set aside, not deleted: the bytes are there under another name.
        let kept = disk.files().values().any(|bytes| bytes == damaged);
        Ok(taken.as_ref() == Some(&before) && told.len() == 1 && kept)
    };
    damage("checkpoint", &whole, flips, found)
}

pub fn model_damage(flips: usize) -> Result<Outcome> {
    let small = Small::new()?;
    let fit = small.fit()?;
    let whole = small.model(fit.theta()).to_bytes()?;
    damage("model file", &whole, flips, |damaged| Ok(Model::from_bytes(damaged).is_err()))
}

/// Flips bits at random, and cuts every 512 bytes; `found` says whether the damage was.
fn damage(what: &str, whole: &[u8], flips: usize, found: impl Fn(&[u8]) -> Result<bool>) -> Result<Outcome> {
    let mut chance = Chance::new(1);
    let mut failures = Vec::new();
    for _ in 0..flips {
        let (byte, bit) = (chance.below(whole.len()), chance.below(8));
        let mut damaged = whole.to_vec();
        damaged[byte] ^= 1 << bit;
        if !found(&damaged)? {
            failures.push(format!("bit {bit} of byte {byte}"));
        }
    }
    let cuts = (0..whole.len()).step_by(512);
    let count = cuts.len();
    for cut in cuts {
        if !found(&whole[..cut])? {
            failures.push(format!("cut to {cut} bytes"));
        }
    }
    let all = flips + count;
    let figure =
        format!("{} of {all} damages of a {what} ({flips} bits, {count} cuts) found", all - failures.len());
    Ok(Outcome::of(figure, &failures))
}

pub fn checkpoint_cost(saves: usize) -> Result<Outcome> {
    const EVERY: Duration = Duration::from_secs(30);
    let folder = tempfile::tempdir()?;
    let data = digits::generate(Part::Train, 64, 1);
    let mut worst = (0.0, String::new());
    for model in MODELS.iter().filter(|model| model.input.h == 28) {
        let network = model.network::<f32>();
        let config = FitConfig { optimizer: "adam".parse()?, ..FitConfig::default() };
        let fit = Fit::new(&network, init_network(&network, Init::HeNormal, 1), &data, None, config)?;
        // Hashing the data is done once a run.
        fit.checkpoint();
        let run = RunFolder::named(&folder.path().join(model.name))?;
        let mut times = Vec::new();
        for _ in 0..saves {
            let begun = Instant::now();
            run.save_checkpoint(&fit.checkpoint())?;
            times.push(begun.elapsed());
        }
        times.sort();
        let median = times[times.len() / 2];
        let share = 100.0 * median.as_secs_f64() / EVERY.as_secs_f64();
        if share >= worst.0 {
            worst = (
                share,
                format!("{share:.3} % of the time ({}, {:.1} ms)", model.name, 1e3 * median.as_secs_f64()),
            );
        }
    }
    let (share, told) = worst;
    let failures = if share < 1.0 { vec![] } else { vec!["expected less than 1 %".to_string()] };
    Ok(Outcome::of(format!("at most {told}"), &failures))
}
