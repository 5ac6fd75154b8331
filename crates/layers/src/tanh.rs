//! The hyperbolic tangent.

use crate::Shape;
use crate::contract::{Describe, Kind, Layer, Pass, Saved};
use byhand_tensor::{Scalar, activation};

/// The hyperbolic tangent, element by element.
///
/// # Formula
/// `y = tanh(x) = (e^x - e^-x) / (e^x + e^-x)`.
///
/// # Shapes
/// `y` has the shape of `x`.
///
/// # Backward
/// ```text
/// dx = dy * (1 - y*y)
/// ```
///
/// # Memory
/// No tape, no scratch: backward reads `y`.
///
/// # Reference
/// LeCun, Bottou, Orr, Müller, "Efficient BackProp", 1998.
///
/// ```
/// use byhand_layers::{Describe, Tanh, Shape};
/// assert_eq!(Tanh::new(Shape::flat(16)).output(), Shape::flat(16));
/// ```
#[derive(Clone, PartialEq, Debug)]
pub struct Tanh {
    shape: Shape,
}

impl Tanh {
    /// For samples of this shape.
    pub fn new(shape: Shape) -> Self {
        Self { shape }
    }
}

impl<T: Scalar> Layer<T> for Tanh {
    fn forward(&self, _pass: &Pass, _theta: &[T], x: &[T], y: &mut [T], _tape: &mut [T], _scratch: &mut [T]) {
        activation::tanh(x, y);
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
            activation::tanh_backward(saved.y, dy, dx);
        }
    }
}

impl Describe for Tanh {
    fn name(&self) -> &'static str {
        "tanh"
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
            check_layer(&Tanh::new(shape), &Options::default()).assert();
        }
    }
}
