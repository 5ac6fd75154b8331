//! Weight gradients that are 0 in exact arithmetic.

use super::transform::TAPS;
use crate::geometry::Conv2d;
use crate::layout::LANES;
use crate::number::Number;
use crate::simd::{Kernel, Vector};

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
/// bit for each of them, tile by tile.
pub(super) struct KeepZeros<'a, T> {
    pub(super) conv: &'a Conv2d,
    /// Of a tile; a single sample has one.
    pub(super) lanes: usize,
    pub(super) x: &'a [T],
    pub(super) dy: &'a [T],
    /// The sums of all samples, `[c_out][c_in][tap]`.
    pub(super) sums: &'a mut [T],
    /// As many numbers, whatever they are.
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
        if !suspect(conv, x, dy, [x_plane, dy_plane], sums, suspects) {
            return;
        }
        let bits = Bits::new(conv, lanes);
        let (seen, rest) = words::<V>(scratch).split_at_mut(conv.c_in * bits.words);
        let wanted = &mut rest[..bits.words];
        let tiles = x.chunks_exact(conv.c_in * x_plane).zip(dy.chunks_exact(conv.c_out * dy_plane));
        for (x, dy) in tiles {
            for (x, seen) in x.chunks_exact(x_plane).zip(seen.chunks_exact_mut(bits.words)) {
                bits.write(x, conv.w_in, conv.pad, seen);
            }
            let suspects = suspects.chunks_exact_mut(conv.taps());
            for (dy, suspects) in dy.chunks_exact(dy_plane).zip(suspects) {
                bits.write(dy, conv.w_out(), [0, 0], wanted);
                bits.acquit(seen, wanted, suspects);
            }
        }
        for (sum, suspect) in sums.iter_mut().zip(suspects) {
            if *suspect != T::ZERO {
                // Of a dual number the value alone.
                *sum -= T::from_f64(sum.to_f64());
            }
        }
    }
}

/// Writes 1 for each sum that may be 0 but for rounding, else 0. Whether there is any.
#[inline(always)]
fn suspect<T: Number>(
    conv: &Conv2d,
    x: &[T],
    dy: &[T],
    [x_plane, dy_plane]: [usize; 2],
    sums: &[T],
    suspects: &mut [T],
) -> bool {
    let tiles = conv.h_out().div_ceil(2) * conv.w_out().div_ceil(2) * (dy.len() / conv.outputs());
    // A quarter more than gamma, for the rounding of the sums of sizes.
    let error = 1.25 * T::UNIT * (tiles + 16) as f64 * 16.0;
    let x_sizes = (0..conv.c_in).map(|c| sizes(x, conv.c_in, x_plane, c));
    let (x_most, x_sum) = x_sizes.fold((0.0, 0.0), |(most, sum), own| {
        (if own.0 > most { own.0 } else { most }, if own.1 > sum { own.1 } else { sum })
    });
    let mut any = false;
    let all = sums.chunks_exact(conv.taps()).zip(suspects.chunks_exact_mut(conv.taps()));
    for (o, (sums, suspects)) in all.enumerate() {
        let (dy_most, dy_sum) = sizes(dy, conv.c_out, dy_plane, o);
        let limit = T::from_f64(error * f64::min(x_most * dy_sum, 4.0 * x_sum * dy_most));
        for (suspect, sum) in suspects.iter_mut().zip(sums) {
            let is_one = (sum.abs() <= limit) & (*sum != T::ZERO);
            *suspect = if is_one { T::ONE } else { T::ZERO };
            any |= is_one;
        }
    }
    any
}

/// The largest and the sum of the absolute values in one of the `channels` of all samples.
#[inline(always)]
fn sizes<T: Number>(x: &[T], channels: usize, plane: usize, channel: usize) -> (f64, f64) {
    let (mut most, mut sum) = ([T::ZERO; LANES], [T::ZERO; LANES]);
    for x in x.chunks_exact(channels * plane) {
        let (chunks, rest) = x[channel * plane..][..plane].as_chunks::<LANES>();
        let mut add = |x: &[T]| {
            for ((most, sum), x) in most.iter_mut().zip(&mut sum).zip(x) {
                let x = x.abs();
                *sum += x;
                *most = if x > *most { x } else { *most };
            }
        };
        chunks.iter().for_each(|x| add(x));
        add(rest);
    }
    let largest = |a: f64, b: T| if b.to_f64() > a { b.to_f64() } else { a };
    (most.into_iter().fold(0.0, largest), sum.iter().fold(0.0, |sum, x| sum + x.to_f64()))
}

/// The same memory as words of bits.
fn words<V: Vector>(numbers: &mut [V::Elem]) -> &mut [u64] {
    // SAFETY: the elements of vectors are floats and pairs of them, which like `u64` have a value for every pattern of bits and no padding.
    unsafe { numbers.align_to_mut().1 }
}

/// A bit for each lane of each place of a channel's plane with its padding, row by row, 1 where a number is not 0. In that order the pixel
/// that an output sees through a tap lies behind the output's own place by a number that is the tap's alone: one shift compares all.
struct Bits {
    /// Bits from one place to the next.
    lanes: usize,
    /// Bits from one row to the next.
    pitch: usize,
    /// Words of a plane: two more than it fills, since a shift reads beyond.
    words: usize,
}

impl Bits {
    fn new(conv: &Conv2d, lanes: usize) -> Self {
        let [rows, pitch] = [conv.h_in + 2 * conv.pad[0], (conv.w_in + 2 * conv.pad[1]) * lanes];
        Self { lanes, pitch, words: (rows * pitch).div_ceil(u64::BITS as usize) + 2 }
    }

    /// Writes the bits of a plane with rows of so many columns that begins at this place.
    #[inline(always)]
    fn write<T: Number>(&self, plane: &[T], columns: usize, at: [usize; 2], bits: &mut [u64]) {
        bits.fill(0);
        let mut add = |first: usize, run: u32| {
            let (word, low) = (first / u64::BITS as usize, first % u64::BITS as usize);
            bits[word] |= u64::from(run) << low;
            bits[word + 1] |= (u64::from(run) >> 1) >> (63 - low);
        };
        for (row, numbers) in plane.chunks_exact(columns * self.lanes).enumerate() {
            let first = (at[0] + row) * self.pitch + at[1] * self.lanes;
            for (part, numbers) in numbers.chunks(LANES).enumerate() {
                add(first + part * LANES, run(numbers));
            }
        }
    }

    /// Makes suspects 0 whose pixels meet the wanted outputs: most do so among the first words.
    #[inline(always)]
    fn acquit<T: Number>(&self, seen: &[u64], wanted: &[u64], suspects: &mut [T]) {
        const WORDS: usize = 16;
        for (group, suspects) in suspects.chunks_mut(LANES).enumerate() {
            let mut left = run(suspects);
            while left != 0 {
                let i = left.trailing_zeros() as usize;
                left &= left - 1;
                let (c, tap) = ((group * LANES + i) / TAPS, (group * LANES + i) % TAPS);
                let (seen, low) = self.seen_by(&seen[c * self.words..][..self.words], tap);
                let meet = wanted[..seen.len() - 1].chunks(WORDS).enumerate().any(|(chunk, wanted)| {
                    let pairs = seen[chunk * WORDS..].windows(2);
                    // The pixel at the place of each output.
                    let shifted = pairs.map(|pair| (pair[0] >> low) | ((pair[1] << 1) << (63 - low)));
                    wanted.iter().zip(shifted).fold(0, |met, (wanted, seen)| met | (wanted & seen)) != 0
                });
                suspects[i] = if meet { T::ZERO } else { T::ONE };
            }
        }
    }

    /// Where the pixels that outputs see through this tap begin: at which word, and at which of its bits.
    #[inline(always)]
    fn seen_by<'a>(&self, seen: &'a [u64], tap: usize) -> (&'a [u64], usize) {
        let shift = tap / 3 * self.pitch + tap % 3 * self.lanes;
        (&seen[shift / u64::BITS as usize..], shift % u64::BITS as usize)
    }
}

/// A bit for each of up to sixteen numbers, 1 where it is not 0.
#[inline(always)]
fn run<T: Number>(numbers: &[T]) -> u32 {
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
    match <&[T; LANES]>::try_from(numbers) {
        Ok(numbers) => numbers.iter().zip(&BIT).fold(0, bit),
        Err(_) => numbers.iter().zip(&BIT).fold(0, bit),
    }
}
