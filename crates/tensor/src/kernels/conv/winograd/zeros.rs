//! Weight gradients that are 0 in exact arithmetic.

use super::transform::TAPS;
use crate::geometry::Conv2d;
use crate::layout::LANES;
use crate::number::Number;
use crate::simd::{Kernel, Vector};
use std::ops::Range;

/// Makes 0 again what is a sum of zeros alone: the gradients of taps whose pixels and outputs never meet, since of each two one is 0.
///
/// `G^T U G` adds and subtracts places of `U`, each with products that are no part of the formula and cancel. What they leave is a
/// rounding error, and Adam, to which the sign of a gradient is more than its size, would move a weight by it. With `n` output tiles a
/// place errs by at most `gamma(n + 16) * sum |V| |D|` (Higham, "Accuracy and stability of numerical algorithms", 2002, section 3.1;
/// sixteen for the transforms). A number of `V` is made of four pixels, one of `D` of the gradients of its output tile, and the weights in
/// a row of `G^T` have sum 2; so a number of `dw` errs by at most
///
/// ```text
/// gamma(n + 16) * 4 * 4 * min(max |x| * sum |dy|, 4 * sum |x| * max |dy|)
/// ```
///
/// with maxima and sums over one channel each. Only numbers up to that are suspects. Whether one's pixels and outputs meet is asked of a
/// bit for each of them, a band of rows of a tile at a time.
pub(super) struct KeepZeros<'a, T> {
    pub(super) conv: &'a Conv2d,
    /// Of a tile; a single sample has one.
    pub(super) lanes: usize,
    pub(super) x: &'a [T],
    pub(super) dy: &'a [T],
    /// The sums of all samples, `[c_out][c_in][tap]`.
    pub(super) sums: &'a mut [T],
    /// As many numbers, room for the suspects; whatever is in it.
    pub(super) suspects: &'a mut [T],
    /// Room for the bits, whatever is in it.
    pub(super) scratch: &'a mut [T],
}

impl<T: Number> Kernel<T> for KeepZeros<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Elem = T>>(self) {
        let Self { conv, lanes, x, dy, sums, suspects, scratch } = self;
        let [x_plane, dy_plane] =
            [conv.h_in * conv.w_in, conv.h_out() * conv.w_out()].map(|pixels| pixels * lanes);
        let suspects = &mut words::<V>(suspects)[..conv.c_out * conv.c_in];
        let (x_sizes, scratch) = scratch.split_at_mut(2 * conv.c_in);
        let mut any = suspect(conv, x, dy, [x_plane, dy_plane], sums, suspects, x_sizes);
        let bits = Bits::new(conv, lanes);
        let (seen, rest) = words::<V>(scratch).split_at_mut(conv.c_in * bits.seen);
        let wanted = &mut rest[..bits.wanted];
        let tiles = x.chunks_exact(conv.c_in * x_plane).zip(dy.chunks_exact(conv.c_out * dy_plane));
        let bands = (0..conv.h_out()).step_by(bits.rows);
        for ((x, dy), first) in tiles.flat_map(|tile| bands.clone().map(move |first| (tile, first))) {
            // After the first band few are suspects still.
            if !any {
                return;
            }
            for (x, seen) in x.chunks_exact(x_plane).zip(seen.chunks_exact_mut(bits.seen)) {
                bits.write(x, conv.w_in, first..first + bits.rows + 2, conv.pad, seen);
            }
            any = false;
            for (dy, suspects) in dy.chunks_exact(dy_plane).zip(suspects.chunks_exact_mut(conv.c_in)) {
                if suspects.iter().any(|taps| *taps != 0) {
                    bits.write(dy, conv.w_out(), first..first + bits.rows, [0, 0], wanted);
                    for (seen, taps) in seen.chunks_exact(bits.seen).zip(suspects) {
                        *taps = bits.acquit(seen, wanted, *taps);
                        any |= *taps != 0;
                    }
                }
            }
        }
        for (sums, taps) in sums.chunks_exact_mut(TAPS).zip(suspects) {
            while *taps != 0 {
                let sum = &mut sums[taps.trailing_zeros() as usize];
                // Of a dual number the value alone.
                *sum -= T::from_f64(sum.to_f64());
                *taps &= *taps - 1;
            }
        }
    }
}

/// Writes a bit for each tap of each pair of channels, `[c_out][c_in]`: 1 for a sum that may be 0 but for rounding. Whether there is any.
#[inline(always)]
fn suspect<T: Number>(
    conv: &Conv2d,
    x: &[T],
    dy: &[T],
    [x_plane, dy_plane]: [usize; 2],
    sums: &[T],
    suspects: &mut [u64],
    x_sizes: &mut [T],
) -> bool {
    let tiles = conv.h_out().div_ceil(2) * conv.w_out().div_ceil(2) * (dy.len() / conv.outputs());
    // A quarter more than gamma, for the rounding of the sums of sizes.
    let error = 1.25 * T::UNIT * (tiles + 16) as f64 * 16.0;
    for (c, own) in x_sizes.chunks_exact_mut(2).enumerate() {
        own.copy_from_slice(&sizes(x, conv.c_in, x_plane, c).map(T::from_f64));
    }
    let mut any = false;
    let all = sums.chunks_exact(conv.taps()).zip(suspects.chunks_exact_mut(conv.c_in));
    for (o, (sums, suspects)) in all.enumerate() {
        let [dy_most, dy_sum] = sizes(dy, conv.c_out, dy_plane, o);
        let pairs = sums.chunks_exact(TAPS).zip(suspects);
        for ((sums, taps), x) in pairs.zip(x_sizes.chunks_exact(2)) {
            let [x_most, x_sum] = [x[0].to_f64(), x[1].to_f64()];
            let limit = T::from_f64(error * f64::min(x_most * dy_sum, 4.0 * x_sum * dy_most));
            *taps = 0;
            for (tap, sum) in sums.iter().enumerate() {
                *taps |= u64::from((sum.abs() <= limit) & (*sum != T::ZERO)) << tap;
            }
            any |= *taps != 0;
        }
    }
    any
}

/// The largest and the sum of the absolute values in one of the `channels` of all samples.
#[inline(always)]
fn sizes<T: Number>(x: &[T], channels: usize, plane: usize, channel: usize) -> [f64; 2] {
    let (mut most, mut sum) = ([T::ZERO; LANES], [T::ZERO; LANES]);
    for x in x.chunks_exact(channels * plane) {
        let (chunks, rest) = x[channel * plane..][..plane].as_chunks::<LANES>();
        let mut last = [T::ZERO; LANES];
        last[..rest.len()].copy_from_slice(rest);
        for x in chunks.iter().chain([&last]) {
            for ((most, sum), x) in most.iter_mut().zip(&mut sum).zip(x) {
                let x = x.abs();
                *sum += x;
                *most = if x > *most { x } else { *most };
            }
        }
    }
    let largest = |a: f64, b: T| if b.to_f64() > a { b.to_f64() } else { a };
    [most.into_iter().fold(0.0, largest), sum.iter().fold(0.0, |sum, x| sum + x.to_f64())]
}

/// The same memory as words of bits.
fn words<V: Vector>(numbers: &mut [V::Elem]) -> &mut [u64] {
    // SAFETY: the elements of vectors are floats and pairs of them, which like `u64` have a value for every pattern of bits and no padding.
    unsafe { numbers.align_to_mut().1 }
}

/// Words of outputs that are compared at once.
const TOGETHER: usize = 8;

/// A bit for each lane of each place of a band of a channel's plane with its padding, row by row, 1 where a number is not 0. In that order
/// the pixel that an output sees through a tap lies behind the output's own place by a number that is the tap's alone: one shift compares
/// all.
struct Bits {
    /// Bits from one place to the next.
    lanes: usize,
    /// Bits from one row to the next.
    pitch: usize,
    /// Rows of outputs in a band.
    rows: usize,
    /// Words of the outputs of a band.
    wanted: usize,
    /// Words of its pixels: one more than the last outputs see, since a shift reads beyond.
    seen: usize,
    /// For each tap, where the pixels that outputs see through it begin: at which word, and at which of its bits.
    taps: [(usize, usize); TAPS],
}

impl Bits {
    fn new(conv: &Conv2d, lanes: usize) -> Self {
        // Most suspects are none among the first thousand outputs.
        const ENOUGH: usize = 1024;
        let pitch = (conv.w_in + 2 * conv.pad[1]) * lanes;
        let rows = (ENOUGH / pitch).clamp(1, conv.h_out());
        let wanted = (rows * pitch).div_ceil(u64::BITS as usize).next_multiple_of(TOGETHER);
        let seen = wanted + (2 * pitch + 2 * lanes) / u64::BITS as usize + 2;
        let taps = std::array::from_fn(|tap| {
            let shift = tap / 3 * pitch + tap % 3 * lanes;
            (shift / u64::BITS as usize, shift % u64::BITS as usize)
        });
        Self { lanes, pitch, rows, wanted, seen, taps }
    }

    /// Writes the bits of these rows, counted with the padding, of a plane of so many columns.
    #[inline(always)]
    fn write<T: Number>(
        &self,
        plane: &[T],
        columns: usize,
        rows: Range<usize>,
        pad: [usize; 2],
        bits: &mut [u64],
    ) {
        bits.fill(0);
        let width = columns * self.lanes;
        let own = rows.start.saturating_sub(pad[0])..(plane.len() / width).min(rows.end - pad[0]);
        for row in own {
            for column in (0..width).step_by(LANES) {
                let (from, count) = (row * width + column, LANES.min(width - column));
                // Sixteen numbers that end in time; those of other runs are shifted out and cut off.
                let first = from.min(plane.len().saturating_sub(LANES));
                let run = run(&plane[first..plane.len().min(first + LANES)]) >> (from - first);
                let run = run & ((1 << count) - 1);
                let place = (row + pad[0] - rows.start) * self.pitch + pad[1] * self.lanes + column;
                let (word, low) = (place / u64::BITS as usize, place % u64::BITS as usize);
                bits[word] |= run << low;
                if let Some(next) = bits.get_mut(word + 1) {
                    *next |= (run >> 1) >> (63 - low);
                }
            }
        }
    }

    /// Those of the suspected taps through which no wanted output sees a pixel that is not 0.
    #[inline(always)]
    fn acquit(&self, seen: &[u64], wanted: &[u64], mut suspects: u64) -> u64 {
        let mut left = suspects;
        while left != 0 {
            let tap = left.trailing_zeros() as usize;
            left &= left - 1;
            let (word, low) = self.taps[tap];
            let seen = seen[word..].windows(TOGETHER + 1).step_by(TOGETHER);
            let meet = wanted.as_chunks::<TOGETHER>().0.iter().zip(seen).any(|(wanted, seen)| {
                let mut meet = 0;
                for i in 0..TOGETHER {
                    // The pixels at the places of the outputs.
                    meet |= wanted[i] & ((seen[i] >> low) | ((seen[i + 1] << 1) << (63 - low)));
                }
                meet != 0
            });
            suspects ^= u64::from(meet) << tap;
        }
        suspects
    }
}

/// A bit for each of up to sixteen numbers, 1 where it is not 0.
#[inline(always)]
fn run<T: Number>(numbers: &[T]) -> u64 {
    const BIT: [u32; LANES] = {
        let mut bit = [1; LANES];
        let mut i = 1;
        while i < LANES {
            bit[i] = bit[i - 1] << 1;
            i += 1;
        }
        bit
    };
    let bit = |run, (x, bit): (&T, &u32)| run | if *x != T::ZERO { *bit } else { 0 };
    // Of a known length the loop is one comparison of vectors.
    u64::from(match <&[T; LANES]>::try_from(numbers) {
        Ok(numbers) => numbers.iter().zip(&BIT).fold(0, bit),
        Err(_) => numbers.iter().zip(&BIT).fold(0, bit),
    })
}
