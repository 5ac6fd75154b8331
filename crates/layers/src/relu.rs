//! The rectified linear unit.

use crate::Shape;
use crate::contract::{Describe, Kind, Layer, Pass, Saved};
use byhand_tensor::{Scalar, activation};

/// The rectified linear unit, element by element.
///
/// # Formula
/// `y = x` where `x > 0`, else `0`.
///
/// # Shapes
/// `y` has the shape of `x`.
///
/// # Backward
/// ```text
/// dx = dy where y > 0, else 0
/// ```
/// At the kink the derivative is 0 by convention. NaN is passed on.
///
/// # Memory
/// No tape, no scratch: backward reads `y`.
///
/// # Reference
/// Nair and Hinton, "Rectified linear units improve restricted Boltzmann machines", 2010.
///
/// ```
/// use byhand_layers::{Describe, Relu, Shape};
/// assert_eq!(Relu::new(Shape::flat(16)).output(), Shape::flat(16));
/// ```
#[derive(Clone, PartialEq, Debug)]
pub struct Relu {
    shape: Shape,
}

impl Relu {
    /// For samples of this shape.
    pub fn new(shape: Shape) -> Self {
        Self { shape }
    }
}

impl<T: Scalar> Layer<T> for Relu {
    fn forward(&self, _pass: &Pass, _theta: &[T], x: &[T], y: &mut [T], _tape: &mut [T], _scratch: &mut [T]) {
        activation::relu(x, y);
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
            activation::relu_backward(saved.y, dy, dx);
        }
    }
}

impl Describe for Relu {
    fn name(&self) -> &'static str {
        "relu"
    }

    fn kind(&self) -> Kind {
        Kind::Rectifying
    }

    fn input(&self) -> Shape {
        self.shape
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Options, check_layer};

    #[test]
    fn keeps_the_contract() {
        for shape in [Shape::flat(1), Shape::flat(16), Shape::new(3, 5, 7)] {
            check_layer(&Relu::new(shape), &Options::default()).assert();
        }
    }
}
