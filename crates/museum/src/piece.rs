//! What the museum says of a piece, and its examination.

use std::fmt;

use byhand_layers::check::{Checked, Clause, Options, Report, check_layer, check_loss};
use byhand_layers::loss::{Loss, SoftmaxCrossEntropy};
use byhand_layers::{Describe, Layer};

use crate::mistake::{Mistake, Replaced, Wrong};
use crate::twin;

/// A wrong layer or loss.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    /// Its name.
    pub name: &'static str,
    /// The notebooks it comes from (`A`, `B`, ...), or `classic`.
    pub notebook: &'static str,
    /// What is wrong, in words.
    pub mistake: &'static str,
    /// The wrong line, as a formula.
    pub wrong: &'static str,
    /// The right one.
    pub right: &'static str,
    /// What one sees while training.
    pub symptom: &'static str,
    /// Checks that reject it, two at least.
    pub caught_by: &'static [Check],
    /// A network for images of one channel in which it may be trained.
    pub example: Example,
    pub(crate) source: &'static str,
    pub(crate) make: Make,
}

/// A network with a place for a wrong layer.
#[derive(Clone, Copy, Debug)]
pub struct Example {
    /// The network, in the layer-spec grammar.
    pub layers: &'static str,
    /// Index of the layer that the piece stands in for, flattens counted; nothing for a loss.
    pub layer: Option<usize>,
    /// Images in a step.
    pub batch_size: usize,
    /// How many parts of it go through the network one after the other.
    pub parts: usize,
}

/// How it is examined, and made to be trained.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Make {
    /// A layer.
    Layer { examine: fn(&Options) -> (String, Vec<Finding>), in_place_of: fn(&dyn Describe) -> Replaced },
    /// A loss.
    Loss { examine: fn(&Options) -> (String, Vec<Finding>), make: fn() -> Box<dyn Loss<f32>> },
}

impl Make {
    pub(crate) const fn layer<M: Mistake<Right: Checked>>() -> Self {
        Self::layers::<M, M>()
    }

    /// Of a mistake that is shown in one type of layer, and made in networks in another.
    pub(crate) const fn layers<M: Mistake<Right: Checked>, N: Mistake<Right: Layer<f32>>>() -> Self {
        Self::Layer { examine: examine_layer::<M>, in_place_of: Wrong::<N>::in_place_of }
    }

    pub(crate) const fn loss<L: Loss<f32> + Loss<f64> + Default + 'static>() -> Self {
        Self::Loss { examine: examine_loss::<L>, make: || Box::new(L::default()) }
    }
}

impl Piece {
    /// Runs every check on it and tells what they found.
    pub fn examine(&self, options: &Options) -> Vec<Finding> {
        self.examination(options).1
    }

    /// The same, and what the checks were given: a layer and its input, or losses.
    pub fn examination(&self, options: &Options) -> (String, Vec<Finding>) {
        match self.make {
            Make::Layer { examine, .. } | Make::Loss { examine, .. } => examine(options),
        }
    }

    /// The wrong layer with the geometry of `right`, to take its place in a network; nothing for a loss.
    ///
    /// # Errors
    /// `right` is not the kind of layer that this one is a wrong version of, or has a geometry that hides the mistake.
    pub fn in_place_of(&self, right: &dyn Describe) -> Option<Replaced> {
        match self.make {
            Make::Layer { in_place_of, .. } => Some(in_place_of(right)),
            Make::Loss { .. } => None,
        }
    }

    /// The wrong loss; nothing for a layer.
    pub fn loss(&self) -> Option<Box<dyn Loss<f32>>> {
        match self.make {
            Make::Layer { .. } => None,
            Make::Loss { make, .. } => Some(make()),
        }
    }

    /// The mistake in the code of this crate: the lines between its marks, without their common indentation.
    pub fn code(&self) -> Vec<&'static str> {
        let lines = self.source.lines().skip_while(|line| line.trim() != MARKS[0]).skip(1);
        let lines: Vec<&str> = lines.take_while(|line| line.trim() != MARKS[1]).collect();
        let margin = |line: &&str| line.len() - line.trim_start().len();
        let indent = lines.iter().filter(|line| !line.trim().is_empty()).map(margin).min().unwrap_or(0);
        lines.into_iter().map(|line| line.get(indent..).unwrap_or_default()).collect()
    }

    /// The file that holds that code, as a path in this repository.
    pub fn file(&self) -> String {
        format!("crates/museum/src/pieces/{}.rs", self.name.replace('-', "_"))
    }
}

/// What stands before and after the mistake in the code of a piece.
const MARKS: [&str; 2] = ["// <wrong>", "// </wrong>"];

/// A way of finding out that something is wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Check {
    /// A clause of `check_layer` or `check_loss`.
    Clause(Clause),
    /// Other numbers than the right version gives, on inputs of several sizes from 1 to 200,000.
    Twin,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clause(clause) => clause.fmt(f),
            Self::Twin => f.pad("twin"),
        }
    }
}

/// What a check found.
#[derive(Clone, PartialEq, Debug)]
pub struct Finding {
    /// The check.
    pub check: Check,
    /// What was compared, expected and found.
    pub detail: String,
}

/// The findings about a wrong layer, beside its right version.
fn examine_layer<M: Mistake<Right: Checked>>(options: &Options) -> (String, Vec<Finding>) {
    let right = M::shown();
    let right = right.unwrap_or_else(|error| unreachable!("the geometry of a piece is refused: {error}"));
    let wrong = Wrong::<M> { right };
    let mut findings = of_report(check_layer(&wrong, options));
    let detail = twin::compare_layers(&wrong, &wrong.right, options.seed);
    findings.extend(detail.map(|detail| Finding { check: Check::Twin, detail }));
    (format!("{} on {}", wrong.spec(), wrong.input()), findings)
}

/// The findings about a wrong loss, over 2, 3 and 10 classes, beside softmax cross-entropy.
fn examine_loss<L: Loss<f32> + Loss<f64> + Default>(options: &Options) -> (String, Vec<Finding>) {
    let (wrong, right) = (L::default(), SoftmaxCrossEntropy::default());
    let mut findings: Vec<Finding> = Vec::new();
    for classes in [2, 3, 10] {
        findings.extend(of_report(check_loss(&wrong, classes, options)));
        let detail = twin::compare_losses(&wrong, &right, classes, options.seed);
        findings.extend(detail.map(|detail| Finding { check: Check::Twin, detail }));
    }
    ("the loss on 2, 3 and 10 classes".to_string(), findings)
}

fn of_report(report: Report) -> Vec<Finding> {
    let finding = |failure: byhand_layers::check::Failure| Finding {
        check: Check::Clause(failure.clause),
        detail: failure.detail,
    };
    report.failures.into_iter().map(finding).collect()
}
