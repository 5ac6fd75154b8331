//! In which order the samples are visited: functions of (seed, epoch) or (seed, step), nothing else.

use crate::random::Random;

/// What to do with the samples left over when the batch size does not divide the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LastBatch {
    /// Visit them in a smaller batch.
    #[default]
    Keep,
    /// Leave them out (the next epoch leaves out others).
    Drop,
}

/// Writes the order of epoch `epoch` into `order`: a permutation of `0..order.len()`, a function of `seed` and `epoch`
/// (and the length) alone. Allocates nothing.
///
/// # Panics
/// When there are more than 2^32 - 1 samples.
#[track_caller]
pub fn epoch_order_into(seed: u64, epoch: u64, order: &mut [u32]) {
    sequence_into(order);
    Random::new(b"epoch\0\0\0", seed, epoch, 0).shuffle(order);
}

/// [`epoch_order_into`] for `n` samples into a vector of its own.
pub fn epoch_order(seed: u64, epoch: u64, n: usize) -> Vec<u32> {
    let mut order = vec![0; n];
    epoch_order_into(seed, epoch, &mut order);
    order
}

/// Fills `batch` with draws from `0..n`, with replacement: a function of `seed` and `step` (and the lengths) alone.
/// Allocates nothing.
///
/// # Panics
/// When `n` is 0 and `batch` is not empty.
#[track_caller]
pub fn with_replacement_into(seed: u64, step: u64, n: u32, batch: &mut [u32]) {
    assert!(n > 0 || batch.is_empty(), "{} draws from no samples", batch.len());
    let mut random = Random::new(b"replace\0", seed, step, 0);
    batch.fill_with(|| random.below(n));
}

/// Cuts an order into batches of `size`, in order.
///
/// # Panics
/// When `size` is 0.
#[track_caller]
pub fn batches(order: &[u32], size: usize, last: LastBatch) -> std::slice::Chunks<'_, u32> {
    assert!(size > 0, "a batch size of 0");
    let used = match last {
        LastBatch::Keep => order.len(),
        LastBatch::Drop => order.len() / size * size,
    };
    order[..used].chunks(size)
}

/// Writes `0, 1, 2, ...`: the order of an evaluation.
///
/// # Panics
/// When there are more than 2^32 - 1 samples.
#[track_caller]
pub fn sequence_into(order: &mut [u32]) {
    assert!(u32::try_from(order.len()).is_ok(), "{} samples, at most {}", order.len(), u32::MAX);
    for (i, slot) in order.iter_mut().enumerate() {
        *slot = i as u32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_a_permutation_and_a_function_of_seed_and_epoch() {
        for n in [0, 1, 2, 17, 1000] {
            let mut order = epoch_order(3, 4, n);
            assert_eq!(order, epoch_order(3, 4, n));
            if n > 2 {
                assert_ne!(order, epoch_order(3, 5, n));
                assert_ne!(order, epoch_order(4, 4, n));
            }
            order.sort_unstable();
            assert!(order.iter().enumerate().all(|(i, &v)| v == i as u32));
        }
    }

    #[test]
    fn orders_are_pinned() {
        assert_eq!(epoch_order(0, 0, 10), [5, 8, 4, 0, 7, 2, 1, 9, 3, 6]);
        let mut draws = [0; 6];
        with_replacement_into(0, 0, 10, &mut draws);
        assert_eq!(draws, [3, 7, 7, 1, 2, 2]);
    }

    #[test]
    fn draws_repeat_and_stay_in_range() {
        let mut draws = vec![0; 1000];
        with_replacement_into(1, 2, 50, &mut draws);
        assert!(draws.iter().all(|&i| i < 50));
        let mut counts = [0; 50];
        draws.iter().for_each(|&i| counts[i as usize] += 1);
        assert!(counts.iter().all(|&c| (2..60).contains(&c)), "{counts:?}");
    }

    #[test]
    fn batches_keep_or_drop_the_rest() {
        let order = epoch_order(0, 0, 10);
        let kept: Vec<_> = batches(&order, 4, LastBatch::Keep).map(<[u32]>::len).collect();
        assert_eq!(kept, [4, 4, 2]);
        let dropped: Vec<_> = batches(&order, 4, LastBatch::Drop).map(<[u32]>::len).collect();
        assert_eq!(dropped, [4, 4]);
        assert_eq!(batches(&order, 4, LastBatch::Keep).flatten().copied().collect::<Vec<_>>(), order);
    }
}
