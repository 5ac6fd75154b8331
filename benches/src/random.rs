//! Random operands, the same in every run.

use byhand_tensor::Buffer;
use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};

/// Numbers in [-1, 1), which begin at a cache line as a trainer's do.
pub fn floats(len: usize) -> Buffer<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(len as u64);
    let mut numbers = Buffer::zeros(len);
    numbers.iter_mut().for_each(|number| *number = 2.0 * fraction(&mut random) - 1.0);
    numbers
}

/// A minibatch: pixels in [0, 1), one sample after the other, and labels.
pub fn minibatch(samples: usize, features: usize, classes: usize) -> (Buffer<f32>, Vec<u16>) {
    let mut random = ChaCha8Rng::seed_from_u64(0);
    let mut x = Buffer::zeros(samples * features);
    x.fill_with(|| fraction(&mut random));
    let labels = (0..samples).map(|_| (random.next_u32() as usize % classes) as u16).collect();
    (x, labels)
}

/// In [0, 1), every value of 24 bits.
fn fraction(random: &mut ChaCha8Rng) -> f32 {
    (random.next_u32() >> 8) as f32 / (1 << 24) as f32
}
