//! What both the forward pass and the input gradient are: a correlation with weights walked in any direction.

use super::strides::Strides;
use crate::geometry::{Conv2d, MAX_TAPS};
use crate::number::Number;
use crate::simd::Vector;
use std::mem::MaybeUninit;
use std::ops::Range;

/// `target[o, i, j] = b[o] + sum_{c, u, v} w(o, c, u, v) * source[c, i * step + u + offset, j * step + v + offset]`, zero
/// outside the source, with weights and target walked in any direction and step.
#[derive(Clone, Copy)]
pub(crate) struct Correlation {
    pub(crate) channels_out: usize,
    pub(crate) channels_in: usize,
    pub(crate) taps: [usize; 2],
    pub(crate) w_start: isize,
    pub(crate) w_out_stride: isize,
    pub(crate) w_in_stride: isize,
    pub(crate) w_tap: [isize; 2],
    pub(crate) source: [usize; 2],
    pub(crate) target: [usize; 2],
    pub(crate) offset: [isize; 2],
    pub(crate) source_step: [usize; 2],
    /// The plane that targets lie in, the first one, and how far apart they are.
    pub(crate) target_plane: [usize; 2],
    pub(crate) target_start: [usize; 2],
    pub(crate) target_step: [usize; 2],
}

/// Where a tap finds its source and its weight, in numbers from those of target column 0 of the row, and of the output channel.
#[derive(Clone, Copy)]
pub(crate) struct Tap {
    pub(crate) x: isize,
    pub(crate) w: isize,
}

/// In rows of 2^20 pixels of sixteen lanes the last of 129 taps reads 2^31 numbers behind the first: that must fit.
#[cfg(target_pointer_width = "64")]
const _: Tap = Tap { x: 128 * (16 << 20), w: 128 };

impl Correlation {
    /// The forward pass.
    pub(crate) fn forward(conv: &Conv2d) -> Self {
        let [kh, kw] = conv.kernel;
        Self {
            channels_out: conv.c_out,
            channels_in: conv.c_in,
            taps: conv.kernel,
            // w[o, c, u, v]
            w_start: 0,
            w_out_stride: (conv.c_in * kh * kw) as isize,
            w_in_stride: (kh * kw) as isize,
            w_tap: [kw as isize, 1],
            source: [conv.h_in, conv.w_in],
            target: [conv.h_out(), conv.w_out()],
            offset: conv.pad.map(|p| -(p as isize)),
            source_step: conv.stride,
            target_plane: [conv.h_out(), conv.w_out()],
            target_start: [0, 0],
            target_step: [1, 1],
        }
    }

    /// The input gradient of some channels: a correlation for each phase of the strides; see [`Conv2d::backward_input`].
    pub(crate) fn input_gradient(conv: &Conv2d, inputs: Range<usize>) -> impl Iterator<Item = Self> + use<> {
        let (conv, first, channels_out) = (*conv, inputs.start, inputs.len());
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
                Self {
                    channels_out,
                    channels_in: conv.c_out,
                    taps: [u_taps, v_taps],
                    w_start: (first * kh * kw) as isize + last_u * kw as isize + last_v,
                    w_out_stride: (kh * kw) as isize,
                    w_in_stride: (conv.c_in * kh * kw) as isize,
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

    /// Taps along one axis that meet the source for target `i`.
    #[inline]
    pub(crate) fn tap_range(&self, axis: usize, i: usize) -> (usize, usize) {
        let first = (i * self.source_step[axis]) as isize + self.offset[axis];
        let from = (-first).clamp(0, self.taps[axis] as isize);
        let to = (self.source[axis] as isize - first).clamp(from, self.taps[axis] as isize);
        (from as usize, to as usize)
    }

    /// Target columns `from..to` whose every tap meets the source.
    #[inline]
    pub(crate) fn interior(&self) -> (usize, usize) {
        let step = self.source_step[1] as isize;
        let from = ((-self.offset[1]).max(0) as usize).div_ceil(step as usize) as isize;
        let room = self.source[1] as isize - self.taps[1] as isize - self.offset[1];
        let to = if room < 0 { 0 } else { room / step + 1 };
        let to = to.min(self.target[1] as isize);
        (from.min(to) as usize, to as usize)
    }

    /// The taps of target row `i` in kernel rows `us` and columns `vs`, in order.
    #[inline(always)]
    pub(crate) fn row_taps<'a>(
        &self,
        strides: Strides,
        i: usize,
        us: (usize, usize),
        vs: (usize, usize),
        storage: &'a mut [MaybeUninit<Tap>; MAX_TAPS],
    ) -> &'a [Tap] {
        let first = (i * self.source_step[0]) as isize + self.offset[0];
        let x = |u: usize, v: usize| {
            (first + u as isize) * strides.pitch as isize
                + (v as isize + self.offset[1]) * strides.tap as isize
        };
        self.tap_table(us, vs, x, storage)
    }

    /// What the sums of a block of output channels from `o` on begin with, the biases or zero, and where their weights are.
    ///
    /// # Safety
    /// The output channels must exist, and `b`, unless it is null, have a bias for each.
    #[inline(always)]
    pub(crate) unsafe fn begin<V: Vector, const R: usize, const C: usize>(
        &self,
        o: usize,
        w: *const V::Elem,
        b: *const V::Elem,
    ) -> ([[V; C]; R], [*const V::Elem; R]) {
        let (mut acc, mut weights) = ([[V::splat(V::Elem::ZERO); C]; R], [w; R]);
        for r in 0..R {
            if !b.is_null() {
                // SAFETY: the caller vouches for the bias.
                acc[r] = [V::splat(unsafe { *b.add(o + r) }); C];
            }
            weights[r] = w.wrapping_offset((o + r) as isize * self.w_out_stride);
        }
        (acc, weights)
    }

    /// The taps in kernel rows `us` and columns `vs`, in order; `x` says where each finds its source.
    #[inline(always)]
    pub(crate) fn tap_table<'a>(
        &self,
        us: (usize, usize),
        vs: (usize, usize),
        x: impl Fn(usize, usize) -> isize,
        storage: &'a mut [MaybeUninit<Tap>; MAX_TAPS],
    ) -> &'a [Tap] {
        let mut len = 0;
        for u in us.0..us.1 {
            for v in vs.0..vs.1 {
                let x = x(u, v);
                let w = self.w_start + u as isize * self.w_tap[0] + v as isize * self.w_tap[1];
                storage[len].write(Tap { x, w });
                len += 1;
            }
        }
        // SAFETY: the first len were written.
        unsafe { std::slice::from_raw_parts(storage.as_ptr().cast(), len) }
    }
}
