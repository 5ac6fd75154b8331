//! Bytes to tiles of sixteen lanes: the hot path between the data in memory and the first layer.
//!
//! A tile is `[features][16]`: all sixteen samples' first pixel, then all sixteen samples' second pixel, and so on.
//! Images are `[channels][h][w]` bytes, so unpacking is a transpose; normalising, cropping, padding and shifting ride along.

use std::ops::Range;

use ndarray::{ArrayView, ArrayView4};

use crate::images::ImageDim;
use crate::transform::Normalize;

/// Samples in a tile.
pub const LANES: usize = 16;

/// The window of an image that is unpacked: rows `y .. y + h`, columns `x .. x + w`.
///
/// It may reach over the border: pixels outside the image count as 0, before normalising. So
/// `Crop { y: -2, x: -2, h: 32, w: 32 }` pads 28x28 to 32x32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

impl Crop {
    /// The whole of an image of `(h, w)` pixels.
    pub fn full((h, w): (usize, usize)) -> Crop {
        Crop { y: 0, x: 0, h, w }
    }

    /// The middle `h` x `w` of an image of the given size; pads when the image is smaller.
    pub fn center((image_h, image_w): (usize, usize), h: usize, w: usize) -> Crop {
        let middle = |image: usize, window: usize| (image as i32 - window as i32).div_euclid(2);
        Crop { y: middle(image_h, h), x: middle(image_w, w), h, w }
    }

    /// `h * w`: features a channel.
    pub fn features(self) -> usize {
        self.h * self.w
    }

    /// Whether the window is some rows of an image of `h` x `w`, from the first column to the last.
    fn is_whole_rows(self, h: usize, w: usize) -> bool {
        self.x == 0 && self.w == w && self.y >= 0 && self.y as usize + self.h <= h
    }
}

/// How far one sample's content moves: down by `dy` rows and right by `dx` columns. What comes in is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Shift {
    /// Rows down.
    pub dy: i32,
    /// Columns to the right.
    pub dx: i32,
}

/// Writes up to sixteen samples as a tile: `out[f * 16 + lane] = normalize(pixel f of sample indices[lane])`.
///
/// - `images`: `[n, h, w]` or `[n, channels, h, w]`, contiguous ([`Dataset::images`](crate::Dataset::images)). The window is cut out of each
///   channel.
/// - `indices`: 1 to 16 samples. Lanes beyond them repeat the last one, so that a dead lane never computes what a live
///   one would not.
/// - `out`: `channels * crop.features() * 16` numbers, overwritten.
///
/// Allocates nothing. It is a loop that the caller may compile for a wider instruction set than the plainest.
///
/// # Panics
/// When there is no index, more than 16, one that is not below `n`, `out` has another length, or `images` is not
/// contiguous.
#[inline(always)]
#[track_caller]
pub fn unpack_tile<D: ImageDim>(
    images: ArrayView<'_, u8, D>,
    indices: &[u32],
    normalize: Normalize,
    crop: Crop,
    out: &mut [f32],
) {
    unpack_tile_shifted(images, indices, &[], normalize, crop, out);
}

/// [`unpack_tile`], with sample `indices[lane]` moved by `shifts[lane]` first.
///
/// # Panics
/// As [`unpack_tile`]; also when there are shifts, but not as many as indices. No shifts at all means none moves.
#[inline(always)]
#[track_caller]
pub fn unpack_tile_shifted<D: ImageDim>(
    images: ArrayView<'_, u8, D>,
    indices: &[u32],
    shifts: &[Shift],
    normalize: Normalize,
    crop: Crop,
    out: &mut [f32],
) {
    assert!((1..=LANES).contains(&indices.len()), "{} samples for a tile of 1 to {LANES}", indices.len());
    assert!(
        shifts.is_empty() || shifts.len() == indices.len(),
        "{} shifts, {} samples",
        shifts.len(),
        indices.len()
    );
    let images = D::with_channels(images);
    let pixels = contiguous(&images);
    let (n, c, h, w) = images.dim();
    let features = c * crop.features();
    assert!(
        out.len() == features * LANES,
        "a tile of {} numbers for {features} features x {LANES}",
        out.len()
    );
    let (c, h, crop) = if shifts.is_empty() { as_one_plane((c, h, w), crop) } else { (c, h, crop) };
    let (out, _) = out.as_chunks_mut::<LANES>();

    for (channel, out) in out.chunks_exact_mut(crop.features().max(1)).enumerate() {
        // Unmoved whole rows lie one after the other: one long row, without an odd end at each.
        if shifts.is_empty() && crop.is_whole_rows(h, w) {
            let start = lanes(|lane| {
                let index = indices[lane.min(indices.len() - 1)] as usize;
                assert!(index < n, "sample {index} of a data set of {n}");
                ((index * c + channel) * h + crop.y as usize) * w
            });
            for (block, out) in out.chunks_mut(BLOCK).enumerate() {
                // No closure here: it would be compiled for the plainest processor.
                let mut bytes = [[0; BLOCK]; LANES];
                for (bytes, start) in bytes.iter_mut().zip(start) {
                    *bytes = load(pixels, start + block * BLOCK);
                }
                write_block(bytes, normalize, out);
            }
            continue;
        }

        let window = lanes(|lane| {
            let lane = lane.min(indices.len() - 1);
            let index = indices[lane] as usize;
            assert!(index < n, "sample {index} of a data set of {n}");
            let shift = shifts.get(lane).copied().unwrap_or_default();
            (&pixels[(index * c + channel) * h * w..][..h * w], crop.y - shift.dy, crop.x - shift.dx)
        });
        for (row, out) in out.chunks_exact_mut(crop.w.max(1)).enumerate() {
            for (block, out) in out.chunks_mut(BLOCK).enumerate() {
                let mut bytes = [[0; BLOCK]; LANES];
                for (bytes, (image, y, x)) in bytes.iter_mut().zip(window) {
                    *bytes = load_padded(image, (h, w), y + row as i32, x + (block * BLOCK) as i32);
                }
                write_block(bytes, normalize, out);
            }
        }
    }
}

/// Writes one sample: `out[f] = normalize(pixel f)`, `channels * crop.features()` numbers; a tile of a single lane.
///
/// # Panics
/// When there is no sample `index`, `out` has another length, or `images` is not contiguous.
#[inline(always)]
#[track_caller]
pub fn unpack_sample<D: ImageDim>(
    images: ArrayView<'_, u8, D>,
    index: u32,
    normalize: Normalize,
    crop: Crop,
    out: &mut [f32],
) {
    let images = D::with_channels(images);
    let features = images.dim().1 * crop.features();
    unpack_features(images, index, normalize, crop, 0..features, out);
}

/// Writes some features of one sample: `out[i] = normalize(pixel features.start + i)`.
///
/// # Panics
/// When there is no sample `index`, there are not such features, `out` has not as many numbers, or `images` is not contiguous.
#[inline(always)]
#[track_caller]
pub fn unpack_features<D: ImageDim>(
    images: ArrayView<'_, u8, D>,
    index: u32,
    normalize: Normalize,
    crop: Crop,
    features: Range<usize>,
    mut out: &mut [f32],
) {
    let images = D::with_channels(images);
    let (n, c, h, w) = images.dim();
    let (all, wanted) = (c * crop.features(), features.len());
    assert!(features.end <= all, "features {features:?} of {all}");
    assert!(out.len() == wanted, "a sample of {} numbers for {wanted} features", out.len());
    assert!((index as usize) < n, "sample {index} of a data set of {n}");
    let image = &contiguous(&images)[index as usize * c * h * w..][..c * h * w];
    let (c, h, crop) = as_one_plane((c, h, w), crop);
    if c == 1 && crop.is_whole_rows(h, w) {
        for (x, &p) in out.iter_mut().zip(&image[crop.y as usize * w + features.start..]) {
            *x = normalize.apply(p);
        }
        return;
    }
    let mut next = features.start;
    while next < features.end {
        // From the next feature to the end of its row of the window.
        let (row, column) = (next / crop.w, next % crop.w);
        let (channel, row) = (row / crop.h, row % crop.h);
        let width = (crop.w - column).min(features.end - next);
        let (own, rest) = out.split_at_mut(width);
        (next, out) = (next + width, rest);
        let (y, x) = (crop.y + row as i32, crop.x + column as i32);
        let source =
            if (0..h as i32).contains(&y) { &image[(channel * h + y as usize) * w..][..w] } else { &[] };
        // The part that lies in the image; zeros before and after it.
        let left = (-x).clamp(0, width as i32) as usize;
        let right = (source.len() as i32 - x).clamp(left as i32, width as i32) as usize;
        own[..left].fill(normalize.apply(0));
        own[right..].fill(normalize.apply(0));
        if left < right {
            let first = (x + left as i32) as usize;
            for (x, &p) in own[left..right].iter_mut().zip(&source[first..]) {
                *x = normalize.apply(p);
            }
        }
    }
}

/// Columns that are transposed together: with as many lanes as that, a square of bytes.
const BLOCK: usize = LANES;

fn lanes<T>(of: impl FnMut(usize) -> T) -> [T; LANES] {
    std::array::from_fn(of)
}

#[inline(always)]
#[track_caller]
fn contiguous<'a>(images: &'a ArrayView4<'_, u8>) -> &'a [u8] {
    images.as_slice().expect("images [n, channels, h, w] must be contiguous")
}

/// Channels, rows and window of the same pixels: planes that are seen whole are one plane, since they lie one after the other.
#[inline(always)]
fn as_one_plane((c, h, w): (usize, usize, usize), crop: Crop) -> (usize, usize, Crop) {
    if crop == Crop::full((h, w)) { (1, c * h, Crop::full((c * h, w))) } else { (c, h, crop) }
}

/// Bytes `at .. at + 16`; 0 beyond the end.
#[inline(always)]
fn load(pixels: &[u8], at: usize) -> [u8; BLOCK] {
    if let Some(bytes) = pixels.get(at..at + BLOCK) {
        return bytes.try_into().expect("sixteen bytes");
    }
    let rest = &pixels[at..];
    let mut bytes = [0; BLOCK];
    bytes[..rest.len()].copy_from_slice(rest);
    bytes
}

/// Pixels `(y, x) .. (y, x + 16)`; 0 outside the image.
#[inline(always)]
fn load_padded(image: &[u8], (h, w): (usize, usize), y: i32, x: i32) -> [u8; BLOCK] {
    if y < 0 || y >= h as i32 || x <= -(BLOCK as i32) || x >= w as i32 {
        return [0; BLOCK];
    }
    let row = &image[y as usize * w..][..w];
    if x >= 0 {
        return load(row, x as usize);
    }
    let left = -x as usize;
    let mut bytes = [0; BLOCK];
    bytes[left..].copy_from_slice(&load(row, 0)[..BLOCK - left]);
    bytes
}

/// Normalises and stores up to sixteen columns: `out[c][lane]` from `rows[lane][c]`.
///
/// Byte `16 lane + c` has to go to place `16 c + lane`: its index, eight bits, turns by four. A perfect shuffle turns it
/// by one, and is a loop that compilers vectorise on every machine (interleaved stores; 64-bit arithmetic and arrays of
/// constant indices took twice as long).
#[inline(always)]
fn write_block(rows: [[u8; BLOCK]; LANES], normalize: Normalize, out: &mut [[f32; LANES]]) {
    let mut a: [u8; BLOCK * LANES] = rows.as_flattened().try_into().expect("sixteen rows of sixteen");
    let mut b = [0; BLOCK * LANES];
    shuffle(&a, &mut b);
    shuffle(&b, &mut a);
    shuffle(&a, &mut b);
    shuffle(&b, &mut a);
    for (x, &p) in out.as_flattened_mut().iter_mut().zip(&a) {
        *x = normalize.apply(p);
    }
}

/// The bytes of the two halves by turns.
#[inline(always)]
fn shuffle(from: &[u8; BLOCK * LANES], to: &mut [u8; BLOCK * LANES]) {
    let (first, second) = from.split_at(BLOCK * LANES / 2);
    let (pairs, _) = to.as_chunks_mut::<2>();
    for ((pair, &first), &second) in pairs.iter_mut().zip(first).zip(second) {
        *pair = [first, second];
    }
}
