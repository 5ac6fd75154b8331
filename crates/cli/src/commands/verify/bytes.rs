//! Check of the IDX reader on files that were changed with their structure in mind.

use std::{fs, panic};

use anyhow::Result;
use byhand_datasets::{
    digits::{self, Part},
    idx,
};

use super::{Outcome, small::Chance};

/// The most elements that a reader is allowed here.
const LIMIT: u64 = 1 << 16;
/// The most that the process may grow meanwhile: every reader's memory is given back.
const MOST_GROWTH: u64 = 32 << 20;

pub fn idx_mutations(cases: usize) -> Result<Outcome> {
    let data = digits::generate(Part::Train, 12, 1);
    let (mut images, mut labels) = (Vec::new(), Vec::new());
    idx::write_images(&mut images, data.images())?;
    idx::write_labels(&mut labels, data.labels())?;
    let files = [images, labels];
    let mut chance = Chance::new(4);
    let mut failures = Vec::new();
    let mut accepted = 0;
    let before = resident();
    let mut told_before = None;
    for case in 0..cases {
        let mutant = mutant(&files[case % 2], &mut chance);
        // What is counted is the panic; its words would only be in the way.
        let quiet = panic::take_hook();
        panic::set_hook(Box::new(|_| ()));
        let read = panic::catch_unwind(|| idx::read(&mutant[..], "mutant", LIMIT));
        panic::set_hook(quiet);
        match read {
            Err(_) => failures.push(format!("case {case}: it panicked")),
            Ok(Err(error)) if !error.to_string().contains("mutant") => {
                failures.push(format!("case {case}: {error}"))
            }
            Ok(Err(_)) => {}
            // Labels of another type are told in a note, and are other bytes.
            Ok(Ok(idx)) if idx.note.is_some() => told_before = idx.note,
            Ok(Ok(idx)) => {
                accepted += 1;
                let mut again = Vec::new();
                idx::write(&mut again, &idx.dims, &idx.data)?;
                if again != mutant {
                    failures.push(format!(
                        "case {case}: {} bytes were taken for {:?}",
                        mutant.len(),
                        idx.dims
                    ));
                }
            }
        }
    }
    let grown = resident().zip(before).map(|(now, before)| now.saturating_sub(before));
    if grown.is_some_and(|grown| grown > MOST_GROWTH) {
        failures.push(format!(
            "memory grew by {} bytes, expected at most {MOST_GROWTH}",
            grown.unwrap_or_default()
        ));
    }
    let grown = grown.map_or(String::new(), |grown| format!(", memory grew by {} KiB", grown >> 10));
    let notes = if told_before.is_some() { ", other types with a note" } else { "" };
    Ok(Outcome::of(
        format!("{cases} changed files: {} wrong ({accepted} were valid{notes}){grown}", failures.len()),
        &failures,
    ))
}

/// One to three changes: a header's number, a bit, a cut, bytes too many, a part twice.
fn mutant(file: &[u8], chance: &mut Chance) -> Vec<u8> {
    let mut bytes = file.to_vec();
    for _ in 0..=chance.below(3) {
        let len = bytes.len().max(1);
        match chance.below(8) {
            0 if bytes.len() >= 8 => {
                let at = 4 * (1 + chance.below(bytes.len().min(16) / 4 - 1));
                let special = [0, 1, 2, 27, 28, 29, 255, 65_536, 1 << 24, 0x7fff_ffff, 0x8000_0000, u32::MAX];
                bytes[at..at + 4].copy_from_slice(&special[chance.below(special.len())].to_be_bytes());
            }
            1 if bytes.len() >= 4 => bytes[chance.below(4)] = chance.below(256) as u8,
            2 => bytes.truncate(chance.below(len)),
            3 => bytes.extend((0..chance.below(40)).map(|n| n as u8)),
            4 if !bytes.is_empty() => {
                let at = chance.below(bytes.len());
                bytes.remove(at);
            }
            5 if !bytes.is_empty() => {
                let from = chance.below(bytes.len());
                let copy = bytes[from..(from + 16).min(len)].to_vec();
                bytes.extend(copy);
            }
            // The first bytes of a gzip file.
            6 if chance.below(20) == 0 && bytes.len() >= 2 => bytes[..2].copy_from_slice(&[0x1f, 0x8b]),
            _ if !bytes.is_empty() => {
                let at = chance.below(bytes.len());
                bytes[at] ^= 1 << chance.below(8);
            }
            _ => bytes.push(0),
        }
    }
    bytes
}

/// Bytes of memory that the process holds, where the system says.
pub fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? << 10)
}
