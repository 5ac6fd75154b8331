//! How fast memory is read: what bounds a kernel that does little with each number.

use byhand_tensor::{Loop, vectorised};
use std::hint::black_box;
use std::time::Instant;

/// Reads for one figure, the best of which counts: some are interrupted.
const READS: usize = 4;

/// Numbers a core reads in far less than a turn on a crowded one, and far more than the call takes.
const AT_LEAST: usize = 1 << 20;

/// Numbers that are added to as many sums: eight vectors of the widest set, which is more loads than are in flight.
const CHUNK: usize = 128;

/// GB/s at which one thread reads so many bytes over and over: those of the cache that holds them, or of the memory.
pub(crate) struct Bandwidth {
    numbers: Vec<u32>,
    rounds: usize,
}

impl Bandwidth {
    pub(crate) fn over(bytes: u64) -> Self {
        // Whole chunks, so that no loop over what is left takes part.
        let numbers = (bytes as usize / size_of::<u32>()).max(1).next_multiple_of(CHUNK);
        Self { numbers: vec![1; numbers], rounds: AT_LEAST.div_ceil(numbers) }
    }

    pub(crate) fn measure(&self) -> f64 {
        (0..READS).map(|_| self.once()).fold(0.0, f64::max)
    }

    fn once(&self) -> f64 {
        let start = Instant::now();
        for _ in 0..self.rounds {
            black_box(vectorised(Read(black_box(&self.numbers))));
        }
        let bytes = self.rounds * size_of_val(&self.numbers[..]);
        bytes as f64 / start.elapsed().as_secs_f64() / 1e9
    }
}

/// Sums integers, which the compiler may do in any order: loads, and one addition each.
struct Read<'a>(&'a [u32]);

impl Loop for Read<'_> {
    type Output = u32;

    #[inline(always)]
    fn run(self) -> u32 {
        let mut sums = [0u32; CHUNK];
        for chunk in self.0.as_chunks::<CHUNK>().0 {
            for (sum, number) in sums.iter_mut().zip(chunk) {
                *sum = sum.wrapping_add(*number);
            }
        }
        sums.iter().fold(0, |sum, number| sum.wrapping_add(*number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_read() {
        assert_eq!(vectorised(Read(&[3; 2 * CHUNK])), 6 * CHUNK as u32);
        for bytes in [1, 4096, 1 << 22] {
            let speed = Bandwidth::over(bytes).measure();
            assert!(speed.is_finite() && speed > 0.01, "{bytes} bytes: {speed} GB/s");
        }
    }
}
