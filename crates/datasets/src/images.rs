//! `ImageDim`: the dimensions of arrays of images, grey or in colour.

use ndarray::{ArrayBase, Axis, Dimension, Ix3, Ix4, RawData};

/// What arrays of images have as dimensions: `[n, h, w]` where they are grey, `[n, channels, h, w]` where they may be in colour. The planes
/// of an image lie one after the other: all of its red, then all of its green, then all of its blue.
pub trait ImageDim: Dimension {
    /// The same array with an axis for channels.
    fn with_channels<S: RawData>(images: ArrayBase<S, Self>) -> ArrayBase<S, Ix4>;
}

impl ImageDim for Ix3 {
    #[inline(always)]
    fn with_channels<S: RawData>(images: ArrayBase<S, Self>) -> ArrayBase<S, Ix4> {
        images.insert_axis(Axis(1))
    }
}

impl ImageDim for Ix4 {
    #[inline(always)]
    fn with_channels<S: RawData>(images: ArrayBase<S, Self>) -> ArrayBase<S, Ix4> {
        images
    }
}
