//! The logistic function.

use crate::Shape;
use crate::contract::{Describe, Kind, Layer, Pass, Saved};
use byhand_tensor::{Scalar, activation};

/// The logistic function, element by element.
///
/// # Formula
/// `y = 1 / (1 + e^-x)`.
///
/// # Shapes
/// `y` has the shape of `x`.
///
/// # Backward
/// ```text
/// dx = dy * y * (1 - y)
/// ```
///
/// # Memory
/// No tape, no scratch: backward reads `y`.
///
/// # Reference
/// Rumelhart, Hinton, Williams, "Learning representations by back-propagating errors", 1986.
///
/// ```
/// use byhand_layers::{Describe, Sigmoid, Shape};
/// assert_eq!(Sigmoid::new(Shape::flat(16)).output(), Shape::flat(16));
/// ```
#[derive(Clone, PartialEq, Debug)]
pub struct Sigmoid {
    shape: Shape,
}

impl Sigmoid {
    /// For samples of this shape.
    pub fn new(shape: Shape) -> Self {
        Self { shape }
    }
}

impl<T: Scalar> Layer<T> for Sigmoid {
    fn forward(&self, _pass: &Pass, _theta: &[T], x: &[T], y: &mut [T], _tape: &mut [T], _scratch: &mut [T]) {
        activation::sigmoid(x, y);
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
            activation::sigmoid_backward(saved.y, dy, dx);
        }
    }
}

impl Describe for Sigmoid {
    fn name(&self) -> &'static str {
        "sigmoid"
    }

    fn kind(&self) -> Kind {
        Kind::Smooth
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
            check_layer(&Sigmoid::new(shape), &Options::default()).assert();
        }
    }
}
