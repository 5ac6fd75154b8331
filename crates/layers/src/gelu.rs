//! The Gaussian error linear unit.

use crate::Shape;
use crate::contract::{Describe, Kind, Layer, Pass, Saved};
use crate::gate::{self, Gate};
use byhand_tensor::{Block, Scalar};

/// The Gaussian error linear unit, element by element, by its formula with tanh.
///
/// # Formula
/// `y = x/2 (1 + tanh(u))` with `u = sqrt(2/pi) (x + 0.044715 x^3)`. It is computed as `y = x s` with `s = 1 / (1 + e^-2u)`, the same
/// number without a difference of nearly equal ones.
///
/// The exact `x P(X <= x)` of a normal `X`, [`ExactGelu`](crate::ExactGelu), differs from it by less than 0.0005. PyTorch calls this one
/// `GELU(approximate="tanh")`.
///
/// # Shapes
/// `y` has the shape of `x`.
///
/// # Backward
/// ```text
/// dx = dy * (s + x * g' * s * (1 - s))     g' = 2 sqrt(2/pi) (1 + 3 * 0.044715 x^2)
/// ```
///
/// # Memory
/// The tape holds `s`: as many numbers as `x`. No scratch.
///
/// # Reference
/// Hendrycks and Gimpel, "Gaussian error linear units", 2016.
///
/// ```
/// use byhand_layers::{Describe, Gelu, Shape};
/// assert_eq!(Gelu::new(Shape::flat(16)).output(), Shape::flat(16));
/// ```
#[derive(Clone, PartialEq, Debug)]
pub struct Gelu {
    shape: Shape,
}

impl Gelu {
    /// For samples of this shape.
    pub fn new(shape: Shape) -> Self {
        Self { shape }
    }
}

/// `2 sqrt(2/pi)`.
const SCALE: f64 = 2.0 * std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2;
const CUBE: f64 = 0.044715;

impl Gate for Gelu {
    #[inline(always)]
    fn of<T: Scalar>(x: T) -> T {
        T::from_f64(SCALE) * (x + T::from_f64(CUBE) * (x * x * x))
    }

    #[inline(always)]
    fn slope<T: Scalar>(x: T) -> T {
        T::from_f64(SCALE) * (T::ONE + T::from_f64(3.0 * CUBE) * (x * x))
    }
}

impl<T: Scalar> Layer<T> for Gelu {
    fn forward(&self, _pass: &Pass, _theta: &[T], x: &[T], y: &mut [T], tape: &mut [T], _scratch: &mut [T]) {
        gate::forward::<Self, T>(x, y, tape);
    }

    fn backward(
        &self,
        _pass: &Pass,
        _theta: &[T],
        saved: Saved<'_, T>,
        dy: &[T],
        dx: Option<&mut [T]>,
        _dtheta: &mut [T],
        _scratch: &mut [T],
    ) {
        if let Some(dx) = dx {
            gate::backward::<Self, T>(saved.x, saved.tape, dy, dx);
        }
    }
}

impl Describe for Gelu {
    fn name(&self) -> &'static str {
        "gelu"
    }

    fn kind(&self) -> Kind {
        Kind::Smooth
    }

    fn input(&self) -> Shape {
        self.shape
    }

    fn tape_len(&self, block: Block) -> usize {
        block.len(self.shape.features())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Options, check_layer};

    #[test]
    fn keeps_the_contract() {
        for shape in [Shape::flat(1), Shape::flat(16), Shape::new(3, 5, 7)] {
            check_layer(&Gelu::new(shape), &Options::default()).assert();
        }
    }
}
