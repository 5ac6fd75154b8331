//! What becomes of parameters when their gradient is known: it is added, or a step of gradient descent is taken.

use crate::simd::Vector;

/// What becomes of a parameter, or of its gradient, when the gradient of all samples is known.
#[inline(always)]
pub(super) fn updated<V: Vector>(old: V, gradient: V, rate: Option<V::Elem>) -> V {
    match rate {
        None => old.add(gradient),
        Some(rate) => old.sub(V::splat(rate).mul(gradient)),
    }
}

/// `y += a x`, or with a rate `y -= rate * (a x)`.
#[inline(always)]
pub(super) fn apply_along<V: Vector>(rate: Option<V::Elem>, a: V::Elem, x: &[V::Elem], y: &mut [V::Elem]) {
    /// Vectors at a time.
    const UNROLL: usize = 4;
    let len = x.len().min(y.len());
    let (x, y) = (x.as_ptr(), y.as_mut_ptr());
    let mut i = 0;
    // SAFETY: no more than len numbers are read or written.
    unsafe {
        while i + UNROLL * V::LANES <= len {
            for k in 0..UNROLL {
                apply_vector::<V>(rate, a, x.add(i + k * V::LANES), y.add(i + k * V::LANES), V::LANES);
            }
            i += UNROLL * V::LANES;
        }
        while i < len {
            let n = V::LANES.min(len - i);
            apply_vector::<V>(rate, a, x.add(i), y.add(i), n);
            i += n;
        }
    }
}

/// The first `n` numbers of [`apply_along`].
///
/// # Safety
/// Both pointers must be valid for `n <= LANES` numbers.
#[inline(always)]
unsafe fn apply_vector<V: Vector>(
    rate: Option<V::Elem>,
    a: V::Elem,
    x: *const V::Elem,
    y: *mut V::Elem,
    n: usize,
) {
    // SAFETY: as the caller vouches.
    unsafe {
        let (a, x, old) = (V::splat(a), V::load_first(x, n), V::load_first(y, n));
        let new = match rate {
            None => a.mul_add(x, old),
            Some(_) => updated(old, a.mul(x), rate),
        };
        new.store_first(y, n);
    }
}
