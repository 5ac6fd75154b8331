//! `speedrun` from outside: its fields, its exit codes, equal bits; on real MNIST where that is at hand.

use std::{fs, process::Output};

use assert_cmd::Command;
use serde_json::Value;
use tempfile::TempDir;

fn speedrun(arguments: &[&str]) -> Output {
    let mut command = Command::cargo_bin("byhand").unwrap();
    command.env_remove("BYHAND_DATA").arg("speedrun").args(arguments).output().unwrap()
}

/// A run of some tenths of a second on the built-in digits.
const SMALL: [&str; 9] =
    ["--data", "digits", "--train-limit", "500", "--test-limit", "200", "--seeds", "2", "--json"];

fn events(output: &Output) -> Vec<Value> {
    String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn one_event_a_seed_and_a_result() {
    let output =
        speedrun(&[&SMALL[..], &["--target", "0.1", "--first-seed", "4", "--threads", "2"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stderr).contains("seed 4: test accuracy "));
    let events = events(&output);
    let names: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(names, ["seed", "seed", "result"]);
    let (a, b, result) = (&events[0], &events[1], &events[2]);
    assert_eq!((&a["seed"], &b["seed"]), (&4.into(), &5.into()));
    assert_ne!(a["weights_sha256"], b["weights_sha256"]);
    let number = |event: &Value, field: &str| event[field].as_f64().unwrap_or_else(|| panic!("{field}"));
    let (x, y) = (number(a, "accuracy"), number(b, "accuracy"));
    assert!((number(result, "accuracy_mean") - (x + y) / 2.0).abs() < 1e-12);
    assert!((number(result, "accuracy_std") - (x - y).abs() / 2f64.sqrt()).abs() < 1e-12);
    assert_eq!(number(result, "accuracy_min"), x.min(y));
    let (x, y) = (number(a, "seconds"), number(b, "seconds"));
    assert!((number(result, "seconds_mean") - (x + y) / 2.0).abs() < 1e-9);
    assert!(number(result, "seconds_std") >= 0.0);
    assert!(number(result, "seconds_with_reading") > number(result, "seconds_mean"));
    assert_eq!((&result["seeds"], &result["target"]), (&2.into(), &0.1.into()));
    assert_eq!((&result["threads"], &result["data"]), (&2.into(), &"digits".into()));
    assert_eq!(result["reached"], true);
}

#[test]
fn below_the_target_is_a_failure() {
    let output = speedrun(&[&SMALL[..], &["--target", "1", "--quiet"]].concat());
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        stderr.contains("mean test accuracy over 2 seeds")
            && stderr.contains("below the target of 100.000 %"),
        "{stderr}"
    );
    let events = events(&output);
    assert!(events.iter().any(|event| event["event"] == "result" && event["reached"] == false));
    assert_eq!(speedrun(&["--target", "99"]).status.code(), Some(2));
    assert_eq!(speedrun(&["--seeds", "0"]).status.code(), Some(2));
}

#[test]
fn another_recipe() {
    let built_in = include_str!("../../../recipes/speedrun.toml");
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("recipe.toml");
    let run = |text: String| {
        fs::write(&path, text).unwrap();
        speedrun(&[&SMALL[..], &["--target", "0", "--config", path.to_str().unwrap()]].concat())
    };
    let same = events(&run(built_in.to_string()));
    assert_eq!(
        same[0]["weights_sha256"],
        events(&speedrun(&[&SMALL[..], &["--target", "0"]].concat()))[0]["weights_sha256"]
    );
    let other = events(&run(built_in.replace("batch-size = 128", "batch-size = 64")));
    assert_ne!(same[0]["weights_sha256"], other[0]["weights_sha256"]);
    let free = events(&run(built_in.replace("layers = 1, from", "layers = 0, from")));
    assert_ne!(same[0]["weights_sha256"], free[0]["weights_sha256"]);
    for (from, to, said) in [
        ("label_smoothing=0.15", "label_smoothing=1", "below 1, found 1"),
        ("shares = [1.0,", "shares = [", "expected shares = [1.0, ...]"),
        ("shares =", "share =", "unknown field `share`"),
        ("[speedrun]", "[notebook]", "expected a section [speedrun]"),
        ("batch-size = 128", "batch-size = 128\nshift = 2", "no validation, shift or from"),
        ("batch-size = 128", "batch-size = 128\nclass-weights = \"balanced\"", "no class-weights"),
        ("adam(", "adma(", "expected one of sgd, adam, adamw, found `adma`"),
        ("crop = 24", "crop = 4", "found a window of 5 rows in an input of 4 rows"),
        ("crop = 24", "crop = 40", "--crop 40: expected at most the 28"),
        ("batch-size = 128", "batch-size = 0", "expected a whole number of at least 1"),
        ("layers = 1, from", "layers = 99, from", "all that there are, found 99"),
        ("from = 0.4", "from = 4", "expected freeze = { layers = N, from = SHARE }"),
    ] {
        let output = run(built_in.replace(from, to));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.code() == Some(2) && stderr.lines().next_back().unwrap().contains(said),
            "{to}: {stderr}"
        );
    }
}

#[test]
fn one_digest_for_any_number_of_threads() {
    let digest = |threads: &str| {
        let output = speedrun(&[&SMALL[..], &["--target", "0", "--quiet", "--threads", threads]].concat());
        events(&output).iter().map(|event| event["weights_sha256"].clone()).collect::<Vec<_>>()
    };
    let one = digest("1");
    for threads in ["2", "3", "7"] {
        assert_eq!(digest(threads), one, "{threads} threads");
    }
}

#[test]
#[ignore = "needs the real MNIST in BYHAND_DATA; run with --ignored"]
fn real_mnist() {
    let folder = std::env::var("BYHAND_DATA").expect("BYHAND_DATA names the folder that holds mnist/");
    let output = speedrun(&["--data-dir", &folder, "--seeds", "1", "--target", "0.985", "--json", "--quiet"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(events(&output)[1]["train_images"], 60_000);
}
