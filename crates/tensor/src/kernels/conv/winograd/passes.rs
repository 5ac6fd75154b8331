//! The three passes over blocks.

use super::image::{Bands, Image, images};
use super::products::{Matrices, Products};
use super::transform::{CENTRE, Kind, PLACES, Place, TAPS, Transform};
use super::zeros::KeepZeros;
use crate::blocking::Transpose;
use crate::geometry::Conv2d;
use crate::layout::{Block, LANES};
use crate::number::Number;
use crate::simd::{Kernel, Vector};
use std::ops::Range;

/// Scratch that each of the three passes may use.
pub(crate) fn scratch_len(conv: &Conv2d, block: Block) -> usize {
    let (x, y) = images(conv, block.lanes(), block.lanes());
    let forward = Bands::most_len(y, x, y);
    let backward = Bands::most_len(x, x, y);
    let weights = TAPS * x.pitch() * y.pitch();
    let kernels = PLACES * (x.pitch() * y.pitch() + LANES);
    x.len() + y.len() + kernels + forward.max(backward).max(2 * weights)
}

/// One of the three passes over a block.
pub(crate) struct Winograd<'a, T> {
    pub(crate) conv: &'a Conv2d,
    pub(crate) block: Block,
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

impl<T: Number> Kernel<T> for Winograd<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Elem = T>>(self) {
        let Self { conv, block, operands, scratch } = self;
        match operands {
            Operands::Forward { w, b, x, y } => forward::<V>(conv, block, w, b, x, y, scratch),
            Operands::BackwardInput { inputs, w, dy, dx } => {
                backward_input::<V>(conv, block, inputs, w, dy, dx, scratch);
            }
            Operands::BackwardWeight { x, dy, dw } => backward_weight::<V>(conv, block, x, dy, dw, scratch),
        }
    }
}

fn forward<V: Vector>(
    conv: &Conv2d,
    block: Block,
    w: &[V::Elem],
    b: Option<&[V::Elem]>,
    x: &[V::Elem],
    y: &mut [V::Elem],
    scratch: &mut [V::Elem],
) {
    let taps = |g: &mut [V::Elem], to_pitch: usize| {
        let (rows, columns) = (conv.c_out, conv.taps());
        V::outlined(Transpose { rows, columns, from: w, from_pitch: columns, to: g, to_pitch });
    };
    let images = |live| images(conv, block.lanes(), live);
    correlate::<V>(block, images, conv.pad, taps, b, x, y, scratch);
}

fn backward_input<V: Vector>(
    conv: &Conv2d,
    block: Block,
    inputs: Range<usize>,
    w: &[V::Elem],
    dy: &[V::Elem],
    dx: &mut [V::Elem],
    scratch: &mut [V::Elem],
) {
    let taps = |g: &mut [V::Elem], pitch: usize| {
        for (w, g) in w.chunks_exact(conv.taps()).zip(g.chunks_exact_mut(TAPS * pitch)) {
            for (c, w) in w[inputs.start * TAPS..].chunks_exact(TAPS).take(inputs.len()).enumerate() {
                for (tap, &w) in w.iter().enumerate() {
                    g[(TAPS - 1 - tap) * pitch + c] = w;
                }
            }
        }
    };
    let images = |live| {
        let (target, source) = images(conv, block.lanes(), live);
        (source, Image { channels: inputs.len(), ..target })
    };
    correlate::<V>(block, images, conv.pad.map(|pad| 2 - pad), taps, None, dy, dx, scratch);
}

/// The sums over all tiles, their output tiles and their live lanes, in order, are added to `dw` at the end.
fn backward_weight<V: Vector>(
    conv: &Conv2d,
    block: Block,
    x: &[V::Elem],
    dy: &[V::Elem],
    dw: &mut [V::Elem],
    scratch: &mut [V::Elem],
) {
    let (source, target) = images(conv, block.lanes(), block.lanes());
    let (x_pitch, dy_pitch) = (source.pitch(), target.pitch());
    let u_place = conv.c_in * dy_pitch + LANES;
    let (images_and_sums, rest) = scratch.split_at_mut(source.len() + target.len() + PLACES * u_place);
    let (x_last, others) = images_and_sums.split_at_mut(source.len());
    let (dy_last, u) = others.split_at_mut(target.len());
    let mut begun = false;
    let tiles = x.chunks_exact(source.numbers()).zip(dy.chunks_exact(target.numbers()));
    for (t, (x, dy)) in tiles.enumerate() {
        let live = block.live(t);
        let (source, target) = images(conv, block.lanes(), live);
        let bands = Bands::new(target, source, target);
        source.channels_last::<V>(x, x_last);
        target.channels_last::<V>(dy, dy_last);
        let (v, d) = rest.split_at_mut(bands.v_len());
        for (first, tiles) in bands.iter() {
            bands.pixels::<V>(source.tiles(conv.pad, bands.per_row), first, tiles, x_last, v);
            V::outlined(Transform {
                kind: Kind::OutputsAdjoint,
                tiles,
                channels: bands.y_pixel,
                from: (dy_last, Place::Image(target.tiles([0, 0], bands.per_row)), first),
                to: (d, Place::Strided { tile: bands.y_pixel, place: bands.m_place }, 0),
            });
            // [c_in x c_out] += [c_in x tiles] * [tiles x c_out]
            V::outlined(Products {
                rows: conv.c_in,
                columns: conv.c_out,
                k: tiles * live,
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
    V::outlined(Transform {
        kind: Kind::TapsAdjoint,
        tiles: conv.c_in,
        channels: dy_pitch,
        from: (u, Place::Strided { tile: dy_pitch, place: u_place }, 0),
        to: (g, Place::Strided { tile: TAPS * dy_pitch, place: dy_pitch }, 0),
    });
    let sums = &mut rest[..dw.len()];
    V::outlined(Transpose {
        rows: conv.taps(),
        columns: conv.c_out,
        from: g,
        from_pitch: dy_pitch,
        to: sums,
        to_pitch: conv.taps(),
    });
    let suspects = &mut g[..sums.len()];
    V::outlined(KeepZeros {
        conv,
        lanes: block.lanes(),
        x,
        dy,
        sums: &mut *sums,
        suspects,
        scratch: images_and_sums,
    });
    dw.iter_mut().zip(sums).for_each(|(dw, sum)| *dw += *sum);
}

/// A correlation of each tile of `x` with the kernels that `taps` writes as `[source channel][tap][target channel]`, target channels
/// padded to a pitch. The images are those of a tile of which so many lanes live.
fn correlate<V: Vector>(
    block: Block,
    images: impl Fn(usize) -> (Image, Image),
    pad: [usize; 2],
    taps: impl FnOnce(&mut [V::Elem], usize),
    b: Option<&[V::Elem]>,
    x: &[V::Elem],
    y: &mut [V::Elem],
    scratch: &mut [V::Elem],
) {
    let (source, target) = images(block.lanes());
    let (x_pitch, y_pitch) = (source.pitch(), target.pitch());
    let (x_last, rest) = scratch.split_at_mut(source.len());
    let (y_last, rest) = rest.split_at_mut(target.len());
    let u_place = source.channels * y_pitch + LANES;
    let (u, rest) = rest.split_at_mut(PLACES * u_place);
    let g = &mut rest[..source.channels * TAPS * y_pitch];
    taps(g, y_pitch);
    V::outlined(Transform {
        kind: Kind::Taps,
        tiles: source.channels,
        channels: y_pitch,
        from: (g, Place::Strided { tile: TAPS * y_pitch, place: y_pitch }, 0),
        to: (u, Place::Strided { tile: y_pitch, place: u_place }, 0),
    });
    let tiles = x.chunks_exact(source.numbers()).zip(y.chunks_exact_mut(target.numbers()));
    for (t, (x, y)) in tiles.enumerate() {
        let live = block.live(t);
        let (source, target) = images(live);
        let bands = Bands::new(target, source, target);
        let (v, m) = rest.split_at_mut(bands.v_len());
        source.channels_last::<V>(x, x_last);
        for (first, tiles) in bands.iter() {
            bands.pixels::<V>(source.tiles(pad, bands.per_row), first, tiles, x_last, v);
            if let Some(b) = b {
                for m in m[CENTRE * bands.m_place..].chunks_exact_mut(y_pitch).take(tiles * live) {
                    m[..b.len()].copy_from_slice(b);
                }
            }
            // [tiles x c_out] = [tiles x c_in] * [c_in x c_out]
            V::outlined(Products {
                rows: tiles * live,
                columns: target.channels,
                k: source.channels,
                a: Matrices { numbers: v, place: bands.v_place, row: x_pitch },
                transposed: false,
                b: Matrices { numbers: u, place: u_place, row: y_pitch },
                to: Matrices { numbers: m, place: bands.m_place, row: y_pitch },
                added_to: if b.is_some() { CENTRE..CENTRE + 1 } else { 0..0 },
            });
            V::outlined(Transform {
                kind: Kind::Outputs,
                tiles,
                channels: bands.y_pixel,
                from: (m, Place::Strided { tile: bands.y_pixel, place: bands.m_place }, 0),
                to: (y_last, Place::Image(target.tiles([0, 0], bands.per_row)), first),
            });
        }
        target.channels_first::<V>(y_last, y);
    }
}
