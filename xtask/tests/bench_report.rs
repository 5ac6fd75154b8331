//! `bench-report` from outside, on made-up records: what it writes, and what it says when it cannot.

use std::{fs, path::Path};

use assert_cmd::Command;
use tempfile::TempDir;

const RECORDS: &str = r#"{"command":"cargo xtask bench-report","commit":"abc1234","machine":"Some CPU","cores":2}
{"operation":"conv/forward","subject":"1x28x28-8x5x5","batch":16,"threads":1,"isa":"avx2","flops":2000000000,"bytes":null,"seconds":0.05,"best_seconds":0.04,"peak_gflops":100.0}
{"operation":"conv/forward","subject":"1x28x28-8x5x5","batch":1,"threads":1,"isa":"avx2","flops":2000000000,"bytes":null,"seconds":0.1,"best_seconds":0.1,"peak_gflops":100.0}
{"operation":"relu/forward","subject":"256","batch":16,"threads":1,"isa":"avx2","flops":null,"bytes":8000000000,"seconds":0.5,"best_seconds":0.5,"peak_gflops":null}
{"operation":"step","subject":"lenet","batch":8,"threads":2,"isa":"avx2","flops":1000000000,"bytes":null,"seconds":0.02,"best_seconds":0.01,"peak_gflops":200.0}
"#;

const DOCUMENT: &str = "# Results\n<!-- bench:begin -->\nold\n<!-- bench:end -->\nmore\n";

/// Exit code, standard output and standard error.
fn report(folder: &Path) -> (i32, String, String) {
    let mut command = Command::cargo_bin("xtask").unwrap();
    command.current_dir(folder).args([
        "bench-report",
        "--no-run",
        "--records",
        "records.jsonl",
        "--out",
        "results.md",
    ]);
    let told = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (told.status.code().unwrap(), text(told.stdout), text(told.stderr))
}

fn folder(records: &str, document: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("records.jsonl"), records).unwrap();
    fs::write(folder.path().join("results.md"), document).unwrap();
    folder
}

#[test]
fn the_table_takes_the_place_between_the_markers_again_and_again() {
    let folder = folder(RECORDS, DOCUMENT);
    let (code, stdout, _) = report(folder.path());
    assert_eq!(code, 0);
    let first = fs::read_to_string(folder.path().join("results.md")).unwrap();
    assert!(first.starts_with("# Results\n<!-- bench:begin -->\n`cargo xtask bench-report` at commit abc1234 on Some CPU, 2 cores, avx2."));
    assert!(first.ends_with("<!-- bench:end -->\nmore\n") && !first.contains("old"));
    for line in [
        "| kernel | shape | batch 1 | batch 16 |",
        "| conv/forward | 1x28x28-8x5x5 | 20.0, 20 % (20 %) | 40.0, 40 % (50 %) |",
        "| relu/forward | 256 | 16.0 |",
        "| network | threads | batch 8 |",
        "| lenet | 2 | 400, 25 % (50 %) |",
    ] {
        assert!(first.lines().any(|found| found == line), "no line {line} in\n{first}");
        assert!(stdout.contains(line));
    }
    assert!(first.contains("Median peak: 100 GFLOP/s on one thread, 200 GFLOP/s on 2 threads."));
    assert_eq!(report(folder.path()).0, 0);
    assert_eq!(fs::read_to_string(folder.path().join("results.md")).unwrap(), first);
}

#[test]
fn what_is_missing_is_named_and_the_document_is_left_alone() {
    let head = RECORDS.lines().next().unwrap();
    for (records, document, expected) in [
        (
            RECORDS,
            "# Results\n",
            "results.md has no place for the table: expected the lines <!-- bench:begin -->",
        ),
        (RECORDS, "<!-- bench:end -->\n<!-- bench:begin -->\n", "in this order"),
        ("", DOCUMENT, "records.jsonl is empty"),
        (head, DOCUMENT, "records.jsonl holds no benchmark"),
        ("no JSON", DOCUMENT, "records.jsonl, line 1 is no head"),
        (&format!("{head}\n{{}}\n"), DOCUMENT, "records.jsonl, line 2 is no record"),
    ] {
        let folder = folder(records, document);
        let (code, _, stderr) = report(folder.path());
        assert_eq!(code, 1, "{expected}");
        assert!(
            stderr.contains(expected) && stderr.lines().count() == 1,
            "expected {expected}, found {stderr}"
        );
        assert_eq!(fs::read_to_string(folder.path().join("results.md")).unwrap(), document);
    }
}
