//! The leaky rectified linear unit.

use crate::contract::{Describe, Kind, Layer, Pass, Saved};
use crate::{LayerError, Shape};
use byhand_tensor::{Loop, Scalar, vectorised};

/// The leaky rectified linear unit, element by element: below 0 a small slope stays, so that no unit dies.
///
/// # Formula
/// `y = x` where `x > 0`, else `a x`, with the slope `a` below 0.
///
/// # Shapes
/// `y` has the shape of `x`.
///
/// # Backward
/// ```text
/// dx = dy where x > 0, else a dy
/// ```
/// At the kink the derivative is the one below it, `a`. NaN is passed on.
///
/// # Memory
/// No tape, no scratch: backward reads `x`.
///
/// # Reference
/// Maas, Hannun, Ng, "Rectifier nonlinearities improve neural network acoustic models", 2013.
///
/// ```
/// use byhand_layers::{Describe, LeakyRelu, Shape};
/// assert_eq!(LeakyRelu::new(Shape::flat(16), 0.01)?.spec(), "leaky_relu");
/// assert_eq!(LeakyRelu::new(Shape::flat(16), 0.2)?.spec(), "leaky_relu(slope=0.2)");
/// assert!(LeakyRelu::new(Shape::flat(16), 1.0).is_err());
/// # Ok::<(), byhand_layers::LayerError>(())
/// ```
#[derive(Clone, PartialEq, Debug)]
pub struct LeakyRelu {
    shape: Shape,
    slope: f64,
}

impl LeakyRelu {
    /// The slope below 0, if nobody says another.
    pub const SLOPE: f64 = 0.01;

    /// For samples of this shape, with this slope below 0.
    ///
    /// # Errors
    /// The slope is not in `0 <= slope < 1`.
    pub fn new(shape: Shape, slope: f64) -> Result<Self, LayerError> {
        if !(0.0..1.0).contains(&slope) {
            return Err(LayerError::Value {
                layer: "leaky_relu",
                what: "the slope below 0",
                expected: "at least 0 and less than 1",
                found: slope.to_string(),
            });
        }
        Ok(Self { shape, slope })
    }

    /// `to = from` where `x > 0`, else `a from`: both directions.
    fn bend<T: Scalar>(&self, x: &[T], from: &[T], to: &mut [T]) {
        vectorised(Bend { x, from, slope: T::from_f64(self.slope), to });
    }
}

struct Bend<'a, T> {
    x: &'a [T],
    from: &'a [T],
    slope: T,
    to: &'a mut [T],
}

impl<T: Scalar> Loop for Bend<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for ((to, &from), &x) in self.to.iter_mut().zip(self.from).zip(self.x) {
            *to = if x > T::ZERO { from } else { self.slope * from };
        }
    }
}

impl<T: Scalar> Layer<T> for LeakyRelu {
    fn forward(&self, _pass: &Pass, _theta: &[T], x: &[T], y: &mut [T], _tape: &mut [T], _scratch: &mut [T]) {
        self.bend(x, x, y);
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
            self.bend(saved.x, dy, dx);
        }
    }
}

impl Describe for LeakyRelu {
    fn name(&self) -> &'static str {
        "leaky_relu"
    }

    fn spec(&self) -> String {
        if self.slope == Self::SLOPE {
            "leaky_relu".to_owned()
        } else {
            format!("leaky_relu(slope={})", self.slope)
        }
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
        for (shape, slope) in [(Shape::flat(1), 0.01), (Shape::flat(16), 0.25), (Shape::new(3, 5, 7), 0.3)] {
            check_layer(&LeakyRelu::new(shape, slope).unwrap(), &Options::default()).assert();
        }
    }

    #[test]
    fn without_a_slope_it_is_the_rectified_linear_unit() {
        let (x, mut y) = ([-2.0f32, -0.0, 0.0, 3.0], [f32::NAN; 4]);
        let pass = Pass::eval(byhand_tensor::Block::single(1));
        LeakyRelu::new(Shape::flat(4), 0.0).unwrap().forward(&pass, &[], &x, &mut y, &mut [], &mut []);
        assert_eq!(y, [0.0, 0.0, 0.0, 3.0]);
    }
}
