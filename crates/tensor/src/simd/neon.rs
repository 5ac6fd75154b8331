//! Four lanes for 64-bit Arm.

use super::compile::fused;
use super::elementary;
use super::portable::Wide;
use super::shapes::shapes;
use super::vector::{Kernel, MicroKernel, Vector};
use std::arch::aarch64::*;

/// A 128-bit register. Made only inside kernels that [`fused`] runs, so the instructions exist.
#[derive(Clone, Copy)]
pub(crate) struct F32x4(float32x4_t);

// SAFETY of every block below: the instruction needs its feature, and a value of the type exists only inside a function
// compiled for it (see the type); loads and stores are the caller's to vouch for.

impl Vector for F32x4 {
    type Elem = f32;
    type Mask = uint32x4_t;
    type One = Wide<f32, 1, true>;
    const LANES: usize = 4;
    const REGISTERS: usize = 32;
    // At most 24 accumulators, 4 kept operands and 2 in flight: 30 of 32 registers.
    const WINDOW_CHANNELS: usize = 4;
    shapes!(6 x 4, 4 x 6, 4 x 5, 8 x 3, 1 x 12, 4 x 1, 2 x 2; tight);

    #[inline(always)]
    fn outlined<K: Kernel<f32>>(kernel: K) -> K::Output {
        // SAFETY: see above.
        unsafe { fused::<Self, K>(kernel) }
    }

    #[inline(always)]
    fn splat(value: f32) -> Self {
        // SAFETY: see above.
        Self(unsafe { vdupq_n_f32(value) })
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: see above.
        Self(unsafe { vld1q_f32(from) })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: see above.
        unsafe { vst1q_f32(to, self.0) }
    }
    #[inline(always)]
    fn add(self, b: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { vaddq_f32(self.0, b.0) })
    }
    #[inline(always)]
    fn sub(self, b: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { vsubq_f32(self.0, b.0) })
    }
    #[inline(always)]
    fn mul(self, b: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { vmulq_f32(self.0, b.0) })
    }
    #[inline(always)]
    fn div(self, b: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { vdivq_f32(self.0, b.0) })
    }
    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { vfmaq_f32(c.0, self.0, b.0) })
    }
    #[inline(always)]
    fn gt(self, b: Self) -> uint32x4_t {
        // SAFETY: see above.
        unsafe { vcgtq_f32(self.0, b.0) }
    }
    #[inline(always)]
    fn ge(self, b: Self) -> uint32x4_t {
        // SAFETY: see above.
        unsafe { vcgeq_f32(self.0, b.0) }
    }
    #[inline(always)]
    fn unordered(a: Self, b: Self) -> uint32x4_t {
        Self::or(a.is_nan(), b.is_nan())
    }
    #[inline(always)]
    fn any(mask: uint32x4_t) -> bool {
        // SAFETY: see above.
        unsafe { vmaxvq_u32(mask) != 0 }
    }
    #[inline(always)]
    fn keep(self, mask: uint32x4_t) -> Self {
        // SAFETY: see above.
        Self(unsafe { vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(self.0), mask)) })
    }
    #[inline(always)]
    fn eq(self, b: Self) -> uint32x4_t {
        // SAFETY: see above.
        unsafe { vceqq_f32(self.0, b.0) }
    }
    #[inline(always)]
    fn is_nan(self) -> uint32x4_t {
        // SAFETY: see above.
        unsafe { vmvnq_u32(vceqq_f32(self.0, self.0)) }
    }
    #[inline(always)]
    fn or(a: uint32x4_t, b: uint32x4_t) -> uint32x4_t {
        // SAFETY: see above.
        unsafe { vorrq_u32(a, b) }
    }
    #[inline(always)]
    fn select(mask: uint32x4_t, yes: Self, no: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { vbslq_f32(mask, yes.0, no.0) })
    }
    #[inline(always)]
    fn unzip(a: Self, b: Self) -> (Self, Self) {
        // SAFETY: see above.
        unsafe { (Self(vuzp1q_f32(a.0, b.0)), Self(vuzp2q_f32(a.0, b.0))) }
    }
    #[inline(always)]
    fn zip(a: Self, b: Self) -> (Self, Self) {
        // SAFETY: see above.
        unsafe { (Self(vzip1q_f32(a.0, b.0)), Self(vzip2q_f32(a.0, b.0))) }
    }
    #[inline(always)]
    fn pow2(self) -> Self {
        // SAFETY: see above.
        Self(unsafe {
            let biased = vaddq_s32(vcvtnq_s32_f32(self.0), vdupq_n_s32(127));
            vreinterpretq_f32_s32(vshlq_n_s32::<23>(biased))
        })
    }
    #[inline(always)]
    fn exp(self) -> Self {
        elementary::exp(self)
    }
    #[inline(always)]
    fn tanh(self) -> Self {
        elementary::tanh(self)
    }
    #[inline(always)]
    fn normal_cdf(self) -> Self {
        elementary::normal_cdf(self)
    }
}
