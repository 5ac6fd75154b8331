//! Whether the loss has gone up for good: far above its best, for long.

/// The mean loss of windows of steps, held against the best window and the first.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Trend {
    /// Of the window in hand: the sum of losses, and its steps.
    sum: f64,
    steps: u64,
    /// Whole windows, the mean loss of the first and of the best.
    windows: u64,
    first: f64,
    best: f64,
    /// Windows in a row, up to the last one, that were far above the best.
    high: u64,
}

/// Steps of a window.
const WINDOW: u64 = 100;
/// So many times the best loss is far above it, if it is also a good part of the first: from 0.001 to 0.01 nothing is lost.
const FACTOR: f64 = 10.0;
const PART_OF_FIRST: f64 = 0.5;
/// So many windows in a row are long.
const PATIENCE: u64 = 10;

impl Trend {
    /// After how many steps far above the best loss training is given up.
    pub(crate) const STEPS: u64 = WINDOW * PATIENCE;

    /// Takes the mean loss of a step.
    pub(crate) fn add(&mut self, loss: f64) {
        self.sum += loss;
        self.steps += 1;
        if self.steps < WINDOW {
            return;
        }
        let mean = self.sum / WINDOW as f64;
        (self.sum, self.steps) = (0.0, 0);
        if self.windows == 0 {
            (self.first, self.best) = (mean, mean);
        }
        self.windows += 1;
        let is_high = mean > (FACTOR * self.best).max(PART_OF_FIRST * self.first);
        self.high = if is_high { self.high + 1 } else { 0 };
        self.best = self.best.min(mean);
    }

    /// Whether the loss has been far above its best for long.
    pub(crate) fn is_lost(&self) -> bool {
        self.high >= PATIENCE
    }

    pub(crate) fn numbers(&self) -> [u64; 6] {
        let Trend { sum, steps, windows, first, best, high } = *self;
        [sum.to_bits(), steps, windows, first.to_bits(), best.to_bits(), high]
    }

    /// Of numbers that can be: none is so large that counting on would overflow.
    pub(crate) fn of([sum, steps, windows, first, best, high]: [u64; 6]) -> Option<Trend> {
        let [sum, first, best] = [sum, first, best].map(f64::from_bits);
        let can_be = steps < WINDOW && high <= windows && windows <= 1 << 53;
        can_be.then_some(Trend { sum, steps, windows, first, best, high })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After how many steps it is lost, when the loss moves as `loss` says.
    fn lost(loss: impl Fn(u64) -> f64) -> Option<u64> {
        let mut trend = Trend::default();
        (1..=5_000).find(|&step| {
            trend.add(loss(step));
            trend = Trend::of(trend.numbers()).unwrap();
            trend.is_lost()
        })
    }

    #[test]
    fn what_goes_up_for_good_is_lost_and_what_comes_back_is_not() {
        let learned = |step: u64| 2.3 * (-(step as f64) / 100.0).exp().max(0.01);
        assert_eq!(lost(learned), None);
        // It goes up after 1,500 steps.
        assert_eq!(lost(|step| if step <= 1_500 { learned(step) } else { 40.0 }), Some(2_500));
        assert_eq!(
            lost(|step| if step <= 1_500 { learned(step) } else { 2.3 }),
            Some(2_500),
            "all is forgotten"
        );
        assert_eq!(lost(|step| if step % 1_000 > 100 { learned(step) } else { 40.0 }), None, "it comes back");
        assert_eq!(lost(|step| if step <= 1_500 { 0.001 } else { 0.02 }), Some(2_500));
        assert_eq!(
            lost(|step| if step <= 100 { 2.3 } else { 0.001 * (1 + step / 500) as f64 }),
            None,
            "small all the same"
        );
        assert_eq!(lost(|_| 2.3), None, "it learns nothing");
    }
}
