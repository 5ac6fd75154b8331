//! Tiles of so few samples that half of their lanes or more are empty, folded: what would be computed of one row of an image is
//! computed of two or four, each in its own part of the lanes. The kernels see a tile of sixteen samples whose images have fewer rows.
//!
//! A correlation's target rows are folded in turn, 2i and 2i + 1, which see nearly the same rows of the source; each number has the
//! same bits as without. The parameter gradient folds the rows of dy in bands, one below the other: the sums of a few lanes are
//! split into sixteen, on every processor.

use crate::geometry::Conv2d;
use crate::layout::LANES;
use crate::number::Number;

/// Rows of planes side by side: row `r` of a folded plane has in part `p` of its lanes row `first + r + p * part_stride`, zeros where
/// there is no such row.
#[derive(Clone, Copy)]
pub(crate) struct Fold {
    pub(crate) parts: usize,
    pub(crate) planes: usize,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    /// Numbers from one plane to the next.
    pub(crate) plane: usize,
    pub(crate) first: isize,
    pub(crate) part_stride: usize,
    /// Rows of a folded plane.
    pub(crate) count: usize,
    /// Numbers from one folded plane to the next.
    pub(crate) to_plane: usize,
}

/// Numbers from one plane to the next where all planes of a pixel are read one after the other: an odd number of cache lines, or
/// they would all have the same place in the first cache.
pub(crate) fn odd_plane(rows: usize, columns: usize) -> usize {
    ((rows * columns) | 1) * LANES
}

impl Fold {
    /// Numbers that the folded planes take.
    pub(crate) fn len(&self) -> usize {
        self.planes * self.to_plane
    }

    /// Folds `from` into the first [`len`](Self::len) numbers of `to`.
    #[inline(always)]
    pub(crate) fn run<T: Number>(&self, from: &[T], to: &mut [T]) {
        if self.parts == 4 { self.lanes::<T, 4>(from, to) } else { self.lanes::<T, 8>(from, to) }
    }

    /// The same with `N` lanes a part.
    #[inline(always)]
    fn lanes<T: Number, const N: usize>(&self, from: &[T], to: &mut [T]) {
        let pitch = self.columns * LANES;
        let planes = from.chunks(self.plane).zip(to.chunks_exact_mut(self.to_plane)).take(self.planes);
        for (from, to) in planes {
            for (r, to) in to.chunks_exact_mut(pitch).take(self.count).enumerate() {
                for part in 0..LANES / N {
                    let row = self.first + (r + part * self.part_stride) as isize;
                    let lanes = part * N..(part + 1) * N;
                    let to = to.as_chunks_mut::<LANES>().0.iter_mut().map(|to| &mut to[lanes.clone()]);
                    if row < 0 || row >= self.rows as isize {
                        to.for_each(|to| to.fill(T::ZERO));
                    } else {
                        let from = from[row as usize * pitch..][..pitch].as_chunks::<LANES>().0;
                        to.zip(from).for_each(|(to, from)| to.copy_from_slice(&from[..N]));
                    }
                }
            }
        }
    }
}

/// A convolution over one tile, folded in bands of output rows.
#[derive(Clone, Copy)]
pub(crate) struct Bands {
    /// That of one band.
    pub(crate) conv: Conv2d,
    pub(crate) x: Fold,
}

impl Bands {
    /// Bands of so many output rows.
    pub(crate) fn new(conv: &Conv2d, parts: usize, rows: usize) -> Self {
        let [sh, _] = conv.stride;
        let count = (rows - 1) * sh + conv.kernel[0];
        let x = Fold {
            parts,
            planes: conv.c_in,
            rows: conv.h_in,
            columns: conv.w_in,
            plane: conv.h_in * conv.w_in * LANES,
            first: -(conv.pad[0] as isize),
            part_stride: rows * sh,
            count,
            to_plane: count * conv.w_in * LANES,
        };
        Self { conv: Conv2d { h_in: count, pad: [0, conv.pad[1]], ..conv.direct() }, x }
    }

    /// Numbers that x and dy take.
    pub(crate) fn len(&self) -> usize {
        self.x.len() + self.conv.c_out * odd_plane(self.conv.h_out(), self.conv.w_out())
    }
}
