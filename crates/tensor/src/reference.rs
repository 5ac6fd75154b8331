//! The slow twins: each kernel as its formula reads, one sample after the other, for people and for tests.
//!
//! Samples are rows: `[samples, channels, rows, columns]` or `[samples, features]`, whatever the fast kernel's layout.

use crate::dispatch::Scalar;
use crate::geometry::{Conv2d, Dense, Pool2d, Windows};
use crate::number::NORMAL_PEAK;

/// `y = conv(x, w) + b`. See [`Conv2d::forward`].
pub fn conv2d<T: Scalar>(conv: &Conv2d, w: &[T], b: Option<&[T]>, x: &[T], y: &mut [T]) {
    check_params(w.len(), conv.weight_len(), b.map(<[T]>::len), conv.c_out);
    for (x, y) in samples(x, conv.inputs(), y, conv.outputs()) {
        for o in 0..conv.c_out {
            let plane = conv.h_out() * conv.w_out();
            y[o * plane..][..plane].fill(b.map_or(T::ZERO, |b| b[o]));
        }
        each_product(conv, |iw, ix, iy| y[iy] += w[iw] * x[ix]);
    }
}

/// `dx` of a convolution, overwritten. See [`Conv2d::backward_input`].
pub fn conv2d_backward_input<T: Scalar>(conv: &Conv2d, w: &[T], dy: &[T], dx: &mut [T]) {
    check_params(w.len(), conv.weight_len(), None, conv.c_out);
    dx.fill(T::ZERO);
    for (dy, dx) in samples(dy, conv.outputs(), dx, conv.inputs()) {
        each_product(conv, |iw, ix, iy| dx[ix] += w[iw] * dy[iy]);
    }
}

/// `dw` and `db` of a convolution, added to. See [`Conv2d::backward_params`].
pub fn conv2d_backward_params<T: Scalar>(
    conv: &Conv2d,
    x: &[T],
    dy: &[T],
    dw: &mut [T],
    db: Option<&mut [T]>,
) {
    check_params(dw.len(), conv.weight_len(), db.as_ref().map(|db| db.len()), conv.c_out);
    check_samples([(x.len(), conv.inputs()), (dy.len(), conv.outputs())]);
    for (x, dy) in x.chunks_exact(conv.inputs()).zip(dy.chunks_exact(conv.outputs())) {
        each_product(conv, |iw, ix, iy| dw[iw] += dy[iy] * x[ix]);
    }
    if let Some(db) = db {
        for dy in dy.chunks_exact(conv.outputs()) {
            for (db, dy) in db.iter_mut().zip(dy.chunks_exact(conv.h_out() * conv.w_out())) {
                dy.iter().for_each(|&d| *db += d);
            }
        }
    }
}

/// Calls `visit(weight, input, output)` with the three indices of every product `w * x` that goes into a `y`.
fn each_product(conv: &Conv2d, mut visit: impl FnMut(usize, usize, usize)) {
    let ([kh, kw], [sh, sw], [ph, pw]) = (conv.kernel, conv.stride, conv.pad);
    let (h_out, w_out) = (conv.h_out(), conv.w_out());
    for o in 0..conv.c_out {
        for c in 0..conv.c_in {
            for (i, j) in grid(h_out, w_out) {
                for (u, v) in grid(kh, kw) {
                    let (p, q) = (i * sh + u, j * sw + v);
                    if p < ph || q < pw || p - ph >= conv.h_in || q - pw >= conv.w_in {
                        continue; // a zero of the padding
                    }
                    let iw = ((o * conv.c_in + c) * kh + u) * kw + v;
                    let ix = (c * conv.h_in + p - ph) * conv.w_in + q - pw;
                    visit(iw, ix, (o * h_out + i) * w_out + j);
                }
            }
        }
    }
}

/// Max pooling; `tape` receives the place of the first maximum in its window. See [`Pool2d::max_forward`].
pub fn max_pool2d<T: Scalar>(pool: &Pool2d, x: &[T], y: &mut [T], tape: &mut [T]) {
    check_samples([(tape.len(), pool.outputs()), (y.len(), pool.outputs())]);
    let tapes = tape.chunks_exact_mut(pool.outputs());
    for ((x, y), tape) in samples(x, pool.inputs(), y, pool.outputs()).zip(tapes) {
        each_window(pool, |output, _, window| {
            let (mut place, mut best) = window[0];
            for &(k, input) in window {
                if x[input] > x[best] || x[input].is_nan() {
                    (place, best) = (k, input);
                }
            }
            y[output] = x[best];
            tape[output] = T::from_f64(place as f64);
        });
    }
}

/// `dx` of max pooling, overwritten. See [`Pool2d::max_backward`].
pub fn max_pool2d_backward<T: Scalar>(pool: &Pool2d, dy: &[T], tape: &[T], dx: &mut [T]) {
    check_samples([(tape.len(), pool.outputs()), (dy.len(), pool.outputs())]);
    dx.fill(T::ZERO);
    let tapes = tape.chunks_exact(pool.outputs());
    for ((dy, dx), tape) in samples(dy, pool.outputs(), dx, pool.inputs()).zip(tapes) {
        each_window(pool, |output, _, window| {
            let place = tape[output].to_f64() as usize;
            window.iter().filter(|(k, _)| *k == place).for_each(|&(_, input)| dx[input] += dy[output]);
        });
    }
}

/// Average pooling. See [`Pool2d::avg_forward`].
pub fn avg_pool2d<T: Scalar>(pool: &Pool2d, x: &[T], y: &mut [T]) {
    for (x, y) in samples(x, pool.inputs(), y, pool.outputs()) {
        each_window(pool, |output, size, window| {
            let sum = window.iter().fold(T::ZERO, |sum, &(_, input)| sum + x[input]);
            y[output] = sum / T::from_f64(size as f64);
        });
    }
}

/// `dx` of average pooling, overwritten. See [`Pool2d::avg_backward`].
pub fn avg_pool2d_backward<T: Scalar>(pool: &Pool2d, dy: &[T], dx: &mut [T]) {
    dx.fill(T::ZERO);
    for (dy, dx) in samples(dy, pool.outputs(), dx, pool.inputs()) {
        each_window(pool, |output, size, window| {
            let part = dy[output] / T::from_f64(size as f64);
            window.iter().for_each(|&(_, input)| dx[input] += part);
        });
    }
}

/// Calls `visit(output, size, taps)` for each window: with what its mean divides by, and the number and the input of each tap that sees a
/// pixel, row by row.
fn each_window(pool: &Pool2d, mut visit: impl FnMut(usize, usize, &[(usize, usize)])) {
    let ([rows, columns], [kh, kw]) = (pool.windows().map(Windows::slide), pool.window());
    let (h_in, w_in) = (pool.h_in(), pool.w_in());
    for c in 0..pool.c {
        for (i, j) in grid(pool.h_out(), pool.w_out()) {
            let (mut taps, mut size) = (Vec::new(), 0);
            for (u, v) in grid(kh, kw) {
                // In the padded image.
                let p = i * rows.stride + u * rows.dilation;
                let q = j * columns.stride + v * columns.dilation;
                let ([top, bottom], [left, right]) = (rows.pad, columns.pad);
                let sees = (top..top + h_in).contains(&p) && (left..left + w_in).contains(&q);
                if sees {
                    taps.push((u * kw + v, (c * h_in + p - top) * w_in + q - left));
                }
                let is_counted = pool.counts_pad && p < top + h_in + bottom && q < left + w_in + right;
                size += usize::from(sees || is_counted);
            }
            visit((c * pool.h_out() + i) * pool.w_out() + j, size, &taps);
        }
    }
}

/// `y = W x + b`. See [`Dense::forward`].
pub fn dense<T: Scalar>(dense: &Dense, w: &[T], b: Option<&[T]>, x: &[T], y: &mut [T]) {
    check_params(w.len(), dense.inputs * dense.outputs, b.map(<[T]>::len), dense.outputs);
    for (x, y) in samples(x, dense.inputs, y, dense.outputs) {
        for o in 0..dense.outputs {
            y[o] = b.map_or(T::ZERO, |b| b[o]);
            for i in 0..dense.inputs {
                y[o] += w[o * dense.inputs + i] * x[i];
            }
        }
    }
}

/// `dx = W^T dy`, overwritten. See [`Dense::backward_input`].
pub fn dense_backward_input<T: Scalar>(dense: &Dense, w: &[T], dy: &[T], dx: &mut [T]) {
    check_params(w.len(), dense.inputs * dense.outputs, None, dense.outputs);
    dx.fill(T::ZERO);
    for (dy, dx) in samples(dy, dense.outputs, dx, dense.inputs) {
        for (o, i) in grid(dense.outputs, dense.inputs) {
            dx[i] += w[o * dense.inputs + i] * dy[o];
        }
    }
}

/// `dW += dy x^T`, `db += dy`. See [`Dense::backward_params`].
pub fn dense_backward_params<T: Scalar>(
    dense: &Dense,
    x: &[T],
    dy: &[T],
    dw: &mut [T],
    mut db: Option<&mut [T]>,
) {
    check_params(dw.len(), dense.inputs * dense.outputs, db.as_ref().map(|db| db.len()), dense.outputs);
    check_samples([(x.len(), dense.inputs), (dy.len(), dense.outputs)]);
    for (x, dy) in x.chunks_exact(dense.inputs).zip(dy.chunks_exact(dense.outputs)) {
        for (o, i) in grid(dense.outputs, dense.inputs) {
            dw[o * dense.inputs + i] += dy[o] * x[i];
        }
        if let Some(db) = &mut db {
            db.iter_mut().zip(dy).for_each(|(db, &d)| *db += d);
        }
    }
}

/// `max(x, 0)`. See [`crate::activation::relu`].
pub fn relu<T: Scalar>(x: T) -> T {
    if x < T::ZERO { T::ZERO } else { x }
}

/// `1 / (1 + e^-x)`. See [`crate::activation::sigmoid`].
pub fn sigmoid<T: Scalar>(x: T) -> T {
    T::ONE / (T::ONE + (-x).exp())
}

/// `e^(-x^2/2) / sqrt(2 pi)`. See [`crate::activation::normal_density`].
pub fn normal_density<T: Scalar>(x: T) -> T {
    (T::from_f64(-0.5) * (x * x)).exp() * T::from_f64(NORMAL_PEAK)
}

/// `ln sum e^x` of one sample's features. See [`crate::softmax::log_sum_exp`].
///
/// # Panics
/// If there is no feature.
pub fn log_sum_exp<T: Scalar>(x: &[T]) -> T {
    let m = x.iter().fold(x[0], |m, &x| if x > m { x } else { m });
    m + x.iter().fold(T::ZERO, |sum, &x| sum + (x - m).exp()).ln()
}

/// `e^x / sum e^x` of one sample's features. See [`crate::softmax::softmax`].
///
/// # Panics
/// If there is no feature.
pub fn softmax<T: Scalar>(x: &[T]) -> Vec<T> {
    let lse = log_sum_exp(x);
    x.iter().map(|&x| (x - lse).exp()).collect()
}

/// Panics unless weight and bias have the lengths of their layer.
#[track_caller]
fn check_params(w: usize, weight_len: usize, b: Option<usize>, outputs: usize) {
    assert_eq!(w, weight_len, "reference: length of the weight");
    assert!(b.is_none_or(|b| b == outputs), "reference: bias must hold {outputs} numbers");
}

/// Panics unless both operands, of so many numbers and features, have equally many whole samples.
#[track_caller]
fn check_samples([(x, x_features), (y, y_features)]: [(usize, usize); 2]) {
    let whole = x % x_features == 0 && y % y_features == 0 && x / x_features == y / y_features;
    assert!(whole, "reference: samples of {x_features} features in {x} numbers, of {y_features} in {y}");
}

/// The samples of an operand beside those of a result.
#[track_caller]
fn samples<'a, T>(
    x: &'a [T],
    x_features: usize,
    y: &'a mut [T],
    y_features: usize,
) -> impl Iterator<Item = (&'a [T], &'a mut [T])> {
    check_samples([(x.len(), x_features), (y.len(), y_features)]);
    x.chunks_exact(x_features).zip(y.chunks_exact_mut(y_features))
}

/// All `(i, j)` with `i < rows`, `j < columns`, row by row.
fn grid(rows: usize, columns: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..rows).flat_map(move |i| (0..columns).map(move |j| (i, j)))
}
