//! Epochs over the samples that were hardest when last seen.

use byhand_datasets::batches::epoch_order_into;

/// Which samples to train on: all of them once, then only the hardest.
///
/// After one epoch a network is sure of most samples, and their gradients are next to nothing: time is better spent on the
/// others. How hard a sample is, is its [residual](crate::Trainer::residuals) in the last step that it was part of, so that
/// choosing costs no forward pass. Residuals of early steps come from a poor network and are all large; so samples are
/// compared with those that were met at about the same time: each run of 1024 samples of the first epoch gives its
/// share.
///
/// All is a function of the seed and the residuals, so bits are equal for any number of threads. After
/// [`new`](Hardest::new) nothing is allocated.
///
/// Reference: Jiang and others, "Accelerating deep learning by focusing on the biggest losers", 2019, who draw by a forward
/// pass of every sample instead.
///
/// ```
/// use byhand_trainer::Hardest;
/// let mut hardest = Hardest::new(7, 100);
/// let first: Vec<u32> = hardest.epoch(0, 1.0).to_vec();
/// assert_eq!(first.len(), 100);
/// // A step would tell the residuals of its samples; here sample i has residual i.
/// hardest.record(&first, first.iter().map(|&i| i as f32));
/// let mut second = hardest.epoch(1, 0.1).to_vec();
/// second.sort();
/// assert_eq!(second, [90, 91, 92, 93, 94, 95, 96, 97, 98, 99]);
/// ```
#[derive(Debug, Clone)]
pub struct Hardest {
    seed: u64,
    residuals: Vec<f32>,
    /// The order of the first epoch, sorted within runs.
    runs: Vec<u32>,
    /// Those chosen, and a random order of them.
    chosen: Vec<u32>,
    order: Vec<u32>,
}

/// Samples that are compared with each other.
const RUN: usize = 1024;

impl Hardest {
    /// For `samples` samples; nothing is known of any yet.
    pub fn new(seed: u64, samples: usize) -> Hardest {
        let mut runs = vec![0; samples];
        epoch_order_into(seed, 0, &mut runs);
        let (chosen, order) = (Vec::with_capacity(samples), Vec::with_capacity(samples));
        Hardest { seed, residuals: vec![0.0; samples], runs, chosen, order }
    }

    /// How many samples an epoch of this share has.
    pub fn count(&self, share: f64) -> usize {
        self.runs.chunks(RUN).map(|run| part(share, run.len())).sum()
    }

    /// The samples of epoch `epoch` in random order: `share` of every run, rounded, those with the largest residuals. With
    /// a share of 1 and no residuals recorded, as an epoch 0 should be, it is the order of
    /// [`epoch_order_into`].
    ///
    /// # Panics
    /// If `share` is not in `0..=1`.
    #[track_caller]
    pub fn epoch(&mut self, epoch: u64, share: f64) -> &[u32] {
        assert!((0.0..=1.0).contains(&share), "a share of {share}, expected 0 to 1");
        let Hardest { seed, residuals, runs, chosen, order } = self;
        if epoch == 0 && share == 1.0 {
            order.clone_from(runs);
            return order;
        }
        chosen.clear();
        for run in runs.chunks_mut(RUN) {
            let n = part(share, run.len());
            let residual = |&i: &u32| residuals[i as usize];
            // Equal residuals: by number, so that the choice is one.
            run.sort_unstable_by(|a, b| residual(b).total_cmp(&residual(a)).then(a.cmp(b)));
            chosen.extend_from_slice(&run[..n]);
        }
        order.resize(chosen.len(), 0);
        epoch_order_into(*seed, epoch, order);
        for place in order.iter_mut() {
            *place = chosen[*place as usize];
        }
        order
    }

    /// Remembers the residuals of the samples of a step.
    ///
    /// # Panics
    /// If a sample is not one of those there are.
    #[track_caller]
    pub fn record(&mut self, samples: &[u32], residuals: impl IntoIterator<Item = f32>) {
        for (&sample, residual) in samples.iter().zip(residuals) {
            self.residuals[sample as usize] = residual;
        }
    }
}

/// `share` of `n`, rounded.
fn part(share: f64, n: usize) -> usize {
    (share * n as f64).round() as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use byhand_datasets::batches::epoch_order;

    #[test]
    fn every_run_gives_its_share_of_the_hardest() {
        let n = 3 * RUN + 100;
        let mut hardest = Hardest::new(3, n);
        let first = hardest.epoch(0, 1.0).to_vec();
        assert_eq!(first, epoch_order(3, 0, n));
        // Later steps have smaller residuals, as in training; within a run, the sample's number decides.
        let residual = |place: usize| 1.0 / (1 + place / RUN) as f32 + first[place] as f32 * 1e-6;
        hardest.record(&first, (0..n).map(residual));
        let mut found = hardest.epoch(1, 0.25).to_vec();
        let mut expected: Vec<u32> = Vec::new();
        for run in first.chunks(RUN) {
            let mut run = run.to_vec();
            run.sort_unstable_by(|a, b| b.cmp(a));
            expected.extend(&run[..run.len() / 4]);
        }
        assert_ne!(found, expected, "in random order");
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected);
        assert_eq!(found.len(), 3 * RUN / 4 + 25);
        assert_eq!(hardest.count(0.25), found.len());
    }

    #[test]
    fn a_function_of_seed_epoch_and_residuals() {
        let order = |seed, epoch| {
            let mut hardest = Hardest::new(seed, 500);
            let first = hardest.epoch(0, 1.0).to_vec();
            // Many ties.
            hardest.record(&first, first.iter().map(|i| (i % 3) as f32));
            hardest.epoch(epoch, 0.5).to_vec()
        };
        assert_eq!(order(1, 1), order(1, 1));
        assert_ne!(order(1, 1), order(1, 2));
        assert_ne!(order(1, 1), order(2, 1));
    }
}
