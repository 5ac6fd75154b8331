//! The fully connected layer.

use crate::contract::{Describe, Kind, Layer, ParamSpec, Pass, Saved};
use crate::{LayerError, Params, ParamsMut, Shape};
use byhand_tensor::{self as tensor, Block, Input, Scalar, Tiles};

/// The fully connected layer: every output is a weighted sum of all inputs.
///
/// # Formula
/// `y = w x + b` for each sample.
///
/// # Shapes
/// `[out x 1] = [out x in] * [in x 1] + [out x 1]`; `weight: [out, in]`, `bias: [out]`.
///
/// # Backward
/// ```text
/// dw = sum over samples of dy x^T     [out x in] = [out x 1] * [1 x in]
/// db = sum over samples of dy         [out x 1]
/// dx = w^T dy                         [in x 1]  = [in x out] * [out x 1]
/// ```
///
/// # Memory
/// No tape. Scratch as the kernel states it.
///
/// # Reference
/// Rumelhart, Hinton, Williams, "Learning representations by back-propagating errors", 1986.
///
/// ```
/// use byhand_layers::{Dense, Describe};
/// let dense = Dense::new(784, 10, true)?;
/// assert_eq!(dense.params().iter().map(|p| p.len()).sum::<usize>(), 7850);
/// # Ok::<(), byhand_layers::LayerError>(())
/// ```
#[derive(Clone, PartialEq, Debug)]
pub struct Dense {
    kernel: tensor::Dense,
    bias: bool,
}

impl Dense {
    /// A layer of `outputs` sums over `inputs` features, with a bias each if `bias`.
    ///
    /// # Errors
    /// A size is zero, or there are more than 2^28 weights.
    pub fn new(inputs: usize, outputs: usize, bias: bool) -> Result<Self, LayerError> {
        Ok(Self { kernel: tensor::Dense::new(inputs, outputs)?, bias })
    }

    /// The layer's range of `theta` as weight `[out, in]` and bias `[out]`.
    ///
    /// # Panics
    /// If the length is not that of the layer's parameters.
    #[track_caller]
    pub fn split<'a, T>(&self, theta: &'a [T]) -> Params<'a, T> {
        Params::split(theta, self.weight_len(), self.bias_len())
    }

    /// The same split of a gradient.
    ///
    /// # Panics
    /// If the length is not that of the layer's parameters.
    #[track_caller]
    pub fn split_mut<'a, T>(&self, dtheta: &'a mut [T]) -> ParamsMut<'a, T> {
        ParamsMut::split(dtheta, self.weight_len(), self.bias_len())
    }

    pub(crate) fn kernel(&self) -> &tensor::Dense {
        &self.kernel
    }

    pub(crate) fn has_bias(&self) -> bool {
        self.bias
    }

    fn weight_len(&self) -> usize {
        self.kernel.inputs() * self.kernel.outputs()
    }

    fn bias_len(&self) -> Option<usize> {
        self.bias.then_some(self.kernel.outputs())
    }
}

impl<T: Scalar> Layer<T> for Dense {
    fn forward(&self, pass: &Pass, theta: &[T], x: &[T], y: &mut [T], _tape: &mut [T], scratch: &mut [T]) {
        let Params { weight: w, bias: b } = self.split(theta);
        self.kernel.forward(pass.block, w, b, Input::Block(x), Tiles::new(pass.block, y), scratch);
    }

    fn backward(
        &self,
        pass: &Pass,
        theta: &[T],
        saved: Saved<'_, T>,
        dy: &[T],
        dx: Option<&mut [T]>,
        dtheta: &mut [T],
        scratch: &mut [T],
    ) {
        let ParamsMut { weight: dw, bias: db } = self.split_mut(dtheta);
        let (block, x) = (pass.block, Input::Block(saved.x));
        self.kernel.backward_params(0..self.kernel.outputs(), block, x, dy, dw, db, scratch);
        if let Some(dx) = dx {
            let (w, dx) = (self.split(theta).weight, Tiles::new(block, dx));
            self.kernel.backward_input(0..self.kernel.inputs(), block, w, dy, dx, scratch);
        }
    }
}

impl Describe for Dense {
    fn name(&self) -> &'static str {
        "dense"
    }

    fn spec(&self) -> String {
        let bias = if self.bias { "" } else { ",bias=false" };
        format!("dense({}{bias})", self.kernel.outputs())
    }

    fn kind(&self) -> Kind {
        Kind::Bilinear { exact: true }
    }

    fn input(&self) -> Shape {
        Shape::flat(self.kernel.inputs())
    }

    fn output(&self) -> Shape {
        Shape::flat(self.kernel.outputs())
    }

    fn params(&self) -> Vec<ParamSpec> {
        let (fan_in, fan_out) = (self.kernel.inputs(), self.kernel.outputs());
        let weight = ParamSpec::new("weight", vec![fan_out, fan_in], fan_in, fan_out);
        let bias = ParamSpec::new("bias", vec![fan_out], fan_in, fan_out);
        if self.bias { vec![weight, bias] } else { vec![weight] }
    }

    fn scratch_len(&self, block: Block) -> usize {
        self.kernel.scratch_len(block)
    }

    fn flops(&self) -> u64 {
        2 * self.weight_len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Options, check_layer};

    fn check(inputs: usize, outputs: usize, bias: bool) {
        check_layer(&Dense::new(inputs, outputs, bias).unwrap(), &Options::default()).assert();
    }

    #[test]
    fn square() {
        check(6, 6, true);
    }

    #[test]
    fn one_and_one() {
        check(1, 1, true);
    }

    #[test]
    fn across_vector_widths() {
        check(17, 5, true);
        check(7, 33, true);
        check(31, 16, true);
        check(80, 27, true);
    }

    #[test]
    fn without_bias() {
        check(9, 4, false);
    }

    #[test]
    fn long_sums() {
        check(300, 10, true);
    }

    #[test]
    fn refuses_no_outputs() {
        assert!(Dense::new(3, 0, true).unwrap_err().to_string().starts_with("dense"));
    }
}
