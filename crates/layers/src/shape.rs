//! The shape of one sample between two layers: channels x rows x columns.

use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// Channels x rows x columns of one sample. Feature `(c, y, x)` has index `(c * h + y) * w + x`.
///
/// ```
/// use byhand_layers::Shape;
/// let image: Shape = "1x28x28".parse()?;
/// assert_eq!(image, Shape::new(1, 28, 28));
/// assert_eq!(image.features(), 784);
/// assert_eq!(Shape::flat(10).to_string(), "10");
/// # Ok::<(), byhand_layers::ShapeError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Shape {
    /// Channels.
    pub c: usize,
    /// Rows.
    pub h: usize,
    /// Columns.
    pub w: usize,
}

impl Shape {
    /// `c` channels of `h` rows and `w` columns.
    pub const fn new(c: usize, h: usize, w: usize) -> Self {
        Self { c, h, w }
    }

    /// A plain vector: each feature is a channel of one pixel.
    pub const fn flat(features: usize) -> Self {
        Self { c: features, h: 1, w: 1 }
    }

    /// Numbers in one sample: `c * h * w`; where that is too large a number the largest, which no memory holds.
    pub const fn features(self) -> usize {
        self.c.saturating_mul(self.h).saturating_mul(self.w)
    }

    /// Whether at most one side is longer than 1, so that it can only be read as a vector.
    pub const fn is_flat(self) -> bool {
        let longest = if self.c > self.h { self.c } else { self.h };
        let longest = if longest > self.w { longest } else { self.w };
        self.features() == longest
    }

    /// Whether a network with this input takes images of this shape: they have it, or it is flat and has as many features, and then an
    /// image's rows lie one behind the other.
    ///
    /// ```
    /// use byhand_layers::Shape;
    /// let image = Shape::new(1, 28, 28);
    /// assert!(image.takes_image(image) && Shape::flat(784).takes_image(image));
    /// assert!(!Shape::new(1, 14, 56).takes_image(image) && !Shape::flat(783).takes_image(image));
    /// ```
    pub fn takes_image(self, image: Self) -> bool {
        self == image || (self.is_flat() && self.features() == image.features())
    }

    /// Whether a layer that expects this shape takes `found`: it is the same, or both are flat and equally long.
    pub(crate) fn takes(self, found: Self) -> bool {
        self == found || (self.is_flat() && found.is_flat() && self.features() == found.features())
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self { c, h: 1, w: 1 } => c.to_string(),
            Self { c, h, w } => format!("{c}x{h}x{w}"),
        };
        f.pad(&text)
    }
}

impl FromStr for Shape {
    type Err = ShapeError;

    /// Reads `1x28x28` or `784`.
    fn from_str(text: &str) -> Result<Self, ShapeError> {
        let error = || ShapeError { found: text.to_owned() };
        let sides: Vec<usize> =
            text.trim().split('x').map(|side| side.parse()).collect::<Result<_, _>>().map_err(|_| error())?;
        let shape = match sides[..] {
            [features] => Self::flat(features),
            [c, h, w] => Self::new(c, h, w),
            _ => return Err(error()),
        };
        let product = sides.iter().try_fold(1usize, |product, &side| product.checked_mul(side));
        product.filter(|&features| features > 0).map(|_| shape).ok_or_else(error)
    }
}

/// A text that is no shape.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "shape: expected channels x rows x columns such as 1x28x28, or a number of features such as 784, found `{found}`"
)]
pub struct ShapeError {
    /// The text.
    pub found: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips() {
        for shape in [Shape::new(1, 28, 28), Shape::new(3, 1, 5), Shape::flat(784), Shape::flat(1)] {
            assert_eq!(shape.to_string().parse(), Ok(shape));
        }
    }

    #[test]
    fn bad_text_is_refused() {
        for text in ["", "x", "1x28", "1x28x28x1", "0x28x28", "1x-2x3", "4294967296x4294967296x4294967296"] {
            assert!(text.parse::<Shape>().is_err(), "{text}");
        }
    }

    #[test]
    fn flat_means_one_long_side() {
        assert!(Shape::flat(784).is_flat() && Shape::new(1, 1, 784).is_flat() && Shape::flat(1).is_flat());
        assert!(!Shape::new(1, 28, 28).is_flat() && !Shape::new(2, 1, 3).is_flat());
    }
}
