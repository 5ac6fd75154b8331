//! The transforms of output tiles: matrices of a few additions, applied along columns and then along rows, a vector of channels
//! at a time.

use crate::number::Number;
use crate::simd::{Kernel, Vector};

/// Places of a transformed output tile.
pub(super) const PLACES: usize = 16;

/// Taps of a kernel.
pub(super) const TAPS: usize = 9;

/// The place that all four outputs of an output tile take with weight 1: a bias is added there.
pub(super) const CENTRE: usize = 5;

/// A matrix that maps `FROM` numbers to `TO`. Its sums have one fixed order on every instruction set.
trait Linear<const FROM: usize, const TO: usize> {
    fn apply<V: Vector>(x: [V; FROM]) -> [V; TO];
}

/// `B^T`: four pixels.
struct Pixels;

/// `G`: the three taps of a kernel.
struct Taps;

/// `A^T`: two outputs from four products.
struct Outputs;

/// `A`, the adjoint of [`Outputs`].
struct OutputsAdjoint;

/// `G^T`, the adjoint of [`Taps`].
struct TapsAdjoint;

impl Linear<4, 4> for Pixels {
    #[inline(always)]
    fn apply<V: Vector>([d0, d1, d2, d3]: [V; 4]) -> [V; 4] {
        [d0.sub(d2), d1.add(d2), d2.sub(d1), d3.sub(d1)]
    }
}

impl Linear<3, 4> for Taps {
    #[inline(always)]
    fn apply<V: Vector>([g0, g1, g2]: [V; 3]) -> [V; 4] {
        let (outer, half) = (g0.add(g2), half::<V>());
        [g0, outer.add(g1).mul(half), outer.sub(g1).mul(half), g2]
    }
}

impl Linear<4, 2> for Outputs {
    #[inline(always)]
    fn apply<V: Vector>([m0, m1, m2, m3]: [V; 4]) -> [V; 2] {
        [m0.add(m1.add(m2)), m1.sub(m2).add(m3)]
    }
}

impl Linear<2, 4> for OutputsAdjoint {
    #[inline(always)]
    fn apply<V: Vector>([d0, d1]: [V; 2]) -> [V; 4] {
        [d0, d0.add(d1), d0.sub(d1), d1]
    }
}

impl Linear<4, 3> for TapsAdjoint {
    #[inline(always)]
    fn apply<V: Vector>([u0, u1, u2, u3]: [V; 4]) -> [V; 3] {
        let (sum, half) = (u1.add(u2).mul(half::<V>()), half::<V>());
        [u0.add(sum), u1.sub(u2).mul(half), sum.add(u3)]
    }
}

#[inline(always)]
fn half<V: Vector>() -> V {
    V::splat(V::Elem::from_f64(0.5))
}

/// Which transform.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// `V = B^T d B`, 4x4 from 4x4 pixels.
    Pixels,
    /// `U = G g G^T`, 4x4 from 3x3 taps.
    Taps,
    /// `Y = A^T M A`, 2x2 from 4x4.
    Outputs,
    /// `D = A dY A^T`, 4x4 from 2x2.
    OutputsAdjoint,
    /// `dg = G^T dU G`, 3x3 from 4x4.
    TapsAdjoint,
}

/// Where the numbers of an output tile lie: each a run of channels.
#[derive(Clone, Copy)]
pub(super) enum Place {
    /// Number `p` of output tile `t` begins at `t * tile + p * place`.
    Strided { tile: usize, place: usize },
    /// The numbers are neighbouring pixels of an image with channels last.
    Image(OutputTiles),
}

/// The output tiles of an image with channels last. Output tile `t` begins with the pixel in row `2 (t / per_row) - pad[0]`, column
/// `2 (t % per_row) - pad[1]`.
#[derive(Clone, Copy)]
pub(super) struct OutputTiles {
    pub(super) rows: usize,
    pub(super) columns: usize,
    /// Numbers from one pixel to the next.
    pub(super) pitch: usize,
    pub(super) pad: [usize; 2],
    pub(super) per_row: usize,
}

impl OutputTiles {
    /// Where the pixel that stands for all outside the image begins: after the last.
    pub(super) fn outside(&self) -> usize {
        self.rows * self.columns * self.pitch
    }
}

impl Place {
    /// Where the `N` x `N` numbers of output tile `t` begin.
    #[inline(always)]
    fn places<const N: usize>(&self, t: usize) -> [[usize; N]; N] {
        let mut places = [[0; N]; N];
        match *self {
            Self::Strided { tile, place } => {
                for r in 0..N {
                    for c in 0..N {
                        places[r][c] = t * tile + (r * N + c) * place;
                    }
                }
            }
            Self::Image(tiles) => {
                // Before the first row or column the difference wraps round to a large number.
                let row = (2 * (t / tiles.per_row)).wrapping_sub(tiles.pad[0]);
                let column = (2 * (t % tiles.per_row)).wrapping_sub(tiles.pad[1]);
                let mut columns = [(false, 0); N];
                for c in 0..N {
                    let column = column.wrapping_add(c);
                    columns[c] = (column < tiles.columns, column.wrapping_mul(tiles.pitch));
                }
                for r in 0..N {
                    let row = row.wrapping_add(r);
                    let start = row.wrapping_mul(tiles.columns * tiles.pitch);
                    for c in 0..N {
                        let inside = (row < tiles.rows) & columns[c].0;
                        places[r][c] = if inside { start + columns[c].1 } else { tiles.outside() };
                    }
                }
            }
        }
        places
    }

    /// Where the numbers of `N` x `N` each of `tiles` output tiles end.
    #[inline(always)]
    fn end<const N: usize>(&self, first: usize, tiles: usize, channels: usize) -> usize {
        channels
            + match self {
                Self::Strided { tile, place } => (first + tiles - 1) * tile + (N * N - 1) * place,
                Self::Image(tiles) => tiles.outside(),
            }
    }
}

/// A transform of some output tiles.
pub(crate) struct Transform<'a, T> {
    pub(super) kind: Kind,
    pub(super) tiles: usize,
    /// Channels of an output tile, a multiple of sixteen.
    pub(super) channels: usize,
    /// The numbers that come in, where they lie, and the first output tile there.
    pub(super) from: (&'a [T], Place, usize),
    pub(super) to: (&'a mut [T], Place, usize),
}

impl<T: Number> Kernel<T> for Transform<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Elem = T>>(self) {
        match self.kind {
            Kind::Pixels => self.apply::<V, Pixels, 4, 4>(),
            Kind::Taps => self.apply::<V, Taps, 3, 4>(),
            Kind::Outputs => self.apply::<V, Outputs, 4, 2>(),
            Kind::OutputsAdjoint => self.apply::<V, OutputsAdjoint, 2, 4>(),
            Kind::TapsAdjoint => self.apply::<V, TapsAdjoint, 4, 3>(),
        }
    }
}

impl<T: Number> Transform<'_, T> {
    #[inline(always)]
    fn apply<V: Vector<Elem = T>, L: Linear<F, G>, const F: usize, const G: usize>(self) {
        let Self { tiles, channels, from: (from, from_lie, from_first), to: (to, to_lie, to_first), .. } =
            self;
        if tiles == 0 {
            return;
        }
        assert!(from_lie.end::<F>(from_first, tiles, channels) <= from.len());
        assert!(to_lie.end::<G>(to_first, tiles, channels) <= to.len());
        for t in 0..tiles {
            let from_places = from_lie.places::<F>(from_first + t);
            let to_places = to_lie.places::<G>(to_first + t);
            let mut channel = 0;
            while channel < channels {
                // SAFETY: no run of channels lies beyond the ends that were checked; channels are a whole number of vectors.
                unsafe {
                    let (from, to) = (from.as_ptr().add(channel), to.as_mut_ptr().add(channel));
                    let mut half = [[V::splat(T::ZERO); F]; G];
                    for c in 0..F {
                        let mut column = [V::splat(T::ZERO); F];
                        for r in 0..F {
                            column[r] = V::load(from.add(from_places[r][c]));
                        }
                        let column = L::apply(column);
                        for g in 0..G {
                            half[g][c] = column[g];
                        }
                    }
                    for g in 0..G {
                        let row = L::apply(half[g]);
                        for c in 0..G {
                            row[c].store(to.add(to_places[g][c]));
                        }
                    }
                }
                channel += V::LANES;
            }
        }
    }
}
