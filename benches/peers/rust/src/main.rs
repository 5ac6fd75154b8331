//! One training step (forward, softmax cross-entropy, backward, plain SGD update, f32, random data in memory) in burn (flex)
//! and candle, timed in turn with ours (A B C A B C), median step of each round, median of the rounds, as a table.
//!
//! ```text
//! cargo build --release -p xtask
//! RAYON_NUM_THREADS=2 cargo run --release --manifest-path benches/peers/rust/Cargo.toml -- target/release/xtask [NETWORK [ROUNDS [SECONDS]]]
//! ```

mod burn_step;
mod candle_step;

use std::process::Command;
use std::time::{Duration, Instant};

/// A layer of the networks below.
#[derive(Clone, Copy)]
pub enum Layer {
    /// Channels in and out, kernel size, padding.
    Conv(usize, usize, usize, usize),
    /// Largest of 2 x 2.
    Pool,
    Relu,
    Flatten,
    /// Features in and out.
    Dense(usize, usize),
}

impl Layer {
    /// In the grammar of layers that `xtask throughput` reads.
    fn spec(&self) -> String {
        match self {
            Layer::Conv(_, out, kernel, pad) => format!("conv({out},{kernel},pad={pad})"),
            Layer::Pool => "pool(2)".into(),
            Layer::Relu => "relu".into(),
            Layer::Flatten => "flatten".into(),
            Layer::Dense(_, out) => format!("dense({out})"),
        }
    }
}

/// A network with its name and the shape of its input.
pub struct Net {
    name: &'static str,
    pub input: [usize; 3],
    pub layers: Vec<Layer>,
    classes: usize,
}

impl Net {
    /// Classes of the images of a minibatch.
    pub fn labels(&self, batch: usize) -> Vec<u32> {
        (0..batch).map(|i| (i * 7 % self.classes) as u32).collect()
    }
}

fn nets() -> Vec<Net> {
    use Layer::*;
    let image = [1, 28, 28];
    let net = |name, input, layers, classes| Net { name, input, layers, classes };
    vec![
        net("conv3x3-8", image, vec![Conv(1, 8, 3, 0), Pool, Flatten, Dense(1352, 10)], 10),
        net(
            "digits14-cnn",
            [1, 14, 14],
            vec![Conv(1, 16, 3, 0), Pool, Flatten, Dense(576, 16), Relu, Dense(16, 5)],
            5,
        ),
        net("digits14-dnn", [1, 1, 196], vec![Flatten, Dense(196, 16), Relu, Dense(16, 5)], 5),
        net(
            "lenet",
            image,
            vec![
                Conv(1, 8, 5, 0),
                Relu,
                Pool,
                Conv(8, 16, 5, 0),
                Relu,
                Pool,
                Flatten,
                Dense(256, 256),
                Relu,
                Dense(256, 10),
            ],
            10,
        ),
        net("mlp3", [1, 1, 784], vec![Flatten, Dense(784, 50), Relu, Dense(50, 50), Relu, Dense(50, 10)], 10),
        net(
            "cnn-32-64",
            image,
            vec![
                Conv(1, 32, 3, 1),
                Relu,
                Conv(32, 32, 3, 1),
                Relu,
                Pool,
                Conv(32, 64, 3, 1),
                Relu,
                Conv(64, 64, 3, 1),
                Relu,
                Pool,
                Flatten,
                Dense(3136, 128),
                Relu,
                Dense(128, 10),
            ],
            10,
        ),
        net(
            "mlp-512",
            [1, 1, 784],
            vec![Flatten, Dense(784, 512), Relu, Dense(512, 512), Relu, Dense(512, 10)],
            10,
        ),
    ]
}

/// Images a second of the median step; at least three steps.
fn pace(batch: usize, seconds: f64, step: &mut dyn FnMut()) -> f64 {
    let began = Instant::now();
    let mut times: Vec<Duration> = Vec::new();
    while times.len() < 3 || began.elapsed().as_secs_f64() < seconds {
        let start = Instant::now();
        step();
        times.push(start.elapsed());
    }
    times.sort();
    batch as f64 / times[times.len() / 2].as_secs_f64()
}

/// Images a second of the median step of `xtask throughput`.
fn ours(binary: &str, net: &Net, batch: usize, threads: usize, seconds: f64) -> f64 {
    let layers: Vec<String> = net.layers.iter().map(Layer::spec).collect();
    let [c, h, w] = net.input;
    let output = Command::new(binary)
        .args(["throughput", "--layers", &layers.join(" "), "--input", &format!("{c}x{h}x{w}"), "--json"])
        .args(["--batch", &batch.to_string(), "--threads", &threads.to_string()])
        .args(["--seconds", &seconds.to_string()])
        .output()
        .unwrap_or_else(|e| panic!("cannot run {binary}: {e}; build it with cargo build --release -p xtask"));
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().and_then(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    last.and_then(|v| v["images_per_second"].as_f64()).unwrap_or_else(|| {
        panic!("{binary} printed no images_per_second: {}", String::from_utf8_lossy(&output.stderr))
    })
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(binary) = arguments.first() else {
        eprintln!(
            "usage: RAYON_NUM_THREADS=2 rust-peers PATH_OF_XTASK [network, all] [rounds, 3] [seconds a cell and round, 0.2]"
        );
        std::process::exit(2);
    };
    let number = |i: usize, default: f64| arguments.get(i).map_or(default, |a| a.parse().expect("a number"));
    let (rounds, seconds) = (number(2, 3.0) as usize, number(3, 0.2));
    // Both frameworks read it too.
    let threads = std::env::var("RAYON_NUM_THREADS").ok().and_then(|n| n.parse().ok());
    let threads = threads.expect("RAYON_NUM_THREADS must say how many threads each of the three may use");

    println!("| net | batch | ours, images/s | burn 0.22 (flex) | candle 0.11 | ratio to the better |");
    println!("|---|---|---|---|---|---|");
    let asked = arguments.get(1).map_or("all", String::as_str);
    for net in nets().into_iter().filter(|net| asked == "all" || asked == net.name) {
        for batch in [1, 8, 32, 128, 1000] {
            if net.name == "cnn-32-64" && batch > 128 {
                continue;
            }
            let mut burn = burn_step::new(&net, batch);
            let mut candle = candle_step::new(&net, batch);
            for step in [&mut burn, &mut candle] {
                pace(batch, 0.0, step);
            }
            let mut paces = [const { Vec::new() }; 3];
            for _ in 0..rounds {
                paces[0].push(ours(binary, &net, batch, threads, seconds));
                paces[1].push(pace(batch, seconds, &mut burn));
                paces[2].push(pace(batch, seconds, &mut candle));
            }
            let [ours, burn, candle] = paces.map(median);
            let ratio = ours / burn.max(candle);
            println!("| {} | {batch} | {ours:.0} | {burn:.0} | {candle:.0} | {ratio:.1} |", net.name);
        }
    }
}
