//! The pages of docs/: what they quote stands in the examples, and their Python runs.

use std::{fs, path::PathBuf, process::Command};

fn read(path: &str) -> String {
    let file: PathBuf = [env!("CARGO_MANIFEST_DIR"), "..", "..", path].iter().collect();
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The fenced blocks of a language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    page.split(&fence)
        .skip(1)
        .filter_map(|rest| rest.split_once("```"))
        .map(|(block, _)| block.to_string())
        .collect()
}

/// The lines that say something, without their indentation.
fn lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join("\n")
}

#[test]
fn from_notebook_quotes_the_example() {
    let example = lines(&read("crates/byhand/examples/from_notebook.rs"));
    let quoted = blocks(&read("docs/from-notebook.md"), "rust");
    assert!(quoted.len() >= 10, "only {} quotations: has the form of the page changed?", quoted.len());
    for block in quoted {
        assert!(example.contains(&lines(&block)), "not in examples/from_notebook.rs:\n{block}");
    }
}

#[test]
#[ignore = "needs a python3 with NumPy; run it after a change of the page: cargo test -p byhand --test pages -- --ignored"]
fn the_python_of_the_lesson_runs() {
    let blocks = blocks(&read("docs/backprop.md"), "python");
    assert!(blocks.len() >= 8, "only {} blocks", blocks.len());
    // The first block has no assertion of its own: these are the numbers that the page works out by hand.
    let by_hand = "assert np.allclose(dW1, [[0.75, 1.5], [0, 0]]) and np.isclose(loss, np.log(4))\n";
    let program = [&blocks[0], by_hand, &blocks[1..].join("\n")].join("\n");
    let output = Command::new("python3").args(["-c", &program]).output().expect("python3");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
