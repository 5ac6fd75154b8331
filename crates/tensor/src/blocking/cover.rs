//! How a matrix of results is cut into the blocks that registers hold (register blocking).

use crate::number::Number;
use crate::simd::{Kernel, L1_LOAD, MicroKernel, Vector, cost};

/// The shape that covers `rows` x `columns` results in the fewest cycles.
#[inline(always)]
pub(crate) fn best_shape<V: Vector>(rows: usize, columns: usize) -> (usize, usize) {
    V::best_shape(rows, columns, L1_LOAD, false)
}

/// The shape for the rows that blocks of `shape` leave over: one of their own, if that costs less than a block that begins
/// earlier.
#[inline(always)]
pub(crate) fn rest_shape<V: Vector>(shape: (usize, usize), rows: usize, columns: usize) -> (usize, usize) {
    let left = rows % shape.0;
    if left == 0 {
        return shape;
    }
    let own = best_shape::<V>(left, columns);
    if cost(own, left, columns) < cost(shape, left, columns) { own } else { shape }
}

/// Covers `rows` x columns `from..to` of results with blocks of one shape, and rows that are left over with those of `rest`. A
/// last block that would stick out begins earlier and computes some results twice.
///
/// # Safety
/// The results must exist; the shapes must be of the vector type's and fit.
#[inline(always)]
pub(crate) unsafe fn cover<V: Vector>(
    kernel: &impl MicroKernel<V::Elem>,
    [shape, rest]: [(usize, usize); 2],
    rows: usize,
    columns: (usize, usize),
) {
    V::outlined(Cover { kernel, shape, rest, rows, columns });
}

/// What [`cover`] does, as a kernel: the blocks of one micro-kernel are a function of their own.
struct Cover<'a, K> {
    kernel: &'a K,
    shape: (usize, usize),
    rest: (usize, usize),
    rows: usize,
    columns: (usize, usize),
}

impl<T: Number, K: MicroKernel<T>> Kernel<T> for Cover<'_, K> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Elem = T>>(self) {
        let Self { kernel, shape, rest, rows, columns: (from, to) } = self;
        let mut r = 0;
        while r < rows {
            let shape @ (height, width) = if r + shape.0 <= rows { shape } else { rest };
            let mut c = from;
            while c < to {
                // SAFETY: the caller of `cover` vouches for the results; the shape fits, and begins early enough to end in
                // time.
                unsafe { V::run_block(kernel, shape, r.min(rows - height), c.min(to - width), (r, c)) };
                c += width;
            }
            r += height;
        }
    }
}
