//! Memory stays within what a good file needs, whatever the bytes claim; unpacking allocates nothing.

use std::io::{self, Read, Write};

use allocation_counter::measure;
use byhand_datasets::digits::{self, Part};
use byhand_datasets::unpack::{Crop, LANES, Shift, unpack_sample, unpack_tile, unpack_tile_shifted};
use byhand_datasets::{Augment, Error, FormatProblem, Normalize, batches, csv, idx};
use flate2::Compression;
use flate2::write::GzEncoder;

/// The most bytes that `work` held at once, and what it returned.
fn peak_of<T>(work: impl FnOnce() -> T) -> (usize, T) {
    let mut result = None;
    let info = measure(|| result = Some(work()));
    (info.bytes_max as usize, result.expect("measure calls its argument"))
}

const MIB: usize = 1 << 20;

/// `header`, then zeros for ever.
fn endless(header: &[u8]) -> impl Read + '_ {
    header.chain(io::repeat(0))
}

#[test]
fn a_gzip_bomb() {
    // A header of ten small images, then 64 MiB of zeros in 64 KiB of gzip.
    let header = [0, 0, 8, 3, 0, 0, 0, 10, 0, 0, 0, 28, 0, 0, 0, 28];
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&header).unwrap();
    io::copy(&mut io::repeat(0).take(64 << 20), &mut encoder).unwrap();
    let bomb = encoder.finish().unwrap();
    let (peak, result) = peak_of(|| idx::read_images(&bomb[..], "bomb", idx::DEFAULT_LIMIT));
    assert!(matches!(result, Err(Error::Format(e)) if e.problem == FormatProblem::Trailing));
    assert!(peak < MIB, "{peak} bytes");
}

#[test]
fn a_header_that_promises_more_than_comes() {
    // 900 MB promised, 100 bytes delivered.
    let mut file = vec![0, 0, 8, 1];
    file.extend(900_000_000u32.to_be_bytes());
    file.extend([0; 100]);
    let (peak, result) = peak_of(|| idx::read_labels(&file[..], "liar", idx::DEFAULT_LIMIT, 10));
    assert!(matches!(result, Err(Error::Format(e)) if e.problem == FormatProblem::Truncated));
    assert!(peak < MIB, "{peak} bytes");
}

#[test]
fn a_stream_without_end() {
    let header = [0, 0, 8, 3, 0, 0, 0, 200, 0, 0, 0, 100, 0, 0, 0, 100];
    let (peak, result) = peak_of(|| idx::read_images(endless(&header), "endless", 2_000_000));
    assert!(matches!(result, Err(Error::Format(e)) if e.problem == FormatProblem::Trailing));
    assert!(peak < 4 * MIB, "{peak} bytes for a file of 2 MB");
    let (peak, result) = peak_of(|| idx::read_images(endless(&header), "endless", 1_999_999));
    assert!(matches!(result, Err(Error::Format(e)) if e.problem == FormatProblem::TooLarge));
    assert!(peak < 4096, "{peak} bytes");
    // A line without end.
    let (peak, result) = peak_of(|| csv::read(endless(b"label,a\n"), "endless", u64::MAX));
    assert!(matches!(result, Err(Error::Line { line: 2, .. })));
    assert!(peak < 7 * MIB, "{peak} bytes for a line of 4 MiB");
}

#[test]
fn orders_and_tiles_allocate_nothing() {
    let data = digits::generate(Part::Train, 64, 0);
    let augment = Augment { shift: 2, rotate: 0.2, elastic: 1.0, erase: 8, mixup: 0.2, ..Augment::default() };
    let (mut shifts, mut changed) = ([Shift::default(); LANES], vec![0; 28 * 28]);
    let mut scratch = vec![0; augment.scratch_len((28, 28))];
    let mut order = vec![0; data.len()];
    let mut out = vec![0.0; 28 * 28 * LANES];
    let (normalize, crop) = (Normalize::unit(), Crop::full((28, 28)));
    let info = measure(|| {
        batches::epoch_order_into(1, 2, &mut order);
        for indices in batches::batches(&order, LANES, batches::LastBatch::Keep) {
            unpack_tile(data.images(), indices, normalize, crop, &mut out);
            augment.shifts(1, 2, 0, &mut shifts);
            unpack_tile_shifted(data.images(), indices, &shifts[..indices.len()], normalize, crop, &mut out);
            augment.apply(1, 2, 0, data.image(0), &mut scratch, &mut changed);
            augment.mix(1, 2, 0, LANES);
            unpack_sample(data.images(), indices[0], normalize, crop, &mut out[..784]);
        }
        batches::with_replacement_into(1, 2, 64, &mut order);
    });
    assert_eq!(info.count_total, 0);
}
