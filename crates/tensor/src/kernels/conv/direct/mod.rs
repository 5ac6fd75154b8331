//! Direct convolution: every pixel times every tap, as the formula reads. The forward pass and the input gradient are one kernel, a
//! correlation with weights walked forwards or backwards.

mod border;
mod correlation;
mod fold;
mod single;
mod strides;
mod tiled;

pub(super) use correlation::Correlation;
pub(super) use single::Flat;
pub(super) use strides::{Strides, Targets};
pub(super) use tiled::{Row, Rows, correlate};

use crate::geometry::Conv2d;
use crate::layout::{Block, LANES};
use crate::number::Number;
use crate::simd::{Kernel, Vector};
use tiled::correlate_rows;

/// Scratch of the correlations of both passes.
pub(super) fn scratch_len(conv: &Conv2d, block: Block) -> usize {
    if block.lanes() == LANES {
        return fold::scratch_len(conv);
    }
    // Planes as one long row each.
    let plans = Correlation::input_gradient(conv, 0..conv.c_in).chain([Correlation::forward(conv)]);
    plans.filter(Flat::suits).map(|plan| Flat::new(&plan).scratch_len()).max().unwrap_or(0)
}

/// A correlation over a block.
pub(super) struct Direct<'a, T> {
    pub(super) plan: Correlation,
    pub(super) block: Block,
    pub(super) w: &'a [T],
    pub(super) b: Option<&'a [T]>,
    pub(super) x: &'a [T],
    pub(super) y: &'a mut [T],
    pub(super) scratch: &'a mut [T],
}

impl<T: Number> Kernel<T> for Direct<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Elem = T>>(self) {
        let Self { plan, block, w, b, x, y, scratch } = self;
        let b = b.map_or(std::ptr::null(), |b| b.as_ptr());
        let x_len = plan.channels_in * plan.source[0] * plan.source[1];
        let y_len = plan.channels_out * plan.target_plane[0] * plan.target_plane[1];
        for t in 0..block.tiles() {
            // SAFETY: Conv2d's methods checked every length against the geometry that the plan was made from.
            unsafe {
                if block.lanes() == LANES {
                    let x = &x[t * x_len * LANES..][..x_len * LANES];
                    let y = &mut y[t * y_len * LANES..][..y_len * LANES];
                    let strides = Strides::tiled(plan.source);
                    correlate::<V>(&plan, strides, w.as_ptr(), b, x, y, block.live(t), scratch);
                } else if Flat::suits(&plan) {
                    let (x, y) = (&x[t * x_len..][..x_len], &mut y[t * y_len..][..y_len]);
                    Flat::new(&plan).run::<V>(w.as_ptr(), b, x, y, scratch);
                } else {
                    let strides = Strides::single(plan.source);
                    let x = x.as_ptr().add(t * x_len);
                    let y = y.as_mut_ptr().add(t * y_len);
                    correlate_rows::<V::One>(&plan, strides, w.as_ptr(), b, x, y, 1);
                }
            }
        }
    }
}
