//! What the benchmarks share: a case and its name, the clock, the machine's peak, the networks, random numbers.
//!
//! ```text
//! cargo bench                                        everything
//! cargo bench -p byhand-benches --bench kernels -- conv/forward
//! cargo bench --workspace -- --save-baseline before  keep the times; later: --baseline before
//! cargo bench --workspace -- --test                  run everything once, measure nothing
//! ```
//!
//! An id names every parameter: `conv/forward/1x28x28-8x5x5/tiled16/avx2`, `step/lenet/batch128/threads2/avx2`. The
//! variable `BYHAND_ISA` chooses another instruction set. Below criterion's own lines, which hold whole samples against
//! saved baselines, stand ours:
//!
//! ```text
//! 84.3 GFLOP/s, 69.9 % of the FMA peak of 120.6 (medians of 612 slices and 140 bursts, in turn; best slice 71.3 %)
//! P % of the roof of R: I FLOP per byte at B GB/s
//! ```
//!
//! The time is the median over slices of about a millisecond, so that another program that takes the core away spoils
//! a few slices and not the figure. The peak is measured before each sample, in turn with the kernel, so that both meet
//! the same clock rate. GFLOP/s count a multiply-add as 2 and count matrix products and convolutions only; kernels that
//! have none are given in GB/s, the bytes of their operands and results.
//!
//! The *roof* of a kernel is `min(peak, intensity * bandwidth)` (Williams, Waterman, Patterson, "Roofline", 2009). Its intensity is the
//! number of operations per byte of operands and results, each counted once; the bandwidth is that at which one thread reads as many bytes over and
//! over, so it is that of the cache which holds them. A dense layer at batch 1 does two operations with each weight: its roof is far below
//! the peak, since no kernel can be faster than the weights come.
//!
//! With `BYHAND_BENCH_RECORDS=FILE` each benchmark appends what it measured to FILE, one JSON object a line; that is how
//! `cargo xtask measure benchmarks` gets its records.

#![allow(clippy::print_stdout, reason = "benchmarks print, as criterion does")]

mod bandwidth;
mod case;
mod flop_rate;
pub mod networks;
pub mod random;
mod stopwatch;

pub use case::{Case, Work, bench};
pub use flop_rate::FlopRate;
pub use stopwatch::Stopwatch;

use criterion::Criterion;
use std::time::Duration;

/// Short samples, for hundreds of benchmarks in minutes; criterion's own flags (`--measurement-time`, ...) override.
pub fn criterion() -> Criterion<FlopRate> {
    Criterion::default()
        .with_measurement(FlopRate)
        .sample_size(20)
        .warm_up_time(Duration::from_millis(150))
        .measurement_time(Duration::from_millis(600))
        .nresamples(5_000)
        .configure_from_args()
}
