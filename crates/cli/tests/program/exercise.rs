//! `exercise` from outside: answers worked out by hand are accepted, others get a hint, and the page names every exercise.

use std::{fs, path::PathBuf, process::Output};

use serde_json::Value;

use crate::support::byhand;

fn exercise(arguments: &[&str]) -> Output {
    byhand(&["exercise"]).args(arguments).output().unwrap()
}

/// What a person finds with pencil and paper. The program has none of these: it computes its own.
const BY_HAND: &[(&str, &str)] = &[
    ("mlp-label", "-1/4 -1/2 0 0"),
    ("image-label", "1/4 3/4 -1/4 -7/4"),
    ("rule-paths", "54"),
    ("dense-dx", "10 5"),
    ("dense-batch", "1 3 5 2 -3 1 3 0"),
    ("dense-bug-1", "dense-bias-not-summed"),
    ("dense-bug-2", "dense-overwrites"),
    ("conv-dw", "0 1 4 0"),
    ("conv-dx", "1 2 0 3 3 -2 0 -3 -4"),
    ("conv-phases", "1 2 4 2 2 -2 -3"),
    ("conv-bug-1", "conv-rotated-axes"),
    ("conv-bug-2", "conv-swapped-strides"),
    ("pool-overlap", "0 3 0 3 0 4 0 0 0"),
    ("pool-bug-1", "pool-index-without-stride"),
    ("pool-bug-2", "pool-all-ties"),
    ("pool-bug-3", "pool-assigns"),
    ("avgpool-dx", "1 3 2 1 2 1 0 -1 -1"),
    ("relu-kink", "0 0 3 -4"),
    ("tanh-slope", "16 3"),
    ("sigmoid-slope", "3 1.5"),
    ("dropout-scale", "0 5"),
    ("softmax-dz", "1/16 1/8 -3/16 -1/3 1/6 1/6"),
    ("softmax-smoothing", "0.025 0.15 -0.175"),
    ("loss-bug-1", "softmax-over-batch"),
    ("loss-bug-2", "labels-broadcast"),
    ("squared-error", "0.5 0 0.5 0"),
    ("network-parts", "2 7"),
    ("init-he", "0.1667"),
    ("init-glorot", "0.08239"),
    ("momentum-steady", "-0.561"),
    ("adam-first-step", "-0.01 -0.01"),
    ("adjoint", "40"),
    ("mlp-step", "0.157"),
];

fn answer(name: &str, answer: &str) -> Output {
    exercise(&[&[name][..], &answer.split(' ').collect::<Vec<_>>()].concat())
}

/// The last event.
fn result(arguments: &[&str]) -> Value {
    let output = exercise(&[&["--json"], arguments].concat());
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).next_back().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn answers_worked_out_by_hand_are_right() {
    assert_eq!(result(&[])["exercises"], BY_HAND.len(), "an exercise without an answer in this test");
    for (name, by_hand) in BY_HAND {
        let output = answer(name, by_hand);
        assert!(output.status.success(), "{name} {by_hand}: {}", stderr(&output));
        assert!(String::from_utf8_lossy(&output.stdout).starts_with("right: "), "{name}");
    }
}

#[test]
fn each_wrong_number_is_named_and_a_hint_is_given() {
    for (name, by_hand) in BY_HAND.iter().filter(|(name, _)| !name.contains("-bug-")) {
        let mut numbers: Vec<&str> = by_hand.split(' ').collect();
        let place = numbers.len() - 1;
        numbers[place] = "77";
        let output = exercise(&[&[*name], &numbers[..]].concat());
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{name}: {said}");
        assert!(
            said.contains(&format!("(number {})", numbers.len())) && said.contains("hint: "),
            "{name}: {said}"
        );
        assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    }
}

#[test]
fn an_answer_that_a_wrong_layer_gives_names_its_wrong_line() {
    for (name, wrong, piece) in [
        ("dense-dx", "0 10", "dense-transposed"),
        ("dense-batch", "1 3 5 2 -3 1 1 -1", "dense-bias-not-summed"),
        ("conv-dx", "4 3 0 2 -3 -3 0 -2 -1", "conv-unflipped-kernel"),
        ("pool-overlap", "0 2 0 3 0 4 0 0 0", "pool-assigns"),
        ("avgpool-dx", "4 12 8 4 8 4 0 -4 -4", "avg-pool-without-area"),
        ("relu-kink", "1 2 3 -4", "relu-mask-of-output"),
        ("softmax-dz", "1/8 1/4 -3/8 -2/3 1/3 1/3", "loss-not-averaged"),
    ] {
        let output = answer(name, wrong);
        assert_eq!(output.status.code(), Some(1), "{name}");
        assert!(stderr(&output).contains(piece), "{name} {wrong}: {}", stderr(&output));
    }
}

#[test]
fn of_the_lines_of_a_bug_exactly_one_is_right_and_the_others_are_shown_to_differ() {
    for (name, by_hand) in BY_HAND.iter().filter(|(name, _)| name.contains("-bug-")) {
        let shown = result(&[name]);
        let lines: Vec<&str> =
            shown["lines"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
        assert!(lines.len() > 2, "{name}: only {lines:?}");
        for line in lines {
            let output = answer(name, line);
            assert_eq!(output.status.success(), line == *by_hand, "{name} {line}: {}", stderr(&output));
            if line != *by_hand {
                assert!(stderr(&output).contains("hint: "), "{name} {line}");
                assert!(String::from_utf8_lossy(&output.stdout).contains("would compute"), "{name} {line}");
            }
        }
        assert_eq!(result(&["--solution", name])["solution"], *by_hand);
    }
}

#[test]
fn every_exercise_is_shown_and_its_solution_is_right() {
    for (name, by_hand) in BY_HAND {
        let output = exercise(&[name]);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && text.contains(&format!("byhand exercise {name} N")), "{text}");
        assert!(!text.contains("NaN"), "{text}");
        if !name.contains("-bug-") {
            let solution = result(&["--solution", name]);
            let tables = solution["solution"].as_array().unwrap();
            let numbers = tables.iter().flat_map(|table| table["numbers"].as_array().unwrap());
            assert_eq!(numbers.count(), by_hand.split(' ').count(), "{name}");
        }
    }
}

#[test]
fn wrong_usage_ends_with_2_and_says_what_was_expected() {
    for (arguments, said) in [
        (&["no-such"][..], "'no-such'"),
        (&["dense-dx", "1"], "expected 2 numbers, found 1"),
        (&["dense-dx", "one", "2"], "'one' is no number"),
        (&["dense-dx", "1/0", "2"], "'1/0' is no number"),
        (&["pool-bug-1", "dense-transposed"], "is none of pool-index-without-stride"),
        (&["pool-bug-1", "a", "b"], "expected the name of one line, found 2"),
        (&["dense-dx", "1", "2", "--json"], "'--json'"),
    ] {
        let output = exercise(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(said), "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
fn help_is_given_behind_an_answer_too() {
    for arguments in [&["--help"][..], &["dense-dx", "--help"], &["dense-dx", "1", "-3/4", "--help"]] {
        let output = exercise(arguments);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && text.contains("Usage: byhand exercise"), "{arguments:?}: {text}");
    }
}

#[test]
fn numbers_may_be_written_as_people_write_them() {
    for answer in [&["10,", "5"][..], &["10,5"], &["10.0", "+5"], &["20/2", "4.99"], &["10 5"]] {
        let output = exercise(&[&["dense-dx"], answer].concat());
        assert!(output.status.success(), "{answer:?}: {}", stderr(&output));
    }
    let output = exercise(&["mlp-label", "−1/4", "−1/2", "0", "0"]);
    assert!(output.status.success(), "the page's minus sign: {}", stderr(&output));
}

#[test]
fn the_page_has_each_exercise_in_its_section() {
    let page: PathBuf = [env!("CARGO_MANIFEST_DIR"), "..", "..", "docs", "backprop.md"].iter().collect();
    let page = fs::read_to_string(page).unwrap();
    let output = exercise(&["--json"]);
    let events = String::from_utf8(output.stdout).unwrap();
    let mut named = 0;
    for event in events.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        if event["event"] == "exercise" {
            let (name, section) = (event["name"].as_str().unwrap(), event["section"].as_str().unwrap());
            let from = page
                .split_once(&format!("\n## {section}\n"))
                .unwrap_or_else(|| panic!("no section {section}"))
                .1;
            let section_text = from.split("\n## ").next().unwrap();
            assert!(section_text.contains(&format!("`exercise {name}`")), "{name} is not in {section}");
            named += 1;
        }
    }
    assert_eq!(page.matches("`exercise ").count(), named, "the page names an exercise that is not there");
}
