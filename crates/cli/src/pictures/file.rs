//! Reading a file of images: a PNG picture, or an IDX file of many.

use std::{
    fs::File,
    io::{BufRead, BufReader, Seek, SeekFrom},
    path::Path,
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use byhand_datasets::idx;
use ndarray::Array3;

use super::Picture;

/// What a file holds.
pub enum Images {
    /// A picture, which is yet to be prepared.
    Picture(Picture),
    /// Images as those of a data set.
    Many(Array3<u8>),
}

const EXPECTED: &str = "expected a PNG or IDX file of images";
/// Most pixels of a picture: a photograph of a good camera has as many.
const MOST_PIXELS: u64 = 1 << 25;
/// So many bytes at most come out of one that is packed (zlib's manual: 1032 to 1).
const MOST_PACKED: u64 = 1032;

/// Reads a file, told apart by its first bytes.
pub fn read(path: &Path) -> Result<Images> {
    let name = path.display().to_string();
    let cannot_read = || format!("{name}: {EXPECTED}");
    ensure!(!path.is_dir(), "{}, found a folder", cannot_read());
    read_from(BufReader::new(File::open(path).with_context(cannot_read)?), &name)
}

/// The same from what a file holds; `name` is that of the file.
pub fn read_from(mut file: impl BufRead + Seek, name: &str) -> Result<Images> {
    let cannot_read = || format!("{name}: {EXPECTED}");
    let start = file.fill_buf().with_context(cannot_read)?;
    if start.starts_with(b"\x89PNG") {
        return Ok(Images::Picture(
            read_png(file).with_context(|| format!("{name}: cannot read the picture"))?,
        ));
    }
    if let Some(format) = other_format(start) {
        bail!("{}, found a {format} file; save the picture as PNG", cannot_read());
    }
    Ok(Images::Many(idx::read_images(file, name, idx::DEFAULT_LIMIT)?))
}

fn read_png(mut file: impl BufRead + Seek) -> Result<Picture> {
    // A pipe has no end that is known.
    let len = file.seek(SeekFrom::End(0)).and_then(|len| file.rewind().map(|()| len)).ok();
    let mut decoder = png::Decoder::new(file);
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    // Before any memory is asked for.
    let info = decoder.read_header_info().map_err(damaged)?;
    let (width, height, bits) = (info.width, info.height, info.bits_per_pixel() as u64);
    let pixels = u64::from(width) * u64::from(height);
    ensure!(
        pixels <= MOST_PIXELS,
        "expected at most {} million pixels, found {width}x{height}; scale it down",
        MOST_PIXELS >> 20
    );
    let most = len.map_or(u64::MAX, |len| len.saturating_mul(MOST_PACKED));
    ensure!(
        pixels * bits / 8 <= most,
        "expected a whole PNG file, found one too short for {width}x{height} pixels; save or copy it again"
    );
    let mut reader = decoder.read_info().map_err(damaged)?;
    let mut bytes = vec![0; reader.output_buffer_size().context("the picture is too large")?];
    let frame = reader.next_frame(&mut bytes).map_err(damaged)?;
    let channels = frame.color_type.samples();
    let colour = |pixel: &[u8]| match *pixel {
        [grey] => [grey, grey, grey, 255],
        [grey, alpha] => [grey, grey, grey, alpha],
        [r, g, b] => [r, g, b, 255],
        [r, g, b, alpha] => [r, g, b, alpha],
        _ => unreachable!("PNG has one to four samples a pixel"),
    };
    Ok(Picture {
        size: (frame.height as usize, frame.width as usize),
        pixels: bytes[..frame.buffer_size()].chunks_exact(channels).map(colour).collect(),
    })
}

/// What the decoder says, without the values of its own types that it shows.
fn damaged(error: png::DecodingError) -> anyhow::Error {
    let text = error.to_string();
    let told = text.split(" while decoding").next().unwrap_or_default();
    anyhow!("expected a whole PNG file, found a damaged one ({told}); save or copy it again")
}

/// The name of a format that is not read, by its first bytes.
fn other_format(start: &[u8]) -> Option<&'static str> {
    let has = |at: usize, bytes: &[u8]| start.get(at..).is_some_and(|rest| rest.starts_with(bytes));
    let text = || start.trim_ascii_start().to_ascii_lowercase();
    Some(match () {
        () if has(0, b"\xff\xd8\xff") => "JPEG",
        () if has(0, b"BM") => "BMP",
        () if has(0, b"GIF8") => "GIF",
        () if has(0, b"RIFF") && has(8, b"WEBP") => "WebP",
        () if has(0, b"II*\0") || has(0, b"MM\0*") => "TIFF",
        () if has(4, b"ftypavif") => "AVIF",
        () if has(4, b"ftyphei") || has(4, b"ftypmif1") => "HEIC",
        () if has(0, b"\0\0\x01\0") => "ICO",
        () if has(0, b"%PDF") => "PDF",
        () if has(0, b"8BPS") => "Photoshop",
        () if has(0, b"PK\x03\x04") => "ZIP",
        () if matches!(start, [b'P', b'1'..=b'7', space, ..] if space.is_ascii_whitespace()) => "Netpbm",
        () if text().starts_with(b"<svg") || text().starts_with(b"<?xml") => "SVG or XML",
        () if text().starts_with(b"<!doctype") || text().starts_with(b"<html") => "HTML",
        () => return None,
    })
}
