//! The columns of a correlation at the left and right border, whose taps in part lie outside the source: a few of them together.
//!
//! Each has taps of its own, but they read the same few columns of the source: those are held in registers, and a tap's weight is
//! read once for all columns that it has a pixel for.

use super::correlation::Correlation;
use super::strides::{Strides, Targets};
use crate::blocking::opaque;
use crate::number::Number;
use crate::simd::Vector;

/// The columns of targets at one border, of row `i`. Where that is the left one, `LEFT`, tap `v` of column `q` of `C` reads column
/// `v + q - C` of the source; at the right one column `v + q`, counted from that which `x` points to.
pub(super) struct Border<'a, T> {
    pub(super) plan: &'a Correlation,
    pub(super) strides: Strides,
    pub(super) i: usize,
    /// Rows of taps that meet the source.
    pub(super) us: (usize, usize),
    pub(super) w: *const T,
    pub(super) b: *const T,
    pub(super) x: *const T,
    pub(super) to: Targets<T>,
}

/// Whether there is a kernel for a border of this many columns, where taps meet this many columns of the source.
pub(super) fn suits(columns: usize, sources: usize) -> bool {
    matches!((columns, sources), (1 | 2, 2) | (2 | 4, 4))
}

impl<T: Number> Border<'_, T> {
    /// Computes `live` lanes of all output channels.
    ///
    /// # Safety
    /// The pointers must be valid for every address that the plan, the layout and the border name, which must [suit](suits).
    #[inline(always)]
    pub(super) unsafe fn run<V: Vector<Elem = T>, const LEFT: bool>(
        &self,
        columns: usize,
        sources: usize,
        live: usize,
    ) {
        for lane in (0..live).step_by(V::LANES) {
            // SAFETY: as the caller vouches.
            unsafe {
                match (columns, sources) {
                    (1, 2) => self.channels::<V, 1, 2, LEFT>(lane),
                    (2, 2) => self.channels::<V, 2, 2, LEFT>(lane),
                    (2, 4) => self.channels::<V, 2, 4, LEFT>(lane),
                    _ => self.channels::<V, 4, 4, LEFT>(lane),
                }
            }
        }
    }

    /// All output channels, of `C` columns that see `S` of the source.
    ///
    /// # Safety
    /// As [`run`](Self::run).
    #[inline(always)]
    unsafe fn channels<V: Vector<Elem = T>, const C: usize, const S: usize, const LEFT: bool>(
        &self,
        lane: usize,
    ) {
        let channels = self.plan.channels_out;
        // As many channels as have registers for their sums; the last ones may be computed twice.
        let at_once = const { if V::REGISTERS < 32 { 2 } else { 4 } };
        for o in (0..channels).step_by(if channels < at_once { 1 } else { at_once }) {
            // SAFETY: as the caller vouches, for channels that exist.
            unsafe {
                if channels < at_once {
                    self.at::<V, 1, C, S, LEFT>(o, lane);
                } else if const { V::REGISTERS < 32 } {
                    self.at::<V, 2, C, S, LEFT>(o.min(channels - 2), lane);
                } else {
                    self.at::<V, 4, C, S, LEFT>(o.min(channels - 4), lane);
                }
            }
        }
    }

    /// `R` output channels from `o` on.
    ///
    /// # Safety
    /// As [`run`](Self::run).
    #[inline(always)]
    unsafe fn at<V: Vector<Elem = T>, const R: usize, const C: usize, const S: usize, const LEFT: bool>(
        &self,
        o: usize,
        lane: usize,
    ) {
        let Self { plan, strides, i, us, w, b, x, to } = *self;
        let zero = V::splat(T::ZERO);
        let mut acc = [[zero; C]; R];
        // SAFETY: as the caller vouches; pixels outside the source are left out.
        unsafe {
            let mut weights = [w; R];
            for r in 0..R {
                weights[r] = w.wrapping_offset((o + r) as isize * plan.w_out_stride);
                if !b.is_null() {
                    acc[r] = [V::splat(*b.add(o + r)); C];
                }
            }
            let weights = opaque::<_, R, 4>(weights);
            for c in 0..plan.channels_in {
                for u in us.0..us.1 {
                    let row = (i * plan.source_step[0] + u) as isize + plan.offset[0];
                    let x = x.wrapping_offset((c * strides.plane) as isize + row * strides.pitch as isize);
                    let mut sources = [zero; S];
                    for s in 0..S {
                        sources[s] = V::load(x.add(s * strides.pixel + lane));
                    }
                    // At the left border the first tap lies outside for all columns, at the right one the last.
                    let mut tap = plan.w_start + c as isize * plan.w_in_stride + u as isize * plan.w_tap[0];
                    if LEFT {
                        tap += plan.w_tap[1];
                    }
                    for n in 0..S {
                        for r in 0..R {
                            let w = V::splat(*weights[r].wrapping_offset(tap));
                            for q in 0..C {
                                let s = if LEFT { (n + q + 1).wrapping_sub(C) } else { n + q };
                                if s < S {
                                    acc[r][q] = w.mul_add(sources[s], acc[r][q]);
                                }
                            }
                        }
                        tap += plan.w_tap[1];
                    }
                }
            }
            for r in 0..R {
                for q in 0..C {
                    acc[r][q].store(to.y.add((o + r) * to.plane + q * to.step + lane));
                }
            }
        }
    }
}
