//! Two-dimensional convolution.

use crate::contract::{Describe, Kind, Layer, ParamSpec, Pass, Saved};
use crate::{LayerError, Params, ParamsMut, Shape};
use byhand_tensor::{self as tensor, Block, Scalar};

/// Two-dimensional convolution (cross-correlation, as everywhere in the field) with bias.
///
/// # Formula
/// `y[o, i, j] = b[o] + sum over c, p, q of w[o, c, p, q] * x[c, i*s0 + p - p0, j*s1 + q - p1]`,
/// with stride `s`, padding `p` per axis; `x` outside the image is 0.
///
/// # Shapes
/// `x: c x h x w`, `weight: [c_out, c, k0, k1]`, `bias: [c_out]`, `y: c_out x h_out x w_out` with
/// `h_out = (h + 2*p0 - k0) / s0 + 1` rounded down, and so for the columns.
///
/// # Backward
/// ```text
/// dw[o, c, p, q]  = sum over samples, i, j of dy[o, i, j] * x[c, i*s0 + p - p0, j*s1 + q - p1]
/// db[o]           = sum over samples, i, j of dy[o, i, j]
/// dx[c, r, t]     = sum over o, p, q of w[o, c, p, q] * dy[o, i, j]   where i*s0 + p - p0 = r and j*s1 + q - p1 = t
/// ```
/// For stride 1 the last line is a convolution of `dy` with the kernel turned by 180 degrees in its two spatial axes.
///
/// Kernels of 3 x 3 with stride 1 and 16 channels or more on both sides compute single samples by Winograd's minimal filtering:
/// the same function from four ninths of the multiplications, rounded otherwise.
///
/// # Memory
/// No tape. Scratch as the kernel states it.
///
/// # Reference
/// LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document recognition", 1998; Dumoulin and Visin, "A
/// guide to convolution arithmetic for deep learning", 2016; Lavin and Gray, "Fast algorithms for convolutional neural
/// networks", 2015.
///
/// ```
/// use byhand_layers::{Conv2d, ConvOptions, Describe, Shape};
/// let conv = Conv2d::new(Shape::new(1, 28, 28), 8, ConvOptions::square(5))?;
/// assert_eq!(conv.output(), Shape::new(8, 24, 24));
/// assert_eq!(conv.spec(), "conv(8,5)");
/// # Ok::<(), byhand_layers::LayerError>(())
/// ```
#[derive(Clone, PartialEq, Debug)]
pub struct Conv2d {
    kernel: tensor::Conv2d,
    options: ConvOptions,
    input: Shape,
    output: Shape,
}

/// Kernel, stride and padding along rows and columns, and whether there is a bias.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConvOptions {
    /// Rows and columns of the kernel: at most 1,024 taps, which is 32 x 32.
    pub kernel: [usize; 2],
    /// Steps of the kernel along rows and columns.
    pub stride: [usize; 2],
    /// Zeros around the image: above and below, left and right; fewer than the kernel has rows and columns, so that each output sees
    /// a pixel.
    pub pad: [usize; 2],
    /// Whether each output channel adds a bias.
    pub bias: bool,
}

impl ConvOptions {
    /// A square kernel of `side` x `side`, stride 1, no padding, with bias.
    pub const fn square(side: usize) -> Self {
        Self { kernel: [side, side], stride: [1, 1], pad: [0, 0], bias: true }
    }
}

impl Conv2d {
    /// A convolution of `input` into `c_out` channels.
    ///
    /// # Errors
    /// A size is zero; the kernel is larger than the padded input or has more than 1,024 taps (rows x columns); the padding is as large as
    /// the kernel; or one sample's input or output, or the weight, has more than 2^28 numbers.
    pub fn new(input: Shape, c_out: usize, options: ConvOptions) -> Result<Self, LayerError> {
        let ConvOptions { kernel, stride, pad, .. } = options;
        let kernel = tensor::Conv2d::new([input.c, input.h, input.w], c_out, kernel, stride, pad)?;
        let output = Shape::new(c_out, kernel.h_out(), kernel.w_out());
        Ok(Self { kernel, options, input, output })
    }

    /// Kernel, stride, padding and bias.
    pub fn options(&self) -> ConvOptions {
        self.options
    }

    /// The layer's range of `theta` as weight `[c_out, c, k0, k1]` and bias `[c_out]`.
    ///
    /// # Panics
    /// If the length is not that of the layer's parameters.
    #[track_caller]
    pub fn split<'a, T>(&self, theta: &'a [T]) -> Params<'a, T> {
        Params::split(theta, self.kernel.weight_len(), self.bias_len())
    }

    /// The same split of a gradient.
    ///
    /// # Panics
    /// If the length is not that of the layer's parameters.
    #[track_caller]
    pub fn split_mut<'a, T>(&self, dtheta: &'a mut [T]) -> ParamsMut<'a, T> {
        ParamsMut::split(dtheta, self.kernel.weight_len(), self.bias_len())
    }

    pub(crate) fn kernel(&self) -> &tensor::Conv2d {
        &self.kernel
    }

    fn bias_len(&self) -> Option<usize> {
        self.options.bias.then_some(self.output.c)
    }
}

impl<T: Scalar> Layer<T> for Conv2d {
    fn forward(&self, pass: &Pass, theta: &[T], x: &[T], y: &mut [T], _tape: &mut [T], scratch: &mut [T]) {
        let Params { weight: w, bias: b } = self.split(theta);
        self.kernel.forward(pass.block, w, b, x, y, scratch);
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
        let w = self.split(theta).weight;
        let ParamsMut { weight: dw, bias: db } = self.split_mut(dtheta);
        self.kernel.backward_params(pass.block, saved.x, dy, dw, db, scratch);
        if let Some(dx) = dx {
            self.kernel.backward_input(0..self.input.c, pass.block, w, dy, dx, scratch);
        }
    }
}

impl Describe for Conv2d {
    fn name(&self) -> &'static str {
        "conv"
    }

    fn spec(&self) -> String {
        let ConvOptions { kernel, stride, pad, bias } = self.options;
        let mut spec = format!("conv({},{}", self.output.c, per_axis(kernel));
        if stride != [1, 1] {
            spec += &format!(",stride={}", per_axis(stride));
        }
        if pad != [0, 0] {
            spec += &format!(",pad={}", per_axis(pad));
        }
        if !bias {
            spec += ",bias=false";
        }
        spec + ")"
    }

    fn kind(&self) -> Kind {
        Kind::Bilinear { exact: true }
    }

    fn input(&self) -> Shape {
        self.input
    }

    fn output(&self) -> Shape {
        self.output
    }

    fn params(&self) -> Vec<ParamSpec> {
        let [k0, k1] = self.options.kernel;
        let (fan_in, fan_out) = (self.input.c * k0 * k1, self.output.c * k0 * k1);
        let weight = ParamSpec::new("weight", vec![self.output.c, self.input.c, k0, k1], fan_in, fan_out);
        let bias = ParamSpec::new("bias", vec![self.output.c], fan_in, fan_out);
        if self.options.bias { vec![weight, bias] } else { vec![weight] }
    }

    fn scratch_len(&self, block: Block) -> usize {
        self.kernel.scratch_len(block)
    }

    fn flops(&self) -> u64 {
        2 * self.kernel.weight_len() as u64 * (self.output.h * self.output.w) as u64
    }
}

/// `5` for a pair of equal sizes, `3x5` else.
pub(crate) fn per_axis([rows, columns]: [usize; 2]) -> String {
    if rows == columns { rows.to_string() } else { format!("{rows}x{columns}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Options, check_layer};

    fn check(
        input: Shape,
        c_out: usize,
        kernel: [usize; 2],
        stride: [usize; 2],
        pad: [usize; 2],
        bias: bool,
    ) {
        let options = ConvOptions { kernel, stride, pad, bias };
        check_layer(&Conv2d::new(input, c_out, options).unwrap(), &Options::default()).assert();
    }

    #[test]
    fn square_everything() {
        check(Shape::new(2, 6, 6), 2, [3, 3], [1, 1], [0, 0], true);
    }

    #[test]
    fn unequal_axes_and_stride_remainder_of_two() {
        check(Shape::new(2, 9, 13), 3, [2, 3], [3, 4], [1, 0], true);
    }

    #[test]
    fn one_channel_first_layer() {
        check(Shape::new(1, 12, 17), 5, [5, 3], [1, 1], [0, 0], true);
    }

    #[test]
    fn padding_per_axis_without_bias() {
        check(Shape::new(3, 5, 7), 4, [3, 5], [1, 1], [1, 2], false);
    }

    #[test]
    fn kernel_as_large_as_the_image() {
        check(Shape::new(2, 3, 4), 3, [3, 4], [1, 1], [0, 0], true);
    }

    #[test]
    fn wider_than_a_vector_and_square() {
        check(Shape::new(1, 20, 20), 2, [3, 3], [2, 2], [1, 1], true);
    }

    #[test]
    fn one_by_one_kernel() {
        check(Shape::new(17, 2, 3), 18, [1, 1], [1, 1], [0, 0], true);
    }

    /// Single samples by Winograd's filtering: last tiles that stick out, channels that fill no vector.
    #[test]
    fn many_channels() {
        check(Shape::new(17, 5, 7), 18, [3, 3], [1, 1], [1, 1], true);
        check(Shape::new(16, 6, 6), 16, [3, 3], [1, 1], [0, 0], true);
        check(Shape::new(18, 4, 3), 17, [3, 3], [1, 1], [2, 2], false);
    }

    #[test]
    fn refuses_a_kernel_larger_than_its_input() {
        let error = Conv2d::new(Shape::new(1, 4, 9), 1, ConvOptions::square(5)).unwrap_err().to_string();
        assert!(error.starts_with("conv") && error.contains('5') && error.contains('4'), "{error}");
    }
}
