//! What is done to an image before a network sees it; kept beside the weights, for a model is worth little without it.

use byhand_layers::Shape;
use serde::{Deserialize, Serialize};

/// From the bytes of an image to the numbers of a network, in this order: [`halve`](Self::halve),
/// [`crop`](Self::crop), then `x = p * scale + shift` for every byte `p`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocessing {
    /// What a byte is multiplied with.
    pub scale: f32,
    /// What is then added.
    pub shift: f32,
    /// Whether each 2 x 2 block of pixels is first replaced by its mean, rounded down: 28 x 28 becomes 14 x 14.
    pub halve: bool,
    /// The part of the image that is used; all of it when there is none.
    pub crop: Option<Crop>,
}

/// A rectangle of an image; what reaches outside reads as 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Crop {
    /// First row.
    pub y: i32,
    /// First column.
    pub x: i32,
    /// Rows.
    pub h: usize,
    /// Columns.
    pub w: usize,
}

impl Preprocessing {
    /// To [0, 1]: `p / 255`.
    pub const fn unit() -> Self {
        Self { scale: 1.0 / 255.0, shift: 0.0, halve: false, crop: None }
    }

    /// To [-0.5, 0.5]: `p / 255 - 0.5`.
    pub const fn centered() -> Self {
        Self { shift: -0.5, ..Self::unit() }
    }

    /// The same on images of half the height and width.
    pub const fn halved(self) -> Self {
        Self { halve: true, ..self }
    }

    /// What does not fit when it makes inputs of this shape: what was expected, and what was found.
    pub(crate) fn check(&self, input: Shape) -> Result<(), String> {
        let Self { scale, shift, crop, .. } = *self;
        if !(scale.is_finite() && shift.is_finite()) {
            return Err(format!("scale {scale} and shift {shift}, expected finite numbers"));
        }
        let Some(Crop { y, x, h, w }) = crop else { return Ok(()) };
        let fits = if input.is_flat() {
            h.checked_mul(w) == Some(input.features())
        } else {
            (h, w) == (input.h, input.w)
        };
        if !fits {
            return Err(format!("a crop of {h} rows and {w} columns, expected those of the input {input}"));
        }
        if y.unsigned_abs().max(x.unsigned_abs()) > MOST_CROPPED {
            return Err(format!("a crop from row {y} and column {x}, expected {MOST_CROPPED} at most"));
        }
        Ok(())
    }
}

/// Farther from the picture's corner no crop begins.
const MOST_CROPPED: u32 = 1 << 20;
