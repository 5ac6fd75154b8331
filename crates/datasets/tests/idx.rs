//! Reading and writing IDX: round trips, and every way in which bytes can be wrong.

use std::io::{self, Read, Write};

use byhand_datasets::idx::{self, DEFAULT_LIMIT};
use byhand_datasets::{Error, FormatError, FormatProblem};
use flate2::Compression;
use flate2::write::GzEncoder;
use ndarray::Array3;
use proptest::prelude::*;

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Two images of 2x3 pixels.
fn images_file() -> Vec<u8> {
    let mut file = vec![0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 3];
    file.extend(0..12);
    file
}

fn labels_file(labels: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    idx::write_labels(&mut file, labels).unwrap();
    file
}

#[track_caller]
fn format_error<T: std::fmt::Debug>(result: Result<T, Error>) -> FormatError {
    match result.unwrap_err() {
        Error::Format(e) => {
            assert!(!e.to_string().contains('\n'), "{e}");
            e
        }
        other => panic!("{other}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read(dims in prop::collection::vec(0usize..7, 1..4), seed: u8, gzipped: bool) {
        let data: Vec<u8> = (0..dims.iter().product()).map(|i: usize| (i as u8).wrapping_mul(31) ^ seed).collect();
        let mut file = Vec::new();
        idx::write(&mut file, &dims, &data).unwrap();
        prop_assert_eq!(file.len(), 4 + 4 * dims.len() + data.len());
        let bytes = if gzipped { gz(&file) } else { file };
        let read = idx::read(&bytes[..], "t", data.len() as u64).unwrap();
        prop_assert_eq!(read, idx::Idx { dims, data, gzipped });
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), valid_start: bool, rank in 1u8..4) {
        let mut file = if valid_start { vec![0, 0, 8, rank] } else { vec![] };
        file.extend(bytes);
        for file in [gz(&file), file] {
            let _ = idx::read(&file[..], "t", 1 << 16);
            let _ = idx::read_images(&file[..], "t", 1 << 16);
            let _ = idx::read_labels(&file[..], "t", 1 << 16, 10);
        }
    }

    #[test]
    fn every_cut_is_an_error(cut in 0usize..28) {
        let file = images_file();
        let e = format_error(idx::read_images(&file[..cut], "t", DEFAULT_LIMIT));
        prop_assert_eq!((e.problem, e.offset), (FormatProblem::Truncated, cut as u64));
        let zipped = gz(&file);
        let e = format_error(idx::read_images(&zipped[..cut.min(zipped.len() - 1)], "t", DEFAULT_LIMIT));
        prop_assert!(matches!(e.problem, FormatProblem::Truncated | FormatProblem::Magic), "{}", e);
    }
}

#[test]
fn images_and_labels() {
    let images = idx::read_images(&images_file()[..], "t", 12).unwrap();
    assert_eq!(images, Array3::from_shape_vec((2, 2, 3), (0..12).collect()).unwrap());
    let mut again = Vec::new();
    idx::write_images(&mut again, images.view()).unwrap();
    assert_eq!(again, images_file());
    assert_eq!(idx::read_labels(&labels_file(&[3, 1, 9])[..], "t", 3, 10).unwrap(), [3, 1, 9]);
}

#[test]
fn a_file_of_15_bytes() {
    let e = format_error(idx::read_images(&images_file()[..15], "short", DEFAULT_LIMIT));
    assert_eq!(e.to_string(), "short: at byte 15: expected 16 bytes of header, found the end of the file");
}

#[test]
fn truncated() {
    let e = format_error(idx::read_images(&images_file()[..20], "cut", DEFAULT_LIMIT));
    let text = "cut: at byte 20: expected 28 bytes (2x2x3 after a header of 16), found the end of the file";
    assert_eq!(e.to_string(), text);
}

#[test]
fn wrong_magic() {
    let e = format_error(idx::read_images(&b"\x89PNG\r\n\x1a\n"[..], "a.png", DEFAULT_LIMIT));
    assert_eq!(e.problem, FormatProblem::Magic);
    let text = "a.png: at byte 0: expected a file of images (magic 0x00000803), found 0x89504e47";
    assert_eq!(e.to_string(), text);
    // A type other than unsigned bytes, a rank of 0 and one of 4.
    for magic in [[0, 0, 0x0d, 3], [0, 0, 8, 0], [0, 0, 8, 4]] {
        assert_eq!(format_error(idx::read(&magic[..], "t", 10)).problem, FormatProblem::Magic);
    }
}

#[test]
fn swapped_labels_and_images() {
    let e = format_error(idx::read_images(&labels_file(&[1, 2])[..], "train-images", DEFAULT_LIMIT));
    assert_eq!(e.problem, FormatProblem::Swapped);
    let text = "train-images: at byte 3: expected a file of images (magic 0x00000803), \
                found a file of labels (magic 0x00000801)";
    assert_eq!(e.to_string(), text);
    let e = format_error(idx::read_labels(&images_file()[..], "train-labels", DEFAULT_LIMIT, 10));
    assert_eq!(e.problem, FormatProblem::Swapped);
}

#[test]
fn dimensions_whose_product_overflows() {
    let mut file = vec![0, 0, 8, 3];
    file.extend([0xff; 12]);
    let e = format_error(idx::read_images(&file[..], "huge", DEFAULT_LIMIT));
    assert_eq!(e.problem, FormatProblem::Overflow);
    assert!(e.to_string().contains("4294967295x4294967295x4294967295"), "{e}");
    // 2^62 fits in 64 bits, but not in the limit.
    let file = [0, 0, 8, 2, 0x80, 0, 0, 0, 0x80, 0, 0, 0];
    assert_eq!(format_error(idx::read(&file[..], "huge", DEFAULT_LIMIT)).problem, FormatProblem::TooLarge);
}

#[test]
fn no_images_and_no_pixels() {
    for dims in [[0, 28, 28], [2, 0, 28], [2, 28, 0]] {
        let mut file = Vec::new();
        idx::write(&mut file, &dims, &[]).unwrap();
        let e = format_error(idx::read_images(&file[..], "t", DEFAULT_LIMIT));
        assert_eq!(e.problem, FormatProblem::Dimensions, "{dims:?}");
    }
}

#[test]
fn trailing_bytes() {
    let mut file = images_file();
    file.push(0);
    for file in [gz(&file), file] {
        let e = format_error(idx::read_images(&file[..], "t", DEFAULT_LIMIT));
        assert_eq!((e.problem, e.offset), (FormatProblem::Trailing, 28));
    }
}

#[test]
fn label_10() {
    let e = format_error(idx::read_labels(&labels_file(&[0, 9, 10])[..], "labels", DEFAULT_LIMIT, 10));
    assert_eq!((e.problem, e.offset), (FormatProblem::Label, 10));
    assert_eq!(e.to_string(), "labels: at byte 10: expected a label from 0 to 9, found 10");
}

#[test]
fn damaged_gzip() {
    let mut file = gz(&images_file());
    let middle = file.len() / 2;
    file[middle] ^= 0x10;
    let e = format_error(idx::read_images(&file[..], "t", DEFAULT_LIMIT));
    assert!(
        matches!(e.problem, FormatProblem::Gzip | FormatProblem::Truncated | FormatProblem::Trailing),
        "{e}"
    );
    // The checksum at the end: only the last read can notice.
    let mut file = gz(&images_file());
    let crc = file.len() - 8;
    file[crc] ^= 1;
    assert_eq!(format_error(idx::read_images(&file[..], "t", DEFAULT_LIMIT)).problem, FormatProblem::Gzip);
}

#[test]
fn gzip_in_several_members() {
    let file = images_file();
    let two = [gz(&file[..9]), gz(&file[9..])].concat();
    assert_eq!(idx::read_images(&two[..], "t", DEFAULT_LIMIT).unwrap().dim(), (2, 2, 3));
}

#[test]
fn a_failing_disk_is_no_format_error() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the disk is on fire"))
        }
    }
    let e = idx::read_images(images_file()[..20].chain(Broken), "disk", DEFAULT_LIMIT).unwrap_err();
    assert!(matches!(e, Error::Io { .. }));
    assert_eq!(e.to_string(), "disk: cannot read: the disk is on fire");
}
