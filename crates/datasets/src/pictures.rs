//! Pictures: PNG and JPEG files as colours, and colours as planes or as grey levels.

use std::fmt::Display;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use ndarray::{Array2, Array3, ArrayView2, Axis};

use crate::error::{Error, FormatProblem};
use crate::idx::format_error;

/// Most pixels of a picture: a photograph of a good camera has as many.
pub const MOST_PIXELS: u64 = 1 << 25;
/// So many bytes at most come out of one that is packed (zlib's manual: 1032 to 1; of JPEG half as many).
const MOST_PACKED: u64 = 1032;

/// A decoded picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Rows and columns.
    pub size: (usize, usize),
    /// Red, green, blue, alpha, row by row.
    pub pixels: Vec<[u8; 4]>,
}

/// Reads a picture of at most [`MOST_PIXELS`], its kind told by its first bytes. `file` is its name in errors.
///
/// # Errors
/// When the reader cannot be rewound, as a pipe; when the bytes are no PNG (nor JPEG, with the feature `jpeg`), are damaged or cut short,
/// or the picture is larger.
pub fn read(reader: impl Read + Seek, file: &str) -> Result<Picture, Error> {
    let mut reader = BufReader::new(reader);
    let len = reader.seek(SeekFrom::End(0)).and_then(|len| reader.rewind().map(|()| len));
    let most = len.map_err(|cause| Error::io(file, "read", cause))?.saturating_mul(MOST_PACKED);
    let start = reader.fill_buf().map_err(|cause| Error::io(file, "read", cause))?;
    match format(start) {
        Some("PNG") => {
            read_png(reader, most).map_err(|Wrong { expected, found }| wrong(file, &expected, found))
        }
        #[cfg(feature = "jpeg")]
        Some("JPEG") => {
            read_jpeg(reader, most).map_err(|Wrong { expected, found }| wrong(file, &expected, found))
        }
        Some(other) => Err(wrong(file, EXPECTED, format!("a {other} file; save the picture as PNG"))),
        None if start.is_empty() => Err(wrong(file, EXPECTED, "an empty file".into())),
        None => Err(wrong(file, EXPECTED, "bytes of another kind".into())),
    }
}

#[cfg(feature = "jpeg")]
const EXPECTED: &str = "a PNG or JPEG file";
#[cfg(not(feature = "jpeg"))]
const EXPECTED: &str = "a PNG file";

fn wrong(file: &str, expected: &str, found: String) -> Error {
    format_error(file, 0, FormatProblem::Picture, expected, found)
}

/// What is wrong with a picture.
struct Wrong {
    expected: String,
    found: String,
}

/// What a decoder says, without the values of its own types that it shows.
fn damaged(format: &str, error: impl Display) -> Wrong {
    let text = error.to_string();
    let told = text.split(" while decoding").next().unwrap_or_default().trim();
    Wrong {
        expected: format!("a whole {format} file"),
        found: format!("a damaged one ({told}); save or copy it again"),
    }
}

/// Before any memory is asked for: whether so many pixels of `bits` each are not too many, and at most `most` bytes.
fn check_size(format: &str, width: u64, height: u64, bits: u64, most: u64) -> Result<(), Wrong> {
    if width.saturating_mul(height) > MOST_PIXELS {
        let expected = format!("at most {} million pixels", MOST_PIXELS >> 20);
        return Err(Wrong { expected, found: format!("{width}x{height}; scale it down") });
    }
    if width * height * bits / 8 > most {
        let found = format!("one too short for {width}x{height} pixels; save or copy it again");
        return Err(Wrong { expected: format!("a whole {format} file"), found });
    }
    Ok(())
}

fn read_png(reader: impl BufRead + Seek, most: u64) -> Result<Picture, Wrong> {
    let mut decoder = png::Decoder::new(reader);
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    let (width, height, bits) = decoder
        .read_header_info()
        .map(|info| (info.width, info.height, info.bits_per_pixel() as u64))
        .map_err(|error| damaged("PNG", error))?;
    check_size("PNG", width.into(), height.into(), bits, most)?;
    let mut reader = decoder.read_info().map_err(|error| damaged("PNG", error))?;
    let mut bytes = vec![0; reader.output_buffer_size().ok_or_else(|| damaged("PNG", "too many bytes"))?];
    let frame = reader.next_frame(&mut bytes).map_err(|error| damaged("PNG", error))?;
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

#[cfg(feature = "jpeg")]
fn read_jpeg(reader: impl BufRead + Seek, most: u64) -> Result<Picture, Wrong> {
    use zune_jpeg::JpegDecoder;
    use zune_jpeg::zune_core::{colorspace::ColorSpace, options::DecoderOptions};

    let options = DecoderOptions::default().jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(reader, options);
    decoder.decode_headers().map_err(|error| damaged("JPEG", error))?;
    let (width, height) = decoder.dimensions().ok_or_else(|| damaged("JPEG", "no size"))?;
    // A block of 64 grey pixels takes a bit at least.
    check_size("JPEG", width as u64, height as u64, 8, most)?;
    let bytes = decoder.decode().map_err(|error| damaged("JPEG", error))?;
    if bytes.len() != 3 * width * height {
        return Err(damaged("JPEG", format!("{} bytes for {width}x{height} pixels", bytes.len())));
    }
    let pixels = bytes.chunks_exact(3).map(|colour| [colour[0], colour[1], colour[2], 255]).collect();
    Ok(Picture { size: (height, width), pixels })
}

/// Whether a file is called as pictures are that can be read: `.png`, `.jpg`, `.jpeg`.
pub fn is_named(path: &Path) -> bool {
    path.extension()
        .is_some_and(|end| ["png", "jpg", "jpeg"].iter().any(|known| end.eq_ignore_ascii_case(known)))
}

/// The name of a picture's format, or of another that people save pictures in, by the first bytes.
pub fn format(start: &[u8]) -> Option<&'static str> {
    let has = |at: usize, bytes: &[u8]| start.get(at..).is_some_and(|rest| rest.starts_with(bytes));
    let text = || start.trim_ascii_start().to_ascii_lowercase();
    Some(match () {
        () if has(0, b"\x89PNG") => "PNG",
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

impl Picture {
    /// Its grey levels: a grey picture's own, of colours their [`luma`]. What is transparent lies on white.
    pub fn grey(&self) -> Array2<u8> {
        let levels = self.pixels.iter().map(|&pixel| luma(on_white(pixel))).collect();
        Array2::from_shape_vec(self.size, levels).expect("a level a pixel")
    }

    /// Its planes of red, green and blue, `[3, h, w]`. What is transparent lies on white.
    pub fn colours(&self) -> Array3<u8> {
        let planes =
            (0..3).flat_map(|channel| self.pixels.iter().map(move |&pixel| on_white(pixel)[channel]));
        Array3::from_shape_vec((3, self.size.0, self.size.1), planes.collect()).expect("three levels a pixel")
    }

    /// Whether any pixel has a colour; what is transparent lies on white.
    pub fn is_coloured(&self) -> bool {
        self.pixels.iter().any(|&pixel| {
            let [r, g, b] = on_white(pixel);
            r != g || g != b
        })
    }

    /// Its [colours](Picture::colours) where it has any, else its [grey levels](Picture::grey): `[3, h, w]` or `[1, h, w]`.
    pub fn planes(&self) -> Array3<u8> {
        if self.is_coloured() { self.colours() } else { self.grey().insert_axis(Axis(0)) }
    }
}

/// How bright a colour is: its luma by Rec. 601, a grey level's own.
#[inline]
pub fn luma(colour: [u8; 3]) -> u8 {
    let [r, g, b] = colour.map(u32::from);
    ((299 * r + 587 * g + 114 * b + 500) / 1000) as u8
}

/// A pixel on white paper.
fn on_white([r, g, b, alpha]: [u8; 4]) -> [u8; 3] {
    let alpha = u32::from(alpha);
    [r, g, b].map(|c| ((u32::from(c) * alpha + 255 * (255 - alpha) + 127) / 255) as u8)
}

/// Planes `[channels, h, w]` on another number of rows and columns: each level the mean of what it covers.
///
/// # Panics
/// When a side is zero.
#[track_caller]
pub fn scaled(planes: &Array3<u8>, (h, w): (usize, usize)) -> Array3<u8> {
    let mut scaled = Array3::zeros((planes.len_of(Axis(0)), h, w));
    for (plane, mut scaled) in planes.outer_iter().zip(scaled.outer_iter_mut()) {
        scaled.assign(&scaled_plane(plane, (h, w)));
    }
    scaled
}

#[track_caller]
fn scaled_plane(grey: ArrayView2<'_, u8>, (h, w): (usize, usize)) -> Array2<u8> {
    assert!(h > 0 && w > 0 && !grey.is_empty(), "from {:?} to {h}x{w}", grey.dim());
    // A side in parts of which both a pixel of before and one of after have a whole number.
    let covered = |from: usize, to: usize, i: usize| {
        let (start, end) = (i * from, (i + 1) * from);
        (start / to..end.div_ceil(to)).map(move |k| (k, ((k + 1) * to).min(end) - (k * to).max(start)))
    };
    let (rows, columns) = grey.dim();
    Array2::from_shape_fn((h, w), |(y, x)| {
        let (mut sum, mut parts) = (0u64, 0u64);
        for (row, tall) in covered(rows, h, y) {
            for (column, wide) in covered(columns, w, x) {
                let part = tall as u64 * wide as u64;
                sum += part * u64::from(grey[[row, column]]);
                parts += part;
            }
        }
        ((sum + parts / 2) / parts) as u8
    })
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn a_scaled_picture_keeps_its_mean() {
        let grey = array![[[0, 100], [200, 40]]];
        assert_eq!(scaled(&grey, (2, 2)), grey);
        assert_eq!(scaled(&grey, (1, 1)), array![[[85]]]);
        assert_eq!(scaled(&grey, (4, 2)), array![[[0, 100], [0, 100], [200, 40], [200, 40]]]);
        let two = array![[[0, 30, 60]], [[30, 30, 60]]];
        assert_eq!(scaled(&two, (1, 2)), array![[[10, 50]], [[30, 50]]]);
    }

    #[test]
    fn grey_levels_stay_and_nothing_is_white() {
        let pixels = vec![[7, 7, 7, 255], [255, 0, 0, 255], [0, 0, 0, 0], [0, 0, 0, 128]];
        let picture = Picture { size: (2, 2), pixels };
        assert_eq!(picture.grey(), array![[7, 76], [255, 127]]);
        let [red, other] = [array![[7, 255], [255, 127]], array![[7, 0], [255, 127]]];
        assert_eq!(picture.planes(), ndarray::stack![Axis(0), red, other, other]);
        let grey = Picture { size: (1, 2), pixels: vec![[7, 7, 7, 255], [200, 0, 0, 0]] };
        assert_eq!(grey.planes(), array![[[7, 255]]], "what is not seen has no colour");
    }

    #[test]
    fn what_is_no_picture_is_named() {
        let read = |bytes: &[u8]| read(std::io::Cursor::new(bytes.to_vec()), "file").unwrap_err().to_string();
        assert!(read(b"GIF89a").ends_with("found a GIF file; save the picture as PNG"));
        assert!(read(b"").ends_with("found an empty file"));
        assert!(read(b"ink").ends_with("found bytes of another kind"));
        assert!(read(b"\x89PNG\r\n\x1a\n").contains("expected a whole PNG file, found "));
    }
}
