//! The built-in digits: 28x28 images drawn by the program, deterministic in a seed, for when there is no other data.
//!
//! Each digit has several shapes, as strokes through a few points. A sample picks one, bends the plane (a smooth random
//! displacement), then scales, slants, turns and moves it, and draws it with a pen of random and varying width, soft
//! edges, uneven ink and a few specks. Sample `i` is a function of `(seed, part, i)`: no sample depends on another, and
//! a larger set begins with a smaller one.
//!
//! Only IEEE `+ - * /` and square root decide a byte, so every machine draws the same ones.
//!
//! ```
//! use byhand_datasets::digits::{self, Part};
//! use byhand_datasets::idx;
//!
//! let digits = digits::generate(Part::Test, 10, digits::SEED);
//! let mut file = Vec::new(); // or a std::fs::File: a real IDX file
//! idx::write_images(&mut file, digits.images())?;
//! assert_eq!(idx::read_images(&file[..], "digits", idx::DEFAULT_LIMIT)?, digits.images());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use ndarray::Array3;

use crate::augment::sin_cos;
use crate::dataset::{Dataset, numbered_classes};
use crate::random::Random;

/// Rows and columns of an image.
pub const SIZE: usize = 28;

/// The seed used when none is asked for.
pub const SEED: u64 = 0;

/// Training and test digits are drawn from the same distribution with different random numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// For training.
    Train,
    /// For testing.
    Test,
}

/// The first `n` digits of a part. Every digit is equally likely.
pub fn generate(part: Part, n: usize, seed: u64) -> Dataset {
    let mut pixels = vec![0; n * SIZE * SIZE];
    let (images, _) = pixels.as_chunks_mut::<{ SIZE * SIZE }>();
    let labels =
        images.iter_mut().enumerate().map(|(i, image)| draw_into(part, i as u64, seed, image)).collect();
    let images = Array3::from_shape_vec((n, SIZE, SIZE), pixels).expect("n images");
    Dataset::new("built-in digits", images, labels, numbered_classes(10)).expect("ten classes, n labels")
}

/// Draws digit `index` of a part, row by row, and returns its label. Allocates nothing.
pub fn draw_into(part: Part, index: u64, seed: u64, pixels: &mut [u8; SIZE * SIZE]) -> u16 {
    let purpose = match part {
        Part::Train => b"digitstr",
        Part::Test => b"digitste",
    };
    let mut random = Random::new(purpose, seed, index, 0);
    let label = random.below(10) as u16;
    let shapes = SHAPES[usize::from(label)];
    let shape = shapes[random.below(shapes.len() as u32) as usize];
    let hand = Hand::new(&mut random);
    let mut ink = [NO_INK; SIZE * SIZE];
    for stroke in shape {
        hand.draw(stroke, &mut ink);
    }
    hand.develop(&ink, &mut random, pixels);
    label
}

/// x to the right, y down.
type Point = (f32, f32);

/// Points in hundredths of the unit square that a digit fills.
type Stroke = &'static [[u8; 2]];

/// How one sample is written: everything random about it except its specks.
struct Hand {
    /// Displacements at a grid of 4x4 points over the unit square.
    bend: [[Point; 4]; 4],
    /// Columns of the map from the bent unit square, centred, to pixels.
    to_x: Point,
    to_y: Point,
    centre: Point,
    /// Half the pen's width in pixels, at the start and the end of a stroke and in its middle.
    pen: [f32; 3],
    /// Pixels over which an edge fades.
    softness: f32,
    /// Brightest value, and how uneven the ink is.
    brightness: f32,
    grain: f32,
    specks: u32,
}

/// The depth of a pixel that no stroke has reached: far outside.
const NO_INK: f32 = -100.0;

impl Hand {
    fn new(random: &mut Random) -> Hand {
        let mut bend = [[(0.0, 0.0); 4]; 4];
        for point in bend.as_flattened_mut() {
            *point = (random.range(-0.1, 0.1), random.range(-0.1, 0.1));
        }
        let height = random.range(14.0, 21.0);
        let width = height * random.range(0.5, 1.0);
        let slant = random.range(-0.15, 0.5);
        let (sin, cos) = sin_cos(random.range(-0.25, 0.25));
        // Scale, then slant (x grows upwards), then turn.
        let to_x = (cos * width, sin * width);
        let (sx, sy) = (-slant * height, height);
        let to_y = (cos * sx - sin * sy, sin * sx + cos * sy);
        let centre = (13.5 + random.range(-2.5, 2.5), 13.5 + random.range(-2.5, 2.5));
        let pen = random.range(0.6, 1.9);
        Hand {
            bend,
            to_x,
            to_y,
            centre,
            pen: [pen * random.range(0.7, 1.1), pen, pen * random.range(0.7, 1.1)],
            softness: random.range(0.7, 1.5),
            brightness: random.range(180.0, 275.0),
            grain: random.range(0.0, 0.3),
            specks: random.below(4).saturating_sub(1),
        }
    }

    /// Draws a smooth curve (Catmull-Rom) through the stroke's points: `ink` becomes, for each pixel, the largest depth
    /// inside a stroke, pen radius minus distance.
    fn draw(&self, stroke: Stroke, ink: &mut [f32; SIZE * SIZE]) {
        const PIECES: usize = 4;
        let last = stroke.len() - 1;
        let point = |i: usize| (f32::from(stroke[i][0]) / 100.0, f32::from(stroke[i][1]) / 100.0);
        let mut from = self.place(point(0));
        for i in 0..last {
            let (a, b, c, d) = (point(i.saturating_sub(1)), point(i), point(i + 1), point((i + 2).min(last)));
            for piece in 1..=PIECES {
                let t = piece as f32 / PIECES as f32;
                let to = self.place((spline(a.0, b.0, c.0, d.0, t), spline(a.1, b.1, c.1, d.1, t)));
                self.segment(from, to, (i as f32 + t) / last as f32, ink);
                from = to;
            }
        }
    }

    /// From the unit square to pixels.
    fn place(&self, (x, y): Point) -> Point {
        // Bilinear displacement; points a little outside the square follow its border cells.
        let (gx, gy) = (x * 3.0, y * 3.0);
        let (i, j) = ((gx as usize).min(2), (gy as usize).min(2));
        let (tx, ty) = (gx - i as f32, gy - j as f32);
        let mix = |of: fn(&Point) -> f32| {
            let top = of(&self.bend[j][i]) * (1.0 - tx) + of(&self.bend[j][i + 1]) * tx;
            let bottom = of(&self.bend[j + 1][i]) * (1.0 - tx) + of(&self.bend[j + 1][i + 1]) * tx;
            top * (1.0 - ty) + bottom * ty
        };
        let (x, y) = (x + mix(|p| p.0) - 0.5, y + mix(|p| p.1) - 0.5);
        (self.to_x.0 * x + self.to_y.0 * y + self.centre.0, self.to_x.1 * x + self.to_y.1 * y + self.centre.1)
    }

    /// One straight piece, at `along` of its stroke (0 start, 1 end).
    fn segment(&self, (x0, y0): Point, (x1, y1): Point, along: f32, ink: &mut [f32; SIZE * SIZE]) {
        let [start, middle, end] = self.pen;
        let side = if along < 0.5 { start } else { end };
        let off_middle = (2.0 * along - 1.0) * (2.0 * along - 1.0);
        let radius = middle + (side - middle) * off_middle;

        let reach = radius + self.softness;
        let first = |v: f32| (v - reach).max(0.0) as usize;
        let beyond = |v: f32| ((v + reach + 1.0).max(0.0) as usize).min(SIZE);
        let (dx, dy) = (x1 - x0, y1 - y0);
        let per_length = 1.0 / (dx * dx + dy * dy + 1e-12);
        for row in first(y0.min(y1))..beyond(y0.max(y1)) {
            for column in first(x0.min(x1))..beyond(x0.max(x1)) {
                let (px, py) = (column as f32 - x0, row as f32 - y0);
                let t = ((px * dx + py * dy) * per_length).clamp(0.0, 1.0);
                let (ex, ey) = (px - t * dx, py - t * dy);
                let depth = radius - (ex * ex + ey * ey).sqrt();
                let ink = &mut ink[row * SIZE + column];
                if depth > *ink {
                    *ink = depth;
                }
            }
        }
    }

    /// From depths to bytes: soft edges, uneven ink, specks.
    fn develop(&self, ink: &[f32; SIZE * SIZE], random: &mut Random, pixels: &mut [u8; SIZE * SIZE]) {
        for (pixel, &depth) in pixels.iter_mut().zip(ink) {
            let cover = (depth / self.softness + 0.5).clamp(0.0, 1.0);
            *pixel = if cover > 0.0 {
                let grain = 1.0 - self.grain * random.unit();
                (self.brightness * cover * grain).min(255.0) as u8
            } else {
                0
            };
        }
        for _ in 0..self.specks {
            let at = random.below((SIZE * SIZE) as u32) as usize;
            pixels[at] = pixels[at].max(random.below(160) as u8);
        }
    }
}

/// The Catmull-Rom curve between `b` and `c` at `t` in `[0, 1]`.
fn spline(a: f32, b: f32, c: f32, d: f32, t: f32) -> f32 {
    0.5 * (2.0 * b + t * (c - a + t * (2.0 * a - 5.0 * b + 4.0 * c - d + t * (3.0 * (b - c) + d - a))))
}

/// The shapes of each digit, as strokes. Strokes are smooth; a corner is where one ends and the next begins.
const SHAPES: [&[&[Stroke]]; 10] = [ZERO, ONE, TWO, THREE, FOUR, FIVE, SIX, SEVEN, EIGHT, NINE];

const ZERO: &[&[Stroke]] = &[
    // An oval, closed.
    &[&[[50, 0], [18, 12], [2, 50], [18, 88], [50, 100], [82, 88], [98, 50], [82, 12], [50, 0]]],
    // Begun at the upper right, ends inside the loop.
    &[&[[72, 8], [42, 0], [12, 25], [4, 60], [25, 95], [60, 98], [90, 70], [92, 30], [70, 6], [45, 10]]],
    // Narrow and open at the top.
    &[&[[42, 2], [20, 25], [16, 65], [38, 98], [68, 92], [84, 55], [78, 20], [56, 6]]],
    // Round, with a tail to the right.
    &[&[[55, 4], [20, 20], [5, 55], [25, 92], [60, 98], [90, 75], [90, 35], [65, 8], [40, 6], [75, 0]]],
];

const ONE: &[&[Stroke]] = &[
    &[&[[50, 0], [50, 50], [50, 100]]],
    // A little curved.
    &[&[[56, 0], [48, 35], [46, 70], [50, 100]]],
    // With a flag.
    &[&[[28, 24], [42, 14], [54, 0]], &[[54, 0], [53, 50], [52, 100]]],
    // With a flag and a base.
    &[&[[26, 20], [50, 0]], &[[50, 0], [50, 50], [50, 100]], &[[18, 100], [50, 98], [84, 100]]],
];

const TWO: &[&[Stroke]] = &[
    // A round head, a sharp foot, a flat base.
    &[&[[8, 24], [26, 4], [60, 0], [86, 18], [82, 42], [50, 70], [6, 98]], &[[6, 98], [50, 96], [96, 98]]],
    // With a loop at the foot.
    &[&[
        [10, 20],
        [35, 0],
        [72, 8],
        [84, 32],
        [62, 64],
        [30, 92],
        [8, 96],
        [10, 78],
        [32, 78],
        [60, 94],
        [98, 96],
    ]],
    // Round at the foot.
    &[&[[14, 14], [46, 0], [80, 14], [80, 42], [50, 68], [18, 86], [24, 97], [60, 92], [94, 86]]],
    // Like a Z, with a hooked head.
    &[&[[6, 10], [44, 2], [86, 6]], &[[86, 6], [60, 42], [30, 72], [4, 96]], &[[4, 96], [40, 94], [92, 100]]],
];

const THREE: &[&[Stroke]] = &[
    // Two bows.
    &[&[[10, 14], [42, 0], [80, 12], [78, 36], [36, 48]], &[[36, 48], [82, 56], [92, 80], [60, 99], [8, 90]]],
    // A flat head.
    &[
        &[[10, 2], [50, 0], [88, 2]],
        &[[88, 2], [62, 24], [42, 42]],
        &[[42, 42], [78, 48], [92, 72], [66, 98], [8, 92]],
    ],
    // In one go, with a small loop in the middle.
    &[&[[14, 10], [50, 0], [78, 16], [66, 42], [40, 52], [42, 42], [72, 48], [90, 72], [62, 98], [10, 94]]],
    // Smooth in the middle.
    &[&[[8, 20], [36, 0], [76, 8], [78, 34], [56, 48], [80, 60], [84, 86], [46, 100], [10, 84]]],
];

const FOUR: &[&[Stroke]] = &[
    // Open at the top.
    &[&[[20, 2], [12, 30], [8, 56]], &[[8, 56], [50, 56], [94, 52]], &[[74, 4], [70, 50], [66, 100]]],
    // Closed: a triangle on a stem.
    &[&[[66, 0], [36, 34], [4, 66]], &[[4, 66], [50, 66], [98, 66]], &[[66, 0], [66, 50], [66, 100]]],
    // A cup on a stem.
    &[&[[14, 4], [6, 38], [24, 56], [58, 50], [80, 36]], &[[82, 0], [78, 50], [70, 100]]],
    // Angular and open, with a short stem.
    &[&[[30, 0], [4, 62]], &[[4, 62], [50, 60], [96, 60]], &[[62, 30], [60, 65], [60, 100]]],
];

const FIVE: &[&[Stroke]] = &[
    // A bar, a neck, a bow.
    &[
        &[[90, 2], [50, 2], [22, 4]],
        &[[22, 4], [18, 24], [14, 44]],
        &[[14, 44], [50, 36], [86, 54], [84, 84], [48, 100], [6, 92]],
    ],
    // In one go, with a sharp neck.
    &[
        &[[94, 0], [60, 4], [30, 6]],
        &[[30, 6], [20, 42]],
        &[[20, 42], [62, 46], [80, 70], [58, 94], [10, 98]],
    ],
    // Like an S.
    &[&[[92, 4], [56, 2], [26, 12], [22, 36], [50, 46], [80, 60], [78, 88], [44, 100], [8, 90]]],
    // The bar apart from the neck.
    &[
        &[[28, 8], [20, 30], [16, 46]],
        &[[16, 46], [54, 40], [82, 60], [70, 90], [34, 100], [8, 88]],
        &[[34, 6], [60, 6], [98, 0]],
    ],
];

const SIX: &[&[Stroke]] = &[
    // A round back and a loop.
    &[&[[72, 2], [36, 20], [12, 52], [14, 84], [46, 100], [82, 86], [84, 60], [54, 48], [16, 66]]],
    // A straight back and a small loop.
    &[&[[56, 0], [32, 34], [14, 70], [30, 97], [64, 97], [78, 76], [60, 60], [32, 66], [18, 84]]],
    // A hooked head and a wide loop.
    &[&[[86, 12], [60, 0], [24, 18], [6, 56], [18, 92], [54, 100], [88, 80], [80, 52], [48, 44], [12, 60]]],
    // A loop that stays open.
    &[&[[50, 0], [22, 30], [10, 66], [28, 96], [66, 98], [90, 76], [74, 56], [42, 60], [36, 72]]],
];

const SEVEN: &[&[Stroke]] = &[
    &[&[[6, 4], [50, 4], [92, 2]], &[[92, 2], [68, 46], [42, 100]]],
    // With a bar.
    &[&[[8, 4], [50, 2], [92, 4]], &[[92, 4], [66, 48], [44, 100]], &[[36, 50], [64, 48], [92, 50]]],
    // With a serif and a bent leg.
    &[&[[8, 20], [10, 4]], &[[10, 4], [50, 6], [90, 2]], &[[90, 2], [66, 28], [54, 60], [52, 100]]],
    // Round at the corner.
    &[&[[6, 8], [36, 3], [74, 0], [86, 12], [70, 42], [52, 72], [40, 100]]],
];

const EIGHT: &[&[Stroke]] = &[
    // In one go, from the upper right.
    &[&[
        [78, 14],
        [46, 0],
        [18, 18],
        [34, 40],
        [70, 58],
        [84, 82],
        [50, 100],
        [16, 82],
        [30, 58],
        [64, 40],
        [78, 14],
    ]],
    // Two rings.
    &[
        &[[50, 0], [22, 10], [20, 34], [50, 46], [80, 34], [78, 10], [50, 0]],
        &[[50, 46], [16, 58], [12, 86], [50, 100], [88, 86], [84, 58], [50, 46]],
    ],
    // Open at the upper right.
    &[&[[86, 10], [54, 0], [22, 14], [36, 38], [72, 60], [74, 90], [42, 100], [20, 80], [46, 54], [80, 26]]],
    // A small head on a large body.
    &[
        &[[52, 2], [32, 12], [34, 32], [54, 40], [74, 28], [70, 8], [52, 2]],
        &[[54, 40], [20, 50], [6, 78], [36, 100], [76, 96], [92, 70], [76, 48], [54, 40]],
    ],
];

const NINE: &[&[Stroke]] = &[
    // A ring and a straight stem.
    &[
        &[[82, 16], [50, 0], [16, 14], [14, 40], [46, 52], [80, 32], [84, 10]],
        &[[84, 10], [80, 55], [74, 100]],
    ],
    // A ring and a bent tail.
    &[&[
        [82, 22],
        [60, 0],
        [24, 8],
        [14, 34],
        [38, 52],
        [74, 38],
        [84, 16],
        [84, 50],
        [72, 86],
        [42, 100],
        [14, 90],
    ]],
    // A ring that flows into a curved stem.
    &[&[[76, 10], [42, 0], [12, 22], [20, 48], [56, 46], [80, 12], [72, 46], [56, 76], [44, 100]]],
    // A small ring on a long stem.
    &[&[[74, 6], [44, 2], [24, 20], [34, 40], [62, 36], [76, 6]], &[[76, 6], [70, 50], [62, 100]]],
];
