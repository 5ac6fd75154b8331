//! The three passes of a convolution, each by the kernels that suit it.

use super::direct::{self, Correlation, Direct};
use super::weight_grad::{self, BiasGradient, WeightGradient};
use super::winograd::{self, Operands, Winograd};
use crate::geometry::Conv2d;
use crate::layout::Block;
use crate::number::Number;
use crate::simd::{Kernel, Vector};
use std::ops::Range;

/// Scratch that each of the passes may use.
pub(crate) fn scratch_len(conv: &Conv2d, block: Block) -> usize {
    if conv.is_winograd() {
        return winograd::scratch_len(conv, block);
    }
    direct::scratch_len(conv, block).max(weight_grad::scratch_len(conv, block))
}

/// Overwrites `y`.
pub(crate) struct Forward<'a, T> {
    pub(crate) conv: Conv2d,
    pub(crate) block: Block,
    pub(crate) w: &'a [T],
    pub(crate) b: Option<&'a [T]>,
    pub(crate) x: &'a [T],
    pub(crate) y: &'a mut [T],
    pub(crate) scratch: &'a mut [T],
}

impl<T: Number> Kernel<T> for Forward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Elem = T>>(self) {
        let Self { conv, block, w, b, x, y, scratch } = self;
        if conv.is_winograd() {
            return V::outlined(Winograd {
                conv: &conv,
                block,
                operands: Operands::Forward { w, b, x, y },
                scratch,
            });
        }
        V::outlined(Direct { plan: Correlation::forward(&conv), block, w, b, x, y, scratch });
    }
}

/// Overwrites `dx`, that of the channels `inputs`.
pub(crate) struct BackwardInput<'a, T> {
    pub(crate) conv: Conv2d,
    pub(crate) inputs: Range<usize>,
    pub(crate) block: Block,
    pub(crate) w: &'a [T],
    pub(crate) dy: &'a [T],
    pub(crate) dx: &'a mut [T],
    pub(crate) scratch: &'a mut [T],
}

impl<T: Number> Kernel<T> for BackwardInput<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Elem = T>>(self) {
        let Self { conv, inputs, block, w, dy, dx, scratch } = self;
        if conv.is_winograd() {
            let operands = Operands::BackwardInput { inputs, w, dy, dx };
            return V::outlined(Winograd { conv: &conv, block, operands, scratch });
        }
        for plan in Correlation::input_gradient(&conv, inputs) {
            V::outlined(Direct { plan, block, w, b: None, x: dy, y: dx, scratch });
        }
    }
}

/// Adds to `dw` and `db`.
pub(crate) struct BackwardParams<'a, T> {
    pub(crate) conv: Conv2d,
    pub(crate) block: Block,
    pub(crate) x: &'a [T],
    pub(crate) dy: &'a [T],
    pub(crate) dw: &'a mut [T],
    pub(crate) db: Option<&'a mut [T]>,
    pub(crate) scratch: &'a mut [T],
}

impl<T: Number> Kernel<T> for BackwardParams<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Elem = T>>(self) {
        let Self { conv, block, x, dy, dw, db, scratch } = self;
        if conv.is_winograd() {
            let operands = Operands::BackwardWeight { x, dy, dw };
            V::outlined(Winograd { conv: &conv, block, operands, scratch });
            if let Some(db) = db {
                V::outlined(BiasGradient { block, plane: conv.h_out() * conv.w_out(), dy, db });
            }
            return;
        }
        V::outlined(WeightGradient { conv, block, x, dy, dw, db, scratch });
    }
}
