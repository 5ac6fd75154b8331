//! Files that are no IDX of images or labels: what they are, and what to do about it.

use byteorder::{BigEndian, ByteOrder};

use super::{dims_text, numbers};

/// How files that are no IDX begin: where, with which bytes, what they are, and what to do.
const OTHERS: [(usize, &[u8], &str); 18] = [
    (0, b"\x89PNG", "a PNG picture: an IDX file holds all images one after the other"),
    (0, b"\xff\xd8\xff", "a JPEG picture: an IDX file holds all images one after the other"),
    (0, b"GIF8", "a GIF picture: an IDX file holds all images one after the other"),
    (0, b"PK\x03\x04", "a zip archive: unpack it"),
    (0, b"PK\x05\x06", "an empty zip archive"),
    (257, b"ustar", "a tar archive: unpack it"),
    (0, b"\x1f\x8b", "gzip packed more than twice: unpack it"),
    (0, b"BZh", "bzip2: unpack it"),
    (0, b"\xfd7zXZ", "xz: unpack it"),
    (0, b"7z\xbc\xaf", "a 7z archive: unpack it"),
    (0, b"\x28\xb5\x2f\xfd", "zstd: unpack it"),
    (0, b"\x93NUMPY", "a NumPy array (.npy): write its bytes as IDX"),
    (0, b"\x89HDF", "an HDF5 file: write its bytes as IDX"),
    (0, b"PAR1", "a Parquet file: write its bytes as IDX"),
    (0, b"MATLAB", "a MATLAB file: write its bytes as IDX"),
    (0, b"\x80\x02", "a Python pickle: write its bytes as IDX"),
    (0, b"\x80\x04", "a Python pickle: write its bytes as IDX"),
    (
        0,
        b"version https://git-lfs",
        "a Git LFS pointer instead of the file: run `git lfs pull` where it comes from",
    ),
];

/// What a file is that does not begin as it should, and what to do about it.
pub(super) fn what_it_is(start: &[u8]) -> String {
    let magic = format!("0x{:08x}", BigEndian::read_u32(start));
    if let Some((_, _, what)) =
        OTHERS.iter().find(|(at, bytes, _)| start.get(*at..).is_some_and(|rest| rest.starts_with(bytes)))
    {
        return (*what).into();
    }
    match *start {
        [0, 0, 8, rank, ..] if rank > 4 => {
            let dims: Vec<usize> = start[4..]
                .chunks_exact(4)
                .take(rank.into())
                .map(|dim| BigEndian::read_u32(dim) as usize)
                .collect();
            return format!(
                "{rank} dimensions ({}) (magic {magic}): write images as number x rows x columns, or number x 3 x rows x columns in colour",
                dims_text(&dims)
            );
        }
        [0, 0, 0x09 | 0x0b..=0x0e, rank, ..] => {
            let what = match rank {
                1 => "labels",
                2 => "vectors",
                _ => "images",
            };
            let bytes = if rank == 1 { "" } else { ", 0 (ground) to 255 (ink)" };
            return format!(
                "{what} of {} (magic {magic}): write them as unsigned bytes{bytes}",
                numbers(start[2])
            );
        }
        [1..=4, 0x08..=0x0e, 0, 0, ..] => {
            return format!(
                "{magic}, an IDX header with its bytes in reverse: write most significant bytes first"
            );
        }
        _ => {}
    }
    // What is cut in the middle of a letter is text all the same.
    let text = match std::str::from_utf8(start) {
        Ok(text) => text,
        Err(e) if e.error_len().is_none() => std::str::from_utf8(&start[..e.valid_up_to()]).unwrap_or(""),
        Err(_) => "",
    };
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.is_empty() || text.chars().any(|c| c.is_control() && !c.is_whitespace()) {
        return magic;
    }
    if text.starts_with('<') {
        return "a web page (HTML) instead of the data, as a failed download leaves it: fetch the file again"
            .into();
    }
    let line: String = text.lines().next().unwrap_or("").chars().take(30).collect();
    format!("text (\"{line}\"): expected binary data, not CSV or JSON")
}
