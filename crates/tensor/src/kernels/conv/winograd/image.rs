//! The images of a convolution with their channels last, and the bands of output tiles that they are cut into.

use super::transform::{Kind, OutputTiles, PLACES, Place, Transform};
use crate::blocking::Transpose;
use crate::geometry::Conv2d;
use crate::layout::LANES;
use crate::number::Number;
use crate::simd::Vector;

/// The output tiles of a band are a multiple of this.
const SIXES: usize = 6;

/// Numbers of a band, `V` and `M` together: about the second cache.
const BAND: usize = 128 << 10;

/// Sizes of an image with its channels first, and of its copy with its channels last.
#[derive(Clone, Copy)]
pub(super) struct Image {
    pub(super) channels: usize,
    pub(super) rows: usize,
    pub(super) columns: usize,
}

/// The images `x` and `y` of a convolution.
pub(super) fn images(conv: &Conv2d) -> (Image, Image) {
    let x = Image { channels: conv.c_in, rows: conv.h_in, columns: conv.w_in };
    let y = Image { channels: conv.c_out, rows: conv.h_out(), columns: conv.w_out() };
    (x, y)
}

impl Image {
    fn pixels(&self) -> usize {
        self.rows * self.columns
    }

    pub(super) fn numbers(&self) -> usize {
        self.channels * self.pixels()
    }

    /// Numbers from one pixel of the copy to the next: whole vectors. What is in excess of the channels reaches no result.
    pub(super) fn pitch(&self) -> usize {
        self.channels.next_multiple_of(LANES)
    }

    /// Length of the copy: its pixels, and the one that stands for all outside.
    pub(super) fn len(&self) -> usize {
        (self.pixels() + 1) * self.pitch()
    }

    pub(super) fn tiles(&self, pad: [usize; 2], per_row: usize) -> OutputTiles {
        OutputTiles { rows: self.rows, columns: self.columns, pitch: self.pitch(), pad, per_row }
    }

    pub(super) fn channels_last<V: Vector>(&self, x: &[V::Elem], to: &mut [V::Elem]) {
        let (pixels, to_pitch) = (self.pixels(), self.pitch());
        to[pixels * to_pitch..].fill(V::Elem::ZERO);
        V::outlined(Transpose {
            rows: self.channels,
            columns: pixels,
            from: x,
            from_pitch: pixels,
            to,
            to_pitch,
        });
    }

    pub(super) fn channels_first<V: Vector>(&self, from: &[V::Elem], y: &mut [V::Elem]) {
        let (pixels, from_pitch) = (self.pixels(), self.pitch());
        V::outlined(Transpose {
            rows: pixels,
            columns: self.channels,
            from,
            from_pitch,
            to: y,
            to_pitch: pixels,
        });
    }
}

/// How the output tiles of 2x2 pixels of an image are cut into bands, and how a band lies in memory: `[place][tile][channel]`.
pub(super) struct Bands {
    pub(super) tiles: usize,
    pub(super) per_row: usize,
    /// Output tiles of a band, at most.
    pub(super) most: usize,
    pub(super) x_pitch: usize,
    /// Numbers from one place to the next, of `V` and of `M` or `D`: never a power of two, or places would evict each other.
    pub(super) v_place: usize,
    pub(super) m_place: usize,
}

impl Bands {
    pub(super) fn new(tiled: Image, x: Image, y: Image) -> Self {
        let per_row = tiled.columns.div_ceil(2);
        let tiles = tiled.rows.div_ceil(2) * per_row;
        let channels = x.pitch() + y.pitch();
        let bands = tiles.div_ceil((BAND / (PLACES * channels)).max(1));
        let most = tiles.div_ceil(bands).next_multiple_of(SIXES);
        let (x_pitch, v_place) = (x.pitch(), most * x.pitch() + LANES);
        Self { tiles, per_row, most, x_pitch, v_place, m_place: most * y.pitch() + LANES }
    }

    pub(super) fn v_len(&self) -> usize {
        PLACES * self.v_place
    }

    /// Numbers that the bands of these images take at most, and of images with fewer channels, whose bands have more output tiles.
    pub(super) fn most_len(tiled: Image, x: Image, y: Image) -> usize {
        let (all, channels) = (Self::new(tiled, x, y).tiles, x.pitch() + y.pitch());
        let band = (BAND / PLACES + SIXES * channels).min(all.next_multiple_of(SIXES) * channels);
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
            channels: self.x_pitch,
            from: (x_last, Place::Image(image), first),
            to: (v, Place::Strided { tile: self.x_pitch, place: self.v_place }, 0),
        });
    }
}
