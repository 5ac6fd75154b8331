//! `byhand speedrun`: seconds of training until the mean test accuracy is 99 %.
//!
//! What is trained is data, `recipes/speedrun.toml`; what the clock includes, [`Trained`](crate::seeds::Trained) says.

use std::{path::PathBuf, time::Instant};

use anyhow::{Result, bail};
use byhand_models::weights_sha256;
use byhand_tensor::Isa;
use byhand_trainer::evaluate;
use clap::Args;
use serde_json::json;

use crate::{
    arguments::ThreadsArg,
    exit::usage,
    interrupt::Interrupt,
    memory,
    network::network_for,
    output::Output,
    prepared::prepared_data,
    recipes,
    seeds::{SeedsArgs, SetArgs, Spread, Timed, Trained, Tricks},
    settings::{Recipe, Settings, read_text},
};

/// Options of `speedrun`.
#[derive(Args)]
#[command(after_help = "Examples:
  byhand speedrun
  byhand speedrun --seeds 20 --first-seed 100 --threads 2 --json

Trains the same recipe from each seed, 10 if nobody says how many. Exit code 0 when the mean test accuracy reaches the target, 1 when it \
does not.")]
pub struct Options {
    /// Mean test accuracy to reach
    #[arg(long, value_name = "SHARE", default_value_t = 0.99, value_parser = share)]
    target: f64,
    #[command(flatten)]
    seeds: SeedsArgs,
    #[command(flatten)]
    set: SetArgs,
    /// Train the settings of a file with a section [speedrun], instead of those of recipes/speedrun.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    threads: ThreadsArg,
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("expected a share from 0 to 1, such as 0.99".to_string()),
    }
}

/// Seeds, if nobody says how many.
const SEEDS: u32 = 10;

/// Trains from every seed and prints.
pub fn run(options: &Options, output: &Output) -> Result<()> {
    let interrupt = Interrupt::listen()?;
    let (text, name) = match &options.config {
        Some(path) => (read_text(path)?, path.display().to_string()),
        None => (recipes::SPEEDRUN.to_string(), "recipes/speedrun.toml".to_string()),
    };
    let (mut recipe, tricks) = read(&name, &text, options)?;
    let start = Instant::now();
    let data = prepared_data(&mut recipe, output)?;
    let reading = start.elapsed().as_secs_f64();
    let (spec, network) = network_for(&recipe, data.input, data.train.classes())?;
    tricks.check(&name, &network)?;
    let timed = Timed::new(&recipe, Some(&tricks), &data, options.threads.asked(), output);
    memory::check_training(&network, &timed.step_config(0), |_| 0, "batch-size")?;

    let (mut accuracies, mut all_seconds, mut used) = (Vec::new(), Vec::new(), 0);
    for seed in options.seeds.all(SEEDS) {
        let Trained { theta, seconds, threads } = timed.train(seed, &interrupt)?;
        used = threads;
        let test = evaluate(&network, &theta, &data.test, &data.remaining(), recipe.loss, threads)?;
        let accuracy = test.accuracy();
        output.note(format!("seed {seed}: test accuracy {:.2} %, {seconds:.3} s", 100.0 * accuracy));
        output.event(
            "seed",
            json!({"seed": seed, "accuracy": accuracy, "test_loss": test.loss, "seconds": seconds,
                "weights_sha256": weights_sha256(&theta)}),
        );
        accuracies.push(accuracy);
        all_seconds.push(seconds);
    }

    let (accuracy, time) = (Spread::of(&accuracies), Spread::of(&all_seconds));
    let (reached, seeds) = (accuracy.mean >= options.target, accuracies.len());
    output.print(format!("{spec} on {}, {seeds} seeds, {used} threads", data.name));
    output.print(format!(
        "test accuracy: mean {:.3} %, standard deviation {:.3}, worst {:.2} %",
        100.0 * accuracy.mean,
        100.0 * accuracy.std,
        100.0 * accuracy.min
    ));
    output.print(format!(
        "seconds: mean {:.3}, standard deviation {:.3}, worst {:.3}; with reading the files {:.3}",
        time.mean,
        time.std,
        time.max,
        time.mean + reading
    ));
    output.result(json!({
        "target": options.target,
        "reached": reached,
        "seeds": seeds,
        "first_seed": options.seeds.first_seed,
        "accuracy_mean": accuracy.mean,
        "accuracy_std": accuracy.std,
        "accuracy_min": accuracy.min,
        "seconds_mean": time.mean,
        "seconds_std": time.std,
        "seconds_max": time.max,
        "seconds_with_reading": time.mean + reading,
        "threads": used,
        "isa": Isa::active().name(),
        "data": data.name,
        "train_images": data.train.len(),
        "test_images": data.test.len(),
        "layers": spec.to_string(),
        "epochs": tricks.shares,
        "recipe": text,
    }));
    if !reached {
        bail!(
            "the mean test accuracy over {seeds} seeds is {:.3} %, below the target of {:.3} %",
            100.0 * accuracy.mean,
            100.0 * options.target
        );
    }
    Ok(())
}

/// Reads a configuration with a section `[speedrun]`.
fn read(name: &str, text: &str, options: &Options) -> Result<(Recipe, Tricks)> {
    let mut settings = Settings::parse(name, text)?;
    let section = settings.speedrun.take();
    let section = section.ok_or_else(|| {
        usage(format!("{name}: expected a section [speedrun], as in recipes/speedrun.toml"))
    })?;
    let tricks = Tricks::read(name, section)?;
    Ok((options.set.recipe(name, settings)?, tricks))
}
