//! Global max pooling.

use crate::contract::{Describe, Kind, Layer, Pass, Saved};
use crate::{LayerError, Shape};
use byhand_tensor::{Block, Pool2d, Scalar};

/// Global max pooling: the largest number of each channel, whatever its size.
///
/// # Formula
/// `y[c] = max over i, j of x[c, i, j]`.
///
/// # Shapes
/// `x: c x h x w`, `y: c x 1 x 1`: one window, as large as the image.
///
/// # Backward
/// ```text
/// dx[c, i, j] = dy[c] where the maximum of channel c was taken from (i, j), else 0
/// ```
/// Among equal maxima the **first in row order** is taken. A channel with a NaN has a NaN for its maximum.
///
/// # Memory
/// The tape holds the place of each channel's maximum: `c` numbers a sample. No scratch.
///
/// # Reference
/// Oquab, Bottou, Laptev, Sivic, "Is object localization for free?", 2015.
///
/// ```
/// use byhand_layers::{Describe, GlobalMaxPool, Shape};
/// assert_eq!(GlobalMaxPool::new(Shape::new(16, 7, 7))?.output(), Shape::flat(16));
/// # Ok::<(), byhand_layers::LayerError>(())
/// ```
#[derive(Clone, PartialEq, Debug)]
pub struct GlobalMaxPool {
    kernel: Pool2d,
    input: Shape,
}

impl GlobalMaxPool {
    /// Pooling of samples of this shape.
    ///
    /// # Errors
    /// A side of the shape is zero.
    pub fn new(input: Shape) -> Result<Self, LayerError> {
        let whole = [input.h, input.w];
        Ok(Self { kernel: Pool2d::new([input.c, input.h, input.w], whole, whole)?, input })
    }
}

impl<T: Scalar> Layer<T> for GlobalMaxPool {
    fn forward(&self, pass: &Pass, _theta: &[T], x: &[T], y: &mut [T], tape: &mut [T], _scratch: &mut [T]) {
        self.kernel.max_forward(pass.block, x, y, tape);
    }

    fn backward(
        &self,
        pass: &Pass,
        _theta: &[T],
        saved: Saved<'_, T>,
        dy: &[T],
        dx: Option<&mut [T]>,
        _dtheta: &mut [T],
        _scratch: &mut [T],
    ) {
        if let Some(dx) = dx {
            self.kernel.max_backward(pass.block, dy, saved.tape, dx);
        }
    }
}

impl Describe for GlobalMaxPool {
    fn name(&self) -> &'static str {
        "globalmaxpool"
    }

    fn kind(&self) -> Kind {
        Kind::Selecting
    }

    fn input(&self) -> Shape {
        self.input
    }

    fn output(&self) -> Shape {
        Shape::flat(self.input.c)
    }

    fn tape_len(&self, block: Block) -> usize {
        block.len(self.input.c)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Options, check_layer};

    #[test]
    fn keeps_the_contract() {
        for shape in [Shape::new(3, 4, 4), Shape::new(2, 5, 7), Shape::new(17, 1, 3), Shape::flat(9)] {
            check_layer(&GlobalMaxPool::new(shape).unwrap(), &Options::default()).assert();
        }
    }
}
