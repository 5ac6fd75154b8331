//! A picture from outside as the bytes that a model was trained on: its ink found, scaled and centred.
//!
//! MNIST's digits are bright ink on a dark ground, scaled into 20x20 of the 28x28 pixels and centred by their mass. A
//! picture may be anything: pencil on white paper, a coloured stroke, black on transparent, of any size. What a model's own
//! training pictures look like is its [`Manner`], kept among the notes of the model file.

use anyhow::{Context, Result, bail, ensure};
use byhand_datasets::{
    Dataset,
    pictures::{Picture, scaled},
};
use byhand_models::Model;
use ndarray::{Array2, Array3, ArrayView2, Axis, s};
use serde::{Deserialize, Serialize};

mod file;

pub use file::{Images, STDIN, read, read_from};

/// What the pictures have in common that a model was trained on.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
pub struct Manner {
    ground: Ground,
    /// Whether they are scaled and centred as MNIST's are.
    framed: bool,
    /// Percent of the fullest one that is ink.
    fullest: f32,
}

/// What ink lies on.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Ground {
    Dark,
    Bright,
    /// Some dark, some bright: photographs, say, which are no ink on a ground at all.
    Any,
}

impl Manner {
    /// Of a model that does not say it: strokes on a dark ground, anywhere in the picture.
    pub const UNKNOWN: Self = Self { ground: Ground::Dark, framed: false, fullest: 30.0 };

    /// Of MNIST.
    pub const MNIST: Self = Self { ground: Ground::Dark, framed: true, fullest: 50.0 };

    /// Looks at some pictures of a training set.
    pub fn of(dataset: &Dataset) -> Self {
        const LOOKED_AT: usize = 1000;
        // What is in colour is no ink on a ground.
        if dataset.channels() > 1 {
            return Self { ground: Ground::Any, framed: false, fullest: 100.0 };
        }
        let n = dataset.len().min(LOOKED_AT);
        let (mut bright, mut framed, mut fullest) = (0, 0, 0.0f32);
        for i in 0..n {
            let mut ink = dataset.image(i * dataset.len() / n).index_axis_move(Axis(0), 0).to_owned();
            if is_bright(ink.view()) {
                bright += 1;
                ink.mapv_inplace(|p| 255 - p);
            }
            framed += usize::from(is_framed(ink.view()));
            fullest = fullest.max(percent(&ink));
        }
        // Nine of ten decide: a few odd pictures are in every set.
        let most = |count: usize| 10 * count >= 9 * n;
        let ground = match () {
            () if most(n - bright) => Ground::Dark,
            () if most(bright) => Ground::Bright,
            () => Ground::Any,
        };
        Self { ground, framed: most(framed), fullest }
    }

    /// The note of a model file, and what stands in it.
    pub fn note(&self) -> (&'static str, String) {
        (NOTE, serde_json::to_string(self).expect("texts and numbers"))
    }

    /// What a model says of its pictures.
    pub fn of_model(model: &Model) -> Result<Self> {
        model.notes.get(NOTE).map_or(Ok(Self::UNKNOWN), |text| {
            serde_json::from_str(text).with_context(|| format!("the model's note '{NOTE}' is '{text}'"))
        })
    }
}

const NOTE: &str = "pictures";

/// Rows and columns of the pictures that a model is shown, before anything is done to them.
pub fn size_for(model: &Model) -> Result<(usize, usize)> {
    let (input, preprocessing) = (model.input, &model.preprocessing);
    let (h, w) = match preprocessing.crop {
        // The middle of a picture, or all of it and a border.
        Some(crop) => {
            let whole =
                |side: usize, first: i32| usize::try_from(side as i64 + 2 * i64::from(first)).unwrap_or(0);
            (whole(crop.h, crop.y), whole(crop.w, crop.x))
        }
        None if input.is_flat() => {
            let side = (input.features() / model.channels()).isqrt();
            (side, side)
        }
        None => (input.h, input.w),
    };
    let fits = preprocessing.crop.is_some() || model.channels() * h * w == input.features();
    ensure!(
        fits && h * w > 0 && [1, 3].contains(&model.channels()),
        "the model reads {input}, which is no picture; expected an IDX file of its data"
    );
    let factor = if preprocessing.halve { 2 } else { 1 };
    Ok((factor * h, factor * w))
}

/// How somebody wants pictures to be taken.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wishes {
    /// Neither scaled nor moved.
    pub as_is: bool,
    /// Dark ink on a bright ground, whatever they look like.
    pub invert: bool,
}

/// A picture in colour as one of `size` (rows, columns): its middle, as wide and high as that in proportion, scaled.
pub fn photograph(picture: &Picture, size: (usize, usize), wishes: Wishes) -> Result<Array3<u8>> {
    let mut planes = picture.colours();
    if picture.size != size {
        ensure!(!wishes.as_is, other_size(size, picture.size, SCALED));
        let (h, w) = picture.size;
        let middle = |side: usize, other: usize, (wanted, beside): (usize, usize)| {
            let kept = side.min((other * wanted).div_ceil(beside));
            (side - kept) / 2..(side - kept) / 2 + kept
        };
        let (rows, columns) = (middle(h, w, size), middle(w, h, (size.1, size.0)));
        planes = scaled(&planes.slice_move(s![.., rows, columns]), size);
    }
    if wishes.invert {
        planes.mapv_inplace(|level| 255 - level);
    }
    Ok(planes)
}

/// A picture as a drawing: ink on a ground.
#[derive(Clone, Copy, Debug)]
pub struct Drawing<'a>(pub &'a Picture);

/// What is said first of a picture that is none.
const NO_DRAWING: &str = "expected a picture of one drawing on a plain ground, found none";
/// Differences of less than this, of 255, are no drawing.
const CONTRAST: u8 = 32;
/// Ink at its full strength; MNIST's strongest pixel is 254 or 255 in every picture.
const FULL: u8 = 250;

impl Drawing<'_> {
    /// The picture as one of `size` (rows, columns) that a model of this manner knows.
    pub fn prepare(&self, size: (usize, usize), manner: Manner, wishes: Wishes) -> Result<Array2<u8>> {
        let exact = self.0.size == size;
        if !exact && (wishes.as_is || manner.ground == Ground::Any) {
            let why = if wishes.as_is { SCALED } else { "the model knows no drawings, so it is not scaled" };
            bail!(other_size(size, self.0.size, why));
        }
        let grey = self.grey();
        if let (Ground::Any, Some(grey), false) = (manner.ground, &grey, wishes.invert) {
            return Ok(grey.clone());
        }
        let mut ink = match grey {
            _ if wishes.invert => self.darkness(),
            // Not a byte of it changes, but for the ground's side.
            Some(grey) if exact && is_bright(grey.view()) => grey.mapv(|p| 255 - p),
            Some(grey) if exact => grey,
            _ => self.ink()?,
        };
        check_contrast(ink.view())?;
        if !(exact && (wishes.as_is || !manner.framed || is_framed(ink.view()))) {
            ink = framed(ink, size)?;
        }
        let (found, most) = (percent(&ink), (2.0 * manner.fullest + 10.0).min(100.0));
        ensure!(found <= most, "{NO_DRAWING}: {found:.0} % of it are ink, expected {most:.0} % at most");
        if manner.ground == Ground::Bright {
            ink.mapv_inplace(|p| 255 - p);
        }
        Ok(ink)
    }

    /// The levels of an opaque picture without colours.
    fn grey(&self) -> Option<Array2<u8>> {
        let plain = self.0.pixels.iter().all(|&[r, g, b, a]| r == g && g == b && a == 255);
        plain.then(|| self.levels(|[level, ..]| level))
    }

    /// How dark each pixel is, on white paper.
    fn darkness(&self) -> Array2<u8> {
        255 - self.0.grey()
    }

    /// How much each pixel differs from the ground, which is what most of the picture's edge shows. The strongest
    /// difference becomes 255.
    fn ink(&self) -> Result<Array2<u8>> {
        let alphas = || self.0.pixels.iter().map(|pixel| pixel[3]);
        let (least, most) = (alphas().min().unwrap_or(0), alphas().max().unwrap_or(0));
        let mut ink = if most < CONTRAST {
            // Nothing can be seen.
            self.levels(|_| 0)
        } else if most - least < CONTRAST {
            // Equally opaque everywhere.
            self.distance(|[r, g, b, _]| [r, g, b])
        } else {
            let visible = || self.0.pixels.iter().filter(|pixel| pixel[3] >= 128);
            let channels = [0, 1, 2].map(|c| Histogram::of(visible().map(|pixel| pixel[c])));
            let one_colour = channels.iter().all(|channel| channel.spread() < CONTRAST);
            if one_colour || 2 * visible().count() <= self.0.pixels.len() {
                self.levels(|[_, _, _, alpha]| alpha)
            } else {
                // A sheet of paper with transparent edges.
                let paper = channels.map(|channel| channel.quantile(0.5));
                self.distance(|pixel| over(paper, pixel))
            }
        };
        check_contrast(ink.view())?;
        stretch(&mut ink);
        Ok(ink)
    }

    /// The largest difference of a channel from its median at the edge.
    fn distance(&self, colour: impl Fn([u8; 4]) -> [u8; 3]) -> Array2<u8> {
        let edge = edge(self.0.size).map(|at| colour(self.0.pixels[at.0 * self.0.size.1 + at.1]));
        let edge: Vec<[u8; 3]> = edge.collect();
        let ground = [0, 1, 2].map(|c| Histogram::of(edge.iter().map(|colour| colour[c])).quantile(0.5));
        self.levels(|pixel| {
            let colour = colour(pixel);
            (0..3).map(|c| colour[c].abs_diff(ground[c])).max().unwrap_or(0)
        })
    }

    fn levels(&self, level: impl Fn([u8; 4]) -> u8) -> Array2<u8> {
        let levels = self.0.pixels.iter().map(|&pixel| level(pixel)).collect();
        Array2::from_shape_vec(self.0.size, levels).expect("a level a pixel")
    }
}

/// A pixel on paper of one colour.
fn over(paper: [u8; 3], [r, g, b, alpha]: [u8; 4]) -> [u8; 3] {
    let alpha = u32::from(alpha);
    let mix =
        |ink: u8, paper: u8| ((u32::from(ink) * alpha + u32::from(paper) * (255 - alpha) + 127) / 255) as u8;
    [mix(r, paper[0]), mix(g, paper[1]), mix(b, paper[2])]
}

/// The places on the edge of a picture.
fn edge((h, w): (usize, usize)) -> impl Iterator<Item = (usize, usize)> {
    let columns = (0..w).flat_map(move |x| [(0, x), (h - 1, x)]);
    columns.chain((0..h).flat_map(move |y| [(y, 0), (y, w - 1)]))
}

/// Whether most of the edge is bright.
fn is_bright(levels: ArrayView2<'_, u8>) -> bool {
    Histogram::of(edge(levels.dim()).map(|at| levels[at])).quantile(0.5) >= 128
}

fn check_contrast(levels: ArrayView2<'_, u8>) -> Result<()> {
    let (least, most) = (levels.iter().min().unwrap_or(&0), levels.iter().max().unwrap_or(&0));
    match most - least {
        0 => bail!("{NO_DRAWING}: it has one value"),
        difference => ensure!(
            difference >= CONTRAST,
            "{NO_DRAWING}: its values differ by {difference} of 255, expected {CONTRAST} at least"
        ),
    }
    Ok(())
}

/// How much is ink, at half its strength or more.
fn percent(ink: &Array2<u8>) -> f32 {
    100.0 * ink.iter().filter(|&&level| level >= 128).count() as f32 / ink.len() as f32
}

/// Makes the strongest level 255, unless it is as good as that.
fn stretch(levels: &mut Array2<u8>) {
    let most = levels.iter().copied().max().unwrap_or(0);
    if (1..FULL).contains(&most) {
        levels.mapv_inplace(|level| (u32::from(level) * 255 / u32::from(most)) as u8);
    }
}

/// How many rows or columns of `side` ink fills at most: 20 of 28.
fn filled(side: usize) -> f64 {
    (side as f64 * 20.0 / 28.0).round().max(1.0)
}

/// Whether ink on a dark ground is scaled and centred as in MNIST.
///
/// In all of MNIST the longer side is 18 to 20 of 28 pixels, and the centre of mass less than half a pixel from (14, 14).
fn is_framed(ink: ArrayView2<'_, u8>) -> bool {
    let Some(extent) = Extent::of(ink, CONTRAST) else { return false };
    let (h, w) = ink.dim();
    let longer = (extent.h as f64 / filled(h)).max(extent.w as f64 / filled(w));
    let near = |mass: f64, side: usize| (mass - side as f64 / 2.0).abs() <= 0.6 * side as f64 / 28.0;
    (0.875..=1.0).contains(&longer) && near(extent.mass.0, h) && near(extent.mass.1, w)
}

/// The ink alone, scaled into 20 of 28 rows and columns of `size`, anti-aliased, its mass in the middle.
fn framed(mut ink: Array2<u8>, size: (usize, usize)) -> Result<Array2<u8>> {
    // What nine of ten pixels of the edge do not exceed is ground: uneven paper, noise.
    let most = ink.iter().copied().max().unwrap_or(0);
    let ground = Histogram::of(edge(ink.dim()).map(|at| ink[at])).quantile(0.9).min(most / 4);
    ink.mapv_inplace(|level| level.saturating_sub(ground));
    stretch(&mut ink);
    let found = percent(&ink);
    ensure!(found <= 50.0, "{NO_DRAWING}: {found:.0} % of it differ from its edge, expected 50 % at most");
    let Some(extent) = Extent::of(ink.view(), 64) else { bail!("{NO_DRAWING}: it has one value") };
    // Pixels of the picture for one of the result.
    let scale = (extent.h as f64 / filled(size.0)).max(extent.w as f64 / filled(size.1));
    let rows = taps(extent.first.0, extent.mass.0, scale, size.0, ink.nrows());
    let columns = taps(extent.first.1, extent.mass.1, scale, size.1, ink.ncols());
    // Rows first: `half` is [rows of the result, columns of the picture].
    let mut half = Array2::<f64>::zeros((size.0, ink.ncols()));
    for (mut to, taps) in half.rows_mut().into_iter().zip(&rows) {
        for &(y, weight) in taps {
            to.zip_mut_with(&ink.row(y), |sum, &level| *sum += weight * f64::from(level));
        }
    }
    let at = |(y, x): (usize, usize)| {
        columns[x].iter().map(|&(from, weight)| weight * half[[y, from]]).sum::<f64>()
    };
    let values = Array2::from_shape_fn(size, at);
    // A thin stroke is no weaker than a thick one.
    let most = values.iter().fold(0.0, |most: f64, &value| most.max(value));
    let stretched = if most < f64::from(FULL) { 255.0 / most } else { 1.0 };
    Ok(values.mapv(|value| (value * stretched).round() as u8))
}

/// For each pixel of one side of the result: the pixels of the picture that it covers, and how much of it each is. As in MNIST
/// the ink begins with a whole pixel, and its centre of mass is as near to the middle as whole pixels allow.
fn taps(first: usize, mass: f64, scale: f64, side: usize, picture: usize) -> Vec<Vec<(usize, f64)>> {
    let first = first as f64;
    // How many pixels come before the ink.
    let before = (side as f64 / 2.0 + 0.5 - (mass + 0.5 - first) / scale).round();
    let covered = |i: usize| {
        let from = first + (i as f64 - before) * scale;
        let to = from + scale;
        let pixels = from.max(0.0) as usize..(to.ceil().max(0.0) as usize).min(picture);
        pixels
            .map(|k| (k, (to.min(k as f64 + 1.0) - from.max(k as f64)) / scale))
            .filter(|&(_, weight)| weight > 0.0)
            .collect()
    };
    (0..side).map(covered).collect()
}

/// Where ink is.
struct Extent {
    /// The first row and column that hold it, and how many do.
    first: (usize, usize),
    h: usize,
    w: usize,
    /// Its centre of mass: row, column.
    mass: (f64, f64),
}

impl Extent {
    /// The rows and columns with levels of at least `least`, and the centre of all levels; none without such a level.
    fn of(ink: ArrayView2<'_, u8>, least: u8) -> Option<Self> {
        let (mut rows, mut columns) = (Span::default(), Span::default());
        let (mut sum, mut sum_y, mut sum_x) = (0u64, 0u64, 0u64);
        for ((y, x), &level) in ink.indexed_iter() {
            if level >= least {
                rows.add(y);
                columns.add(x);
            }
            let level = u64::from(level);
            (sum, sum_y, sum_x) = (sum + level, sum_y + level * y as u64, sum_x + level * x as u64);
        }
        let mass = (sum_y as f64 / sum as f64, sum_x as f64 / sum as f64);
        let ((top, h), (left, w)) = (rows.span()?, columns.span()?);
        Some(Self { first: (top, left), h, w, mass })
    }
}

#[derive(Default)]
struct Span(Option<(usize, usize)>);

impl Span {
    fn add(&mut self, at: usize) {
        let (first, last) = self.0.unwrap_or((at, at));
        self.0 = Some((first.min(at), last.max(at)));
    }

    /// The first, and how many from it to the last.
    fn span(&self) -> Option<(usize, usize)> {
        self.0.map(|(first, last)| (first, last - first + 1))
    }
}

/// How often each byte occurs.
struct Histogram([usize; 256]);

impl Histogram {
    fn of(bytes: impl Iterator<Item = u8>) -> Self {
        let mut counts = [0; 256];
        bytes.for_each(|byte| counts[usize::from(byte)] += 1);
        Self(counts)
    }

    /// The smallest byte that `share` of all do not exceed.
    fn quantile(&self, share: f64) -> u8 {
        let wanted = (share * self.0.iter().sum::<usize>() as f64).ceil() as usize;
        let mut seen = 0;
        let reached = |&count: &usize| {
            seen += count;
            seen >= wanted
        };
        self.0.iter().position(reached).unwrap_or(255) as u8
    }

    /// Between the lowest and the highest bytes, leaving out one of twenty at each end.
    fn spread(&self) -> u8 {
        self.quantile(0.95).saturating_sub(self.quantile(0.05))
    }
}

const SCALED: &str = "without --as-is it is scaled";

/// What is said of a picture of another size than the one that is expected.
fn other_size(expected: (usize, usize), found: (usize, usize), why: &str) -> String {
    format!(
        "expected a picture of {} pixels (width x height), found {}; {why}",
        shown(expected),
        shown(found)
    )
}

/// Width before height, as people say it.
fn shown((h, w): (usize, usize)) -> String {
    format!("{w}x{h}")
}

#[cfg(test)]
mod tests {
    use byhand_datasets::digits::{self, Part};

    use super::*;

    const FRAMED: Manner = Manner { ground: Ground::Dark, framed: true, fullest: 30.0 };

    fn picture(size: (usize, usize), pixel: impl Fn(usize, usize) -> [u8; 4]) -> Picture {
        let pixels = (0..size.0 * size.1).map(|i| pixel(i / size.1, i % size.1)).collect();
        Picture { size, pixels }
    }

    fn prepared(picture: &Picture, manner: Manner) -> Array2<u8> {
        Drawing(picture).prepare((28, 28), manner, Wishes::default()).unwrap()
    }

    /// Prepared once, a picture is as MNIST's are, and is not changed again.
    #[test]
    fn framing_is_that_of_mnist() {
        let digits = digits::generate(Part::Test, 200, 3);
        let found = Manner::of(&digits);
        assert_eq!((found.ground, found.framed), (Ground::Dark, false));
        for (h, w) in [(100, 30), (30, 100), (40, 40), (61, 47), (7, 19), (12, 12)] {
            // A corner: a beam, and a foot that pulls the mass aside.
            let ink = |y: usize, x: usize| y < h && x < w && (4 * x < w || 4 * y >= 3 * h);
            let large = picture((140, 112), |y, x| {
                if y >= 9 && x >= 5 && ink(y - 9, x - 5) { [0, 0, 0, 255] } else { [255; 4] }
            });
            let once = prepared(&large, FRAMED);
            assert!(is_framed(once.view()), "{h}x{w}: {once}");
            let again = picture((28, 28), |y, x| [once[[y, x]], once[[y, x]], once[[y, x]], 255]);
            assert_eq!(prepared(&again, FRAMED), once);
        }
    }

    /// The same ink in any colour on any ground is the same picture, wherever it lies.
    #[test]
    fn colours_and_places_do_not_matter() {
        let ink = |y: usize, x: usize| {
            (20..90).contains(&y) && (30..45).contains(&x) || (75..90).contains(&y) && (30..80).contains(&x)
        };
        let drawn = |ground: [u8; 4], stroke: [u8; 4], (dy, dx): (usize, usize)| {
            prepared(&picture((120, 130), |y, x| if ink(y + dy, x + dx) { stroke } else { ground }), FRAMED)
        };
        let wanted = drawn([255; 4], [0, 0, 0, 255], (0, 0));
        let (black, white, clear) = ([0, 0, 0, 255], [255; 4], [0; 4]);
        for (ground, stroke) in [
            (black, white),
            (clear, black),
            ([255, 255, 255, 0], white),
            (clear, [200, 30, 30, 255]),
            ([0, 130, 0, 255], [255, 0, 0, 255]),
            ([240, 230, 220, 255], [90, 90, 100, 255]),
        ] {
            for moved in [(0, 0), (15, 25)] {
                let found = drawn(ground, stroke, moved);
                let most = found.iter().zip(&wanted).map(|(&a, &b)| a.abs_diff(b)).max().unwrap();
                assert!(most <= 2, "{ground:?} {stroke:?} {moved:?}: {most}");
            }
        }
    }

    /// A sheet of paper whose corners are transparent is paper.
    #[test]
    fn paper_with_transparent_edges() {
        let sheet = |edge: [u8; 4]| {
            picture((80, 80), move |y, x| match (y, x) {
                _ if y < 6 || x < 6 || y >= 74 || x >= 74 => edge,
                (20..60, 38..44) => [10, 10, 10, 255],
                _ => [250, 250, 250, 255],
            })
        };
        let wanted = prepared(&sheet([250, 250, 250, 255]), FRAMED);
        assert_eq!(prepared(&sheet([0; 4]), FRAMED), wanted);
    }

    #[test]
    fn the_note_comes_back() {
        let manner = Manner { ground: Ground::Any, framed: true, fullest: 12.5 };
        let (_, text) = manner.note();
        assert_eq!(serde_json::from_str::<Manner>(&text).unwrap(), manner);
    }
}
