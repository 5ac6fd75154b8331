//! From bytes to real numbers: normalising pixels, one-hot labels.

use ndarray::Array2;

use crate::dataset::Dataset;

/// An affine map of a pixel: `x = p * scale + shift` with `p` in `0..=255`.
///
/// Multiplication and addition are rounded separately (no fused multiply-add), so every machine gives the same bits.
/// The two numbers are all there is to store beside a model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Normalize {
    /// What a pixel is multiplied by.
    pub scale: f32,
    /// What is added then.
    pub shift: f32,
}

impl Normalize {
    /// `p / 255`: values in `[0, 1]`.
    pub const fn unit() -> Normalize {
        Normalize { scale: 1.0 / 255.0, shift: 0.0 }
    }

    /// `p / 255 - 1/2`: values in `[-0.5, 0.5]`.
    pub const fn centered() -> Normalize {
        Normalize { scale: 1.0 / 255.0, shift: -0.5 }
    }

    /// `(p / 255 - mean) / std`, with `mean` and `std` given for pixels in `[0, 1]`, as is usual (MNIST: 0.1307, 0.3081).
    ///
    /// # Panics
    /// When `std` is not a positive finite number or `mean` is not finite.
    #[track_caller]
    pub fn mean_std(mean: f32, std: f32) -> Normalize {
        assert!(mean.is_finite() && std.is_finite() && std > 0.0, "mean {mean}, standard deviation {std}");
        Normalize {
            scale: (1.0 / (255.0 * f64::from(std))) as f32,
            shift: (-f64::from(mean) / f64::from(std)) as f32,
        }
    }

    /// The map after which the pixels of `dataset` have mean 0 and standard deviation 1.
    ///
    /// The sums are of integers, hence exact. Constant or no images give [`Normalize::unit`].
    pub fn fit(dataset: &Dataset) -> Normalize {
        let (mut n, mut sum, mut squares) = (0u64, 0u64, 0u64);
        let images = dataset.images();
        for image in images.outer_iter() {
            n += image.len() as u64;
            sum += image.iter().map(|&p| u64::from(p)).sum::<u64>();
            squares += image.iter().map(|&p| u64::from(p) * u64::from(p)).sum::<u64>();
        }
        // Var = (n sum p^2 - (sum p)^2) / n^2; the difference is taken in integers.
        let spread = u128::from(n) * u128::from(squares) - u128::from(sum) * u128::from(sum);
        if spread == 0 {
            return Normalize::unit();
        }
        let std = (spread as f64).sqrt() / n as f64;
        let mean = sum as f64 / n as f64;
        Normalize { scale: (1.0 / std) as f32, shift: (-mean / std) as f32 }
    }

    /// The real number for pixel `p`.
    #[inline(always)]
    pub fn apply(self, p: u8) -> f32 {
        f32::from(p) * self.scale + self.shift
    }
}

impl Default for Normalize {
    /// [`Normalize::unit`].
    fn default() -> Normalize {
        Normalize::unit()
    }
}

/// Labels as rows of an identity matrix, `[n, classes]`: 1 in the column of the class, 0 elsewhere.
///
/// # Panics
/// When a label is not below `classes`.
#[track_caller]
pub fn one_hot(labels: &[u16], classes: usize) -> Array2<f32> {
    let mut rows = Array2::zeros((labels.len(), classes));
    for (i, &label) in labels.iter().enumerate() {
        assert!(usize::from(label) < classes, "label {i} is {label}, expected a class below {classes}");
        rows[[i, usize::from(label)]] = 1.0;
    }
    rows
}
