//! `speedrun` and `records` from outside: their fields, exit codes, equal bits; on real MNIST where that is at hand.

use std::{fs, process::Output};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{byhand, events_of, events_on};

fn speedrun(arguments: &[&str]) -> Output {
    byhand(&["speedrun"]).args(arguments).output().unwrap()
}

fn records(arguments: &[&str]) -> Output {
    byhand(&["records"]).args(arguments).output().unwrap()
}

/// A run of some tenths of a second on the built-in digits.
const SMALL: [&str; 9] =
    ["--data", "digits", "--train-limit", "500", "--test-limit", "200", "--seeds", "2", "--json"];

#[test]
fn one_event_a_seed_and_a_result() {
    let output =
        speedrun(&[&SMALL[..], &["--target", "0.1", "--first-seed", "4", "--threads", "2"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stderr).contains("seed 4: test accuracy "));
    let events = events_of(&output);
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
    let events = events_on(&output.stdout);
    assert!(events.iter().any(|event| event["event"] == "result" && event["reached"] == false));
    assert_eq!(speedrun(&["--target", "99"]).status.code(), Some(2));
    assert_eq!(speedrun(&["--seeds", "0"]).status.code(), Some(2));
}

#[test]
fn another_recipe() {
    let built_in = include_str!("../../../../recipes/speedrun.toml");
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("recipe.toml");
    let run = |text: String| {
        fs::write(&path, text).unwrap();
        speedrun(&[&SMALL[..], &["--target", "0", "--config", path.to_str().unwrap()]].concat())
    };
    let same = events_of(&run(built_in.to_string()));
    assert_eq!(
        same[0]["weights_sha256"],
        events_of(&speedrun(&[&SMALL[..], &["--target", "0"]].concat()))[0]["weights_sha256"]
    );
    let other = events_of(&run(built_in.replace("batch-size = 128", "batch-size = 64")));
    assert_ne!(same[0]["weights_sha256"], other[0]["weights_sha256"]);
    let free = events_of(&run(built_in.replace("layers = 1, from", "layers = 0, from")));
    assert_ne!(same[0]["weights_sha256"], free[0]["weights_sha256"]);
    for (from, to, said) in [
        ("label_smoothing=0.15", "label_smoothing=1", "below 1, found 1"),
        ("shares = [1.0,", "shares = [", "expected shares = [1.0, ...]"),
        ("shares =", "share =", "unknown field `share`"),
        ("[speedrun]", "[notebook]", "expected a section [speedrun]"),
        ("batch-size = 128", "batch-size = 128\nvalidation = 100", "expected no validation, from, patience"),
        ("batch-size = 128", "batch-size = 128\nclass-weights = \"balanced\"", "class-weights or plateau"),
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
        events_of(&output).iter().map(|event| event["weights_sha256"].clone()).collect::<Vec<_>>()
    };
    let one = digest("1");
    for threads in ["2", "3", "7"] {
        assert_eq!(digest(threads), one, "{threads} threads");
    }
}

/// A record of some tenths of a second on the built-in digits.
const RECORD: &str = "data = \"digits\"
layers = \"dense(10)\"
epochs = 2
shift = 1
weight-decay = 0.01
ema = 0.9

[record]
target = 0.05
limit-seconds = 60
seeds = 2
members = 2
tta = \"shift\"
";

const SMALL_RECORD: [&str; 5] = ["--train-limit", "500", "--test-limit", "200", "--json"];

#[test]
fn records_are_listed_and_trained() {
    let listed = records(&["--json"]);
    let listed = events_of(&listed).pop().unwrap();
    let names: Vec<&str> =
        listed["records"].as_array().unwrap().iter().map(|record| record["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"speedrun") && names.contains(&"mnist-99.5"), "{names:?}");
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("small.toml");
    fs::write(&path, RECORD).unwrap();
    let run = |options: &[&str]| {
        let output = records(&[&SMALL_RECORD[..], &["--config", path.to_str().unwrap()], options].concat());
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        events_of(&output)
    };
    let told = run(&["--first-seed", "3"]);
    let kinds: Vec<&str> = told.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["seed", "seed", "record", "result"]);
    let (a, b, record) = (&told[0], &told[1], &told[2]);
    assert_eq!((&a["seed"], &b["seed"]), (&3.into(), &4.into()));
    let number = |event: &Value, field: &str| event[field].as_f64().unwrap_or_else(|| panic!("{field}"));
    let (x, y) = (number(a, "accuracy"), number(b, "accuracy"));
    assert!((number(record, "accuracy_mean") - (x + y) / 2.0).abs() < 1e-12);
    assert_eq!(number(record, "accuracy_min"), x.min(y));
    assert!(
        (number(record, "seconds_mean") - (number(a, "seconds") + number(b, "seconds")) / 2.0).abs() < 1e-9
    );
    for (field, value) in [("name", "small"), ("data", "digits"), ("set", "test"), ("tta", "shift")] {
        assert_eq!(record[field], value);
    }
    // Two networks of 7,850 parameters, no two of all seeds the same.
    for (field, value) in [("parameters", 15_700), ("seeds", 2), ("members", 2), ("limit_seconds", 60)] {
        assert_eq!(number(record, field), f64::from(value), "{field}");
    }
    assert_eq!((&record["target"], &record["reached"]), (&0.05.into(), &true.into()));
    assert_eq!(told[3]["records"][0]["accuracy_mean"], record["accuracy_mean"]);
    let mut digests: Vec<&Value> =
        [a, b].iter().flat_map(|e| e["weights_sha256"].as_array().unwrap()).collect();
    digests.dedup();
    assert_eq!(digests.len(), 4);
    let again = run(&["--first-seed", "3", "--threads", "3", "--seeds", "1"]);
    assert_eq!((&again[0]["weights_sha256"], &again[1]["seeds"]), (&a["weights_sha256"], &1.into()));
    assert_eq!(again[0]["accuracy"], a["accuracy"]);
    // `train` leads to the same weights, and each network alone is judged on the images as they are.
    let alone = [6, 7, 8, 9].map(|seed: u64| {
        let mut train = byhand(&["train", "--quiet", "--seed", &seed.to_string(), "--config"]);
        train.arg(&path).args(SMALL_RECORD).arg("--out").arg(folder.path().join(seed.to_string()));
        events_of(&train.output().unwrap()).pop().unwrap()
    });
    assert_eq!(alone[0]["weights_sha256"], a["weights_sha256"][0]);
    let mean = alone.iter().map(|result| number(result, "test_accuracy")).sum::<f64>() / 4.0;
    assert!((number(record, "accuracy_alone") - mean).abs() < 1e-12);
    let held_out = run(&["--first-seed", "3", "--held-out", "100", "--seeds", "1"]);
    assert_eq!(held_out[1]["set"], "held-out");
    assert_ne!(held_out[0]["weights_sha256"], a["weights_sha256"]);
    // Without --json: the table.
    let table = records(&[
        "--config",
        path.to_str().unwrap(),
        "--train-limit",
        "100",
        "--test-limit",
        "50",
        "--seeds",
        "1",
    ]);
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(table.contains("| record |") && table.contains("| small"), "{table}");
}

#[test]
fn records_that_cannot_be_read() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("small.toml");
    for (from, to, said) in [
        ("[record]", "[speedrun]", "expected a section [record]"),
        ("target = 0.05", "target = 50", "a target from 0 to 1"),
        ("target = 0.05", "aim = 0.5", "unknown field `aim`"),
        ("seeds = 2", "seeds = 0", "seeds and members above 0"),
        ("members = 2", "members = 0", "seeds and members above 0"),
        ("tta = \"shift\"", "tta = \"shake\"", "expected shift, flip or shift,flip, found `shake`"),
        ("epochs = 2", "epochs = 2\nvalidation = 5", "the last epoch counts"),
        ("epochs = 2", "epochs = 2\nschedule = \"plateau\"", "--schedule plateau: expected --validation"),
        ("ema = 0.9", "ema = 9.0", "--ema: expected a number of at least 0 and below 1, found 9"),
        ("dense(10)", "dense(9)", "expected 10 outputs"),
    ] {
        fs::write(&path, RECORD.replace(from, to)).unwrap();
        let output = records(&["--config", path.to_str().unwrap(), "--seeds", "1", "--train-limit", "50"]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        let last = stderr.lines().next_back().unwrap_or_default();
        assert!(output.status.code() == Some(2) && last.contains(said), "{to}: {stderr}");
    }
    assert_eq!(records(&["no-such-record"]).status.code(), Some(2));
    assert_eq!(records(&["all", "--config", "x.toml"]).status.code(), Some(2));
}

#[test]
#[ignore = "needs the real MNIST in BYHAND_DATA; run with --ignored"]
fn real_mnist() {
    let folder = std::env::var("BYHAND_DATA").expect("BYHAND_DATA names the folder that holds mnist/");
    let output = speedrun(&["--data-dir", &folder, "--seeds", "1", "--target", "0.985", "--json", "--quiet"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(events_of(&output)[1]["train_images"], 60_000);
}
