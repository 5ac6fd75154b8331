//! Reading a file of images: a picture, or an IDX file of many.

use std::{
    fs::File,
    io::{self, Cursor, Read},
    path::Path,
};

use anyhow::{Context, Result, bail, ensure};
use byhand_datasets::{
    idx,
    pictures::{self, Picture},
};
use ndarray::Array4;

/// What a file holds.
pub enum Images {
    /// A picture, which is yet to be prepared.
    Picture(Picture),
    /// Images as those of a data set.
    Many(Array4<u8>),
}

/// Bytes of a pipe, as standard input is one.
const MOST_BYTES: u64 = idx::DEFAULT_LIMIT + 16;
/// The name of standard input on a command line.
pub const STDIN: &str = "-";

/// Reads a file, told apart by its first bytes.
pub fn read(path: &Path) -> Result<Images> {
    let name = path.display().to_string();
    let cannot_read = || format!("{name}: expected a PNG or IDX file of images");
    // What cannot be rewound is read into memory first.
    let whole = |pipe: &mut dyn Read| -> Result<Cursor<Vec<u8>>> {
        let mut bytes = Vec::new();
        pipe.take(MOST_BYTES + 1).read_to_end(&mut bytes).with_context(cannot_read)?;
        ensure!(bytes.len() as u64 <= MOST_BYTES, "{}, found more than {MOST_BYTES} bytes", cannot_read());
        Ok(Cursor::new(bytes))
    };
    if path.as_os_str() == STDIN {
        return read_from(whole(&mut io::stdin().lock())?, "standard input");
    }
    ensure!(!path.is_dir(), "{}, found a folder", cannot_read());
    let mut file = File::open(path).with_context(cannot_read)?;
    if path.is_file() { read_from(file, &name) } else { read_from(whole(&mut file)?, &name) }
}

/// The same from what a file holds; `name` is that of the file.
pub fn read_from(mut file: impl Read + io::Seek, name: &str) -> Result<Images> {
    let mut start = Vec::new();
    let cannot_read = || format!("{name}: expected a PNG or IDX file of images");
    file.by_ref().take(STARTS).read_to_end(&mut start).with_context(cannot_read)?;
    file.rewind().with_context(cannot_read)?;
    match pictures::format(&start) {
        Some("PNG") => Ok(Images::Picture(pictures::read(file, name)?)),
        Some("JPEG") if cfg!(feature = "jpeg") => Ok(Images::Picture(pictures::read(file, name)?)),
        Some(other) => bail!("{}, found a {other} file; save the picture as PNG", cannot_read()),
        None => Ok(Images::Many(idx::read_images(file, name, idx::DEFAULT_LIMIT)?)),
    }
}

/// Bytes that tell the kind of a file.
const STARTS: u64 = 512;
