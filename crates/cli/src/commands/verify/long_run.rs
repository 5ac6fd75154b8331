//! Check of a training that goes on for long: memory, and the same bits in two halves.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::Result;
use byhand_datasets::digits::{self, Part};
use byhand_layers::init::{Init, init_network};
use byhand_models::{find, weights_sha256};
use byhand_trainer::{Checkpoint, Fit, FitConfig, Silent};

use super::Outcome;

/// The most that memory may grow after the first tenth of the run: what the allocator and the threads of a pool round up.
const MOST_GROWTH: u64 = 1 << 20;
/// Steps of a piece, after which memory is looked at.
const PIECE: u64 = 200;

pub fn long_run(seconds: usize) -> Result<Outcome> {
    let network = find("cnn")?.network::<f32>();
    let train = digits::generate(Part::Train, 2_000, 1);
    let config = FitConfig {
        epochs: u64::MAX,
        batch_size: 64,
        optimizer: "adam".parse()?,
        learning_rate: 1e-4,
        ..FitConfig::default()
    };
    let begin = || -> Result<Fit<'_>> {
        Ok(Fit::new(&network, init_network(&network, Init::HeNormal, 1), &train, None, config.clone())?)
    };
    // The whole takes half of the time, its two halves the other.
    let time = Duration::from_secs(seconds as u64) / 2;
    let begun = Instant::now();
    let mut whole = begin()?;
    let (mut early, mut late) = (None, None);
    while begun.elapsed() < time {
        whole.run_until(whole.step() + PIECE, &mut Silent)?;
        if early.is_none() && begun.elapsed() > time / 10 {
            early = resident();
        }
        late = resident();
    }
    let steps = whole.step();
    let mut first = begin()?;
    first.run_until(steps / 2, &mut Silent)?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("checkpoint");
    first.checkpoint().save(&path)?;
    let mut second = Fit::resume(&network, Checkpoint::load(&path)?, &train, None, config.clone())?;
    second.run_until(steps, &mut Silent)?;
    let mut failures = Vec::new();
    if weights_sha256(second.theta()) != weights_sha256(whole.theta()) {
        failures.push("two halves have another digest than the whole".to_string());
    }
    let grown = late.zip(early).map(|(late, early)| late.saturating_sub(early));
    if grown.is_some_and(|grown| grown > MOST_GROWTH) {
        failures.push(format!("memory grew by {} KiB", grown.unwrap_or_default() >> 10));
    }
    let told = grown.map_or("unknown here".to_string(), |grown| format!("{} KiB", grown >> 10));
    Ok(Outcome::of(
        format!("{steps} steps in {seconds} s, twice: memory growth {told}, equal digest"),
        &failures,
    ))
}

/// Bytes of memory that the process holds, where the system says.
fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? << 10)
}
