//! The training commands from outside: what they print and write, equal bits, resume, Ctrl-C.

use std::{fs, path::Path};

use assert_cmd::Command;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{byhand, events_of};

fn events(command: &mut Command) -> Vec<Value> {
    events_of(&command.output().unwrap())
}

/// A run of some tenths of a second.
const SMALL: [&str; 10] = [
    "train-mlp",
    "--data",
    "digits",
    "--train-limit",
    "300",
    "--test-limit",
    "100",
    "--json",
    "--quiet",
    "--no-report",
];

#[track_caller]
fn result(out: &Path, options: &[&str]) -> Value {
    events(byhand(&SMALL).args(options).arg("--out").arg(out)).pop().unwrap()
}

/// Settings may come through a pipe, whole or not at all. What is read again may not: a run's data, and the weights that it begins with.
#[test]
#[cfg(unix)]
fn what_may_be_a_pipe() {
    const PIPE: &str = "/dev/stdin";
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("run");
    let piped = |options: &[&str], bytes: Vec<u8>| {
        let mut command =
            byhand(&["train-mlp", "--train-limit", "300", "--test-limit", "100", "--no-report"]);
        command.args(options).arg("--out").arg(&out).write_stdin(bytes);
        command.timeout(std::time::Duration::from_secs(20)).output().unwrap()
    };
    // What stands behind the longest configuration is not cut off in silence.
    let long = [b"epochs = 1\n#".to_vec(), vec![b'-'; 1 << 20]].concat();
    for (options, bytes, words) in [
        (["--config", PIPE], long, "expected at most 1048576 bytes"),
        (["--from", PIPE], b"weights".to_vec(), "save what it gives as a file"),
        (["--data", PIPE], b"label,p\n1,2\n".to_vec(), "save what it gives as a file"),
    ] {
        let output = piped(&options, bytes);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && told.contains(words), "{options:?}: {told}");
        assert!(!out.exists(), "{options:?}");
    }
    let output = piped(&["--config", PIPE], b"epochs = 1\nseed = 7\ndata = \"digits\"\n".to_vec());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(fs::read_to_string(out.join("config.toml")).unwrap().contains("seed = 7"));

    // A pipe in a folder of data, into which nobody writes.
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(data.join("train.csv")).status().unwrap().success());
    let output = piped(&["--data", data.to_str().unwrap()], Vec::new());
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && told.contains("train.csv: expected a file"), "{told}");
}

#[test]
fn help_teaches() {
    for command in ["train-cnn", "train", "evaluate", "predict", "summary", "gradcheck", "throughput", "data"]
    {
        let output = byhand(&[command, "--help"]).output().unwrap();
        assert!(output.status.success());
        assert!(String::from_utf8(output.stdout).unwrap().contains("Usage: byhand"), "{command}");
    }
    let help = String::from_utf8(byhand(&["train-cnn", "--help"]).output().unwrap().stdout).unwrap();
    for part in [
        "trains cnn",
        "Examples:",
        "--preset",
        "Exit codes: 0 done",
        "130, 143, 129 interrupted",
        "model.safetensors",
    ] {
        assert!(help.contains(part), "{part} is missing");
    }
}

#[test]
fn events_and_the_run_folder() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("run");
    let events = events(byhand(&SMALL).args(["--epochs", "2", "--validation", "50", "--out"]).arg(&out));
    let names: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(names, ["started", "epoch_finished", "epoch_finished", "result"]);
    assert!(events[1]["validation_accuracy"].is_f64() && events[1].get("test_accuracy").is_none());
    let result = &events[3];
    for (field, value) in [("model", "mlp"), ("data", "digits")] {
        assert_eq!(result[field], value);
    }
    assert_eq!((result["seed"].as_u64(), result["epochs"].as_u64()), (Some(0), Some(2)));
    assert_eq!(result["parameters"], 784 * 50 + 50 + 50 * 50 + 50 + 50 * 10 + 10);
    for field in ["train_seconds", "train_loss", "test_loss", "test_accuracy"] {
        assert!(result[field].is_f64(), "{field}");
    }
    assert!(result["threads"].as_u64().unwrap() >= 1);
    let sha256 = result["weights_sha256"].as_str().unwrap();
    assert!(sha256.len() == 64 && sha256.bytes().all(|c| c.is_ascii_hexdigit()));

    let history = fs::read_to_string(out.join("history.jsonl")).unwrap();
    assert_eq!(history.lines().count(), 2);
    let evaluated = self::events(byhand(&["evaluate", "--json"]).arg(&out));
    assert_eq!(evaluated[0]["weights_sha256"], sha256);
    assert_eq!(evaluated[0]["samples"], 10_000);
}

#[test]
fn results_go_to_stdout_and_talk_to_stderr() {
    let folder = TempDir::new().unwrap();
    let without_json: Vec<&str> =
        SMALL.iter().copied().filter(|option| !["--json", "--quiet"].contains(option)).collect();
    let output = byhand(&without_json).args(["--epochs", "1"]).current_dir(&folder).output().unwrap();
    let (stdout, stderr) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(stdout.starts_with("test accuracy ") && stdout.contains("run runs/mlp-digits-seed0"), "{stdout}");
    assert!(stderr.contains("training mlp") && stderr.contains("epoch 1/1"), "{stderr}");
    // The same command again takes a fresh folder.
    assert!(
        byhand(&without_json).args(["--epochs", "1"]).current_dir(&folder).output().unwrap().status.success()
    );
    assert!(folder.path().join("runs/mlp-digits-seed0-2/model.safetensors").exists());
}

#[test]
fn one_digest_for_any_number_of_threads() {
    let folder = TempDir::new().unwrap();
    let digest = |threads: &str| {
        let options = ["--epochs", "1", "--threads", threads, "--preset", "cnn-3x3", "--shift", "2"];
        result(folder.path(), &options)["weights_sha256"].clone()
    };
    let one = digest("1");
    for threads in ["2", "3", "7"] {
        assert_eq!(digest(threads), one, "{threads} threads");
    }
}

#[test]
fn another_seed_another_digest() {
    let folder = TempDir::new().unwrap();
    let digest =
        |seed: &str| result(folder.path(), &["--epochs", "1", "--seed", seed])["weights_sha256"].clone();
    assert_ne!(digest("1"), digest("2"));
}

#[test]
fn config_repeats_the_run_bit_for_bit() {
    let folder = TempDir::new().unwrap();
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    let options = [
        "--epochs",
        "2",
        "--layers",
        "conv(4,3,stride=2,pad=same,dilation=1x2) relu pool(3,stride=2,pad=1,ceil=true) conv(4,3,pad=1x0x2x1,groups=2) \
         avgpool(2,pad=1,count_pad=false) dense(10)",
        "--optimizer",
        "sgd(momentum=0.9,nesterov)",
        "--lr",
        "0.017",
        "--schedule",
        "cosine(warmup=3)",
        "--loss",
        "softmax-cross-entropy(label_smoothing=0.05)",
        "--class-weights",
        "balanced",
        "--normalize",
        "standard",
        "--shift",
        "1",
        "--init",
        "glorot-uniform",
        "--batch-size",
        "24",
        "--seed",
        "11",
    ];
    let wanted = result(&first, &options);
    let mut again = byhand(&["train", "--json", "--quiet", "--config"]);
    let found = events(again.arg(first.join("config.toml")).arg("--out").arg(&second)).pop().unwrap();
    assert_eq!(found["weights_sha256"], wanted["weights_sha256"]);
    let read = |run: &Path, file: &str| fs::read(run.join(file)).unwrap();
    assert_eq!(read(&first, "config.toml"), read(&second, "config.toml"));
    assert_eq!(read(&first, "model.safetensors"), read(&second, "model.safetensors"));
}

#[test]
fn a_resumed_run_has_the_bits_of_a_long_one() {
    let folder = TempDir::new().unwrap();
    let (long, cut) = (folder.path().join("long"), folder.path().join("cut"));
    let run = |out: &Path, epochs: &str| result(out, &["--schedule", "constant", "--epochs", epochs]);
    let wanted = run(&long, "3");
    run(&cut, "1");
    let mut resume = byhand(&["train", "--json", "--quiet", "--epochs", "3", "--resume"]);
    let found = events(resume.arg(&cut)).pop().unwrap();
    assert_eq!(found["weights_sha256"], wanted["weights_sha256"]);
    assert_eq!(fs::read_to_string(cut.join("history.jsonl")).unwrap().lines().count(), 3);
}

#[test]
fn a_small_preset_takes_the_data_it_was_made_for() {
    let folder = TempDir::new().unwrap();
    let found = result(folder.path(), &["--preset", "dnn-14", "--epochs", "1"]);
    assert_eq!(found["parameters"], 196 * 16 + 16 + 16 * 5 + 5);
    let evaluated = events(byhand(&["evaluate", "--json"]).arg(folder.path())).pop().unwrap();
    assert_eq!(evaluated["confusion"].as_array().unwrap().len(), 5);
}

#[test]
fn evaluation_is_by_the_loss_that_was_trained_for_without_label_smoothing() {
    for (loss, plain) in [
        ("squared-error", "squared-error"),
        ("softmax-cross-entropy(label_smoothing=0.9)", "softmax-cross-entropy"),
    ] {
        let folder = TempDir::new().unwrap();
        let asked =
            ["train-mlp", "--data", "digits", "--train-limit", "300", "--epochs", "1", "--loss", loss];
        let trained =
            events(byhand(&asked).args(["--json", "--quiet", "--out"]).arg(folder.path())).pop().unwrap();
        let evaluated = events(byhand(&["evaluate", "--json"]).arg(folder.path())).pop().unwrap();
        assert_eq!(evaluated["objective"], plain);
        assert_eq!(evaluated["loss"], trained["test_loss"]);
    }
}

#[test]
fn predictions_are_probabilities() {
    let folder = TempDir::new().unwrap();
    result(folder.path(), &["--epochs", "1"]);
    let image = folder.path().join("bar.png");
    let mut encoder = png::Encoder::new(fs::File::create(&image).unwrap(), 28, 28);
    encoder.set_color(png::ColorType::Grayscale);
    let pixels: Vec<u8> = (0..784).map(|i| if (12..16).contains(&(i % 28)) { 200 } else { 0 }).collect();
    encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
    let told = events(byhand(&["predict", "--json"]).arg(folder.path()).arg(&image));
    let probabilities: Vec<f64> =
        told[0]["probabilities"].as_array().unwrap().iter().map(|p| p.as_f64().unwrap()).collect();
    assert!(probabilities.len() == 10 && (probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-5);
    assert_eq!(told[1]["images"], 1);
}

#[test]
fn throughput_prints_what_the_comparison_reads() {
    let options =
        ["throughput", "--layers", "conv(4,3) relu pool(2) dense(10)", "--input", "1x12x12", "--batch", "20"];
    let run = |threads: &str| {
        events(byhand(&options).args(["--seconds", "0.02", "--json", "--threads", threads])).pop().unwrap()
    };
    let (one, two) = (run("1"), run("2"));
    for field in ["images_per_second", "median_us", "min_us", "gflops", "peak_gflops"] {
        assert!(one[field].as_f64().unwrap() > 0.0, "{field}");
    }
    assert!(one["gflops"].as_f64() < one["peak_gflops"].as_f64());
    assert_eq!(one["weights_sha256"], two["weights_sha256"]);
}

#[test]
fn a_learning_rate_is_found() {
    let folder = TempDir::new().unwrap();
    let svg = folder.path().join("curve.svg");
    let small = [
        "lr-find",
        "--data",
        "digits",
        "--train-limit",
        "500",
        "--layers",
        "dense(10)",
        "--steps",
        "60",
        "--json",
    ];
    let told = events(byhand(&small).arg("--svg").arg(&svg));
    let (result, points) = told.split_last().unwrap();
    assert!(points.iter().all(|point| point["event"] == "point" && point["loss"].is_f64()));
    let rate = |point: &Value| point["learning_rate"].as_f64().unwrap();
    assert!(points.windows(2).all(|two| rate(&two[0]) < rate(&two[1])) && points.len() > 20);
    assert!((1e-4..1.0).contains(&rate(result)), "{result}");
    assert!(rate(result) < result["learning_rate_of_least_loss"].as_f64().unwrap());
    assert!(fs::read_to_string(&svg).unwrap().contains("<polyline"));
    let threads = events(byhand(&small).args(["--threads", "3"]));
    assert_eq!(threads, told);
    let people = String::from_utf8(byhand(&small[..small.len() - 1]).output().unwrap().stdout).unwrap();
    assert!(people.contains("where the loss falls fastest") && people.lines().count() > 12, "{people}");
    for wrong in [
        &["--lowest", "1", "--highest", "0.1"][..],
        &["--lowest", "0"],
        &["--steps", "3"],
        &["--lowest", "1e30", "--highest", "1e31"],
    ] {
        assert_eq!(byhand(&small).args(wrong).output().unwrap().status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn summary_of_a_spec() {
    let events = events(&mut byhand(&["summary", "--layers", "conv(8,3) pool(2) dense(10)", "--json"]));
    assert_eq!(events.last().unwrap()["parameters"], 8 * 9 + 8 + 1352 * 10 + 10);
    assert!(events.last().unwrap().get("plan").is_none());
}

#[test]
fn summary_says_the_plan_of_a_step() {
    let layers = ["summary", "--layers", "dense(512) relu dense(512) relu dense(10)"];
    let plan = |batch_size: &str| {
        let options = ["--plan", "--batch-size", batch_size, "--json"];
        let events = events(&mut byhand(&[&layers[..], &options].concat()));
        events.last().unwrap()["plan"].as_str().unwrap().to_owned()
    };
    assert!(
        plan("32").starts_with("tensor parallel 784-512-512 on 2 ranks; tail 1 shard of 32 "),
        "{}",
        plan("32")
    );
    assert!(plan("1000").starts_with("4 shards of up to 256 "), "{}", plan("1000"));
    // A plan is that of a network and a minibatch.
    for wrong in [
        &["summary", "--plan"][..],
        &["summary", "mlp", "--batch-size", "8"],
        &["summary", "mlp", "--plan", "--batch-size", "0"],
    ] {
        assert_eq!(byhand(wrong).output().unwrap().status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn gradcheck_of_one_layer() {
    for only in ["relu", "cross-entropy"] {
        let events = events(&mut byhand(&["gradcheck", "--only", only, "--json"]));
        let (result, checks) = events.split_last().unwrap();
        assert_eq!((result["event"].as_str(), result["failures"].as_u64()), (Some("result"), Some(0)));
        assert!(result["checks"].as_u64().unwrap() > 100);
        // What is shown is what was asked for.
        assert!(checks.iter().all(|check| check["layer"].as_str().unwrap().contains(only)));
    }
}

#[test]
fn preview_and_doctor() {
    let output = byhand(&["data", "preview", "digits", "--count", "2"]).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 1 + 14);
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("train-images-idx3-ubyte"), b"no IDX").unwrap();
    let output = byhand(&["data", "doctor"]).arg(folder.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
}

/// The first Ctrl-C saves the model so far, and the run can go on.
#[test]
#[cfg(unix)]
fn ctrl_c_leaves_a_model_and_code_130() {
    use std::{process, thread::sleep, time::Duration};

    let folder = TempDir::new().unwrap();
    let out = folder.path().join("run");
    let command = byhand(&SMALL);
    let mut running = process::Command::new(command.get_program())
        .args(command.get_args())
        .args(["--epochs", "1000000", "--out"])
        .arg(&out)
        .stdout(fs::File::create(folder.path().join("stdout")).unwrap())
        .stderr(process::Stdio::null())
        .spawn()
        .unwrap();
    let history = out.join("history.jsonl");
    while fs::read(&history).map_or(true, |bytes| bytes.is_empty()) {
        assert!(running.try_wait().unwrap().is_none(), "ended by itself");
        sleep(Duration::from_millis(5));
    }
    assert!(
        process::Command::new("kill").args(["-INT", &running.id().to_string()]).status().unwrap().success()
    );
    assert_eq!(running.wait().unwrap().code(), Some(130));
    let told = fs::read_to_string(folder.path().join("stdout")).unwrap();
    let last: Value = serde_json::from_str(told.lines().last().unwrap()).unwrap();
    assert_eq!((last["event"].as_str(), last["interrupted"].as_bool()), (Some("result"), Some(true)));
    assert!(out.join("model.safetensors").exists() && out.join("checkpoints").is_dir());
    assert!(byhand(&["summary"]).arg(&out).output().unwrap().status.success());
}
