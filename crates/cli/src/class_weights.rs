//! What samples of each class weigh in the training loss: `--class-weights`.

use std::{fmt, str::FromStr};

use anyhow::Result;
use byhand_datasets::Dataset;
use byhand_layers::loss::Weighting;
use byhand_trainer::Objective;

use crate::exit::usage;

/// `balanced`, or a number for each class: `1,1,2.5`.
#[derive(Clone, Debug, PartialEq)]
pub enum ClassWeights {
    /// All classes count the same together, however many samples they have.
    Balanced,
    /// A weight for each class.
    Each(Vec<f64>),
}

impl ClassWeights {
    /// The weights for these training data, of which the network has all classes.
    pub fn of(&self, train: &Dataset) -> Vec<f64> {
        match self {
            Self::Balanced => Weighting::balanced(train.labels(), train.classes()).classes,
            Self::Each(weights) => weights.clone(),
        }
    }

    /// That there is one for each class, and a loss that takes them.
    pub fn check(&self, classes: usize, loss: Objective) -> Result<()> {
        if loss == Objective::SquaredError {
            return Err(usage(format!(
                "--class-weights {self}: expected --loss softmax-cross-entropy or negative-log-likelihood, which know classes, found {loss}"
            )));
        }
        match self {
            Self::Each(weights) if weights.len() != classes => Err(usage(format!(
                "--class-weights {self}: expected balanced, or {classes} numbers, one for each class, found {}",
                weights.len()
            ))),
            _ => Ok(()),
        }
    }
}

impl FromStr for ClassWeights {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "balanced" {
            return Ok(Self::Balanced);
        }
        let weight = |text: &str| {
            let weight = text.trim().parse().ok().filter(|weight: &f64| weight.is_finite() && *weight >= 0.0);
            weight.ok_or_else(|| {
                format!("expected balanced, or numbers of at least 0 with commas between them, such as 1,1,2.5, found `{}`", text.trim())
            })
        };
        let weights = text.split(',').map(weight).collect::<Result<Vec<f64>, String>>()?;
        if weights.iter().all(|&weight| weight == 0.0) {
            return Err("expected a weight above 0 for some class, found none".to_string());
        }
        Ok(Self::Each(weights))
    }
}

impl fmt::Display for ClassWeights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Balanced => f.write_str("balanced"),
            Self::Each(weights) => {
                let weights: Vec<String> = weights.iter().map(f64::to_string).collect();
                f.write_str(&weights.join(","))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        for text in ["balanced", "1,2.5,0", "0.1"] {
            assert_eq!(text.parse::<ClassWeights>().unwrap().to_string(), text);
        }
        for text in ["", "1,,2", "-1,2", "nan", "inf", "balance", "0,0", "1;2"] {
            let error = text.parse::<ClassWeights>().unwrap_err();
            assert!(error.starts_with("expected"), "{text}: {error}");
        }
    }
}
