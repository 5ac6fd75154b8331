//! The report: one HTML page with pictures in SVG, and nothing to load from anywhere.

use std::fmt::Write;

use anyhow::Result;
use byhand_layers::Shape;

use super::{
    Table,
    demo::{maps, pool_gradient},
    experiment::{Outcome, Part, Prepared},
    metric,
    preset::Row,
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
            let printed = preset.printed_of(row).map_or("-".to_string(), |figure| figure.to_string());
            write!(
                html,
                "<tr><td>{}<td>{} {mean:.4} ± {std:.4}<td>{}<td>{printed}<td><code>{}</code> {}</tr>",
                escape(&row.version),
                preset.metric_of(row),
                outcomes.len(),
                escape(&row.layers.to_string()),
                escape(row.note.as_deref().unwrap_or_default()),
            )?;
        }
        html += "</table>";
        let rows: Vec<(&Row, &Outcome)> =
            preset.rows.iter().zip(&table.outcomes).filter_map(|(row, o)| Some((row, o.first()?))).collect();
        html += &curves(&rows)?;
        for (row, outcome) in &rows {
            html += &filters(row, outcome)?;
        }
        for (row, outcome) in &rows {
            if let Some(part) = data.of_row(preset, row).filter(|_| begins_with_conv_and_pool(outcome)) {
                html += &features(row, outcome, part)?;
            }
        }
        html += &pool_gradients(&rows, table, data)?;
    }
    Ok(html + "</body></html>\n")
}

const HEAD: &str = "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>The notebooks, as written and repaired</title>\
<style>body{font:15px/1.4 sans-serif;max-width:60em;margin:2em auto;padding:0 1em}table{border-collapse:collapse}\
th,td{border-bottom:1px solid #ccc;padding:.2em .8em .2em 0;text-align:left;vertical-align:top}svg{margin:.3em .5em .3em 0}\
figure{margin:1em 0}figcaption{color:#555}</style></head><body><h1>The notebooks, as written and repaired</h1>";

const COLOURS: [&str; 6] = ["#c0392b", "#2471a3", "#7d8a2e", "#8e44ad", "#d68910", "#555555"];

/// Accuracy over steps, one line a version.
fn curves(rows: &[(&Row, &Outcome)]) -> Result<String> {
    const W: f64 = 620.0;
    const H: f64 = 240.0;
    let rows: Vec<_> = rows.iter().filter(|(_, outcome)| outcome.curve.len() > 1).collect();
    if rows.is_empty() {
        return Ok(String::new());
    }
    let mut svg = format!("<figure><svg width=\"{}\" height=\"{}\" font-size=\"11\">", W + 60.0, H + 30.0);
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
    svg += "</svg><figcaption>Accuracy on the training images while they are met, seed 1, over the length of the run: ";
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
    let mut html = String::from("<figure>");
    for theta in [&outcome.before, &outcome.after] {
        let weights = &theta[conv.range.clone()];
        for filter in weights.chunks(h * w * conv.shape[1]) {
            html += &picture(Shape::new(1, h, w), &filter[..h * w], 9)?;
        }
        html += "<br>";
    }
    let version = escape(&row.version);
    Ok(html
        + &format!(
            "<figcaption>{version}: filters before training and after it, seed 1</figcaption></figure>"
        ))
}

fn begins_with_conv_and_pool(outcome: &Outcome) -> bool {
    let names: Vec<&str> = outcome.network.layers().iter().take(2).map(|layer| layer.name()).collect();
    names == ["conv", "pool"]
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
    Ok(html
        + &format!(
            "<figcaption>{}: a test image, the maps of the convolution, the maps of the pool</figcaption></figure>",
            escape(&row.version)
        ))
}

/// Where the gradient of each version's first pool goes, if one of them is wrong.
fn pool_gradients(rows: &[(&Row, &Outcome)], table: &Table, data: &Prepared) -> Result<String> {
    let broken =
        |row: &Row| row.wrong.iter().any(|wrong| wrong.layer == 1 && wrong.piece.starts_with("pool"));
    if !rows.iter().any(|(row, _)| broken(row) && row.steps != Some(0)) {
        return Ok(String::new());
    }
    let mut html = String::new();
    for (row, outcome) in rows.iter().filter(|(_, outcome)| begins_with_conv_and_pool(outcome)) {
        if let Some(part) = data.of_row(&table.preset, row) {
            let (shape, map) = pool_gradient(row, outcome, part)?;
            let reached = map.iter().filter(|d| **d != 0.0).count();
            write!(
                html,
                "<figure>{}<figcaption>{}: mean size of the gradient that the pool hands back, place by place; {reached} of \
                 {} places of the map ever get one</figcaption></figure>",
                picture(shape, &map, 8)?,
                escape(&row.version),
                map.len(),
            )?;
        }
    }
    Ok(html)
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
