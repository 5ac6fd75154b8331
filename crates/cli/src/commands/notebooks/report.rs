//! The report: one HTML page with pictures in SVG, and nothing to load from anywhere.

use std::fmt::Write;

use anyhow::Result;
use byhand_layers::Shape;
use byhand_museum::PIECES;

use super::{
    demo::{first_pool, maps, pool_gradient},
    experiment::{Outcome, Part, Prepared},
    preset::Row,
    table::{Table, metric},
};

/// The page.
pub fn page(tables: &[Table], prepared: &[Prepared]) -> Result<String> {
    let mut html = String::from(HEAD);
    for (table, data) in tables.iter().zip(prepared) {
        let preset = &table.preset;
        write!(html, "<h2>{}. {}</h2>", escape(&preset.system), escape(&preset.title))?;
        html += "<table><tr><th>version<th>figure<th>seeds<th>printed<th>layers</tr>";
        for (row, outcomes) in preset.rows.iter().zip(&table.outcomes) {
            let (mean, std) = metric(outcomes);
            let spread = if outcomes.len() > 1 { format!(" ± {std:.4}") } else { String::new() };
            let printed = preset.printed_of(row).map_or("-".to_string(), |figure| figure.to_string());
            write!(
                html,
                "<tr><td>{}<td>{} {mean:.4}{spread}<td>{}<td>{printed}<td><code>{}</code> {}</tr>",
                escape(&row.version),
                preset.metric_of(row),
                outcomes.len(),
                escape(&row.layers.to_string()),
                escape(row.note.as_deref().unwrap_or_default()),
            )?;
        }
        html += "</table>";
        html += &wrong_lines(&preset.rows)?;
        let rows: Vec<(&Row, &Outcome)> =
            preset.rows.iter().zip(&table.outcomes).filter_map(|(row, o)| Some((row, o.first()?))).collect();
        html += &curves(&rows)?;
        html += "<div>";
        for (row, outcome) in &rows {
            let pictures = pictures(row, outcome, data.of_row(preset, row), shows_pool_gradient(&rows))?;
            if !pictures.is_empty() {
                write!(html, "<section><h3>{}</h3>{pictures}</section>", escape(&row.version))?;
            }
        }
        html += "</div>";
    }
    Ok(html + "</body></html>\n")
}

const HEAD: &str = "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>The notebooks, as written and repaired</title>\
<style>body{font:15px/1.4 sans-serif;max-width:68em;margin:2em auto;padding:0 1em}table{border-collapse:collapse}\
th,td{border-bottom:1px solid #ccc;padding:.2em .8em .2em 0;text-align:left;vertical-align:top}\
th:not(:last-child),td:not(:last-child){white-space:nowrap}h2{margin-top:2em}h3{margin:0}\
div{display:flex;flex-wrap:wrap;gap:1em 2em}section{flex:1 1 30em}figure{margin:.8em 0}figcaption{color:#555}\
svg{margin:.15em .25em .15em 0;vertical-align:middle}span{white-space:nowrap}</style></head><body>\
<h1>The notebooks, as written and repaired</h1><p>Pictures are of seed 1. In maps and filters the smallest number is black and \
the largest white, each picture for itself.</p>";

/// What was wrong in the versions of a system, in the museum's words.
fn wrong_lines(rows: &[Row]) -> Result<String> {
    let mut named: Vec<&str> = Vec::new();
    for row in rows {
        let pieces = row.wrong.iter().map(|wrong| wrong.piece.as_str()).chain(row.loss.as_deref());
        named.extend(pieces);
    }
    let pieces = PIECES.iter().filter(|piece| named.contains(&piece.name));
    let mut html = String::new();
    for piece in pieces {
        let (name, line, symptom) = (piece.name, escape(piece.mistake), escape(piece.symptom));
        write!(html, "<li><b>{name}</b>: {line}<br><i>{symptom}</i></li>")?;
    }
    Ok(if html.is_empty() { html } else { format!("<p>What is wrong as written:</p><ul>{html}</ul>") })
}

/// The pictures of a version: filters, feature maps, the gradient of its pool.
fn pictures(row: &Row, outcome: &Outcome, part: Option<&Part>, with_gradient: bool) -> Result<String> {
    let mut html = filters(row, outcome)?;
    if let Some(part) = part.filter(|_| first_pool(&outcome.network).is_some()) {
        html += &features(row, outcome, part)?;
        if with_gradient && first_pool(&outcome.network) == Some(1) {
            html += &pool_gradient_map(row, outcome, part)?;
        }
    }
    Ok(html)
}

/// Whether one of the versions that were trained has a wrong pool behind its first convolution.
fn shows_pool_gradient(rows: &[(&Row, &Outcome)]) -> bool {
    let broken =
        |row: &Row| row.wrong.iter().any(|wrong| wrong.layer == 1 && wrong.piece.starts_with("pool"));
    rows.iter().any(|(row, _)| broken(row) && row.steps != Some(0))
}

const COLOURS: [&str; 6] = ["#c0392b", "#2471a3", "#7d8a2e", "#8e44ad", "#d68910", "#555555"];

/// Accuracy over steps, one line a version.
fn curves(rows: &[(&Row, &Outcome)]) -> Result<String> {
    const W: f64 = 620.0;
    const H: f64 = 240.0;
    let rows: Vec<_> = rows.iter().filter(|(_, outcome)| outcome.curve.len() > 1).collect();
    if rows.is_empty() {
        return Ok(String::new());
    }
    let mut svg = format!("<figure><svg width=\"{}\" height=\"{}\" font-size=\"11\">", W + 60.0, H + 40.0);
    for tenth in 0..=5 {
        let y = H - f64::from(tenth) / 5.0 * H + 6.0;
        write!(
            svg,
            "<path d=\"M40 {y}h{W}\" stroke=\"#ddd\"/><text x=\"4\" y=\"{}\">{} %</text>",
            y + 4.0,
            20 * tenth
        )?;
    }
    for ((row, outcome), colour) in rows.iter().zip(COLOURS.iter().cycle()) {
        // Each over its own length: a share of the run.
        let last = outcome.curve.last().map_or(1, |point| point.step) as f64;
        let stride = outcome.curve.len().div_ceil(150);
        let points = outcome.curve.chunks(stride).map(|points| {
            let n = points.len() as f64;
            let accuracy = points.iter().map(|point| point.accuracy).sum::<f64>() / n;
            let step = points.last().map_or(0, |point| point.step) as f64;
            format!("{:.1},{:.1}", 40.0 + step / last * W, H - accuracy * H + 6.0)
        });
        write!(
            svg,
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\" points=\"{}\"><title>{}</title></polyline>",
            points.collect::<Vec<_>>().join(" "),
            escape(&row.version)
        )?;
    }
    for (place, share) in ["start", "half of the steps", "end"].iter().zip([0.0, 0.5, 1.0]) {
        let (x, y) = (40.0 + share * W, H + 24.0);
        write!(svg, "<text x=\"{x}\" y=\"{y}\" text-anchor=\"middle\">{place}</text>")?;
    }
    svg += "</svg><figcaption>Accuracy on the training images as they are met: ";
    for ((row, outcome), colour) in rows.iter().zip(COLOURS.iter().cycle()) {
        let last = outcome.curve.last().map_or(0, |point| point.step);
        write!(svg, "<span style=\"color:{colour}\">■ {} ({last} steps)</span> ", escape(&row.version))?;
    }
    Ok(svg + "</figcaption></figure>")
}

/// The first convolution's filters, before and after.
fn filters(row: &Row, outcome: &Outcome) -> Result<String> {
    let Some(conv) = outcome.network.params().first().filter(|param| param.layer_name == "conv") else {
        return Ok(String::new());
    };
    let (h, w) = (conv.shape[2], conv.shape[3]);
    let scale = 27 / h.max(w).max(1) + 1;
    let mut html = String::from("<figure>");
    let (before, after) = (&outcome.before, &outcome.after);
    let trained = row.steps != Some(0);
    for theta in [before, after].into_iter().take(if trained { 2 } else { 1 }) {
        let weights = &theta[conv.range.clone()];
        for filter in weights.chunks(h * w * conv.shape[1]) {
            html += &picture(Shape::new(1, h, w), &filter[..h * w], scale)?;
        }
        html += "<br>";
    }
    let caption = if trained { "Filters before training, and after it" } else { "Filters; never trained" };
    write!(html, "<figcaption>{caption}</figcaption></figure>")?;
    Ok(html)
}

/// One test image and what the convolution and the pool make of it.
fn features(row: &Row, outcome: &Outcome, part: &Part) -> Result<String> {
    let maps = maps(row, part, &outcome.after, row.pixels)?;
    let (h, w) = part.test.image_size();
    let mut html = String::from("<figure>") + &picture(Shape::new(1, h, w), &maps.image, 3)? + "<br>";
    for (shape, map) in [&maps.conv, &maps.pool] {
        let scale = if shape.h > 14 { 2 } else { 4 };
        for channel in map.chunks(shape.h * shape.w) {
            html += &picture(Shape::new(1, shape.h, shape.w), channel, scale)?;
        }
        html += "<br>";
    }
    Ok(
        html + "<figcaption>A test image, the maps of the convolution, the maps of the pool</figcaption></figure>"
    )
}

/// Where the gradient of the first pool goes.
fn pool_gradient_map(row: &Row, outcome: &Outcome, part: &Part) -> Result<String> {
    let (shape, map) = pool_gradient(row, outcome, part)?;
    let reached = map.iter().filter(|d| **d != 0.0).count();
    Ok(format!(
        "<figure>{}<figcaption>Where the pool's gradient goes: its mean size, place by place, over 64 test images; {reached} of \
         {} places of the map ever get one</figcaption></figure>",
        picture(shape, &map, 8)?,
        map.len(),
    ))
}

/// A map in 16 shades, from its smallest number (black) to its largest (white): one path a shade.
fn picture(shape: Shape, values: &[f32], scale: usize) -> Result<String> {
    const SHADES: usize = 16;
    let low = values.iter().copied().filter(|v| v.is_finite()).fold(f32::INFINITY, f32::min);
    let high = values.iter().copied().filter(|v| v.is_finite()).fold(f32::NEG_INFINITY, f32::max);
    let mut paths = vec![String::new(); SHADES];
    for (place, value) in values.iter().enumerate() {
        let shade = (value - low) / (high - low).max(f32::MIN_POSITIVE) * (SHADES as f32 - 0.01);
        let shade = (shade as usize).min(SHADES - 1);
        write!(paths[shade], "M{} {}h1v1h-1z", place % shape.w, place / shape.w)?;
    }
    let (h, w) = (shape.h, shape.w);
    let mut svg = format!(
        "<svg width=\"{}\" height=\"{}\" viewBox=\"0 0 {w} {h}\" shape-rendering=\"crispEdges\">\
         <rect width=\"{w}\" height=\"{h}\"/>",
        w * scale,
        h * scale
    );
    for (shade, path) in paths.iter().enumerate().skip(1).filter(|(_, path)| !path.is_empty()) {
        let grey = shade * 17;
        write!(svg, "<path fill=\"rgb({grey},{grey},{grey})\" d=\"{path}\"/>")?;
    }
    Ok(svg + "</svg>")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
