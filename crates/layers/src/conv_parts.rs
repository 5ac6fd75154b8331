//! A convolution made of plain ones: padding that differs by side, taps that lie apart, channels in groups.

use crate::{LayerError, Shape};
use byhand_tensor::{self as tensor, Block, Scalar, Windows};
use std::ops::Range;

/// A convolution as several without padding and dilation, each of one group of channels of one tile.
///
/// # Formula
/// Along an axis with stride `s`, dilation `d` and padding `p` before the image, let `g = gcd(s, d)`. Output `a + (d/g) m` sees by its tap
/// `u` the pixel `(a s - p) + d ((s/g) m + u)`: for each `a < d/g` it is a plain convolution, of stride `s/g`, over the pixels that begin at
/// `a s - p` and lie `d` apart. Those outside the image are 0. With `d = 1` there is one `a`, and the pixels are the padded image.
///
/// # Memory
/// Scratch: the pixels and outputs of one part, and what its kernel needs.
///
/// # Reference
/// Holschneider, Kronland-Martinet, Morlet, Tchamitchian, "A real-time algorithm for signal analysis with the help of the wavelet
/// transform", 1989 (the "algorithme à trous"); Krizhevsky, Sutskever, Hinton, "ImageNet classification with deep convolutional neural
/// networks", 2012 (groups).
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct ConvParts {
    phases: Vec<Phase>,
    groups: usize,
    /// Shapes of the input and output of a group.
    x: Shape,
    y: Shape,
    weight_len: usize,
    /// Numbers of each lane that a part has room for.
    room: [usize; 2],
}

/// One of the plain convolutions of a group.
#[derive(Clone, PartialEq, Debug)]
struct Phase {
    kernel: tensor::Conv2d,
    x: Comb,
    y: Comb,
}

/// Some pixels of an image: rows and columns that lie equally far apart. They may begin before the image and end behind it.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Comb {
    first: [isize; 2],
    apart: [usize; 2],
    count: [usize; 2],
}

impl ConvParts {
    /// The parts of a convolution with windows that have been checked; the groups divide both numbers of channels.
    pub(crate) fn new(
        [rows, columns]: [&Windows; 2],
        channels: [usize; 2],
        groups: usize,
    ) -> Result<Self, LayerError> {
        let [c_in, c_out] = channels.map(|channels| channels / groups);
        let mut phases = Vec::new();
        for down in along(rows) {
            for right in along(columns) {
                let seen = [c_in, down.seen, right.seen];
                let taps = [rows.slide().taps, columns.slide().taps];
                let kernel = tensor::Conv2d::new(seen, c_out, taps, [down.stride, right.stride], [0, 0])?;
                phases.push(Phase {
                    kernel,
                    x: Comb {
                        first: [down.first, right.first],
                        apart: [rows.slide().dilation, columns.slide().dilation],
                        count: [down.seen, right.seen],
                    },
                    y: Comb {
                        first: [down.output as isize, right.output as isize],
                        apart: [down.every, right.every],
                        count: [kernel.h_out(), kernel.w_out()],
                    },
                });
            }
        }
        let (x, y) = (
            Shape::new(c_in, rows.input(), columns.input()),
            Shape::new(c_out, rows.count(), columns.count()),
        );
        let most = |of: fn(&Phase) -> usize| phases.iter().map(of).max().unwrap_or(0);
        let is_whole =
            |comb: fn(&Phase) -> Comb, image| phases.iter().all(|phase| comb(phase).is_whole(image));
        let room = [
            if is_whole(|phase| phase.x, x) { 0 } else { most(|phase| phase.kernel.inputs()) },
            if is_whole(|phase| phase.y, y) { 0 } else { most(|phase| phase.kernel.outputs()) },
        ];
        let weight_len = phases.first().map_or(0, |phase| phase.kernel.weight_len());
        Ok(Self { phases, groups, x, y, weight_len, room })
    }

    pub(crate) fn scratch_len(&self, block: Block) -> usize {
        if block.is_empty() {
            return 0;
        }
        let one = tile(block, 0);
        let kernels = self.phases.iter().map(|phase| phase.kernel.scratch_len(one)).max();
        kernels.unwrap_or(0) + one.len(self.room[0] + self.room[1])
    }

    /// `y = conv(x)`.
    pub(crate) fn forward<T: Scalar>(
        &self,
        block: Block,
        w: &[T],
        b: Option<&[T]>,
        x: &[T],
        y: &mut [T],
        scratch: &mut [T],
    ) {
        for Part { phase, one, group, x: x_place, y: y_place } in self.parts(block) {
            let [x_room, y_room, scratch] = self.rooms(one, scratch);
            let w = &w[group * self.weight_len..][..self.weight_len];
            let b = b.map(|b| &b[group * self.y.c..][..self.y.c]);
            let (x, y) = (phase.x.gather(self.x, one, &x[x_place], x_room), &mut y[y_place]);
            if y_room.is_empty() {
                phase.kernel.forward(one, w, b, x, y, scratch);
            } else {
                let part = &mut y_room[..one.len(phase.kernel.outputs())];
                phase.kernel.forward(one, w, b, x, part, scratch);
                phase.y.scatter(self.y, one, part, y);
            }
        }
    }

    /// Adds to `dw` and `db`, and overwrites `dx`, where it is wanted.
    pub(crate) fn backward<T: Scalar>(
        &self,
        block: Block,
        w: &[T],
        x: &[T],
        dy: &[T],
        mut dx: Option<&mut [T]>,
        dw: &mut [T],
        mut db: Option<&mut [T]>,
        scratch: &mut [T],
    ) {
        if let Some(dx) = dx.as_deref_mut().filter(|_| self.room[0] > 0) {
            dx.fill(T::ZERO);
        }
        for Part { phase, one, group, x: x_place, y: y_place } in self.parts(block) {
            let [x_room, y_room, scratch] = self.rooms(one, scratch);
            let weight = group * self.weight_len..(group + 1) * self.weight_len;
            let db = db.as_deref_mut().map(|db| &mut db[group * self.y.c..][..self.y.c]);
            let dy = phase.y.gather(self.y, one, &dy[y_place], y_room);
            let seen = phase.x.gather(self.x, one, &x[x_place.clone()], x_room);
            phase.kernel.backward_params(one, seen, dy, &mut dw[weight.clone()], db, scratch);
            if let Some(dx) = &mut dx {
                let (dx, all, w) = (&mut dx[x_place], 0..self.x.c, &w[weight]);
                if x_room.is_empty() {
                    phase.kernel.backward_input(all, one, w, dy, dx, scratch);
                } else {
                    let part = &mut x_room[..one.len(phase.kernel.inputs())];
                    phase.kernel.backward_input(all, one, w, dy, part, scratch);
                    phase.x.scatter(self.x, one, part, dx);
                }
            }
        }
    }

    /// Every part of a block, tile after tile.
    fn parts(&self, block: Block) -> impl Iterator<Item = Part<'_>> {
        let of = |shape: Shape, one: Block, t: usize, group: usize| -> Range<usize> {
            let (len, features) = (one.lanes() * shape.features(), self.groups);
            (t * features + group) * len..(t * features + group + 1) * len
        };
        (0..block.tiles()).flat_map(move |t| {
            let one = tile(block, t);
            (0..self.groups).flat_map(move |group| {
                let (x, y) = (of(self.x, one, t, group), of(self.y, one, t, group));
                self.phases.iter().map(move |phase| Part { phase, one, group, x: x.clone(), y: y.clone() })
            })
        })
    }

    /// Room for the pixels of a part, for its outputs, and its kernel's scratch.
    fn rooms<'a, T>(&self, one: Block, scratch: &'a mut [T]) -> [&'a mut [T]; 3] {
        let (x, rest) = scratch.split_at_mut(one.len(self.room[0]));
        let (y, rest) = rest.split_at_mut(one.len(self.room[1]));
        [x, y, rest]
    }
}

/// A part, its tile, and where the numbers of the tile's group lie in `x` and in `y`.
struct Part<'a> {
    phase: &'a Phase,
    one: Block,
    group: usize,
    x: Range<usize>,
    y: Range<usize>,
}

/// Tile `t` of a block as a block.
fn tile(block: Block, t: usize) -> Block {
    if block.lanes() == 1 { Block::single(1) } else { Block::tiled(block.live(t)) }
}

/// The phases along one axis.
struct Along {
    /// First of its outputs, and from one to the next.
    output: usize,
    every: usize,
    /// First of its pixels, which lie a dilation apart, and how many it sees.
    first: isize,
    seen: usize,
    stride: usize,
}

fn along(windows: &Windows) -> impl Iterator<Item = Along> {
    let (slide, count) = (windows.slide(), windows.count());
    let common = gcd(slide.stride, slide.dilation);
    let (every, stride) = (slide.dilation / common, slide.stride / common);
    (0..every.min(count)).map(move |output| {
        let outputs = (count - output).div_ceil(every);
        let first = (output * slide.stride) as isize - slide.pad[0] as isize;
        Along { output, every, first, seen: (outputs - 1) * stride + slide.taps, stride }
    })
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl Comb {
    /// Whether it is all of an image.
    fn is_whole(self, image: Shape) -> bool {
        self == Self { first: [0, 0], apart: [1, 1], count: [image.h, image.w] }
    }

    /// The numbers of these pixels, channel by channel, 0 outside the image: `image` itself where there is no room to copy them.
    fn gather<'a, T: Scalar>(self, shape: Shape, one: Block, image: &'a [T], room: &'a mut [T]) -> &'a [T] {
        if room.is_empty() {
            return image;
        }
        let lanes = one.lanes();
        let mut len = 0;
        self.each_row(shape, |pixels, columns| {
            let row = &mut room[len..][..self.count[1] * lanes];
            len += row.len();
            let Some(pixels) = pixels else { return row.fill(T::ZERO) };
            let (before, rest) = row.split_at_mut(columns.start * lanes);
            let (inside, behind) = rest.split_at_mut(columns.len() * lanes);
            before.fill(T::ZERO);
            behind.fill(T::ZERO);
            let image = &image[pixels * lanes..];
            if self.apart[1] == 1 {
                inside.copy_from_slice(&image[..inside.len()]);
            } else {
                let from = image.chunks(self.apart[1] * lanes);
                inside
                    .chunks_exact_mut(lanes)
                    .zip(from)
                    .for_each(|(to, from)| to.copy_from_slice(&from[..lanes]));
            }
        });
        &room[..len]
    }

    /// The way back: `part` to where its pixels lie in `image`. What lies outside is left out.
    fn scatter<T: Scalar>(self, shape: Shape, one: Block, part: &[T], image: &mut [T]) {
        let lanes = one.lanes();
        let mut len = 0;
        self.each_row(shape, |pixels, columns| {
            let row = &part[len..][..self.count[1] * lanes];
            len += row.len();
            let Some(pixels) = pixels else { return };
            let inside = &row[columns.start * lanes..columns.end * lanes];
            let image = &mut image[pixels * lanes..];
            if self.apart[1] == 1 {
                image[..inside.len()].copy_from_slice(inside);
            } else {
                let to = image.chunks_mut(self.apart[1] * lanes);
                to.zip(inside.chunks_exact(lanes)).for_each(|(to, from)| to[..lanes].copy_from_slice(from));
            }
        });
    }

    /// Visits every row of every channel with the place of its first pixel that lies in the image, if there is one, and which of its pixels
    /// do.
    fn each_row(self, image: Shape, mut visit: impl FnMut(Option<usize>, Range<usize>)) {
        let columns = self.inside(1, image.w);
        let at = |axis: usize, t: usize| self.first[axis] + (self.apart[axis] * t) as isize;
        let column = at(1, columns.start);
        for channel in 0..image.c {
            for t in 0..self.count[0] {
                let row = at(0, t);
                let is_inside = (0..image.h as isize).contains(&row) && !columns.is_empty();
                let pixels =
                    (channel * image.h) as isize * image.w as isize + row * image.w as isize + column;
                visit(is_inside.then_some(pixels as usize), columns.clone());
            }
        }
    }

    /// Which of its rows (axis 0) or columns lie in an image of so many.
    fn inside(self, axis: usize, size: usize) -> Range<usize> {
        let (first, apart) = (self.first[axis], self.apart[axis]);
        let before = |pixel: isize| (pixel.max(0) as usize).div_ceil(apart).min(self.count[axis]);
        let start = before(-first);
        start..before(size as isize - first).max(start)
    }
}
