//! What a check found: how often each clause was tested, the largest error, and what failed.

use crate::Shape;
use byhand_tensor::Isa;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// One clause of the contract, or one way of proving a gradient.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Clause {
    /// The stated lengths suffice, and never shrink as the block grows.
    Lengths,
    /// `y` and `dx` are overwritten, and neither they nor the tape nor scratch are read first.
    Overwrite,
    /// Backward adds to `dtheta`.
    Accumulate,
    /// `dtheta` has the same bits when no `dx` is asked for.
    WithoutDx,
    /// A sample's `y` and `dx` depend on that sample alone, and not on its place.
    SampleIndependence,
    /// Lanes without a sample change nothing.
    DeadLanes,
    /// Both layouts, and samples one at a time, give the same numbers.
    Layouts,
    /// The adjoint identity, exact on integers.
    Adjoint,
    /// Central differences in f64.
    CentralDifference,
    /// Four-point differences in f64.
    FourPointDifference,
    /// Derivatives by dual numbers.
    DualNumbers,
    /// f32 against f64, within the a-priori rounding bound.
    Oracle,
    /// What is exactly 0 in `dx` and `dtheta` in f64 is exactly 0 in f32.
    Zeros,
    /// At a kink: the derivative of ReLU at 0 is 0; the first of equal maxima gets the gradient.
    Convention,
    /// Among equal maxima no gradient is lost or made: the sum of `dx` is the sum of `dy` on a flat image.
    TieSum,
    /// An output that depends on a NaN is NaN.
    NanTravels,
    /// All instruction sets with fused multiply-add give the same bits.
    EqualBits,
    /// State comes to unbiased estimates, and nothing else moves with it.
    State,
    /// Losses: labels and their one-hot rows give the same numbers, and `correct` counts the first maxima.
    Targets,
    /// Losses: finite for logits up to 3e38.
    Extremes,
}

impl Clause {
    /// The clauses of layers, in the order in which they are checked.
    pub const OF_LAYERS: [Self; 18] = [
        Self::Lengths,
        Self::Overwrite,
        Self::Accumulate,
        Self::WithoutDx,
        Self::SampleIndependence,
        Self::DeadLanes,
        Self::Layouts,
        Self::Adjoint,
        Self::CentralDifference,
        Self::FourPointDifference,
        Self::DualNumbers,
        Self::Oracle,
        Self::Zeros,
        Self::Convention,
        Self::TieSum,
        Self::NanTravels,
        Self::EqualBits,
        Self::State,
    ];

    /// A few words for tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lengths => "lengths",
            Self::Overwrite => "overwrite",
            Self::Accumulate => "accumulate",
            Self::WithoutDx => "without dx",
            Self::SampleIndependence => "sample independence",
            Self::DeadLanes => "dead lanes",
            Self::Layouts => "layouts",
            Self::Adjoint => "adjoint",
            Self::CentralDifference => "central difference",
            Self::FourPointDifference => "four-point difference",
            Self::DualNumbers => "dual numbers",
            Self::Oracle => "oracle",
            Self::Zeros => "zeros",
            Self::Convention => "convention",
            Self::TieSum => "tie sum",
            Self::NanTravels => "NaN travels",
            Self::EqualBits => "equal bits",
            Self::State => "state",
            Self::Targets => "targets",
            Self::Extremes => "extremes",
        }
    }
}

impl fmt::Display for Clause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// All comparisons made for one clause with one arithmetic.
#[derive(Clone, PartialEq, Debug)]
pub struct Outcome {
    /// The clause.
    pub clause: Clause,
    /// The instruction set of the f32 kernels; none for f64 and dual numbers.
    pub isa: Option<Isa>,
    /// Number of comparisons.
    pub checks: usize,
    /// The largest error found, NaN if one was NaN. What it is relative to, the clause says.
    pub worst: f64,
    /// The error that comparison was allowed.
    pub limit: f64,
}

/// One comparison that failed.
#[derive(Clone, PartialEq, Debug)]
pub struct Failure {
    /// The clause it was made for.
    pub clause: Clause,
    /// The instruction set; none for f64 and dual numbers.
    pub isa: Option<Isa>,
    /// What was compared, expected and found.
    pub detail: String,
}

/// What [`check_layer`](super::check_layer) or [`check_loss`](super::check_loss) found.
#[derive(Clone, PartialEq, Debug)]
pub struct Report {
    /// The layer's spec, or the loss.
    pub layer: String,
    /// Its input shape.
    pub input: Shape,
    /// One entry for each clause and instruction set that was checked.
    pub outcomes: Vec<Outcome>,
    /// What failed: of each clause and instruction set the first few.
    pub failures: Vec<Failure>,
}

impl Report {
    /// Failures kept for each clause and instruction set.
    const KEPT: usize = 2;

    pub(super) fn new(layer: String, input: Shape) -> Self {
        Self { layer, input, outcomes: Vec::new(), failures: Vec::new() }
    }

    /// Whether nothing failed.
    pub fn passed(&self) -> bool {
        self.failures.is_empty()
    }

    /// Panics with the list of failures, if there is one.
    ///
    /// # Panics
    /// If anything failed.
    #[track_caller]
    pub fn assert(&self) {
        assert!(self.passed(), "{self}");
    }

    /// Number of comparisons made.
    pub fn checks(&self) -> usize {
        self.outcomes.iter().map(|outcome| outcome.checks).sum()
    }

    /// The clauses that failed, each once.
    pub fn failed_clauses(&self) -> Vec<Clause> {
        let mut clauses = Vec::new();
        for failure in &self.failures {
            if !clauses.contains(&failure.clause) {
                clauses.push(failure.clause);
            }
        }
        clauses
    }

    /// The largest error of a clause over all instruction sets; none if it was not checked.
    pub fn worst(&self, clause: Clause) -> Option<f64> {
        let errors =
            self.outcomes.iter().filter(|outcome| outcome.clause == clause).map(|outcome| outcome.worst);
        errors.reduce(larger)
    }

    /// Takes note of one comparison: it holds when `error <= limit`.
    pub(super) fn record(
        &mut self,
        clause: Clause,
        isa: Option<Isa>,
        error: f64,
        limit: f64,
        detail: impl FnOnce() -> String,
    ) {
        let known = self.outcomes.iter().position(|outcome| outcome.clause == clause && outcome.isa == isa);
        let index = known.unwrap_or_else(|| {
            self.outcomes.push(Outcome { clause, isa, checks: 0, worst: 0.0, limit });
            self.outcomes.len() - 1
        });
        let outcome = &mut self.outcomes[index];
        outcome.checks += 1;
        let larger = larger(outcome.worst, error);
        if larger.to_bits() != outcome.worst.to_bits() {
            (outcome.worst, outcome.limit) = (error, limit);
        }
        if error > limit || error.is_nan() {
            self.fail(clause, isa, detail());
        }
    }

    pub(super) fn fail(&mut self, clause: Clause, isa: Option<Isa>, detail: String) {
        let alike = self.failures.iter().filter(|failure| failure.clause == clause && failure.isa == isa);
        if alike.count() < Self::KEPT {
            self.failures.push(Failure { clause, isa, detail });
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}: {} checks, ", self.layer, self.input, self.checks())?;
        if self.passed() {
            return write!(f, "all passed");
        }
        write!(f, "failed:")?;
        for Failure { clause, isa, detail } in &self.failures {
            let isa = isa.map_or(String::new(), |isa| format!(" ({isa})"));
            write!(f, "\n  {clause}{isa}: {detail}")?;
        }
        Ok(())
    }
}

/// Runs the check of a clause; a panic inside it becomes a failure of that clause.
pub(super) fn guarded(report: &mut Report, clause: Clause, check: impl FnOnce(&mut Report)) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| check(&mut *report))) {
        let text =
            panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        report.fail(clause, None, format!("panicked: {}", text.unwrap_or("with no message")));
    }
}

/// The larger of two errors, where NaN is larger than all.
fn larger(a: f64, b: f64) -> f64 {
    if a.is_nan() || a > b { a } else { b }
}
