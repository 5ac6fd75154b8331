//! Checks of the program from outside: killed, started twice at once, interrupted, diverged.

use std::{
    env, fs,
    path::Path,
    process::{Child, Command, Output, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use byhand_tensor::Isa;
use serde_json::Value;

use super::{Outcome, small::Chance};

/// This program, with nothing on its outputs that is not read.
///
/// Where the system cannot start it, `BYHAND_RUNNER` has the words of what can: an emulator and its options. It then starts the others too.
pub fn program(arguments: &[&str]) -> Result<Command> {
    let this = env::current_exe().context("cannot find this program")?;
    let runner = env::var("BYHAND_RUNNER").unwrap_or_default();
    let mut words = runner.split_whitespace();
    let mut command = match words.next() {
        None => Command::new(this),
        Some(emulator) => {
            let mut command = Command::new(emulator);
            command.args(words).arg(this);
            command
        }
    };
    command.args(arguments).env_remove("BYHAND_DATA").env_remove("BYHAND_ISA").stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(command)
}

/// A training of about half a second into `out`.
fn training(out: &Path, options: &[&str]) -> Result<Command> {
    let small = [
        "train-mlp",
        "--data",
        "digits",
        "--train-limit",
        "1000",
        "--test-limit",
        "100",
        "--json",
        "--quiet",
        "--no-report",
    ];
    let mut command = program(&small)?;
    command.args(options).arg("--out").arg(out);
    Ok(command)
}

/// The last event on stdout.
fn last_event(output: &Output) -> Option<Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(text.lines().last()?).ok()
}

/// The digest of a training that came to its end.
fn digest(output: &Output) -> Result<String> {
    ensure!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    let result = last_event(output).context("no event on stdout")?;
    Ok(result["weights_sha256"].as_str().context("no weights_sha256")?.to_string())
}

/// The page of digests, by version: a command, its digest, and that without fused multiply-add.
const DIGESTS: &str = include_str!("../../../../../docs/digests.md");

/// The rows of this version in the page.
fn published() -> Result<Vec<[&'static str; 3]>> {
    let title = concat!("\n## ", env!("CARGO_PKG_VERSION"), "\n");
    let (_, text) = DIGESTS.split_once(title).context("docs/digests.md does not have this version")?;
    let text = text.split("\n## ").next().unwrap_or_default();
    let rows = text.lines().filter_map(|line| {
        let mut cells = line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`'));
        Some([cells.next()?, cells.next()?, cells.next()?])
    });
    Ok(rows.filter(|[command, ..]| command.starts_with("train")).collect())
}

pub fn named_runs(_: usize) -> Result<Outcome> {
    const THREADS: [&str; 2] = ["1", "3"];
    let folder = tempfile::tempdir()?;
    let (rows, isas) = (published()?, Isa::available());
    ensure!(!rows.is_empty(), "docs/digests.md has no run of this version");
    let (mut failures, mut runs) = (Vec::new(), 0);
    for (row, [command, fused, plain]) in rows.iter().enumerate() {
        for (column, isa) in isas.iter().enumerate() {
            let expected = if isa.is_fused() { fused } else { plain };
            // By turns: `threads` holds that their number does not matter.
            let threads = THREADS[(row + column) % THREADS.len()];
            let small = "--data digits --train-limit 2000 --test-limit 100 --epochs 1 --no-report --json --quiet --threads";
            let words = command.split(' ').chain(small.split(' ')).chain([threads]).collect::<Vec<_>>();
            let mut run = program(&words)?;
            run.env("BYHAND_ISA", isa.name()).arg("--out").arg(folder.path().join(runs.to_string()));
            let found = digest(&run.output()?)?;
            runs += 1;
            if found != *expected {
                failures.push(format!("{command} on {}: digest {found}, expected {expected}", isa.name()));
            }
        }
    }
    let names: Vec<&str> = isas.iter().map(|isa| isa.name()).collect();
    Ok(Outcome::of(
        format!(
            "{runs} runs of {} commands on {}, {} threads: {} other digests",
            rows.len(),
            names.join(", "),
            THREADS.join(" and "),
            failures.len()
        ),
        &failures,
    ))
}

/// Steps of a training that is killed, and how often it saves.
const KILLED: [&str; 4] = ["--epochs", "16", "--checkpoint-every", "10"];

pub fn kill_9(kills: usize) -> Result<Outcome> {
    let folder = tempfile::tempdir()?;
    let begun = Instant::now();
    let expected = digest(&training(&folder.path().join("whole"), &KILLED)?.output()?)?;
    let whole = begun.elapsed();
    let mut chance = Chance::new(5);
    let (mut failures, mut resumed) = (Vec::new(), 0);
    for kill in 0..kills {
        let out = folder.path().join(kill.to_string());
        let mut running = training(&out, &KILLED)?.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        sleep(whole * chance.below(100) as u32 / 100);
        running.kill()?;
        running.wait()?;
        let again = training(&out, &KILLED)?.output()?;
        resumed += usize::from(String::from_utf8_lossy(&again.stderr).contains("goes on"));
        match digest(&again) {
            Ok(digest) if digest == expected => {}
            Ok(digest) => failures.push(format!("kill {kill}: digest {digest}, expected {expected}")),
            Err(error) => failures.push(format!("kill {kill}: {error:#}")),
        }
        // Each has its own; they are not all kept.
        fs::remove_dir_all(&out)?;
    }
    let equal = kills - failures.len();
    Ok(Outcome::of(
        format!(
            "{equal} of {kills} kills: equal digest, no manual step ({resumed} went on from a checkpoint)"
        ),
        &failures,
    ))
}

pub fn lock(pairs: usize) -> Result<Outcome> {
    const OPTIONS: [&str; 2] = ["--epochs", "10"];
    let folder = tempfile::tempdir()?;
    let expected = digest(&training(&folder.path().join("whole"), &OPTIONS)?.output()?)?;
    let (mut failures, mut refused, mut slowest) = (Vec::new(), 0, Duration::ZERO);
    for pair in 0..pairs {
        let out = folder.path().join(pair.to_string());
        let mut both = Vec::new();
        for _ in 0..2 {
            both.push((Instant::now(), training(&out, &OPTIONS)?.spawn()?));
        }
        let mut done = 0;
        for (begun, running) in both {
            let output = running.wait_with_output()?;
            if output.status.code() == Some(2) {
                refused += 1;
                slowest = slowest.max(begun.elapsed());
                continue;
            }
            match digest(&output) {
                Ok(digest) if digest == expected => done += 1,
                Ok(digest) => failures.push(format!("pair {pair}: digest {digest}, expected {expected}")),
                Err(error) => failures.push(format!("pair {pair}: {error:#}")),
            }
        }
        if done == 0 {
            failures.push(format!("pair {pair}: neither trained"));
        }
    }
    // Both wait for a free core; the refusal itself is timed against a run that is under way.
    let out = folder.path().join("held");
    let mut held = training(&out, &["--epochs", "1000000", "--schedule", "constant"])?.spawn()?;
    wait_for(&out, &mut held)?;
    let begun = Instant::now();
    let output = training(&out, &OPTIONS)?.output()?;
    let refusal = begun.elapsed();
    held.kill()?;
    held.wait()?;
    if output.status.code() != Some(2) || refusal > Duration::from_secs(1) {
        failures.push(format!("a second run ended with {} after {refusal:?}", output.status));
    }
    // Dead, it holds nothing.
    if let Err(error) = digest(&training(&out, &OPTIONS)?.output()?) {
        failures.push(format!("after the first was killed: {error:#}"));
    }
    Ok(Outcome::of(
        format!(
            "{pairs} pairs, {refused} refused: {} harmed; a refusal takes {} ms",
            failures.len(),
            refusal.as_millis()
        ),
        &failures,
    ))
}

/// Waits until a run has told of its first epoch.
fn wait_for(out: &Path, running: &mut Child) -> Result<()> {
    while fs::read(out.join("history.jsonl")).map_or(true, |history| history.is_empty()) {
        ensure!(running.try_wait()?.is_none(), "the run ended by itself");
        sleep(Duration::from_millis(2));
    }
    Ok(())
}

pub fn signals(cases: usize) -> Result<Outcome> {
    if !cfg!(unix) {
        return Ok(Outcome::skipped("this system has no SIGTERM"));
    }
    let folder = tempfile::tempdir()?;
    let mut chance = Chance::new(6);
    let (mut failures, mut slowest) = (Vec::new(), Duration::ZERO);
    for case in 0..cases {
        let (signal, code) = [("-INT", 130), ("-TERM", 143)][case % 2];
        let out = folder.path().join(case.to_string());
        let mut running = training(&out, &["--epochs", "1000000", "--schedule", "constant"])?.spawn()?;
        wait_for(&out, &mut running)?;
        sleep(Duration::from_millis(chance.below(100) as u64));
        let sent = Instant::now();
        let status = Command::new("kill").args([signal, &running.id().to_string()]).status();
        ensure!(status.is_ok_and(|status| status.success()), "cannot send a signal");
        let output = running.wait_with_output()?;
        let took = sent.elapsed();
        slowest = slowest.max(took);
        let result = last_event(&output).unwrap_or_default();
        let is_saved = out.join("model.safetensors").exists() && result["interrupted"] == true;
        if output.status.code() != Some(code) || took > Duration::from_secs(2) || !is_saved {
            failures.push(format!("{signal}: {} after {took:?}, saved: {is_saved}", output.status));
        }
    }
    let figure = format!("{cases} signals, the slowest end after {} ms", slowest.as_millis());
    Ok(Outcome::of(figure, &failures))
}

pub fn failure_replayed(_: usize) -> Result<Outcome> {
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("run");
    // The rate rises until it is too high, some steps later.
    let wild =
        ["--optimizer", "sgd", "--lr", "1e6", "--schedule", "constant(warmup=1000000)", "--epochs", "1000"];
    let output = training(&out, &[&wild[..], &["--loss", "squared-error"]].concat())?.output()?;
    let mut failures = Vec::new();
    if output.status.code() != Some(3) {
        failures.push(format!(
            "it ended with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        ));
    }
    let output = program(&["replay", "--json", "--quiet"])?.arg(&out).output()?;
    let result = last_event(&output).unwrap_or_default();
    if !(output.status.success() && result["reproduced"] == true) {
        failures.push(format!("replay: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    let figure = format!("step {} failed again in the same way", result["failure"]["step"]);
    Ok(Outcome::of(figure, &failures))
}
