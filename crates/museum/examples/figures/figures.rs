//! The figures.

use byhand_datasets::digits::{self, Part};
use byhand_layers::init::Init;
use byhand_layers::loss::{Labels, Loss, SoftmaxCrossEntropy};
use byhand_layers::{
    Block, Conv2d, ConvOptions, Dense, Describe, Layer, MaxPool2d, Pass, Relu, Saved, Scalar, Shape, Sigmoid,
    Tanh,
};
use rand::rngs::ChaCha8Rng;
use rand::{Rng, RngExt, SeedableRng};

use super::canvas::{BLUE, Canvas, GREY, Hold, INK, PALE, RED, middle, number, place};

const SOFT_BLUE: &str = "#d6e6f7";
const SOFT_RED: &str = "#fbdcca";

/// The image network of the page as a graph: what flows which way.
pub fn graph() -> String {
    const STEP: f64 = 152.0;
    let mut canvas = Canvas::new(
        852.0,
        250.0,
        "A network as a row of boxes. Values run from left to right above, gradients from right to left below. Each layer with \
         parameters is given its weight and bias, and gives back their gradients.",
    );
    let layers = ["convolution", "ReLU", "max-pool", "dense", "softmax, loss"];
    let values = ["x", "a", "r", "m", "z", "L"];
    let gradients = ["", "da", "dr", "dm", "dz", ""];
    let parameters = [Some(("w, b", "dw, db")), None, None, Some(("W, B", "dW, dB")), Some(("label", ""))];
    for (i, (layer, parameters)) in layers.into_iter().zip(parameters).enumerate() {
        let x = 66.0 + i as f64 * STEP;
        canvas.rectangle([x, 70.0, 104.0, 70.0], PALE, GREY, 1.0);
        canvas.text(x + 52.0, 110.0, 14.0, Hold::Middle, INK, layer);
        if let Some((given, back)) = parameters {
            canvas.arrow([x + 32.0, 200.0], [x + 32.0, 142.0], BLUE);
            canvas.text(x + 32.0, 218.0, 14.0, Hold::Middle, BLUE, given);
            if !back.is_empty() {
                canvas.arrow([x + 72.0, 142.0], [x + 72.0, 200.0], RED);
                canvas.text(x + 78.0, 218.0, 14.0, Hold::Middle, RED, back);
            }
        }
    }
    for i in 0..=layers.len() {
        let x = 18.0 + i as f64 * STEP;
        canvas.arrow([x, 86.0], [x + 46.0, 86.0], BLUE);
        canvas.text(x + 22.0, 78.0, 14.0, Hold::Middle, BLUE, values[i]);
        if !gradients[i].is_empty() {
            canvas.arrow([x + 46.0, 126.0], [x, 126.0], RED);
            canvas.text(x + 23.0, 146.0, 14.0, Hold::Middle, RED, gradients[i]);
        }
    }
    canvas.text(18.0, 34.0, 14.0, Hold::Left, BLUE, "forward: values");
    canvas.text(150.0, 34.0, 14.0, Hold::Left, RED, "backward: gradients, along the same arrows");
    canvas.finish()
}

/// The products of a dense layer, drawn to scale.
pub fn dense_products() -> String {
    const UNIT: f64 = 17.0;
    const SAMPLES: (f64, &str) = (5.0, "N");
    const INPUTS: (f64, &str) = (4.0, "in");
    const OUTPUTS: (f64, &str) = (2.0, "out");
    let mut canvas = Canvas::new(
        900.0,
        180.0,
        "Three matrix products as rectangles: Y is X times w transposed, dX is dY times w, dw is dY transposed times X. The inner \
         sides of each product are equal.",
    );
    let products = [
        (BLUE, ["Y", "X", "wᵀ"], [[SAMPLES, OUTPUTS], [SAMPLES, INPUTS], [INPUTS, OUTPUTS]]),
        (RED, ["dX", "dY", "w"], [[SAMPLES, INPUTS], [SAMPLES, OUTPUTS], [OUTPUTS, INPUTS]]),
        (RED, ["dw", "dYᵀ", "X"], [[OUTPUTS, INPUTS], [OUTPUTS, SAMPLES], [SAMPLES, INPUTS]]),
    ];
    for (i, (colour, names, sides)) in products.into_iter().enumerate() {
        let mut x = 40.0 + 272.0 * i as f64;
        for (k, (name, [rows, columns])) in names.into_iter().zip(sides).enumerate() {
            let (width, height) = (columns.0 * UNIT, rows.0 * UNIT);
            let y = 104.0 - height / 2.0;
            let fill = if name.starts_with('d') { SOFT_RED } else { SOFT_BLUE };
            canvas.rectangle([x, y, width, height], fill, GREY, 1.0);
            canvas.text(x + width / 2.0, 109.0, 14.0, Hold::Middle, if k == 0 { colour } else { INK }, name);
            canvas.text(x + width / 2.0, y - 5.0, 11.0, Hold::Middle, GREY, columns.1);
            canvas.text(x - 4.0, 108.0, 11.0, Hold::Right, GREY, rows.1);
            x += width + 28.0;
            if k == 0 {
                canvas.text(x - 15.0, 109.0, 16.0, Hold::Middle, INK, "=");
                x += 20.0;
            }
        }
    }
    for (i, text) in ["forward", "gradient of the input", "gradient of the weight"].iter().enumerate() {
        canvas.text(30.0 + 272.0 * i as f64, 32.0, 14.0, Hold::Left, INK, *text);
    }
    canvas.finish()
}

/// The bias gradient of a dense layer and of a convolution, both computed by the layers.
pub fn bias_sum() -> String {
    const SIDE: f64 = 40.0;
    let mut canvas = Canvas::new(
        760.0,
        252.0,
        "Left: the rows of dY of a dense layer, one per sample, are added to db. Right: all numbers of the dy of two samples of a \
         convolution with one channel are added to one number, db.",
    );
    let dy: [f64; 6] = [1.0, -2.0, 3.0, 1.0, -1.0, 2.0];
    let dense = backward(&Dense::new(2, 2, true).unwrap(), 3, &[0.0; 6], &[0.0; 6], &dy);
    canvas.text(30.0, 34.0, 14.0, Hold::Left, INK, "dense: a sum over samples");
    for (sample, name) in ["sample 0", "sample 1", "sample 2"].iter().enumerate() {
        canvas.text(92.0, 80.0 + SIDE * sample as f64, 13.0, Hold::Right, GREY, *name);
    }
    canvas.grid([104.0, 55.0], SIDE, 2, RED, &cells(&dy, |_| SOFT_RED));
    for column in 0..2 {
        let x = 124.0 + SIDE * column as f64;
        canvas.arrow([x, 178.0], [x, 194.0], RED);
    }
    canvas.text(92.0, 222.0, 14.0, Hold::Right, RED, "db");
    canvas.grid([104.0, 197.0], SIDE, 2, RED, &cells(&dense.dtheta[4..], |_| PALE));

    let conv = Conv2d::new(Shape::new(1, 3, 4), 1, ConvOptions::square(2)).unwrap();
    let dy: [f64; 12] = [1.0, 0.0, -1.0, 2.0, 0.0, 1.0, 0.0, -2.0, 1.0, 3.0, 0.0, -1.0];
    let found = backward(&conv, 2, &[0.0; 5], &[0.0; 24], &dy);
    canvas.text(330.0, 34.0, 14.0, Hold::Left, INK, "convolution: a sum over samples and pixels");
    for (sample, dy) in dy.chunks(6).enumerate() {
        let x = 330.0 + 150.0 * sample as f64;
        canvas.text(x, 76.0, 13.0, Hold::Left, GREY, format!("sample {sample}"));
        canvas.grid([x, 86.0], SIDE, 3, RED, &cells(dy, |_| SOFT_RED));
    }
    canvas.arrow([606.0, 126.0], [650.0, 126.0], RED);
    canvas.text(678.0, 98.0, 14.0, Hold::Middle, RED, "db");
    canvas.grid([658.0, 106.0], SIDE, 1, RED, &cells(&found.dtheta[4..], |_| PALE));
    canvas.finish()
}

/// One pixel, the four outputs it went into, and the taps that it met.
pub fn kernel_flip() -> String {
    const SIDE: f64 = 30.0;
    const PIXEL: [usize; 2] = [1, 1];
    let mut canvas = Canvas::new(
        760.0,
        384.0,
        "Pixel (1, 1) lies in four windows of a 2 by 2 kernel: in that of output (0, 0) under tap (1, 1), in that of output (0, 1) \
         under tap (1, 0), in that of output (1, 0) under tap (0, 1), in that of output (1, 1) under tap (0, 0). Laid side by side as \
         the outputs are, the taps are the kernel turned by 180 degrees.",
    );
    canvas.text(28.0, 32.0, 14.0, Hold::Left, BLUE, "forward: pixel (1, 1) of x lies in four windows");
    let outputs = [[0, 0], [0, 1], [1, 0], [1, 1]];
    let taps = outputs.map(|[i, j]| [PIXEL[0] - i, PIXEL[1] - j]);
    for (k, (output, tap)) in outputs.into_iter().zip(taps).enumerate() {
        let at = [28.0 + 182.0 * k as f64, 50.0];
        let fill = |place: usize| {
            let (row, column) = (place / 4, place % 4);
            match () {
                () if [row, column] == PIXEL => RED,
                () if row.wrapping_sub(output[0]) < 2 && column.wrapping_sub(output[1]) < 2 => SOFT_BLUE,
                () => "#ffffff",
            }
        };
        let blank: Vec<(String, &str)> = (0..16).map(|place| (String::new(), fill(place))).collect();
        canvas.grid(at, SIDE, 4, INK, &blank);
        let [x, y] = place(at, SIDE, 4, output[0] * 4 + output[1]);
        canvas.rectangle([x, y, 2.0 * SIDE, 2.0 * SIDE], "none", BLUE, 2.5);
        let text = format!("y[{}, {}] met it with w[{}, {}]", output[0], output[1], tap[0], tap[1]);
        canvas.text(at[0] - 6.0, 192.0, 13.0, Hold::Left, INK, text);
    }
    canvas.text(28.0, 238.0, 14.0, Hold::Left, RED, "backward: the four outputs, each times the tap it used");
    let name = |what: &str, [i, j]: [usize; 2]| (format!("{what}[{i},{j}]"), "#ffffff");
    let red = |(text, _)| (text, SOFT_RED);
    canvas.text(28.0, 315.0, 14.0, Hold::Left, RED, "dx[1, 1]  =  sum of");
    canvas.grid([160.0, 252.0], 56.0, 2, INK, &outputs.map(|output| red(name("dy", output))));
    canvas.text(302.0, 313.0, 14.0, Hold::Middle, INK, "times");
    canvas.grid([330.0, 252.0], 56.0, 2, INK, &taps.map(|tap| name("w", tap)));
    canvas.text(462.0, 302.0, 14.0, Hold::Left, INK, "This is the kernel turned by 180 degrees:");
    canvas.text(462.0, 324.0, 14.0, Hold::Left, INK, "last row first, last column first.");
    canvas.finish()
}

/// A row of pixels under a kernel of three taps with stride 2.
pub fn stride_phases() -> String {
    const SIDE: f64 = 44.0;
    const TAPS: usize = 3;
    const STRIDE: usize = 2;
    const PIXELS: usize = 7;
    let outputs = (PIXELS - TAPS) / STRIDE + 1;
    let mut canvas = Canvas::new(
        760.0,
        252.0,
        "Seven pixels, three outputs, three taps, stride 2. Even pixels are joined to outputs by taps 0 and 2, odd pixels by tap 1 \
         alone.",
    );
    let colour = |pixel: usize| if pixel.is_multiple_of(STRIDE) { BLUE } else { RED };
    let soft = |pixel: usize| if pixel.is_multiple_of(STRIDE) { SOFT_BLUE } else { SOFT_RED };
    let (x_at, y_at) = ([70.0, 182.0], [70.0 + SIDE, 40.0]);
    let output_middle = |j: usize| [y_at[0] + (STRIDE * j) as f64 * SIDE + SIDE / 2.0, y_at[1] + SIDE / 2.0];
    for j in 0..outputs {
        for tap in 0..TAPS {
            let pixel = STRIDE * j + tap;
            let from = [output_middle(j)[0], y_at[1] + SIDE];
            let to = [middle(x_at, SIDE, PIXELS, pixel)[0] + 7.0 * (1.0 - tap as f64), x_at[1]];
            canvas.arrow(from, to, colour(pixel));
            let share = 0.62;
            let (x, y) = (from[0] + share * (to[0] - from[0]), from[1] + share * (to[1] - from[1]));
            let shift = [-11.0, 9.0, 11.0][tap];
            canvas.text(x + shift, y + 4.0, 12.0, Hold::Middle, colour(pixel), tap.to_string());
        }
        let [x, y] = output_middle(j);
        canvas.rectangle([x - SIDE / 2.0, y - SIDE / 2.0, SIDE, SIDE], PALE, GREY, 1.0);
        canvas.text(x, y + 5.0, 14.0, Hold::Middle, INK, format!("dy[{j}]"));
    }
    let pixels: Vec<(String, &str)> =
        (0..PIXELS).map(|pixel| (format!("dx[{pixel}]"), soft(pixel))).collect();
    canvas.grid(x_at, SIDE, PIXELS, INK, &pixels);
    let lines = [
        (INK, "Three taps, stride 2: tap v of output j".to_string()),
        (INK, "meets pixel 2·j + v.".to_string()),
        (BLUE, format!("Even pixels: taps {}.", met(0, TAPS, STRIDE))),
        (RED, format!("Odd pixels: tap {}.", met(1, TAPS, STRIDE))),
        (INK, "Each phase is an input gradient of".to_string()),
        (INK, "stride 1, with its own taps.".to_string()),
    ];
    for (i, (colour, text)) in lines.into_iter().enumerate() {
        canvas.text(440.0, 70.0 + 24.0 * i as f64, 14.0, Hold::Left, colour, text);
    }
    canvas.finish()
}

/// The taps that pixels of this phase meet.
fn met(phase: usize, taps: usize, stride: usize) -> String {
    let met: Vec<String> = (phase..taps).step_by(stride).map(|tap| tap.to_string()).collect();
    met.join(" and ")
}

/// The pool of the page's image network.
pub fn pool_scatter() -> String {
    const SIDE: f64 = 46.0;
    let pool = MaxPool2d::new(Shape::new(1, 3, 3), [2, 2], [1, 1]).unwrap();
    let r = [0.0, 0.0, 0.0, 3.0, 0.0, 0.0, 0.0, 0.0, 1.0];
    let dm = [0.75, 2.25, -1.5, 2.25];
    let found = backward(&pool, 1, &[], &r, &dm);
    // Where each number goes, found out by sending one alone.
    let targets: Vec<usize> = (0..4)
        .map(|k| {
            let one: Vec<f64> = (0..4).map(|i| f64::from(u8::from(i == k))).collect();
            backward(&pool, 1, &[], &r, &one).dx.iter().position(|d| *d != 0.0).unwrap()
        })
        .collect();
    let mut canvas = Canvas::new(
        780.0,
        236.0,
        "Forward: four overlapping windows of a 3 by 3 map, each with its maximum. Backward: each of the four gradients goes to the \
         place of its window's maximum; two go to the same place and are added.",
    );
    canvas.text(26.0, 34.0, 14.0, Hold::Left, BLUE, "forward: the maximum of each window");
    canvas.text(440.0, 34.0, 14.0, Hold::Left, RED, "backward: to the place it came from");
    // The outputs stand one below the other, so that arrows do not run through them.
    const HALF: f64 = 34.5;
    let (r_at, m_at, dm_at, dr_at) = ([26.0, 70.0], [290.0, 70.0], [440.0, 70.0], [610.0, 70.0]);
    let chosen = |place: usize| if targets.contains(&place) { SOFT_BLUE } else { "#ffffff" };
    let reached = |place: usize| if targets.contains(&place) { SOFT_RED } else { "#ffffff" };
    let grids = [
        (r_at, SIDE, 3, cells(&r, chosen)),
        (m_at, HALF, 1, cells(&found.y, |_| PALE)),
        (dm_at, HALF, 1, cells(&dm, |_| SOFT_RED)),
        (dr_at, SIDE, 3, cells(&found.dx, reached)),
    ];
    for (at, side, columns, cells) in &grids {
        canvas.fills(*at, *side, *columns, cells);
    }
    for (k, &target) in targets.iter().enumerate() {
        let ([x, y], [from_x, from_y]) = (middle(m_at, HALF, 1, k), middle(r_at, SIDE, 3, target));
        canvas.arrow([from_x + SIDE / 2.0, from_y], [x - HALF / 2.0, y], BLUE);
        canvas.text(x + HALF / 2.0 + 8.0, y + 5.0, 12.0, Hold::Left, GREY, format!("m[{},{}]", k / 2, k % 2));
        let ([x, y], [to_x, to_y]) = (middle(dm_at, HALF, 1, k), middle(dr_at, SIDE, 3, target));
        canvas.arrow([x + HALF / 2.0, y], [to_x - SIDE / 2.0, to_y], RED);
    }
    for (at, side, columns, cells) in &grids {
        canvas.labels(*at, *side, *columns, INK, cells);
    }
    for (x, name) in [(r_at[0], "r"), (m_at[0], "m"), (dm_at[0], "dm"), (dr_at[0], "dr")] {
        canvas.text(x, 60.0, 14.0, Hold::Left, INK, name);
    }
    canvas.finish()
}

/// How often each place of the map below a pool gets a gradient: with the notebook's wrong line, and with the right one. The map is
/// that of a convolution 3 x 3 with whole numbers for weights, over 64 built-in digits and 8 channels.
pub fn pool_maps() -> (Vec<f64>, Vec<f64>) {
    const IMAGES: usize = 64;
    const CHANNELS: usize = 8;
    let images = digits::generate(Part::Test, IMAGES, digits::SEED);
    let conv = Conv2d::new(Shape::new(1, 28, 28), CHANNELS, ConvOptions::square(3)).unwrap();
    let pool = MaxPool2d::new(conv.output(), [2, 2], [2, 2]).unwrap();
    let piece = byhand_museum::find("pool-index-without-stride").unwrap();
    let wrong = piece.in_place_of(&pool).unwrap().unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    // Whole numbers: no rounding, so ties are ties on every machine.
    let mut theta: Vec<f32> = (0..9 * CHANNELS).map(|_| rng.random_range(-3i8..=3).into()).collect();
    theta.extend([0.0; CHANNELS]);
    let x: Vec<f32> = images.images().iter().map(|&pixel| pixel.into()).collect();
    let block = Block::single(IMAGES);
    let mut map = vec![0.0; block.len(conv.output().features())];
    let mut scratch = vec![0.0; Describe::scratch_len(&conv, block)];
    conv.forward(&Pass::eval(block), &theta, &x, &mut map, &mut [], &mut scratch);
    let dy = vec![1.0; block.len(pool.output().features())];
    let share = |layer: &dyn Layer<f32>| {
        let mut share = vec![0.0; 26 * 26];
        for (i, d) in backward(layer, IMAGES, &[], &map, &dy).dx.into_iter().enumerate() {
            share[i % (26 * 26)] += f64::from(d) / (IMAGES * CHANNELS) as f64;
        }
        share
    };
    (share(&*wrong), share(&pool))
}

/// Both maps.
pub fn pool_gradient() -> String {
    const SIDE: f64 = 10.0;
    let (wrong, right) = pool_maps();
    let mut canvas = Canvas::new(
        640.0,
        372.0,
        "Two maps of 26 by 26 places. With the notebook's line, gradient arrives only in the top left quarter, 196 of 676 places; with \
         the right line it arrives all over the map.",
    );
    let rows =
        [(30.0, "the notebook: dx[i + u, j + v]", &wrong), (346.0, "right: dx[2i + u, 2j + v]", &right)];
    for (x, title, map) in rows {
        let reached = map.iter().filter(|share| **share > 0.0).count();
        canvas.text(x, 34.0, 14.0, Hold::Left, INK, title);
        canvas.text(x, 54.0, 13.0, Hold::Left, RED, format!("reaches {reached} of {} places", map.len()));
        for colour in [&["#e6eaee"][..], &SHADES].concat() {
            let places = (0..map.len()).filter(|&i| shade(map[i]) == colour);
            canvas.squares(places.map(|i| place([x, 66.0], SIDE, 26, i)), SIDE, colour);
        }
    }
    canvas.text(30.0, 352.0, 12.0, Hold::Left, GREY, "never");
    for i in 0..=SHADES.len() {
        let share = i as f64 / SHADES.len() as f64;
        canvas.rectangle([70.0 + 18.0 * i as f64, 341.0, 18.0, 14.0], shade(share), "#ffffff", 0.5);
    }
    let text = "always: how often a place gets a gradient, of 512 maps";
    canvas.text(76.0 + 18.0 * (SHADES.len() + 1) as f64, 352.0, 12.0, Hold::Left, GREY, text);
    canvas.finish()
}

const SHADES: [&str; 6] = ["#fde3d2", "#fbc3a0", "#f59b68", "#e46f3a", "#c2410c", "#7c2d12"];

fn shade(share: f64) -> &'static str {
    if share > 0.0 {
        SHADES[((share * SHADES.len() as f64) as usize).min(SHADES.len() - 1)]
    } else {
        "#e6eaee"
    }
}

/// Three activations, and what they let through.
pub fn activations() -> String {
    const REACH: f64 = 4.0;
    let mut canvas = Canvas::new(
        760.0,
        330.0,
        "ReLU, tanh and sigmoid, with their slopes below. The slope of ReLU is 0 or 1, that of tanh at most 1, that of the sigmoid at \
         most a quarter.",
    );
    let shape = Shape::flat(1);
    let layers: [(&str, Box<dyn Layer<f64>>, f64); 3] = [
        ("ReLU", Box::new(Relu::new(shape)), 4.0),
        ("tanh", Box::new(Tanh::new(shape)), 1.25),
        ("sigmoid", Box::new(Sigmoid::new(shape)), 1.25),
    ];
    let xs: Vec<f64> = (-100..=100).map(|i| f64::from(i) / 100.0 * REACH).collect();
    let dy = vec![1.0; xs.len()];
    for (i, (name, layer, top)) in layers.iter().enumerate() {
        let left = 40.0 + 240.0 * i as f64;
        let found = backward(&**layer, xs.len(), &[], &xs, &dy);
        canvas.text(left, 30.0, 14.0, Hold::Left, INK, *name);
        let at = |x: f64| left + (x + REACH) / (2.0 * REACH) * 190.0;
        let (up, down) = (|y: f64| 110.0 - 55.0 * y / top, |d: f64| 290.0 - 80.0 * d);
        for (y, text) in [(110.0, ""), (290.0, "")] {
            canvas.line([left, y], [left + 190.0, y], GREY, 1.0);
            canvas.text(left - 6.0, y + 4.0, 12.0, Hold::Right, GREY, format!("0{text}"));
        }
        for (y, text) in [(down(1.0), "1"), (down(0.25), "¼"), (up(*top), if *top > 2.0 { "4" } else { "" })]
        {
            canvas.line([left, y], [left + 190.0, y], PALE, 1.0);
            canvas.text(left - 6.0, y + 4.0, 12.0, Hold::Right, GREY, text);
        }
        canvas.line([at(0.0), 48.0], [at(0.0), 172.0], PALE, 1.0);
        canvas.line([at(0.0), 200.0], [at(0.0), 290.0], PALE, 1.0);
        canvas.curve(xs.iter().zip(&found.y).map(|(&x, &y)| [at(x), up(y)]), BLUE);
        canvas.curve(xs.iter().zip(&found.dx).map(|(&x, &d)| [at(x), down(d)]), RED);
        for (x, text) in [(-4.0, "−4"), (0.0, "0"), (4.0, "4")] {
            canvas.text(at(x), 308.0, 12.0, Hold::Middle, GREY, text);
        }
    }
    canvas.text(735.0, 30.0, 13.0, Hold::Right, BLUE, "y");
    canvas.text(735.0, 196.0, 13.0, Hold::Right, RED, "slope f′(x)");
    canvas.finish()
}

/// Probabilities, target and gradient of the exercise's first sample.
pub fn softmax() -> String {
    let z = [0.0, 2f64.ln(), 5f64.ln()];
    let mut dz = [0.0; 3];
    SoftmaxCrossEntropy::default().value_and_gradient(
        Block::single(1),
        &z,
        Labels(&[2]).into(),
        1.0,
        &mut dz,
    );
    let q = [0.0, 0.0, 1.0];
    let p = [0, 1, 2].map(|j| dz[j] + q[j]);
    let mut canvas = Canvas::new(
        720.0,
        262.0,
        "Bars for three classes. p is 1/8, 2/8, 5/8; the target q is 0, 0, 1; dz, their difference, is 1/8, 2/8 and minus 3/8.",
    );
    let eighths = |x: f64| match (8.0 * x).round() as i64 {
        0 => "0".to_string(),
        8 => "1".to_string(),
        n if n < 0 => format!("−{}/8", -n),
        n => format!("{n}/8"),
    };
    let rows = [("p = softmax(z)", p, BLUE), ("q, the target: label 2", q, GREY), ("dz = p − q", dz, RED)];
    for (i, (title, values, colour)) in rows.into_iter().enumerate() {
        let left = 36.0 + 232.0 * i as f64;
        canvas.text(left, 32.0, 14.0, Hold::Left, if colour == GREY { INK } else { colour }, title);
        for (class, value) in values.into_iter().enumerate() {
            let (x, height) = (left + 16.0 + 58.0 * class as f64, 110.0 * value.abs());
            let y = if value < 0.0 { 172.0 } else { 172.0 - height };
            canvas.rectangle([x, y, 36.0, height], colour, "none", 0.0);
            let label = if value < 0.0 { y + height + 16.0 } else { y - 6.0 };
            canvas.text(x + 18.0, label, 13.0, Hold::Middle, INK, eighths(value));
            canvas.text(x + 18.0, 244.0, 12.0, Hold::Middle, GREY, format!("class {class}"));
        }
        canvas.line([left, 172.0], [left + 184.0, 172.0], INK, 1.0);
    }
    canvas.finish()
}

/// How the size of the numbers changes from layer to layer.
pub fn initialisation() -> String {
    const WIDTH: usize = 100;
    const LAYERS: usize = 10;
    const SAMPLES: usize = 64;
    let mut canvas = Canvas::new(
        760.0,
        320.0,
        "The size of the numbers over ten dense layers of 100 units with ReLU. With standard normal weights it grows to hundreds of \
         millions, with He's it stays at 1, with LeCun's it falls slowly, with weights divided by fan_in it falls below one part in \
         ten thousand millions.",
    );
    let (left, right, top, bottom) = (74.0, 500.0, 54.0, 272.0);
    let x_of = |layer: usize| left + (right - left) * layer as f64 / LAYERS as f64;
    let y_of = |size: f64| top + (bottom - top) * (10.0 - size.log10()) / 22.0;
    for (power, text) in [(10, "10¹⁰"), (5, "10⁵"), (0, "1"), (-5, "10⁻⁵"), (-10, "10⁻¹⁰")] {
        let y = y_of(10f64.powi(power));
        canvas.line([left, y], [right, y], PALE, 1.0);
        canvas.text(left - 10.0, y + 4.0, 12.0, Hold::Right, GREY, text);
    }
    for layer in [0, 5, 10] {
        canvas.text(x_of(layer), 294.0, 12.0, Hold::Middle, GREY, layer.to_string());
    }
    canvas.text(
        left,
        34.0,
        14.0,
        Hold::Left,
        INK,
        "root mean square of the sums, layer by layer (10 × dense(100), ReLU)",
    );
    let rules = [
        ("N(0, 1)", Init::Normal { std: 1.0 }, GREY),
        ("He: deviation √(2/fan_in)", Init::HeNormal, BLUE),
        ("LeCun: √(1/fan_in)", Init::LeCunNormal, INK),
        ("notebook: 1/fan_in", Init::ScaledNormal, RED),
    ];
    let (dense, relu) = (Dense::new(WIDTH, WIDTH, false).unwrap(), Relu::new(Shape::flat(WIDTH)));
    for (text, init, colour) in rules {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut x = vec![0.0; SAMPLES * WIDTH];
        Init::Normal { std: 1.0 }.fill(1, 1, &mut rng, &mut x);
        let mut sizes = vec![size(&x)];
        for _ in 0..LAYERS {
            let theta = weights(init, WIDTH, &mut rng);
            let sums = forward(
                &dense,
                SAMPLES,
                &theta,
                &if sizes.len() == 1 { x } else { forward(&relu, SAMPLES, &[], &x) },
            );
            sizes.push(size(&sums));
            x = sums;
        }
        let points: Vec<[f64; 2]> =
            sizes.iter().enumerate().map(|(layer, &size)| [x_of(layer), y_of(size)]).collect();
        canvas.curve(points.iter().copied(), colour);
        points.iter().for_each(|&point| canvas.dot(point, colour));
        // Two ends are close to each other.
        let apart = if init == Init::LeCunNormal { 11.0 } else { 4.0 };
        canvas.text(right + 14.0, points[LAYERS][1] + apart, 14.0, Hold::Left, colour, text);
    }
    canvas.finish()
}

fn weights(init: Init, width: usize, rng: &mut impl Rng) -> Vec<f64> {
    let mut weights = vec![0.0; width * width];
    init.fill(width, width, rng, &mut weights);
    weights
}

/// Root mean square.
fn size(x: &[f64]) -> f64 {
    (x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64).sqrt()
}

/// Cells with numbers, each filled by its place.
fn cells<'a>(numbers: &[f64], fill: impl Fn(usize) -> &'a str) -> Vec<(String, &'a str)> {
    numbers.iter().enumerate().map(|(place, &x)| (number(x), fill(place))).collect()
}

/// What a backward pass finds.
struct Found<T> {
    y: Vec<T>,
    dx: Vec<T>,
    dtheta: Vec<T>,
}

fn forward<T: Scalar>(layer: &dyn Layer<T>, samples: usize, theta: &[T], x: &[T]) -> Vec<T> {
    let pass = Pass::eval(Block::single(samples));
    let mut y = vec![T::ZERO; pass.block.len(layer.output().features())];
    let mut tape = vec![T::ZERO; layer.tape_len(pass.block)];
    let mut scratch = vec![T::ZERO; layer.scratch_len(pass.block)];
    layer.forward(&pass, theta, x, &mut y, &mut tape, &mut scratch);
    y
}

/// One layer forward and backward.
fn backward<T: Scalar>(layer: &dyn Layer<T>, samples: usize, theta: &[T], x: &[T], dy: &[T]) -> Found<T> {
    let pass = Pass::eval(Block::single(samples));
    let mut y = vec![T::ZERO; dy.len()];
    let mut tape = vec![T::ZERO; layer.tape_len(pass.block)];
    let mut scratch = vec![T::ZERO; layer.scratch_len(pass.block)];
    layer.forward(&pass, theta, x, &mut y, &mut tape, &mut scratch);
    let (mut dx, mut dtheta) = (vec![T::ZERO; x.len()], vec![T::ZERO; theta.len()]);
    let saved = Saved { x, y: &y, tape: &tape };
    layer.backward(&pass, theta, saved, dy, Some(&mut dx), &mut dtheta, &mut scratch);
    Found { y, dx, dtheta }
}
