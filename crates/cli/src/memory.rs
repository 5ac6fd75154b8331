//! Whether there is enough memory, asked before it is taken: a program that takes more than there is, is ended without a word.

use std::{fs, path::Path};

use anyhow::Result;
use byhand_layers::Network;
use byhand_trainer::{StepConfig, evaluation_bytes, training_bytes};

use crate::exit::usage;

/// Refuses to train what does not fit into memory, `others` being the bytes that are wanted besides, and says what would. `option`
/// is the option that gives the size of a minibatch.
pub fn check_training(
    network: &Network<f32>,
    config: &StepConfig,
    others: impl Fn(usize) -> u64,
    option: &str,
) -> Result<()> {
    let Some(free) = free() else { return Ok(()) };
    let needed = |batch_size| {
        training_bytes(network, &StepConfig { batch_size, ..*config }).saturating_add(others(batch_size))
    };
    let batch = config.batch_size;
    if needed(batch) <= free {
        return Ok(());
    }
    let (mut fits, mut too_many) = (0, batch);
    while too_many - fits > 1 {
        let middle = fits + (too_many - fits) / 2;
        if needed(middle) <= free { fits = middle } else { too_many = middle }
    }
    let found = format!("about {} of memory are needed, found {} free", size(needed(batch)), size(free));
    Err(usage(match fits {
        0 => format!("--layers: a network of {} parameters is too large: {found}", network.param_len()),
        _ => format!("--{option} {batch}: {found}; expected at most {fits}, or fewer --threads"),
    }))
}

/// Refuses to run the network of a model file whose activations do not fit into memory: a small file may name huge ones.
pub fn check_evaluation(network: &Network<f32>, threads: usize, model: &Path) -> Result<()> {
    check(evaluation_bytes(network, threads), &format!("{}: to run this model", model.display()))
}

/// Refuses to take so many bytes for `what`.
pub fn check(bytes: u64, what: &str) -> Result<()> {
    match free() {
        Some(free) if bytes > free => Err(usage(format!(
            "{what}: about {} of memory are needed, found {} free",
            size(bytes),
            size(free)
        ))),
        _ => Ok(()),
    }
}

/// Bytes that this process may still take, where the system says.
fn free() -> Option<u64> {
    let read = |path: &str| fs::read_to_string(path).ok();
    let number = |text: &str| text.split_whitespace().find_map(|word| word.parse::<u64>().ok());
    let field = |path: &str, name: &str| {
        read(path).and_then(|text| text.lines().find_map(|line| number(line.strip_prefix(name)?)))
    };
    let left = |most: Option<u64>, used: Option<u64>| Some(most?.saturating_sub(used?));
    let kilobytes = |n: u64| n.saturating_mul(1024);
    let machine = field("/proc/meminfo", "MemAvailable:").map(kilobytes);
    let process = left(
        field("/proc/self/limits", "Max address space"),
        field("/proc/self/status", "VmSize:").map(kilobytes),
    );
    let [most, used] =
        ["max", "current"].map(|file| number(&read(&format!("/sys/fs/cgroup/memory.{file}"))?));
    [machine, process, left(most, used)].into_iter().flatten().min()
}

fn size(bytes: u64) -> String {
    format!("{:.1} GB", bytes as f64 / 1e9)
}
