//! The report of a run: one page, a section for each question.

mod cost;
mod looks;
mod scores;
mod spreads;

pub use looks::filter_sheet;
pub(crate) use scores::{short, whole};

use byhand_layers::Network;
use byhand_models::{Model, ModelError};
use maud::{Markup, html};

use crate::{page, run::Run};

/// The page. A `live` one loads itself anew when the address `events` says so.
///
/// # Errors
/// When the model does not fit itself or the images.
///
/// # Panics
/// If there is not one prediction for each sample.
#[track_caller]
pub fn report(run: &Run<'_>, live: bool) -> Result<String, ModelError> {
    assert_eq!(run.predictions.len(), run.test.len(), "report: predictions and samples");
    let network = run.model.network()?;
    let sections: Vec<(&str, &str, Markup)> = vec![
        ("curves", "Learning curves", scores::curves(run)),
        ("confusion", "Confusion", scores::confusion(run)),
        ("classes", "Classes", scores::classes(run)),
        ("mistakes", "Worst mistakes", looks::mistakes(run, &network)?),
        ("filters", "First filters", looks::filters(run, &network)),
        ("activations", "One image through the layers", looks::activations(run, &network)),
        ("weights", "Weights and gradients over time", spreads::spreads(run)),
        ("time", "Time per layer", cost::times(run)),
        ("settings", "Settings", settings(run)),
        ("repeat", "To repeat it", repeat(run)),
    ];
    let body = html! {
        (scores::summary(run, &network))
        nav { @for (id, title, _) in &sections { a href={ "#" (id) } { (title) } } }
        @for (id, title, section) in &sections {
            section id=(id) { h2 { (title) } (section) }
        }
    };
    Ok(page(&format!("byhand: {}", run.name), live, body))
}

fn settings(run: &Run<'_>) -> Markup {
    html! {
        div.wide {
            table.free {
                @for (name, value) in run.settings { tr { th { (name) } td { code { (value) } } } }
                @if run.settings.is_empty() { tr { td { "None are recorded." } } }
            }
        }
    }
}

fn repeat(run: &Run<'_>) -> Markup {
    html! {
        p { "The same command gives the same weights, bit for bit, on any number of threads:" }
        pre { code { (run.again) } }
        div.wide {
            table.free {
                tr { th { "SHA-256 of the weights" } td { code id="weights-sha256" { (run.model.weights_sha256()) } } }
                @for (name, value) in run.facts { tr { th { (name) } td { (value) } } }
            }
        }
    }
}

/// The name of a class.
fn class_name(model: &Model, class: usize) -> &str {
    model.class_names.get(class).map_or("?", String::as_str)
}

fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

fn bytes(n: usize) -> String {
    match n {
        0..1024 => format!("{n} B"),
        1024..1_048_576 => format!("{:.1} KiB", n as f64 / 1024.0),
        _ => format!("{:.1} MiB", n as f64 / 1_048_576.0),
    }
}

/// The layers' specs in a row.
fn layers(network: &Network<f32>) -> String {
    network.layers().iter().map(|layer| layer.spec()).collect::<Vec<_>>().join(" ")
}
