//! A number times a gate that it opens itself, `y = x s(g(x))` with the sigmoid `s`: what SiLU and GELU have in common.

use byhand_tensor::{Loop, Scalar, activation, vectorised};
use std::marker::PhantomData;

/// What the sigmoid is fed.
pub(crate) trait Gate {
    /// `g(x)`.
    fn of<T: Scalar>(x: T) -> T;
    /// `g'(x)`.
    fn slope<T: Scalar>(x: T) -> T;
}

/// `s = s(g(x))`, `y = x s`.
pub(crate) fn forward<G: Gate, T: Scalar>(x: &[T], y: &mut [T], s: &mut [T]) {
    vectorised(Feed::<G, T> { x, y, gate: PhantomData });
    activation::sigmoid(y, s);
    times(x, s, y);
}

/// `y = x s`.
pub(crate) fn times<T: Scalar>(x: &[T], s: &[T], y: &mut [T]) {
    vectorised(Times { x, s, y });
}

/// `dx = dy (s + x g'(x) s (1 - s))`: the product rule, and `s' = s (1 - s)`.
pub(crate) fn backward<G: Gate, T: Scalar>(x: &[T], s: &[T], dy: &[T], dx: &mut [T]) {
    vectorised(Back::<G, T> { x, s, dy, dx, gate: PhantomData });
}

struct Feed<'a, G, T> {
    x: &'a [T],
    y: &'a mut [T],
    gate: PhantomData<G>,
}

impl<G: Gate, T: Scalar> Loop for Feed<'_, G, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        self.y.iter_mut().zip(self.x).for_each(|(y, &x)| *y = G::of(x));
    }
}

struct Times<'a, T> {
    x: &'a [T],
    s: &'a [T],
    y: &'a mut [T],
}

impl<T: Scalar> Loop for Times<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        self.y.iter_mut().zip(self.x).zip(self.s).for_each(|((y, &x), &s)| *y = x * s);
    }
}

struct Back<'a, G, T> {
    x: &'a [T],
    s: &'a [T],
    dy: &'a [T],
    dx: &'a mut [T],
    gate: PhantomData<G>,
}

impl<G: Gate, T: Scalar> Loop for Back<'_, G, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for (((dx, &dy), &x), &s) in self.dx.iter_mut().zip(self.dy).zip(self.x).zip(self.s) {
            *dx = dy * (s + x * G::slope(x) * s * (T::ONE - s));
        }
    }
}
