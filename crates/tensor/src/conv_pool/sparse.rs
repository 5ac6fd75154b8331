//! The backward pass of the chain for one sample: only the places on the tape have a gradient, and only they are visited.
//!
//! After pooling by 2 x 2 three quarters of a convolution's outputs have a gradient of zero, and more behind a ReLU. Of a
//! tile the places differ from lane to lane; of one sample they are a list. The vector runs along a row of the kernel.

use super::ConvPool2d;
use super::backward::{Backward, FEW};
use crate::simd::{Vector, sum16};
use crate::{Block, Conv2d, LANES, Pool2d, Scalar};
use std::mem::MaybeUninit;

/// An output of the convolution that has a gradient.
#[derive(Clone, Copy)]
struct Place<T> {
    /// Where the kernel's first tap finds its input, in a plane with its padding.
    x: u32,
    /// Its number in its plane.
    pixel: u32,
    d: T,
}

/// Places in a list.
const MOST: usize = 512;

/// Rows of a window are fewer.
const ROWS: usize = 8;

impl<T: Scalar> Backward<'_, T> {
    /// Whether this is the pass to visit places in: with few input channels and no input gradient. A place costs a vector for
    /// each row of a kernel, full or not, and the list itself; convolving zeros too is faster with many channels.
    #[inline(always)]
    pub(super) fn is_sparse(&self) -> bool {
        let ConvPool2d { conv, pool, .. } = self.chain;
        let kh = pool.window[0];
        self.dx.is_none() && conv.c_in <= FEW && kh < ROWS && (kh + 1) * pool.w_out() <= MOST
    }

    /// The parameter gradients, one sample after the other, place by place.
    #[inline(always)]
    pub(super) fn places<V: Vector<Elem = T>>(self) {
        let Self { chain: ConvPool2d { conv, pool, .. }, block, x, tape, dy, dw, mut db, scratch, .. } = self;
        let patch = Patch::new::<V>(&conv);
        let (x_planes, rest) = scratch.split_at_mut(patch.padded + LANES);
        let sums = &mut rest[..patch.rows * V::LANES];
        x_planes[patch.padded..].fill(T::ZERO);
        let plane = pool.h_out() * pool.w_out();
        for s in 0..block.samples() {
            patch.pad(&conv, &x[s * conv.inputs()..][..conv.inputs()], x_planes);
            for o in 0..conv.c_out {
                sums.fill(T::ZERO);
                let windows = (s * conv.c_out + o) * plane..(s * conv.c_out + o + 1) * plane;
                let mut lister = Lister::new(&conv, &pool, &patch, &tape[windows.clone()], &dy[windows]);
                let mut bias = [T::ZERO; LANES];
                let mut list = [const { MaybeUninit::uninit() }; MOST];
                loop {
                    let places = lister.next(&mut list);
                    if places.is_empty() {
                        break;
                    }
                    for place in places {
                        bias[place.pixel as usize % LANES] += place.d;
                    }
                    // SAFETY: a place is an output of the convolution: its patch lies in the padded planes, which have a
                    // vector's overhang; sums hold a vector for each row of the patch.
                    unsafe { patch.add_products::<V>(places, x_planes.as_ptr(), sums.as_mut_ptr()) };
                }
                patch.add_rows(sums, &mut dw[o * conv.taps()..][..conv.taps()]);
                if let Some(db) = &mut db {
                    // SAFETY: bias holds 16 numbers.
                    db[o] += unsafe { sum16(bias.as_ptr()) };
                }
            }
        }
    }

    /// One sample after the other: the gradient is spread over its planes, then the plain kernels run.
    #[inline(always)]
    pub(super) fn planes(self) {
        let Self { chain: ConvPool2d { conv, pool, .. }, w, x, tape, dy, mut dx, dw, mut db, scratch, block } =
            self;
        let (plane, scratch) = scratch.split_at_mut(conv.outputs());
        let one = Block::single(1);
        for s in 0..block.samples() {
            let x = &x[s * conv.inputs()..][..conv.inputs()];
            let sample = s * pool.outputs()..(s + 1) * pool.outputs();
            pool.max_backward(one, &dy[sample.clone()], &tape[sample], plane);
            conv.backward_params(one, x, plane, dw, db.as_deref_mut(), scratch);
            if let Some(dx) = &mut dx {
                conv.backward_input(one, w, plane, &mut dx[s * conv.inputs()..][..conv.inputs()], scratch);
            }
        }
    }
}

/// Scratch of both.
pub(super) fn scratch_len(conv: &Conv2d) -> usize {
    let planes = conv.c_in * (conv.h_in + 2 * conv.pad[0]) * (conv.w_in + 2 * conv.pad[1]) + LANES;
    let sums = conv.c_in * conv.kernel[0] * conv.kernel[1].next_multiple_of(LANES);
    (planes + sums).max(conv.outputs() + conv.scratch_len(Block::single(1)))
}

/// Lists the places of one channel, row by row of pixels as the plain chain takes them.
struct Lister<'a, T> {
    conv: &'a Conv2d,
    pool: &'a Pool2d,
    pitch: usize,
    tape: &'a [T],
    dy: &'a [T],
    /// The next row of windows.
    row: usize,
}

impl<'a, T: Scalar> Lister<'a, T> {
    #[inline(always)]
    fn new(conv: &'a Conv2d, pool: &'a Pool2d, patch: &Patch, tape: &'a [T], dy: &'a [T]) -> Self {
        Self { conv, pool, pitch: patch.pitch, tape, dy, row: 0 }
    }

    /// The places of as many further rows of windows as fit; none at the end.
    #[inline(always)]
    fn next<'b>(&mut self, list: &'b mut [MaybeUninit<Place<T>>; MOST]) -> &'b [Place<T>] {
        let [kh, kw] = self.pool.window;
        let [sh, sw] = self.conv.stride;
        let (h_pool, w_pool, w_out) = (self.pool.h_out(), self.pool.w_out(), self.conv.w_out());
        let mut count = 0;
        while self.row < h_pool && count + w_pool <= MOST {
            // A list for each row of pixels, and a last one for windows that let nothing through: no branch to guess.
            let mut rows = [const { MaybeUninit::<Place<T>>::uninit() }; MOST];
            let mut counts = [0; ROWS];
            let (first, windows) = (self.row * kh, self.row * w_pool);
            for (j, (&place, &d)) in
                self.tape[windows..][..w_pool].iter().zip(&self.dy[windows..][..w_pool]).enumerate()
            {
                let place = place.to_f64() as usize;
                let (p, q) = if kw == 2 { (place / 2, place % 2) } else { (place / kw, place % kw) };
                let (y, column) = (first + p, j * kw + q);
                let x = (y * sh * self.pitch + column * sw) as u32;
                rows[p * w_pool + counts[p]].write(Place { x, pixel: (y * w_out + column) as u32, d });
                counts[p] += 1;
            }
            for p in 0..kh {
                list[count..][..counts[p]].copy_from_slice(&rows[p * w_pool..][..counts[p]]);
                count += counts[p];
            }
            self.row += 1;
        }
        // SAFETY: the first count were written, through lists whose beginnings were.
        unsafe { std::slice::from_raw_parts(list.as_ptr().cast(), count) }
    }
}

/// What one output of a convolution sees: rows of the kernel in planes with their padding, each cut into vectors.
struct Patch {
    kernel: [usize; 2],
    /// Numbers in a vector, and vectors in a row of the kernel.
    width: usize,
    vectors: usize,
    /// Vectors in a patch.
    rows: usize,
    /// Numbers from one row of a padded plane to the next, and from one plane to the next.
    pitch: usize,
    plane: usize,
    /// Numbers in all padded planes.
    padded: usize,
}

impl Patch {
    #[inline(always)]
    fn new<V: Vector>(conv: &Conv2d) -> Self {
        let vectors = conv.kernel[1].div_ceil(V::LANES);
        let pitch = conv.w_in + 2 * conv.pad[1];
        let plane = (conv.h_in + 2 * conv.pad[0]) * pitch;
        Self {
            kernel: conv.kernel,
            width: V::LANES,
            vectors,
            rows: conv.c_in * conv.kernel[0] * vectors,
            pitch,
            plane,
            padded: conv.c_in * plane,
        }
    }

    #[inline(always)]
    fn pad<T: Scalar>(&self, conv: &Conv2d, x: &[T], to: &mut [T]) {
        if conv.pad == [0, 0] {
            return to[..self.padded].copy_from_slice(x);
        }
        to[..self.padded].fill(T::ZERO);
        for (row, x) in x.chunks_exact(conv.w_in).enumerate() {
            to[self.row(conv, row)..][..conv.w_in].copy_from_slice(x);
        }
    }

    /// Where row `row` of all planes begins in the padded ones.
    #[inline(always)]
    fn row(&self, conv: &Conv2d, row: usize) -> usize {
        let (c, p) = (row / conv.h_in, row % conv.h_in);
        c * self.plane + (p + conv.pad[0]) * self.pitch + conv.pad[1]
    }

    /// `dw += sums`, without what lies behind the end of a kernel's row.
    #[inline(always)]
    fn add_rows<T: Scalar>(&self, sums: &[T], dw: &mut [T]) {
        let width = self.vectors * self.width;
        for (dw, sums) in dw.chunks_exact_mut(self.kernel[1]).zip(sums.chunks_exact(width)) {
            dw.iter_mut().zip(sums).for_each(|(dw, &sum)| *dw += sum);
        }
    }

    /// `sums[row] += ` the sum over places of `d * x[row of the patch]`, in order.
    ///
    /// # Safety
    /// Every patch must lie in `x` with a vector's overhang; `sums` must hold a vector a row.
    #[inline(always)]
    unsafe fn add_products<V: Vector>(
        &self,
        places: &[Place<V::Elem>],
        x: *const V::Elem,
        sums: *mut V::Elem,
    ) {
        let mut rows = PatchRows { patch: self, c: 0, u: 0, vector: 0 };
        let mut row = 0;
        while row < self.rows {
            // SAFETY: as the caller vouches, for these rows.
            row += unsafe {
                let sums = sums.add(row * V::LANES);
                match self.rows - row {
                    5.. => add_some::<V, 5>(&mut rows, places, x, sums),
                    3.. => add_some::<V, 3>(&mut rows, places, x, sums),
                    _ => add_some::<V, 1>(&mut rows, places, x, sums),
                }
            };
        }
    }
}

/// The rows of a patch in order.
struct PatchRows<'a> {
    patch: &'a Patch,
    c: usize,
    u: usize,
    vector: usize,
}

impl PatchRows<'_> {
    /// Where this row begins, seen from the patch's first tap.
    #[inline(always)]
    fn offset(&self) -> usize {
        self.c * self.patch.plane + self.u * self.patch.pitch + self.vector * self.patch.width
    }

    #[inline(always)]
    fn advance(&mut self) {
        self.vector += 1;
        if self.vector == self.patch.vectors {
            (self.vector, self.u) = (0, self.u + 1);
        }
        if self.u == self.patch.kernel[0] {
            (self.u, self.c) = (0, self.c + 1);
        }
    }
}

/// [`Patch::add_products`] for the next `R` rows; returns `R`.
///
/// # Safety
/// As there.
#[inline(always)]
unsafe fn add_some<V: Vector, const R: usize>(
    rows: &mut PatchRows<'_>,
    places: &[Place<V::Elem>],
    x: *const V::Elem,
    sums: *mut V::Elem,
) -> usize {
    let mut acc = [V::splat(V::Elem::ZERO); R];
    let mut offsets = [0; R];
    // SAFETY: as the caller vouches.
    unsafe {
        for r in 0..R {
            offsets[r] = rows.offset();
            rows.advance();
            acc[r] = V::load(sums.add(r * V::LANES));
        }
        for place in places {
            let d = V::splat(place.d);
            let x = x.add(place.x as usize);
            for r in 0..R {
                acc[r] = d.mul_add(V::load(x.add(offsets[r])), acc[r]);
            }
        }
        for r in 0..R {
            acc[r].store(sums.add(r * V::LANES));
        }
    }
    R
}
