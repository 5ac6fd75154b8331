//! What the network looks at: its worst mistakes and the gradient at their pixels, its first filters, an image on its way.

use byhand_layers::{Block, NamedParam, Network, Pass, Shape};
use byhand_models::{Model, ModelError};
use maud::{Markup, html};
use ndarray::{Array2, ArrayView1, Axis};

use super::class_name;
use crate::{picture, run::Run};

/// Pictures of mistakes.
const MISTAKES: usize = 24;
/// Filters and maps of a layer.
const MAPS: usize = 32;
/// Numbers of a layer without maps.
const NUMBERS: usize = 4096;
/// Pixels of the screen that a picture is wide.
const WIDE: usize = 96;

pub(super) fn mistakes(run: &Run<'_>, network: &Network<f32>) -> Result<Markup, ModelError> {
    let labels = run.test.labels();
    let is_wrong = |&i: &usize| usize::from(run.predictions[i].class) != usize::from(labels[i]);
    let mut worst: Vec<usize> = (0..labels.len()).filter(is_wrong).collect();
    let none = worst.is_empty();
    if none {
        worst = (0..labels.len()).collect();
    }
    worst.sort_by(|&a, &b| {
        run.predictions[a].of_truth.total_cmp(&run.predictions[b].of_truth).then(a.cmp(&b))
    });
    worst.truncate(MISTAKES);
    let cards = cards(run.model, network, run, &worst)?;
    Ok(html! {
        p {
            @if labels.is_empty() { "There are no classes." }
            @else if none { "No mistake on " (labels.len()) " images. These are the least sure answers. " }
            @else { "The images whose own class was given the least probability. " }
        }
        p.note {
            "Beside each image: how strongly each pixel moves the output of the answer (the size of the gradient at the input; white is "
            "most). Bars are probabilities: green is the truth, red a wrong answer."
        }
        div.cards { @for card in cards { (card) } }
    })
}

/// A figure for each of these samples.
fn cards(
    model: &Model,
    network: &Network<f32>,
    run: &Run<'_>,
    samples: &[usize],
) -> Result<Vec<Markup>, ModelError> {
    let images = run.test.images().select(Axis(0), samples);
    let probabilities = model.predict_proba(images.view())?;
    let x = model.preprocessing.apply(images.view());
    let mut dy = Array2::zeros(probabilities.dim());
    for (row, &sample) in samples.iter().enumerate() {
        dy[[row, usize::from(run.predictions[sample].class)]] = 1.0;
    }
    let gradients = network.gradient_of_input(&model.theta, x.view(), dy.view());
    let card = |(row, &sample): (usize, &usize)| {
        let (truth, said) =
            (usize::from(run.test.labels()[sample]), usize::from(run.predictions[sample].class));
        let pixels = images.index_axis(Axis(0), row);
        let (_, h, w) = pixels.dim();
        let alt = format!("image {sample}, a {}", class_name(model, truth));
        html! {
            figure {
                (picture::image(pixels, scale(h, w, WIDE), &alt))
                (saliency(network.input(), gradients.row(row), (h, w)))
                figcaption { "image " (sample) ": " b { (class_name(model, truth)) } ", taken for " b { (class_name(model, said)) } }
                (bars(model, probabilities.row(row), truth, said))
            }
        }
    };
    Ok(samples.iter().enumerate().map(card).collect())
}

/// The sizes of a gradient, the largest of all channels.
fn saliency(input: Shape, gradient: ArrayView1<'_, f32>, size: (usize, usize)) -> Markup {
    let shape = picture_shape(input, size);
    let place = shape.h * shape.w;
    let sizes: Vec<f32> = (0..place)
        .map(|at| {
            gradient
                .iter()
                .skip(at)
                .step_by(place)
                .fold(0.0f32, |most, d| if d.abs() > most { d.abs() } else { most })
        })
        .collect();
    picture::map(
        Shape::new(1, shape.h, shape.w),
        &sizes,
        scale(shape.h, shape.w, WIDE),
        "where the network looked",
    )
}

/// What a flat input is a picture of, if it is one.
fn picture_shape(input: Shape, (h, w): (usize, usize)) -> Shape {
    match input {
        input if !input.is_flat() => input,
        input if input.features() == h * w => Shape::new(1, h, w),
        input if input.features() == 3 * h * w => Shape::new(3, h, w),
        input => Shape::new(1, 1, input.features()),
    }
}

fn scale(h: usize, w: usize, wide: usize) -> usize {
    (wide / h.max(w).max(1)).max(1)
}

/// The three most probable classes, and the true one.
fn bars(model: &Model, p: ArrayView1<'_, f32>, truth: usize, said: usize) -> Markup {
    let mut ranked: Vec<usize> = (0..p.len()).collect();
    ranked.sort_by(|&a, &b| p[b].total_cmp(&p[a]));
    let mut shown: Vec<usize> = ranked.into_iter().take(3).collect();
    if !shown.contains(&truth) {
        shown.push(truth);
    }
    html! {
        @for class in shown {
            div.bar.true[class == truth].said[class == said && class != truth] {
                span title=(class_name(model, class)) { (class_name(model, class)) }
                i style={ "width:" (format!("{:.1}", (100.0 * p[class]).max(0.5))) "%" } {}
                span { (format!("{:.1} %", 100.0 * p[class])) }
            }
        }
    }
}

/// The weights of the first layer, if they are pictures: their shape, and where they lie in `theta`.
fn first_filters(network: &Network<f32>, size: (usize, usize)) -> Option<(Shape, &NamedParam)> {
    let weight = network.params().first()?;
    let shape = match weight.shape[..] {
        [_, c, h, w] => Shape::new(c, h, w),
        [_, inputs] if inputs == network.input().features() => picture_shape(network.input(), size),
        _ => return None,
    };
    Some((shape, weight))
}

/// The first channels of the first filters side by side, eight in a row, each from black to white; nothing where they are no pictures.
/// `size` is that of the network's images, (rows, columns).
pub fn filter_sheet(network: &Network<f32>, theta: &[f32], size: (usize, usize)) -> Option<Array2<u8>> {
    const ROW: usize = 8;
    let (Shape { c, h, w }, weight) = first_filters(network, size)?;
    let filters: Vec<&[f32]> = theta[weight.range.clone()].chunks(c * h * w).take(MAPS).collect();
    let (rows, columns) = (filters.len().div_ceil(ROW), filters.len().min(ROW));
    let mut sheet = Array2::zeros((rows * (h + 1), columns * (w + 1)));
    for (i, filter) in filters.iter().enumerate() {
        let (top, left) = (i / ROW * (h + 1), i % ROW * (w + 1));
        for (at, level) in picture::levels(&filter[..h * w]).enumerate() {
            sheet[[top + at / w, left + at % w]] = level;
        }
    }
    Some(sheet)
}

pub(super) fn filters(run: &Run<'_>, network: &Network<f32>) -> Markup {
    let Some((shape, weight)) = first_filters(network, run.test.image_size()) else {
        return html! { p { "The first parameters are no filters." } };
    };
    let filters = run.model.theta[weight.range.clone()].chunks(shape.features());
    let (all, size) = (filters.len(), scale(shape.h, shape.w, 56));
    html! {
        p.note {
            (weight.name) ", " (all) " of " (shape) ". The smallest weight of each is black, the largest white"
            @if shape.c != 1 && shape.c != 3 { "; of " (shape.c) " channels the first" }
            @if all > MAPS { "; the first " (MAPS) }
            "."
        }
        div.maps { @for filter in filters.take(MAPS) { (picture::map(shape, filter, size, "a filter")) } }
    }
}

pub(super) fn activations(run: &Run<'_>, network: &Network<f32>) -> Markup {
    if run.test.is_empty() {
        return html! { p { "There is no image." } };
    }
    let image = run.test.images().slice_move(ndarray::s![..1, .., .., ..]);
    let x = run.model.preprocessing.apply(image);
    let steps = through(network, &run.model.theta, x.row(0).to_vec());
    let input = picture_shape(network.input(), run.test.image_size());
    html! {
        p.note { "The first test image. Each map for itself: its smallest number is black, its largest white." }
        h3 { "input " (network.input()) }
        (picture::map(input, &x.row(0).to_vec(), scale(input.h, input.w, WIDE), "the input"))
        @for (spec, shape, y) in steps {
            h3 { code { (spec) } " " (shape) }
            (maps(shape, &y))
        }
    }
}

/// The output of each layer but the identities, for one sample in evaluation mode.
fn through(network: &Network<f32>, theta: &[f32], mut x: Vec<f32>) -> Vec<(String, Shape, Vec<f32>)> {
    let block = Block::single(1);
    let mut start = 0;
    let mut steps = Vec::new();
    for layer in network.layers() {
        let numbers: usize = layer.params().iter().map(|param| param.len()).sum();
        let theta = &theta[start..start + numbers];
        start += numbers;
        if layer.is_identity() {
            continue;
        }
        let mut y = vec![0.0; layer.output().features()];
        let (mut tape, mut scratch) = (vec![0.0; layer.tape_len(block)], vec![0.0; layer.scratch_len(block)]);
        layer.forward(&Pass::eval(block), theta, &x, &mut y, &mut tape, &mut scratch);
        steps.push((layer.spec(), layer.output(), y.clone()));
        x = y;
    }
    steps
}

fn maps(Shape { c, h, w }: Shape, y: &[f32]) -> Markup {
    if h * w > 1 {
        let shape = Shape::new(1, h, w);
        return html! {
            div.maps { @for map in y.chunks(h * w).take(MAPS) { (picture::map(shape, map, scale(h, w, 84), "a map")) } }
            @if c > MAPS { p.note { "The first " (MAPS) " of " (c) " maps." } }
        };
    }
    // A row of numbers, folded.
    const ROW: usize = 64;
    let shown = &y[..y.len().min(NUMBERS)];
    let columns = shown.len().min(ROW);
    let rows = shown.len().div_ceil(columns);
    let mut folded = shown.to_vec();
    folded.resize(rows * columns, f32::NAN);
    html! {
        (picture::map(Shape::new(1, rows, columns), &folded, 10, "numbers"))
        @if shown.len() < y.len() { p.note { "The first " (NUMBERS) " of " (y.len()) " numbers." } }
    }
}
