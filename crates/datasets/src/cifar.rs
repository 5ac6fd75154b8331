//! CIFAR-10's binary form, over `Read`: each image a byte for its label and 3072 for its pixels, all red, then all green, then all blue, 32
//! rows of 32 columns each. Format: Alex Krizhevsky, "The CIFAR-10 dataset". Which files a folder has is [`source`](crate::source)'s.

use std::io::Read;

use ndarray::Array4;

use crate::dataset::Dataset;
use crate::error::{Error, FormatProblem};
use crate::idx::format_error;

/// The labels are below this.
pub const CLASSES: usize = 10;

const SIDE: usize = 32;
const PIXELS: usize = 3 * SIDE * SIDE;
/// Bytes of an image with its label.
const RECORD: usize = 1 + PIXELS;

/// Images of one file, or of some one after the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Records {
    labels: Vec<u16>,
    pixels: Vec<u8>,
}

impl Records {
    /// Adds the images of a file of at most `limit` bytes, and returns how many bytes it has. `file` is the name that errors use. Memory
    /// grows only with the bytes that arrive.
    ///
    /// # Errors
    /// [`Error::Format`] with the offset: a file that is empty or does not end with an image, a label above 9, more than `limit` bytes;
    /// [`Error::Io`] when `reader` fails.
    pub fn read(&mut self, reader: impl Read, file: &str, limit: u64) -> Result<u64, Error> {
        let mut bytes = Vec::new();
        reader
            .take(limit.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(|cause| Error::io(file, "read", cause))?;
        let len = bytes.len() as u64;
        if len > limit {
            let expected = format!("at most {limit} bytes");
            return Err(format_error(file, limit, FormatProblem::TooLarge, expected, "more"));
        }
        let (records, rest) = bytes.as_chunks::<RECORD>();
        for (offset, [label, image @ ..]) in (0..).step_by(RECORD).zip(records) {
            if usize::from(*label) >= CLASSES {
                let expected = format!("a label from 0 to {}", CLASSES - 1);
                return Err(format_error(file, offset, FormatProblem::Label, expected, label.to_string()));
            }
            self.labels.push(u16::from(*label));
            self.pixels.extend_from_slice(image);
        }
        if records.is_empty() || !rest.is_empty() {
            let expected = format!("{RECORD} bytes for each image (a label and {PIXELS} pixels)");
            let found = format!("the end of the file after {} of them", rest.len());
            return Err(format_error(file, len, FormatProblem::Truncated, expected, found));
        }
        Ok(len)
    }

    /// How many images there are.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The images as a data set with the classes `class_names`.
    ///
    /// # Errors
    /// As [`Dataset::new`].
    pub fn into_dataset(self, name: &str, class_names: Vec<String>) -> Result<Dataset, Error> {
        let shape = (self.labels.len(), 3, SIDE, SIDE);
        let images = Array4::from_shape_vec(shape, self.pixels).expect("whole images were read");
        Dataset::new(name, images, self.labels, class_names)
    }
}
