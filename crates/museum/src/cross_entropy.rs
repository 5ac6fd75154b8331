//! Softmax cross-entropy as a notebook writes it, with room for a mistake.

use byhand_layers::loss::{Labels, LossStats, Target, TargetRows};
use byhand_layers::{Block, Scalar};

/// Classes of a block's logits.
pub(crate) fn classes<T: Scalar>(block: Block, logits: &[T]) -> usize {
    logits.len() / block.len(1)
}

/// `p = e^(z - m) / sum` with `m` and `sum` as `softmax(sample)` says, `loss = sum of q * minus_ln(p)`, `dlogits = scale * (p - q)`.
pub(crate) fn cross_entropy<T: Scalar>(
    block: Block,
    logits: &[T],
    target: Target<'_, T>,
    scale: T,
    dlogits: &mut [T],
    softmax: impl Fn(usize) -> (T, T),
    minus_ln: impl Fn(T) -> T,
) -> LossStats {
    let classes = classes(block, logits);
    let mut stats = LossStats::default();
    dlogits.fill(T::ZERO);
    for sample in 0..block.samples() {
        let at = |class| block.index(classes, sample, class);
        let (m, sum) = softmax(sample);
        let mut loss = T::ZERO;
        for class in 0..classes {
            let q = target_of(target, sample, class, classes);
            let p = (logits[at(class)] - m).exp() / sum;
            if q != T::ZERO {
                loss += q * minus_ln(p);
            }
            dlogits[at(class)] = scale * (p - q);
        }
        stats.loss += loss.to_f64();
        let said = first_of_largest(classes, |class| logits[at(class)]);
        let wanted = first_of_largest(classes, |class| target_of(target, sample, class, classes));
        stats.correct += usize::from(said == wanted);
    }
    stats
}

/// Entry `class` of the target's row of `sample`.
pub(crate) fn target_of<T: Scalar>(target: Target<'_, T>, sample: usize, class: usize, classes: usize) -> T {
    match target {
        Target::Labels(Labels(labels)) if usize::from(labels[sample]) == class => T::ONE,
        Target::Labels(_) => T::ZERO,
        Target::Rows(TargetRows(rows)) => rows[sample * classes + class],
    }
}

/// The first of the largest of `n` numbers.
fn first_of_largest<T: Scalar>(n: usize, at: impl Fn(usize) -> T) -> usize {
    (1..n).fold(0, |best, i| if at(i) > at(best) { i } else { best })
}
