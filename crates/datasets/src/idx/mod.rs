//! The IDX format of MNIST: reading and writing over `Read` and `Write`.
//!
//! ```text
//! 00 00 type rank | rank dimensions, 4 bytes each, most significant first | the elements, last dimension fastest
//! ```
//!
//! Type 08 is unsigned bytes, the only one that is written here but for labels above 255 (type 0c, 32-bit whole numbers). Rank 1 is a
//! file of labels (magic number 0x00000801), rank 3 one of grey images (0x00000803: number, rows, columns), rank 4 one of images in colour
//! (0x00000804: number, channels, rows, columns; the channels are red, green, blue). Labels are also read where they are whole numbers of
//! another type, up to 65535, in one column or, as QMNIST has them, in eight of which the first is the label; a [`note`](Idx::note) says
//! so.
//! Format: Yann LeCun, "The MNIST database of handwritten digits".
//!
//! Readers accept plain bytes, gzip, and gzip packed twice, and tell them apart by the bytes. Nothing in a file is trusted: the
//! header is checked before any memory is asked for, memory grows only with the bytes that arrive, and it never exceeds the
//! caller's limit, so neither a header that lies nor a gzip bomb does harm. What is no IDX file is named as what it is.

use std::io::{self, Cursor, Read, Write};

use base16ct::lower::encode_string;
use byteorder::{BigEndian, ByteOrder, WriteBytesExt};
use flate2::read::MultiGzDecoder;
use ndarray::{Array4, ArrayView};
use sha2::{Digest, Sha256};

use self::other::what_it_is;
use crate::error::{Error, FormatError, FormatProblem};
use crate::images::ImageDim;

mod other;

/// A limit for files of which nothing is known: 1 GiB of elements.
pub const DEFAULT_LIMIT: u64 = 1 << 30;

/// An IDX file in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idx {
    /// One to four dimensions.
    pub dims: Vec<usize>,
    /// As many elements as the product of `dims`, last dimension fastest. None when they are labels of another type.
    pub data: Vec<u8>,
    /// Labels of another whole type than unsigned bytes; none otherwise.
    pub wide: Vec<u16>,
    /// Whether the bytes came gzipped.
    pub gzipped: bool,
    /// SHA-256 of the decompressed file, in hexadecimal.
    pub sha256: String,
    /// What the reader made of elements of another type, when it did anything.
    pub note: Option<String>,
    /// Bytes before the first element, and from one element to the next, in the decompressed file.
    layout: (usize, usize),
}

impl Idx {
    /// All elements, whatever their type.
    pub fn values(&self) -> impl Iterator<Item = u16> {
        self.data.iter().copied().map(u16::from).chain(self.wide.iter().copied())
    }

    /// Where element `i` stands in the decompressed file.
    pub fn offset(&self, i: usize) -> u64 {
        (self.layout.0 + i * self.layout.1) as u64
    }
}

/// SHA-256, in hexadecimal, of the IDX file of unsigned bytes with these dimensions and elements.
///
/// # Panics
/// As [`write()`].
#[track_caller]
pub fn sha256(dims: &[usize], data: &[u8]) -> String {
    let mut hasher = Sha256::new();
    hasher.update(header(dims));
    hasher.update(data);
    encode_string(&hasher.finalize())
}

/// Reads an IDX file, gzipped or not, of rank 1 to 4 and at most `limit` elements: unsigned bytes, or labels of another whole
/// type. `file` is the name that errors use.
///
/// # Errors
/// [`Error::Format`] with the offset in the decompressed bytes; [`Error::Io`] when `reader` fails.
pub fn read(reader: impl Read, file: &str, limit: u64) -> Result<Idx, Error> {
    read_rank(reader, file, limit, None)
}

/// [`read`], for a file of images, grey or in colour: `[n, channels, rows, columns]`, with one channel or three.
///
/// # Errors
/// As [`read`]; [`FormatProblem::Swapped`] when it is a file of labels, [`FormatProblem::Dimensions`] when there are no
/// images, they have no pixels, or neither one channel nor three.
pub fn read_images(reader: impl Read, file: &str, limit: u64) -> Result<Array4<u8>, Error> {
    images(read_rank(reader, file, limit, Some(3))?, file)
}

/// [`read`], for a file of labels, each below `classes`.
///
/// # Errors
/// As [`read`]; [`FormatProblem::Swapped`] when it is a file of images, [`FormatProblem::Label`] for a label that is no
/// class.
pub fn read_labels(reader: impl Read, file: &str, limit: u64, classes: usize) -> Result<Vec<u16>, Error> {
    labels(read_rank(reader, file, limit, Some(1))?, file, classes)
}

/// Writes an IDX file of unsigned bytes, not gzipped (wrap `writer` in an encoder for that).
///
/// # Errors
/// Those of `writer`.
///
/// # Panics
/// When there are not 1 to 4 dimensions, one does not fit in 32 bits, or their product is not `data.len()`.
#[track_caller]
pub fn write(mut writer: impl Write, dims: &[usize], data: &[u8]) -> io::Result<()> {
    assert!(dims.iter().product::<usize>() == data.len(), "{} bytes for the dimensions {dims:?}", data.len());
    writer.write_all(&header(dims))?;
    writer.write_all(data)?;
    writer.flush()
}

/// [`write()`] for images `[n, rows, columns]` or `[n, channels, rows, columns]`: of rank 3 where there is one channel, else of rank 4.
///
/// # Errors
/// Those of `writer`.
pub fn write_images<D: ImageDim>(writer: impl Write, images: ArrayView<'_, u8, D>) -> io::Result<()> {
    let images = D::with_channels(images);
    let dims = image_dims(images.dim());
    let images = images.as_standard_layout();
    write(writer, &dims, images.as_slice().expect("standard layout is contiguous"))
}

/// [`write()`] for labels: as unsigned bytes where they fit, else as 32-bit whole numbers, which [`read_labels`] reads too.
///
/// # Errors
/// Those of `writer`.
pub fn write_labels(mut writer: impl Write, labels: &[u16]) -> io::Result<()> {
    let bytes: Result<Vec<u8>, _> = labels.iter().map(|&label| u8::try_from(label)).collect();
    if let Ok(bytes) = bytes {
        return write(writer, &[labels.len()], &bytes);
    }
    let mut header = header(&[labels.len()]);
    header[2] = 0x0c;
    writer.write_all(&header)?;
    labels.iter().try_for_each(|&label| writer.write_i32::<BigEndian>(label.into()))?;
    writer.flush()
}

/// The dimensions of a file of these images: it is one of grey images where they have one channel.
pub(crate) fn image_dims((n, channels, h, w): (usize, usize, usize, usize)) -> Vec<usize> {
    if channels == 1 { vec![n, h, w] } else { vec![n, channels, h, w] }
}

/// The images in `idx`, which must have rank 3 or 4.
pub(crate) fn images(idx: Idx, file: &str) -> Result<Array4<u8>, Error> {
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
    let shape = match idx.dims[..] {
        [n, h, w] => (n, 1, h, w),
        [n, channels, h, w] => (n, channels, h, w),
        _ => unreachable!("the rank was checked"),
    };
    Ok(Array4::from_shape_vec(shape, idx.data).expect("read as many as declared"))
}

/// The labels in `idx`, which must have rank 1.
pub(crate) fn labels(idx: Idx, file: &str, classes: usize) -> Result<Vec<u16>, Error> {
    expect_rank(&header(&idx.dims), 1, file)?;
    if let Some((i, label)) = idx.values().enumerate().find(|&(_, label)| usize::from(label) >= classes) {
        return Err(format_error(
            file,
            idx.offset(i),
            FormatProblem::Label,
            format!("a label from 0 to {}", classes.saturating_sub(1)),
            label.to_string(),
        ));
    }
    Ok(idx.values().collect())
}

/// [`read`], refusing another rank than the one asked for before any element is read.
pub(crate) fn read_rank(reader: impl Read, file: &str, limit: u64, rank: Option<u8>) -> Result<Idx, Error> {
    let mut reader: Box<dyn Read + '_> = Box::new(reader);
    let mut layers = 0;
    loop {
        let mut start = [0; START];
        let got = read_up_to(&mut reader, &mut start, file, 0)?;
        let packed = start[..got].starts_with(&GZIP_MAGIC) && layers < GZIP_LAYERS;
        reader = Box::new(Cursor::new(start).take(got as u64).chain(reader));
        if !packed {
            let header = Header::read(&mut reader, &start[..got], file, limit, rank)?;
            return header.elements(reader, file, layers > 0);
        }
        reader = Box::new(MultiGzDecoder::new(reader));
        layers += 1;
    }
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

/// A file that was gzipped twice, as browsers and servers do, is read; nobody means to do it more often.
const GZIP_LAYERS: usize = 2;

/// How many bytes are looked at to say what a file is: enough for the name in a tar archive.
const START: usize = 512;

/// The first growth step of the element buffer; it doubles from there up to what the header declares.
const FIRST_READ: usize = 64 << 10;

/// QMNIST's labels: the class, and seven more numbers about who wrote the digit.
const QMNIST_COLUMNS: usize = 8;

/// A header that was checked: what it declares is what was asked for, and within the limit.
struct Header {
    bytes: [u8; 20],
    /// Its length.
    end: usize,
    dims: Vec<usize>,
    /// The dimensions as they stand in the file, of which `dims` may be fewer.
    declared: String,
    note: Option<String>,
    /// Whole numbers of another type than bytes.
    is_wide: bool,
    /// Elements to read, each the first number of so many bytes.
    total: usize,
    row: usize,
}

impl Header {
    /// `start` is what `reader` begins with.
    fn read(
        reader: &mut impl Read,
        start: &[u8],
        file: &str,
        limit: u64,
        rank: Option<u8>,
    ) -> Result<Header, Error> {
        if start.len() < 4 {
            let found =
                if start.is_empty() { "an empty file: fetch it again" } else { "the end of the file" };
            let expected = "4 bytes of magic number";
            return Err(format_error(file, start.len() as u64, FormatProblem::Truncated, expected, found));
        }
        let labels = rank != Some(3);
        let whole = [0x09, 0x0b, 0x0c].contains(&start[2]);
        let dims_end = match (start[0], start[1], start[2], start[3]) {
            (0, 0, 8, rank @ 1..=4) => 4 + 4 * usize::from(rank),
            (0, 0, _, rank @ 1..=2) if whole && labels => 4 + 4 * usize::from(rank),
            _ => {
                let expected = match rank {
                    Some(rank) => format!("{} (magic 0x0000080{rank})", kind(rank)),
                    None => "an IDX file of bytes (magic 0x00000801 to 0x00000804)".into(),
                };
                return Err(format_error(file, 0, FormatProblem::Magic, expected, what_it_is(start)));
            }
        };
        // Two dimensions are labels in columns where labels are asked for.
        let columns = start[3] == 2 && (whole || rank == Some(1));
        if let Some(rank) = rank
            && !columns
        {
            expect_rank(start, rank, file)?;
        }
        let mut header = [0; 20];
        let got = read_up_to(reader, &mut header[..dims_end], file, 0)?;
        if got < dims_end {
            return Err(truncated(file, got as u64, &format!("{dims_end} bytes of header")));
        }
        let mut dims: Vec<usize> =
            header[4..dims_end].chunks(4).map(|dim| BigEndian::read_u32(dim) as usize).collect();
        let declared = dims_text(&dims);
        if rank == Some(3)
            && let [_, channels, _, _] = dims[..]
            && ![1, 3].contains(&channels)
        {
            let expected =
                "one channel or three (number x 3 x rows x columns: all red, then all green, then all blue)";
            return Err(format_error(file, 8, FormatProblem::Dimensions, expected, declared));
        }
        let mut note = None;
        let mut row = width(start[2]);
        if columns || whole {
            let columns = dims.get(1).copied().unwrap_or(1);
            if columns != 1 && (columns, start[2]) != (QMNIST_COLUMNS, 0x0c) {
                let found = format!(
                    "{declared} {}: write one label a line, and of rows with a single 1 (one-hot) its place",
                    numbers(start[2])
                );
                return Err(format_error(file, 4, FormatProblem::Dimensions, "one label an image", found));
            }
            let taken = if columns == 1 { "" } else { "; the first of 8 columns is the label, as in QMNIST" };
            note = Some(format!("{file}: labels are {}{taken}", numbers(start[2]))).filter(|_| whole);
            row *= columns;
            dims.truncate(1);
        }
        let Some(total) = dims.iter().try_fold(1u64, |product, &d| product.checked_mul(d as u64)) else {
            let expected = "dimensions whose product fits in 64 bits";
            return Err(format_error(file, 4, FormatProblem::Overflow, expected, declared));
        };
        let total = match usize::try_from(total) {
            Ok(total) if total as u64 <= limit => total,
            _ => {
                let found = format!("{declared} = {total} elements");
                let expected = format!("at most {limit} elements");
                return Err(format_error(file, 4, FormatProblem::TooLarge, expected, found));
            }
        };
        Ok(Header { bytes: header, end: dims_end, dims, declared, note, is_wide: whole, total, row })
    }

    /// Reads what follows it, to the end.
    fn elements(self, mut reader: impl Read, file: &str, gzipped: bool) -> Result<Idx, Error> {
        let Header { bytes, end, dims, declared, note, is_wide, total, row } = self;
        let code = bytes[2];
        let mut hasher = Sha256::new();
        hasher.update(&bytes[..end]);
        let (mut data, mut wide) = (Vec::new(), Vec::new());
        let mut rows = Vec::new();
        while data.len() + wide.len() < total {
            let from = data.len() + wide.len();
            let step = from.max(FIRST_READ).min(total - from);
            let room = if is_wide { wide.try_reserve_exact(step) } else { data.try_reserve_exact(step) };
            room.map_err(|_| {
                Error::io(file, "hold its elements in memory", io::ErrorKind::OutOfMemory.into())
            })?;
            let offset = end + from * row;
            // Bytes go straight to their place; wider numbers are narrowed from a buffer of their own.
            let step = if is_wide { step.min(FIRST_READ / row) } else { step };
            let into = if is_wide { &mut rows } else { &mut data };
            let got = (&mut reader)
                .take((step * row) as u64)
                .read_to_end(into)
                .map_err(|e| read_error(file, offset as u64, e))?;
            if got < step * row {
                let expected = format!("{} bytes ({declared} after a header of {end})", end + total * row);
                return Err(truncated(file, (offset + got) as u64, &expected));
            }
            hasher.update(if is_wide { &rows[..] } else { &data[from..] });
            for (i, number) in rows.chunks_exact(row).enumerate() {
                let number = narrow(code, number);
                wide.push(u16::try_from(number).map_err(|_| {
                    let offset = (offset + i * row) as u64;
                    format_error(
                        file,
                        offset,
                        FormatProblem::Label,
                        "a label from 0 to 65535",
                        number.to_string(),
                    )
                })?);
            }
            rows.clear();
        }
        let last = (end + total * row) as u64;
        // This read is also what makes a gzip decoder compare its checksum.
        if read_up_to(&mut reader, &mut [0], file, last)? > 0 {
            let expected = format!("the end of the file ({declared} after a header of {end} bytes)");
            return Err(format_error(file, last, FormatProblem::Trailing, expected, "more bytes"));
        }
        Ok(Idx {
            dims,
            data,
            wide,
            gzipped,
            sha256: encode_string(&hasher.finalize()),
            note,
            layout: (end, row),
        })
    }
}

/// The first number of a row.
fn narrow(code: u8, row: &[u8]) -> i32 {
    match code {
        0x09 => i32::from(row[0] as i8),
        0x0b => i32::from(BigEndian::read_i16(row)),
        _ => BigEndian::read_i32(row),
    }
}

/// Bytes of an element of an IDX type.
fn width(code: u8) -> usize {
    match code {
        0x0b => 2,
        0x0c | 0x0d => 4,
        0x0e => 8,
        _ => 1,
    }
}

/// What an IDX type is called.
fn numbers(code: u8) -> &'static str {
    match code {
        0x08 => "unsigned bytes",
        0x09 => "signed bytes",
        0x0b => "16-bit whole numbers",
        0x0c => "32-bit whole numbers",
        0x0d => "32-bit floating-point numbers",
        0x0e => "64-bit floating-point numbers",
        _ => "numbers of an unknown type",
    }
}

/// Refuses a valid IDX header of another rank.
fn expect_rank(header: &[u8], rank: u8, file: &str) -> Result<(), Error> {
    let found = header[3];
    if found == rank || (found, rank) == (4, 3) {
        return Ok(());
    }
    let (problem, remedy) = match found {
        2 => (FormatProblem::Dimensions, ": write them as number x rows x columns"),
        _ => (FormatProblem::Swapped, ""),
    };
    Err(format_error(
        file,
        3,
        problem,
        format!("{} (magic 0x0000080{rank})", kind(rank)),
        format!("{} (magic 0x0000080{found}){remedy}", kind(found)),
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
    assert!((1..=4).contains(&dims.len()), "an IDX file here has 1 to 4 dimensions, not {}", dims.len());
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
