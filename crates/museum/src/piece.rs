//! What the register says of a piece, and its examination.

use std::fmt;

use byhand_layers::check::{Checked, Clause, Options, Report, check_layer, check_loss};
use byhand_layers::loss::{Labels, Loss, OneHot, Target};
use byhand_layers::{Block, Describe, Layer, LayerError, Scalar};

use crate::twin;

/// A wrong layer or loss.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    /// Its name.
    pub name: &'static str,
    /// The notebooks it comes from, as `seeds` names them (`A`, `B`, ...), or `classic`.
    pub notebook: &'static str,
    /// The wrong line in words.
    pub wrong_line: &'static str,
    /// What one sees while training.
    pub symptom: &'static str,
    /// Checks that reject it, two at least.
    pub caught_by: &'static [Check],
    pub(crate) examine: fn(&Options) -> Vec<Finding>,
    pub(crate) stand_in: StandIn,
}

/// A wrong layer for a right one, or why not.
pub type Replaced = Result<Box<dyn Layer<f32>>, LayerError>;

/// Makes the wrong version, to be trained.
#[derive(Clone, Copy, Debug)]
pub(crate) enum StandIn {
    /// For a right layer.
    Layer(fn(&dyn Describe) -> Replaced),
    /// For softmax cross-entropy.
    Loss(fn() -> Box<dyn Loss<f32>>),
}

impl Piece {
    /// Runs every check on it and tells what they found.
    pub fn examine(&self, options: &Options) -> Vec<Finding> {
        (self.examine)(options)
    }

    /// The wrong layer with the geometry of `right`, to take its place in a network; nothing for a loss.
    ///
    /// # Errors
    /// `right` is not the kind of layer that this one is a wrong version of, or has a geometry that hides the mistake.
    pub fn in_place_of(&self, right: &dyn Describe) -> Option<Replaced> {
        match self.stand_in {
            StandIn::Layer(make) => Some(make(right)),
            StandIn::Loss(_) => None,
        }
    }

    /// The wrong loss; nothing for a layer.
    pub fn loss(&self) -> Option<Box<dyn Loss<f32>>> {
        match self.stand_in {
            StandIn::Layer(_) => None,
            StandIn::Loss(make) => Some(make()),
        }
    }
}

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
pub(crate) fn examine_layer(
    wrong: Result<impl Checked, LayerError>,
    right: Result<impl Layer<f64>, LayerError>,
    options: &Options,
) -> Vec<Finding> {
    let (wrong, right) = match (wrong, right) {
        (Ok(wrong), Ok(right)) => (wrong, right),
        (Err(error), _) | (_, Err(error)) => {
            unreachable!("the geometry a piece is examined with is refused: {error}")
        }
    };
    // One checker for all pieces: compiled for each, it would be most of this crate.
    let mut findings = of_report(check_layer(&wrong as &dyn Checked, options));
    let detail = twin::compare_layers(&wrong, &right, options.seed);
    findings.extend(detail.map(|detail| Finding { check: Check::Twin, detail }));
    findings
}

/// The findings about a wrong loss, over 2, 3 and 10 classes, beside its right version.
pub(crate) fn examine_loss(
    wrong: &(impl Loss<f32> + Loss<f64>),
    right: &(impl Loss<f32> + Loss<f64>),
    options: &Options,
) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    for classes in [2, 3, 10] {
        findings.extend(of_report(check_loss(wrong, classes, options)));
        let detail = twin::compare_losses(wrong, right, classes, options.seed);
        findings.extend(detail.map(|detail| Finding { check: Check::Twin, detail }));
    }
    findings
}

/// Entry `class` of the target's row of `sample`.
pub(crate) fn target_of<T: Scalar>(target: Target<'_, T>, sample: usize, class: usize, classes: usize) -> T {
    match target {
        Target::Labels(Labels(labels)) if usize::from(labels[sample]) == class => T::ONE,
        Target::Labels(_) => T::ZERO,
        Target::OneHot(OneHot(rows)) => rows[sample * classes + class],
    }
}

/// Whether the first of the largest logits is at the first of the target's largest entries.
pub(crate) fn is_correct<T: Scalar>(
    block: Block,
    logits: &[T],
    target: Target<'_, T>,
    sample: usize,
    classes: usize,
) -> bool {
    let first =
        |at: &dyn Fn(usize) -> T| (1..classes).fold(0, |best, i| if at(i) > at(best) { i } else { best });
    first(&|class| logits[block.index(classes, sample, class)])
        == first(&|class| target_of(target, sample, class, classes))
}

fn of_report(report: Report) -> Vec<Finding> {
    let finding = |failure: byhand_layers::check::Failure| Finding {
        check: Check::Clause(failure.clause),
        detail: failure.detail,
    };
    report.failures.into_iter().map(finding).collect()
}
