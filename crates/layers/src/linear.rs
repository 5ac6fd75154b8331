//! The identity activation.

use crate::Shape;
use crate::contract::{Describe, Kind, Layer, Pass, Saved};
use byhand_tensor::Scalar;

/// The identity, for the place where an activation is expected and none is wanted.
///
/// # Formula
/// `y = x`.
///
/// # Shapes
/// `y` has the shape of `x`.
///
/// # Backward
/// ```text
/// dx = dy
/// ```
///
/// # Memory
/// No tape, no scratch. A network leaves the layer out altogether.
///
/// # Reference
/// Widrow and Hoff, "Adaptive switching circuits", 1960 (a network of linear units).
///
/// ```
/// use byhand_layers::{Describe, Linear, Shape};
/// assert!(Linear::new(Shape::flat(16)).is_identity());
/// ```
#[derive(Clone, PartialEq, Debug)]
pub struct Linear {
    shape: Shape,
}

impl Linear {
    /// For samples of this shape.
    pub fn new(shape: Shape) -> Self {
        Self { shape }
    }
}

impl<T: Scalar> Layer<T> for Linear {
    fn forward(&self, _pass: &Pass, _theta: &[T], x: &[T], y: &mut [T], _tape: &mut [T], _scratch: &mut [T]) {
        y.copy_from_slice(x);
    }

    fn backward(
        &self,
        _pass: &Pass,
        _theta: &[T],
        _saved: Saved<'_, T>,
        dy: &[T],
        dx: Option<&mut [T]>,
        _dtheta: &mut [T],
        _scratch: &mut [T],
    ) {
        if let Some(dx) = dx {
            dx.copy_from_slice(dy);
        }
    }
}

impl Describe for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn kind(&self) -> Kind {
        Kind::Bilinear { exact: true }
    }

    fn input(&self) -> Shape {
        self.shape
    }

    fn is_identity(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Options, check_layer};

    #[test]
    fn keeps_the_contract() {
        for shape in [Shape::flat(1), Shape::flat(16), Shape::new(3, 5, 7)] {
            check_layer(&Linear::new(shape), &Options::default()).assert();
        }
    }
}
