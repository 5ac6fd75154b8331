//! Figures that say how sure one may be of a count or of a mean, and how numbers are written.

use byhand_layers::metrics::Confusion;

/// The mean; of no numbers, none.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The standard deviation of a sample, `sqrt(sum (x - mean)^2 / (n - 1))`; 0 of one number, of no numbers none.
///
/// ```
/// assert_eq!(byhand_report::std(&[1.0, 3.0, 5.0]), Some(2.0));
/// ```
pub fn std(values: &[f64]) -> Option<f64> {
    let mean = mean(values)?;
    let squares: f64 = values.iter().map(|x| (x - mean) * (x - mean)).sum();
    Some((squares / (values.len() as f64 - 1.0).max(1.0)).sqrt())
}

/// The least and the greatest; of no numbers, none.
pub fn extremes(values: &[f64]) -> Option<[f64; 2]> {
    let least = values.iter().copied().min_by(f64::total_cmp)?;
    Some([least, values.iter().copied().max_by(f64::total_cmp)?])
}

/// A number as people count: 46,730.
pub fn grouped(n: usize) -> String {
    let digits = n.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).expect("digits")).collect();
    groups.join(",")
}

/// Wilson's 95 % interval for a share of which `hits` of `n` were seen: where the true share lies, 19 times of 20.
///
/// With `p = hits / n` and `z = 1.96`: `(p + z^2/2n ± z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n)`. It stays within 0 and 1 for any
/// counts. Of no sample it is all that is possible.
///
/// Reference: Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
///
/// ```
/// let [low, high] = byhand_report::wilson(81, 263);
/// assert!((low - 0.255289).abs() < 1e-6 && (high - 0.366210).abs() < 1e-6);
/// ```
pub fn wilson(hits: u64, n: u64) -> [f64; 2] {
    const Z: f64 = 1.959_963_984_540_054;
    if n == 0 {
        return [0.0, 1.0];
    }
    let (n, p) = (n as f64, hits as f64 / n as f64);
    let middle = p + Z * Z / (2.0 * n);
    let half = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    [-half, half].map(|half| ((middle + half) / (1.0 + Z * Z / n)).clamp(0.0, 1.0))
}

/// McNemar's exact test of two classifiers on the same samples: the probability that samples which just one of them has right fall out
/// as unevenly as `only_a` to `only_b`, or more, if both were equally good.
///
/// `min(1, 2 sum_{i <= min(a, b)} C(a + b, i) / 2^(a + b))`, the two-sided binomial test, for any counts.
///
/// Reference: McNemar, "Note on the sampling error of the difference between correlated proportions or percentages", 1947.
///
/// ```
/// assert!((byhand_report::mcnemar(1, 5) - 0.21875).abs() < 1e-12);
/// assert_eq!(byhand_report::mcnemar(0, 0), 1.0);
/// ```
pub fn mcnemar(only_a: u64, only_b: u64) -> f64 {
    let (n, few) = (only_a + only_b, only_a.min(only_b));
    // ln C(n, i) - n ln 2, from term to term.
    let mut term = -(n as f64) * std::f64::consts::LN_2;
    let mut tail = term.exp();
    for i in 1..=few {
        term += ((n - i + 1) as f64 / i as f64).ln();
        tail += term.exp();
    }
    (2.0 * tail).min(1.0)
}

/// How well one class is recognised.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClassFigures {
    /// Samples of the class.
    pub samples: u64,
    /// Of these, samples taken for it.
    pub recognised: u64,
    /// `recognised / taken for it`; none where nothing was taken for it.
    pub precision: Option<f64>,
    /// `recognised / samples`; none without samples.
    pub recall: Option<f64>,
    /// The harmonic mean of both: `2 recognised / (samples + taken for it)`; none where that is nothing.
    pub f1: Option<f64>,
}

/// The figures of each class.
pub fn class_figures(confusion: &Confusion) -> Vec<ClassFigures> {
    let counts = confusion.counts();
    let of = |class: usize| {
        let (samples, taken, recognised) =
            (counts.row(class).sum(), counts.column(class).sum(), counts[[class, class]]);
        let share = |part: u64, of: u64| (of > 0).then(|| part as f64 / of as f64);
        ClassFigures {
            samples,
            recognised,
            precision: share(recognised, taken),
            recall: share(recognised, samples),
            f1: share(2 * recognised, samples + taken),
        }
    };
    (0..counts.nrows()).map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_few_numbers_and_of_none() {
        assert_eq!((mean(&[]), std(&[]), extremes(&[])), (None, None, None));
        assert_eq!((mean(&[3.0]), std(&[3.0]), extremes(&[3.0])), (Some(3.0), Some(0.0), Some([3.0, 3.0])));
        assert_eq!(extremes(&[2.0, -1.0, 0.5]), Some([-1.0, 2.0]));
        assert_eq!(
            [0, 999, 1000, 46_730, 1_234_567].map(grouped),
            ["0", "999", "1,000", "46,730", "1,234,567"]
        );
    }

    #[test]
    fn intervals_stay_in_range() {
        assert_eq!(wilson(0, 0), [0.0, 1.0]);
        let [low, high] = wilson(0, 10);
        assert!(low == 0.0 && (high - 0.277_533).abs() < 1e-6, "{high}");
        let [low, high] = wilson(10, 10);
        assert!((low - 0.722_467).abs() < 1e-6 && high > 1.0 - 1e-15, "{low} {high}");
    }

    #[test]
    fn mcnemar_is_the_binomial_test() {
        // Python: 2 * sum(comb(28, i) for i in range(9)) / 2**28; and the normal approximation of a large one.
        assert!((mcnemar(8, 20) - 0.035_698_138).abs() < 1e-9, "{}", mcnemar(8, 20));
        assert_eq!(mcnemar(20, 8), mcnemar(8, 20));
        assert_eq!(mcnemar(5, 5), 1.0);
        let many = mcnemar(100_000, 101_000);
        assert!((many - 0.025_863).abs() < 1e-5, "{many}");
    }

    #[test]
    fn figures_of_a_class_without_samples() {
        let mut confusion = Confusion::new(3);
        for (truth, said) in [(0, 0), (0, 1), (1, 1), (1, 1)] {
            confusion.count(truth, said);
        }
        let figures = class_figures(&confusion);
        assert_eq!(
            (figures[0].precision, figures[0].recall, figures[0].f1),
            (Some(1.0), Some(0.5), Some(2.0 / 3.0))
        );
        assert_eq!(
            (figures[1].precision, figures[1].recall, figures[1].f1),
            (Some(2.0 / 3.0), Some(1.0), Some(0.8))
        );
        assert_eq!((figures[2].precision, figures[2].recall, figures[2].f1), (None, None, None));
    }
}
