//! Plain loops, compiled for the active instruction set.

use crate::dispatch::run_f32;
use crate::simd::{Kernel, Vector};

/// A loop over slices that the compiler vectorises by itself: element by element, so that its results do not depend on the
/// width of a vector.
///
/// Mark [`run`](Self::run) and all it calls `#[inline(always)]`, or it is compiled for the plainest processor.
pub trait Loop {
    /// What it returns.
    type Output;
    /// Runs it.
    fn run(self) -> Self::Output;
}

/// Runs a loop with the active instruction set.
///
/// ```
/// use byhand_tensor::{Loop, vectorised};
///
/// /// `y += x`.
/// struct Add<'a>(&'a [f32], &'a mut [f32]);
///
/// impl Loop for Add<'_> {
///     type Output = ();
///     #[inline(always)]
///     fn run(self) {
///         self.1.iter_mut().zip(self.0).for_each(|(y, x)| *y += x);
///     }
/// }
///
/// let mut y = [1.0; 3];
/// vectorised(Add(&[1.0, 2.0, 3.0], &mut y));
/// assert_eq!(y, [2.0, 3.0, 4.0]);
/// ```
#[inline]
pub fn vectorised<L: Loop>(work: L) -> L::Output {
    run_f32(Plain(work))
}

struct Plain<L>(L);

impl<L: Loop> Kernel<f32> for Plain<L> {
    type Output = L::Output;

    #[inline(always)]
    fn run<V: Vector<Elem = f32>>(self) -> L::Output {
        self.0.run()
    }
}
