//! Counter-based random numbers: a ChaCha8 stream keyed by what the numbers are a function of.

use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};

/// A stream of random numbers that is a function of its key alone.
///
/// The samplers are written out here because a library's may change between releases, and with them every run.
pub(crate) struct Random(ChaCha8Rng);

impl Random {
    /// The stream of `(purpose, seed, a, b)`. Different purposes never share numbers.
    pub(crate) fn new(purpose: &[u8; 8], seed: u64, a: u64, b: u64) -> Random {
        let mut key = [0; 32];
        key[..8].copy_from_slice(purpose);
        key[8..16].copy_from_slice(&seed.to_le_bytes());
        key[16..24].copy_from_slice(&a.to_le_bytes());
        key[24..].copy_from_slice(&b.to_le_bytes());
        Random(ChaCha8Rng::from_seed(key))
    }

    /// Uniform in `0..n`, without bias (Lemire, "Fast random integer generation in an interval", 2019).
    pub(crate) fn below(&mut self, n: u32) -> u32 {
        debug_assert!(n > 0);
        let mut product = u64::from(self.0.next_u32()) * u64::from(n);
        if (product as u32) < n {
            let threshold = n.wrapping_neg() % n;
            while (product as u32) < threshold {
                product = u64::from(self.0.next_u32()) * u64::from(n);
            }
        }
        (product >> 32) as u32
    }

    /// Uniform in `[0, 1)`, a multiple of 2^-24.
    pub(crate) fn unit(&mut self) -> f32 {
        (self.0.next_u32() >> 8) as f32 * (1.0 / 16_777_216.0)
    }

    /// Uniform in `[low, high)`.
    pub(crate) fn range(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    /// Fisher-Yates.
    pub(crate) fn shuffle(&mut self, items: &mut [u32]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u32 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_pinned() {
        let mut r = Random::new(b"testing\0", 1, 2, 3);
        let got: Vec<u32> = (0..4).map(|_| r.below(1000)).collect();
        assert_eq!(got, [875, 604, 147, 748]);
        let mut shuffled = [0, 1, 2, 3, 4, 5];
        r.shuffle(&mut shuffled);
        assert_eq!(shuffled, [3, 2, 0, 5, 4, 1]);
        assert_eq!((r.unit(), r.range(-1.0, 3.0)), (0.915_161_97, 1.024_935_2));
        for other in [
            (b"testinG\0", 1, 2, 3),
            (b"testing\0", 2, 2, 3),
            (b"testing\0", 1, 3, 3),
            (b"testing\0", 1, 2, 4),
        ] {
            let mut r = Random::new(other.0, other.1, other.2, other.3);
            assert_ne!(got, (0..4).map(|_| r.below(1000)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn below_is_uniform() {
        let mut r = Random::new(b"testing\0", 7, 0, 0);
        let mut counts = [0u32; 7];
        for _ in 0..70_000 {
            counts[r.below(7) as usize] += 1;
        }
        // Six standard deviations of a binomial(70000, 1/7) are 556.
        assert!(counts.iter().all(|c| c.abs_diff(10_000) < 556), "{counts:?}");
    }
}
