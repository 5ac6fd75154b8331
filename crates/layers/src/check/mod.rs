//! Proofs: [`check_layer`] and [`check_loss`] test every clause of the contract, on every instruction set.
//!
//! ```
//! use byhand_layers::check::{Options, check_layer};
//! use byhand_layers::{MaxPool2d, Shape};
//! let pool = MaxPool2d::new(Shape::new(2, 5, 7), [3, 2], [2, 2])?;
//! let report = check_layer(&pool, &Options::quick());
//! assert!(report.passed(), "{report}");
//! # Ok::<(), byhand_layers::LayerError>(())
//! ```
//!
//! Three independent proofs of a gradient, none with a tolerance that was tuned by hand:
//!
//! * **Exact adjoint**, for layers that are linear in `x` and in `theta`: on integers from -3 to 3 f32 arithmetic does not round,
//!   so `<dy, f(x)> = <dx, x>` and `<dy, f(theta)> = <dtheta, theta>` hold with tolerance zero, on the production kernels.
//! * **Differences in f64**, `sum of dy * (y(+h) - y(-h)) / 2h` against the gradient, with random signed `dy` (never ones: ones
//!   hide transposed gradients): central to 1e-7, four-point to 1e-9.
//! * **Dual numbers**: the same derivative without a difference, to 1e-12.
//!
//! And f32 is held against the same layer in f64 with the a-priori bound of Higham, "Accuracy and stability of numerical
//! algorithms", 2002, section 3.1: a sum of `n` products errs by at most `gamma(n) * sum |a||b|`, `gamma(n) = n*u / (1 - n*u)`,
//! `u = 2^-24`, in any order of summation, with or without fused multiply-add.

mod catalogue;
mod clauses;
mod compare;
mod gradients;
mod losses;
mod report;
mod run;
mod state;

pub use catalogue::catalogue;
pub use losses::check_loss;
pub use report::{Clause, Failure, Outcome, Report};

use crate::contract::Layer;
use byhand_tensor::{Block, Dual, Isa};
use report::guarded;

/// A layer that can be proved: one that computes with f32, f64 and dual numbers.
pub trait Checked: Layer<f32> + Layer<f64> + Layer<Dual> {}

impl<L: Layer<f32> + Layer<f64> + Layer<Dual> + ?Sized> Checked for L {}

/// What to check with.
#[derive(Clone, PartialEq, Debug)]
pub struct Options {
    /// Seed of all random inputs.
    pub seed: u64,
    /// Numbers of samples; each is tried in both layouts.
    pub samples: Vec<usize>,
    /// Instruction sets for the f32 kernels.
    pub isas: Vec<Isa>,
}

impl Options {
    /// Fewer numbers of samples: for a look in passing.
    pub fn quick() -> Self {
        Self { samples: vec![1, 2, 17], ..Self::default() }
    }

    /// Runs `check` for every instruction set and block, on that instruction set.
    fn each(&self, mut check: impl FnMut(Isa, Block)) {
        for &isa in &self.isas {
            for block in self.blocks() {
                isa.with(|| check(isa, block));
            }
        }
    }

    /// Every number of samples in both layouts.
    fn blocks(&self) -> impl Iterator<Item = Block> + '_ {
        self.samples.iter().flat_map(|&samples| [Block::tiled(samples), Block::single(samples)])
    }
}

impl Default for Options {
    /// Around half, one and two tiles (1, 2, 5, 8, 16, 17, 33 samples), on every instruction set this machine has.
    fn default() -> Self {
        Self { seed: 1, samples: vec![1, 2, 5, 8, 16, 17, 33], isas: Isa::available() }
    }
}

/// Tests every clause of the contract on `layer`. A panic of the layer is a failure of the clause it happened in.
pub fn check_layer(layer: &dyn Checked, options: &Options) -> Report {
    let mut report = Report::new(layer.spec(), layer.input());
    for (clause, check) in clauses::all() {
        guarded(&mut report, clause, |report| check(layer, options, report));
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LAYERS;

    #[test]
    fn the_catalogue_has_every_layer_and_no_other() {
        let listed: Vec<&str> = catalogue().iter().map(|layer| layer.name()).collect();
        for name in LAYERS {
            assert!(listed.contains(name), "no configuration of {name}");
        }
        for name in listed {
            assert!(LAYERS.contains(&name), "{name} is not in the registry");
        }
    }

    #[test]
    fn every_clause_is_checked_on_some_layer() {
        let reports: Vec<Report> =
            catalogue().iter().map(|layer| check_layer(&**layer, &Options::quick())).collect();
        for report in &reports {
            report.assert();
        }
        // Where no two instruction sets fuse there is nothing to compare.
        let fused = Isa::available().into_iter().filter(|isa| isa.is_fused()).count();
        for clause in Clause::OF_LAYERS.into_iter().filter(|clause| *clause != Clause::EqualBits || fused > 1)
        {
            let checks =
                reports.iter().flat_map(|report| &report.outcomes).filter(|outcome| outcome.clause == clause);
            assert!(checks.map(|outcome| outcome.checks).sum::<usize>() > 0, "{clause} was never checked");
        }
    }
}
