//! What samples count in a mean: weights of classes, and a label that is ignored.

use super::{Labels, Target};
use crate::error::LayerError;

/// What a sample counts, by its label: the weight of its class, or nothing where its label is ignored.
///
/// The mean loss of a minibatch is the sum of its samples' losses over the sum of what they count (of rows: over their number), as
/// PyTorch has it.
///
/// ```
/// use byhand_layers::loss::{Labels, Target, Weighting};
/// let weighting = Weighting { classes: vec![1.0, 3.0], ignore: Some(255) };
/// let target: Target<'_, f32> = Labels(&[0, 1, 255, 1]).into();
/// assert_eq!(weighting.total(target, 4), 7.0);
/// ```
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Weighting {
    /// A weight of each class, of at least 0; none: all weigh 1. It multiplies the class's entry of a target's row.
    pub classes: Vec<f64>,
    /// Samples with this label have no loss and no gradient. It need not be a class.
    pub ignore: Option<u16>,
}

impl Weighting {
    /// Every sample counts 1.
    pub const fn none() -> Self {
        Self { classes: Vec::new(), ignore: None }
    }

    /// Weights by which all classes count the same together, however many samples they have: of `N` samples of `C` classes, those of a
    /// class with `n` count `N / (C n)` each. Classes without a sample are not counted, and weigh 1.
    ///
    /// Reference: King and Zeng, "Logistic regression in rare events data", 2001.
    ///
    /// ```
    /// use byhand_layers::loss::Weighting;
    /// assert_eq!(Weighting::balanced(&[0, 0, 0, 1], 2).classes, [4.0 / 6.0, 2.0]);
    /// ```
    ///
    /// # Panics
    /// If a label is not below `classes`.
    #[track_caller]
    pub fn balanced(labels: &[u16], classes: usize) -> Self {
        let mut counts = vec![0u64; classes];
        labels.iter().for_each(|&label| counts[usize::from(label)] += 1);
        let present = counts.iter().filter(|&&n| n > 0).count();
        let weight = |&n: &u64| if n == 0 { 1.0 } else { labels.len() as f64 / (present as u64 * n) as f64 };
        Self { classes: counts.iter().map(weight).collect(), ignore: None }
    }

    /// Whether every sample counts 1.
    pub fn is_none(&self) -> bool {
        self.classes.is_empty() && self.ignore.is_none()
    }

    /// What a sample with this label counts; nothing where it is ignored.
    pub fn of(&self, label: u16) -> Option<f64> {
        (self.ignore != Some(label)).then(|| self.of_class(label.into()))
    }

    /// What these `samples` count together, added in their order.
    pub fn total<T>(&self, target: Target<'_, T>, samples: usize) -> f64 {
        match target {
            Target::Labels(Labels(labels)) => {
                labels.iter().fold(0.0, |sum, &label| sum + self.of(label).unwrap_or(0.0))
            }
            Target::Rows(_) => samples as f64,
        }
    }

    /// That no weight is negative or infinite, and one is more than 0; and that there is one for each of `classes`, if their number is
    /// known.
    ///
    /// # Errors
    /// [`LayerError::Value`], in the name of the loss.
    pub fn validate(&self, loss: &'static str, classes: Option<usize>) -> Result<(), LayerError> {
        let refused =
            |expected, found| Err(LayerError::Value { layer: loss, what: "each weight", expected, found });
        if let Some(bad) = self.classes.iter().find(|weight| !(weight.is_finite() && **weight >= 0.0)) {
            return refused("numbers of at least 0", bad.to_string());
        }
        if !self.classes.is_empty() && self.classes.iter().all(|&weight| weight == 0.0) {
            return refused("more than 0 for some class", "0 for all".to_owned());
        }
        match classes {
            Some(classes) if !self.classes.is_empty() && self.classes.len() != classes => refused(
                "as many as the network has outputs",
                format!("{} for {classes} outputs", self.classes.len()),
            ),
            _ => Ok(()),
        }
    }

    #[inline]
    pub(super) fn of_class(&self, class: usize) -> f64 {
        self.classes.get(class).copied().unwrap_or(1.0)
    }

    /// Whether a sample of this target is ignored.
    #[inline]
    pub(super) fn ignores<T>(&self, target: &Target<'_, T>, sample: usize) -> bool {
        matches!(target, Target::Labels(Labels(labels)) if self.ignore == Some(labels[sample]))
    }
}
