//! Runs beside each other: what differs in their settings, their curves, McNemar's test, and the pictures on which they differ.

use std::collections::{BTreeMap, BTreeSet};

use byhand_datasets::Dataset;
use byhand_trainer::Prediction;
use maud::{Markup, html};

use crate::{
    chart::{Axis, Chart},
    page,
    page::numbers,
    picture,
    run::Epoch,
    statistics::{mcnemar, wilson},
};

/// Pictures of each kind.
const PICTURES: usize = 24;

/// One of the runs.
#[derive(Debug, Clone)]
pub struct Compared<'a> {
    /// What it is called.
    pub name: String,
    /// Settings, by the names of their options, and what else is worth a look.
    pub settings: &'a BTreeMap<String, String>,
    /// Its epochs.
    pub history: &'a [Epoch],
    /// What its outputs stand for.
    pub class_names: &'a [String],
    /// What it was evaluated on.
    pub test: &'a Dataset,
    /// What it says of each of these.
    pub predictions: &'a [Prediction],
    /// Its mean loss on them.
    pub loss: f64,
}

impl Compared<'_> {
    fn is_right(&self, sample: usize) -> bool {
        self.predictions[sample].class == self.test.labels()[sample]
    }

    /// Samples classified correctly.
    pub fn correct(&self) -> u64 {
        (0..self.predictions.len()).filter(|&sample| self.is_right(sample)).count() as u64
    }

    /// Whether another run was evaluated on the same samples in the same order.
    fn meets(&self, other: &Compared<'_>) -> bool {
        let pixels = |run: &Compared<'_>| (run.test.channels(), run.test.image_size());
        self.test.labels() == other.test.labels()
            && self.class_names == other.class_names
            // Images of one size are the same ones, or the labels agree by chance.
            && (pixels(self) != pixels(other) || self.test.images() == other.test.images())
    }
}

/// What is found of two of the runs, by their places.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// The first run.
    pub a: usize,
    /// The second run.
    pub b: usize,
    /// Samples that both have right, only the first, only the second, neither.
    pub counts: [u64; 4],
    /// The probability of such a difference between equally good classifiers: see [`mcnemar`].
    pub p: f64,
}

/// Compares every pair of runs that were evaluated on the same samples.
pub fn pairs(runs: &[Compared<'_>]) -> Vec<Comparison> {
    let mut all = Vec::new();
    for (b, second) in runs.iter().enumerate() {
        for (a, first) in runs[..b].iter().enumerate().filter(|(_, first)| first.meets(second)) {
            let mut counts = [0; 4];
            for sample in 0..first.predictions.len() {
                counts[2 * usize::from(!first.is_right(sample)) + usize::from(!second.is_right(sample))] += 1;
            }
            all.push(Comparison { a, b, counts, p: mcnemar(counts[1], counts[2]) });
        }
    }
    all
}

/// The settings in which runs differ: the name, and each run's value.
pub fn differences(runs: &[Compared<'_>]) -> Vec<(String, Vec<String>)> {
    let names: BTreeSet<&String> = runs.iter().flat_map(|run| run.settings.keys()).collect();
    let values = |name: &String| {
        runs.iter().map(|run| run.settings.get(name).map_or("none".to_string(), String::clone)).collect()
    };
    let all = names.into_iter().map(|name| (name.clone(), values(name)));
    all.filter(|(_, values): &(String, Vec<String>)| values.windows(2).any(|pair| pair[0] != pair[1]))
        .collect()
}

/// The page.
pub fn compare(runs: &[Compared<'_>]) -> String {
    let body = html! {
        nav { a href="#figures" { "Figures" } a href="#settings" { "Settings" } a href="#curves" { "Curves" } a href="#differences" { "Differences" } }
        section id="figures" { h2 { "Figures" } (figures(runs)) }
        section id="settings" { h2 { "What differs in their settings" } (settings(runs)) }
        section id="curves" { h2 { "Learning curves" } (curves(runs)) }
        section id="differences" { h2 { "On what they differ" } (pictures(runs)) }
    };
    page(&format!("byhand: {} runs beside each other", runs.len()), false, body)
}

/// How a probability is written: small ones are just small.
pub fn probability(p: f64) -> String {
    if p < 0.001 { "p < 0.001".into() } else { format!("p = {p:.3}") }
}

/// What is said of each run in numbers.
const FIGURES: [&str; 6] = ["test accuracy", "95 % interval", "test loss", "images", "epochs", "seconds"];

fn figures(runs: &[Compared<'_>]) -> Markup {
    html! {
        div.wide {
            table.stack {
                tr {
                    th { "run" }
                    @for head in FIGURES { th.n { (head) } }
                }
                @for run in runs {
                    @let (correct, n) = (run.correct(), run.predictions.len() as u64);
                    @let [low, high] = wilson(correct, n);
                    @let seconds: Option<f64> = run.history.iter().map(|epoch| epoch.seconds).sum();
                    tr {
                        td { (run.name) }
                        (numbers(FIGURES, [
                            format!("{:.2} %", 100.0 * correct as f64 / n as f64),
                            format!("{:.2} to {:.2} %", 100.0 * low, 100.0 * high),
                            format!("{:.4}", run.loss),
                            n.to_string(),
                            run.history.last().map_or("-".to_string(), |epoch| epoch.epoch.to_string()),
                            seconds.filter(|_| !run.history.is_empty()).map_or("-".to_string(), |seconds| format!("{seconds:.2}")),
                        ]))
                    }
                }
            }
        }
    }
}

fn settings(runs: &[Compared<'_>]) -> Markup {
    let differences = differences(runs);
    html! {
        @if differences.is_empty() { p { "Nothing." } }
        @else {
            div.wide {
                table.free {
                    tr { th { "setting" } @for run in runs { th { (run.name) } } }
                    @for (name, values) in &differences { tr { th { (name) } @for value in values { td { code { (value) } } } } }
                }
            }
        }
    }
}

fn curves(runs: &[Compared<'_>]) -> Markup {
    let chart = |title: &str, text: fn(f64) -> String, of: fn(&Epoch) -> Option<f64>| {
        let series = runs.iter().map(|run| {
            let points = run.history.iter().filter_map(|epoch| Some([epoch.epoch as f64, of(epoch)?]));
            (run.name.clone(), points.collect())
        });
        Chart {
            title: title.into(),
            x: Axis::linear("epoch", crate::report::whole),
            y: Axis::linear("", text),
            series: series.collect(),
        }
        .part()
    };
    let percent: fn(f64) -> String = |share| format!("{} %", crate::report::short(100.0 * share));
    let charts = [
        chart("Training loss", crate::report::short, |epoch| epoch.train_loss),
        chart("Loss after each epoch, test or validation", crate::report::short, |epoch| {
            epoch.validation_loss.or(epoch.test_loss)
        }),
        chart("Training accuracy", percent, |epoch| epoch.train_accuracy),
        chart("Accuracy after each epoch, test or validation", percent, |epoch| {
            epoch.validation_accuracy.or(epoch.test_accuracy)
        }),
    ];
    html! {
        @if charts.iter().all(Option::is_none) { p { "No epoch is recorded." } }
        div.row { @for chart in charts.into_iter().flatten() { figure { (chart) } } }
    }
}

fn pictures(runs: &[Compared<'_>]) -> Markup {
    let pairs = pairs(runs);
    html! {
        @if pairs.is_empty() {
            p { "No two of these runs were evaluated on the same test images with the same classes, so their answers cannot be compared one by one." }
        }
        @for pair in &pairs {
            @let (a, b) = (&runs[pair.a], &runs[pair.b]);
            @let [both, only_a, only_b, neither] = pair.counts;
            h3 { (a.name) " and " (b.name) }
            table {
                tr { th {} th.n { (b.name) " right" } th.n { (b.name) " wrong" } }
                tr { th { (a.name) " right" } td.n { (both) } td.n { (only_a) } }
                tr { th { (a.name) " wrong" } td.n { (only_b) } td.n { (neither) } }
            }
            p {
                "McNemar's exact test: " (probability(pair.p)) ". "
                @if pair.p < 0.05 { "Two equally good networks would differ so much in fewer than one of twenty cases." }
                @else { "Two equally good networks would differ as much quite often: these images do not tell which one is better." }
            }
            @for (right, wrong) in [(a, b), (b, a)] { (only(right, wrong)) }
        }
    }
}

/// What just one of two has right, the surest mistakes of the other first.
fn only(right: &Compared<'_>, wrong: &Compared<'_>) -> Markup {
    let mut samples: Vec<usize> = (0..right.predictions.len())
        .filter(|&sample| right.is_right(sample) && !wrong.is_right(sample))
        .collect();
    let all = samples.len();
    samples.sort_by(|&i, &j| {
        wrong.predictions[i].of_truth.total_cmp(&wrong.predictions[j].of_truth).then(i.cmp(&j))
    });
    samples.truncate(PICTURES);
    let name = |class: u16| wrong.class_names.get(usize::from(class)).map_or("?", String::as_str);
    html! {
        @if all > 0 {
            h3 { "Only " (right.name) " has right: " (all) }
            div.cards.small {
                @for &sample in &samples {
                    @let pixels = wrong.test.image(sample);
                    @let (_, h, w) = pixels.dim();
                    figure {
                        (picture::image(pixels, (96 / h.max(w)).max(1), &format!("image {sample}")))
                        figcaption {
                            "image " (sample) ": " b { (name(wrong.test.labels()[sample])) }
                            ", " (wrong.name) " says " b { (name(wrong.predictions[sample].class)) }
                            (format!(" ({:.1}\u{a0}%)", 100.0 * wrong.predictions[sample].probability))
                        }
                    }
                }
            }
            @if all > samples.len() { p.note { "The first " (samples.len()) "." } }
        }
    }
}
