//! Which kernels there are, and the choice of a vector type for each call.

use crate::blocking::Pack;
#[cfg(feature = "proofs")]
use crate::dual::Dual;
use crate::isa::Isa;
use crate::kernels::{activation, conv, dense, pool, softmax};
use crate::number::Number;
#[cfg(target_arch = "aarch64")]
use crate::simd::F32x4;
#[cfg(target_arch = "x86_64")]
use crate::simd::{F32x8, F32x16};
use crate::simd::{Kernel, Vector, Wide};

/// A number that kernels, layers and losses compute with. Sealed: `f32` in production, and with the feature `proofs` `f64` and
/// `Dual`.
pub trait Scalar: Number + sealed::Kernels {}

impl<T: Number + sealed::Kernels> Scalar for T {}

/// Runs `kernel` with the vector type of the active instruction set.
#[inline]
pub(crate) fn run_f32<K: Kernel<f32>>(kernel: K) -> K::Output {
    // `Isa::active` returns these sets only on a processor that has them, which is what a vector type asks for.
    match Isa::active() {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => F32x16::outlined(kernel),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => F32x8::outlined(kernel),
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => F32x4::outlined(kernel),
        #[cfg(all(any(target_arch = "x86_64", target_arch = "aarch64"), feature = "proofs"))]
        Isa::Wide => Wide::<f32, 16, true>::outlined(kernel),
        _ => Wide::<f32, 4, false>::outlined(kernel),
    }
}

/// Lists the kernels: a method for each.
///
/// One method a kernel instead of one generic method: so this crate holds the machine code of every kernel for every
/// number type, and the crates above only call it.
macro_rules! kernels {
    ($($name:ident($kernel:ty);)*) => {
        pub(crate) mod sealed {
            #![allow(private_interfaces, reason = "sealed: nobody outside can name the kernels")]
            use super::*;

            pub trait Kernels: Number {
                $(fn $name(kernel: $kernel);)*
            }

            impl Kernels for f32 {
                $(fn $name(kernel: $kernel) { run_f32(kernel) })*
            }

            #[cfg(feature = "proofs")]
            impl Kernels for f64 {
                $(fn $name(kernel: $kernel) { Wide::<f64, 4, false>::outlined(kernel) })*
            }

            #[cfg(feature = "proofs")]
            impl Kernels for Dual {
                $(fn $name(kernel: $kernel) { Wide::<Dual, 2, false>::outlined(kernel) })*
            }
        }
    };
}

kernels! {
    pack(Pack<'_, Self>);
    conv_forward(conv::Forward<'_, Self>);
    conv_backward_input(conv::BackwardInput<'_, Self>);
    conv_backward_params(conv::BackwardParams<'_, Self>);
    conv_pool_forward(conv::pooled::Forward<'_, Self>);
    conv_pool_backward(conv::pooled::Backward<'_, Self>);
    dense_forward(dense::Forward<'_, Self>);
    dense_backward_input(dense::BackwardInput<'_, Self>);
    dense_keep(dense::Keep<'_, Self>);
    dense_apply(dense::Apply<'_, Self>);
    max_pool(pool::MaxForward<'_, Self>);
    avg_pool(pool::AvgForward<'_, Self>);
    pool_backward(pool::Backward<'_, Self>);
    relu(activation::Each<'_, Self, activation::Relu, 1>);
    relu_backward(activation::Each<'_, Self, activation::ReluBackward, 2>);
    tanh_of(activation::Each<'_, Self, activation::Tanh, 1>);
    tanh_backward(activation::Each<'_, Self, activation::TanhBackward, 2>);
    sigmoid(activation::Each<'_, Self, activation::Sigmoid, 1>);
    sigmoid_backward(activation::Each<'_, Self, activation::SigmoidBackward, 2>);
    normal_cdf_of(activation::Each<'_, Self, activation::NormalCdf, 1>);
    normal_density(activation::Each<'_, Self, activation::NormalDensity, 1>);
    softmax(softmax::Softmax<'_, Self>);
}
