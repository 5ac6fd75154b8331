//! The Gaussian error linear unit without approximation.

use crate::Shape;
use crate::contract::{Describe, Kind, Layer, Pass, Saved};
use crate::gate;
use byhand_tensor::{Block, Loop, Scalar, activation, vectorised};

/// The Gaussian error linear unit, element by element, by the normal distribution itself.
///
/// # Formula
/// `y = x p` with `p = P(X <= x) = (1 + erf(x / sqrt(2))) / 2` of a normal `X`. PyTorch calls this one `GELU()`; [`Gelu`](crate::Gelu) is
/// nearly the same and faster.
///
/// # Shapes
/// `y` has the shape of `x`.
///
/// # Backward
/// ```text
/// dx = dy * (p + x * d)     d = e^(-x^2/2) / sqrt(2 pi), the derivative of p
/// ```
///
/// # Memory
/// The tape holds `p`: as many numbers as `x`. No scratch.
///
/// # Reference
/// Hendrycks and Gimpel, "Gaussian error linear units", 2016.
///
/// ```
/// use byhand_layers::{Describe, ExactGelu, Shape};
/// assert_eq!(ExactGelu::new(Shape::flat(16)).spec(), "gelu(exact=true)");
/// ```
#[derive(Clone, PartialEq, Debug)]
pub struct ExactGelu {
    shape: Shape,
}

impl ExactGelu {
    /// For samples of this shape.
    pub fn new(shape: Shape) -> Self {
        Self { shape }
    }
}

impl<T: Scalar> Layer<T> for ExactGelu {
    fn forward(&self, _pass: &Pass, _theta: &[T], x: &[T], y: &mut [T], tape: &mut [T], _scratch: &mut [T]) {
        activation::normal_cdf(x, tape);
        gate::times(x, tape, y);
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
            activation::normal_density(saved.x, dx);
            vectorised(Back { x: saved.x, p: saved.tape, dy, dx });
        }
    }
}

/// `dx = dy (p + x dx)`, with the density in `dx` before.
struct Back<'a, T> {
    x: &'a [T],
    p: &'a [T],
    dy: &'a [T],
    dx: &'a mut [T],
}

impl<T: Scalar> Loop for Back<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for (((dx, &dy), &x), &p) in self.dx.iter_mut().zip(self.dy).zip(self.x).zip(self.p) {
            *dx = dy * (p + x * *dx);
        }
    }
}

impl Describe for ExactGelu {
    fn name(&self) -> &'static str {
        "gelu"
    }

    fn spec(&self) -> String {
        "gelu(exact=true)".to_owned()
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
            check_layer(&ExactGelu::new(shape), &Options::default()).assert();
        }
    }
}
