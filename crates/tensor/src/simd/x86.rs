//! Eight lanes for AVX2 with FMA, sixteen for AVX-512.

use super::compile::fused;
use super::elementary;
use super::portable::Wide;
use super::shapes::shapes;
use super::vector::{Kernel, MicroKernel, Vector};
use std::arch::x86_64::*;

/// A 256-bit register. Made only inside kernels that [`fused`] runs, so the instructions exist.
#[derive(Clone, Copy)]
pub(crate) struct F32x8(__m256);

/// A 512-bit register. Made only inside kernels that [`avx512`] runs.
#[derive(Clone, Copy)]
pub(crate) struct F32x16(__m512);

// SAFETY of every block in the two implementations below: the instruction needs its feature, and a value of the type
// exists only inside a function compiled for it (see the types); loads and stores are the caller's to vouch for.

impl Vector for F32x8 {
    type Elem = f32;
    type Mask = __m256;
    type One = Wide<f32, 1, true>;
    const LANES: usize = 8;
    const REGISTERS: usize = 16;
    // At most 12 accumulators, 2 kept operands and 2 in flight: all 16 registers. 8 independent sums keep two
    // multiply-add units of 4 cycles busy, so none of the larger shapes is slower than another.
    const WINDOW_CHANNELS: usize = 2;
    shapes!(6 x 2, 2 x 6, 2 x 5, 3 x 3, 4 x 2, 8 x 1, 1 x 8, 4 x 1, 2 x 2; tight 4 x 3);

    #[inline(always)]
    fn outlined<K: Kernel<f32>>(kernel: K) -> K::Output {
        // SAFETY: see above.
        unsafe { fused::<Self, K>(kernel) }
    }

    #[inline(always)]
    fn splat(value: f32) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm256_set1_ps(value) })
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm256_loadu_ps(from) })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: see above.
        unsafe { _mm256_storeu_ps(to, self.0) }
    }
    #[inline(always)]
    unsafe fn load_first(from: *const f32, n: usize) -> Self {
        if n == Self::LANES {
            // SAFETY: the caller vouches for n = LANES numbers.
            return unsafe { Self::load(from) };
        }
        // SAFETY: see above; what the mask leaves out is not read.
        Self(unsafe { _mm256_maskload_ps(from, first(n)) })
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, n: usize) {
        // SAFETY: see above; what the mask leaves out is not written. A whole vector is stored several times as fast.
        unsafe { if n == Self::LANES { self.store(to) } else { _mm256_maskstore_ps(to, first(n), self.0) } }
    }
    #[inline(always)]
    fn add(self, b: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm256_add_ps(self.0, b.0) })
    }
    #[inline(always)]
    fn sub(self, b: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm256_sub_ps(self.0, b.0) })
    }
    #[inline(always)]
    fn mul(self, b: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm256_mul_ps(self.0, b.0) })
    }
    #[inline(always)]
    fn div(self, b: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm256_div_ps(self.0, b.0) })
    }
    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm256_fmadd_ps(self.0, b.0, c.0) })
    }
    #[inline(always)]
    fn gt(self, b: Self) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_cmp_ps::<_CMP_GT_OQ>(self.0, b.0) }
    }
    #[inline(always)]
    fn ge(self, b: Self) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_cmp_ps::<_CMP_GE_OQ>(self.0, b.0) }
    }
    #[inline(always)]
    fn unordered(a: Self, b: Self) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_cmp_ps::<_CMP_UNORD_Q>(a.0, b.0) }
    }
    #[inline(always)]
    fn any(mask: __m256) -> bool {
        // SAFETY: see above.
        unsafe { _mm256_movemask_ps(mask) != 0 }
    }
    #[inline(always)]
    fn keep(self, mask: __m256) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm256_and_ps(self.0, mask) })
    }
    #[inline(always)]
    fn eq(self, b: Self) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_cmp_ps::<_CMP_EQ_OQ>(self.0, b.0) }
    }
    #[inline(always)]
    fn is_nan(self) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_cmp_ps::<_CMP_UNORD_Q>(self.0, self.0) }
    }
    #[inline(always)]
    fn or(a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_or_ps(a, b) }
    }
    #[inline(always)]
    fn select(mask: __m256, yes: Self, no: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm256_blendv_ps(no.0, yes.0, mask) })
    }
    #[inline(always)]
    fn unzip(a: Self, b: Self) -> (Self, Self) {
        // SAFETY: see above.
        unsafe {
            // Within halves, then the middle quarters change places.
            let order = |v| _mm256_castpd_ps(_mm256_permute4x64_pd::<0xd8>(_mm256_castps_pd(v)));
            (
                Self(order(_mm256_shuffle_ps::<0x88>(a.0, b.0))),
                Self(order(_mm256_shuffle_ps::<0xdd>(a.0, b.0))),
            )
        }
    }
    #[inline(always)]
    fn zip(a: Self, b: Self) -> (Self, Self) {
        // SAFETY: see above.
        unsafe {
            // Within halves, then these are put in order.
            let (low, high) = (_mm256_unpacklo_ps(a.0, b.0), _mm256_unpackhi_ps(a.0, b.0));
            (Self(_mm256_permute2f128_ps::<0x20>(low, high)), Self(_mm256_permute2f128_ps::<0x31>(low, high)))
        }
    }
    #[inline(always)]
    fn pow2(self) -> Self {
        // SAFETY: see above.
        Self(unsafe {
            let biased = _mm256_add_epi32(_mm256_cvtps_epi32(self.0), _mm256_set1_epi32(127));
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased))
        })
    }
    #[inline(always)]
    unsafe fn splat_group<const N: usize>(from: *const f32) -> Self {
        // SAFETY: see above; the caller vouches for the numbers.
        Self(unsafe {
            if const { N == 2 } {
                _mm256_castpd_ps(_mm256_set1_pd(from.cast::<f64>().read_unaligned()))
            } else {
                let four = _mm_loadu_ps(from);
                _mm256_insertf128_ps::<1>(_mm256_castps128_ps256(four), four)
            }
        })
    }
    #[inline(always)]
    unsafe fn load_parts<const N: usize>(from: [*const f32; N]) -> Self {
        // SAFETY: see above; eight lanes are used in halves alone.
        Self(unsafe {
            assert!(const { N == 2 });
            let (low, high) = (_mm_loadu_ps(from[0]), _mm_loadu_ps(from[1]));
            _mm256_insertf128_ps::<1>(_mm256_castps128_ps256(low), high)
        })
    }
    #[inline(always)]
    unsafe fn sum16(from: *const f32) -> f32 {
        // SAFETY: see above; the caller vouches for 16 numbers.
        unsafe { sum16(from) }
    }
    #[inline(always)]
    unsafe fn sum_rows(from: *const f32, to: *mut f32) {
        // SAFETY: see above; the caller vouches for 16 rows and 16 sums.
        unsafe {
            for half in [0, 8] {
                // As for sixteen lanes, but for the first step, which needs no second row.
                let mut fours = [_mm256_setzero_ps(); 4];
                for (i, four) in fours.iter_mut().enumerate() {
                    let mut eights = [_mm256_setzero_ps(); 2];
                    for (k, eight) in eights.iter_mut().enumerate() {
                        let from = from.add(16 * (half + i + 4 * k));
                        *eight = _mm256_add_ps(_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8)));
                    }
                    let [a, b] = eights;
                    let low = _mm256_permute2f128_ps::<0x20>(a, b);
                    *four = _mm256_add_ps(low, _mm256_permute2f128_ps::<0x31>(a, b));
                }
                let mut twos = [_mm256_setzero_ps(); 2];
                for (i, two) in twos.iter_mut().enumerate() {
                    let (a, b) = (fours[2 * i], fours[2 * i + 1]);
                    *two = _mm256_add_ps(_mm256_shuffle_ps::<0x44>(a, b), _mm256_shuffle_ps::<0xEE>(a, b));
                }
                let [a, b] = twos;
                let sums = _mm256_add_ps(_mm256_shuffle_ps::<0x88>(a, b), _mm256_shuffle_ps::<0xDD>(a, b));
                _mm256_storeu_ps(to.add(half), sums);
            }
        }
    }
    #[inline(always)]
    unsafe fn transpose16(
        from: *const f32,
        from_pitch: usize,
        size: [usize; 2],
        to: *mut f32,
        to_pitch: usize,
    ) {
        // SAFETY: see above; the caller vouches for both squares.
        unsafe { transpose16(from, from_pitch, size, to, to_pitch) }
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

impl Vector for F32x16 {
    type Elem = f32;
    type Mask = __mmask16;
    type One = Wide<f32, 1, true>;
    const LANES: usize = 16;
    const REGISTERS: usize = 32;
    // At most 25 accumulators, 5 kept operands and 2 in flight: all 32 registers.
    const WINDOW_CHANNELS: usize = 4;
    shapes!(8 x 3, 4 x 6, 6 x 4, 4 x 5, 5 x 5, 10 x 2, 8 x 2, 3 x 3, 16 x 1, 10 x 1, 8 x 1, 1 x 12, 4 x 1, 2 x 2; tight);

    #[inline(always)]
    fn outlined<K: Kernel<f32>>(kernel: K) -> K::Output {
        // SAFETY: see above.
        unsafe { avx512::<Self, K>(kernel) }
    }

    #[inline(always)]
    fn splat(value: f32) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm512_set1_ps(value) })
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm512_loadu_ps(from) })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: see above.
        unsafe { _mm512_storeu_ps(to, self.0) }
    }
    #[inline(always)]
    unsafe fn load_first(from: *const f32, n: usize) -> Self {
        // SAFETY: see above; what the mask leaves out is not read.
        Self(unsafe { _mm512_maskz_loadu_ps(((1u32 << n) - 1) as u16, from) })
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, n: usize) {
        // SAFETY: see above; what the mask leaves out is not written.
        unsafe { _mm512_mask_storeu_ps(to, ((1u32 << n) - 1) as u16, self.0) }
    }
    #[inline(always)]
    fn add(self, b: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm512_add_ps(self.0, b.0) })
    }
    #[inline(always)]
    fn sub(self, b: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm512_sub_ps(self.0, b.0) })
    }
    #[inline(always)]
    fn mul(self, b: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm512_mul_ps(self.0, b.0) })
    }
    #[inline(always)]
    fn div(self, b: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm512_div_ps(self.0, b.0) })
    }
    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm512_fmadd_ps(self.0, b.0, c.0) })
    }
    #[inline(always)]
    fn gt(self, b: Self) -> __mmask16 {
        // SAFETY: see above.
        unsafe { _mm512_cmp_ps_mask::<_CMP_GT_OQ>(self.0, b.0) }
    }
    #[inline(always)]
    fn ge(self, b: Self) -> __mmask16 {
        // SAFETY: see above.
        unsafe { _mm512_cmp_ps_mask::<_CMP_GE_OQ>(self.0, b.0) }
    }
    #[inline(always)]
    fn unordered(a: Self, b: Self) -> __mmask16 {
        // SAFETY: see above.
        unsafe { _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(a.0, b.0) }
    }
    #[inline(always)]
    fn any(mask: __mmask16) -> bool {
        mask != 0
    }
    #[inline(always)]
    fn keep(self, mask: __mmask16) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm512_maskz_mov_ps(mask, self.0) })
    }
    #[inline(always)]
    fn eq(self, b: Self) -> __mmask16 {
        // SAFETY: see above.
        unsafe { _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(self.0, b.0) }
    }
    #[inline(always)]
    fn is_nan(self) -> __mmask16 {
        // SAFETY: see above.
        unsafe { _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(self.0, self.0) }
    }
    #[inline(always)]
    fn or(a: __mmask16, b: __mmask16) -> __mmask16 {
        a | b
    }
    #[inline(always)]
    fn select(mask: __mmask16, yes: Self, no: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm512_mask_blend_ps(mask, no.0, yes.0) })
    }
    #[inline(always)]
    fn unzip(a: Self, b: Self) -> (Self, Self) {
        // SAFETY: see above.
        unsafe {
            let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
            let odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
            (Self(_mm512_permutex2var_ps(a.0, even, b.0)), Self(_mm512_permutex2var_ps(a.0, odd, b.0)))
        }
    }
    #[inline(always)]
    fn zip(a: Self, b: Self) -> (Self, Self) {
        // SAFETY: see above.
        unsafe {
            let low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
            let high = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
            (Self(_mm512_permutex2var_ps(a.0, low, b.0)), Self(_mm512_permutex2var_ps(a.0, high, b.0)))
        }
    }
    #[inline(always)]
    fn pow2(self) -> Self {
        // SAFETY: see above.
        Self(unsafe {
            let biased = _mm512_add_epi32(_mm512_cvtps_epi32(self.0), _mm512_set1_epi32(127));
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(biased))
        })
    }
    #[inline(always)]
    unsafe fn splat_group<const N: usize>(from: *const f32) -> Self {
        // SAFETY: see above; the caller vouches for the numbers.
        Self(unsafe {
            if const { N == 2 } {
                _mm512_castpd_ps(_mm512_set1_pd(from.cast::<f64>().read_unaligned()))
            } else {
                _mm512_broadcast_f32x4(_mm_loadu_ps(from))
            }
        })
    }
    #[inline(always)]
    unsafe fn load_parts<const N: usize>(from: [*const f32; N]) -> Self {
        // SAFETY: see above.
        Self(unsafe {
            let (low, high) = if const { N == 2 } {
                (_mm256_loadu_ps(from[0]), _mm256_loadu_ps(from[1]))
            } else {
                (F32x8::load_parts([from[0], from[1]]).0, F32x8::load_parts([from[2], from[N - 1]]).0)
            };
            let (low, high) = (_mm256_castps_pd(low), _mm256_castps_pd(high));
            _mm512_castpd_ps(_mm512_insertf64x4::<1>(_mm512_castpd256_pd512(low), high))
        })
    }
    #[inline(always)]
    unsafe fn store_quarters(self, to: [*mut f32; 4]) {
        // SAFETY: see above; the caller vouches for the places.
        unsafe {
            _mm_storeu_ps(to[3], _mm512_extractf32x4_ps::<3>(self.0));
            _mm_storeu_ps(to[2], _mm512_extractf32x4_ps::<2>(self.0));
            _mm_storeu_ps(to[1], _mm512_extractf32x4_ps::<1>(self.0));
            _mm_storeu_ps(to[0], _mm512_castps512_ps128(self.0));
        }
    }
    #[inline(always)]
    unsafe fn sum16(from: *const f32) -> f32 {
        // SAFETY: see above; the caller vouches for 16 numbers.
        unsafe { sum16(from) }
    }
    #[inline(always)]
    unsafe fn sum_rows(from: *const f32, to: *mut f32) {
        // SAFETY: see above; the caller vouches for 16 rows and 16 sums.
        unsafe {
            // Each step adds what lies 8, 4, 2 and 1 apart, of two vectors of the step before. Rows are taken in the order in which their
            // sums then lie.
            let mut fours = [_mm512_setzero_ps(); 4];
            for (i, four) in fours.iter_mut().enumerate() {
                let mut eights = [_mm512_setzero_ps(); 2];
                for (k, eight) in eights.iter_mut().enumerate() {
                    let from = from.add(16 * (i + 8 * k));
                    let (a, b) = (_mm512_loadu_ps(from), _mm512_loadu_ps(from.add(64)));
                    *eight =
                        _mm512_add_ps(_mm512_shuffle_f32x4::<0x44>(a, b), _mm512_shuffle_f32x4::<0xEE>(a, b));
                }
                let [a, b] = eights;
                *four = _mm512_add_ps(_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0xDD>(a, b));
            }
            let mut twos = [_mm512_setzero_ps(); 2];
            for (i, two) in twos.iter_mut().enumerate() {
                let (a, b) = (fours[2 * i], fours[2 * i + 1]);
                *two = _mm512_add_ps(_mm512_shuffle_ps::<0x44>(a, b), _mm512_shuffle_ps::<0xEE>(a, b));
            }
            let [a, b] = twos;
            let sums = _mm512_add_ps(_mm512_shuffle_ps::<0x88>(a, b), _mm512_shuffle_ps::<0xDD>(a, b));
            _mm512_storeu_ps(to, sums);
        }
    }
    #[inline(always)]
    unsafe fn transpose16(
        from: *const f32,
        from_pitch: usize,
        size: [usize; 2],
        to: *mut f32,
        to_pitch: usize,
    ) {
        // SAFETY: see above; the caller vouches for both squares.
        unsafe { transpose16(from, from_pitch, size, to, to_pitch) }
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

/// Runs a kernel compiled for AVX-512.
///
/// # Safety
/// The processor must have it.
#[target_feature(enable = "avx512f,avx2,fma")]
#[inline(never)]
unsafe fn avx512<V: Vector, K: Kernel<V::Elem>>(kernel: K) -> K::Output {
    kernel.run::<V>()
}

/// A mask of the first `n <= 8` lanes.
///
/// # Safety
/// AVX must be there.
#[inline(always)]
unsafe fn first(n: usize) -> __m256i {
    const MASKS: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
    debug_assert!(n <= 8);
    // SAFETY: 8 - n + 8 <= 16; the caller vouches for the instructions.
    unsafe { _mm256_loadu_si256(MASKS.as_ptr().add(8 - n).cast()) }
}

/// [`Vector::transpose16`] of both types: four squares of 8 x 8 make one of 16 x 16, of which the lower two may be left out.
///
/// # Safety
/// AVX must be there; the squares as there.
#[inline(always)]
unsafe fn transpose16(from: *const f32, from_pitch: usize, size: [usize; 2], to: *mut f32, to_pitch: usize) {
    for (i, j) in [(0, 0), (0, 8), (8, 0), (8, 8)] {
        if i < size[0] && j < size[1] {
            // SAFETY: as the caller vouches.
            unsafe {
                transpose8(from.add(j * from_pitch + i), from_pitch, to.add(i * to_pitch + j), to_pitch)
            };
        }
    }
}

/// `to[i * to_pitch + j] = from[j * from_pitch + i]` for `i, j < 8`: halves of rows are brought together by the loads, then pairs and
/// fours change places.
///
/// # Safety
/// AVX must be there; `from` must be valid for 8 rows of 8 that begin `from_pitch` apart, `to` for 8 that begin `to_pitch` apart.
#[inline(always)]
unsafe fn transpose8(from: *const f32, from_pitch: usize, to: *mut f32, to_pitch: usize) {
    // SAFETY: the caller vouches for the instructions and both squares.
    unsafe {
        let pair = |a, b| (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
        let four = |a, b| (_mm256_shuffle_ps::<0x44>(a, b), _mm256_shuffle_ps::<0xee>(a, b));
        for i in [0, 4] {
            // Of columns i to i + 3, rows j and j + 4.
            let r = |j: usize| {
                F32x8::load_parts([from.add(j * from_pitch + i), from.add((j + 4) * from_pitch + i)]).0
            };
            let ((a0, a1), (a2, a3)) = (pair(r(0), r(1)), pair(r(2), r(3)));
            let ((b0, b1), (b2, b3)) = (four(a0, a2), four(a1, a3));
            for (k, row) in [b0, b1, b2, b3].into_iter().enumerate() {
                _mm256_storeu_ps(to.add((i + k) * to_pitch), row);
            }
        }
    }
}

/// [`Vector::sum16`].
///
/// # Safety
/// AVX must be there, and `from` be valid for reading 16 numbers.
#[inline(always)]
unsafe fn sum16(from: *const f32) -> f32 {
    // SAFETY: the caller vouches for both.
    unsafe {
        let eight = _mm256_add_ps(_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8)));
        let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
        let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
    }
}
