//! The IDX format of MNIST, unsigned bytes only: reading and writing over `Read` and `Write`.
//!
//! ```text
//! 00 00 08 rank | rank dimensions, 4 bytes each, most significant first | the elements, last dimension fastest
//! ```
//!
//! Rank 1 is a file of labels (magic number 0x00000801), rank 3 one of images (0x00000803: number, rows, columns).
//! Format: Yann LeCun, "The MNIST database of handwritten digits".
//!
//! Readers accept gzip or plain bytes and tell them apart by the bytes. Nothing in a file is trusted: the header is
//! checked before any memory is asked for, memory grows only with the bytes that arrive, and it never exceeds the
//! caller's limit, so neither a header that lies nor a gzip bomb does harm.

use std::io::{self, Read, Write};

use byteorder::{BigEndian, ByteOrder, WriteBytesExt};
use flate2::read::MultiGzDecoder;
use ndarray::{Array3, ArrayView3};
use sha2::{Digest, Sha256};

use crate::error::{Error, FormatError, FormatProblem};

/// A limit for files of which nothing is known: 1 GiB of elements.
pub const DEFAULT_LIMIT: u64 = 1 << 30;

/// An IDX file in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idx {
    /// One to three dimensions.
    pub dims: Vec<usize>,
    /// As many elements as the product of `dims`, last dimension fastest.
    pub data: Vec<u8>,
    /// Whether the bytes came gzipped.
    pub gzipped: bool,
}

impl Idx {
    /// SHA-256 of the decompressed file, in hexadecimal.
    pub fn sha256(&self) -> String {
        let mut hasher = Sha256::new();
        hasher.update(header(&self.dims));
        hasher.update(&self.data);
        hex(&hasher.finalize())
    }
}

/// Reads an IDX file of unsigned bytes, gzipped or not, of rank 1 to 3 and at most `limit` elements. `file` is the name
/// that errors use.
///
/// # Errors
/// [`Error::Format`] with the offset in the decompressed bytes; [`Error::Io`] when `reader` fails.
pub fn read(reader: impl Read, file: &str, limit: u64) -> Result<Idx, Error> {
    read_rank(reader, file, limit, None)
}

/// [`read`], for a file of images: `[n, rows, columns]`.
///
/// # Errors
/// As [`read`]; [`FormatProblem::Swapped`] when it is a file of labels, [`FormatProblem::Dimensions`] when there are no
/// images or they have no pixels.
pub fn read_images(reader: impl Read, file: &str, limit: u64) -> Result<Array3<u8>, Error> {
    images(read_rank(reader, file, limit, Some(3))?, file)
}

/// [`read`], for a file of labels, each below `classes`.
///
/// # Errors
/// As [`read`]; [`FormatProblem::Swapped`] when it is a file of images, [`FormatProblem::Label`] for a label that is no
/// class.
pub fn read_labels(reader: impl Read, file: &str, limit: u64, classes: usize) -> Result<Vec<u8>, Error> {
    labels(read_rank(reader, file, limit, Some(1))?, file, classes)
}

/// Writes an IDX file of unsigned bytes, not gzipped (wrap `writer` in an encoder for that).
///
/// # Errors
/// Those of `writer`.
///
/// # Panics
/// When there are not 1 to 3 dimensions, one does not fit in 32 bits, or their product is not `data.len()`.
#[track_caller]
pub fn write(mut writer: impl Write, dims: &[usize], data: &[u8]) -> io::Result<()> {
    assert!(dims.iter().product::<usize>() == data.len(), "{} bytes for the dimensions {dims:?}", data.len());
    writer.write_all(&header(dims))?;
    writer.write_all(data)?;
    writer.flush()
}

/// [`write()`] for images `[n, rows, columns]`.
///
/// # Errors
/// Those of `writer`.
pub fn write_images(writer: impl Write, images: ArrayView3<'_, u8>) -> io::Result<()> {
    let dims = images.shape().to_vec();
    let images = images.as_standard_layout();
    write(writer, &dims, images.as_slice().expect("standard layout is contiguous"))
}

/// [`write()`] for labels.
///
/// # Errors
/// Those of `writer`.
pub fn write_labels(writer: impl Write, labels: &[u8]) -> io::Result<()> {
    write(writer, &[labels.len()], labels)
}

/// The images in `idx`, which must have rank 3.
pub(crate) fn images(idx: Idx, file: &str) -> Result<Array3<u8>, Error> {
    expect_rank(&header(&idx.dims), 3, file)?;
    if let Some(axis) = idx.dims.iter().position(|&d| d == 0) {
        return Err(format_error(
            file,
            4 + 4 * axis as u64,
            FormatProblem::Dimensions,
            "at least one image of at least 1x1 pixels",
            dims_text(&idx.dims),
        ));
    }
    Ok(Array3::from_shape_vec((idx.dims[0], idx.dims[1], idx.dims[2]), idx.data)
        .expect("read as many as declared"))
}

/// The labels in `idx`, which must have rank 1.
pub(crate) fn labels(idx: Idx, file: &str, classes: usize) -> Result<Vec<u8>, Error> {
    expect_rank(&header(&idx.dims), 1, file)?;
    if let Some(i) = idx.data.iter().position(|&label| usize::from(label) >= classes) {
        return Err(format_error(
            file,
            8 + i as u64,
            FormatProblem::Label,
            format!("a label from 0 to {}", classes.saturating_sub(1)),
            idx.data[i].to_string(),
        ));
    }
    Ok(idx.data)
}

/// [`read`], refusing another rank than the one asked for before any element is read.
pub(crate) fn read_rank(
    mut reader: impl Read,
    file: &str,
    limit: u64,
    rank: Option<u8>,
) -> Result<Idx, Error> {
    let mut start = [0; 2];
    let got = read_up_to(&mut reader, &mut start, file, 0)?;
    let whole = start[..got].chain(reader);
    if start == GZIP_MAGIC {
        let mut idx = read_plain(MultiGzDecoder::new(whole), file, limit, rank)?;
        idx.gzipped = true;
        Ok(idx)
    } else {
        read_plain(whole, file, limit, rank)
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

pub(crate) fn format_error(
    file: &str,
    offset: u64,
    problem: FormatProblem,
    expected: impl Into<String>,
    found: impl Into<String>,
) -> Error {
    Error::Format(FormatError {
        file: file.into(),
        offset,
        expected: expected.into(),
        found: found.into(),
        problem,
    })
}

/// "60000x28x28".
pub(crate) fn dims_text(dims: &[usize]) -> String {
    dims.iter().map(usize::to_string).collect::<Vec<_>>().join("x")
}

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// The first growth step of the element buffer; it doubles from there up to what the header declares.
const FIRST_READ: usize = 64 << 10;

fn read_plain(mut reader: impl Read, file: &str, limit: u64, rank: Option<u8>) -> Result<Idx, Error> {
    let mut header = [0; 16];
    let got = read_up_to(&mut reader, &mut header[..4], file, 0)?;
    if got < 4 {
        return Err(truncated(file, got as u64, "4 bytes of magic number"));
    }
    let dims_end = match (header[..3] == [0, 0, 8], header[3]) {
        (true, r @ 1..=3) => 4 + 4 * usize::from(r),
        _ => {
            let found = format!("0x{:08x}", BigEndian::read_u32(&header));
            let expected = match rank {
                Some(rank) => format!("{} (magic 0x0000080{rank})", kind(rank)),
                None => "an IDX file of bytes (magic 0x00000801 to 0x00000803)".into(),
            };
            return Err(format_error(file, 0, FormatProblem::Magic, expected, found));
        }
    };
    if let Some(rank) = rank {
        expect_rank(&header, rank, file)?;
    }
    let got = read_up_to(&mut reader, &mut header[4..dims_end], file, 4)?;
    if got < dims_end - 4 {
        return Err(truncated(file, 4 + got as u64, &format!("{dims_end} bytes of header")));
    }
    let dims: Vec<u32> = header[4..dims_end].chunks(4).map(BigEndian::read_u32).collect();
    let declared = dims_text(&dims.iter().map(|&d| d as usize).collect::<Vec<_>>());
    let Some(total) = dims.iter().try_fold(1u64, |product, &d| product.checked_mul(u64::from(d))) else {
        let expected = "dimensions whose product fits in 64 bits";
        return Err(format_error(file, 4, FormatProblem::Overflow, expected, declared));
    };
    let total = match usize::try_from(total) {
        Ok(total) if total as u64 <= limit => total,
        _ => {
            let found = format!("{declared} = {total} bytes");
            let expected = format!("at most {limit} bytes of elements");
            return Err(format_error(file, 4, FormatProblem::TooLarge, expected, found));
        }
    };

    let mut data = Vec::new();
    while data.len() < total {
        let step = data.len().max(FIRST_READ).min(total - data.len());
        data.try_reserve_exact(step)
            .map_err(|_| Error::io(file, "hold its elements in memory", io::ErrorKind::OutOfMemory.into()))?;
        let offset = (dims_end + data.len()) as u64;
        let got = (&mut reader)
            .take(step as u64)
            .read_to_end(&mut data)
            .map_err(|e| read_error(file, offset, e))?;
        if got < step {
            let expected = format!("{} bytes ({declared} after a header of {dims_end})", dims_end + total);
            return Err(truncated(file, (dims_end + data.len()) as u64, &expected));
        }
    }
    let end = (dims_end + total) as u64;
    // This read is also what makes a gzip decoder compare its checksum.
    if read_up_to(&mut reader, &mut [0], file, end)? > 0 {
        let expected = format!("the end of the file ({declared} after a header of {dims_end} bytes)");
        return Err(format_error(file, end, FormatProblem::Trailing, expected, "more bytes"));
    }
    Ok(Idx { dims: dims.iter().map(|&d| d as usize).collect(), data, gzipped: false })
}

/// Refuses a valid IDX header of another rank.
fn expect_rank(header: &[u8], rank: u8, file: &str) -> Result<(), Error> {
    let found = header[3];
    if found == rank {
        return Ok(());
    }
    let problem = if found == 2 { FormatProblem::Dimensions } else { FormatProblem::Swapped };
    Err(format_error(
        file,
        3,
        problem,
        format!("{} (magic 0x0000080{rank})", kind(rank)),
        format!("{} (magic 0x0000080{found})", kind(found)),
    ))
}

fn kind(rank: u8) -> &'static str {
    match rank {
        1 => "a file of labels",
        2 => "a file of vectors",
        _ => "a file of images",
    }
}

#[track_caller]
fn header(dims: &[usize]) -> Vec<u8> {
    assert!((1..=3).contains(&dims.len()), "an IDX file here has 1 to 3 dimensions, not {}", dims.len());
    let mut bytes = vec![0, 0, 8, dims.len() as u8];
    for &d in dims {
        let d = u32::try_from(d).unwrap_or_else(|_| panic!("the dimension {d} does not fit in 32 bits"));
        bytes.write_u32::<BigEndian>(d).expect("a vector takes every write");
    }
    bytes
}

/// Reads until `buffer` is full or the input ends; returns how much was read.
fn read_up_to(mut reader: impl Read, buffer: &mut [u8], file: &str, offset: u64) -> Result<usize, Error> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(read_error(file, offset + filled as u64, e)),
        }
    }
    Ok(filled)
}

/// A decoder reports damage as an I/O error; tell it from a failing disk.
fn read_error(file: &str, offset: u64, cause: io::Error) -> Error {
    match cause.kind() {
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => format_error(
            file,
            offset,
            FormatProblem::Gzip,
            "an intact gzip stream",
            format!("a damaged one ({cause}) in the bytes from there on"),
        ),
        io::ErrorKind::UnexpectedEof => truncated(file, offset, "the rest of the gzip stream"),
        _ => Error::io(file, "read", cause),
    }
}

fn truncated(file: &str, offset: u64, expected: &str) -> Error {
    format_error(file, offset, FormatProblem::Truncated, expected, "the end of the file")
}
