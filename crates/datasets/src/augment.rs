//! Augmentation: random shifts, rotations, scales and shears, a function of (seed, step, sample).

use ndarray::{ArrayView2, ArrayView3};

use crate::random::Random;
use crate::transform::Normalize;
use crate::unpack::{Crop, LANES, Shift, unpack_tile, unpack_tile_shifted};

/// How far an image may be moved, at most. The default moves nothing.
///
/// A sample is drawn uniformly from all moves within these bounds. Shifts alone move whole pixels and cost next to
/// nothing; the other three sample the image bilinearly about its centre. What comes in from outside is 0.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Augment {
    /// Whole pixels up or down and left or right.
    pub shift: u8,
    /// Radians, both ways; at most pi.
    pub rotate: f32,
    /// Relative size: 0.1 gives factors from 0.9 to 1.1; below 1.
    pub scale: f32,
    /// Columns a row, both ways.
    pub shear: f32,
}

impl Augment {
    /// Whether no image is changed.
    pub fn is_identity(&self) -> bool {
        self.shift == 0 && !self.is_affine()
    }

    /// Bytes that [`Augment::unpack_tile`] needs as scratch for images of this size.
    pub fn scratch_len(&self, (h, w): (usize, usize)) -> usize {
        if self.is_affine() { LANES * h * w } else { 0 }
    }

    /// [`unpack_tile`] of moved samples. Lane `i` is sample `first_sample + i` of step
    /// `step`, whichever image it shows: numbers of the step, not of the data set. Allocates nothing.
    ///
    /// # Panics
    /// As `unpack_tile`; also when `scratch` is shorter than [`scratch_len`](Augment::scratch_len), or a bound is not
    /// what its documentation says.
    #[inline(always)]
    #[track_caller]
    pub fn unpack_tile(
        &self,
        seed: u64,
        step: u64,
        first_sample: u64,
        images: ArrayView3<'_, u8>,
        indices: &[u32],
        normalize: Normalize,
        crop: Crop,
        scratch: &mut [u8],
        out: &mut [f32],
    ) {
        assert!(indices.len() <= LANES, "{} samples for a tile of 1 to {LANES}", indices.len());
        if !self.is_affine() {
            let mut shifts = [Shift::default(); LANES];
            for (lane, shift) in shifts[..indices.len()].iter_mut().enumerate() {
                *shift = self.draw(seed, step, first_sample + lane as u64).shift;
            }
            return unpack_tile_shifted(images, indices, &shifts[..indices.len()], normalize, crop, out);
        }
        let (n, h, w) = images.dim();
        let scratch_len = self.scratch_len((h, w));
        assert!(scratch.len() >= scratch_len, "a scratch of {} bytes, at least {scratch_len}", scratch.len());
        for (lane, &index) in indices.iter().enumerate() {
            assert!((index as usize) < n, "sample {index} of a data set of {n}");
            let image = images.index_axis(ndarray::Axis(0), index as usize);
            self.warp(seed, step, first_sample + lane as u64, image, &mut scratch[lane * h * w..][..h * w]);
        }
        let warped =
            ArrayView3::from_shape((LANES, h, w), &scratch[..scratch_len]).expect("scratch_len bytes");
        unpack_tile(warped, &IDENTITY[..indices.len()], normalize, crop, out);
    }

    /// Moves one image `[h, w]` into `out`, `h * w` bytes: the move of sample `sample` of step `step`.
    ///
    /// Every output pixel is the bilinear sample, rounded to nearest, of the input at
    /// `A (y - cy - dy, x - cx - dx) + (cy, cx)`, where `A` is the inverse of scale, rotation and shear.
    ///
    /// # Panics
    /// When `out` is not `h * w` bytes, or a bound is not what its documentation says.
    #[track_caller]
    pub fn warp(&self, seed: u64, step: u64, sample: u64, image: ArrayView2<'_, u8>, out: &mut [u8]) {
        let (h, w) = image.dim();
        assert!(out.len() == h * w, "{} bytes for an image of {h}x{w}", out.len());
        let Move { shift, angle, factor, shear } = self.draw(seed, step, sample);
        // Forwards, (x, y) goes to R (x + shear y, y) factor; this is the inverse, row by row.
        let (sin, cos) = sin_cos(angle);
        let (sin, cos) = (sin / factor, cos / factor);
        let (cy, cx) = ((h as f32 - 1.0) / 2.0, (w as f32 - 1.0) / 2.0);
        let pixel = |y: i32, x: i32| {
            let inside = (0..h as i32).contains(&y) && (0..w as i32).contains(&x);
            if inside { f32::from(image[[y as usize, x as usize]]) } else { 0.0 }
        };
        for (y, row) in out.chunks_exact_mut(w).enumerate() {
            for (x, out) in row.iter_mut().enumerate() {
                let (v, u) = (y as f32 - cy - shift.dy as f32, x as f32 - cx - shift.dx as f32);
                let from_y = cos * v - sin * u;
                let from_x = cos * u + sin * v - shear * from_y;
                let (from_y, from_x) = (from_y + cy, from_x + cx);
                let (y0, x0) = (from_y.floor(), from_x.floor());
                let (ty, tx) = (from_y - y0, from_x - x0);
                let (y0, x0) = (y0 as i32, x0 as i32);
                let top = pixel(y0, x0) * (1.0 - tx) + pixel(y0, x0 + 1) * tx;
                let bottom = pixel(y0 + 1, x0) * (1.0 - tx) + pixel(y0 + 1, x0 + 1) * tx;
                *out = (top * (1.0 - ty) + bottom * ty + 0.5) as u8;
            }
        }
    }

    fn is_affine(&self) -> bool {
        self.rotate != 0.0 || self.scale != 0.0 || self.shear != 0.0
    }

    #[track_caller]
    fn draw(&self, seed: u64, step: u64, sample: u64) -> Move {
        assert!(
            (0.0..=3.2).contains(&self.rotate),
            "rotation by up to {} radians, expected 0 to pi",
            self.rotate
        );
        assert!((0.0..1.0).contains(&self.scale), "scale by up to {}, expected 0 to below 1", self.scale);
        assert!(self.shear >= 0.0 && self.shear.is_finite(), "shear by up to {}", self.shear);
        let mut random = Random::new(b"augment\0", seed, step, sample);
        let reach = i32::from(self.shift);
        let mut whole = || random.below(2 * reach as u32 + 1) as i32 - reach;
        let shift = Shift { dy: whole(), dx: whole() };
        Move {
            shift,
            angle: random.range(-self.rotate, self.rotate),
            factor: random.range(1.0 - self.scale, 1.0 + self.scale),
            shear: random.range(-self.shear, self.shear),
        }
    }
}

/// One draw from an [`Augment`].
struct Move {
    shift: Shift,
    angle: f32,
    factor: f32,
    shear: f32,
}

const IDENTITY: [u32; LANES] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

/// Sine and cosine for `|a| <= 3.2`, from `+ - *` alone so that every machine gives the same bits (the platform's may
/// differ in the last one). Taylor at a quarter of the angle, doubled twice; error below 1e-6.
pub(crate) fn sin_cos(a: f32) -> (f32, f32) {
    let q = a * 0.25;
    let q2 = q * q;
    let mut sin =
        q * (1.0 - q2 / 6.0 * (1.0 - q2 / 20.0 * (1.0 - q2 / 42.0 * (1.0 - q2 / 72.0 * (1.0 - q2 / 110.0)))));
    let mut cos =
        1.0 - q2 / 2.0 * (1.0 - q2 / 12.0 * (1.0 - q2 / 30.0 * (1.0 - q2 / 56.0 * (1.0 - q2 / 90.0))));
    for _ in 0..2 {
        (sin, cos) = (2.0 * sin * cos, cos * cos - sin * sin);
    }
    (sin, cos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sine_and_cosine() {
        for i in -3200..=3200 {
            let a = i as f32 / 1000.0;
            let (sin, cos) = sin_cos(a);
            let (sin, cos) = (f64::from(sin) - f64::from(a).sin(), f64::from(cos) - f64::from(a).cos());
            assert!(sin.abs() < 1e-6 && cos.abs() < 1e-6, "{a}: off by {sin} and {cos}");
        }
    }
}
