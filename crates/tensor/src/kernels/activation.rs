//! Element-wise activations and their backward passes.

use crate::number::{NORMAL_PEAK, Number};
use crate::simd::{Kernel, Vector};
use std::marker::PhantomData;

/// A function of `N` numbers, lane by lane.
pub(crate) trait Function<const N: usize> {
    fn of<V: Vector>(x: [V; N]) -> V;
}

pub(crate) struct Relu;
pub(crate) struct ReluBackward;
pub(crate) struct Tanh;
pub(crate) struct TanhBackward;
pub(crate) struct Sigmoid;
pub(crate) struct SigmoidBackward;
pub(crate) struct NormalCdf;
pub(crate) struct NormalDensity;

impl Function<1> for Relu {
    #[inline(always)]
    fn of<V: Vector>([x]: [V; 1]) -> V {
        let zero = V::splat(V::Elem::ZERO);
        V::select(zero.gt(x), zero, x)
    }
}

impl Function<2> for ReluBackward {
    #[inline(always)]
    fn of<V: Vector>([x, dy]: [V; 2]) -> V {
        let zero = V::splat(V::Elem::ZERO);
        V::select(x.gt(zero), dy, V::select(x.is_nan(), x, zero))
    }
}

impl Function<1> for Tanh {
    #[inline(always)]
    fn of<V: Vector>([x]: [V; 1]) -> V {
        x.tanh()
    }
}

impl Function<2> for TanhBackward {
    #[inline(always)]
    fn of<V: Vector>([y, dy]: [V; 2]) -> V {
        dy.mul(V::splat(V::Elem::ONE).sub(y.mul(y)))
    }
}

impl Function<1> for Sigmoid {
    #[inline(always)]
    fn of<V: Vector>([x]: [V; 1]) -> V {
        let one = V::splat(V::Elem::ONE);
        one.div(one.add(V::splat(V::Elem::ZERO).sub(x).exp()))
    }
}

impl Function<2> for SigmoidBackward {
    #[inline(always)]
    fn of<V: Vector>([y, dy]: [V; 2]) -> V {
        dy.mul(y).mul(V::splat(V::Elem::ONE).sub(y))
    }
}

impl Function<1> for NormalCdf {
    #[inline(always)]
    fn of<V: Vector>([x]: [V; 1]) -> V {
        x.normal_cdf()
    }
}

impl Function<1> for NormalDensity {
    #[inline(always)]
    fn of<V: Vector>([x]: [V; 1]) -> V {
        let number = |value| V::splat(V::Elem::from_f64(value));
        number(-0.5).mul(x.mul(x)).exp().mul(number(NORMAL_PEAK))
    }
}

/// The operands of an activation `F`.
pub(crate) struct Each<'a, T, F, const N: usize> {
    x: [&'a [T]; N],
    y: &'a mut [T],
    function: PhantomData<F>,
}

impl<'a, T, F, const N: usize> Each<'a, T, F, N> {
    #[track_caller]
    pub(crate) fn new(x: [&'a [T]; N], y: &'a mut [T]) -> Self {
        for x in x {
            assert_eq!(x.len(), y.len(), "activation: lengths of the slices");
        }
        Self { x, y, function: PhantomData }
    }
}

impl<T: Number, F: Function<N>, const N: usize> Kernel<T> for Each<'_, T, F, N> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Elem = T>>(self) {
        let Self { x, y, .. } = self;
        let len = y.len();
        let mut i = 0;
        while i < len {
            let n = V::LANES.min(len - i);
            // SAFETY: i + n <= len, the length of every slice.
            unsafe {
                let mut operands = [V::splat(T::ZERO); N];
                for k in 0..N {
                    operands[k] = V::load_first(x[k].as_ptr().add(i), n);
                }
                F::of(operands).store_first(y.as_mut_ptr().add(i), n);
            }
            i += n;
        }
    }
}
