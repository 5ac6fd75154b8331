//! Global average pooling.

use crate::contract::{Describe, Kind, Layer, Pass, Saved};
use crate::{LayerError, Shape};
use byhand_tensor::{Pool2d, Scalar};

/// Global average pooling: the mean of each channel, whatever its size.
///
/// # Formula
/// `y[c] = 1 / (h*w) * sum over i, j of x[c, i, j]`.
///
/// # Shapes
/// `x: c x h x w`, `y: c x 1 x 1`: one window, as large as the image.
///
/// # Backward
/// ```text
/// dx[c, i, j] = dy[c] / (h*w)
/// ```
///
/// # Memory
/// No tape, no scratch.
///
/// # Reference
/// Lin, Chen, Yan, "Network in network", 2013.
///
/// ```
/// use byhand_layers::{Describe, GlobalAvgPool, Shape};
/// assert_eq!(GlobalAvgPool::new(Shape::new(16, 7, 7))?.output(), Shape::flat(16));
/// # Ok::<(), byhand_layers::LayerError>(())
/// ```
#[derive(Clone, PartialEq, Debug)]
pub struct GlobalAvgPool {
    kernel: Pool2d,
    input: Shape,
}

impl GlobalAvgPool {
    /// Pooling of samples of this shape.
    ///
    /// # Errors
    /// A side of the shape is zero.
    pub fn new(input: Shape) -> Result<Self, LayerError> {
        let whole = [input.h, input.w];
        Ok(Self { kernel: Pool2d::new([input.c, input.h, input.w], whole, whole)?, input })
    }
}

impl<T: Scalar> Layer<T> for GlobalAvgPool {
    fn forward(&self, pass: &Pass, _theta: &[T], x: &[T], y: &mut [T], _tape: &mut [T], _scratch: &mut [T]) {
        self.kernel.avg_forward(pass.block, x, y);
    }

    fn backward(
        &self,
        pass: &Pass,
        _theta: &[T],
        _saved: Saved<'_, T>,
        dy: &[T],
        dx: Option<&mut [T]>,
        _dtheta: &mut [T],
        _scratch: &mut [T],
    ) {
        if let Some(dx) = dx {
            self.kernel.avg_backward(pass.block, dy, dx);
        }
    }
}

impl Describe for GlobalAvgPool {
    fn name(&self) -> &'static str {
        "globalavgpool"
    }

    fn kind(&self) -> Kind {
        Kind::Bilinear { exact: (self.input.h * self.input.w).is_power_of_two() }
    }

    fn input(&self) -> Shape {
        self.input
    }

    fn output(&self) -> Shape {
        Shape::flat(self.input.c)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Options, check_layer};

    #[test]
    fn keeps_the_contract() {
        for shape in [Shape::new(3, 4, 4), Shape::new(2, 5, 7), Shape::new(17, 1, 3), Shape::flat(9)] {
            check_layer(&GlobalAvgPool::new(shape).unwrap(), &Options::default()).assert();
        }
    }
}
