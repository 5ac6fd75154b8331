//! The machine's peak: independent fused multiply-adds in registers and nothing else, on several threads. What the speed of a
//! training step is held against.

#![expect(clippy::disallowed_methods, reason = "times work on threads of its own")]

use std::hint::black_box;
use std::iter;
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use byhand_layers::exec::fma_burst;

/// Bursts for one figure, the best of which counts: some are interrupted.
pub const BURSTS: usize = 4;

/// GFLOP/s of the active instruction set's multiply-adds on so many threads, from the first one's start to the last one's end.
///
/// # Panics
/// If a thread cannot be started.
///
/// ```
/// assert!(byhand_trainer::peak::peak_gflops(1) > 0.1);
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
    let (flops, value) = fma_burst(ROUNDS);
    black_box(value);
    Burst { start, end: Instant::now(), flops }
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
