//! How good the network is: the figures at the top, curves, confusion, classes.

use byhand_layers::Network;
use maud::{Markup, html};

use super::{class_name, layers, percent};
use crate::{
    chart::{Axis, Chart, Curve},
    run::{Epoch, Run},
    statistics::{class_figures, grouped, wilson},
};

/// More classes than these are no table that anyone reads.
const MATRIX: usize = 32;
/// Rows of a list.
const LISTED: usize = 100;

pub(super) fn summary(run: &Run<'_>, network: &Network<f32>) -> Markup {
    let confusion = &run.evaluation.confusion;
    let [low, high] = wilson(confusion.correct(), confusion.samples());
    let seconds: Option<f64> = run.history.iter().map(|epoch| epoch.seconds).sum();
    let figure = |value: String, name: String| html! { div { b { (value) } span { (name) } } };
    html! {
        @if let Some(warning) = &run.warning { p.alert { (warning) } }
        div.figures {
            (figure(percent(run.evaluation.accuracy()), format!("test accuracy (95 %: {:.2} to {:.2} %)", 100.0 * low, 100.0 * high)))
            (figure(format!("{:.4}", run.evaluation.loss), "test loss".into()))
            (figure(grouped((confusion.samples() - confusion.correct()) as usize),
                format!("mistakes on {} images", grouped(run.evaluation.samples))))
            (figure(grouped(network.parameters()), "parameters".into()))
            @if let Some(epoch) = run.history.last() {
                (figure(epoch.epoch.to_string(), if epoch.epoch == 1 { "epoch".into() } else { "epochs".into() }))
            }
            @if let (Some(seconds), false) = (seconds, run.history.is_empty()) {
                (figure(format!("{seconds:.2} s"), "of training".into()))
            }
        }
        p { code { (layers(network)) } " on " (run.model.input) ", " (run.test.name()) }
    }
}

pub(super) fn curves(run: &Run<'_>) -> Markup {
    let curve = |name: &str, of: &dyn Fn(&Epoch) -> Option<f64>| -> Curve {
        let points = run.history.iter().filter_map(|epoch| Some([epoch.epoch as f64, of(epoch)?]));
        (name.to_string(), points.collect())
    };
    let chart = |title: &str, text: fn(f64) -> String, series: Vec<Curve>| {
        let (x, y) = (Axis::linear("epoch", whole), Axis::linear("", text));
        Chart { title: title.into(), x, y, series }.part()
    };
    let loss = chart(
        "Loss",
        short,
        vec![
            curve("training", &|epoch| epoch.train_loss),
            curve("validation", &|epoch| epoch.validation_loss),
            curve("test", &|epoch| epoch.test_loss),
        ],
    );
    let accuracy = chart(
        "Accuracy",
        |share| format!("{} %", short(100.0 * share)),
        vec![
            curve("training", &|epoch| epoch.train_accuracy),
            curve("validation", &|epoch| epoch.validation_accuracy),
            curve("test", &|epoch| epoch.test_accuracy),
        ],
    );
    html! {
        @if loss.is_none() && accuracy.is_none() { p { "No epoch is recorded." } }
        @else { p.note {
            "Training figures are those met while training, each with the weights of its step, of the loss that is trained for: with label \
             smoothing, weights of the classes and mixup, where they were asked for. The other losses are without."
        } }
        div.row {
            @for chart in [loss, accuracy].into_iter().flatten() { figure { (chart) } }
        }
    }
}

/// An epoch between two is none.
pub(crate) fn whole(x: f64) -> String {
    if (x - x.round()).abs() < 1e-9 { format!("{}", x.round()) } else { String::new() }
}

/// A number with as many places as it needs, at most four.
pub(crate) fn short(x: f64) -> String {
    format!("{}", (1e4 * x).round() / 1e4)
}

pub(super) fn confusion(run: &Run<'_>) -> Markup {
    let counts = run.evaluation.confusion.counts();
    let classes = counts.nrows();
    if classes == 0 {
        return html! { p { "There are no classes." } };
    }
    let name = |class| class_name(run.model, class);
    // What is wrong is shown among what is wrong: the diagonal would drown it.
    let most = counts.indexed_iter().filter(|((t, p), _)| t != p).map(|(_, n)| *n).max().unwrap_or(0).max(1);
    let mut pairs: Vec<((usize, usize), u64)> =
        counts.indexed_iter().filter(|((t, p), n)| t != p && **n > 0).map(|(at, n)| (at, *n)).collect();
    pairs.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    let tint = |t: usize, p: usize, n: u64| {
        let colour = if t == p { "var(--c2)" } else { "var(--c1)" };
        let share = if t == p {
            n as f64 / counts.row(t).sum().max(1) as f64 * 0.45
        } else {
            0.75 * n as f64 / most as f64
        };
        format!("background:color-mix(in srgb,{colour} {:.0}%,transparent)", 100.0 * share)
    };
    html! {
        @if classes <= MATRIX {
            p.note { "A row per true class, a column per answer." }
            div.wide {
                table #confusion-matrix {
                    tr { th { "true \\ said" } @for p in 0..classes { th.m title=(name(p)) { (name(p)) } } }
                    @for t in 0..classes {
                        tr {
                            th { (name(t)) }
                            @for p in 0..classes { td.m style=[(counts[[t, p]] > 0).then(|| tint(t, p, counts[[t, p]]))] { (counts[[t, p]]) } }
                        }
                    }
                }
            }
        }
        @if let Some(&((t, p), n)) = pairs.first() {
            p { "Most often confused: " b { (name(t)) } " taken for " b { (name(p)) } ", " (n) " of " (counts.row(t).sum()) "." }
        } @else { p { "Nothing is confused." } }
        @if classes > MATRIX {
            table {
                tr { th { "true" } th { "taken for" } th.n { "images" } }
                @for &((t, p), n) in pairs.iter().take(LISTED) { tr { td { (name(t)) } td { (name(p)) } td.n { (n) } } }
            }
            @if pairs.len() > LISTED { p.note { "The first " (LISTED) " of " (pairs.len()) " pairs." } }
        }
    }
}

pub(super) fn classes(run: &Run<'_>) -> Markup {
    let mut figures: Vec<_> = class_figures(&run.evaluation.confusion).into_iter().enumerate().collect();
    let all = figures.len();
    if all > LISTED {
        figures.sort_by(|a, b| a.1.f1.unwrap_or(2.0).total_cmp(&b.1.f1.unwrap_or(2.0)));
    }
    let shown = |share: Option<f64>| share.map_or("-".to_string(), percent);
    html! {
        @if all > LISTED { p.note { "The " (LISTED) " classes with the lowest F1, of " (all) "." } }
        div.wide {
            table.small #class-figures {
                tr { th { "class" } th.n { "images" } th.n { "precision" } th.n { "recall" } th.n { "95 % interval of recall" } th.n { "F1" } }
                @for (class, figures) in figures.iter().take(LISTED) {
                    @let [low, high] = wilson(figures.recognised, figures.samples);
                    tr {
                        td { (class_name(run.model, *class)) }
                        td.n { (figures.samples) }
                        td.n { (shown(figures.precision)) }
                        td.n { (shown(figures.recall)) }
                        td.n.breaks { @if figures.samples > 0 { (format!("{:.1} to {:.1}\u{a0}%", 100.0 * low, 100.0 * high)) } @else { "-" } }
                        td.n { (shown(figures.f1)) }
                    }
                }
            }
        }
        p.note {
            "Precision: of what was taken for the class, the share that is of it. Recall: of the class, the share that was recognised. F1: their "
            "harmonic mean. Intervals are Wilson's."
        }
    }
}
