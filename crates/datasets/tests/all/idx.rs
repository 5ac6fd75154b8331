//! Reading and writing IDX: round trips, and every way in which bytes can be wrong.

use std::io::{self, Read, Write};

use byhand_datasets::idx::{self, DEFAULT_LIMIT};
use byhand_datasets::{Error, FormatError, FormatProblem};
use flate2::Compression;
use flate2::write::GzEncoder;
use ndarray::Array4;
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

fn labels_file(labels: &[u16]) -> Vec<u8> {
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
        prop_assert_eq!(&read.sha256, &idx::sha256(&dims, &data));
        prop_assert_eq!((read.dims, read.data, read.gzipped, read.note), (dims, data, gzipped, None));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), valid_start: bool, rank in 1u8..5) {
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
    assert_eq!(images, Array4::from_shape_vec((2, 1, 2, 3), (0..12).collect()).unwrap());
    let mut again = Vec::new();
    idx::write_images(&mut again, images.view()).unwrap();
    assert_eq!(again, images_file());
    assert_eq!(idx::read_labels(&labels_file(&[3, 1, 9])[..], "t", 3, 10).unwrap(), [3, 1, 9]);
}

#[test]
fn images_in_colour() {
    let images = Array4::from_shape_fn((2, 3, 2, 4), |(i, c, y, x)| (64 * i + 16 * c + 4 * y + x) as u8);
    let mut file = Vec::new();
    idx::write_images(&mut file, images.view()).unwrap();
    assert_eq!(file[..20], [0, 0, 8, 4, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 4]);
    assert_eq!(idx::read_images(&file[..], "t", 48).unwrap(), images);
    let e = format_error(idx::read_images(&file[..], "t", 47));
    assert_eq!((e.problem, e.found.as_str()), (FormatProblem::TooLarge, "2x3x2x4 = 48 elements"));
    let e = format_error(idx::read_labels(&file[..], "t", DEFAULT_LIMIT, 10));
    assert_eq!(e.problem, FormatProblem::Swapped);
    // One channel is grey, whatever the rank.
    let mut one = Vec::new();
    idx::write(&mut one, &[2, 1, 2, 3], &[7; 12]).unwrap();
    let grey = idx::read_images(&one[..], "t", 12).unwrap();
    let mut again = Vec::new();
    idx::write_images(&mut again, grey.view()).unwrap();
    assert_eq!(again[..4], [0, 0, 8, 3]);
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
    let text = "a.png: at byte 0: expected a file of images (magic 0x00000803), found a PNG picture: an IDX file holds all \
                images one after the other";
    assert_eq!(e.to_string(), text);
    // A type other than unsigned bytes, a rank of 0 and one of 5.
    for magic in [[0, 0, 0x0d, 3], [0, 0, 8, 0], [0, 0, 8, 5]] {
        assert_eq!(format_error(idx::read(&magic[..], "t", 10)).problem, FormatProblem::Magic);
    }
}

/// Labels of other whole types, as QMNIST has them (eight columns) and as others write them (one).
#[test]
fn labels_of_wider_types() {
    let file = |code: u8, dims: &[u32], data: &[u8]| {
        let mut file = vec![0, 0, code, dims.len() as u8];
        file.extend(dims.iter().flat_map(|dim| dim.to_be_bytes()));
        file.extend(data);
        file
    };
    let wide = |numbers: &[i32]| numbers.iter().flat_map(|n| n.to_be_bytes()).collect::<Vec<u8>>();
    let read = |file: &[u8]| idx::read_labels(file, "t", DEFAULT_LIMIT, 10);
    let qmnist: Vec<i32> = (0..20_000).flat_map(|k| [k % 10, 4, 251, k, 11, 0, 0, 2]).collect();
    let qmnist = file(0x0c, &[20_000, 8], &wide(&qmnist));
    let expected: Vec<u16> = (0..20_000).map(|k| k % 10).collect();
    for bytes in [gz(&qmnist), qmnist.clone()] {
        assert_eq!(read(&bytes).unwrap(), expected);
        let idx = idx::read(&bytes[..], "q", DEFAULT_LIMIT).unwrap();
        assert_eq!(
            (idx.dims, idx.note.unwrap().as_str()),
            (
                vec![20_000],
                "q: labels are 32-bit whole numbers; the first of 8 columns is the label, as in QMNIST"
            )
        );
    }
    assert_eq!(read(&file(0x0c, &[3], &wide(&[7, 0, 9]))).unwrap(), [7, 0, 9]);
    assert_eq!(read(&file(0x0c, &[2, 1], &wide(&[7, 2]))).unwrap(), [7, 2]);
    assert_eq!(read(&file(0x0b, &[2], &[0, 5, 0, 6])).unwrap(), [5, 6]);
    let labels = [3, 999, 65535];
    assert_eq!(idx::read_labels(&labels_file(&labels)[..], "t", DEFAULT_LIMIT, 1 << 16).unwrap(), labels);
    assert_eq!(read(&file(0x09, &[2], &[5, 6])).unwrap(), [5, 6]);
    assert_eq!(read(&file(8, &[2, 1], &[5, 6])).unwrap(), [5, 6]);

    let e = format_error(read(&file(0x0c, &[3], &wide(&[7, -1, 9]))));
    assert_eq!(e.to_string(), "t: at byte 12: expected a label from 0 to 65535, found -1");
    let e = format_error(read(&file(
        0x0c,
        &[2, 8],
        &wide(&[1, 0, 0, 0, 0, 0, 0, 0, 65536, 0, 0, 0, 0, 0, 0, 0]),
    )));
    assert_eq!(e.to_string(), "t: at byte 44: expected a label from 0 to 65535, found 65536");
    let e = format_error(read(&file(0x0b, &[2], &[0, 5, 0, 16])));
    assert_eq!(e.to_string(), "t: at byte 10: expected a label from 0 to 9, found 16");
    for (dims, code) in [([2u32, 10], 8), ([2, 7], 0x0c), ([2, 8], 0x0b), ([2, 0], 0x0c)] {
        let e = format_error(read(&file(code, &dims, &[0; 80])));
        assert_eq!(
            (e.problem, e.expected.as_str()),
            (FormatProblem::Dimensions, "one label an image"),
            "{e}"
        );
        assert!(e.found.contains("one-hot"), "{e}");
    }
    // Cut, and with something after the end.
    let cut = |n: usize| format_error(read(&qmnist[..n]));
    assert_eq!((cut(100_000).problem, cut(100_000).offset), (FormatProblem::Truncated, 100_000));
    assert_eq!(format_error(read(&[&qmnist[..], &[0]].concat())).problem, FormatProblem::Trailing);
}

/// What people put where an IDX file belongs is named as what it is, with what to do.
#[test]
fn what_is_no_idx_file_is_named() {
    let mut tar = vec![b'a'; 600];
    tar[257..262].copy_from_slice(b"ustar");
    let images = |code: u8, dims: &[u32]| {
        let mut file = vec![0, 0, code, dims.len() as u8];
        file.extend(dims.iter().flat_map(|dim| dim.to_be_bytes()));
        file.extend([0; 64]);
        file
    };
    let cases: &[(&[u8], &[&str])] = &[
        (b"", &["empty file"]),
        (b"<!DOCTYPE html><html><body>404</body></html>", &["web page (HTML)", "fetch"]),
        (b"\xef\xbb\xbf\n  <html lang=\"en\">", &["web page (HTML)"]),
        (b"<?xml version=\"1.0\"?><Error><Code>NoSuchKey</Code></Error>", &["web page"]),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
            &["Git LFS", "git lfs pull"],
        ),
        (b"PK\x03\x04\x14\0\0\0", &["zip", "unpack"]),
        (b"\x93NUMPY\x01\0v\0", &["NumPy"]),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", &["JPEG"]),
        (b"GIF89a", &["GIF"]),
        (&tar, &["tar", "unpack"]),
        (b"label,pixel0,pixel1\n5,0,0\n", &["text", "label,pixel0", "CSV"]),
        (b"{\"images\": []}", &["text", "JSON"]),
        (
            &images(8, &[10, 2, 3, 32, 32]),
            &["5 dimensions (10x2x3x32x32)", "number x 3 x rows x columns in colour"],
        ),
        (&images(8, &[10, 32, 32, 3]), &["at byte 8", "one channel or three", "10x32x32x3"]),
        (&images(0x0d, &[10, 28, 28]), &["images of 32-bit floating-point", "unsigned bytes"]),
        (&images(0x0e, &[10, 28, 28]), &["images of 64-bit floating-point", "0x00000e03"]),
        (&images(0x0b, &[10, 28, 28]), &["images of 16-bit whole"]),
        (&images(0x0c, &[10, 28, 28]), &["images of 32-bit whole"]),
        (&images(0x09, &[10, 28, 28]), &["images of signed bytes"]),
        (&images(8, &[10, 784]), &["vectors", "number x rows x columns"]),
        (&[3, 8, 0, 0, 10, 0, 0, 0, 28, 0, 0, 0], &["reverse"]),
        (&[0x12, 0x34, 0x56, 0x78, 0x9a], &["0x12345678"]),
    ];
    for (bytes, words) in cases {
        // Whatever it is, gzip around it does not hide it.
        for bytes in [bytes.to_vec(), gz(bytes)] {
            let text = format_error(idx::read_images(&bytes[..], "t", DEFAULT_LIMIT)).to_string();
            assert!(text.contains("expected ") && text.contains("found "), "{text}");
            assert!(words.iter().all(|word| text.contains(word)), "{words:?} in {text:?}");
        }
    }
    for (code, words) in
        [(0x0d, "labels of 32-bit floating-point"), (0x0e, "labels of 64-bit floating-point")]
    {
        let text =
            format_error(idx::read_labels(&images(code, &[10])[..], "t", DEFAULT_LIMIT, 10)).to_string();
        assert!(text.contains(words) && text.contains("unsigned bytes"), "{text}");
    }
}

#[test]
fn gzip_around_gzip() {
    let twice = gz(&gz(&images_file()));
    assert_eq!(idx::read_images(&twice[..], "t", DEFAULT_LIMIT).unwrap().dim(), (2, 1, 2, 3));
    let text = format_error(idx::read_images(&gz(&twice)[..], "t", DEFAULT_LIMIT)).to_string();
    assert!(text.contains("gzip packed more than twice: unpack it"), "{text}");
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
    assert_eq!(idx::read_images(&two[..], "t", DEFAULT_LIMIT).unwrap().dim(), (2, 1, 2, 3));
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
