//! Element-wise activations and their backward passes, on flat slices of any layout.
//!
//! Each takes slices of one length and panics if they differ.

use crate::dispatch::Scalar;
use crate::kernels::activation::Each;

/// `y = max(x, 0)`; NaN stays NaN.
#[track_caller]
pub fn relu<T: Scalar>(x: &[T], y: &mut [T]) {
    T::relu(Each::new([x], y));
}

/// `dx = dy where x > 0, else 0` (so `relu'(0) = 0`). `x` may be the input or the output: their signs agree.
#[track_caller]
pub fn relu_backward<T: Scalar>(x: &[T], dy: &[T], dx: &mut [T]) {
    T::relu_backward(Each::new([x, dy], dx));
}

/// `y = tanh(x)`.
#[track_caller]
pub fn tanh<T: Scalar>(x: &[T], y: &mut [T]) {
    T::tanh_of(Each::new([x], y));
}

/// `dx = dy * (1 - y^2)`, `y` the output.
#[track_caller]
pub fn tanh_backward<T: Scalar>(y: &[T], dy: &[T], dx: &mut [T]) {
    T::tanh_backward(Each::new([y, dy], dx));
}

/// `y = 1 / (1 + e^-x)`.
#[track_caller]
pub fn sigmoid<T: Scalar>(x: &[T], y: &mut [T]) {
    T::sigmoid(Each::new([x], y));
}

/// `dx = dy * y * (1 - y)`, `y` the output.
#[track_caller]
pub fn sigmoid_backward<T: Scalar>(y: &[T], dy: &[T], dx: &mut [T]) {
    T::sigmoid_backward(Each::new([y, dy], dx));
}

/// `y = P(X <= x)` of a normal `X` of mean 0 and deviation 1.
#[track_caller]
pub fn normal_cdf<T: Scalar>(x: &[T], y: &mut [T]) {
    T::normal_cdf_of(Each::new([x], y));
}

/// `y = e^(-x^2/2) / sqrt(2 pi)`, the derivative of [`normal_cdf`].
#[track_caller]
pub fn normal_density<T: Scalar>(x: &[T], y: &mut [T]) {
    T::normal_density(Each::new([x], y));
}
