//! Vector types behind one small trait: what kernels are written over.

mod compile;
mod elementary;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
mod shapes;
mod vector;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(target_arch = "aarch64")]
pub(crate) use neon::F32x4;
pub(crate) use portable::Wide;
pub(crate) use shapes::{L1_LOAD, L2_LOAD, cost};
pub(crate) use vector::{Kernel, MicroKernel, Vector, prefetch};
#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{F32x8, F32x16};
