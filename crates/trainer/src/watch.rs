//! What follows from evaluations: after epochs without a better one a lower learning rate, or the end.

use crate::optimizer::power;
use crate::schedule::{Schedule, ScheduleShape};

/// Where a fit stands with the evaluations at the ends of its epochs.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Watch {
    /// The step of the last evaluation.
    pub(crate) evaluated: u64,
    /// How often the rate was reduced, and after which epoch last.
    reductions: u64,
    reduced: u64,
}

impl Watch {
    /// Of a fit without reductions, last evaluated at this step.
    pub(crate) fn new(evaluated: u64) -> Watch {
        Watch { evaluated, ..Watch::default() }
    }

    /// Takes note that epoch `epoch` was evaluated, and that the best one so far is `best`.
    pub(crate) fn note(&mut self, schedule: &Schedule, epoch: u64, best: u64) {
        if let ScheduleShape::Plateau { patience, .. } = schedule.shape
            && epoch.saturating_sub(best.max(self.reduced)) >= patience
        {
            self.reductions += 1;
            self.reduced = epoch;
        }
    }

    /// What the rate of a schedule is multiplied by.
    pub(crate) fn factor(&self, schedule: &Schedule) -> f64 {
        match schedule.shape {
            ScheduleShape::Plateau { factor, .. } => power(factor, self.reductions),
            _ => 1.0,
        }
    }

    pub(crate) fn numbers(&self) -> [u64; 3] {
        [self.evaluated, self.reductions, self.reduced]
    }

    /// Of numbers that can be: an epoch for each reduction.
    pub(crate) fn of([evaluated, reductions, reduced]: [u64; 3]) -> Option<Watch> {
        (reductions <= reduced && reduced <= 1 << 53).then_some(Watch { evaluated, reductions, reduced })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_falls_after_so_many_epochs_without_a_better_one() {
        let schedule: Schedule = "plateau(patience=2,factor=0.5)".parse().unwrap();
        let mut watch = Watch::default();
        // The epoch of the best evaluation so far, epoch by epoch: better in 1, 2 and 5.
        let factors: Vec<f64> = (1..)
            .zip([1, 2, 2, 2, 5, 5, 5, 5, 5])
            .map(|(epoch, best)| {
                watch.note(&schedule, epoch, best);
                watch = Watch::of(watch.numbers()).unwrap();
                watch.factor(&schedule)
            })
            .collect();
        assert_eq!(factors, [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.25, 0.25, 0.125]);
        assert_eq!(watch.factor(&Schedule::CONSTANT), 1.0);
        assert_eq!(Watch::of([1, 2, 1]), None);
    }
}
