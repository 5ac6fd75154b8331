//! What kernels are written over: a vector, a kernel, and the block of results that a micro-kernel keeps in registers.
//!
//! The three name each other, so they stand together: a vector type knows which blocks its registers hold, and a kernel runs with any
//! vector type. A kernel is written once, generic over [`Vector`], and compiled inside a function for one instruction set, so that
//! everything inlines down to that set's registers.

use crate::number::Number;

/// A register's worth of numbers.
///
/// `LANES` divides 16, so a row of sixteen numbers is a whole number of vectors.
pub(crate) trait Vector: Copy {
    /// What a lane holds.
    type Elem: Number;
    /// One truth value a lane.
    type Mask: Copy;
    /// The same arithmetic on one number.
    type One: Vector<Elem = Self::Elem>;
    /// Numbers in a vector.
    const LANES: usize;
    /// Vectors that a kernel can have in registers.
    const REGISTERS: usize;
    /// Whether the columns at a border of a convolution are worth a kernel of their own.
    const BORDERS: bool = true;
    /// Output channels whose four sums of a pooling window are in registers at once.
    const WINDOW_CHANNELS: usize;
    /// Of this type's shapes, rows by columns, the one that covers `rows` x `columns` results in the fewest cycles, where the load
    /// of a vector takes `load` half-cycles at least; among those that need every register too, if `tight`.
    fn best_shape(rows: usize, columns: usize, load: usize, tight: bool) -> (usize, usize);
    /// Computes the block of one of this type's shapes, which the kernel must have.
    ///
    /// # Safety
    /// As [`MicroKernel::block`].
    unsafe fn run_block<K: MicroKernel<Self::Elem>>(
        kernel: &K,
        shape: (usize, usize),
        r: usize,
        c: usize,
        fresh: (usize, usize),
    );
    /// Runs a kernel as a function of its own, with registers of its own: what is inlined into one large function shares them, and inner
    /// loops are what it spills.
    fn outlined<K: Kernel<Self::Elem>>(kernel: K) -> K::Output;

    /// All lanes the same.
    fn splat(value: Self::Elem) -> Self;
    /// Reads `LANES` numbers.
    ///
    /// # Safety
    /// `from` must be valid for reading `LANES` numbers.
    unsafe fn load(from: *const Self::Elem) -> Self;
    /// Writes `LANES` numbers.
    ///
    /// # Safety
    /// `to` must be valid for writing `LANES` numbers.
    unsafe fn store(self, to: *mut Self::Elem);
    /// `self + b`.
    fn add(self, b: Self) -> Self;
    /// `self - b`.
    fn sub(self, b: Self) -> Self;
    /// `self * b`.
    fn mul(self, b: Self) -> Self;
    /// `self / b`.
    fn div(self, b: Self) -> Self;
    /// `self * b + c`, rounded once where the instruction set can.
    fn mul_add(self, b: Self, c: Self) -> Self;
    /// `self > b`; false where either is NaN.
    fn gt(self, b: Self) -> Self::Mask;
    /// `self >= b`; false where either is NaN.
    fn ge(self, b: Self) -> Self::Mask;
    /// `self == b`; false where either is NaN.
    fn eq(self, b: Self) -> Self::Mask;
    /// Where either is NaN.
    fn unordered(a: Self, b: Self) -> Self::Mask;
    /// Where the lane is NaN.
    fn is_nan(self) -> Self::Mask;
    /// Lane-wise or.
    fn or(a: Self::Mask, b: Self::Mask) -> Self::Mask;
    /// Whether the mask is set in any lane.
    fn any(mask: Self::Mask) -> bool;
    /// `self` where the mask is set, 0 elsewhere.
    fn keep(self, mask: Self::Mask) -> Self;
    /// `yes` where the mask is set, `no` elsewhere.
    fn select(mask: Self::Mask, yes: Self, no: Self) -> Self;
    /// `2^self` for integers in -126..=127; anything for other numbers. Only `f32` vectors have it.
    fn pow2(self) -> Self;
    /// `e^self`.
    fn exp(self) -> Self;
    /// `tanh(self)`.
    fn tanh(self) -> Self;
    /// `P(X <= self)` of a normal `X`.
    fn normal_cdf(self) -> Self;
    /// The numbers of even place, then those of odd place, of `a` followed by `b`.
    fn unzip(a: Self, b: Self) -> (Self, Self);
    /// The numbers of `a` and `b` in turn: what [`unzip`](Self::unzip) parts.
    fn zip(a: Self, b: Self) -> (Self, Self);
    /// The sum of sixteen numbers: eight sums of two that lie eight apart, four of those that lie four apart, two, one.
    ///
    /// # Safety
    /// `from` must be valid for reading 16 numbers.
    #[inline(always)]
    unsafe fn sum16(from: *const Self::Elem) -> Self::Elem {
        let mut v = [Self::Elem::ZERO; 8];
        for i in 0..8 {
            // SAFETY: i + 8 < 16.
            v[i] = unsafe { *from.add(i) + *from.add(i + 8) };
        }
        for i in 0..4 {
            v[i] += v[i + 4];
        }
        (v[0] + v[2]) + (v[1] + v[3])
    }
    /// The [sums](Self::sum16) of sixteen rows of sixteen numbers.
    ///
    /// # Safety
    /// `from` must be valid for reading 256 numbers, `to` for writing 16.
    #[inline(always)]
    unsafe fn sum_rows(from: *const Self::Elem, to: *mut Self::Elem) {
        for i in 0..16 {
            // SAFETY: as the caller vouches.
            unsafe { *to.add(i) = Self::sum16(from.add(16 * i)) };
        }
    }
    /// `N` numbers, 2 or 4, over and over.
    ///
    /// # Safety
    /// They must be valid for reading, and `LANES` a multiple of `N`.
    #[inline(always)]
    unsafe fn splat_group<const N: usize>(from: *const Self::Elem) -> Self {
        let mut buffer = [Self::Elem::ZERO; 16];
        // SAFETY: the caller vouches for the numbers; the buffer holds 16 >= LANES.
        unsafe {
            for i in 0..Self::LANES {
                buffer[i] = *from.add(i % N);
            }
            Self::load(buffer.as_ptr())
        }
    }
    /// A vector in `N` parts, 2 or 4 of them, each loaded from a place of its own.
    ///
    /// # Safety
    /// There must be as many lanes; each place must be valid for reading `LANES / N` numbers.
    #[inline(always)]
    unsafe fn load_parts<const N: usize>(from: [*const Self::Elem; N]) -> Self {
        let part = Self::LANES / N;
        let mut buffer = [Self::Elem::ZERO; 16];
        // SAFETY: the caller vouches for the parts; the buffer holds 16 >= LANES.
        unsafe {
            for i in 0..N * part {
                buffer[i] = *from[i / part].add(i % part);
            }
            Self::load(buffer.as_ptr())
        }
    }
    /// Stores each quarter of the lanes to a place of its own, the last one first.
    ///
    /// # Safety
    /// There must be four lanes or more; each place must be valid for writing a quarter of them.
    #[inline(always)]
    unsafe fn store_quarters(self, to: [*mut Self::Elem; 4]) {
        let quarter = Self::LANES / 4;
        let mut buffer = [Self::Elem::ZERO; 16];
        // SAFETY: the caller vouches for the places; the buffer holds 16 >= LANES.
        unsafe {
            self.store(buffer.as_mut_ptr());
            for q in [3, 2, 1, 0] {
                for i in 0..quarter {
                    *to[q].add(i) = buffer[q * quarter + i];
                }
            }
        }
    }
    /// `to[i * to_pitch + j] = from[j * from_pitch + i]` for `i < rows`, `j < columns`, perhaps for more, up to 16.
    ///
    /// # Safety
    /// `from` must be valid for reading 16 rows of 16 that begin `from_pitch` apart, `to` for writing 16 that begin `to_pitch`
    /// apart.
    #[inline(always)]
    unsafe fn transpose16(
        from: *const Self::Elem,
        from_pitch: usize,
        [rows, columns]: [usize; 2],
        to: *mut Self::Elem,
        to_pitch: usize,
    ) {
        for i in 0..rows {
            for j in 0..columns {
                // SAFETY: the caller vouches for both squares.
                unsafe { *to.add(i * to_pitch + j) = *from.add(j * from_pitch + i) };
            }
        }
    }
    /// Reads `n <= LANES` numbers and fills up with zeros.
    ///
    /// # Safety
    /// `from` must be valid for reading `n` numbers.
    #[inline(always)]
    unsafe fn load_first(from: *const Self::Elem, n: usize) -> Self {
        debug_assert!(n <= Self::LANES);
        if n == Self::LANES {
            // SAFETY: the caller vouches for n = LANES numbers.
            return unsafe { Self::load(from) };
        }
        let mut buffer = [Self::Elem::ZERO; 16];
        // SAFETY: the caller vouches for n numbers; the buffer holds 16 >= LANES.
        unsafe {
            for i in 0..n {
                buffer[i] = *from.add(i);
            }
            Self::load(buffer.as_ptr())
        }
    }
    /// Writes the first `n <= LANES` numbers.
    ///
    /// # Safety
    /// `to` must be valid for writing `n` numbers.
    #[inline(always)]
    unsafe fn store_first(self, to: *mut Self::Elem, n: usize) {
        debug_assert!(n <= Self::LANES);
        if n == Self::LANES {
            // SAFETY: the caller vouches for n = LANES numbers.
            return unsafe { self.store(to) };
        }
        let mut buffer = [Self::Elem::ZERO; 16];
        // SAFETY: the buffer holds 16 >= LANES; the caller vouches for n numbers.
        unsafe {
            self.store(buffer.as_mut_ptr());
            for i in 0..n {
                *to.add(i) = buffer[i];
            }
        }
    }
}

/// Work that can run with any vector type of numbers `T`.
pub(crate) trait Kernel<T: Number> {
    /// What it returns.
    type Output;
    /// Does the work. Implementations are `#[inline(always)]`, or they would not be compiled for the instruction set.
    fn run<V: Vector<Elem = T>>(self) -> Self::Output;
}

/// A matrix of results that is computed in blocks of `R` x `C` vectors, each kept in registers until it is done.
pub(crate) trait MicroKernel<T: Number> {
    /// The rows and columns of its largest block. One that has few results at a time is not compiled for shapes that never fit.
    const LARGEST: (usize, usize) = (usize::MAX, usize::MAX);
    /// Whether its blocks may need every register. Most kernels then spill, because compilers load the next operand early.
    const TIGHT: bool = false;

    /// Computes the block that begins at row `r`, column `c`. Rows before `fresh.0` and columns before `fresh.1` are done already: a kernel
    /// that overwrites may compute them again, to the same bits; one that adds must not.
    ///
    /// # Safety
    /// Rows `r..r + R` and columns `c..c + C` must exist.
    unsafe fn block<V: Vector<Elem = T>, const R: usize, const C: usize>(
        &self,
        r: usize,
        c: usize,
        fresh: (usize, usize),
    );
}

/// Asks for the cache line of a number that will be read soon, where there is an instruction for it. Any address will do.
#[inline(always)]
pub(crate) fn prefetch<T>(from: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every such processor has the instruction; of no valid address it does nothing.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(from.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = from;
}
