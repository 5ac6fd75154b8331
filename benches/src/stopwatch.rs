//! The clock of a benchmark: whole samples for criterion, short slices for a median that other programs do not spoil.

use std::time::{Duration, Instant};

/// Times the calls it is given.
#[derive(Debug)]
pub struct Stopwatch {
    /// Calls of the sample that is being timed.
    iterations: u64,
    /// Time of that sample.
    elapsed: Duration,
    /// Calls of a slice.
    slice: u64,
    /// Seconds a call, one entry a whole slice.
    slices: Vec<f64>,
}

impl Stopwatch {
    /// Slices at least so long: far longer than reading the clock takes, shorter than a turn on a crowded core.
    const SLICE: Duration = Duration::from_micros(500);

    pub(crate) fn new() -> Self {
        Self { iterations: 0, elapsed: Duration::ZERO, slice: 1, slices: Vec::new() }
    }

    /// Calls `call` as often as the sample asks for.
    pub fn time(&mut self, mut call: impl FnMut()) {
        let mut left = self.iterations;
        while left > 0 {
            let calls = self.slice.min(left);
            let start = Instant::now();
            for _ in 0..calls {
                call();
            }
            let elapsed = start.elapsed();
            self.elapsed += elapsed;
            left -= calls;
            if calls < self.slice {
                continue;
            }
            if elapsed < Self::SLICE {
                // Too short to be trusted, like all before it.
                self.slice *= 2;
                self.slices.clear();
            } else {
                self.slices.push(elapsed.as_secs_f64() / calls as f64);
            }
        }
    }

    /// One sample of so many calls, timed by `run`.
    pub(crate) fn sample(&mut self, iterations: u64, run: impl FnOnce(&mut Stopwatch)) -> Duration {
        (self.iterations, self.elapsed) = (iterations, Duration::ZERO);
        run(self);
        self.elapsed
    }

    /// What a call takes; none when nothing was timed.
    pub(crate) fn times(&mut self) -> Option<Times> {
        let median = median(&mut self.slices)?;
        Some(Times { median, best: self.slices[0], slices: self.slices.len() })
    }
}

/// Seconds a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// In the middle one of the slices.
    pub(crate) median: f64,
    /// In the fastest slice: what a machine of one's own would show, when slices are longer than a turn on a crowded one.
    pub(crate) best: f64,
    /// Number of slices.
    pub(crate) slices: usize,
}

/// Sorts, and takes the middle value (the upper one of two).
pub(crate) fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_of_a_sample_is_made_and_timed() {
        let mut stopwatch = Stopwatch::new();
        let nap = Duration::from_millis(1);
        for iterations in [1, 2, 7] {
            let mut calls = 0;
            let elapsed = stopwatch.sample(iterations, |stopwatch| {
                stopwatch.time(|| {
                    calls += 1;
                    std::thread::sleep(nap);
                });
            });
            assert_eq!(calls, iterations);
            assert!(elapsed >= nap * iterations as u32);
        }
        let Times { median, best, slices } = stopwatch.times().unwrap();
        assert_eq!(slices, 10);
        assert!(best >= nap.as_secs_f64() && median >= best);
    }

    #[test]
    fn short_calls_are_timed_many_at_once() {
        let mut stopwatch = Stopwatch::new();
        let mut calls = 0u64;
        stopwatch.sample(20_000_000, |stopwatch| stopwatch.time(|| calls = std::hint::black_box(calls + 1)));
        assert_eq!(calls, 20_000_000);
        assert!(stopwatch.slice > 1);
        assert!(stopwatch.times().unwrap().median < 1e-6);
    }

    #[test]
    fn the_median_does_not_heed_a_slice_that_was_interrupted() {
        assert_eq!(median(&mut [2.0, 50.0, 1.0]), Some(2.0));
        assert_eq!(median(&mut []), None);
    }
}
