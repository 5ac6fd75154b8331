//! The report: one HTML page with curves and pictures, and nothing to load from anywhere.

use anyhow::Result;
use byhand_layers::Shape;
use byhand_museum::PIECES;
use byhand_report::{
    chart::{Axis, Chart, Curve},
    page as framed,
    picture::map as picture,
};
use maud::{Markup, html};

use super::{
    experiment::{Outcome, Part, Prepared},
    maps::{first_pool, maps, pool_gradient},
    notebook::{Notebook, Version},
    table::{Table, metric},
};

/// A version that was trained, its run with seed 1, its data.
type First<'a> = (&'a Version, &'a Outcome, Option<&'a Part>);

/// The page.
pub fn page(tables: &[Table], prepared: &[Vec<Prepared>]) -> Result<String> {
    let systems: Vec<Markup> =
        tables.iter().zip(prepared).map(|(table, data)| system(table, data)).collect::<Result<_>>()?;
    let body = html! {
        p {
            "Pictures are of seed 1. In maps and filters the smallest number is black and the largest white, each picture for "
            "itself."
        }
        @for system in systems { (system) }
    };
    Ok(framed("The notebooks, as written and repaired", false, body))
}

fn system(Table { notebook, outcomes }: &Table, prepared: &[Prepared]) -> Result<Markup> {
    let Notebook { about, versions } = notebook;
    let first: Vec<First<'_>> = (versions.iter().zip(outcomes).zip(prepared))
        .filter_map(|((version, outcomes), data)| Some((version, outcomes.first()?, data.as_deref())))
        .collect();
    let with_gradient = shows_pool_gradient(&first);
    let pictures: Vec<(&str, Markup)> = first
        .iter()
        .map(|first| Ok((first.0.name.as_str(), pictures(first, with_gradient)?)))
        .collect::<Result<_>>()?;
    Ok(html! {
        section {
            h2 { (about.system) ". " (about.title) }
            div.wide {
                table.stack.pairs {
                    tr { th { "version" } th { "figure" } th { "seeds" } th { "printed" } th { "layers" } }
                    @for (version, outcomes) in versions.iter().zip(outcomes) {
                        tr {
                            td { (version.name) }
                            td data-head="figure" { (figure(version, outcomes)) }
                            td data-head="seeds" { (outcomes.len()) }
                            td data-head="printed" { (notebook.printed_of(version).map_or("-".to_string(), |figure| figure.to_string())) }
                            td.all data-head="layers" { code { (version.recipe.layers) } " " (version.note.as_deref().unwrap_or_default()) }
                        }
                    }
                }
            }
            (wrong_lines(versions))
            @if let Some(curves) = curves(&first) { (curves) }
            div.row {
                @for (name, pictures) in pictures.iter().filter(|(_, pictures)| !pictures.0.is_empty()) {
                    figure { h3 { (name) } (pictures) }
                }
            }
        }
    })
}

fn figure(version: &Version, outcomes: &[Outcome]) -> String {
    let (mean, std) = metric(outcomes);
    let spread = if outcomes.len() > 1 { format!(" ± {std:.4}") } else { String::new() };
    format!("{} {mean:.4}{spread}", version.metric.name())
}

/// What was wrong in the versions of a system, in the museum's words.
fn wrong_lines(versions: &[Version]) -> Markup {
    let names = |version: &'_ Version| {
        let layers = version.wrong.iter().map(|wrong| wrong.piece.clone());
        layers.chain(version.wrong_loss.clone()).collect::<Vec<String>>()
    };
    let named: Vec<String> = versions.iter().flat_map(names).collect();
    let mut pieces = PIECES.iter().filter(|piece| named.iter().any(|name| name == piece.name)).peekable();
    html! {
        @if pieces.peek().is_some() {
            p { "What is wrong as written:" }
            ul {
                @for piece in pieces {
                    li { b { (piece.name) } ": " (piece.mistake) br; i { (piece.symptom) } }
                }
            }
        }
    }
}

/// The pictures of a version: filters, feature maps, the gradient of its pool.
fn pictures(&(version, outcome, part): &First<'_>, with_gradient: bool) -> Result<Markup> {
    let pool = first_pool(&outcome.network);
    let features =
        part.filter(|_| pool.is_some()).map(|part| features(version, outcome, part)).transpose()?;
    let gradient = part
        .filter(|_| with_gradient && pool == Some(1))
        .map(|part| pool_gradient_map(version, outcome, part))
        .transpose()?;
    Ok(html! {
        (filters(version, outcome))
        @if let Some(features) = features { (features) }
        @if let Some(gradient) = gradient { (gradient) }
    })
}

/// Whether one of the versions that were trained has a wrong pool behind its first convolution.
fn shows_pool_gradient(first: &[First<'_>]) -> bool {
    let broken = |version: &Version| {
        version.wrong.iter().any(|wrong| wrong.layer == 1 && wrong.piece.starts_with("pool"))
    };
    first.iter().any(|(version, ..)| broken(version) && version.steps != Some(0))
}

/// Accuracy over steps, one line a version, each over its own length.
fn curves(first: &[First<'_>]) -> Option<Markup> {
    let drawn = || first.iter().filter(|(_, outcome, _)| outcome.curve.len() > 1);
    let last = |outcome: &Outcome| outcome.curve.last().map_or(0, |point| point.step);
    let series = drawn().map(|&(version, outcome, _)| -> Curve {
        let points = outcome.curve.chunks(outcome.curve.len().div_ceil(150)).map(|points| {
            let accuracy = points.iter().map(|point| point.accuracy).sum::<f64>() / points.len() as f64;
            let share = points.last().map_or(0, |point| point.step) as f64 / last(outcome).max(1) as f64;
            [100.0 * share, accuracy]
        });
        (version.name.clone(), points.collect())
    });
    let percent: fn(f64) -> String = |share| format!("{:.0} %", 100.0 * share);
    let chart = Chart {
        title: "Accuracy on the training images as they are met".into(),
        x: Axis::linear("percent of the steps", |percent| format!("{percent:.0}")),
        y: Axis::linear("", percent),
        series: series.collect(),
    };
    let chart = chart.part()?;
    Some(html! {
        figure {
            (chart)
            figcaption {
                "Steps: "
                @for (i, (version, outcome, _)) in drawn().enumerate() {
                    @if i > 0 { ", " }
                    (version.name) " " (last(outcome))
                }
            }
        }
    })
}

/// The first convolution's filters, before and after.
fn filters(version: &Version, outcome: &Outcome) -> Markup {
    let Some(conv) = outcome.network.params().first().filter(|param| param.layer_name == "conv") else {
        return html! {};
    };
    let (h, w) = (conv.shape[2], conv.shape[3]);
    let scale = 27 / h.max(w).max(1) + 1;
    let (before, after) = (&outcome.before, &outcome.after);
    let is_trained = version.steps != Some(0);
    html! {
        figure {
            @for theta in [before, after].into_iter().take(if is_trained { 2 } else { 1 }) {
                @for filter in theta[conv.range.clone()].chunks(h * w * conv.shape[1]) {
                    (picture(Shape::new(1, h, w), &filter[..h * w], scale, "a filter"))
                }
                br;
            }
            figcaption { (if is_trained { "Filters before training, and after it" } else { "Filters; never trained" }) }
        }
    }
}

/// One test image and what the convolution and the pool make of it.
fn features(version: &Version, outcome: &Outcome, part: &Part) -> Result<Markup> {
    let maps = maps(version, part, &outcome.after, version.recipe.normalize)?;
    let (h, w) = part.test.image_size();
    Ok(html! {
        figure {
            (picture(Shape::new(1, h, w), &maps.image, 3, "the image"))
            br;
            @for (shape, map) in [&maps.conv, &maps.pool] {
                @for channel in map.chunks(shape.h * shape.w) {
                    (picture(Shape::new(1, shape.h, shape.w), channel, if shape.h > 14 { 2 } else { 4 }, "a map"))
                }
                br;
            }
            figcaption { "A test image, the maps of the convolution, the maps of the pool" }
        }
    })
}

/// Where the gradient of the first pool goes.
fn pool_gradient_map(version: &Version, outcome: &Outcome, part: &Part) -> Result<Markup> {
    let (shape, map) = pool_gradient(version, outcome, part)?;
    let reached = map.iter().filter(|d| **d != 0.0).count();
    Ok(html! {
        figure {
            (picture(shape, &map, 8, "gradient"))
            figcaption {
                "Where the pool's gradient goes: its mean size, place by place, over 64 test images; " (reached) " of " (map.len())
                " places of the map ever get one"
            }
        }
    })
}
