//! What a run survives, from outside: killed and started again, damaged checkpoints, failures that are replayed; and the checks of
//! `verify`, the quick ones.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command as Process, Stdio},
    thread::sleep,
    time::Duration,
};

use assert_cmd::Command;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::byhand;

/// A run of 40 steps into `out`, with a checkpoint after every tenth.
fn train(out: &Path, options: &[&str]) -> Command {
    let small =
        ["train-mlp", "--data", "digits", "--train-limit", "640", "--test-limit", "50", "--epochs", "4"];
    let mut command = byhand(&small);
    command
        .args(["--checkpoint-every", "10", "--json", "--quiet", "--no-report"])
        .args(options)
        .arg("--out")
        .arg(out);
    command
}

/// The last event of a command that succeeds, and what it told.
#[track_caller]
fn result(command: &mut Command) -> (Value, String) {
    let output = command.output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{told}{text}");
    (serde_json::from_str(text.lines().last().unwrap()).unwrap(), told)
}

fn names(folder: &Path) -> Vec<String> {
    let entries =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = entries.collect();
    names.sort();
    names
}

fn checkpoint(run: &Path, step: u64) -> PathBuf {
    run.join(format!("checkpoints/step-{step}.safetensors"))
}

/// Makes of a run that is done one that was killed after its thirtieth step.
fn undo_the_end(run: &Path) {
    fs::remove_file(checkpoint(run, 40)).unwrap();
    fs::remove_file(run.join("model.safetensors")).unwrap();
}

#[test]
fn the_same_command_goes_on_with_a_run_that_was_killed() {
    let folder = TempDir::new().unwrap();
    let [whole, killed] = ["whole", "killed"].map(|name| folder.path().join(name));
    let (wanted, _) = result(&mut train(&whole, &[]));
    assert_eq!(
        names(&whole.join("checkpoints")),
        [20, 30, 40].map(|step| format!("step-{step}.safetensors"))
    );
    // As soon as it has a checkpoint.
    let command = train(&killed, &["--threads", "1"]);
    let mut running = Process::new(command.get_program());
    let running = running
        .args(command.get_args())
        .env_remove("BYHAND_DATA")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut running = running.spawn().unwrap();
    while !checkpoint(&killed, 10).exists() && running.try_wait().unwrap().is_none() {
        sleep(Duration::from_millis(1));
    }
    running.kill().unwrap();
    running.wait().unwrap();
    if checkpoint(&killed, 40).exists() {
        undo_the_end(&killed);
    }
    let (found, told) = result(&mut train(&killed, &["--threads", "2"]));
    assert_eq!(found["weights_sha256"], wanted["weights_sha256"]);
    assert!(told.contains("it goes on from there"), "{told}");
    for file in ["model.safetensors", "config.toml"] {
        assert_eq!(fs::read(killed.join(file)).unwrap(), fs::read(whole.join(file)).unwrap(), "{file}");
    }
    assert_eq!(fs::read_to_string(killed.join("history.jsonl")).unwrap().lines().count(), 4);
    assert_eq!(names(&killed), names(&whole));
    // A run that is done is not gone on with: the next begins anew, and so does one with other settings.
    for (number, options) in [&[][..], &["--seed", "4"]].into_iter().enumerate() {
        let aside = format!("earlier-{}", number + 1);
        assert!(result(&mut train(&killed, options)).1.contains(&aside));
        assert!(killed.join(aside).join("checkpoints").is_dir());
    }
}

#[test]
fn a_run_killed_before_its_first_checkpoint_begins_anew_in_its_folder() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("run");
    let (wanted, _) = result(&mut train(&out, &[]));
    fs::remove_file(out.join("model.safetensors")).unwrap();
    fs::remove_dir_all(out.join("checkpoints")).unwrap();
    // What a save that was killed leaves.
    fs::write(out.join(".unfinished-0"), "half").unwrap();
    fs::create_dir(out.join("checkpoints")).unwrap();
    fs::write(out.join("checkpoints/.unfinished-0"), "half").unwrap();
    let (found, told) = result(&mut train(&out, &[]));
    assert_eq!((found["weights_sha256"].as_str(), &*told), (wanted["weights_sha256"].as_str(), ""));
    assert_eq!(names(&out.join("checkpoints")).len(), 3);
    let wanted = [".lock", "checkpoints", "config.toml", "history.jsonl", "model.safetensors", "result.json"];
    assert_eq!(names(&out), wanted);
}

#[test]
fn a_damaged_checkpoint_is_named_set_aside_and_done_without() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("run");
    let (wanted, _) = result(&mut train(&out, &[]));
    undo_the_end(&out);
    let newest = checkpoint(&out, 30);
    let mut bytes = fs::read(&newest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&newest, &bytes).unwrap();
    let (found, told) = result(&mut train(&out, &[]));
    assert_eq!(found["weights_sha256"], wanted["weights_sha256"]);
    for words in ["step-30.safetensors: expected SHA-256", "step-30.damaged-1", "after 20 steps"] {
        assert!(told.contains(words), "{words} in {told}");
    }
    assert_eq!(fs::read(out.join("checkpoints/step-30.damaged-1")).unwrap(), bytes, "not deleted");
    // Where none is whole, that is said.
    for step in [20, 30, 40] {
        fs::write(checkpoint(&out, step), "rubbish").unwrap();
    }
    let output = byhand(&["train", "--resume"]).arg(&out).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.lines().last().unwrap().contains("expected a checkpoint that is whole"), "{told}");
}

#[test]
fn the_best_weights_on_the_validation_set_are_kept() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("run");
    // The rate grows until what was learned is lost, though every number is finite.
    let worse =
        ["--validation", "100", "--optimizer", "sgd", "--schedule", "constant(warmup=40)", "--lr", "30"];
    result(&mut train(&out, &worse));
    let accuracy = |model: &str| {
        let (found, _) = result(byhand(&["evaluate", "--json", "--quiet"]).arg(out.join(model)));
        found["accuracy"].as_f64().unwrap()
    };
    assert!(accuracy("best.safetensors") > accuracy("model.safetensors"));
    assert!(!folder.path().join("run/failure.json").exists());
}

#[test]
fn a_failure_is_written_down_and_replayed() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("run");
    let wild = ["--optimizer", "sgd", "--schedule", "constant", "--lr", "1e20"];
    let output = train(&out, &wild).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("byhand replay") && told.contains("Lower the learning rate"), "{told}");
    let failure: Value =
        serde_json::from_str(&fs::read_to_string(out.join("failure.json")).unwrap()).unwrap();
    assert_eq!(failure["batch"].as_array().unwrap().len(), 64);
    assert!(failure["place"].as_str().unwrap().contains("layer"), "{failure}");
    let (replayed, _) = result(byhand(&["replay", "--json"]).arg(&out));
    assert_eq!((&replayed["reproduced"], &replayed["failure"]), (&Value::Bool(true), &failure));
    // Where another thing was told, it is not the same failure.
    let other = serde_json::json!({"message": "something else"});
    fs::write(out.join("failure.json"), other.to_string()).unwrap();
    assert_eq!(byhand(&["replay"]).arg(&out).output().unwrap().status.code(), Some(1));
    assert_eq!(byhand(&["replay", "nowhere"]).output().unwrap().status.code(), Some(2));
}

#[test]
fn the_quick_checks_pass() {
    let quick = [
        "named-runs",
        "crash-exhaustive",
        "io-errors",
        "model-damage",
        "failure-replayed",
        "error-catalogue",
    ];
    let (found, _) = result(byhand(&["verify", "--json", "--quiet"]).args(quick));
    assert_eq!((&found["passed"], &found["failed"]), (&quick.len().into(), &0.into()));
    assert_eq!(byhand(&["verify", "nothing"]).output().unwrap().status.code(), Some(2));
}
