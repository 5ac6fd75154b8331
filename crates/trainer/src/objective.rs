//! Which loss is trained for, as a setting.

use std::fmt;
use std::str::FromStr;

use byhand_layers::loss::{Loss, NegativeLogLikelihood, SoftmaxCrossEntropy, SquaredError, Weighting};

use crate::error::{SpecError, TrainerError};
use crate::spec::{Call, write_call};

/// A loss of `byhand_layers::loss`, as text: `softmax-cross-entropy`, `softmax-cross-entropy(label_smoothing=0.1)`,
/// `negative-log-likelihood`, `squared-error`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Objective {
    /// Softmax cross-entropy on logits `z`: `-sum over j of q_j * ln(softmax(z)_j)`, with the target's row `q`.
    SoftmaxCrossEntropy {
        /// The share of the target spread evenly over the classes, in `0 <= s < 1`.
        label_smoothing: f64,
    },
    /// Negative log-likelihood on log-probabilities `y`, as `log_softmax` gives them: `-sum over j of q_j * y_j`.
    NegativeLogLikelihood,
    /// Half the squared error, `1/2 * sum over j of (y_j - t_j)^2`, against rows `t`: those of a regression, or a label's one-hot row.
    SquaredError,
}

impl Objective {
    /// That its numbers are in their ranges.
    ///
    /// # Errors
    /// The label smoothing is not in `0 <= s < 1`.
    pub fn validate(&self) -> Result<(), TrainerError> {
        match *self {
            Objective::SoftmaxCrossEntropy { label_smoothing } => {
                Ok(SoftmaxCrossEntropy { label_smoothing, ..Default::default() }.validate()?)
            }
            Objective::NegativeLogLikelihood | Objective::SquaredError => Ok(()),
        }
    }

    /// The loss itself.
    pub fn loss(self) -> Box<dyn Loss<f32>> {
        match self {
            Objective::SoftmaxCrossEntropy { label_smoothing } => {
                Box::new(SoftmaxCrossEntropy { label_smoothing, ..Default::default() })
            }
            Objective::NegativeLogLikelihood => Box::new(NegativeLogLikelihood::default()),
            Objective::SquaredError => Box::new(SquaredError),
        }
    }

    /// The loss that evaluations tell: the same without label smoothing. Smoothing is a means of training, and what it adds to the loss of
    /// a network that is right and sure says nothing of how good the network is.
    ///
    /// ```
    /// use byhand_trainer::Objective;
    /// let smoothed: Objective = "softmax-cross-entropy(label_smoothing=0.1)".parse()?;
    /// assert_eq!(smoothed.unsmoothed(), Objective::default());
    /// # Ok::<(), byhand_trainer::SpecError>(())
    /// ```
    pub fn unsmoothed(self) -> Objective {
        match self {
            Objective::SoftmaxCrossEntropy { .. } => Objective::SoftmaxCrossEntropy { label_smoothing: 0.0 },
            Objective::NegativeLogLikelihood | Objective::SquaredError => self,
        }
    }

    /// The loss with weights of the classes, for a network with so many outputs.
    ///
    /// # Errors
    /// It knows no classes, there are not as many weights, or one is out of its range.
    pub(crate) fn weighted(
        self,
        classes: Vec<f64>,
        outputs: usize,
    ) -> Result<Box<dyn Loss<f32>>, TrainerError> {
        let weighting = Weighting { classes, ignore: None };
        weighting.validate("class weights", Some(outputs))?;
        match self {
            Objective::SoftmaxCrossEntropy { label_smoothing } => {
                Ok(Box::new(SoftmaxCrossEntropy { label_smoothing, weighting }))
            }
            Objective::NegativeLogLikelihood => Ok(Box::new(NegativeLogLikelihood { weighting })),
            Objective::SquaredError => {
                let expected = "softmax-cross-entropy or negative-log-likelihood where classes have weights";
                Err(TrainerError::setting("objective", expected, self.to_string()))
            }
        }
    }
}

impl Default for Objective {
    /// Softmax cross-entropy without smoothing.
    fn default() -> Objective {
        Objective::SoftmaxCrossEntropy { label_smoothing: 0.0 }
    }
}

impl FromStr for Objective {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Objective, SpecError> {
        let mut call = Call::parse(text)?;
        let objective = match call.name() {
            "softmax-cross-entropy" => {
                Objective::SoftmaxCrossEntropy { label_smoothing: call.number("label_smoothing", 0.0)? }
            }
            "negative-log-likelihood" => Objective::NegativeLogLikelihood,
            "squared-error" => Objective::SquaredError,
            _ => {
                let names = "softmax-cross-entropy, negative-log-likelihood, squared-error";
                return Err(call.unknown_name(names));
            }
        };
        call.finish(objective.validate())?;
        Ok(objective)
    }
}

impl fmt::Display for Objective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Objective::SoftmaxCrossEntropy { label_smoothing: 0.0 } => f.write_str("softmax-cross-entropy"),
            Objective::SoftmaxCrossEntropy { label_smoothing } => {
                write_call(f, "softmax-cross-entropy", &[format!("label_smoothing={label_smoothing}")])
            }
            Objective::NegativeLogLikelihood => f.write_str("negative-log-likelihood"),
            Objective::SquaredError => f.write_str("squared-error"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        for text in [
            "softmax-cross-entropy",
            "softmax-cross-entropy(label_smoothing=0.1)",
            "negative-log-likelihood",
            "squared-error",
        ] {
            assert_eq!(text.parse::<Objective>().unwrap().to_string(), text);
        }
        let error = "squared-error(x=1)".parse::<Objective>().unwrap_err().to_string();
        assert!(error.contains("takes no argument, found `x`"), "{error}");
        for (text, value) in [("1", 1.0), ("-0.1", -0.1), ("nan", f64::NAN)] {
            let told =
                format!("softmax-cross-entropy(label_smoothing={text})").parse::<Objective>().unwrap_err();
            let value = Objective::SoftmaxCrossEntropy { label_smoothing: value }.validate().unwrap_err();
            assert!(told.to_string().ends_with(&value.to_string()), "{told}, {value}");
        }
    }
}
