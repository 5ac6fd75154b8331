//! One Rust peer in one process: `rust-peers burn` or `rust-peers candle`. Speaks the language of `../python/worker.py`.

mod burn_step;
mod candle_step;

use std::fs;
use std::io::{self, Write};
use std::iter::Peekable;
use std::time::{Duration, Instant};

/// A layer of a network.
pub enum Layer {
    /// Channels in and out, kernel size, padding, stride.
    Conv(usize, usize, usize, usize, usize),
    /// Channels.
    BatchNorm(usize),
    /// Largest of a square.
    Pool(usize),
    GlobalAvgPool,
    Relu,
    Flatten,
    /// The layers of a residual block, and those of its shortcut; none for the identity.
    Residual(Vec<Layer>, Vec<Layer>),
    /// Features in and out.
    Dense(usize, usize),
}

/// What a step starts from.
pub struct Net {
    pub batch: usize,
    pub rate: f64,
    /// Channels, rows, columns.
    pub input: [usize; 3],
    pub layers: Vec<Layer>,
    /// Weight and bias of each layer that has some, in their order, as PyTorch lays them out.
    pub parameters: Vec<(Vec<f32>, Vec<f32>)>,
    pub x: Vec<f32>,
    pub labels: Vec<u32>,
}

/// Takes a step; its loss.
type Step = Box<dyn FnMut() -> f32>;

impl Net {
    /// The network that the words of an `open` request name, and how many first steps it asks for.
    fn read(words: &[&str]) -> (Net, usize) {
        let number = |i: usize| words[i].parse().expect("a number");
        let (batch, steps, input) = (number(0), number(2), [number(4), number(5), number(6)]);
        let layers = chain(&mut words[7..].iter().copied().peekable());
        let bytes = fs::read(words[3]).expect("the file of numbers");
        let mut numbers =
            bytes.chunks_exact(4).map(|chunk| u32::from_le_bytes(chunk.try_into().expect("4 bytes")));
        let mut take =
            |length: usize| -> Vec<f32> { numbers.by_ref().take(length).map(f32::from_bits).collect() };
        let mut parameters = Vec::new();
        each_with_parameters(&layers, &mut |weight, outputs| parameters.push((take(weight), take(outputs))));
        let x = take(batch * input.iter().product::<usize>());
        let labels = numbers.collect();
        (Net { batch, rate: words[1].parse().expect("a rate"), input, layers, parameters, x, labels }, steps)
    }

    /// The shape of the images: flat when the first layer is dense.
    pub fn shape(&self) -> Vec<usize> {
        let [c, h, w] = self.input;
        match self.layers[0] {
            Layer::Dense(..) => vec![self.batch, c * h * w],
            _ => vec![self.batch, c, h, w],
        }
    }
}

/// The layers that words name, up to the end of a block or of its main path.
fn chain<'a>(words: &mut Peekable<impl Iterator<Item = &'a str>>) -> Vec<Layer> {
    let mut layers = Vec::new();
    while let Some(kind) = words.next_if(|word| !["shortcut", "end"].contains(word)) {
        if kind == "residual" {
            let main = chain(words);
            let shortcut = words.next_if_eq(&"shortcut").map(|_| chain(words)).unwrap_or_default();
            assert_eq!(words.next(), Some("end"), "a block ends");
            layers.push(Layer::Residual(main, shortcut));
            continue;
        }
        let mut sizes = Vec::new();
        while let Some(size) = words.peek().and_then(|word| word.parse().ok()) {
            sizes.push(size);
            words.next();
        }
        layers.push(match (kind, &sizes[..]) {
            ("conv", &[inputs, outputs, kernel, pad]) => Layer::Conv(inputs, outputs, kernel, pad, 1),
            ("conv", &[inputs, outputs, kernel, pad, stride]) => {
                Layer::Conv(inputs, outputs, kernel, pad, stride)
            }
            ("batchnorm", &[channels]) => Layer::BatchNorm(channels),
            ("pool", &[window]) => Layer::Pool(window),
            ("globalavgpool", []) => Layer::GlobalAvgPool,
            ("relu", []) => Layer::Relu,
            ("flatten", []) => Layer::Flatten,
            ("dense", &[inputs, outputs]) => Layer::Dense(inputs, outputs),
            (kind, sizes) => panic!("no layer {kind} of {sizes:?}"),
        });
    }
    layers
}

/// Calls `of` with the numbers of weight and bias of each layer that has some.
fn each_with_parameters(layers: &[Layer], of: &mut impl FnMut(usize, usize)) {
    for layer in layers {
        match layer {
            Layer::Conv(inputs, outputs, kernel, ..) => of(outputs * inputs * kernel * kernel, *outputs),
            Layer::BatchNorm(channels) => of(*channels, *channels),
            Layer::Dense(inputs, outputs) => of(outputs * inputs, *outputs),
            Layer::Residual(main, shortcut) => {
                each_with_parameters(main, of);
                each_with_parameters(shortcut, of);
            }
            Layer::Pool(_) | Layer::GlobalAvgPool | Layer::Relu | Layer::Flatten => {}
        }
    }
}

/// Takes steps for so long; at least three, unless they take too long.
fn take_steps(step: &mut Step, seconds: f64) -> String {
    let began = Instant::now();
    let mut times: Vec<Duration> = Vec::new();
    loop {
        let lasted = began.elapsed().as_secs_f64();
        if lasted >= seconds && (times.len() >= 3 || lasted >= 5.0 * seconds) {
            break;
        }
        let start = Instant::now();
        step();
        times.push(start.elapsed());
    }
    times.sort();
    let microseconds = |time: Duration| time.as_secs_f64() * 1e6;
    let (median, min) = (microseconds(times[times.len() / 2]), microseconds(times[0]));
    format!(r#"{{"median_us": {median:.3}, "min_us": {min:.3}, "steps": {}}}"#, times.len())
}

fn main() {
    let peer = std::env::args().nth(1).unwrap_or_default();
    let (version, build): (_, fn(Net) -> Step) = match peer.as_str() {
        "burn" => ("burn 0.22.1 (flex)", burn_step::new),
        "candle" => ("candle 0.11.1", candle_step::new),
        _ => {
            eprintln!("usage: rust-peers burn|candle");
            std::process::exit(2);
        }
    };
    println!(r#"{{"version": "{version}"}}"#);
    let mut step = None;
    for line in io::stdin().lines() {
        let line = line.expect("a line of text");
        let words: Vec<&str> = line.split_whitespace().collect();
        let answer = if words[0] == "open" {
            drop(step.take());
            let (net, steps) = Net::read(&words[1..]);
            let step = step.insert(build(net));
            let losses: Vec<String> = (0..steps).map(|_| step().to_string()).collect();
            format!(r#"{{"losses": [{}]}}"#, losses.join(", "))
        } else {
            take_steps(step.as_mut().expect("a network was opened"), words[1].parse().expect("seconds"))
        };
        println!("{answer}");
        io::stdout().flush().expect("somebody listens");
    }
}
