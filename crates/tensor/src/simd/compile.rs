//! A function of its own for each kernel and vector type of an instruction set that fuses, but AVX-512's.
//!
//! Those of AVX-512 and of any processor stand in the modules of their types: the compiler works on modules side by side, and nearly all
//! machine code is in these functions.

use super::vector::{Kernel, Vector};

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
