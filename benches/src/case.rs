//! One benchmark: what it is called, what it computes, what is printed and recorded of it.

use crate::FlopRate;
use crate::bandwidth::Bandwidth;
use crate::stopwatch::{Stopwatch, Times, median};
use byhand_tensor::Isa;
use byhand_trainer::peak::{BURSTS, peak_gflops};
use criterion::{Criterion, Throughput};
use serde_json::json;
use std::fs::OpenOptions;
use std::io::Write;

/// What is measured.
#[derive(Clone, Debug)]
pub struct Case {
    /// `conv/forward`, `step`.
    pub operation: &'static str,
    /// The geometry or the model: `1x28x28-8x5x5`, `lenet`.
    pub subject: String,
    /// All other parameters but the instruction set: `tiled16`, `batch128/threads2`.
    pub circumstances: String,
    /// Samples in a call.
    pub batch: usize,
    /// Threads that may work on it.
    pub threads: usize,
    /// What a call does.
    pub work: Work,
}

/// What one call does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Work {
    /// Floating-point operations, of which a multiply-add is two; and the bytes of operands and results, where they are counted.
    Flops(u64, Option<u64>),
    /// Bytes read and written, where there is no multiply-add.
    Bytes(u64),
}

impl Work {
    /// A call that multiplies and adds, with so many `f32` of operands and results.
    pub fn product(flops: usize, numbers: usize) -> Work {
        Work::Flops(flops as u64, Some(bytes(numbers)))
    }

    /// A call that reads and writes so many `f32` in all.
    pub fn floats(numbers: usize) -> Work {
        Work::Bytes(bytes(numbers))
    }
}

fn bytes(numbers: usize) -> u64 {
    (numbers * size_of::<f32>()) as u64
}

/// Measures a case: `setup` makes the operands, once and only if the case is chosen; `run` gives the stopwatch what is to
/// be timed.
pub fn bench<S>(
    criterion: &mut Criterion<FlopRate>,
    case: &Case,
    setup: impl FnOnce() -> S,
    mut run: impl FnMut(&mut S, &mut Stopwatch),
) {
    let mut setup = Some(setup);
    let mut state = None;
    let mut stopwatch = Stopwatch::new();
    let (mut peaks, mut bandwidths) = (Vec::new(), Vec::new());
    let mut bandwidth = None;
    let mut group = criterion.benchmark_group(case.operation);
    group.throughput(match case.work {
        Work::Flops(flops, _) => Throughput::Elements(flops),
        Work::Bytes(bytes) => Throughput::BytesDecimal(bytes),
    });
    group.bench_function(format!("{}/{}/{}", case.subject, case.circumstances, Isa::active()), |bencher| {
        let state = state.get_or_insert_with(|| setup.take().expect("called once")());
        bencher.iter_custom(|iterations| {
            if let Work::Flops(_, bytes) = case.work {
                peaks.push(peak_gflops(case.threads));
                if let Some(bytes) = bytes {
                    bandwidths.push(bandwidth.get_or_insert_with(|| Bandwidth::over(bytes)).measure());
                }
            }
            stopwatch.sample(iterations, |stopwatch| run(state, stopwatch))
        });
    });
    group.finish();
    // Nothing was measured when the case was not chosen, or run only once to see that it works.
    if let Some(times) = stopwatch.times()
        && !std::env::args().any(|argument| argument == "--test")
    {
        report(case, times, &mut peaks, &mut bandwidths);
    }
}

fn report(case: &Case, times: Times, peaks: &mut [f64], bandwidths: &mut [f64]) {
    let Times { median: seconds, best, slices } = times;
    let Case { operation, subject, circumstances, batch, threads, work } = case;
    let (peak, bandwidth) = (median(peaks), median(bandwidths));
    let mut record = json!({
        "operation": operation, "subject": subject, "circumstances": circumstances, "batch": batch, "threads": threads,
        "isa": Isa::active().name(), "seconds": seconds, "best_seconds": best,
    });
    match *work {
        Work::Flops(flops, bytes) => {
            let gflops = flops as f64 / seconds / 1e9;
            let peak = peak.expect("the peak is measured before each sample");
            let (percent, bursts) = (100.0 * gflops / peak, peaks.len() * BURSTS);
            let most = percent * seconds / best;
            println!(
                "{gflops:.1} GFLOP/s, {percent:.1} % of the FMA peak of {peak:.1} (medians of {slices} slices and \
                 {bursts} bursts, in turn; best slice {most:.1} %)"
            );
            let figures =
                [("gflops", gflops), ("peak_gflops", peak), ("percent", percent), ("best_percent", most)];
            for (name, figure) in figures {
                record[name] = figure.into();
            }
            if let (Some(bytes), Some(bandwidth)) = (bytes, bandwidth) {
                let intensity = flops as f64 / bytes as f64;
                let roof = peak.min(intensity * bandwidth);
                let percent = 100.0 * gflops / roof;
                println!(
                    "{percent:.1} % of the roof of {roof:.1}: {intensity:.1} FLOP per byte at {bandwidth:.1} GB/s"
                );
                record["roof_gflops"] = roof.into();
                record["roof_percent"] = percent.into();
            }
            println!();
        }
        Work::Bytes(bytes) => {
            let rate = bytes as f64 / seconds / 1e9;
            println!("{rate:.1} GB/s (median of {slices} slices)\n");
            record["gb_per_second"] = rate.into();
        }
    }
    let Some(path) = std::env::var_os("BYHAND_BENCH_RECORDS") else { return };
    let file = OpenOptions::new().create(true).append(true).open(&path);
    if let Err(error) = file.and_then(|mut file| writeln!(file, "{record}")) {
        panic!("cannot append to {} (BYHAND_BENCH_RECORDS): {error}", path.display());
    }
}
