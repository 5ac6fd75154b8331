//! The weight and bias gradient of direct convolution. Sixteen partial sums a weight, one a lane, added up in a fixed tree at the end; of a
//! single sample sixteen output channels side by side.

mod bands;
mod bias;
mod channels_last;
mod first_layer;
mod gradient;
mod tiled;

pub(super) use bands::scratch_len as fold_len;
pub(super) use bias::BiasGradient;
pub(super) use channels_last::{OutputGradient, add_laid, channels_last};
pub(super) use first_layer::{Maxima, gradient as first_layer_gradient, suits as suits_first_layer};
pub(super) use gradient::Gradient;
pub(super) use tiled::of_tile;

use crate::blocking::add_sums;
use crate::geometry::Conv2d;
use crate::layout::{Block, LANES};
use crate::number::Number;
use crate::simd::{Kernel, Vector};
use bias::bias_gradient;
use channels_last::Plane;

/// Scratch of the gradient.
pub(super) fn scratch_len(conv: &Conv2d, block: Block) -> usize {
    if block.lanes() == LANES { sums_len(conv) + fold_len(conv) } else { channels_last::scratch_len(conv) }
}

/// Sixteen sums for each weight and each bias.
pub(super) fn sums_len(conv: &Conv2d) -> usize {
    (conv.weight_len() + conv.c_out) * LANES
}

/// Adds to `dw` and `db`.
pub(super) struct WeightGradient<'a, T> {
    pub(super) conv: Conv2d,
    pub(super) block: Block,
    pub(super) x: &'a [T],
    pub(super) dy: &'a [T],
    pub(super) dw: &'a mut [T],
    pub(super) db: Option<&'a mut [T]>,
    pub(super) scratch: &'a mut [T],
}

impl<T: Number> Kernel<T> for WeightGradient<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Elem = T>>(self) {
        let Self { conv, block, x, dy, dw, mut db, scratch } = self;
        let (inputs, outputs) = (conv.inputs(), conv.outputs());
        let (h_out, w_out) = (conv.h_out(), conv.w_out());
        if block.lanes() == 1 {
            for (x, dy) in x.chunks_exact(inputs).zip(dy.chunks_exact(outputs)) {
                let plane = Plane { dy, pixels: h_out * w_out };
                // SAFETY: backward_params checked every length against the geometry.
                unsafe { channels_last::<V>(&conv, x, &plane, dw, db.as_deref_mut(), scratch) };
            }
            return;
        }
        let (sums, rest) = scratch.split_at_mut(conv.weight_len() * LANES);
        let (bias_sums, rest) = rest.split_at_mut(conv.c_out * LANES);
        sums.fill(T::ZERO);
        bias_sums.fill(T::ZERO);
        for t in 0..block.tiles() {
            let x = &x[t * inputs * LANES..][..inputs * LANES];
            let dy = Gradient {
                dy: &dy[t * outputs * LANES..][..outputs * LANES],
                rows: h_out,
                columns: w_out,
                plane: h_out * w_out * LANES,
            };
            // SAFETY: backward_params checked every length against the geometry.
            unsafe {
                of_tile::<V>(&conv, block.live(t), x, dy, sums.as_mut_ptr(), bias_sums.as_mut_ptr(), rest)
            };
        }
        add_sums::<V>(sums, dw);
        match db {
            Some(db) if suits_first_layer(&conv) => add_sums::<V>(bias_sums, db),
            Some(db) => bias_gradient::<V>(block, conv.c_out, h_out * w_out, dy, db),
            None => {}
        }
    }
}
