//! `Preprocessing`: what is done to an image before a network sees it.

use ndarray::{Array2, ArrayView, ArrayView4, Axis};

use crate::dataset::halve_into;
use crate::images::ImageDim;
use crate::transform::Normalize;
use crate::unpack::{Crop, unpack_sample};

/// From the bytes of an image to the numbers of a network, in this order: halved, cropped, normalised.
///
/// A model is worth little without it, so it is stored with the weights, and training, evaluation and prediction take the same value.
///
/// ```
/// use byhand_datasets::{Crop, Normalize, Preprocessing};
/// let centered = Preprocessing::from(Normalize::centered());
/// let middle = Preprocessing { crop: Some(Crop::center((28, 28), 20, 20)), ..centered };
/// let x = middle.apply(ndarray::Array3::zeros((3, 28, 28)).view());
/// assert_eq!((x.dim(), x[[0, 0]]), ((3, 400), -0.5));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Preprocessing {
    /// The map of a pixel.
    pub normalize: Normalize,
    /// Whether each 2 x 2 block of pixels is first replaced by its mean, rounded down: 28 x 28 becomes 14 x 14.
    pub halve: bool,
    /// The window that is seen, of the halved image if it is halved; all of it when there is none.
    pub crop: Option<Crop>,
}

impl Preprocessing {
    /// To [0, 1]: `p / 255`.
    pub const fn unit() -> Preprocessing {
        Preprocessing { normalize: Normalize::unit(), halve: false, crop: None }
    }

    /// To [-0.5, 0.5]: `p / 255 - 0.5`.
    pub const fn centered() -> Preprocessing {
        Preprocessing { normalize: Normalize::centered(), ..Preprocessing::unit() }
    }

    /// The same on images of half the height and width.
    pub const fn halved(self) -> Preprocessing {
        Preprocessing { halve: true, ..self }
    }

    /// Rows and columns of images of (rows, columns) before they are cropped: an odd last row or column is dropped when they are
    /// halved.
    pub fn size_of(&self, (h, w): (usize, usize)) -> (usize, usize) {
        if self.halve { (h / 2, w / 2) } else { (h, w) }
    }

    /// The window that is seen of images of (rows, columns).
    pub fn crop_of(&self, size: (usize, usize)) -> Crop {
        self.crop.unwrap_or_else(|| Crop::full(self.size_of(size)))
    }

    /// Images `[n, h, w]` or `[n, channels, h, w]` as the inputs of a network, `[n, features]`. A convenience: it allocates.
    pub fn apply<D: ImageDim>(&self, images: ArrayView<'_, u8, D>) -> Array2<f32> {
        let images = D::with_channels(images);
        let (n, c, h, w) = images.dim();
        let (crop, size) = (self.crop_of((h, w)), self.size_of((h, w)));
        let mut x = Array2::zeros((n, c * crop.features()));
        let mut image = vec![0; c * size.0 * size.1];
        for (from, mut x) in images.axis_iter(Axis(0)).zip(x.rows_mut()) {
            if self.halve {
                halve_into(from, &mut image);
            } else {
                image.iter_mut().zip(from).for_each(|(to, &from)| *to = from);
            }
            let image = ArrayView4::from_shape((1, c, size.0, size.1), &image).expect("as many pixels");
            unpack_sample(image, 0, self.normalize, crop, x.as_slice_mut().expect("rows are contiguous"));
        }
        x
    }
}

impl From<Normalize> for Preprocessing {
    /// Whole images, with this map of a pixel.
    fn from(normalize: Normalize) -> Preprocessing {
        Preprocessing { normalize, ..Preprocessing::unit() }
    }
}
