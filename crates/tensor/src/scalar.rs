//! The numbers kernels compute with: `f32` in production, `f64` and dual numbers in proofs.

#[cfg(feature = "proofs")]
use crate::Dual;
#[cfg(feature = "proofs")]
use crate::simd::Kernel;
use crate::simd::{Wide, run_f32};
use crate::{activation, block, conv, conv_pool, dense, math, pool, softmax, winograd};
use std::fmt::Debug;
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub, SubAssign};

/// A number that kernels, layers and losses compute with. Sealed: `f32`, and with the feature `proofs` `f64` and
/// `Dual`.
pub trait Scalar:
    Copy
    + Send
    + Sync
    + Debug
    + Default
    + PartialEq
    + PartialOrd
    + 'static
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + SubAssign
    + MulAssign
    + sealed::Dispatch
{
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// Unit roundoff: the largest relative error of a rounding.
    const UNIT: f64;

    /// The nearest number of this type.
    fn from_f64(value: f64) -> Self;
    /// The value, without a dual number's slope.
    fn to_f64(self) -> f64;
    /// The square root, correctly rounded.
    fn sqrt(self) -> Self;
    /// The absolute value.
    fn abs(self) -> Self;
    /// `e^x`. For `f32` this is our own function: the same bits on every machine.
    fn exp(self) -> Self;
    /// The natural logarithm. For `f32` this is our own function.
    fn ln(self) -> Self;
    /// The hyperbolic tangent. For `f32` this is our own function.
    fn tanh(self) -> Self;
    /// `self * a + b`; fused where the type is `f32` or `f64`.
    fn mul_add(self, a: Self, b: Self) -> Self;
    /// Neither infinite nor NaN.
    fn is_finite(self) -> bool;
    /// NaN.
    fn is_nan(self) -> bool;
}

/// Runs each kernel with the vector type of the active instruction set.
///
/// One method a kernel instead of one generic method: so this crate holds the machine code of every kernel for every
/// number type, and the crates above only call it.
macro_rules! kernels {
    ($($name:ident($kernel:ty);)*) => {
        pub(crate) mod sealed {
            #![allow(private_interfaces, reason = "sealed: nobody outside can name the kernels")]
            use super::*;

            pub trait Dispatch: Sized {
                $(fn $name(kernel: $kernel) where Self: Scalar;)*
            }

            impl Dispatch for f32 {
                $(fn $name(kernel: $kernel) { run_f32(kernel) })*
            }

            #[cfg(feature = "proofs")]
            impl Dispatch for f64 {
                $(fn $name(kernel: $kernel) { kernel.run::<Wide<f64, 4, false>>() })*
            }

            #[cfg(feature = "proofs")]
            impl Dispatch for Dual {
                $(fn $name(kernel: $kernel) { kernel.run::<Wide<Dual, 2, false>>() })*
            }
        }
    };
}

kernels! {
    pack(block::Pack<'_, Self>);
    correlation(conv::correlation::RunCorrelation<'_, Self>);
    weight_gradient(conv::gradient::WeightGradient<'_, Self>);
    bias_gradient(conv::gradient::BiasGradient<'_, Self>);
    winograd(winograd::Pass<'_, Self>);
    transpose(winograd::Transpose<'_, Self>);
    winograd_transform(winograd::Transform<'_, Self>);
    winograd_products(winograd::Products<'_, Self>);
    conv_pool_forward(conv_pool::forward::Forward<'_, Self>);
    conv_pool_backward(conv_pool::backward::Backward<'_, Self>);
    dense_forward(dense::Forward<'_, Self>);
    dense_backward_input(dense::BackwardInput<'_, Self>);
    dense_keep(dense::gradient::Keep<'_, Self>);
    dense_move_rows(dense::gradient::MoveRows<'_, Self>);
    max_pool(pool::MaxForward<'_, Self>);
    avg_pool(pool::AvgForward<'_, Self>);
    pool_backward(pool::Spread<'_, Self>);
    relu(activation::Each<'_, Self, activation::Relu, 1>);
    relu_backward(activation::Each<'_, Self, activation::ReluBackward, 2>);
    tanh_of(activation::Each<'_, Self, activation::Tanh, 1>);
    tanh_backward(activation::Each<'_, Self, activation::TanhBackward, 2>);
    sigmoid(activation::Each<'_, Self, activation::Sigmoid, 1>);
    sigmoid_backward(activation::Each<'_, Self, activation::SigmoidBackward, 2>);
    softmax(softmax::Softmax<'_, Self>);
}

impl Scalar for f32 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    const UNIT: f64 = f32::EPSILON as f64 / 2.0;

    #[inline(always)]
    fn from_f64(value: f64) -> Self {
        value as f32
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        f32::sqrt(self)
    }
    #[inline(always)]
    fn abs(self) -> Self {
        f32::abs(self)
    }
    fn exp(self) -> Self {
        math::exp(Wide::<f32, 1, false>([self])).0[0]
    }
    #[inline]
    fn ln(self) -> Self {
        math::ln(self)
    }
    fn tanh(self) -> Self {
        math::tanh(Wide::<f32, 1, false>([self])).0[0]
    }
    #[inline(always)]
    fn mul_add(self, a: Self, b: Self) -> Self {
        f32::mul_add(self, a, b)
    }
    #[inline(always)]
    fn is_finite(self) -> bool {
        f32::is_finite(self)
    }
    #[inline(always)]
    fn is_nan(self) -> bool {
        f32::is_nan(self)
    }
}

#[cfg(feature = "proofs")]
impl Scalar for f64 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    const UNIT: f64 = f64::EPSILON / 2.0;

    #[inline(always)]
    fn from_f64(value: f64) -> Self {
        value
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        self
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        f64::sqrt(self)
    }
    #[inline(always)]
    fn abs(self) -> Self {
        f64::abs(self)
    }
    fn exp(self) -> Self {
        f64::exp(self)
    }
    fn ln(self) -> Self {
        f64::ln(self)
    }
    fn tanh(self) -> Self {
        f64::tanh(self)
    }
    #[inline(always)]
    fn mul_add(self, a: Self, b: Self) -> Self {
        f64::mul_add(self, a, b)
    }
    #[inline(always)]
    fn is_finite(self) -> bool {
        f64::is_finite(self)
    }
    #[inline(always)]
    fn is_nan(self) -> bool {
        f64::is_nan(self)
    }
}
