//! `notebooks` and `museum` from outside: the lists, an experiment of one's own on the built-in digits, the report, a piece shown and
//! trained.

use std::{fs, process::Output};

use serde_json::Value;

use crate::support::{byhand, events_of};

fn run(command: &str, arguments: &[&str]) -> Output {
    byhand(&[command]).args(arguments).output().unwrap()
}

const NOTEBOOK: &str = r#"
data = "digits"
train-limit = 300
test-limit = 200
split = "range"
normalize = "centered"
layers = "conv(2,3) pool(2) dense(10)"
init = "scaled-normal"
optimizer = "sgd"
schedule = "constant"
lr = 0.02
batch-size = 1
epochs = 2

[notebook]
system = "mine"
title = "a small one"
metric = "test accuracy"
printed = 0.5
numpy-images-per-second = 48
window = 50

[[notebook.version]]
name = "written"
wrong = [{ layer = 1, piece = "pool-index-without-stride" }]
wrong-loss = "loss-counts-samples"

[[notebook.version]]
name = "repaired"
"#;

fn notebooks(arguments: &[&str]) -> Output {
    run("notebooks", arguments)
}

#[test]
fn the_lists_have_every_system_and_every_piece() {
    for (command, kind, n) in [("notebooks", "system", 8), ("museum", "piece", byhand_museum::PIECES.len())] {
        let events = events_of(&run(command, &["--json"]));
        let of = |kind: &str| events.iter().filter(|event| event["event"] == kind).count();
        assert_eq!((of(kind), of("result"), events.len()), (n, 1, n + 1), "{command}");
    }
}

#[test]
fn a_piece_is_shown_with_both_lines_its_code_and_what_the_proofs_find() {
    let output = run("museum", &["show", "pool-all-ties"]);
    let shown = String::from_utf8_lossy(&output.stdout);
    let parts = [
        "wrong:  for every (p, q) with x[c, i*s0 + p, j*s1 + q] == y[c, i, j]",
        "right:  for the first of them alone",
        "if saved.x[x] == saved.y[y] {",
        "tie sum",
        "expected",
        "found",
    ];
    for part in parts {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let output = run("museum", &["show", "pool-all-tise"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("pool-all-ties"));
}

#[test]
fn a_piece_is_trained_beside_the_right_one() {
    let result = |piece: &str, more: &[&str]| {
        let arguments = [&["train", piece, "--epochs", "1", "--json"], more].concat();
        let events = events_of(&run("museum", &arguments));
        assert_eq!(events.len(), 2, "{piece}");
        events[1].clone()
    };
    let layer = result("sigmoid-of-input", &[]);
    let accuracy = |side: &str| layer[side]["accuracy"].as_f64().unwrap();
    assert!(accuracy("right") > accuracy("wrong") && layer["same_weights"] == false, "{layer}");
    let loss = result("softmax-without-maximum", &["--lr", "200"]);
    assert!(loss["wrong"]["loss"].is_null() && loss["right"]["loss"].is_number(), "NaN is null: {loss}");
    // Its mistake shows on numbers below -99999.99 alone.
    assert_eq!(result("pool-sentinel", &[])["same_weights"], true);
    assert_eq!(run("museum", &["train", "pool-sentinel", "--lr", "0"]).status.code(), Some(2));
}

#[test]
fn a_notebook_of_ones_own_is_run_in_both_versions_with_a_report() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mine.toml");
    fs::write(&file, NOTEBOOK).unwrap();
    let (file, report) = (file.to_str().unwrap(), folder.path().join("report"));
    let arguments = ["run", file, "--seeds", "2", "--json", "--report", report.to_str().unwrap()];
    let rows: Vec<Value> =
        events_of(&notebooks(&arguments)).into_iter().filter(|event| event["event"] == "system").collect();
    assert_eq!(rows.len(), 2);
    for (row, version) in rows.iter().zip(["written", "repaired"]) {
        assert_eq!((&row["version"], &row["n"], &row["printed"]), (&version.into(), &2.into(), &0.5.into()));
        assert_eq!(row["metric"], "test accuracy");
        assert!(row["mean"].as_f64().unwrap() > 0.2, "{row}");
        assert!(row["std"].as_f64().unwrap() >= 0.0 && row["seconds"].as_f64().unwrap() > 0.0, "{row}");
        assert!(row["images_per_second"].as_f64().unwrap() > 0.0, "{row}");
    }
    let page = fs::read_to_string(report.join("index.html")).unwrap();
    assert!(page.contains("<svg"), "no picture");
    for part in [
        "<b>pool-index-without-stride</b>",
        "<h3>written</h3>",
        "<h3>repaired</h3>",
        "Filters before training",
    ] {
        assert!(page.contains(part), "{part} is missing");
    }
    let reached: Vec<usize> =
        page.split(" of 676 places").filter_map(|before| before.rsplit(' ').next()?.parse().ok()).collect();
    // The top left 14x14 of the map at most; and more than that once the stride is in the index.
    assert!(matches!(reached[..], [written, repaired] if written <= 196 && repaired > 196), "{reached:?}");
    assert!(!page.contains("http"), "the page must load nothing");

    // The same seeds give the same figures.
    let again = events_of(&notebooks(&["run", file, "--seeds", "2", "--json", "--threads", "1"]));
    let figures = |events: &[Value]| events.iter().map(|event| event["seeds"].clone()).collect::<Vec<_>>();
    assert_eq!(figures(&rows), figures(&again[..2]));

    // The repaired version is a configuration of `train` too.
    let out = folder.path().join("run");
    let output = run("train", &["--config", file, "--epochs", "1", "--out", out.to_str().unwrap()]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && told.contains("the section [notebook] is for `byhand notebooks`"),
        "{told}"
    );
}

#[test]
fn an_unknown_system_is_wrong_usage() {
    let output = notebooks(&["run", "F"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("A, B1, B2, B3, C1, C2, D, E"));
}
