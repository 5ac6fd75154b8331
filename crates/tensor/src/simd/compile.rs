//! Functions of their own for kernels: one for each kernel and vector type, compiled for the instruction set of that type.

use super::vector::{Kernel, Vector};

/// Runs a kernel compiled for any processor.
#[inline(never)]
pub(crate) fn plain<V: Vector, K: Kernel<V::Elem>>(kernel: K) -> K::Output {
    kernel.run::<V>()
}

/// Runs a kernel compiled for AVX2 and FMA, or for NEON.
///
/// # Safety
/// The processor must have them.
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
#[cfg_attr(target_arch = "aarch64", target_feature(enable = "neon"))]
#[inline(never)]
pub(crate) unsafe fn fused<V: Vector, K: Kernel<V::Elem>>(kernel: K) -> K::Output {
    kernel.run::<V>()
}

/// Runs a kernel compiled for AVX-512.
///
/// # Safety
/// The processor must have it.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx2,fma")]
#[inline(never)]
pub(crate) unsafe fn avx512<V: Vector, K: Kernel<V::Elem>>(kernel: K) -> K::Output {
    kernel.run::<V>()
}
