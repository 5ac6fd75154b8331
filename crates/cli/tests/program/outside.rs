//! What comes in and goes out, of every command: numbers that no machine has memory for, and JSON Lines.

use std::{fs, path::Path};

use assert_cmd::Command;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::byhand;

/// Refused as wrong usage, in one line that holds all words. The process may not have the memory to try.
#[track_caller]
fn refused(arguments: &[&str], words: &[&str]) {
    let output = byhand(arguments).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {told}");
    let lines: Vec<&str> = told.lines().collect();
    // A wrong layer spec is shown before the error, with carets under the place.
    let is_error = matches!(lines[..], [error] | [_, _, error] if error.starts_with("error: "));
    let is_shown = lines.len() == 1 || lines[1].trim_start().chars().all(|c| c == '^');
    assert!(is_error && is_shown, "{arguments:?}: {told}");
    for word in words {
        assert!(told.contains(word), "{arguments:?}: '{word}' is missing in: {told}");
    }
}

#[test]
fn numbers_that_are_too_large_are_usage_errors() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("run");
    let out = out.to_str().unwrap();
    for (option, number) in [
        ("--batch-size", "1000000000000"),
        ("--batch-size", "18446744073709551615"),
        ("--batch-size", "99999999999999999999999"),
        ("--epochs", "1000000000000"),
        ("--epochs", "9223372036854775808"),
        ("--train-limit", "1000000000000"),
        ("--test-limit", "18446744073709551615"),
        ("--validation", "18446744073709551615"),
        ("--seed", "18446744073709551615"),
        ("--threads", "65536"),
        ("--lr", "nan"),
        ("--lr", "inf"),
        ("--shift", "256"),
        ("--optimizer", "adam(eps=0)"),
        ("--optimizer", "sgd(momentum=1e300)"),
        ("--schedule", "step(parts=1000000000000)"),
        ("--schedule", "constant(warmup=18446744073709551615)"),
        ("--schedule", "one-cycle(start=nan)"),
        ("--loss", "softmax-cross-entropy(label_smoothing=5)"),
        ("--class-weights", "1,2"),
        ("--class-weights", "1,1,1,1,1,1,1,1,1,nan"),
        ("--class-weights", "0,0,0,0,0,0,0,0,0,0"),
        ("--class-weights", "equal"),
        ("--init", "uniform(nan)"),
        ("--layers", "dense(1000000000000)"),
        ("--layers", "conv(1000000,3) dense(10)"),
        ("--layers", "conv(65536,28) dense(65536) dense(10)"),
        ("--layers", "pool(18446744073709551615) dense(10)"),
        ("--classes", "65536"),
    ] {
        let command = if option == "--layers" { "train" } else { "train-mlp" };
        let limits = [["--train-limit", "20"], ["--test-limit", "20"]];
        let limits = limits.iter().filter(|limit| limit[0] != option).flatten().copied();
        let given = [command, "--data", "digits", option, number, "--out", out];
        refused(&given.into_iter().chain(limits).collect::<Vec<_>>(), &[option]);
    }
    assert!(!Path::new(out).join("config.toml").exists());
}

#[test]
fn numbers_of_a_config_are_checked_alike() {
    let folder = TempDir::new().unwrap();
    let config = folder.path().join("config.toml");
    for (line, word) in [
        ("batch-size = 1000000000000", "batch-size"),
        ("epochs = 9223372036854775807", "epochs"),
        ("epochs = 0", "line 2"),
        ("lr = nan", "--lr"),
        ("lr = -inf", "--lr"),
        ("train-limit = 9000000000", "train-limit"),
        ("seed = -1", "line 2"),
        ("layers = \"dense(99999999999)\"", "dense"),
        ("schedule = \"step(parts=0)\"", "parts"),
    ] {
        fs::write(&config, format!("data = \"digits\"\n{line}\n")).unwrap();
        let command = if line.starts_with("layers") { "train" } else { "train-mlp" };
        refused(&[command, "--config", config.to_str().unwrap()], &[word]);
    }
}

/// The bound is the machine's memory, or what the process may have of it.
#[test]
#[cfg(target_os = "linux")]
fn memory_is_asked_for_before_it_is_taken() {
    let limited = |arguments: &[&str]| {
        let mut shell = Command::new("sh");
        let program = byhand(&[]).get_program().to_owned();
        shell
            .env_remove("BYHAND_DATA")
            .args(["-c", "ulimit -v 900000; exec \"$@\"", "sh"])
            .arg(program)
            .args(arguments);
        let output = shell.output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {told}");
        told
    };
    let wide = "dense(11000) relu dense(11000) relu dense(10)";
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("run");
    let small =
        ["--data", "digits", "--train-limit", "20", "--test-limit", "20", "--out", out.to_str().unwrap()];
    let told = limited(&[&["train", "--layers", wide][..], &small].concat());
    assert!(told.contains("--layers") && told.contains("129") && told.contains("GB"), "{told}");
    let told = limited(&["throughput", "--preset", "lenet", "--threads", "2", "--batch-size", "1000000"]);
    let most = told.split("at most ").nth(1).and_then(|rest| rest.split(',').next()).unwrap();
    assert!((1000..1_000_000).contains(&most.parse().unwrap()), "{told}");
    let large = "conv(1,3) pool(2) dense(10)";
    let told = limited(&["throughput", "--layers", large, "--input", "1x2000x2000", "--batch-size", "64"]);
    assert!(told.contains("--batch-size 64") || told.contains("--layers"), "{told}");
    limited(&["throughput", "--layers", &"relu ".repeat(999), "--input", "4194304", "--batch-size", "64"]);
}

#[test]
fn sizes_of_other_commands_are_checked_too() {
    let folder = TempDir::new().unwrap();
    let dir = folder.path().join("bundle");
    let dir = dir.to_str().unwrap();
    refused(&["throughput", "--preset", "mlp", "--batch-size", "1000000000000"], &["--batch-size"]);
    refused(&["throughput", "--preset", "mlp", "--seconds", "nan"], &["--seconds"]);
    refused(&["throughput", "--layers", "dense(10)", "--input", "99999x99999x99999"], &["input"]);
    refused(&["throughput", "--layers", "dense(10)", "--input", "1x18446744073709551615x2"], &["--input"]);
    refused(&["summary", "--layers", "dense(1000000000000)"], &["dense(1000000000000)"]);
    refused(&["summary", "--layers", "dense(10)", "--input", "1000000x1000x1000"], &["1000000x1000x1000"]);
    let digits = ["--data", "digits", "--train-limit", "50"];
    let export = |options: &[&str], words: &[&str]| {
        refused(&[&["parity", "export", dir], &digits[..], options].concat(), words)
    };
    export(&["--batch-size", "1000000000000"], &["--batch-size"]);
    export(&["--steps", "1000000000000"], &["--steps"]);
    export(&["--lr", "nan"], &["--lr"]);
    refused(&["speedrun", "--seeds", "0"], &["--seeds"]);
    refused(&["speedrun", "--target", "nan"], &["--target"]);
    let recipe = folder.path().join("recipe.toml");
    let text =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../recipes/speedrun.toml")).unwrap();
    let large: Vec<&str> = text
        .lines()
        .map(|line| if line.starts_with("batch-size") { "batch-size = 99999999999" } else { line })
        .collect();
    fs::write(&recipe, large.join("\n")).unwrap();
    refused(
        &["speedrun", "--data", "digits", "--train-limit", "50", "--config", recipe.to_str().unwrap()],
        &["batch-size"],
    );
}

/// Every line of stdout is an object with a field `event`, and the last is `result` or `error`, whatever the command and however it
/// ends. Errors are one line.
#[test]
fn json_lines_of_every_command() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let (run, bundle, nowhere) = (path("run"), path("bundle"), path("nowhere"));
    let picture = path("grey.png");
    let mut encoder = png::Encoder::new(fs::File::create(&picture).unwrap(), 28, 28);
    encoder.set_color(png::ColorType::Grayscale);
    let mut pixels = [0; 784];
    (200..600).for_each(|pixel| pixels[pixel] = (pixel % 28 * 9) as u8);
    encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
    let small = ["--data", "digits", "--train-limit", "60"];
    let train = ["train-mlp", "--test-limit", "20", "--epochs", "1", "--out", &run];
    let cases: &[(&[&str], i32)] = &[
        (&[&train[..], &small].concat(), 0),
        (&["train", "--resume", &run], 0),
        (&["train", "--resume", &run, "--lr", "7"], 2),
        (&["train", "--lr", "x"], 2),
        (&["evaluate", &run], 0),
        (&["evaluate", &nowhere], 2),
        (&["predict", &run, &picture], 0),
        (&["predict", &run, &nowhere], 2),
        (&["summary"], 0),
        (&["summary", "lenet"], 0),
        (&["summary", &run], 0),
        (&["summary", "lennet"], 2),
        (&["gradcheck", "--only", "relu"], 0),
        (&["gradcheck", "--only", "rellu"], 2),
        (&["throughput", "--preset", "mlp", "--batch", "8", "--seconds", "0"], 0),
        (&[&["parity", "export", &bundle, "--preset", "mlp", "--steps", "1"][..], &small].concat(), 0),
        (&["parity", "compare", &bundle], 1),
        (&[&["speedrun", "--seeds", "1", "--target", "0", "--test-limit", "20"][..], &small].concat(), 0),
        (&[&["speedrun", "--seeds", "1", "--target", "1", "--test-limit", "20"][..], &small].concat(), 1),
        (&["data", "preview", "digits", "--count", "1"], 0),
        (&["data", "doctor", &picture], 1),
        (&["data", "doctor", &nowhere], 2),
        (&["museum"], 0),
        (&["museum", "show", "relu-mask-of-output"], 0),
        (&["museum", "train", "none"], 2),
        (&["notebooks"], 0),
        (&["notebooks", "show", "A"], 0),
        (&["notebooks", "show", "Z"], 2),
        (&["completions", "bash"], 0),
        (&["completions", "smash"], 2),
        (&["man"], 0),
        (&["man", &path("man")], 0),
        (&["nonsense"], 2),
    ];
    for (arguments, code) in cases {
        let output = byhand(arguments).arg("--json").output().unwrap();
        let (stdout, stderr) =
            (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        let told = format!("{arguments:?}: {stdout}{stderr}");
        assert_eq!(output.status.code(), Some(*code), "{told}");
        let events: Vec<Value> = stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {told}")))
            .collect();
        assert!(events.iter().all(|event| event["event"].is_string()), "{told}");
        let last = events.last().unwrap_or_else(|| panic!("no event: {told}"));
        let wanted = if *code == 0 { "result" } else { "error" };
        assert_eq!(last["event"], wanted, "{told}");
        if *code != 0 {
            assert_eq!(last["code"], *code, "{told}");
            assert_eq!(stderr.lines().filter(|line| line.starts_with("error: ")).count(), 1, "{told}");
            assert!(stderr.lines().last().unwrap().starts_with("error: "), "{told}");
        }
    }
}
