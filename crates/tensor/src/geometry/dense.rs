//! The sizes of a dense (fully connected) layer.

use crate::error::{GeometryError, MAX_ELEMENTS, check_product};
use crate::layout::LANES;

/// The sizes of a dense layer and its kernels: `y = W x + b`, `W` is `[outputs, inputs]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Dense {
    // Kernels rely on what `new` checked: nobody outside can change it.
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
}

impl Dense {
    /// Checks the sizes.
    ///
    /// # Errors
    /// A zero size, or more than 2^28 weights (2^24 where an address has 32 bits).
    pub fn new(inputs: usize, outputs: usize) -> Result<Self, GeometryError> {
        const NAME: &str = "dense";
        for (what, size) in [("inputs", inputs), ("outputs", outputs)] {
            if size == 0 {
                return Err(GeometryError::Zero { kernel: NAME, what });
            }
        }
        check_product(NAME, "the weight", &[outputs, inputs], MAX_ELEMENTS)?;
        Ok(Self { inputs, outputs })
    }

    /// Features in.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Features out.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Whether [rows](crate::Input::Rows) may be taken that lie so many numbers apart. They are laid out as tiles some inputs at a time,
    /// in the first cache, while the gradient of the parameters reads them as they are: no vector must reach beyond them, and samples that
    /// lie a power of two apart would drive each other from the cache.
    pub fn takes_rows(&self, stride: usize) -> bool {
        self.inputs.is_multiple_of(LANES) && stride % (2 * LANES) == LANES
    }
}
