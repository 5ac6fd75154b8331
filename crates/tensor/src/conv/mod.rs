//! Two-dimensional convolution: forward, input gradient, parameter gradient.
//!
//! The forward pass and the input gradient are one kernel, a correlation with weights walked forwards or backwards
//! ([`correlation`]); the parameter gradient is the other ([`gradient`]). Both vectorise over sixteen samples of one pixel
//! (tiled blocks); of one sample alone, over neighbouring pixels and over channels. With many channels, 3x3 on single samples
//! goes another way: [`winograd`].

mod border;
pub(crate) mod correlation;
pub(crate) mod flat;
pub(crate) mod fold;
pub(crate) mod gradient;
pub(crate) mod side_by_side;
pub(crate) mod squares;

use crate::error::{MAX_ELEMENTS, MAX_PADDED, check_product};
use crate::geometry::{check_input, check_window, windows};
use crate::winograd::{self, Operands};
use crate::{Block, GeometryError, LANES, Scalar};
use correlation::{Correlation, MAX_TAPS};
use flat::Flat;
use gradient::{BiasGradient, WeightGradient};
use std::ops::Range;

/// The name in errors.
const NAME: &str = "conv";

/// The geometry of a 2-D convolution (cross-correlation, as in every framework) and its kernels.
///
/// `y[o, i, j] = b[o] + sum_{c, u, v} w[o, c, u, v] * x[c, i * stride + u - pad, j * stride + v - pad]`, zero outside `x`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Conv2d {
    // Kernels rely on what `new` checked: nobody outside can change it.
    pub(crate) c_in: usize,
    pub(crate) h_in: usize,
    pub(crate) w_in: usize,
    pub(crate) c_out: usize,
    pub(crate) kernel: [usize; 2],
    pub(crate) stride: [usize; 2],
    pub(crate) pad: [usize; 2],
    /// Whether single samples are convolved by Winograd's filtering; else every pass multiplies each pixel by each tap, as the
    /// formula reads.
    winograd: bool,
}

impl Conv2d {
    /// Checks the geometry; `input` is `[channels, rows, columns]`.
    ///
    /// # Errors
    /// A zero size, a kernel larger than its padded input, padding as large as the kernel, a kernel of more than
    /// 1024 taps, or more than 2^28 numbers (2^24 where an address has 32 bits).
    pub fn new(
        input: [usize; 3],
        c_out: usize,
        kernel: [usize; 2],
        stride: [usize; 2],
        pad: [usize; 2],
    ) -> Result<Self, GeometryError> {
        check_input(NAME, input)?;
        let [c_in, h_in, w_in] = input;
        check_product(NAME, "the input", &input, MAX_ELEMENTS)?;
        let conv = Self { c_in, h_in, w_in, c_out, kernel, stride, pad, winograd: false };
        conv.check_weight()?;
        check_window(NAME, [h_in, w_in], kernel, stride, pad)?;
        check_product(NAME, "a kernel", &kernel, MAX_TAPS)?;
        // A longer stride has the same one output, and would only make numbers large.
        let [sh, sw] = stride;
        let conv = Self { stride: [sh.min(h_in + 2 * pad[0]), sw.min(w_in + 2 * pad[1])], ..conv };
        conv.check_output()?;
        Ok(Self { winograd: winograd::suits(&conv), ..conv })
    }

    fn check_weight(&self) -> Result<(), GeometryError> {
        let Self { c_in, c_out, kernel: [kh, kw], .. } = *self;
        if c_out == 0 {
            return Err(GeometryError::Zero { kernel: NAME, what: "output channels" });
        }
        check_product(NAME, "the weight", &[c_out, c_in, kh, kw], MAX_ELEMENTS)
    }

    fn check_output(&self) -> Result<(), GeometryError> {
        let Self { c_in, h_in, w_in, c_out, kernel: [kh, kw], pad: [ph, pw], .. } = *self;
        check_product(NAME, "the output", &[c_out, self.h_out(), self.w_out()], MAX_ELEMENTS)?;
        // No kernel lays out more: an image with its padding and the reach of the taps.
        let padded = [c_in.max(c_out), h_in + 2 * ph + kh, w_in + 2 * pw + kw];
        check_product(NAME, "the padded image", &padded, MAX_PADDED)
    }

    /// Input channels.
    pub fn c_in(&self) -> usize {
        self.c_in
    }

    /// Input rows.
    pub fn h_in(&self) -> usize {
        self.h_in
    }

    /// Input columns.
    pub fn w_in(&self) -> usize {
        self.w_in
    }

    /// Output channels.
    pub fn c_out(&self) -> usize {
        self.c_out
    }

    /// Kernel rows and columns.
    pub fn kernel(&self) -> [usize; 2] {
        self.kernel
    }

    /// Stride along rows and columns: no more than the rows and columns of the padded input, whatever was asked for.
    pub fn stride(&self) -> [usize; 2] {
        self.stride
    }

    /// Zeros added on each side, along rows and columns.
    pub fn pad(&self) -> [usize; 2] {
        self.pad
    }

    /// The same convolution by its direct kernels, never by Winograd's: to compare with.
    #[must_use]
    pub fn direct(self) -> Self {
        Self { winograd: false, ..self }
    }

    /// The same convolution into some of its output channels alone, by the same kernels: each channel's numbers have the same bits.
    ///
    /// # Errors
    /// No channel, or so many that there are too many numbers: as [`Conv2d::new`].
    pub fn with_outputs(self, c_out: usize) -> Result<Self, GeometryError> {
        let conv = Self { c_out, ..self };
        conv.check_weight()?;
        conv.check_output()?;
        Ok(conv)
    }

    /// Whether blocks of single samples are convolved by Winograd's minimal filtering: kernels of 3x3, stride 1, many channels.
    pub fn is_winograd(&self) -> bool {
        self.winograd
    }

    /// Output rows.
    pub fn h_out(&self) -> usize {
        windows(self.h_in, self.kernel[0], self.stride[0], self.pad[0])
    }

    /// Output columns.
    pub fn w_out(&self) -> usize {
        windows(self.w_in, self.kernel[1], self.stride[1], self.pad[1])
    }

    /// Features of the input.
    pub fn inputs(&self) -> usize {
        self.c_in * self.h_in * self.w_in
    }

    /// Features of the output.
    pub fn outputs(&self) -> usize {
        self.c_out * self.h_out() * self.w_out()
    }

    /// Numbers in the weight `[c_out, c_in, kh, kw]`.
    pub fn weight_len(&self) -> usize {
        self.c_out * self.taps()
    }

    /// Scratch that each of the three passes may use.
    pub fn scratch_len(&self, block: Block) -> usize {
        if block.lanes() == LANES {
            // Sixteen sums for each weight and each bias, and what is folded.
            return (self.weight_len() + self.c_out) * LANES + fold::scratch_len(self);
        }
        if self.takes_winograd(block) {
            return winograd::scratch_len(self);
        }
        // Planes of a correlation as one long row each; or what the parameter gradient lays side by side.
        let plans = self.input_gradient_plans(0..self.c_in).chain([self.forward_plan()]);
        let flat = plans.filter(Flat::suits).map(|plan| Flat::new(&plan).scratch_len()).max();
        flat.unwrap_or(0).max(side_by_side::scratch_len(self))
    }

    /// `y = conv(x, w) + b`: `[c_out, h_out, w_out]` from `[c_in, h_in, w_in]`, each a row of lanes. Overwrites `y`.
    ///
    /// # Panics
    /// If a slice has not the length its shape says.
    #[track_caller]
    pub fn forward<T: Scalar>(
        &self,
        block: Block,
        w: &[T],
        b: Option<&[T]>,
        x: &[T],
        y: &mut [T],
        scratch: &mut [T],
    ) {
        self.check(block, w.len(), x.len(), y.len(), scratch.len(), "y");
        assert!(b.is_none_or(|b| b.len() == self.c_out), "conv: bias must hold {} numbers", self.c_out);
        if block.is_empty() {
            return;
        }
        if self.takes_winograd(block) {
            return self.winograd(Operands::Forward { w, b, x, y }, scratch);
        }
        self.forward_plan().run(block, w, b, x, y, scratch);
    }

    /// `dx[c, p, q] = sum_{o, u, v} w[o, c, u, v] * dy[o, i, j]` over all `i * stride + u - pad = p`, `j * stride + v - pad = q`.
    /// Overwrites `dx`, which holds the input channels `inputs` and no others.
    ///
    /// Rows `p` with the same `(p + pad) mod stride` see the same kernel rows `u = r, r + stride, ...`: for each such class it
    /// is a correlation of stride 1 with the kernel walked backwards.
    ///
    /// # Panics
    /// If there are not such channels, or a slice has not the length its shape says.
    #[track_caller]
    pub fn backward_input<T: Scalar>(
        &self,
        inputs: Range<usize>,
        block: Block,
        w: &[T],
        dy: &[T],
        dx: &mut [T],
        scratch: &mut [T],
    ) {
        self.check_dx("conv", &inputs, block, dx.len());
        self.check(block, w.len(), block.len(self.inputs()), dy.len(), scratch.len(), "dy");
        if dx.is_empty() {
            return;
        }
        if self.takes_winograd(block) {
            return self.winograd(Operands::BackwardInput { inputs, w, dy, dx }, scratch);
        }
        for plan in self.input_gradient_plans(inputs) {
            plan.run(block, w, None, dy, dx, scratch);
        }
    }

    /// `dw[o, c, u, v] += sum over samples, i, j of dy[o, i, j] * x[c, i * stride + u - pad, j * stride + v - pad]` and
    /// `db[o] += sum of dy[o, i, j]`. Adds to both.
    ///
    /// # Panics
    /// If a slice has not the length its shape says.
    #[track_caller]
    pub fn backward_params<T: Scalar>(
        &self,
        block: Block,
        x: &[T],
        dy: &[T],
        dw: &mut [T],
        db: Option<&mut [T]>,
        scratch: &mut [T],
    ) {
        self.check(block, dw.len(), x.len(), dy.len(), scratch.len(), "dy");
        assert!(
            db.as_ref().is_none_or(|db| db.len() == self.c_out),
            "conv: bias gradient must hold {} numbers",
            self.c_out
        );
        if block.is_empty() {
            return;
        }
        if self.takes_winograd(block) {
            self.winograd(Operands::BackwardWeight { x, dy, dw }, scratch);
            if let Some(db) = db {
                T::bias_gradient(BiasGradient { block, plane: self.h_out() * self.w_out(), dy, db });
            }
            return;
        }
        T::weight_gradient(WeightGradient { conv: *self, block, x, dy, dw, db, scratch });
    }

    /// Whether this block is convolved by Winograd's filtering.
    pub(crate) fn takes_winograd(&self, block: Block) -> bool {
        block.lanes() == 1 && self.is_winograd()
    }

    fn winograd<T: Scalar>(&self, operands: Operands<'_, T>, scratch: &mut [T]) {
        T::winograd(winograd::Pass { conv: self, operands, scratch });
    }

    /// The forward pass as a correlation.
    pub(crate) fn forward_plan(&self) -> Correlation {
        let [kh, kw] = self.kernel;
        Correlation {
            groups: self.c_out,
            channels: self.c_in,
            taps: self.kernel,
            // w[o, c, u, v]
            w_start: 0,
            w_group: (self.c_in * kh * kw) as isize,
            w_channel: (kh * kw) as isize,
            w_tap: [kw as isize, 1],
            source: [self.h_in, self.w_in],
            target: [self.h_out(), self.w_out()],
            offset: self.pad.map(|p| -(p as isize)),
            source_step: self.stride,
            target_plane: [self.h_out(), self.w_out()],
            target_start: [0, 0],
            target_step: [1, 1],
        }
    }

    /// The input gradient of some channels as correlations, one a phase of the strides; see [`Conv2d::backward_input`].
    pub(crate) fn input_gradient_plans(
        &self,
        inputs: Range<usize>,
    ) -> impl Iterator<Item = Correlation> + use<> {
        let (conv, first, groups) = (*self, inputs.start, inputs.len());
        let [kh, kw] = conv.kernel;
        let [sh, sw] = conv.stride;
        // First target, targets, kernel remainder, taps, offset into dy of tap 0 seen from the first target.
        let phases = move |axis: usize| {
            let input = [conv.h_in, conv.w_in][axis];
            let (k, s, pad) = (conv.kernel[axis], conv.stride[axis], conv.pad[axis]);
            (0..s.min(input)).map(move |first| {
                let remainder = (first + pad) % s;
                let taps = (k + s - 1).saturating_sub(remainder) / s;
                let offset = ((first + pad - remainder) / s) as isize - (taps as isize - 1);
                (first, (input - first).div_ceil(s), remainder, taps, offset)
            })
        };
        phases(0).flat_map(move |(row, rows, u0, u_taps, u_offset)| {
            phases(1).map(move |(column, columns, v0, v_taps, v_offset)| {
                // The last tap comes first: u = u0 + (u_taps - 1) * sh and down.
                let last_u = u0 as isize + (u_taps as isize - 1) * sh as isize;
                let last_v = v0 as isize + (v_taps as isize - 1) * sw as isize;
                Correlation {
                    groups,
                    channels: conv.c_out,
                    taps: [u_taps, v_taps],
                    w_start: (first * kh * kw) as isize + last_u * kw as isize + last_v,
                    w_group: (kh * kw) as isize,
                    w_channel: (conv.c_in * kh * kw) as isize,
                    w_tap: [-((sh * kw) as isize), -(sw as isize)],
                    source: [conv.h_out(), conv.w_out()],
                    target: [rows, columns],
                    offset: [u_offset, v_offset],
                    source_step: [1, 1],
                    target_plane: [conv.h_in, conv.w_in],
                    target_start: [row, column],
                    target_step: conv.stride,
                }
            })
        })
    }

    pub(crate) fn taps(&self) -> usize {
        self.c_in * self.kernel[0] * self.kernel[1]
    }

    #[track_caller]
    pub(crate) fn check_dx(&self, name: &str, inputs: &Range<usize>, block: Block, dx: usize) {
        assert!(inputs.start <= inputs.end && inputs.end <= self.c_in, "{name}: input channels {inputs:?}");
        let len = block.len(inputs.len() * self.h_in * self.w_in);
        assert_eq!(dx, len, "{name}: length of dx for channels {inputs:?} of {block:?}");
    }

    #[track_caller]
    fn check(&self, block: Block, w: usize, x: usize, y: usize, scratch: usize, y_name: &str) {
        assert_eq!(w, self.weight_len(), "conv: length of the weight");
        assert_eq!(x, block.len(self.inputs()), "conv: length of x or dx for {block:?}");
        assert_eq!(y, block.len(self.outputs()), "conv: length of {y_name} for {block:?}");
        assert!(
            scratch >= self.scratch_len(block),
            "conv: scratch of {} is too short: {scratch}",
            self.scratch_len(block)
        );
    }
}
