//! One Rust peer in one process: `rust-peers burn` or `rust-peers candle`. Speaks the language of `../python/worker.py`.

mod burn_step;
mod candle_step;

use std::fs;
use std::io::{self, Write};
use std::time::{Duration, Instant};

/// A layer of a network.
#[derive(Clone, Copy)]
pub enum Layer {
    /// Channels in and out, kernel size, padding.
    Conv(usize, usize, usize, usize),
    /// Largest of a square.
    Pool(usize),
    Relu,
    Flatten,
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
    /// Weight and bias of each layer that has some, as PyTorch lays them out.
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
        let mut rest = words[7..].iter();
        let mut layers = Vec::new();
        while let Some(kind) = rest.next() {
            let mut size = || rest.next().and_then(|word| word.parse().ok()).expect("a size");
            layers.push(match *kind {
                "conv" => Layer::Conv(size(), size(), size(), size()),
                "pool" => Layer::Pool(size()),
                "relu" => Layer::Relu,
                "flatten" => Layer::Flatten,
                "dense" => Layer::Dense(size(), size()),
                other => panic!("no layer {other}"),
            });
        }
        let bytes = fs::read(words[3]).expect("the file of numbers");
        let mut numbers =
            bytes.chunks_exact(4).map(|chunk| u32::from_le_bytes(chunk.try_into().expect("4 bytes")));
        let mut take =
            |length: usize| -> Vec<f32> { numbers.by_ref().take(length).map(f32::from_bits).collect() };
        let parameters = layers
            .iter()
            .filter_map(|layer| match *layer {
                Layer::Conv(inputs, outputs, kernel, _) => Some((inputs * kernel * kernel, outputs)),
                Layer::Dense(inputs, outputs) => Some((inputs, outputs)),
                _ => None,
            })
            .map(|(inputs, outputs)| (take(outputs * inputs), take(outputs)))
            .collect();
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
