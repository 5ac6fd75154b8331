//! Weight gradients that are 0 in exact arithmetic.

use super::transform::TAPS;
use crate::geometry::Conv2d;
use crate::layout::LANES;
use crate::number::Number;

/// Makes 0 again what is a sum of zeros alone: the gradients of taps whose pixels and outputs never meet, since of each two one is 0.
///
/// `G^T U G` adds and subtracts places of `U`, each with products that are no part of the formula and cancel. What they leave is a
/// rounding error, and Adam, to which the sign of a gradient is more than its size, would move a weight by it. With `n` output tiles a
/// place errs by at most `gamma(n + 16) * sum |V| |D|` (Higham, "Accuracy and stability of numerical algorithms", 2002, section 3.1; sixteen
/// for the transforms). A number of `V` is made of four pixels, one of `D` of the gradients of its output tile, and the weights in a row of
/// `G^T` have sum 2; so a number of `dw` errs by at most
///
/// ```text
/// gamma(n + 16) * 4 * 4 * min(max |x| * sum |dy|, 4 * sum |x| * max |dy|)
/// ```
///
/// with maxima and sums over one channel each. Only numbers up to that are looked at: where few operands are 0 these are few, and soon
/// found to have met.
pub(super) fn keep_zeros<T: Number>(conv: &Conv2d, x: &[T], dy: &[T], sums: &mut [T]) {
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
fn sizes<T: Number>(x: &[T], channels: usize, plane: usize, channel: usize) -> (f64, f64) {
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
fn meet<T: Number>(conv: &Conv2d, x: &[T], dy: &[T], o: usize, c: usize, tap: usize) -> bool {
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
