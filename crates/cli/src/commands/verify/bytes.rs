//! Check of the IDX reader on files that were changed with their structure in mind.

use std::{
    io::{Write, copy},
    panic,
};

use allocation_counter::measure;
use anyhow::Result;
use byhand_datasets::{
    digits::{self, Part},
    idx::{self, Idx},
};
use flate2::{Compression, read::MultiGzDecoder, write::GzEncoder};

use super::{Outcome, small::Chance};

/// The most elements that a reader is allowed here.
const LIMIT: u64 = 1 << 16;
/// The most bytes that a reader may hold besides those of the file.
const MOST_BESIDES: u64 = 1 << 20;

pub fn idx_mutations(cases: usize) -> Result<Outcome> {
    let data = digits::generate(Part::Train, 12, 1);
    let (mut images, mut labels) = (Vec::new(), Vec::new());
    idx::write_images(&mut images, data.images())?;
    idx::write_labels(&mut labels, data.labels())?;
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    packed.write_all(&images)?;
    let files = [images, labels, packed.finish()?];
    let mut chance = Chance::new(4);
    let (mut failures, mut accepted, mut most) = (Vec::new(), 0, 0);
    // What is counted is the panic; its words would only be in the way.
    let loud = panic::take_hook();
    panic::set_hook(Box::new(|_| ()));
    for case in 0..cases {
        let mutant = mutant(&files[case % files.len()], &mut chance);
        let mut read = None;
        let held = measure(|| read = Some(panic::catch_unwind(|| idx::read(&mutant[..], "mutant", LIMIT))));
        let besides = held.bytes_max.saturating_sub(mutant.len() as u64);
        most = most.max(besides);
        let problem = match read {
            None | Some(Err(_)) => Some("it panicked".to_string()),
            Some(Ok(Err(error))) => Some(error.to_string()).filter(|told| !told.contains("mutant")),
            Some(Ok(Ok(idx))) => {
                accepted += 1;
                (!is_inside(&idx, &mutant)?)
                    .then(|| format!("{} bytes were taken for {:?}", mutant.len(), idx.dims))
            }
        };
        let problem = problem
            .or((besides > MOST_BESIDES).then(|| format!("{besides} bytes were held besides the file's")));
        failures.extend(problem.map(|problem| format!("case {case}: {problem}")));
    }
    panic::set_hook(loud);
    Ok(Outcome::of(
        format!(
            "{cases} changed files: {} wrong ({accepted} were valid); at most {} KiB held besides a file's bytes",
            failures.len(),
            most >> 10
        ),
        &failures,
    ))
}

/// Whether what was read is what the file says.
fn is_inside(idx: &Idx, file: &[u8]) -> Result<bool> {
    // Labels of another type are told in a note, and are other bytes.
    if idx.note.is_some() {
        return Ok(true);
    }
    let mut plain = Vec::new();
    match idx.gzipped {
        true => copy(&mut MultiGzDecoder::new(file), &mut plain).map(|_| ())?,
        false => plain.extend(file),
    }
    let mut again = Vec::new();
    idx::write(&mut again, &idx.dims, &idx.data)?;
    Ok(again == plain)
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
