//! An image read as a vector.

use crate::Shape;
use crate::contract::{Describe, Kind, Layer, Pass, Saved};
use byhand_tensor::Scalar;

/// An image read as a vector, channel by channel and row by row: the numbers already lie so.
///
/// # Formula
/// `y = x`.
///
/// # Shapes
/// `x: c x h x w`, `y: c*h*w`.
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
/// PyTorch's `nn.Flatten`, whose order of features it shares.
///
/// ```
/// use byhand_layers::{Describe, Flatten, Shape};
/// assert_eq!(Flatten::new(Shape::new(8, 13, 13)).output(), Shape::flat(1352));
/// ```
#[derive(Clone, PartialEq, Debug)]
pub struct Flatten {
    shape: Shape,
}

impl Flatten {
    /// For samples of this shape.
    pub fn new(shape: Shape) -> Self {
        Self { shape }
    }
}

impl<T: Scalar> Layer<T> for Flatten {
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

impl Describe for Flatten {
    fn name(&self) -> &'static str {
        "flatten"
    }

    fn kind(&self) -> Kind {
        Kind::Bilinear { exact: true }
    }

    fn input(&self) -> Shape {
        self.shape
    }

    fn output(&self) -> Shape {
        Shape::flat(self.shape.features())
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
            check_layer(&Flatten::new(shape), &Options::default()).assert();
        }
    }
}
