//! Every kernel on arrays: it checks their shapes, packs them, computes, and returns an array. For those who use this crate by itself.
//!
//! Arrays have their samples first, as in other libraries: images `[sample][channel][row][column]`, features `[sample][feature]`. Any
//! strides will do. A convolution's weight is `[output channel][input channel][row][column]`, a dense layer's `[output][input]`, a bias
//! one number for each output: the order of PyTorch, and of every slice in this crate. What is wrong with a shape is an error; nothing
//! here panics.
//!
//! Each call lays its operands out anew. A loop that computes often keeps them as [`Block`]s and calls the methods of
//! [`Conv2d`], [`Pool2d`], [`Dense`] on slices, which allocate nothing. There the caller lends the scratch, and what is in it before does
//! not matter; and lanes of a last tile that have no sample hold copies of the last one ([`pack`]), of a gradient zeros
//! ([`pack_gradient`]).

use crate::api::{activation, pack, pack_gradient, softmax as rows, unpack};
use crate::buffer::Buffer;
use crate::dispatch::Scalar;
use crate::error::{ArrayError, GeometryError};
use crate::geometry::{Conv2d, Dense, Pool2d};
use crate::layout::{Block, Input, Tiles};
use ndarray::{Array, Array1, Array2, Array4, ArrayView, ArrayView1, ArrayView2, ArrayView4, Dimension};

/// `y[o, i, j] = b[o] + sum_{c, u, v} w[o, c, u, v] x[c, i stride + u - pad, j stride + v - pad]` of each sample:
/// `[samples, c_out, h_out, w_out]` from `x` `[samples, c_in, rows, columns]` and `w` `[c_out, c_in, kernel rows, kernel columns]`.
///
/// # Errors
/// A geometry that cannot be ([`Conv2d::new`]), or shapes that do not belong together.
pub fn conv2d<T: Scalar>(
    x: ArrayView4<'_, T>,
    w: ArrayView4<'_, T>,
    b: Option<ArrayView1<'_, T>>,
    stride: [usize; 2],
    pad: [usize; 2],
) -> Result<Array4<T>, ArrayError> {
    let (samples, c_in, h_in, w_in) = x.dim();
    let (c_out, _, kh, kw) = w.dim();
    let conv = Conv2d::new([c_in, h_in, w_in], c_out, [kh, kw], stride, pad)?;
    shape("conv", "w", w.shape(), &[c_out, c_in, kh, kw])?;
    if let Some(b) = &b {
        shape("conv", "b", b.shape(), &[c_out])?;
    }
    let block = Block::for_samples(samples);
    let (x, w) = (packed(x, block), w.as_standard_layout());
    let b = b.as_ref().map(|b| b.as_standard_layout());
    let mut y = Buffer::zeros(block.len(conv.outputs()));
    let mut scratch = Buffer::zeros(conv.scratch_len(block));
    conv.forward(block, slice(&w), b.as_ref().map(slice), &x, &mut y, &mut scratch);
    Ok(images(block, [c_out, conv.h_out(), conv.w_out()], &y))
}

/// The gradient of [`conv2d`]'s input, `[samples, c_in, rows, columns]`, from `dy` `[samples, c_out, h_out, w_out]`; `input` is
/// `[rows, columns]`, which `dy` alone does not tell.
///
/// # Errors
/// As [`conv2d`].
pub fn conv2d_backward_input<T: Scalar>(
    input: [usize; 2],
    w: ArrayView4<'_, T>,
    dy: ArrayView4<'_, T>,
    stride: [usize; 2],
    pad: [usize; 2],
) -> Result<Array4<T>, ArrayError> {
    let (c_out, c_in, kh, kw) = w.dim();
    let conv = Conv2d::new([c_in, input[0], input[1]], c_out, [kh, kw], stride, pad)?;
    let samples = dy.dim().0;
    shape("conv", "dy", dy.shape(), &[samples, c_out, conv.h_out(), conv.w_out()])?;
    let block = Block::for_samples(samples);
    let (dy, w) = (packed_gradient(dy, block), w.as_standard_layout());
    let mut dx = Buffer::zeros(block.len(conv.inputs()));
    let mut scratch = Buffer::zeros(conv.scratch_len(block));
    conv.backward_input(0..c_in, block, slice(&w), &dy, &mut dx, &mut scratch);
    Ok(images(block, [c_in, input[0], input[1]], &dx))
}

/// The gradients of [`conv2d`]'s weight, `[c_out, c_in, kernel rows, kernel columns]`, and bias, summed over samples; `kernel` is
/// `[rows, columns]`.
///
/// # Errors
/// As [`conv2d`].
pub fn conv2d_backward_params<T: Scalar>(
    x: ArrayView4<'_, T>,
    kernel: [usize; 2],
    dy: ArrayView4<'_, T>,
    stride: [usize; 2],
    pad: [usize; 2],
) -> Result<(Array4<T>, Array1<T>), ArrayError> {
    let (samples, c_in, h_in, w_in) = x.dim();
    let c_out = dy.dim().1;
    let conv = Conv2d::new([c_in, h_in, w_in], c_out, kernel, stride, pad)?;
    shape("conv", "dy", dy.shape(), &[samples, c_out, conv.h_out(), conv.w_out()])?;
    let block = Block::for_samples(samples);
    let (x, dy) = (packed(x, block), packed_gradient(dy, block));
    let mut dw = Array4::from_elem((c_out, c_in, kernel[0], kernel[1]), T::ZERO);
    let mut db = Array1::from_elem(c_out, T::ZERO);
    let mut scratch = Buffer::zeros(conv.scratch_len(block));
    conv.backward_params(block, &x, &dy, slice_mut(&mut dw), Some(slice_mut(&mut db)), &mut scratch);
    Ok((dw, db))
}

/// The maximum of each window, `[samples, channels, h_out, w_out]`, and its place in the window, `u * window columns + v`, the first one
/// in row order, as a number: what [`max_pool2d_backward`] asks for.
///
/// # Errors
/// A geometry that cannot be ([`Pool2d::new`]).
pub fn max_pool2d<T: Scalar>(
    x: ArrayView4<'_, T>,
    window: [usize; 2],
    stride: [usize; 2],
) -> Result<(Array4<T>, Array4<T>), ArrayError> {
    let (samples, c, h_in, w_in) = x.dim();
    let pool = Pool2d::new([c, h_in, w_in], window, stride)?;
    let block = Block::for_samples(samples);
    let len = block.len(pool.outputs());
    let (mut y, mut places) = (Buffer::zeros(len), Buffer::zeros(len));
    pool.max_forward(block, &packed(x, block), &mut y, &mut places);
    let out = [c, pool.h_out(), pool.w_out()];
    Ok((images(block, out, &y), images(block, out, &places)))
}

/// The gradient of [`max_pool2d`]'s input, `[samples, channels, rows, columns]`: that of each window goes to its maximum. `input` is
/// `[rows, columns]`.
///
/// # Errors
/// A geometry that cannot be ([`Pool2d::new`]), or shapes that do not belong together.
pub fn max_pool2d_backward<T: Scalar>(
    input: [usize; 2],
    dy: ArrayView4<'_, T>,
    places: ArrayView4<'_, T>,
    window: [usize; 2],
    stride: [usize; 2],
) -> Result<Array4<T>, ArrayError> {
    shape("pool", "the places", places.shape(), dy.shape())?;
    pool_backward(input, dy, window, stride, |pool, block, dy, dx| {
        pool.max_backward(block, dy, &packed(places, block), dx);
    })
}

/// The mean of each window, `[samples, channels, h_out, w_out]`.
///
/// # Errors
/// A geometry that cannot be ([`Pool2d::new`]).
pub fn avg_pool2d<T: Scalar>(
    x: ArrayView4<'_, T>,
    window: [usize; 2],
    stride: [usize; 2],
) -> Result<Array4<T>, ArrayError> {
    let (samples, c, h_in, w_in) = x.dim();
    let pool = Pool2d::new([c, h_in, w_in], window, stride)?;
    let block = Block::for_samples(samples);
    let mut y = Buffer::zeros(block.len(pool.outputs()));
    pool.avg_forward(block, &packed(x, block), &mut y);
    Ok(images(block, [c, pool.h_out(), pool.w_out()], &y))
}

/// The gradient of [`avg_pool2d`]'s input, `[samples, channels, rows, columns]`; `input` is `[rows, columns]`.
///
/// # Errors
/// As [`max_pool2d_backward`].
pub fn avg_pool2d_backward<T: Scalar>(
    input: [usize; 2],
    dy: ArrayView4<'_, T>,
    window: [usize; 2],
    stride: [usize; 2],
) -> Result<Array4<T>, ArrayError> {
    pool_backward(input, dy, window, stride, |pool, block, dy, dx| pool.avg_backward(block, dy, dx))
}

fn pool_backward<T: Scalar>(
    [h_in, w_in]: [usize; 2],
    dy: ArrayView4<'_, T>,
    window: [usize; 2],
    stride: [usize; 2],
    backward: impl FnOnce(&Pool2d, Block, &[T], &mut [T]),
) -> Result<Array4<T>, ArrayError> {
    let (samples, c, ..) = dy.dim();
    let pool = Pool2d::new([c, h_in, w_in], window, stride)?;
    shape("pool", "dy", dy.shape(), &[samples, c, pool.h_out(), pool.w_out()])?;
    let block = Block::for_samples(samples);
    let mut dx = Buffer::zeros(block.len(pool.inputs()));
    backward(&pool, block, &packed_gradient(dy, block), &mut dx);
    Ok(images(block, [c, h_in, w_in], &dx))
}

/// `y = x W^T + b`, `[samples x outputs] = [samples x inputs] * [inputs x outputs]`; `w` is `[outputs, inputs]`.
///
/// # Errors
/// A geometry that cannot be ([`Dense::new`]), or shapes that do not belong together.
pub fn dense<T: Scalar>(
    x: ArrayView2<'_, T>,
    w: ArrayView2<'_, T>,
    b: Option<ArrayView1<'_, T>>,
) -> Result<Array2<T>, ArrayError> {
    let (samples, inputs) = x.dim();
    let outputs = w.dim().0;
    let dense = Dense::new(inputs, outputs)?;
    shape("dense", "w", w.shape(), &[outputs, inputs])?;
    if let Some(b) = &b {
        shape("dense", "b", b.shape(), &[outputs])?;
    }
    let block = Block::for_samples(samples);
    let (x, w) = (packed(x, block), w.as_standard_layout());
    let b = b.as_ref().map(|b| b.as_standard_layout());
    let mut y = Buffer::zeros(block.len(outputs));
    let mut scratch = Buffer::zeros(dense.scratch_len(block));
    let to = Tiles::new(block, &mut y);
    dense.forward(block, slice(&w), b.as_ref().map(slice), Input::Block(&x), to, &mut scratch);
    Ok(unpack(block, outputs, &y))
}

/// `dx = dy W`, `[samples x inputs] = [samples x outputs] * [outputs x inputs]`.
///
/// # Errors
/// As [`dense`].
pub fn dense_backward_input<T: Scalar>(
    w: ArrayView2<'_, T>,
    dy: ArrayView2<'_, T>,
) -> Result<Array2<T>, ArrayError> {
    let (outputs, inputs) = w.dim();
    let dense = Dense::new(inputs, outputs)?;
    let samples = dy.dim().0;
    shape("dense", "dy", dy.shape(), &[samples, outputs])?;
    let block = Block::for_samples(samples);
    let (dy, w) = (packed_gradient(dy, block), w.as_standard_layout());
    let mut dx = Buffer::zeros(block.len(inputs));
    let mut scratch = Buffer::zeros(dense.scratch_len(block));
    dense.backward_input(0..inputs, block, slice(&w), &dy, Tiles::new(block, &mut dx), &mut scratch);
    Ok(unpack(block, inputs, &dx))
}

/// `dW = dy^T x`, `[outputs x inputs] = [outputs x samples] * [samples x inputs]`, and `db`, the sum of `dy` over samples.
///
/// # Errors
/// As [`dense`].
pub fn dense_backward_params<T: Scalar>(
    x: ArrayView2<'_, T>,
    dy: ArrayView2<'_, T>,
) -> Result<(Array2<T>, Array1<T>), ArrayError> {
    let ((samples, inputs), outputs) = (x.dim(), dy.dim().1);
    let dense = Dense::new(inputs, outputs)?;
    shape("dense", "dy", dy.shape(), &[samples, outputs])?;
    let block = Block::for_samples(samples);
    let (x, dy) = (packed(x, block), packed_gradient(dy, block));
    let mut dw = Array2::from_elem((outputs, inputs), T::ZERO);
    let mut db = Array1::from_elem(outputs, T::ZERO);
    let mut scratch = Buffer::zeros(dense.scratch_len(block));
    let (to_w, to_b) = (slice_mut(&mut dw), Some(slice_mut(&mut db)));
    dense.backward_params(0..outputs, block, Input::Block(&x), &dy, to_w, to_b, &mut scratch);
    Ok((dw, db))
}

/// `max(x, 0)`; NaN stays NaN.
pub fn relu<T: Scalar, D: Dimension>(x: ArrayView<'_, T, D>) -> Array<T, D> {
    map(x, activation::relu)
}

/// `dx = dy where x > 0, else 0`; `x` may be the input or the output.
///
/// # Errors
/// Different shapes.
pub fn relu_backward<T: Scalar, D: Dimension>(
    x: ArrayView<'_, T, D>,
    dy: ArrayView<'_, T, D>,
) -> Result<Array<T, D>, ArrayError> {
    map_both("relu", x, dy, activation::relu_backward)
}

/// `tanh(x)`.
pub fn tanh<T: Scalar, D: Dimension>(x: ArrayView<'_, T, D>) -> Array<T, D> {
    map(x, activation::tanh)
}

/// `dx = dy (1 - y^2)`, `y` the output.
///
/// # Errors
/// Different shapes.
pub fn tanh_backward<T: Scalar, D: Dimension>(
    y: ArrayView<'_, T, D>,
    dy: ArrayView<'_, T, D>,
) -> Result<Array<T, D>, ArrayError> {
    map_both("tanh", y, dy, activation::tanh_backward)
}

/// `1 / (1 + e^-x)`.
pub fn sigmoid<T: Scalar, D: Dimension>(x: ArrayView<'_, T, D>) -> Array<T, D> {
    map(x, activation::sigmoid)
}

/// `dx = dy y (1 - y)`, `y` the output.
///
/// # Errors
/// Different shapes.
pub fn sigmoid_backward<T: Scalar, D: Dimension>(
    y: ArrayView<'_, T, D>,
    dy: ArrayView<'_, T, D>,
) -> Result<Array<T, D>, ArrayError> {
    map_both("sigmoid", y, dy, activation::sigmoid_backward)
}

/// `e^x[f] / sum_g e^x[g]` of each row.
///
/// # Errors
/// Rows without a number.
pub fn softmax<T: Scalar>(x: ArrayView2<'_, T>) -> Result<Array2<T>, ArrayError> {
    let (block, features, x) = row_block(x)?;
    let mut y = Buffer::zeros(x.len());
    rows::softmax(block, features, &x, &mut y);
    Ok(unpack(block, features, &y))
}

/// `ln sum_f e^x[f]` of each row.
///
/// # Errors
/// Rows without a number.
pub fn log_sum_exp<T: Scalar>(x: ArrayView2<'_, T>) -> Result<Array1<T>, ArrayError> {
    let (block, features, x) = row_block(x)?;
    let mut sums = Buffer::zeros(block.len(1));
    rows::log_sum_exp(block, features, &x, &mut sums);
    Ok(unpack(block, 1, &sums).column(0).to_owned())
}

fn row_block<T: Scalar>(x: ArrayView2<'_, T>) -> Result<(Block, usize, Buffer<T>), ArrayError> {
    let (samples, features) = x.dim();
    if features == 0 {
        return Err(GeometryError::Zero { kernel: "softmax", what: "features" }.into());
    }
    let block = Block::for_samples(samples);
    Ok((block, features, packed(x, block)))
}

fn map<T: Scalar, D: Dimension>(x: ArrayView<'_, T, D>, f: impl FnOnce(&[T], &mut [T])) -> Array<T, D> {
    let mut y = Array::from_elem(x.raw_dim(), T::ZERO);
    f(slice(&x.as_standard_layout()), slice_mut(&mut y));
    y
}

fn map_both<T: Scalar, D: Dimension>(
    kernel: &'static str,
    x: ArrayView<'_, T, D>,
    dy: ArrayView<'_, T, D>,
    f: impl FnOnce(&[T], &[T], &mut [T]),
) -> Result<Array<T, D>, ArrayError> {
    shape(kernel, "dy", dy.shape(), x.shape())?;
    Ok(map(x, |x, dx| f(x, slice(&dy.as_standard_layout()), dx)))
}

fn shape(
    kernel: &'static str,
    operand: &'static str,
    found: &[usize],
    expected: &[usize],
) -> Result<(), ArrayError> {
    if found == expected {
        return Ok(());
    }
    Err(ArrayError::Shape { kernel, operand, expected: expected.to_vec(), found: found.to_vec() })
}

/// Samples as their block says; of a gradient lanes without a sample are zero.
fn packed<T: Scalar, D: Dimension>(x: ArrayView<'_, T, D>, block: Block) -> Buffer<T> {
    lay_out(x, block, pack)
}

fn packed_gradient<T: Scalar, D: Dimension>(dy: ArrayView<'_, T, D>, block: Block) -> Buffer<T> {
    lay_out(dy, block, pack_gradient)
}

fn lay_out<T: Scalar, D: Dimension>(
    x: ArrayView<'_, T, D>,
    block: Block,
    pack: fn(ArrayView2<'_, T>, Block, &mut [T]),
) -> Buffer<T> {
    let features = x.shape()[1..].iter().product();
    let mut out = Buffer::zeros(block.len(features));
    let x = x.as_standard_layout();
    let rows = ArrayView2::from_shape((block.samples(), features), slice(&x)).expect("one row a sample");
    pack(rows, block, &mut out);
    out
}

fn images<T: Scalar>(block: Block, [c, h, w]: [usize; 3], x: &[T]) -> Array4<T> {
    let rows = unpack(block, c * h * w, x);
    rows.into_shape_with_order((block.samples(), c, h, w)).expect("as many numbers")
}

fn slice<'a, T, D: Dimension>(x: &'a ndarray::CowArray<'_, T, D>) -> &'a [T] {
    x.as_slice().expect("standard layout")
}

fn slice_mut<T, D: Dimension>(x: &mut Array<T, D>) -> &mut [T] {
    x.as_slice_mut().expect("standard layout")
}
