//! Augmentation: random shifts, rotations, scales, shears, elastic distortions, mirrorings, erasures and mixtures, each a function of
//! (seed, step, sample).

use ndarray::{ArrayView2, ArrayView3};

use crate::random::Random;
use crate::unpack::{LANES, Shift};

/// How far an image may be changed, at most. The default changes nothing.
///
/// A sample is drawn uniformly from all changes within these bounds. Shifts and mirrorings move whole pixels and cost next to nothing;
/// rotations, scales, shears and elastic distortions sample the image bilinearly. What comes in from outside is 0.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Augment {
    /// Whole pixels up or down and left or right.
    pub shift: u8,
    /// Radians, both ways, about the centre; at most pi.
    pub rotate: f32,
    /// Relative size: 0.1 gives factors from 0.9 to 1.1; below 1.
    pub scale: f32,
    /// Columns a row, both ways.
    pub shear: f32,
    /// Pixels: how far each of 8 x 8 knots is displaced, both ways, in rows and in columns. Between them goes a cubic B-spline.
    ///
    /// Simard, Steinkraus, Platt, "Best practices for convolutional neural networks", 2003 (elastic distortions); Rueckert and others,
    /// "Nonrigid registration using free-form deformations", 1999 (by B-splines).
    pub elastic: f32,
    /// Whether every other image is mirrored, left to right.
    pub flip: bool,
    /// Rows and columns of a rectangle at a random place that becomes 0; the part of it that lies in the image.
    ///
    /// Zhong and others, "Random erasing data augmentation", 2020; DeVries and Taylor, "Improved regularization of convolutional neural
    /// networks with cutout", 2017.
    pub erase: u8,
    /// `a` of the distribution Beta(a, a) that draws the share of a sample in its [mixture](Augment::mix) with another; at most 1, and 0
    /// for none.
    pub mixup: f32,
}

impl Augment {
    /// Whether no image is changed.
    pub fn is_identity(&self) -> bool {
        *self == Augment::default()
    }

    /// Whether images are moved by whole pixels and not changed in any other way.
    pub fn is_shift_alone(&self) -> bool {
        self.shift > 0 && Augment { shift: 0, ..*self }.is_identity()
    }

    /// Bytes that [`Augment::apply`] needs as scratch for images of this size.
    pub fn scratch_len(&self, (h, w): (usize, usize)) -> usize {
        if self.is_between_pixels() { (h + 2 * MARGIN) * (w + 2 * MARGIN) } else { 0 }
    }

    /// Writes by how much sample `first_sample + i` of step `step` is shifted, for each `i`.
    pub fn shifts(&self, seed: u64, step: u64, first_sample: u64, shifts: &mut [Shift]) {
        for (shift, sample) in shifts.iter_mut().zip(first_sample..) {
            *shift = self.shift_of(&mut draws(seed, step, sample));
        }
    }

    /// Changes one image `[channels, h, w]` into `out`, as many bytes, all of its channels alike: the change of sample `sample` of step
    /// `step`, which are numbers of the step and not of the data set. Allocates nothing. It is a loop that the caller may compile for a
    /// wider instruction set than the plainest.
    ///
    /// Every output pixel is the bilinear sample, rounded to nearest, of the input at
    /// `A (y - cy - dy, x - cx - dx) + (cy, cx) + e(y, x)`, where `A` is the inverse of scale, rotation and shear, and `e` the elastic
    /// displacement; then a rectangle is erased.
    ///
    /// # Panics
    /// When `out` has not as many bytes as the image, `scratch` is shorter than [`scratch_len`](Augment::scratch_len), or a bound is not
    /// what its documentation says.
    #[inline(always)]
    #[track_caller]
    pub fn apply(
        &self,
        seed: u64,
        step: u64,
        sample: u64,
        image: ArrayView3<'_, u8>,
        scratch: &mut [u8],
        out: &mut [u8],
    ) {
        let (c, h, w) = image.dim();
        assert!(out.len() == c * h * w, "{} bytes for an image of {c}x{h}x{w}", out.len());
        let scratch_len = self.scratch_len((h, w));
        assert!(scratch.len() >= scratch_len, "a scratch of {} bytes, at least {scratch_len}", scratch.len());
        self.check();
        let mut random = draws(seed, step, sample);
        let shift = self.shift_of(&mut random);
        let way = Way {
            shift,
            angle: random.range(-self.rotate, self.rotate),
            factor: random.range(1.0 - self.scale, 1.0 + self.scale),
            shear: random.range(-self.shear, self.shear),
            is_mirrored: self.flip && random.below(2) == 1,
        };
        let [erased_rows, erased_columns] = [h, w].map(|len| {
            let (size, centre) = (random.below(u32::from(self.erase) + 1) as usize, random.below(len as u32));
            let end = centre as usize + size.div_ceil(2);
            end.saturating_sub(size)..end.min(len)
        });
        let knots = (self.elastic > 0.0).then(|| {
            let mut knots = [[[0.0; KNOTS]; KNOTS]; 2];
            let each = knots.as_flattened_mut().as_flattened_mut();
            each.fill_with(|| random.range(-self.elastic, self.elastic));
            knots
        });
        for (plane, out) in image.outer_iter().zip(out.chunks_exact_mut((h * w).max(1))) {
            if self.is_between_pixels() {
                let padded = pad(plane, &mut scratch[..scratch_len]);
                sample_between(padded, &way, knots.as_ref(), (h, w), out);
            } else {
                way.move_whole(plane, out);
            }
            if !erased_columns.is_empty() {
                for row in erased_rows.clone() {
                    out[row * w..][erased_columns.clone()].fill(0);
                }
            }
        }
    }

    /// With which sample of a minibatch of `n` sample `sample` is mixed, and its own share: it becomes `share` times itself plus
    /// `1 - share` times the other, as [`apply`](Augment::apply) changes each, and so does its target.
    ///
    /// Zhang and others, "mixup: beyond empirical risk minimization", 2018.
    ///
    /// # Panics
    /// When the minibatch is empty or there is no such sample.
    #[track_caller]
    pub fn mix(&self, seed: u64, step: u64, sample: usize, n: usize) -> (usize, f32) {
        assert!(sample < n, "sample {sample} of {n}");
        self.check();
        if n == 1 {
            return (sample, 1.0);
        }
        let apart = 1 + Random::new(b"partners", seed, step, n as u64).below(n as u32 - 1) as usize;
        ((sample + apart) % n, beta(self.mixup, &mut Random::new(b"mixup\0\0\0", seed, step, sample as u64)))
    }

    fn is_between_pixels(&self) -> bool {
        self.rotate != 0.0 || self.scale != 0.0 || self.shear != 0.0 || self.elastic != 0.0
    }

    fn shift_of(&self, random: &mut Random) -> Shift {
        let reach = i32::from(self.shift);
        let mut whole = || random.below(2 * reach as u32 + 1) as i32 - reach;
        Shift { dy: whole(), dx: whole() }
    }

    #[track_caller]
    fn check(&self) {
        let Augment { rotate, scale, shear, elastic, mixup, .. } = *self;
        assert!((0.0..=3.2).contains(&rotate), "rotation by up to {rotate} radians, expected 0 to pi");
        assert!((0.0..1.0).contains(&scale), "scale by up to {scale}, expected 0 to below 1");
        assert!(shear >= 0.0 && shear.is_finite(), "shear by up to {shear}");
        assert!(elastic >= 0.0 && elastic.is_finite(), "elastic displacements of up to {elastic} pixels");
        assert!((0.0..=1.0).contains(&mixup), "mixup with Beta({mixup}, {mixup}), expected 0 to 1");
    }
}

/// `share` times `image` plus `1 - share` times `other`, rounded to nearest, into `image`.
#[inline(always)]
pub fn blend(image: &mut [u8], other: &[u8], share: f32) {
    for (pixel, &other) in image.iter_mut().zip(other) {
        *pixel = (share * f32::from(*pixel) + (1.0 - share) * f32::from(other) + 0.5) as u8;
    }
}

/// What sample `sample` of step `step` draws its changes from.
fn draws(seed: u64, step: u64, sample: u64) -> Random {
    Random::new(b"augment\0", seed, step, sample)
}

/// One draw from Beta(a, a), for `a` up to 1: Jöhnk, "Erzeugung von betaverteilten und gammaverteilten Zufallszahlen", 1964. No function of
/// the platform's libm is used, so every machine gives the same bits.
fn beta(a: f32, random: &mut Random) -> f32 {
    let power = 1.0 / f64::from(a);
    loop {
        let [u, v] = [(); 2].map(|()| f64::from(random.unit()));
        let [x, y] = [u, v].map(|u| libm::pow(u, power));
        if x + y == 0.0 {
            // Too small for f64, both: one of them is by far the smaller.
            return if u > v { 1.0 } else { 0.0 };
        }
        if x + y <= 1.0 {
            return (x / (x + y)) as f32;
        }
    }
}

/// One draw of the moves of an [`Augment`].
struct Way {
    shift: Shift,
    angle: f32,
    factor: f32,
    shear: f32,
    is_mirrored: bool,
}

impl Way {
    /// Shifts and mirrors alone.
    fn move_whole(&self, image: ArrayView2<'_, u8>, out: &mut [u8]) {
        let (h, w) = image.dim();
        out.fill(0);
        // Of the output, the part that comes from inside.
        let part = |len: usize, by: i32| by.clamp(0, len as i32)..(len as i32 + by).clamp(0, len as i32);
        for y in part(h, self.shift.dy) {
            for x in part(w, self.shift.dx) {
                let from_x = x - self.shift.dx;
                let from_x = if self.is_mirrored { w as i32 - 1 - from_x } else { from_x };
                out[y as usize * w + x as usize] = image[[(y - self.shift.dy) as usize, from_x as usize]];
            }
        }
    }
}

/// Zeros around an image, so that a sample's four neighbours are always there.
const MARGIN: usize = 2;

#[inline(always)]
fn pad<'a>(image: ArrayView2<'_, u8>, padded: &'a mut [u8]) -> &'a [u8] {
    let w = image.ncols();
    padded.fill(0);
    let rows = padded.chunks_exact_mut(w + 2 * MARGIN).skip(MARGIN);
    for (row, image) in rows.zip(image.outer_iter()) {
        row[MARGIN..][..w].iter_mut().zip(image).for_each(|(to, &from)| *to = from);
    }
    padded
}

/// Knots of the elastic grid in each direction, of which the outer ones lie outside the image.
const KNOTS: usize = 8;

/// Displacements in rows and in columns: `[2][row of knots][column of knots]`.
type Knots = [[[f32; KNOTS]; KNOTS]; 2];

/// Samples a padded image bilinearly. Columns go sixteen at a time: all but the reading of the neighbours is lanes.
#[inline(always)]
fn sample_between(padded: &[u8], way: &Way, knots: Option<&Knots>, (h, w): (usize, usize), out: &mut [u8]) {
    // Forwards, (x, y) goes to R (x + shear y, y) factor; this is the inverse, row by row.
    let (sin, cos) = sin_cos(way.angle);
    let (sin, cos) = (sin / way.factor, cos / way.factor);
    let (cy, cx) = ((h as f32 - 1.0) / 2.0, (w as f32 - 1.0) / 2.0);
    let stride = w + 2 * MARGIN;
    // Further out there are zeros only.
    let clamped =
        |v: f32, len: usize| ((v as i32).clamp(-(MARGIN as i32), len as i32) + MARGIN as i32) as u32;
    for first in (0..w).step_by(LANES) {
        let columns = knots.map(|knots| spread(knots, first, w));
        for y in 0..h {
            let (mut rows, mut cols) = ([0.0f32; LANES], [0.0f32; LANES]);
            let v = y as f32 - cy - way.shift.dy as f32;
            for lane in 0..LANES {
                let u = (first + lane) as f32 - cx - way.shift.dx as f32;
                let from_y = cos * v - sin * u;
                let from_x = cos * u + sin * v - way.shear * from_y;
                (rows[lane], cols[lane]) = (from_y + cy, from_x + cx);
            }
            if let Some(columns) = &columns {
                let (row, weights) = spline(y, h);
                for (from, knots) in [&mut rows, &mut cols].into_iter().zip(columns) {
                    for (weight, knots) in weights.iter().zip(&knots[row..]) {
                        from.iter_mut().zip(knots).for_each(|(from, knot)| *from += weight * knot);
                    }
                }
            }
            if way.is_mirrored {
                cols.iter_mut().for_each(|x| *x = 2.0 * cx - *x);
            }
            let (mut at, mut ty, mut tx) = ([0u32; LANES], [0.0f32; LANES], [0.0f32; LANES]);
            for lane in 0..LANES {
                let (y0, x0) = (rows[lane].floor(), cols[lane].floor());
                (ty[lane], tx[lane]) = (rows[lane] - y0, cols[lane] - x0);
                at[lane] = clamped(y0, h) * stride as u32 + clamped(x0, w);
            }
            let mut near = [[0.0f32; LANES]; 4];
            for (lane, &at) in at.iter().enumerate() {
                let pixels = &padded[at as usize..][..stride + 2];
                near[0][lane] = f32::from(pixels[0]);
                near[1][lane] = f32::from(pixels[1]);
                near[2][lane] = f32::from(pixels[stride]);
                near[3][lane] = f32::from(pixels[stride + 1]);
            }
            let mut pixels = [0; LANES];
            for lane in 0..LANES {
                let top = near[0][lane] * (1.0 - tx[lane]) + near[1][lane] * tx[lane];
                let bottom = near[2][lane] * (1.0 - tx[lane]) + near[3][lane] * tx[lane];
                pixels[lane] = (top * (1.0 - ty[lane]) + bottom * ty[lane] + 0.5) as u8;
            }
            let live = LANES.min(w - first);
            out[y * w + first..][..live].copy_from_slice(&pixels[..live]);
        }
    }
}

/// What sixteen columns from `first` on take of each row of knots.
#[inline(always)]
fn spread(knots: &Knots, first: usize, w: usize) -> [[[f32; LANES]; KNOTS]; 2] {
    let mut columns = [[[0.0; LANES]; KNOTS]; 2];
    for lane in 0..LANES.min(w - first) {
        let (column, weights) = spline(first + lane, w);
        for (knots, columns) in knots.as_flattened().iter().zip(columns.as_flattened_mut()) {
            columns[lane] = weights.iter().zip(&knots[column..]).map(|(weight, knot)| weight * knot).sum();
        }
    }
    columns
}

/// The first of the four knots around place `at` of `len`, and their weights: the cubic B-spline's.
#[inline(always)]
fn spline(at: usize, len: usize) -> (usize, [f32; 4]) {
    let cells = KNOTS - 3;
    let place = (at * cells) as f32 / len as f32;
    let cell = (place as usize).min(cells - 1);
    let t = place - cell as f32;
    let s = 1.0 - t;
    let weights =
        [s * s * s, 3.0 * t * t * t - 6.0 * t * t + 4.0, 3.0 * s * s * s - 6.0 * s * s + 4.0, t * t * t];
    (cell, weights.map(|weight| weight / 6.0))
}

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

    #[test]
    fn a_spline_of_equal_knots_is_level_and_of_a_line_is_the_line() {
        for (at, len) in [(0, 28), (5, 28), (27, 28), (0, 1), (6, 7)] {
            let (first, weights) = spline(at, len);
            assert!(first + 4 <= KNOTS && (weights.iter().sum::<f32>() - 1.0).abs() < 1e-6);
            let line: f32 = (first..).zip(weights).map(|(knot, weight)| knot as f32 * weight).sum();
            assert!((line - 1.0 - (at * (KNOTS - 3)) as f32 / len as f32).abs() < 1e-5, "{at} of {len}");
        }
    }

    #[test]
    fn beta_has_its_moments() {
        for (a, n) in [(0.2, 40_000), (1.0, 40_000), (1e-4, 2_000)] {
            let mut random = Random::new(b"testing\0", 1, 0, 0);
            let draws: Vec<f64> = (0..n).map(|_| f64::from(beta(a, &mut random))).collect();
            let mean = draws.iter().sum::<f64>() / n as f64;
            let variance = draws.iter().map(|x| (x - 0.5) * (x - 0.5)).sum::<f64>() / n as f64;
            let expected = 0.25 / (2.0 * f64::from(a) + 1.0);
            assert!((mean - 0.5).abs() < 0.04, "Beta({a}, {a}) has mean {mean}");
            assert!((variance - expected).abs() < 0.01, "and variance {variance}, expected {expected}");
        }
    }
}
