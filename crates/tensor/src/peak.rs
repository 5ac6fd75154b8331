//! The machine's peak: independent fused multiply-adds in registers and nothing else.

use crate::simd::{Kernel, Vector, run_f32};
use std::array;
use std::hint::black_box;
use std::iter;
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

/// Bursts for one figure, the best of which counts: some are interrupted.
pub const BURSTS: usize = 4;

/// GFLOP/s of the active instruction set's multiply-adds on so many threads, from the first one's start to the last one's end.
///
/// # Panics
/// If a thread cannot be started.
///
/// ```
/// assert!(byhand_tensor::peak::peak_gflops(1) > 0.1);
/// ```
pub fn peak_gflops(threads: usize) -> f64 {
    (0..BURSTS).map(|_| together(threads)).fold(0.0, f64::max)
}

/// One burst of all threads. They sleep until the last has arrived: threads that spin or yield may all be left on the core that
/// started them, where a thread that is woken goes to an idle one.
fn together(threads: usize) -> f64 {
    let barrier = Barrier::new(threads);
    let burst = || {
        barrier.wait();
        burst()
    };
    let bursts: Vec<Burst> = thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(burst)).collect();
        let first = burst();
        let others = others.into_iter().map(|thread| thread.join().expect("arithmetic does not panic"));
        iter::once(first).chain(others).collect()
    });
    let start = bursts.iter().map(|burst| burst.start).min().expect("at least one thread");
    let end = bursts.iter().map(|burst| burst.end).max().expect("at least one thread");
    bursts.iter().map(|burst| burst.flops).sum::<u64>() as f64 / (end - start).as_secs_f64() / 1e9
}

struct Burst {
    start: Instant,
    end: Instant,
    flops: u64,
}

/// About a millisecond of multiply-adds: many times what waking a thread takes.
fn burst() -> Burst {
    const ROUNDS: u64 = 400_000;
    let start = Instant::now();
    let (flops, value) = run_f32(MultiplyAdds { rounds: ROUNDS });
    black_box(value);
    Burst { start, end: Instant::now(), flops }
}

/// The arithmetic alone: operations done (two a lane and multiply-add), and a number that depends on all of them.
struct MultiplyAdds {
    rounds: u64,
}

impl Kernel<f32> for MultiplyAdds {
    type Output = (u64, f32);

    #[inline(always)]
    fn run<V: Vector<Elem = f32>>(self) -> (u64, f32) {
        // Twelve independent chains cover the latency of every machine: 4 or 5 cycles, 2 multiply-adds a cycle.
        const CHAINS: usize = 12;
        let mut acc: [V; CHAINS] = array::from_fn(|i| V::splat(i as f32));
        let (a, b) = (V::splat(black_box(0.999_99)), V::splat(black_box(1e-5)));
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

#[cfg(test)]
mod tests {
    #[test]
    fn any_number_of_threads_has_a_peak() {
        for threads in [1, 2, 5] {
            let peak = super::peak_gflops(threads);
            assert!(peak.is_finite() && peak > 0.1, "{threads} threads: {peak} GFLOP/s");
        }
    }
}
