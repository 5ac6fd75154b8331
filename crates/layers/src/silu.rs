//! The sigmoid linear unit.

use crate::Shape;
use crate::contract::{Describe, Kind, Layer, Pass, Saved};
use crate::gate::{self, Gate};
use byhand_tensor::{Block, Scalar};

/// The sigmoid linear unit, element by element, also called swish.
///
/// # Formula
/// `y = x s` with `s = 1 / (1 + e^-x)`.
///
/// # Shapes
/// `y` has the shape of `x`.
///
/// # Backward
/// ```text
/// dx = dy * (s + x * s * (1 - s))
/// ```
///
/// # Memory
/// The tape holds `s`: as many numbers as `x`. No scratch.
///
/// # Reference
/// Hendrycks and Gimpel, "Gaussian error linear units", 2016; Ramachandran, Zoph, Le, "Searching for activation functions", 2017.
///
/// ```
/// use byhand_layers::{Describe, Silu, Shape};
/// assert_eq!(Silu::new(Shape::flat(16)).output(), Shape::flat(16));
/// ```
#[derive(Clone, PartialEq, Debug)]
pub struct Silu {
    shape: Shape,
}

impl Silu {
    /// For samples of this shape.
    pub fn new(shape: Shape) -> Self {
        Self { shape }
    }
}

impl Gate for Silu {
    #[inline(always)]
    fn of<T: Scalar>(x: T) -> T {
        x
    }

    #[inline(always)]
    fn slope<T: Scalar>(_: T) -> T {
        T::ONE
    }
}

impl<T: Scalar> Layer<T> for Silu {
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

impl Describe for Silu {
    fn name(&self) -> &'static str {
        "silu"
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
            check_layer(&Silu::new(shape), &Options::default()).assert();
        }
    }
}
