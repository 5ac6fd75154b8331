//! `measure` and `bench-report` from outside: records come from programs, pages from records, and a figure that does not is found.

use std::{fs, path::Path};

use assert_cmd::Command;
use tempfile::TempDir;

/// Exit code, standard output and standard error.
fn xtask(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let told = Command::cargo_bin("xtask").unwrap().current_dir(folder).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (told.status.code().unwrap(), text(told.stdout), text(told.stderr))
}

const PROCESSORS: &str = "[[processor]]\nrecord = \"Some CPU\"\nname = \"Some\"\nwhat = \"a CPU\"\n";

/// A folder with one page to fill and the records of a comparison; `more` are further ones.
fn folder(page: &str, more: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let record = |commit: &str, peer: &str, us: f64| {
        format!(
            "{{\"date\": \"2026-01-01\", \"commit\": \"{commit}\", \"processor\": \"Some CPU\", \"command\": \"compare\", \"threads\": 2, \
             \"workload\": \"lenet\", \"batch\": 8, \"peer\": \"{peer}\", \"version\": \"v 1\", \"median_us\": {us}, \"agrees\": true}}\n"
        )
    };
    let peers = [
        ("old", "ours", 1.0),
        ("old", "jax", 9.0),
        ("new", "ours", 2.0),
        ("new", "jax", 8.0),
        ("new", "torch", 6.0),
    ];
    let peers: String = peers.into_iter().map(|(commit, peer, us)| record(commit, peer, us)).collect();
    write("docs/measurements/processors.toml", PROCESSORS);
    write("docs/measurements/peers.jsonl", &(peers + more));
    write("docs/charts/.keep", "");
    write("docs/results.md", page);
    write("README.md", "# Nothing to fill\n");
    folder
}

const PAGE: &str = "# Results\nFaster: <!-- peers:begin -->old<!-- peers:end -->\nmore\n";

#[test]
fn the_pages_of_this_repository_say_what_its_records_say() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let (code, _, stderr) = xtask(&root, &["bench-report", "--check"]);
    assert_eq!(code, 0, "{stderr}");
}

#[test]
fn a_table_is_of_the_last_commit_and_a_figure_changed_by_hand_is_found() {
    let folder = folder(PAGE, "");
    let root = folder.path();
    assert_eq!(xtask(root, &["bench-report", "--check"]).0, 1);
    assert_eq!(xtask(root, &["bench-report"]).0, 0);
    let page = root.join("docs/results.md");
    let written = fs::read_to_string(&page).unwrap();
    // 8 samples in 2 us; the best peer takes 6, the one of the older commit 9.
    let row = "| lenet | 4,000,000, **3.0** |";
    assert!(written.lines().any(|line| line == row), "no line {row} in\n{written}");
    assert!(
        written.starts_with("# Results\nFaster: <!-- peers:begin -->\n\n| Some | batch 8 |\n"),
        "{written}"
    );
    assert!(written.ends_with(" <!-- peers:end -->\nmore\n") && !written.contains("old"), "{written}");
    assert!(fs::read_to_string(root.join("docs/charts/throughput.svg")).unwrap().contains(">lenet<"));
    assert_eq!(xtask(root, &["bench-report", "--check"]).0, 0);

    fs::write(&page, written.replace("**3.0**", "**4.0**")).unwrap();
    let (code, _, stderr) = xtask(root, &["bench-report", "--check"]);
    assert!(
        code == 1 && stderr.contains("docs/results.md: expected what docs/measurements says"),
        "{stderr}"
    );
    assert_eq!(xtask(root, &["bench-report"]).0, 0);
    assert_eq!(fs::read_to_string(&page).unwrap(), written);
}

#[test]
fn what_is_wrong_is_named_and_the_page_is_left_alone() {
    let cell =
        r#"{"commit": "new", "processor": "Some CPU", "threads": 2, "workload": "lenet", "median_us": 1}"#;
    for (page, more, expected) in [
        (PAGE.replace("peers:end", "peer:end").as_str(), "", "docs/results.md: expected <!-- peers:end -->"),
        (
            PAGE.replace("peers:", "pears:").as_str(),
            "",
            "the table pears: no such table; expected one of results,",
        ),
        (PAGE, "no JSON\n", "peers.jsonl, line 6 is no record"),
        (PAGE, "{}\n", "peers.jsonl, line 6: expected text in the field `processor`, found none"),
        (PAGE, cell, "peers.jsonl, line 6: expected a number in the field `batch`, found none"),
    ] {
        let folder = folder(page, more);
        let (code, _, stderr) = xtask(folder.path(), &["bench-report"]);
        assert_eq!(code, 1, "{expected}");
        assert!(
            stderr.contains(expected) && stderr.lines().count() == 1,
            "expected {expected}, found {stderr}"
        );
        assert_eq!(fs::read_to_string(folder.path().join("docs/results.md")).unwrap(), page);
    }
}

#[test]
fn a_measured_training_becomes_a_row() {
    let folder = folder("<!-- training:begin --><!-- training:end -->\n", "");
    let root = folder.path();
    let training =
        "train-mlp --data digits --train-limit 100 --test-limit 50 --epochs 2 --threads 1 --seed 3";
    let command: Vec<&str> = "measure training --runs 2 --".split(' ').chain(training.split(' ')).collect();
    let (code, _, stderr) = xtask(root, &command);
    assert_eq!(code, 0, "{stderr}");
    let records = fs::read_to_string(root.join("docs/measurements/training.jsonl")).unwrap();
    let records: Vec<serde_json::Value> =
        records.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(records.len(), 2);
    for record in &records {
        assert_eq!(record["command"], format!("cargo xtask {training}"));
        assert_eq!(record["curve"].as_array().unwrap().len(), 2);
        assert_eq!(record["curve"][1][1], record["test_accuracy"]);
        assert_eq!(record["weights_sha256"], records[0]["weights_sha256"]);
        assert!(
            record["commit"].is_string() && record["processor"].is_string() && record["date"].is_string()
        );
    }
    assert_eq!(xtask(root, &["bench-report"]).0, 0);
    let page = fs::read_to_string(root.join("docs/results.md")).unwrap();
    let accuracy = 100.0 * records[0]["test_accuracy"].as_f64().unwrap();
    let cell = format!("| {accuracy:.2} % ± 0.00 (n = 2), ");
    assert!(page.contains("| `train-mlp --data digits") && page.contains(&cell), "no {cell} in\n{page}");
}

#[test]
fn a_kind_that_needs_a_command_says_so() {
    let folder = TempDir::new().unwrap();
    let (code, _, stderr) = xtask(folder.path(), &["measure", "parity"]);
    assert!(code == 2 && stderr.contains("measure parity -- parity compare DIR"), "{code}: {stderr}");
}

#[test]
fn a_kernel_that_memory_bounds_is_held_against_its_roof() {
    let folder = folder(PAGE, "");
    let kernel = |batch: usize, figures: &str| {
        format!(
            "{{\"date\": \"2026-01-01\", \"commit\": \"new\", \"processor\": \"Some CPU\", \"command\": \"measure\", \"threads\": 1, \
             \"operation\": \"dense/forward\", \"subject\": \"512-512\", \"isa\": \"avx2\", \"batch\": {batch}, \"gflops\": 20.0, {figures}}}\n"
        )
    };
    let records = [
        kernel(1, "\"percent\": 20.0, \"roof_percent\": 80.0"),
        kernel(16, "\"percent\": 20.0, \"roof_percent\": 20.0"),
        kernel(64, "\"percent\": 20.0"),
    ];
    fs::write(folder.path().join("docs/measurements/benchmarks.jsonl"), records.concat()).unwrap();
    let (code, stdout, stderr) = xtask(folder.path(), &["bench-report", "--benchmarks"]);
    assert_eq!(code, 0, "{stderr}");
    let row = "| dense/forward | 512-512 | 1 | 20 GFLOP/s, 20 % (80 % of the roof) | 20 GFLOP/s, 20 % | 20 GFLOP/s, 20 % |";
    assert!(stdout.lines().any(|line| line == row), "no line {row} in\n{stdout}");
}
