//! Two-dimensional convolution.

use crate::contract::{Describe, Kind, Layer, ParamSpec, Pass, Saved};
use crate::conv_parts::ConvParts;
use crate::padding::{Padding, per_axis};
use crate::{LayerError, Params, ParamsMut, Shape};
use byhand_tensor::{self as tensor, Block, Scalar, Slide, Windows};

/// Two-dimensional convolution (cross-correlation, as everywhere in the field) with bias.
///
/// # Formula
/// `y[o, i, j] = b[o] + sum over c, p, q of w[o, c, p, q] * x[c, i*s0 + p*d0 - top, j*s1 + q*d1 - left]`,
/// with stride `s` and dilation `d` per axis; `x` outside the image is 0. In `G` groups output channel `o` sees the `c/G` input channels
/// of its group `o / (c_out/G)`, rounded down; with as many groups as input channels the convolution is depthwise.
///
/// # Shapes
/// `x: c x h x w`, `weight: [c_out, c/G, k0, k1]`, `bias: [c_out]`, `y: c_out x h_out x w_out` with
/// `h_out = (h + top + bottom - d0*(k0 - 1) - 1) / s0 + 1` rounded down, and so for the columns.
///
/// # Backward
/// ```text
/// dw[o, c, p, q]  = sum over samples, i, j of dy[o, i, j] * x[c, i*s0 + p*d0 - top, j*s1 + q*d1 - left]
/// db[o]           = sum over samples, i, j of dy[o, i, j]
/// dx[c, r, t]     = sum over o, p, q of w[o, c, p, q] * dy[o, i, j]   where i*s0 + p*d0 - top = r and j*s1 + q*d1 - left = t
/// ```
/// For stride 1 the last line is a convolution of `dy` with the kernel turned by 180 degrees in its two spatial axes.
///
/// Kernels of 3 x 3 with stride 1 are computed by Winograd's minimal filtering where both sides have 16 channels or more, but for some
/// numbers just above 16: the same function from four ninths of the multiplications, rounded otherwise. Groups, dilation and padding that
/// differs by side are made of plain convolutions: of the padded image, of every `d`-th of its pixels, of some of its channels.
///
/// # Memory
/// No tape. Scratch as the kernel states it; with groups, dilation or padding that differs by side, a tile's padded pixels and outputs
/// besides.
///
/// # Reference
/// LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document recognition", 1998; Dumoulin and Visin, "A
/// guide to convolution arithmetic for deep learning", 2016; Lavin and Gray, "Fast algorithms for convolutional neural
/// networks", 2015; Yu and Koltun, "Multi-scale context aggregation by dilated convolutions", 2016; Howard and others, "MobileNets:
/// efficient convolutional neural networks for mobile vision applications", 2017 (depthwise).
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
    work: Work,
    options: ConvOptions,
    pad: [usize; 4],
    input: Shape,
    output: Shape,
}

/// By what it is computed.
#[derive(Clone, PartialEq, Debug)]
enum Work {
    Plain(tensor::Conv2d),
    Parts(ConvParts),
}

/// Kernel, stride, padding and dilation along rows and columns, groups, and whether there is a bias.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConvOptions {
    /// Rows and columns of the kernel: at most 1,024 taps, which is 32 x 32.
    pub kernel: [usize; 2],
    /// Steps of the kernel along rows and columns.
    pub stride: [usize; 2],
    /// Zeros around the image: on each side fewer than the kernel reaches over, so that each output sees a pixel.
    pub pad: Padding,
    /// From one tap of the kernel to the next, along rows and columns; 1 for neighbours.
    pub dilation: [usize; 2],
    /// Groups of input and of output channels; an output sees the inputs of its own group.
    pub groups: usize,
    /// Whether each output channel adds a bias.
    pub bias: bool,
}

impl ConvOptions {
    /// A square kernel of `side` x `side`, stride 1, no padding, no dilation, one group, with bias.
    pub const fn square(side: usize) -> Self {
        let kernel = [side, side];
        Self { kernel, stride: [1, 1], pad: Padding::NONE, dilation: [1, 1], groups: 1, bias: true }
    }

    /// Whether it is a plain convolution, whose padding is the same on both sides.
    fn is_plain(&self, [top, left, bottom, right]: [usize; 4]) -> bool {
        let are_neighbours = (0..2).all(|axis| self.dilation[axis] == 1 || self.kernel[axis] == 1);
        self.groups == 1 && are_neighbours && (top, left) == (bottom, right)
    }
}

impl Conv2d {
    /// A convolution of `input` into `c_out` channels.
    ///
    /// # Errors
    /// A size is zero; the kernel reaches beyond the padded input, sees none of it, or has more than 1,024 taps (rows x columns); the
    /// padding of a side is as large as what the kernel reaches over (PyTorch lets it be larger); the groups do not divide the channels;
    /// or one sample's input or output, or the weight, has more than 2^28 numbers.
    pub fn new(input: Shape, c_out: usize, options: ConvOptions) -> Result<Self, LayerError> {
        let ConvOptions { kernel, stride, pad, dilation, groups, .. } = options;
        let pad = pad.around(input, kernel, stride, dilation);
        let is_divided = |channels: usize| groups > 0 && channels.is_multiple_of(groups);
        if !is_divided(input.c) || !is_divided(c_out) {
            let expected = "a number that divides the input channels and the output channels";
            let found = format!("{groups} for {} input channels and {c_out} output channels", input.c);
            return Err(LayerError::Value { layer: "conv", what: "groups", expected, found });
        }
        let [rows, columns] = Self::windows(input, &options, pad)?;
        let output = Shape::new(c_out, rows.count(), columns.count());
        let work = if options.is_plain(pad) {
            let [top, left, ..] = pad;
            let image = [input.c, input.h, input.w];
            Work::Plain(tensor::Conv2d::new(image, c_out, kernel, stride, [top, left])?)
        } else {
            Work::Parts(ConvParts::new([&rows, &columns], [input.c, c_out], groups)?)
        };
        Ok(Self { work, options, pad, input, output })
    }

    /// The windows along rows and columns.
    fn windows(
        input: Shape,
        options: &ConvOptions,
        [top, left, bottom, right]: [usize; 4],
    ) -> Result<[Windows; 2], LayerError> {
        let along = |axis: usize, name, size, pad| {
            let (taps, stride, dilation) =
                (options.kernel[axis], options.stride[axis], options.dilation[axis]);
            // One tap alone lies next to itself.
            let dilation = if taps == 1 { dilation.min(1) } else { dilation };
            Windows::new("conv", name, size, Slide { taps, stride, dilation, pad, ceil: false })
        };
        Ok([along(0, "rows", input.h, [top, bottom])?, along(1, "columns", input.w, [left, right])?])
    }

    /// Kernel, stride, padding, dilation, groups and bias.
    pub fn options(&self) -> ConvOptions {
        self.options
    }

    /// Zeros above, left, below and right of the image.
    pub fn pad(&self) -> [usize; 4] {
        self.pad
    }

    /// The layer's range of `theta` as weight `[c_out, c/G, k0, k1]` and bias `[c_out]`.
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

    /// Its kernel, if it is a plain convolution.
    pub(crate) fn kernel(&self) -> Option<&tensor::Conv2d> {
        match &self.work {
            Work::Plain(kernel) => Some(kernel),
            Work::Parts(_) => None,
        }
    }

    fn weight_len(&self) -> usize {
        let [k0, k1] = self.options.kernel;
        self.output.c * (self.input.c / self.options.groups) * k0 * k1
    }

    fn bias_len(&self) -> Option<usize> {
        self.options.bias.then_some(self.output.c)
    }
}

impl<T: Scalar> Layer<T> for Conv2d {
    fn forward(&self, pass: &Pass, theta: &[T], x: &[T], y: &mut [T], _tape: &mut [T], scratch: &mut [T]) {
        let Params { weight: w, bias: b } = self.split(theta);
        match &self.work {
            Work::Plain(kernel) => kernel.forward(pass.block, w, b, x, y, scratch),
            Work::Parts(parts) => parts.forward(pass.block, w, b, x, y, scratch),
        }
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
        match &self.work {
            Work::Plain(kernel) => {
                kernel.backward_params(pass.block, saved.x, dy, dw, db, scratch);
                if let Some(dx) = dx {
                    kernel.backward_input(0..self.input.c, pass.block, w, dy, dx, scratch);
                }
            }
            Work::Parts(parts) => parts.backward(pass.block, w, saved.x, dy, dx, dw, db, scratch),
        }
    }
}

impl Describe for Conv2d {
    fn name(&self) -> &'static str {
        "conv"
    }

    fn spec(&self) -> String {
        let ConvOptions { kernel, stride, pad, dilation, groups, bias } = self.options;
        let mut spec = format!("conv({},{}", self.output.c, per_axis(kernel));
        if stride != [1, 1] {
            spec += &format!(",stride={}", per_axis(stride));
        }
        if pad != Padding::NONE {
            spec += &format!(",pad={pad}");
        }
        if !bias {
            spec += ",bias=false";
        }
        if dilation != [1, 1] {
            spec += &format!(",dilation={}", per_axis(dilation));
        }
        if groups != 1 {
            spec += &format!(",groups={groups}");
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
        let ConvOptions { kernel: [k0, k1], groups, .. } = self.options;
        let [c_in, c_out] = [self.input.c, self.output.c].map(|channels| channels / groups);
        let (fan_in, fan_out) = (c_in * k0 * k1, c_out * k0 * k1);
        let weight = ParamSpec::new("weight", vec![self.output.c, c_in, k0, k1], fan_in, fan_out);
        let bias = ParamSpec::new("bias", vec![self.output.c], fan_in, fan_out);
        if self.options.bias { vec![weight, bias] } else { vec![weight] }
    }

    fn scratch_len(&self, block: Block) -> usize {
        match &self.work {
            Work::Plain(kernel) => kernel.scratch_len(block),
            Work::Parts(parts) => parts.scratch_len(block),
        }
    }

    fn flops(&self) -> u64 {
        2 * self.weight_len() as u64 * (self.output.h * self.output.w) as u64
    }
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
        let pad = Padding::axes(pad);
        let options = ConvOptions { kernel, stride, pad, bias, ..ConvOptions::square(1) };
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

    /// By Winograd's filtering: last output tiles that stick out, channels that fill no vector.
    #[test]
    fn many_channels() {
        check(Shape::new(23, 5, 7), 26, [3, 3], [1, 1], [1, 1], true);
        check(Shape::new(16, 6, 6), 16, [3, 3], [1, 1], [0, 0], true);
        check(Shape::new(26, 4, 3), 23, [3, 3], [1, 1], [2, 2], false);
    }

    fn check_parts(input: Shape, c_out: usize, options: ConvOptions) {
        check_layer(&Conv2d::new(input, c_out, options).unwrap(), &Options::default()).assert();
    }

    #[test]
    fn padding_that_differs_by_side() {
        let options = ConvOptions { kernel: [3, 2], stride: [2, 1], ..ConvOptions::square(1) };
        check_parts(Shape::new(2, 6, 5), 3, ConvOptions { pad: Padding::Sides([2, 0, 1, 1]), ..options });
        check_parts(Shape::new(2, 6, 5), 3, ConvOptions { pad: Padding::Same, bias: false, ..options });
        check_parts(Shape::new(1, 4, 7), 2, ConvOptions { pad: Padding::SameLower, ..options });
    }

    #[test]
    fn taps_that_lie_apart() {
        let apart = |dilation, stride, pad| ConvOptions { dilation, stride, pad, ..ConvOptions::square(3) };
        check_parts(Shape::new(2, 7, 8), 3, apart([2, 3], [1, 1], Padding::NONE));
        check_parts(Shape::new(2, 7, 9), 2, apart([2, 4], [2, 3], Padding::axes([1, 2])));
        check_parts(Shape::new(1, 6, 11), 2, apart([3, 2], [2, 4], Padding::Sides([2, 0, 3, 1])));
        check_parts(Shape::new(1, 2, 2), 2, apart([2, 2], [1, 1], Padding::Same));
    }

    #[test]
    fn channels_in_groups() {
        let groups = |groups| ConvOptions { groups, ..ConvOptions::square(3) };
        check_parts(Shape::new(4, 5, 6), 6, groups(2));
        check_parts(Shape::new(3, 6, 6), 3, ConvOptions { pad: Padding::axes([1, 1]), ..groups(3) });
        check_parts(Shape::new(2, 7, 6), 4, ConvOptions { stride: [2, 2], dilation: [2, 1], ..groups(2) });
        check_parts(Shape::new(32, 6, 5), 32, ConvOptions { bias: false, ..groups(2) });
    }

    #[test]
    fn refuses_groups_that_do_not_divide_the_channels() {
        for (groups, input, c_out) in [(2, 3, 4), (2, 4, 3), (0, 4, 4), (8, 4, 8)] {
            let options = ConvOptions { groups, ..ConvOptions::square(3) };
            let error = Conv2d::new(Shape::new(input, 5, 5), c_out, options).unwrap_err().to_string();
            let found = format!("found {groups} for {input} input channels and {c_out} output channels");
            assert!(error.starts_with("conv: groups must be") && error.ends_with(&found), "{error}");
        }
    }

    #[test]
    fn refuses_a_kernel_larger_than_its_input() {
        let error = Conv2d::new(Shape::new(1, 4, 9), 1, ConvOptions::square(5)).unwrap_err().to_string();
        assert!(error.starts_with("conv") && error.contains('5') && error.contains('4'), "{error}");
    }
}
