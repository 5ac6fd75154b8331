//! The gradient of the bias.

use crate::blocking::add_row;
use crate::layout::{Block, LANES};
use crate::number::Number;
use crate::simd::{Kernel, Vector};

/// The gradient of the bias alone.
pub(crate) struct BiasGradient<'a, T> {
    pub(crate) block: Block,
    pub(crate) plane: usize,
    pub(crate) dy: &'a [T],
    pub(crate) db: &'a mut [T],
}

impl<T: Number> Kernel<T> for BiasGradient<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Elem = T>>(self) {
        bias_gradient::<V>(self.block, self.db.len(), self.plane, self.dy, self.db);
    }
}

/// `db[o] += sum of dy[o, ..]`, sixteen partial sums and then their tree: of all tiles together, of single samples one by
/// one.
#[inline(always)]
pub(crate) fn bias_gradient<V: Vector>(
    block: Block,
    channels: usize,
    plane: usize,
    dy: &[V::Elem],
    db: &mut [V::Elem],
) {
    let row = plane * block.lanes();
    let (groups, tiles) = if block.lanes() == LANES { (1, block.tiles()) } else { (block.tiles(), 1) };
    for (o, db) in db.iter_mut().enumerate() {
        for group in 0..groups {
            let mut sums = [V::Elem::ZERO; LANES];
            for t in 0..tiles {
                let dy = &dy[((group + t) * channels + o) * row..][..row];
                // Dead lanes may hold anything: they are left out.
                let live = if block.lanes() == LANES { block.live(t) } else { LANES };
                if live == LANES {
                    add_row::<V>(dy, &mut sums);
                } else {
                    for chunk in dy.chunks(LANES) {
                        sums[..live].iter_mut().zip(chunk).for_each(|(sum, &d)| *sum += d);
                    }
                }
            }
            // SAFETY: sums holds 16 numbers.
            *db += unsafe { V::sum16(sums.as_ptr()) };
        }
    }
}
