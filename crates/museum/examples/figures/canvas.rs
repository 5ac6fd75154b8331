//! What all figures are drawn with: a light card that can be read on any background, and a few shapes.

use svg::node::element::{Circle, Line, Path, Polyline, Rectangle, Text, Title};
use svg::{Document, Node};

pub const INK: &str = "#24292f";
pub const GREY: &str = "#8c959f";
pub const PALE: &str = "#eaeef2";
/// Values, on their way forward.
pub const BLUE: &str = "#0b5cad";
/// Gradients, on their way back.
pub const RED: &str = "#c2410c";

/// Where a text is held.
#[derive(Clone, Copy)]
pub enum Hold {
    Left,
    Middle,
    Right,
}

pub struct Canvas(Document);

impl Canvas {
    /// A card of this size; `alt` is what a screen reader says.
    pub fn new(width: f64, height: f64, alt: &str) -> Self {
        let card = Rectangle::new()
            .set("x", 0.5)
            .set("y", 0.5)
            .set("width", width - 1.0)
            .set("height", height - 1.0)
            .set("rx", 8)
            .set("fill", "#ffffff")
            .set("stroke", "#d0d7de");
        let document = Document::new()
            .set("viewBox", format!("0 0 {width} {height}"))
            .set("width", width)
            .set("height", height)
            .set("role", "img")
            .set("font-family", "Helvetica, Arial, sans-serif")
            .add(Title::new(alt))
            .add(card);
        Self(document)
    }

    /// The file.
    pub fn finish(self) -> String {
        format!("{}\n", self.0)
    }

    pub fn text(&mut self, x: f64, y: f64, size: f64, hold: Hold, colour: &str, text: impl Into<String>) {
        let anchor = match hold {
            Hold::Left => "start",
            Hold::Middle => "middle",
            Hold::Right => "end",
        };
        let text = Text::new(text)
            .set("x", round(x))
            .set("y", round(y))
            .set("font-size", size)
            .set("text-anchor", anchor)
            .set("fill", colour);
        self.0.append(text);
    }

    pub fn rectangle(
        &mut self,
        [x, y, width, height]: [f64; 4],
        fill: &str,
        stroke: &str,
        stroke_width: f64,
    ) {
        let rectangle = Rectangle::new()
            .set("x", round(x))
            .set("y", round(y))
            .set("width", round(width))
            .set("height", round(height))
            .set("fill", fill)
            .set("stroke", stroke)
            .set("stroke-width", stroke_width);
        self.0.append(rectangle);
    }

    pub fn line(&mut self, from: [f64; 2], to: [f64; 2], colour: &str, width: f64) {
        let line = Line::new()
            .set("x1", round(from[0]))
            .set("y1", round(from[1]))
            .set("x2", round(to[0]))
            .set("y2", round(to[1]))
            .set("stroke", colour)
            .set("stroke-width", width);
        self.0.append(line);
    }

    /// A line with a head.
    pub fn arrow(&mut self, from: [f64; 2], to: [f64; 2], colour: &str) {
        const HEAD: f64 = 8.0;
        let (dx, dy) = (to[0] - from[0], to[1] - from[1]);
        let length = (dx * dx + dy * dy).sqrt();
        let (dx, dy) = (dx / length, dy / length);
        let neck = [to[0] - HEAD * dx, to[1] - HEAD * dy];
        self.line(from, neck, colour, 1.6);
        let side = |sign: f64| {
            let half = 0.45 * HEAD * sign;
            format!("{} {}", round(neck[0] - half * dy), round(neck[1] + half * dx))
        };
        let data = format!("M{} {}L{}L{}z", round(to[0]), round(to[1]), side(1.0), side(-1.0));
        self.0.append(Path::new().set("d", data).set("fill", colour));
    }

    pub fn curve(&mut self, points: impl Iterator<Item = [f64; 2]>, colour: &str) {
        let points: Vec<String> = points.map(|[x, y]| format!("{},{}", round(x), round(y))).collect();
        let curve = Polyline::new()
            .set("points", points.join(" "))
            .set("fill", "none")
            .set("stroke", colour)
            .set("stroke-width", 2);
        self.0.append(curve);
    }

    pub fn dot(&mut self, [x, y]: [f64; 2], colour: &str) {
        let dot = Circle::new().set("cx", round(x)).set("cy", round(y)).set("r", 3.5).set("fill", colour);
        self.0.append(dot);
    }

    /// Squares of one colour.
    pub fn squares(&mut self, corners: impl Iterator<Item = [f64; 2]>, side: f64, fill: &str) {
        let squares: String = corners.map(|[x, y]| format!("M{x} {y}h{side}v{side}h-{side}z")).collect();
        if !squares.is_empty() {
            let path = Path::new()
                .set("d", squares)
                .set("fill", fill)
                .set("stroke", "#ffffff")
                .set("stroke-width", 0.5);
            self.0.append(path);
        }
    }

    /// Cells with texts in them, `columns` a row; each cell has its fill.
    pub fn grid(&mut self, at: [f64; 2], side: f64, columns: usize, colour: &str, cells: &[(String, &str)]) {
        self.fills(at, side, columns, cells);
        self.labels(at, side, columns, colour, cells);
    }

    /// The cells alone.
    pub fn fills(&mut self, at: [f64; 2], side: f64, columns: usize, cells: &[(String, &str)]) {
        for (i, (_, fill)) in cells.iter().enumerate() {
            let [x, y] = place(at, side, columns, i);
            self.rectangle([x, y, side, side], fill, GREY, 1.0);
        }
    }

    /// The texts alone.
    pub fn labels(
        &mut self,
        at: [f64; 2],
        side: f64,
        columns: usize,
        colour: &str,
        cells: &[(String, &str)],
    ) {
        for (i, (text, _)) in cells.iter().enumerate().filter(|(_, (text, _))| !text.is_empty()) {
            let [x, y] = middle(at, side, columns, i);
            self.text(x, y + 5.0, 14.0, Hold::Middle, colour, text);
        }
    }
}

/// The corner of cell `i` of a grid.
pub fn place(at: [f64; 2], side: f64, columns: usize, i: usize) -> [f64; 2] {
    [at[0] + (i % columns) as f64 * side, at[1] + (i / columns) as f64 * side]
}

/// Its middle.
pub fn middle(at: [f64; 2], side: f64, columns: usize, i: usize) -> [f64; 2] {
    place(at, side, columns, i).map(|corner| corner + side / 2.0)
}

/// A tenth of a pixel is enough, and is the same on every machine.
fn round(x: f64) -> f64 {
    (10.0 * x).round() / 10.0
}

/// A number as the page writes it: quarters as fractions.
pub fn number(x: f64) -> String {
    let sign = if x < 0.0 { "−" } else { "" };
    let quarters = (4.0 * x.abs()).round() as u64;
    match quarters % 4 {
        0 => format!("{sign}{}", quarters / 4),
        2 => format!("{sign}{}/2", quarters / 2),
        _ => format!("{sign}{quarters}/4"),
    }
}
