//! The report: one HTML page with pictures in SVG, and nothing to load from anywhere.

use std::fmt::Write;

use anyhow::Result;
use byhand_layers::Shape;
use byhand_museum::PIECES;
use maud::{DOCTYPE, Markup, PreEscaped, html};

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
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                title { "The notebooks, as written and repaired" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { "The notebooks, as written and repaired" }
                p {
                    "Pictures are of seed 1. In maps and filters the smallest number is black and the largest white, each picture for "
                    "itself."
                }
                @for system in systems { (system) }
            }
        }
    };
    Ok(page.into_string())
}

const STYLE: &str = "\
body{font:15px/1.4 sans-serif;max-width:68em;margin:2em auto;padding:0 1em}table{border-collapse:collapse}\
th,td{border-bottom:1px solid #ccc;padding:.2em .8em .2em 0;text-align:left;vertical-align:top}\
th:not(:last-child),td:not(:last-child){white-space:nowrap}h2{margin-top:2em}h3{margin:0}\
div{display:flex;flex-wrap:wrap;gap:1em 2em}section{flex:1 1 30em}figure{margin:.8em 0}figcaption{color:#555}\
svg{margin:.15em .25em .15em 0;vertical-align:middle}span{white-space:nowrap}";

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
        h2 { (about.system) ". " (about.title) }
        table {
            tr { th { "version" } th { "figure" } th { "seeds" } th { "printed" } th { "layers" } }
            @for (version, outcomes) in versions.iter().zip(outcomes) {
                tr {
                    td { (version.name) }
                    td { (figure(version, outcomes)) }
                    td { (outcomes.len()) }
                    td { (notebook.printed_of(version).map_or("-".to_string(), |figure| figure.to_string())) }
                    td { code { (version.recipe.layers) } " " (version.note.as_deref().unwrap_or_default()) }
                }
            }
        }
        (wrong_lines(versions))
        (curves(&first))
        div {
            @for (name, pictures) in pictures.iter().filter(|(_, pictures)| !pictures.0.is_empty()) {
                section { h3 { (name) } (pictures) }
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

const COLOURS: [&str; 6] = ["#c0392b", "#2471a3", "#7d8a2e", "#8e44ad", "#d68910", "#555555"];

/// Accuracy over steps, one line a version, each over its own length.
fn curves(first: &[First<'_>]) -> Markup {
    const W: f64 = 620.0;
    const H: f64 = 240.0;
    let drawn = || {
        let first = first.iter().filter(|(_, outcome, _)| outcome.curve.len() > 1);
        first.map(|&(version, outcome, _)| (version, outcome)).zip(COLOURS.iter().cycle())
    };
    let last = |outcome: &Outcome| outcome.curve.last().map_or(0, |point| point.step);
    let points = |outcome: &Outcome| {
        let stride = outcome.curve.len().div_ceil(150);
        let points = outcome.curve.chunks(stride).map(|points| {
            let accuracy = points.iter().map(|point| point.accuracy).sum::<f64>() / points.len() as f64;
            let share = points.last().map_or(0, |point| point.step) as f64 / last(outcome).max(1) as f64;
            format!("{:.1},{:.1}", 40.0 + share * W, H - accuracy * H + 6.0)
        });
        points.collect::<Vec<_>>().join(" ")
    };
    html! {
        @if drawn().next().is_some() {
            figure {
                svg width=(W + 60.0) height=(H + 40.0) font-size="11" {
                    @for fifth in 0..=5 {
                        @let y = H - f64::from(fifth) / 5.0 * H + 6.0;
                        path d={ "M40 " (y) "h" (W) } stroke="#ddd" {}
                        text x="4" y=(y + 4.0) { (20 * fifth) " %" }
                    }
                    @for ((version, outcome), colour) in drawn() {
                        polyline fill="none" stroke=(colour) stroke-width="1.5" points=(points(outcome)) {
                            title { (version.name) }
                        }
                    }
                    @for (place, share) in [("start", 0.0), ("half of the steps", 0.5), ("end", 1.0)] {
                        text x=(40.0 + share * W) y=(H + 24.0) text-anchor="middle" { (place) }
                    }
                }
                figcaption {
                    "Accuracy on the training images as they are met: "
                    @for ((version, outcome), colour) in drawn() {
                        span style={ "color:" (colour) } { "■ " (version.name) " (" (last(outcome)) " steps)" } " "
                    }
                }
            }
        }
    }
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
                    (picture(Shape::new(1, h, w), &filter[..h * w], scale))
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
            (picture(Shape::new(1, h, w), &maps.image, 3))
            br;
            @for (shape, map) in [&maps.conv, &maps.pool] {
                @for channel in map.chunks(shape.h * shape.w) {
                    (picture(Shape::new(1, shape.h, shape.w), channel, if shape.h > 14 { 2 } else { 4 }))
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
            (picture(shape, &map, 8))
            figcaption {
                "Where the pool's gradient goes: its mean size, place by place, over 64 test images; " (reached) " of " (map.len())
                " places of the map ever get one"
            }
        }
    })
}

/// A map in 16 shades, from its smallest number (black) to its largest (white): one path a shade.
fn picture(shape: Shape, values: &[f32], scale: usize) -> Markup {
    const SHADES: usize = 16;
    let low = values.iter().copied().filter(|v| v.is_finite()).fold(f32::INFINITY, f32::min);
    let high = values.iter().copied().filter(|v| v.is_finite()).fold(f32::NEG_INFINITY, f32::max);
    let (h, w) = (shape.h, shape.w);
    let mut paths = vec![String::new(); SHADES];
    for (place, value) in values.iter().enumerate() {
        let shade = (value - low) / (high - low).max(f32::MIN_POSITIVE) * (SHADES as f32 - 0.01);
        let shade = (shade as usize).min(SHADES - 1);
        let _ = write!(paths[shade], "M{} {}h1v1h-1z", place % w, place / w);
    }
    html! {
        svg width=(w * scale) height=(h * scale) viewBox={ "0 0 " (w) " " (h) } shape-rendering="crispEdges" {
            rect width=(w) height=(h) {}
            @for (shade, path) in paths.iter().enumerate().skip(1).filter(|(_, path)| !path.is_empty()) {
                @let grey = shade * 17;
                path fill={ "rgb(" (grey) "," (grey) "," (grey) ")" } d=(path) {}
            }
        }
    }
}
