//! Arrays as vectors: plain Rust for any number type and any machine.

use super::compile::fused;
use super::shapes::shapes;
use super::vector::{Kernel, MicroKernel, Vector};
use crate::number::Number;

/// `N` numbers side by side. `FUSED` says whether `mul_add` rounds once: true only where the hardware does that fast.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Wide<T, const N: usize, const FUSED: bool>(pub(crate) [T; N]);

impl<T: Number, const N: usize, const FUSED: bool> Wide<T, N, FUSED> {
    // Plain loops: an array's own `map` and `from_fn` are ten functions each time, and every kernel has hundreds of times.

    #[inline(always)]
    fn map(mut self, f: impl Fn(T) -> T) -> Self {
        for a in &mut self.0 {
            *a = f(*a);
        }
        self
    }

    #[inline(always)]
    fn each(mut self, b: Self, f: impl Fn(T, T) -> T) -> Self {
        for i in 0..N {
            self.0[i] = f(self.0[i], b.0[i]);
        }
        self
    }

    #[inline(always)]
    fn test(self, b: Self, f: impl Fn(T, T) -> bool) -> [bool; N] {
        let mut mask = [false; N];
        for i in 0..N {
            mask[i] = f(self.0[i], b.0[i]);
        }
        mask
    }
}

/// Runs a kernel compiled for any processor.
#[inline(never)]
fn plain<V: Vector, K: Kernel<V::Elem>>(kernel: K) -> K::Output {
    kernel.run::<V>()
}

impl<T: Number, const N: usize, const FUSED: bool> Vector for Wide<T, N, FUSED> {
    type Elem = T;
    type Mask = [bool; N];
    type One = Wide<T, 1, FUSED>;
    const LANES: usize = N;
    const REGISTERS: usize = 16;

    // Arrays are for correctness, not speed: one shape, and no kernel that only saves time.
    const BORDERS: bool = false;
    const WINDOW_CHANNELS: usize = 1;
    shapes!(4 x 1; tight);

    #[inline(always)]
    fn outlined<K: Kernel<T>>(kernel: K) -> K::Output {
        if const { N == 1 } {
            // One number is what kernels of larger vectors use for what is left over.
            kernel.run::<Self>()
        } else if const { FUSED } {
            // SAFETY: such a type exists only in kernels that were compiled for a processor that fuses.
            unsafe { fused::<Self, K>(kernel) }
        } else {
            plain::<Self, K>(kernel)
        }
    }

    #[inline(always)]
    fn splat(value: T) -> Self {
        Self([value; N])
    }
    #[inline(always)]
    unsafe fn load(from: *const T) -> Self {
        // SAFETY: the caller vouches for N numbers; an array needs no more alignment than its element.
        Self(unsafe { from.cast::<[T; N]>().read() })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut T) {
        // SAFETY: the caller vouches for N numbers.
        unsafe { to.cast::<[T; N]>().write(self.0) }
    }
    #[inline(always)]
    fn add(self, b: Self) -> Self {
        self.each(b, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, b: Self) -> Self {
        self.each(b, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(self, b: Self) -> Self {
        self.each(b, |a, b| a * b)
    }
    #[inline(always)]
    fn div(self, b: Self) -> Self {
        self.each(b, |a, b| a / b)
    }
    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        let mut sums = c;
        for i in 0..N {
            let (a, b, c) = (self.0[i], b.0[i], c.0[i]);
            sums.0[i] = if FUSED { a.mul_add(b, c) } else { a * b + c };
        }
        sums
    }
    #[inline(always)]
    fn gt(self, b: Self) -> [bool; N] {
        self.test(b, |a, b| a > b)
    }
    #[inline(always)]
    fn ge(self, b: Self) -> [bool; N] {
        self.test(b, |a, b| a >= b)
    }
    #[inline(always)]
    fn eq(self, b: Self) -> [bool; N] {
        self.test(b, |a, b| a == b)
    }
    #[inline(always)]
    fn unordered(a: Self, b: Self) -> [bool; N] {
        a.test(b, |a, b| a.is_nan() | b.is_nan())
    }
    #[inline(always)]
    fn is_nan(self) -> [bool; N] {
        self.test(self, |a, _| a.is_nan())
    }
    #[inline(always)]
    fn or(a: [bool; N], b: [bool; N]) -> [bool; N] {
        let mut or = a;
        for i in 0..N {
            or[i] |= b[i];
        }
        or
    }
    #[inline(always)]
    fn any(mask: [bool; N]) -> bool {
        mask.contains(&true)
    }
    #[inline(always)]
    fn keep(self, mask: [bool; N]) -> Self {
        Self::select(mask, self, Self::splat(T::ZERO))
    }
    #[inline(always)]
    fn select(mask: [bool; N], yes: Self, no: Self) -> Self {
        let mut chosen = no;
        for i in 0..N {
            if mask[i] {
                chosen.0[i] = yes.0[i];
            }
        }
        chosen
    }
    #[inline(always)]
    fn unzip(a: Self, b: Self) -> (Self, Self) {
        let at = |i: usize| if i < N { a.0[i] } else { b.0[i - N] };
        let (mut even, mut odd) = (a, b);
        for i in 0..N {
            (even.0[i], odd.0[i]) = (at(2 * i), at(2 * i + 1));
        }
        (even, odd)
    }
    #[inline(always)]
    fn zip(a: Self, b: Self) -> (Self, Self) {
        let at = |i: usize| if i.is_multiple_of(2) { a.0[i / 2] } else { b.0[i / 2] };
        let (mut first, mut second) = (a, b);
        for i in 0..N {
            (first.0[i], second.0[i]) = (at(i), at(N + i));
        }
        (first, second)
    }
    #[inline(always)]
    fn pow2(self) -> Self {
        self.map(|a| T::from_f64(f64::from(f32::from_bits((((a.to_f64() as i32) + 127) as u32) << 23))))
    }
    #[inline(always)]
    fn exp(self) -> Self {
        self.map(|a| a.exp())
    }
    #[inline(always)]
    fn tanh(self) -> Self {
        self.map(|a| a.tanh())
    }
    #[inline(always)]
    fn normal_cdf(self) -> Self {
        self.map(|a| a.normal_cdf())
    }
}
