//! Line charts in SVG: two axes, a curve or a mark per series, named at its end.

use maud::{Markup, html};

/// A series: its name and its points.
pub type Curve = (String, Vec<[f64; 2]>);

/// How an axis spreads its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Evenly.
    Linear,
    /// By their logarithms.
    Log,
    /// By their logarithms, the small ones at the far end.
    LogFlipped,
}

/// An axis.
#[derive(Debug, Clone)]
pub struct Axis {
    /// What is counted on it.
    pub name: String,
    /// How it spreads its numbers.
    pub scale: Scale,
    /// Where it has lines; with none, they are found.
    pub ticks: Vec<f64>,
    /// How a tick is written.
    pub text: fn(f64) -> String,
}

impl Axis {
    /// An even axis with ticks of its own choice.
    pub fn linear(name: &str, text: fn(f64) -> String) -> Axis {
        Axis { name: name.into(), scale: Scale::Linear, ticks: Vec::new(), text }
    }

    /// Where a number stands, from 0 to 1. An axis of logarithms reaches a little beyond the outer ticks and points.
    fn place(&self, x: f64, [least, most]: [f64; 2]) -> f64 {
        let share = match self.scale {
            Scale::Linear => return (x - least) / (most - least).max(f64::MIN_POSITIVE),
            Scale::Log | Scale::LogFlipped => (x / least).ln() / (most / least).ln(),
        };
        let share = if self.scale == Scale::LogFlipped { 1.0 - share } else { share };
        0.04 + 0.92 * share
    }

    /// What the axis has to reach, of its ticks and of the points.
    fn reach(&self, points: impl Iterator<Item = f64> + Clone) -> [f64; 2] {
        let least = points.clone().fold(f64::INFINITY, f64::min);
        let most = points.fold(f64::NEG_INFINITY, f64::max);
        let below =
            self.ticks.iter().copied().filter(|&tick| tick <= least).fold(f64::NEG_INFINITY, f64::max);
        let above = self.ticks.iter().copied().filter(|&tick| tick >= most).fold(f64::INFINITY, f64::min);
        [if below.is_finite() { below } else { least }, if above.is_finite() { above } else { most }]
    }

    /// Round numbers over what the points reach, about five.
    fn find_ticks(&mut self, points: impl Iterator<Item = f64> + Clone) {
        if !self.ticks.is_empty() {
            return;
        }
        let least = points.clone().fold(f64::INFINITY, f64::min);
        let most = points.fold(f64::NEG_INFINITY, f64::max);
        let span = if most > least { most - least } else { least.abs().max(1.0) };
        let rough = span / 5.0;
        let power = 10f64.powf(rough.log10().floor());
        let step =
            power * [1.0, 2.0, 5.0, 10.0].into_iter().find(|nice| nice * power >= rough).unwrap_or(10.0);
        let (first, last) = ((least / step).floor() as i64, ((least + span) / step).ceil() as i64);
        self.ticks = (first..=last).map(|n| n as f64 * step).collect();
    }
}

/// The colours of a chart: those of a file that stands alone, or the names of a page's.
struct Palette {
    ink: &'static str,
    grey: &'static str,
    pale: &'static str,
    card: &'static str,
    /// Told apart by people who see colours differently (Okabe and Ito), darkened for thin lines on white.
    curves: [&'static str; 7],
}

const ALONE: Palette = Palette {
    ink: "#24292f",
    grey: "#57606a",
    pale: "#d8dee4",
    card: "#ffffff",
    curves: ["#0072b2", "#c2410c", "#007a5a", "#a3478a", "#946c00", "#24292f", "#2d8fc4"],
};

const OF_PAGE: Palette = Palette {
    ink: "var(--ink)",
    grey: "var(--grey)",
    pale: "var(--pale)",
    card: "var(--card)",
    curves: ["var(--c0)", "var(--c1)", "var(--c2)", "var(--c3)", "var(--c4)", "var(--c5)", "var(--c6)"],
};

/// The sides of a chart, and the corners of what its axes enclose; behind them is room for the names of curves.
struct Frame {
    width: f64,
    height: f64,
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    /// Between two names at least.
    gap: f64,
}

const FILE: Frame =
    Frame { width: 760.0, height: 400.0, left: 64.0, right: 600.0, top: 56.0, bottom: 340.0, gap: 16.0 };

/// Smaller, so that it can be read on a telephone, where a page has larger letters in it.
const PART: Frame =
    Frame { width: 520.0, height: 340.0, left: 58.0, right: 388.0, top: 50.0, bottom: 282.0, gap: 18.0 };

/// A curve has no more marks than these.
const MARKS: usize = 40;
/// A curve of more points is thinned: a screen has no more columns.
const POINTS: usize = 500;

/// A chart.
#[derive(Debug, Clone)]
pub struct Chart {
    /// What it shows.
    pub title: String,
    /// The axis across.
    pub x: Axis,
    /// The axis up.
    pub y: Axis,
    /// The curves. Points that are not finite are left out.
    pub series: Vec<Curve>,
}

impl Chart {
    /// The chart as a file of its own, on a light card; nothing without a point.
    pub fn file(self) -> Option<String> {
        self.draw(&ALONE, &FILE, true).map(|chart| format!("{}\n", chart.into_string()))
    }

    /// The chart as a part of a [page](crate::page), in its colours; nothing without a point.
    pub fn part(self) -> Option<Markup> {
        self.draw(&OF_PAGE, &PART, false)
    }

    fn draw(mut self, palette: &Palette, frame: &Frame, is_file: bool) -> Option<Markup> {
        for (_, points) in &mut self.series {
            points.retain(|point| point.iter().all(|number| number.is_finite()));
            let stride = points.len().div_ceil(POINTS).max(1);
            let last = points.len().saturating_sub(1);
            *points = points
                .iter()
                .enumerate()
                .filter(|(i, _)| i % stride == 0 || *i == last)
                .map(|(_, point)| *point)
                .collect();
        }
        self.series.retain(|(_, points)| !points.is_empty());
        if self.series.is_empty() {
            return None;
        }
        let Chart { title, mut x, mut y, series } = self;
        let points = || series.iter().flat_map(|(_, points)| points);
        x.find_ticks(points().map(|[x, _]| *x));
        y.find_ticks(points().map(|[_, y]| *y));
        let across = x.reach(points().map(|[x, _]| *x));
        let up = y.reach(points().map(|[_, y]| *y));
        let &Frame { width, height, left, right, top, bottom, gap } = frame;
        let at_x = |value| left + (right - left) * x.place(value, across);
        let at_y = |value| bottom - (bottom - top) * y.place(value, up);
        let is_within = |[least, most]: [f64; 2]| move |tick: &&f64| (least..=most).contains(*tick);
        let ends: Vec<[f64; 2]> = series
            .iter()
            .map(|(_, points)| points[points.len() - 1])
            .map(|[a, b]| [at_x(a), at_y(b)])
            .collect();
        let names = apart(&ends, gap);
        let xmlns = is_file.then_some("http://www.w3.org/2000/svg");
        let card = is_file.then_some(palette.card);
        Some(html! {
            svg xmlns=[xmlns] viewBox={ "0 0 " (width) " " (height) } width=(width) height=(height) role="img"
                font-family="Helvetica, Arial, sans-serif" {
                title { (title) }
                @if let Some(card) = card {
                    rect x="0.5" y="0.5" width=(width - 1.0) height=(height - 1.0) rx="8" fill=(card) stroke="#d0d7de" {}
                }
                (text([24.0, 30.0], 16, "start", palette.ink, &title))
                (text([(left + right) / 2.0, height - 18.0], 13, "middle", palette.grey, &x.name))
                (text([left - 8.0, top - 6.0], 13, "start", palette.grey, &y.name))
                @for &tick in x.ticks.iter().filter(is_within(across)) {
                    path d={ "M" (round(at_x(tick))) " " (top) "V" (bottom) } stroke=(palette.pale) {}
                    (text([at_x(tick), bottom + 18.0], 13, "middle", palette.grey, &(x.text)(tick)))
                }
                @for &tick in y.ticks.iter().filter(is_within(up)) {
                    path d={ "M" (left) " " (round(at_y(tick))) "H" (right) } stroke=(palette.pale) {}
                    (text([left - 8.0, at_y(tick) + 4.5], 13, "end", palette.grey, &(y.text)(tick)))
                }
                @for (i, (name, points)) in series.iter().enumerate() {
                    @let colour = palette.curves[i % palette.curves.len()];
                    @let places: Vec<[f64; 2]> = points.iter().map(|&[a, b]| [round(at_x(a)), round(at_y(b))]).collect();
                    polyline points=(joined(&places)) fill="none" stroke=(colour) stroke-width="2" {}
                    @if places.len() <= MARKS {
                        @for [x, y] in &places { circle cx=(x) cy=(y) r="3.5" fill=(colour) {} }
                    }
                    // Lines end before the letters.
                    text x=(round(ends[i][0] + 9.0)) y=(round(names[i] + 4.5)) font-size="13" fill=(colour) paint-order="stroke"
                        stroke=(palette.card) stroke-width="4" { (name) }
                }
            }
        })
    }
}

/// Heights for the names of ends, none nearer than `gap` to another whose name begins beside it.
fn apart(ends: &[[f64; 2]], gap: f64) -> Vec<f64> {
    const LENGTH: f64 = 130.0;
    let mut order: Vec<usize> = (0..ends.len()).collect();
    order.sort_by(|&a, &b| ends[a][1].total_cmp(&ends[b][1]));
    let mut heights: Vec<f64> = ends.iter().map(|end| end[1]).collect();
    for (i, &this) in order.iter().enumerate() {
        for &above in &order[..i] {
            if (ends[this][0] - ends[above][0]).abs() < LENGTH && heights[this] - heights[above] < gap {
                heights[this] = heights[above] + gap;
            }
        }
    }
    heights
}

fn text([x, y]: [f64; 2], size: u32, hold: &str, colour: &str, words: &str) -> Markup {
    html! { text x=(round(x)) y=(round(y)) font-size=(size) text-anchor=(hold) fill=(colour) { (words) } }
}

fn joined(places: &[[f64; 2]]) -> String {
    places.iter().map(|[x, y]| format!("{x},{y}")).collect::<Vec<_>>().join(" ")
}

/// A tenth of a pixel is enough, and is the same on every machine.
fn round(x: f64) -> f64 {
    (10.0 * x).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<[f64; 2]>) -> Chart {
        let axis = |name| Axis::linear(name, |x| format!("{x}"));
        Chart {
            title: "a < b".into(),
            x: axis("across"),
            y: axis("up"),
            series: vec![("one".into(), points)],
        }
    }

    #[test]
    fn any_points_make_a_chart_or_none() {
        assert!(chart(vec![]).part().is_none());
        assert!(chart(vec![[f64::NAN, 1.0], [1.0, f64::INFINITY]]).file().is_none());
        for points in [
            vec![[0.0, 0.0]],
            vec![[3.0, -2.0], [3.0, -2.0]],
            (0..9999).map(|i| [f64::from(i), 1e-9 * f64::from(i)]).collect(),
        ] {
            let drawn = chart(points).file().unwrap();
            assert!(
                !drawn.contains("NaN") && !drawn.contains("inf") && drawn.contains("a &lt; b"),
                "{drawn}"
            );
            assert!(drawn.len() < 30_000, "{}", drawn.len());
        }
    }

    #[test]
    fn ticks_are_round() {
        let mut axis = Axis::linear("", |x| format!("{x}"));
        axis.find_ticks([0.13, 0.97].into_iter());
        assert_eq!(
            axis.ticks.iter().map(|tick| (10.0 * tick).round() as i32).collect::<Vec<_>>(),
            [0, 2, 4, 6, 8, 10]
        );
    }
}
