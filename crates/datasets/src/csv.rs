//! Tables of pixels in text, as Kaggle has MNIST: a line a picture, a column for its label and one for each pixel.

use std::io::{BufRead, BufReader, Read};

use flate2::read::MultiGzDecoder;

use crate::error::Error;

/// Bytes of a line at most, of a million pixels: with one more they fill four MiB, which a vector grows to and not beyond.
const LONGEST: u64 = (4 << 20) - 1;
/// What the column of labels is called.
pub(crate) const LABELS: [&str; 4] = ["label", "labels", "class", "target"];

/// A table in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// A label for each picture; none where no column has them.
    pub labels: Vec<u16>,
    /// The pixels, picture by picture, row by row.
    pub pixels: Vec<u8>,
    /// Rows and columns of a picture, which is a square.
    pub side: usize,
}

/// Reads a table, gzipped or not, of at most `limit` pixels; `file` is its name in errors.
///
/// # Errors
/// [`Error::Line`] for a line that is no text, too long, or not a label and as many pixels as the first line has; for pixels that make no
/// square, none at all, or more than `limit`.
pub fn read<'a>(reader: impl Read + 'a, file: &str, limit: u64) -> Result<Table, Error> {
    let io = |cause| Error::io(file, "read", cause);
    let line = |line: usize, expected: String, found: String| Error::Line {
        file: file.into(),
        line,
        expected,
        found,
    };
    let mut reader = BufReader::new(reader);
    let is_gzip = reader.fill_buf().map_err(io)?.starts_with(&[0x1f, 0x8b]);
    let mut reader: Box<dyn BufRead + 'a> =
        if is_gzip { Box::new(BufReader::new(MultiGzDecoder::new(reader))) } else { Box::new(reader) };
    let mut table = Table::default();
    // The place of the label, and how many columns there are.
    let (mut label, mut columns) = (Some(0), 0);
    let mut text = Vec::new();
    for number in 1.. {
        text.clear();
        if (&mut reader).take(LONGEST + 1).read_until(b'\n', &mut text).map_err(io)? == 0 {
            break;
        }
        if text.len() as u64 > LONGEST {
            return Err(line(number, format!("at most {LONGEST} bytes"), "more".into()));
        }
        let Ok(row) = std::str::from_utf8(&text) else {
            return Err(line(number, "text in UTF-8".into(), "other bytes: not a table of numbers".into()));
        };
        let row = row.trim_start_matches('\u{feff}').trim();
        if row.is_empty() {
            continue;
        }
        let cells = || row.split(',').map(|cell| cell.trim().trim_matches('"'));
        if columns == 0 {
            columns = cells().count();
            let is_heading = cells().any(|cell| cell.parse::<f64>().is_err());
            if is_heading {
                label = cells().position(|cell| LABELS.contains(&cell.to_ascii_lowercase().as_str()));
            }
            let pixels = columns - usize::from(label.is_some());
            table.side = pixels.isqrt();
            if pixels == 0 || table.side * table.side != pixels {
                let found = format!("{pixels} columns of pixels");
                return Err(line(
                    number,
                    "pixels of a square, such as 784 of 28x28, and a column of labels".into(),
                    found,
                ));
            }
            if is_heading {
                continue;
            }
        }
        let found = cells().count();
        if found != columns {
            return Err(line(number, format!("{columns} columns, as in the first line"), found.to_string()));
        }
        if (table.pixels.len() + columns) as u64 > limit {
            return Err(line(number, format!("at most {limit} pixels"), "more".into()));
        }
        for (at, cell) in cells().enumerate() {
            let wrong = |what: &str| {
                let found = format!(
                    "\"{}\" in column {}",
                    cell.chars().take(20).collect::<String>().escape_debug(),
                    at + 1
                );
                line(number, what.into(), found)
            };
            if Some(at) == label {
                table.labels.push(cell.parse().map_err(|_| wrong("a label from 0 to 65535"))?);
            } else {
                table.pixels.push(cell.parse().map_err(|_| wrong("a pixel from 0 to 255"))?);
            }
        }
    }
    if table.pixels.is_empty() {
        return Err(line(1, "a line for each picture".into(), "none".into()));
    }
    Ok(table)
}
