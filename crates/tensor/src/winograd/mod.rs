//! Winograd's minimal filtering F(2x2, 3x3): convolutions by 3x3 with stride 1 from four ninths of the multiplications.
//!
//! One row of two outputs of three taps needs six products; with sums of pixels and sums of taps it needs four:
//!
//! ```text
//! [y0]   [d0 d1 d2] [g0]    y0 = m0 + m1 + m2        m0 = (d0 - d2) g0           m1 = (d1 + d2) (g0 + g1 + g2) / 2
//! [y1] = [d1 d2 d3] [g1]    y1 = m1 - m2 + m3        m3 = (d3 - d1) g2           m2 = (d2 - d1) (g0 - g1 + g2) / 2
//!                   [g2]
//! ```
//!
//! that is `y = A^T ((G g) . (B^T d))`. Nested along rows and columns, a tile of 2x2 outputs is `Y = A^T M A` with
//! `M = U . V`, `U = G g G^T` and `V = B^T d B`: sixteen products instead of 36. Over channels `M` is a sum of products
//! `U . V`, so each of the sixteen places is a matrix product `[tiles x c_out] = [tiles x c_in] * [c_in x c_out]`.
//!
//! - *Forward*: `y = A^T (sum over c of U . V) A`.
//! - *Input gradient*: the same with dy as the source, the kernel turned by 180 degrees, channels exchanged, and padding
//!   `2 - pad`.
//! - *Weight gradient*: the adjoint in `g`: `dg = G^T (sum over tiles of V . D) G` with `D = A dY A^T`.
//!
//! Inside, images have their channels last, so that a vector is a run of channels. Where the image ends a tile reads zeros,
//! and outputs that do not exist are thrown away. Bands of tiles are transformed and multiplied while they stay in the
//! second cache.
//!
//! The transforms add and subtract, and halve, so integers stay exact; other sums round otherwise than the direct kernels',
//! with errors of the same size: fewer terms add up, of larger numbers. `y` and `dx` read the numbers that the formula reads, so
//! what is made of zeros alone is 0. `dw` reads others too, whose products cancel to a rounding error: see [`keep_zeros`]. A NaN may
//! reach all outputs of its tile.
//!
//! Source: Lavin and Gray, "Fast algorithms for convolutional neural networks", 2015; Winograd, "Arithmetic complexity of
//! computations", 1980.

mod product;
mod transform;
mod transpose;

pub(crate) use product::Products;
pub(crate) use transform::Transform;
pub(crate) use transpose::Transpose;

use crate::simd::{Kernel, Vector};
use crate::{Conv2d, LANES, Scalar};
use product::Matrices;
use std::ops::Range;
use transform::{Kind, Lie, Tiles};

/// Places of a transformed tile.
const PLACES: usize = 16;

/// Taps of a kernel.
const TAPS: usize = 9;

/// The place that all four outputs of a tile take with weight 1: a bias is added there.
const CENTRE: usize = 5;

/// Channels from which on the transforms are paid for.
const CHANNELS: usize = 16;

/// The tiles of a band are a multiple of this.
const SIXES: usize = 6;

/// Numbers of a band, `V` and `M` together: about the second cache.
const BAND: usize = 128 << 10;

/// Whether `conv` is computed this way, on blocks of single samples.
pub(crate) fn suits(conv: &Conv2d) -> bool {
    conv.kernel == [3, 3] && conv.stride == [1, 1] && conv.c_in.min(conv.c_out) >= CHANNELS
}

/// Scratch that each of the three passes may use.
pub(crate) fn scratch_len(conv: &Conv2d) -> usize {
    let (x, y) = images(conv);
    let forward = Bands::most_len(y, x, y);
    let backward = Bands::most_len(x, x, y);
    let weights = TAPS * x.pitch() * y.pitch();
    let kernels = PLACES * (x.pitch() * y.pitch() + LANES);
    x.len() + y.len() + kernels + forward.max(backward).max(2 * weights)
}

/// One of the three passes over a block of single samples.
pub(crate) struct Pass<'a, T> {
    pub(crate) conv: &'a Conv2d,
    pub(crate) operands: Operands<'a, T>,
    pub(crate) scratch: &'a mut [T],
}

/// What a pass reads and writes.
pub(crate) enum Operands<'a, T> {
    /// Overwrites `y = conv(x, w) + b`.
    Forward { w: &'a [T], b: Option<&'a [T]>, x: &'a [T], y: &'a mut [T] },
    /// Overwrites `dx`, that of the channels `inputs`.
    BackwardInput { inputs: Range<usize>, w: &'a [T], dy: &'a [T], dx: &'a mut [T] },
    /// Adds to `dw`.
    BackwardWeight { x: &'a [T], dy: &'a [T], dw: &'a mut [T] },
}

impl<T: Scalar> Kernel<T> for Pass<'_, T> {
    type Output = ();

    /// A kernel so that it is compiled in this crate; vectors come in with the kernels it calls.
    fn run<V: Vector<Elem = T>>(self) {
        let Self { conv, operands, scratch } = self;
        match operands {
            Operands::Forward { w, b, x, y } => forward(conv, w, b, x, y, scratch),
            Operands::BackwardInput { inputs, w, dy, dx } => {
                backward_input(conv, inputs, w, dy, dx, scratch);
            }
            Operands::BackwardWeight { x, dy, dw } => backward_weight(conv, x, dy, dw, scratch),
        }
    }
}

fn forward<T: Scalar>(conv: &Conv2d, w: &[T], b: Option<&[T]>, x: &[T], y: &mut [T], scratch: &mut [T]) {
    let (source, target) = images(conv);
    let taps = |g: &mut [T]| {
        let (rows, columns) = (conv.c_out, conv.taps());
        let to_pitch = target.pitch();
        T::transpose(Transpose { rows, columns, from: w, from_pitch: columns, to: g, to_pitch });
    };
    correlate(source, target, conv.pad, taps, b, x, y, scratch);
}

fn backward_input<T: Scalar>(
    conv: &Conv2d,
    inputs: Range<usize>,
    w: &[T],
    dy: &[T],
    dx: &mut [T],
    scratch: &mut [T],
) {
    let (target, source) = images(conv);
    let target = Image { channels: inputs.len(), ..target };
    let pitch = target.pitch();
    let taps = |g: &mut [T]| {
        for (w, g) in w.chunks_exact(conv.taps()).zip(g.chunks_exact_mut(TAPS * pitch)) {
            for (c, w) in w[inputs.start * TAPS..].chunks_exact(TAPS).take(inputs.len()).enumerate() {
                for (tap, &w) in w.iter().enumerate() {
                    g[(TAPS - 1 - tap) * pitch + c] = w;
                }
            }
        }
    };
    correlate(source, target, conv.pad.map(|pad| 2 - pad), taps, None, dy, dx, scratch);
}

/// The sums over all samples and their tiles, in order, are added to `dw` at the end.
fn backward_weight<T: Scalar>(conv: &Conv2d, x: &[T], dy: &[T], dw: &mut [T], scratch: &mut [T]) {
    let (source, target) = images(conv);
    let (x_pitch, dy_pitch) = (source.pitch(), target.pitch());
    let (x_last, rest) = scratch.split_at_mut(source.len());
    let (dy_last, rest) = rest.split_at_mut(target.len());
    let u_place = conv.c_in * dy_pitch + LANES;
    let (u, rest) = rest.split_at_mut(PLACES * u_place);
    let bands = Bands::new(target, source, target);
    let mut begun = false;
    for (x, dy) in x.chunks_exact(conv.inputs()).zip(dy.chunks_exact(conv.outputs())) {
        source.channels_last(x, x_last);
        target.channels_last(dy, dy_last);
        let (v, d) = rest.split_at_mut(bands.v_len());
        for (first, tiles) in bands.iter() {
            bands.pixels(source.tiles(conv.pad, bands.per_row), first, tiles, x_last, v);
            T::winograd_transform(Transform {
                kind: Kind::OutputsAdjoint,
                tiles,
                channels: dy_pitch,
                from: (dy_last, Lie::Image(target.tiles([0, 0], bands.per_row)), first),
                to: (d, Lie::Apart { tile: dy_pitch, place: bands.m_place }, 0),
            });
            // [c_in x c_out] += [c_in x tiles] * [tiles x c_out]
            T::winograd_products(Products {
                rows: conv.c_in,
                columns: conv.c_out,
                k: tiles,
                a: Matrices { numbers: v, place: bands.v_place, row: x_pitch },
                transposed: true,
                b: Matrices { numbers: d, place: bands.m_place, row: dy_pitch },
                to: Matrices { numbers: u, place: u_place, row: dy_pitch },
                added_to: if begun { 0..PLACES } else { 0..0 },
            });
            begun = true;
        }
    }
    if !begun {
        return;
    }
    let (g, rest) = rest.split_at_mut(conv.taps() * dy_pitch);
    T::winograd_transform(Transform {
        kind: Kind::TapsAdjoint,
        tiles: conv.c_in,
        channels: dy_pitch,
        from: (u, Lie::Apart { tile: dy_pitch, place: u_place }, 0),
        to: (g, Lie::Apart { tile: TAPS * dy_pitch, place: dy_pitch }, 0),
    });
    let sums = &mut rest[..dw.len()];
    T::transpose(Transpose {
        rows: conv.taps(),
        columns: conv.c_out,
        from: g,
        from_pitch: dy_pitch,
        to: sums,
        to_pitch: conv.taps(),
    });
    keep_zeros(conv, x, dy, sums);
    dw.iter_mut().zip(sums).for_each(|(dw, sum)| *dw += *sum);
}

/// Makes 0 again what is a sum of zeros alone: the gradients of taps whose pixels and outputs never meet, since of each two one is 0.
///
/// `G^T U G` adds and subtracts places of `U`, each with products that are no part of the formula and cancel. What they leave is a
/// rounding error, and Adam, to which the sign of a gradient is more than its size, would move a weight by it. With `n` tiles a place
/// errs by at most `gamma(n + 16) * sum |V| |D|` (Higham, "Accuracy and stability of numerical algorithms", 2002, section 3.1; sixteen
/// for the transforms). A number of `V` is made of four pixels, one of `D` of the gradients of its tile, and the weights in a row of
/// `G^T` have sum 2; so a number of `dw` errs by at most
///
/// ```text
/// gamma(n + 16) * 4 * 4 * min(max |x| * sum |dy|, 4 * sum |x| * max |dy|)
/// ```
///
/// with maxima and sums over one channel each. Only numbers up to that are looked at: where few operands are 0 these are few, and soon
/// found to have met.
fn keep_zeros<T: Scalar>(conv: &Conv2d, x: &[T], dy: &[T], sums: &mut [T]) {
    let tiles = conv.h_out().div_ceil(2) * conv.w_out().div_ceil(2) * (dy.len() / conv.outputs());
    // A quarter more than gamma, for the rounding of the sums of sizes.
    let error = 1.25 * T::UNIT * (tiles + 16) as f64 * 16.0;
    let x_sizes = (0..conv.c_in).map(|c| sizes(x, conv.c_in, conv.h_in * conv.w_in, c));
    let (x_most, x_sum) = x_sizes.fold((0.0, 0.0), |(most, sum), own| {
        (if own.0 > most { own.0 } else { most }, if own.1 > sum { own.1 } else { sum })
    });
    for (o, sums) in sums.chunks_exact_mut(conv.taps()).enumerate() {
        let (dy_most, dy_sum) = sizes(dy, conv.c_out, conv.h_out() * conv.w_out(), o);
        let limit = T::from_f64(error * f64::min(x_most * dy_sum, 4.0 * x_sum * dy_most));
        for (group, sums) in sums.chunks_mut(LANES).enumerate() {
            if !sums.iter().fold(false, |any, sum| any | (sum.abs() <= limit)) {
                continue;
            }
            for (i, sum) in sums.iter_mut().enumerate() {
                let tap = group * LANES + i;
                if sum.abs() <= limit && *sum != T::ZERO && !meet(conv, x, dy, o, tap / TAPS, tap % TAPS) {
                    // Of a dual number the value alone.
                    *sum -= T::from_f64(sum.to_f64());
                }
            }
        }
    }
}

/// The largest and the sum of the absolute values in one of the `channels` of all samples.
fn sizes<T: Scalar>(x: &[T], channels: usize, plane: usize, channel: usize) -> (f64, f64) {
    let (mut most, mut sum) = ([T::ZERO; LANES], [T::ZERO; LANES]);
    for x in x.chunks_exact(channels * plane) {
        for x in x[channel * plane..][..plane].chunks(LANES) {
            for ((most, sum), x) in most.iter_mut().zip(&mut sum).zip(x) {
                let x = x.abs();
                *sum += x;
                *most = if x > *most { x } else { *most };
            }
        }
    }
    let largest = |a: f64, b: T| if b.to_f64() > a { b.to_f64() } else { a };
    (most.into_iter().fold(0.0, largest), sum.iter().fold(0.0, |sum, x| sum + x.to_f64()))
}

/// Whether any output of channel `o` with a gradient sees a pixel of channel `c` through this tap, both not 0.
fn meet<T: Scalar>(conv: &Conv2d, x: &[T], dy: &[T], o: usize, c: usize, tap: usize) -> bool {
    let (sizes_in, sizes_out) = ([conv.h_in, conv.w_in], [conv.h_out(), conv.w_out()]);
    let at = [tap / 3, tap % 3];
    // Outputs along an axis whose pixel is in the image.
    let seen = |axis: usize| {
        let (pad, at) = (conv.pad[axis], at[axis]);
        pad.saturating_sub(at)..sizes_out[axis].min((sizes_in[axis] + pad).saturating_sub(at))
    };
    let ([h, w], [h_out, w_out]) = (sizes_in, sizes_out);
    let columns = seen(1);
    x.chunks_exact(conv.inputs()).zip(dy.chunks_exact(conv.outputs())).any(|(x, dy)| {
        seen(0).any(|i| {
            let (row, column) = (i + at[0] - conv.pad[0], columns.start + at[1] - conv.pad[1]);
            let dy = &dy[(o * h_out + i) * w_out + columns.start..][..columns.len()];
            let x = &x[(c * h + row) * w + column..][..columns.len()];
            dy.iter().zip(x).any(|(dy, x)| *dy != T::ZERO && *x != T::ZERO)
        })
    })
}

/// A correlation of each sample of `x` with the kernels that `taps` writes as `[source channel][tap][target channel]`.
fn correlate<T: Scalar>(
    source: Image,
    target: Image,
    pad: [usize; 2],
    taps: impl FnOnce(&mut [T]),
    b: Option<&[T]>,
    x: &[T],
    y: &mut [T],
    scratch: &mut [T],
) {
    let (x_pitch, y_pitch) = (source.pitch(), target.pitch());
    let (x_last, rest) = scratch.split_at_mut(source.len());
    let (y_last, rest) = rest.split_at_mut(target.len());
    let u_place = source.channels * y_pitch + LANES;
    let (u, rest) = rest.split_at_mut(PLACES * u_place);
    let g = &mut rest[..source.channels * TAPS * y_pitch];
    taps(g);
    T::winograd_transform(Transform {
        kind: Kind::Taps,
        tiles: source.channels,
        channels: y_pitch,
        from: (g, Lie::Apart { tile: TAPS * y_pitch, place: y_pitch }, 0),
        to: (u, Lie::Apart { tile: y_pitch, place: u_place }, 0),
    });
    let bands = Bands::new(target, source, target);
    let (v, m) = rest.split_at_mut(bands.v_len());
    for (x, y) in x.chunks_exact(source.numbers()).zip(y.chunks_exact_mut(target.numbers())) {
        source.channels_last(x, x_last);
        for (first, tiles) in bands.iter() {
            bands.pixels(source.tiles(pad, bands.per_row), first, tiles, x_last, v);
            if let Some(b) = b {
                for m in m[CENTRE * bands.m_place..].chunks_exact_mut(y_pitch).take(tiles) {
                    m[..b.len()].copy_from_slice(b);
                }
            }
            // [tiles x c_out] = [tiles x c_in] * [c_in x c_out]
            T::winograd_products(Products {
                rows: tiles,
                columns: target.channels,
                k: source.channels,
                a: Matrices { numbers: v, place: bands.v_place, row: x_pitch },
                transposed: false,
                b: Matrices { numbers: u, place: u_place, row: y_pitch },
                to: Matrices { numbers: m, place: bands.m_place, row: y_pitch },
                added_to: if b.is_some() { CENTRE..CENTRE + 1 } else { 0..0 },
            });
            T::winograd_transform(Transform {
                kind: Kind::Outputs,
                tiles,
                channels: y_pitch,
                from: (m, Lie::Apart { tile: y_pitch, place: bands.m_place }, 0),
                to: (y_last, Lie::Image(target.tiles([0, 0], bands.per_row)), first),
            });
        }
        target.channels_first(y_last, y);
    }
}

/// Sizes of an image with its channels first, and of its copy with its channels last.
#[derive(Clone, Copy)]
struct Image {
    channels: usize,
    rows: usize,
    columns: usize,
}

/// The images `x` and `y` of a convolution.
fn images(conv: &Conv2d) -> (Image, Image) {
    let x = Image { channels: conv.c_in, rows: conv.h_in, columns: conv.w_in };
    let y = Image { channels: conv.c_out, rows: conv.h_out(), columns: conv.w_out() };
    (x, y)
}

impl Image {
    fn pixels(&self) -> usize {
        self.rows * self.columns
    }

    fn numbers(&self) -> usize {
        self.channels * self.pixels()
    }

    /// Numbers from one pixel of the copy to the next: whole vectors. What is in excess of the channels reaches no result.
    fn pitch(&self) -> usize {
        self.channels.next_multiple_of(LANES)
    }

    /// Length of the copy: its pixels, and the one that stands for all outside.
    fn len(&self) -> usize {
        (self.pixels() + 1) * self.pitch()
    }

    fn tiles(&self, pad: [usize; 2], per_row: usize) -> Tiles {
        Tiles { rows: self.rows, columns: self.columns, pitch: self.pitch(), pad, per_row }
    }

    fn channels_last<T: Scalar>(&self, x: &[T], to: &mut [T]) {
        let (pixels, to_pitch) = (self.pixels(), self.pitch());
        to[pixels * to_pitch..].fill(T::ZERO);
        T::transpose(Transpose {
            rows: self.channels,
            columns: pixels,
            from: x,
            from_pitch: pixels,
            to,
            to_pitch,
        });
    }

    fn channels_first<T: Scalar>(&self, from: &[T], y: &mut [T]) {
        let (pixels, from_pitch) = (self.pixels(), self.pitch());
        T::transpose(Transpose {
            rows: pixels,
            columns: self.channels,
            from,
            from_pitch,
            to: y,
            to_pitch: pixels,
        });
    }
}

/// How the tiles of 2x2 pixels of an image are cut into bands, and how a band lies in memory: `[place][tile][channel]`.
struct Bands {
    tiles: usize,
    per_row: usize,
    /// Tiles of a band.
    most: usize,
    x_pitch: usize,
    /// Numbers from one place to the next, of `V` and of `M` or `D`: never a power of two, or places would evict each other.
    v_place: usize,
    m_place: usize,
}

impl Bands {
    fn new(tiled: Image, x: Image, y: Image) -> Self {
        let per_row = tiled.columns.div_ceil(2);
        let tiles = tiled.rows.div_ceil(2) * per_row;
        let channels = x.pitch() + y.pitch();
        let bands = tiles.div_ceil((BAND / (PLACES * channels)).max(1));
        let most = tiles.div_ceil(bands).next_multiple_of(SIXES);
        let (x_pitch, v_place) = (x.pitch(), most * x.pitch() + LANES);
        Self { tiles, per_row, most, x_pitch, v_place, m_place: most * y.pitch() + LANES }
    }

    fn v_len(&self) -> usize {
        PLACES * self.v_place
    }

    /// Numbers that the bands of these images take at most, and of images with fewer channels, whose bands have more tiles.
    fn most_len(tiled: Image, x: Image, y: Image) -> usize {
        let (all, channels) = (Self::new(tiled, x, y).tiles, x.pitch() + y.pitch());
        let band = (BAND / PLACES + SIXES * channels).min(all.next_multiple_of(SIXES) * channels);
        PLACES * (band + 2 * LANES)
    }

    /// The first tile of each band, and their number.
    fn iter(&self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.tiles).step_by(self.most).map(|first| (first, self.most.min(self.tiles - first)))
    }

    /// `V = B^T d B` of the tiles of a band.
    fn pixels<T: Scalar>(&self, image: Tiles, first: usize, tiles: usize, x_last: &[T], v: &mut [T]) {
        T::winograd_transform(Transform {
            kind: Kind::Pixels,
            tiles,
            channels: self.x_pitch,
            from: (x_last, Lie::Image(image), first),
            to: (v, Lie::Apart { tile: self.x_pitch, place: self.v_place }, 0),
        });
    }
}
