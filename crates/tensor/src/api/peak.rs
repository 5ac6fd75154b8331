//! A burst of fused multiply-adds and nothing else: timed by a caller, it is the machine's peak.

use crate::dispatch::run_f32;
use crate::simd::{Kernel, Vector};

struct Burst {
    rounds: u64,
}

impl Kernel<f32> for Burst {
    type Output = (u64, f32);

    #[inline(always)]
    fn run<V: Vector<Elem = f32>>(self) -> (u64, f32) {
        // Twelve independent chains cover the latency of every machine: 4 or 5 cycles, 2 multiply-adds a cycle.
        const CHAINS: usize = 12;
        let mut acc: [V; CHAINS] = std::array::from_fn(|i| V::splat(i as f32));
        let (a, b) = (V::splat(std::hint::black_box(0.999_99)), V::splat(std::hint::black_box(1e-5)));
        for _ in 0..self.rounds {
            for c in &mut acc {
                *c = c.mul_add(a, b);
            }
        }
        let mut out = [0.0f32; 16];
        let mut total = 0.0;
        for c in acc {
            // SAFETY: out holds 16 >= LANES numbers.
            unsafe { c.store(out.as_mut_ptr()) };
            total += out[0];
        }
        (self.rounds * CHAINS as u64 * V::LANES as u64 * 2, total)
    }
}

/// Does `rounds` rounds of independent fused multiply-adds in registers, on the calling thread with the active instruction
/// set. Returns the floating-point operations done (two a lane and multiply-add) and a number that depends on all of them
/// (give it to [`std::hint::black_box`]).
pub fn fma_burst(rounds: u64) -> (u64, f32) {
    run_f32(Burst { rounds })
}
