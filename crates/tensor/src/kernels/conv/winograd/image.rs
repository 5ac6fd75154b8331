//! The images of a convolution with their channels last, and the bands of output tiles that they are cut into.

use super::transform::{Kind, OutputTiles, PLACES, Place, Transform};
use crate::blocking::Transpose;
use crate::geometry::Conv2d;
use crate::layout::LANES;
use crate::number::Number;
use crate::simd::Vector;

/// Rows of a block of the products: of fewer samples than that, the output tiles of a band are a multiple of it.
const SIXES: usize = 6;

/// Numbers of a band, `V` and `M` together: about the second cache.
const BAND: usize = 128 << 10;

/// Sizes of the images of a tile with their channels first, `[channel][pixel][lane]`, and of their copy with the channels last,
/// `[pixel][live lane][channel]`. A single sample is a tile of one lane.
#[derive(Clone, Copy)]
pub(super) struct Image {
    pub(super) channels: usize,
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) lanes: usize,
    pub(super) live: usize,
}

/// The images `x` and `y` of a convolution, of a tile of so many lanes and so many that live.
pub(super) fn images(conv: &Conv2d, lanes: usize, live: usize) -> (Image, Image) {
    let x = Image { channels: conv.c_in, rows: conv.h_in, columns: conv.w_in, lanes, live };
    let y = Image { channels: conv.c_out, rows: conv.h_out(), columns: conv.w_out(), ..x };
    (x, y)
}

impl Image {
    fn pixels(&self) -> usize {
        self.rows * self.columns
    }

    /// Numbers of a tile.
    pub(super) fn numbers(&self) -> usize {
        self.channels * self.pixels() * self.lanes
    }

    /// Numbers from one lane of the copy to the next: whole vectors. What is in excess of the channels reaches no result.
    pub(super) fn pitch(&self) -> usize {
        self.channels.next_multiple_of(LANES)
    }

    /// Numbers from one pixel of the copy to the next.
    pub(super) fn pixel(&self) -> usize {
        self.live * self.pitch()
    }

    /// Length of the copy: its pixels, the one that stands for all outside, and as much as makes it a whole tile.
    pub(super) fn len(&self) -> usize {
        self.pixels() * self.pixel() + self.lanes * self.pitch()
    }

    pub(super) fn tiles(&self, pad: [usize; 2], per_row: usize) -> OutputTiles {
        OutputTiles { rows: self.rows, columns: self.columns, pitch: self.pixel(), pad, per_row }
    }

    pub(super) fn channels_last<V: Vector>(&self, x: &[V::Elem], to: &mut [V::Elem]) {
        let (rows, pixels, to_pitch) = (self.channels, self.pixels(), self.pitch());
        // What is written of dead lanes, the next pixel is written over.
        for (columns, of_channel, of_copy) in self.runs() {
            let (from, to) = (&x[of_channel..], &mut to[of_copy..]);
            V::outlined(Transpose { rows, columns, from, from_pitch: pixels * self.lanes, to, to_pitch });
        }
        to[pixels * self.pixel()..self.len()].fill(V::Elem::ZERO);
    }

    /// Dead lanes of `y` become 0.
    pub(super) fn channels_first<V: Vector>(&self, from: &[V::Elem], y: &mut [V::Elem]) {
        let (columns, pixels, from_pitch) = (self.channels, self.pixels(), self.pitch());
        for (rows, of_channel, of_copy) in self.runs() {
            let (from, to) = (&from[of_copy..], &mut y[of_channel..]);
            V::outlined(Transpose { rows, columns, from, from_pitch, to, to_pitch: pixels * self.lanes });
        }
        if self.live < self.lanes {
            for lanes in y.as_chunks_mut::<LANES>().0 {
                for (lane, y) in lanes.iter_mut().enumerate() {
                    *y = if lane < self.live { *y } else { V::Elem::ZERO };
                }
            }
        }
    }

    /// What can be transposed at once, all pixels or one: its length, where it begins in a channel, and where in the copy.
    fn runs(&self) -> impl Iterator<Item = (usize, usize, usize)> + use<> {
        let Self { lanes, live, .. } = *self;
        let (pixels, to_pixel) = (self.pixels(), self.pixel());
        let (runs, length) = if live == lanes { (1, pixels * lanes) } else { (pixels, lanes) };
        (0..runs).map(move |run| (length, run * lanes, run * to_pixel))
    }
}

/// How the output tiles of 2x2 pixels of an image are cut into bands, and how a band lies in memory:
/// `[place][output tile][live lane][channel]`.
pub(super) struct Bands {
    tiles: usize,
    pub(super) per_row: usize,
    /// Output tiles of a band, at most.
    most: usize,
    /// Numbers from one output tile to the next, of `V` and of `M` or `D`.
    x_pixel: usize,
    pub(super) y_pixel: usize,
    /// Numbers from one place to the next, of `V` and of `M` or `D`: never a power of two, or places would evict each other.
    pub(super) v_place: usize,
    pub(super) m_place: usize,
}

impl Bands {
    pub(super) fn new(tiled: Image, x: Image, y: Image) -> Self {
        let per_row = tiled.columns.div_ceil(2);
        let tiles = tiled.rows.div_ceil(2) * per_row;
        let (x_pixel, y_pixel) = (x.pixel(), y.pixel());
        let bands = tiles.div_ceil((BAND / (PLACES * (x_pixel + y_pixel))).max(1));
        let most = tiles.div_ceil(bands).next_multiple_of(if x.live < SIXES { SIXES } else { 1 });
        let [v_place, m_place] = [x_pixel, y_pixel].map(|pixel| most * pixel + LANES);
        Self { tiles, per_row, most, x_pixel, y_pixel, v_place, m_place }
    }

    pub(super) fn v_len(&self) -> usize {
        PLACES * self.v_place
    }

    /// Numbers that the bands of these images take at most, and of images with fewer channels, whose bands have more output tiles.
    pub(super) fn most_len(tiled: Image, x: Image, y: Image) -> usize {
        let (all, pixels) = (Self::new(tiled, x, y).tiles, x.pixel() + y.pixel());
        let band = (BAND / PLACES + SIXES * pixels).min(all.next_multiple_of(SIXES) * pixels);
        PLACES * (band + 2 * LANES)
    }

    /// The first output tile of each band, and their number.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.tiles).step_by(self.most).map(|first| (first, self.most.min(self.tiles - first)))
    }

    /// `V = B^T d B` of the output tiles of a band.
    pub(super) fn pixels<V: Vector>(
        &self,
        image: OutputTiles,
        first: usize,
        tiles: usize,
        x_last: &[V::Elem],
        v: &mut [V::Elem],
    ) {
        V::outlined(Transform {
            kind: Kind::Pixels,
            tiles,
            channels: self.x_pixel,
            from: (x_last, Place::Image(image), first),
            to: (v, Place::Strided { tile: self.x_pixel, place: self.v_place }, 0),
        });
    }
}
