//! The table of `gradcheck`: one row a layer and instruction set.

use anyhow::{Result, bail};
use byhand_layers::{
    Isa,
    check::{self, Clause, Report},
    loss::{NegativeLogLikelihood, SoftmaxCrossEntropy, SquaredError, Weighting},
};
use comfy_table::CellAlignment::{Left, Right};
use serde_json::json;

use super::Options;
use crate::{exit::usage, output::Output};

const COLUMNS: [(&str, Clause); 5] = [
    ("adjoint", Clause::Adjoint),
    ("central", Clause::CentralDifference),
    ("four-point", Clause::FourPointDifference),
    ("dual", Clause::DualNumbers),
    ("oracle", Clause::Oracle),
];

/// Checks everything; fails when a clause does.
pub fn run(options: &Options, output: &Output) -> Result<()> {
    let isas = Isa::available();
    let names: Vec<&str> = isas.iter().map(|isa| isa.name()).collect();
    output.note(format!("gradcheck on {}, seed {}", names.join(", "), options.seed.seed));

    let settings =
        check::Options { seed: options.seed.seed, isas: isas.clone(), ..check::Options::default() };
    let wanted = |name: &str| options.only.as_ref().is_none_or(|only| name.contains(only.as_str()));
    let mut total = Total::default();
    let layers = check::catalogue();
    let bar = output.bar(layers.len() as u64, "{bar:30} {pos}/{len} layers  {msg}");
    for layer in layers {
        bar.inc(1);
        if wanted(&layer.spec()) {
            bar.set_message(layer.spec());
            total.add(&check::check_layer(layer.as_ref(), &settings), &isas, output);
        }
    }
    let smoothed = SoftmaxCrossEntropy { label_smoothing: 0.1, ..Default::default() };
    let weights = (1..=10).map(f64::from).collect();
    let weighting = Weighting { classes: weights, ignore: Some(10) };
    let weighted = SoftmaxCrossEntropy { weighting, ..smoothed.clone() };
    for (name, report) in [
        ("cross-entropy", check::check_loss(&SoftmaxCrossEntropy::default(), 10, &settings)),
        ("smoothed cross-entropy", check::check_loss(&smoothed, 10, &settings)),
        ("weighted cross-entropy", check::check_loss(&weighted, 10, &settings)),
        ("negative log-likelihood", check::check_loss(&NegativeLogLikelihood::default(), 10, &settings)),
        ("squared error", check::check_loss(&SquaredError, 10, &settings)),
    ] {
        if wanted(name) {
            total.add(&Report { layer: name.to_string(), ..report }, &isas, output);
        }
    }
    bar.finish_and_clear();
    if total.reports == 0 {
        let only = options.only.as_deref().unwrap_or_default();
        return Err(usage(format!(
            "no layer's spec contains '{only}'; expected a part of one, such as conv or pad=1"
        )));
    }
    let columns = [("layer", Left), ("input", Right), ("isa", Left), ("checks", Right)];
    let proofs = COLUMNS.map(|(name, _)| (name, Right));
    output.table(columns.into_iter().chain(proofs).chain([("", Left)]), total.rows);
    total.told.iter().for_each(|failure| output.print(failure));
    output
        .result(json!({"configurations": total.reports, "checks": total.checks, "failures": total.failures,
        "isas": names}));
    if total.failures > 0 {
        bail!("{} of {} configurations break the layer contract", total.failed, total.reports);
    }
    output.print(format!("{} configurations, {} checks: all hold", total.reports, total.checks));
    Ok(())
}

/// The instruction set of the f32 kernels; proofs in f64 and dual numbers have none.
fn arithmetic(isa: Option<Isa>) -> &'static str {
    isa.map_or("f64", Isa::name)
}

#[derive(Default)]
struct Total {
    reports: usize,
    checks: usize,
    failed: usize,
    failures: usize,
    rows: Vec<Vec<String>>,
    /// The failures in words.
    told: Vec<String>,
}

impl Total {
    /// Adds a report: one row an instruction set.
    fn add(&mut self, report: &Report, isas: &[Isa], output: &Output) {
        self.reports += 1;
        self.checks += report.checks();
        self.failed += usize::from(!report.passed());
        self.failures += report.failures.len();
        for isa in isas.iter().copied().map(Some).chain([None]) {
            let here: Vec<_> = report.outcomes.iter().filter(|outcome| outcome.isa == isa).collect();
            if here.is_empty() {
                continue;
            }
            let checks: usize = here.iter().map(|outcome| outcome.checks).sum();
            let worst =
                COLUMNS.map(|(_, clause)| match here.iter().find(|outcome| outcome.clause == clause) {
                    Some(outcome) if outcome.worst == 0.0 => "0".to_string(),
                    Some(outcome) => format!("{:.1e}", outcome.worst),
                    None => "-".to_string(),
                });
            let is_broken = report.failures.iter().any(|failure| failure.isa == isa);
            let verdict = if is_broken { "FAILED" } else { "" };
            let row =
                [report.layer.clone(), report.input.to_string(), arithmetic(isa).into(), checks.to_string()];
            self.rows.push(row.into_iter().chain(worst).chain([verdict.into()]).collect());
            for outcome in here {
                output.event(
                    "check",
                    json!({"layer": report.layer, "input": report.input.to_string(), "isa": arithmetic(isa),
                        "clause": outcome.clause.name(), "checks": outcome.checks, "worst": outcome.worst,
                        "limit": outcome.limit}),
                );
            }
        }
        for failure in &report.failures {
            let (clause, arithmetic) = (failure.clause.name(), arithmetic(failure.isa));
            self.told.push(format!("{}: {clause} on {arithmetic}: {}", report.layer, failure.detail));
            output.event(
                "failure",
                json!({"layer": report.layer, "input": report.input.to_string(), "isa": arithmetic,
                    "clause": clause, "detail": failure.detail}),
            );
        }
    }
}
