//! Runs and their folders from outside: a second run in a used folder, two at once, copies that go on, what a resumed run may not
//! change, what repeats a run, new runs from old weights, signals.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use assert_cmd::Command;
use byhand::models::Model;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{byhand, fails};

/// A run of some tenths of a second, into `out`.
fn train(out: &Path, options: &[&str]) -> Command {
    let small = ["--data", "digits", "--train-limit", "200", "--test-limit", "50", "--epochs", "2"];
    let given = |option: &&[&str]| !options.contains(&option[0]);
    let mut command = byhand(&["train-mlp", "--json", "--quiet", "--no-report"]);
    command.args(small.chunks(2).filter(given).flatten()).args(options).arg("--out").arg(out);
    command
}

/// The last event of a command that succeeds.
#[track_caller]
fn result(command: &mut Command) -> Value {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    last_event(&output.stdout)
}

#[track_caller]
fn last_event(stdout: &[u8]) -> Value {
    let text = String::from_utf8_lossy(stdout);
    serde_json::from_str(text.lines().last().expect("an event")).unwrap()
}

/// Name and bytes of all files of a run, but for the lock and the runs that were set aside.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let list = |folder: &Path| fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    let paths = list(folder).chain(list(&folder.join("checkpoints")));
    let paths = paths.filter(|path| path.is_file() && !path.ends_with(".lock"));
    let name = |path: &Path| path.strip_prefix(folder).unwrap().to_str().unwrap().to_string();
    let mut files: Vec<_> = paths.map(|path| (name(&path), fs::read(&path).unwrap())).collect();
    files.sort();
    files
}

/// The names of these files; of the checkpoints that there are some.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        files(folder).into_iter().map(|(name, _)| name.split('/').next().unwrap().to_string()).collect();
    names.dedup();
    names
}

/// The checkpoints of a run, oldest first.
fn checkpoints(run: &Path) -> Vec<PathBuf> {
    let mut steps: Vec<u64> = fs::read_dir(run.join("checkpoints"))
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            name.strip_prefix("step-")?.strip_suffix(".safetensors")?.parse().ok()
        })
        .collect();
    steps.sort();
    steps.iter().map(|step| run.join(format!("checkpoints/step-{step}.safetensors"))).collect()
}

const WHOLE: [&str; 5] = ["checkpoints", "config.toml", "history.jsonl", "model.safetensors", "result.json"];
const FAILED: [&str; 4] = ["config.toml", "failure.json", "failure.safetensors", "history.jsonl"];

#[test]
fn files_of_an_earlier_run_are_set_aside() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("run");
    result(&mut train(&out, &[]));
    let first = files(&out);
    assert_eq!(names(&out), WHOLE);
    // This one diverges before its first checkpoint.
    let wild = [
        "--layers",
        "dense(20) relu dense(10)",
        "--optimizer",
        "sgd",
        "--schedule",
        "constant",
        "--lr",
        "1e39",
    ];
    let output = train(&out, &wild).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(told.matches("earlier-1").count(), 1, "{told}");
    assert_eq!(names(&out), FAILED);
    assert!(fs::read_to_string(out.join("config.toml")).unwrap().contains("dense(20)"));
    assert_eq!(files(&out.join("earlier-1")), first);
    fails(byhand(&["evaluate"]).arg(&out), 2, &["no model here"]);
    // And the next finds its own number.
    result(&mut train(&out, &["--seed", "3"]));
    assert_eq!(
        (names(&out), names(&out.join("earlier-2"))),
        (WHOLE.map(String::from).into(), FAILED.map(String::from).into())
    );
    assert_eq!(files(&out.join("earlier-1")), first);
}

/// Whatever is refused before the first step leaves the earlier run where it is.
#[test]
fn a_refused_run_touches_nothing() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("run");
    result(&mut train(&out, &[]));
    let first = files(&out);
    for options in [
        &["--classes", "1,77"][..],
        &["--validation", "200"],
        &["--layers", "dense(3)"],
        &["--from", "nowhere"],
    ] {
        assert_eq!(train(&out, options).output().unwrap().status.code(), Some(2), "{options:?}");
        assert_eq!(files(&out), first, "{options:?}");
    }
}

/// Starts a long run and waits until it has done an epoch.
fn long_run(out: &Path, options: &[&str]) -> Child {
    let mut command = std::process::Command::new(Command::cargo_bin("byhand").unwrap().get_program());
    let train = train(out, &[options, &["--epochs", "1000000"]].concat());
    command.env_remove("BYHAND_DATA").args(train.get_args()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = command.spawn().unwrap();
    while checkpoints(out).is_empty() {
        assert!(running.try_wait().unwrap().is_none(), "ended by itself");
        sleep(Duration::from_millis(5));
    }
    running
}

#[test]
fn two_runs_at_once_in_one_folder() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("run");
    let mut first = long_run(&out, &["--schedule", "constant"]);
    let words = [&*first.id().to_string(), "is training into this folder", "--out"];
    fails(&mut train(&out, &[]), 2, &words);
    fails(byhand(&["train", "--resume"]).arg(&out), 2, &words);
    fails(byhand(&["train", "--resume", "--out"]).arg(&out), 2, &words);
    // Killed, it cannot tidy up; the next takes over all the same.
    first.kill().unwrap();
    first.wait().unwrap();
    result(&mut train(&out, &[]));
    assert_eq!(names(&out), WHOLE);
    assert!(names(&out.join("earlier-1")).contains(&"checkpoints".into()));
}

#[test]
fn a_resumed_copy_goes_on_and_leaves_the_original() {
    let folder = TempDir::new().unwrap();
    let [long, a, b] = ["long", "a", "b"].map(|name| folder.path().join(name));
    let constant = ["--schedule", "constant"];
    let wanted = result(&mut train(&long, &[&constant[..], &["--epochs", "4"]].concat()));
    result(&mut train(&a, &constant));
    result(&mut train(&b, &["--seed", "9"]));
    let original = files(&a);
    let mut resume = byhand(&["train", "--json", "--quiet", "--no-report", "--epochs", "4", "--resume"]);
    let found = result(resume.arg(&a).arg("--out").arg(&b));
    assert_eq!(found["weights_sha256"], wanted["weights_sha256"]);
    assert_eq!(found["out"].as_str(), b.to_str());
    assert_eq!(files(&a), original);
    assert_eq!(names(&a), WHOLE);
    assert_eq!(epochs(&b), [1, 2, 3, 4]);
    assert_eq!(fs::read(b.join("config.toml")).unwrap(), fs::read(long.join("config.toml")).unwrap());
    assert_eq!(names(&b.join("earlier-1")), WHOLE);
}

/// Running statistics go with the weights: into checkpoints, so that a resumed run has the same bits on other threads, and into model
/// files, so that what is evaluated is what was trained.
#[test]
fn batch_normalisation_is_resumed_and_evaluated() {
    let folder = TempDir::new().unwrap();
    let [long, short] = ["long", "short"].map(|name| folder.path().join(name));
    let layers = "conv(4,5,bias=false) batchnorm relu pool(2) dense(10)";
    let options = ["--layers", layers, "--schedule", "constant", "--train-limit", "1000", "--threads"];
    let wanted = result(&mut train(&long, &[&options[..], &["1", "--epochs", "4"]].concat()));
    assert_eq!(
        wanted["parameters"],
        4 * 25 + 8 + 4 * 12 * 12 * 10 + 10,
        "running statistics are no parameters"
    );
    result(&mut train(&short, &[&options[..], &["2"]].concat()));
    let mut resume = byhand(&["train", "--json", "--quiet", "--no-report", "--epochs", "4", "--resume"]);
    let found = result(resume.arg(&short));
    assert_eq!(found["weights_sha256"], wanted["weights_sha256"]);
    let evaluate = |model: &Path| {
        let options = ["evaluate", "--json", "--quiet", "--data", "digits"];
        result(byhand(&options).arg(model))["loss"].as_f64().unwrap()
    };
    let file = folder.path().join("folded.safetensors");
    let folded = result(byhand(&["fold", "--json", "--quiet"]).args([&short, &file]));
    assert_eq!(folded["layers"], "conv(4,5) relu pool(2) flatten dense(10)");
    assert_eq!((folded["folded"].as_u64(), folded["left"].as_u64()), (Some(1), Some(0)));
    let apart = evaluate(&file) - evaluate(&short.join("model.safetensors"));
    assert!(apart.abs() < 1e-5, "{apart}");
    assert_eq!(byhand(&["fold"]).args([&short, folder.path()]).output().unwrap().status.code(), Some(2));
    let evaluated = result(byhand(&["evaluate", "--json", "--quiet"]).arg(&short));
    let (evaluated, trained) =
        (evaluated["accuracy"].as_f64().unwrap(), wanted["test_accuracy"].as_f64().unwrap());
    assert!(trained > 0.5, "{trained}");
    assert!((evaluated - trained).abs() < 0.2, "{evaluated}, {trained}");
}

fn epochs(run: &Path) -> Vec<u64> {
    let text = fs::read_to_string(run.join("history.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["epoch"].as_u64().unwrap()).collect()
}

/// An epoch that was told before its checkpoint could be saved, and a line that was cut short.
#[test]
fn the_history_has_each_epoch_once() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("run");
    let constant = ["--schedule", "constant", "--epochs", "1"];
    result(&mut train(&out, &constant));
    let history = out.join("history.jsonl");
    let line = fs::read_to_string(&history).unwrap();
    let step = serde_json::from_str::<Value>(&line).unwrap()["step"].as_u64().unwrap();
    let later = line.replace(&format!("\"step\":{step}"), &format!("\"step\":{}", 2 * step));
    fs::write(&history, format!("{line}{}{{\"epoch\":", later.replace("\"epoch\":1", "\"epoch\":2")))
        .unwrap();
    result(byhand(&["train", "--json", "--quiet", "--no-report", "--epochs", "3", "--resume"]).arg(&out));
    assert_eq!(epochs(&out), [1, 2, 3]);
}

#[test]
#[cfg(unix)]
fn who_may_read_a_run_is_for_the_umask_to_say() {
    use std::os::unix::fs::PermissionsExt;
    let folder = TempDir::new().unwrap();
    for (umask, wanted) in [("022", 0o644), ("077", 0o600), ("002", 0o664)] {
        let out = folder.path().join(umask);
        let run = train(&out, &["--epochs", "1"]);
        let mut shell = Command::new("sh");
        shell.args(["-c", "umask $0; exec \"$@\"", umask]).arg(run.get_program()).args(run.get_args());
        result(&mut shell);
        for (file, _) in files(&out) {
            let mode = fs::metadata(out.join(&file)).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, wanted, "{file} under umask {umask}");
        }
    }
}

#[test]
fn a_resumed_run_keeps_its_settings() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("run");
    result(&mut train(&out, &["--schedule", "constant(warmup=2)"]));
    let before = files(&out);
    for change in [
        ["--init", "glorot-uniform"],
        ["--train-limit", "100"],
        ["--test-limit", "20"],
        ["--validation", "10"],
        ["--classes", "0,1"],
        ["--halve", "true"],
        ["--normalize", "centered"],
        ["--shift", "1"],
        ["--batch-size", "32"],
        ["--optimizer", "sgd"],
        ["--lr", "0.25"],
        ["--schedule", "cosine"],
        ["--loss", "squared-error"],
        ["--seed", "7"],
        ["--layers", "dense(10)"],
        ["--preset", "dnn"],
        ["--data", "mnist"],
    ] {
        fails(
            byhand(&["train"]).args(change).arg("--resume").arg(&out),
            2,
            &["cannot resume with", change[0], change[1]],
        );
        assert_eq!(files(&out), before, "{change:?}");
    }
    fails(
        byhand(&["train", "--epochs", "1", "--resume"]).arg(&out),
        2,
        &["--epochs 1", "expected more epochs"],
    );
    assert_eq!(files(&out), before);
}

#[test]
fn more_epochs_than_the_schedule_are_a_new_run() {
    let folder = TempDir::new().unwrap();
    let [a, b, c] = ["a", "b", "c"].map(|name| folder.path().join(name));
    result(&mut train(&a, &["--validation", "20"]));
    let words = ["--epochs 4", "one-cycle", "2 epochs", "--from"];
    fails(byhand(&["train", "--epochs", "4", "--resume"]).arg(&a), 2, &words);
    let begun = result(
        byhand(&["train", "--json", "--quiet", "--no-report", "--epochs", "3", "--lr", "1e-4", "--from"])
            .arg(&a)
            .arg("--out")
            .arg(&b),
    );
    let config = fs::read_to_string(b.join("config.toml")).unwrap();
    let weights = byhand(&["evaluate", "--json"]).arg(&a).output().unwrap();
    let digest = last_event(&weights.stdout)["weights_sha256"].as_str().unwrap().to_string();
    for part in ["validation = 20", "lr = 0.0001", "epochs = 3", &digest, "preset = \"mlp\""] {
        assert!(config.contains(part), "{part} is missing in {config}");
    }
    // From elsewhere, as the path is absolute.
    let mut again = byhand(&["train", "--json", "--quiet", "--no-report", "--config"]);
    let found = result(again.arg(b.join("config.toml")).arg("--out").arg(&c).current_dir(&folder));
    assert_eq!(found["weights_sha256"], begun["weights_sha256"]);
    // Other weights under the same name are not taken for them.
    let words = ["the run began with other weights", &digest];
    result(&mut train(&a, &["--seed", "5"]));
    fails(byhand(&["train", "--config"]).arg(b.join("config.toml")).arg("--out").arg(&c), 2, &words);
    fails(byhand(&["train", "--from"]).arg(&b).arg("--out").arg(&b), 2, &["another folder"]);
}

#[test]
fn a_diverged_run_is_taken_up_again_with_a_lower_rate() {
    let folder = TempDir::new().unwrap();
    let [a, b] = ["a", "b"].map(|name| folder.path().join(name));
    // The rate rises until it is too high, some epochs later.
    let wild = ["--layers", "dense(10)", "--loss", "squared-error", "--optimizer", "sgd", "--lr", "100"];
    let wild = [&wild[..], &["--schedule", "constant(warmup=999999)", "--batch-size", "10"]].concat();
    let output = train(&a, &[&wild[..], &["--epochs", "1000"]].concat()).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("diverged") && told.contains("--from"), "{told}");
    assert!(!checkpoints(&a).is_empty() && !a.join("model.safetensors").exists());
    fails(byhand(&["train", "--lr", "0.001", "--resume"]).arg(&a), 2, &["--lr 0.001", "--from"]);
    let mut again = byhand(&[
        "train",
        "--json",
        "--quiet",
        "--lr",
        "1e-4",
        "--schedule",
        "constant",
        "--epochs",
        "1",
        "--from",
    ]);
    assert_eq!(result(again.arg(&a).arg("--out").arg(&b))["epochs"], 1);
}

#[test]
fn the_best_weights_are_restored_whatever_ended_the_run() {
    let folder = TempDir::new().unwrap();
    let [stopped, wild, plain] = ["stopped", "wild", "plain"].map(|name| folder.path().join(name));
    let best = ["--validation", "60", "--restore-best", "--layers", "dense(10)", "--optimizer", "sgd"];
    // A rate that moves nothing: no epoch is better than the first.
    let still = ["--lr", "1e-30", "--schedule", "constant", "--epochs", "9", "--patience", "2"];
    let output = train(&stopped, &[&best[..], &still].concat()).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).to_string();
    assert!(output.status.success(), "{told}");
    let result_of = last_event(&output.stdout);
    assert_eq!((&result_of["epochs"], &result_of["best_epoch"]), (&3.into(), &1.into()), "{told}");
    // Its report knows that it came to its end.
    assert_eq!(result(byhand(&["report", "--json"]).arg(&stopped))["is_over"], true);
    // After half of the steps the rate is a billion times as high. The model is that of before.
    let steps = [
        "--loss",
        "squared-error",
        "--lr",
        "0.005",
        "--schedule",
        "step(parts=2,factor=1e15)",
        "--epochs",
        "4",
    ];
    let output = train(&wild, &[&best[..], &steps].concat()).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
    let [model, kept] =
        ["model.safetensors", "best.safetensors"].map(|file| Model::load(&wild.join(file)).unwrap());
    assert!(model.theta == kept.theta);
    assert!(result(byhand(&["evaluate", "--json"]).arg(&wild))["loss"].as_f64().unwrap() < 1.0);
    // Without it the best are kept beside, and there is no model.
    let without: Vec<&str> = best.into_iter().filter(|option| *option != "--restore-best").collect();
    let output = train(&plain, &[&without[..], &steps].concat()).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(plain.join("best.safetensors").exists() && !plain.join("model.safetensors").exists());
}

#[test]
fn settings_of_training_are_checked() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("run");
    for (options, words) in [
        (&["--patience", "2"][..], &["--patience: expected --validation N"][..]),
        (&["--restore-best"], &["--restore-best: expected --validation N"]),
        (&["--schedule", "plateau"], &["--schedule plateau: expected --validation N"]),
        (&["--rotate", "500"], &["--rotate: expected 0 to 180 degrees, found 500"]),
        (&["--rotate", "-5"], &["--rotate: expected 0 to 180 degrees, found -5"]),
        (&["--scale", "1"], &["--scale: expected a share from 0 to 0.99, found 1"]),
        (&["--shear", "nan"], &["--shear: expected a number of at least 0, found NaN"]),
        (&["--elastic", "-1"], &["--elastic: expected a number of at least 0, found -1"]),
        (&["--mixup", "2"], &["--mixup: expected a number from 0 to 1, found 2"]),
        (&["--weight-decay", "-0.1"], &["--weight-decay: expected a number of at least 0, found -0.1"]),
        (&["--clip", "0"], &["--clip: expected a number above 0, found 0"]),
        (&["--ema", "1"], &["--ema: expected a number of at least 0 and below 1, found 1"]),
    ] {
        fails(&mut train(&out, options), 2, words);
    }
    assert!(!out.exists() || files(&out).is_empty());
}

#[test]
fn model_files_and_bare_weights_are_begun_from() {
    let folder = TempDir::new().unwrap();
    let [a, b, c, d] = ["a", "b", "c", "d"].map(|name| folder.path().join(name));
    let layers = ["--layers", "conv(4,3) relu pool(2) dense(10)"];
    result(&mut train(&a, &layers));
    let one = ["--epochs", "1"];
    let from = |file: &Path, out: &Path, options: &[&str]| {
        let options = [&one, options, &["--from", file.to_str().unwrap()]].concat();
        train(out, &options)
    };
    let model = a.join("model.safetensors");
    let of_model = result(&mut from(&model, &b, &[]));
    assert_eq!(of_model["layers"], layers[1]);
    // The same tensors as PyTorch writes them: without a word about the network.
    let bare = folder.path().join("weights.safetensors");
    let bytes = fs::read(&model).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    fs::write(&bare, safetensors::serialize(file.tensors(), None).unwrap()).unwrap();
    let of_bare = result(&mut from(&bare, &c, &layers));
    assert_eq!(of_bare["weights_sha256"], of_model["weights_sha256"]);
    fails(
        &mut from(&bare, &d, &["--layers", "conv(5,3) relu pool(2) dense(10)"]),
        2,
        &["0.weight", "[5, 1, 3, 3]", "[4, 1, 3, 3]"],
    );
    fails(
        &mut from(&model, &d, &["--layers", "conv(4,3) relu pool(2) dense(9) dense(10)"]),
        2,
        &["layer 4", "dense(10)", "dense(9)"],
    );
    fails(
        &mut from(&model, &d, &["--classes", "0,1,2,3,4,5,6,7,9,8"]),
        2,
        &["0, 1, 2, 3, 4, 5, 6, 7, 9, 8", "its classes"],
    );
    fails(&mut from(&model, &d, &["--init", "he-normal"]), 2, &["--init", "--from"]);
}

/// Over many settings: what `--config` of a run makes is the run, bit for bit, also of one that was stopped and resumed.
#[test]
fn every_config_repeats_its_run() {
    let folder = TempDir::new().unwrap();
    let runs: &[&[&str]] = &[
        &[],
        &["--preset", "cnn-3x3", "--normalize", "standard", "--shift", "2"],
        &["--preset", "cnn-14"],
        &["--preset", "dnn-14", "--classes", "7,1,3"],
        &[
            "--layers",
            "conv(3,3,stride=2,pad=1) tanh avgpool(2) dropout(0.3) dense(10)",
            "--init",
            "uniform(0.05)",
        ],
        &[
            "--layers",
            "dense(12,bias=false) sigmoid dropout(0.5) dense(10)",
            "--loss",
            "squared-error",
            "--lr",
            "0.02",
        ],
        &[
            "--optimizer",
            "sgd(momentum=0.9,nesterov,weight_decay=1e-4)",
            "--schedule",
            "step(parts=2,factor=0.3,warmup=3)",
        ],
        &[
            "--optimizer",
            "adamw(weight_decay=0.03,beta1=0.8)",
            "--schedule",
            "linear(floor=0.1)",
            "--lr",
            "0.0123456789",
        ],
        &[
            "--optimizer",
            "sgd",
            "--schedule",
            "cosine(floor=0.2)",
            "--loss",
            "softmax-cross-entropy(label_smoothing=0.07)",
        ],
        &["--validation", "33", "--batch-size", "7", "--seed", "9223372036854775807", "--test-limit", "13"],
        &[
            "--halve",
            "--normalize",
            "centered",
            "--init",
            "lecun-normal",
            "--schedule",
            "one-cycle(rise=0.5,start=3,end=7)",
        ],
        &[
            "--train-limit",
            "77",
            "--batch-size",
            "200",
            "--classes",
            "9,8,7,6,5,4,3,2,1,0",
            "--layers",
            "linear dense(10)",
        ],
        &[
            "--rotate",
            "11.5",
            "--scale",
            "0.1",
            "--shear",
            "0.2",
            "--elastic",
            "1.5",
            "--flip",
            "--erase",
            "9",
            "--mixup",
            "0.2",
            "--weight-decay",
            "0.05",
            "--clip",
            "1",
            "--ema",
            "0.99",
        ],
        &[
            "--validation",
            "40",
            "--patience",
            "1",
            "--restore-best",
            "--schedule",
            "plateau(patience=1,factor=0.3)",
        ],
    ];
    for (number, options) in runs.iter().enumerate() {
        let [first, second] = ["first", "second"].map(|name| folder.path().join(format!("{name}-{number}")));
        result(&mut train(&first, options));
        repeats(&first, &second);
    }
    // Resumed to more epochs, in place and in a copy.
    let [a, b, c, d] = ["a", "b", "c", "d"].map(|name| folder.path().join(name));
    result(&mut train(
        &a,
        &["--schedule", "constant(warmup=5)", "--layers", "dense(16) dropout(0.2) dense(10)"],
    ));
    result(byhand(&["train", "--json", "--quiet", "--no-report", "--epochs", "3", "--resume"]).arg(&a));
    repeats(&a, &b);
    result(
        byhand(&["train", "--json", "--quiet", "--no-report", "--epochs", "4", "--resume"])
            .arg(&a)
            .arg("--out")
            .arg(&c),
    );
    repeats(&c, &d);
}

#[track_caller]
fn repeats(first: &Path, second: &Path) {
    let mut again = byhand(&["train", "--json", "--quiet", "--no-report", "--config"]);
    result(again.arg(first.join("config.toml")).arg("--out").arg(second));
    for file in ["config.toml", "model.safetensors"] {
        let [wanted, found] = [first, second].map(|run| fs::read(run.join(file)).unwrap());
        assert!(
            wanted == found,
            "{file} of {}:\n{}",
            first.display(),
            fs::read_to_string(first.join("config.toml")).unwrap()
        );
    }
}

#[test]
fn settings_of_a_config_can_be_dropped() {
    let folder = TempDir::new().unwrap();
    let [a, b] = ["a", "b"].map(|name| folder.path().join(name));
    result(&mut train(
        &a,
        &["--classes", "3,4", "--preset", "dnn", "--optimizer", "sgd", "--validation", "10"],
    ));
    let config = a.join("config.toml");
    let mut again = byhand(&[
        "train",
        "--json",
        "--quiet",
        "--unset",
        "classes,preset,layers,optimizer",
        "--layers",
        "dense(10)",
        "--config",
    ]);
    let found = result(again.arg(&config).arg("--out").arg(&b));
    assert_eq!((found["model"].as_str(), found["train_images"].as_u64()), (Some("custom"), Some(190)));
    let text = fs::read_to_string(b.join("config.toml")).unwrap();
    assert!(
        !text.contains("classes") && !text.contains("preset") && text.contains("optimizer = \"adam\""),
        "{text}"
    );
    fails(
        byhand(&["train", "--unset", "clases", "--config"]).arg(&config),
        2,
        &["--unset", "clases", "classes"],
    );
}

#[test]
fn a_preset_of_five_classes_says_so() {
    let folder = TempDir::new().unwrap();
    let output = train(&folder.path().join("a"), &["--preset", "cnn-14"]).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        told.contains("cnn-14") && told.contains("0, 1, 2, 3, 4") && told.contains("--classes"),
        "{told}"
    );
    let output =
        train(&folder.path().join("b"), &["--preset", "cnn-14", "--classes", "5,6"]).output().unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}

/// Each signal saves what was learnt and tells its own exit code.
#[test]
#[cfg(unix)]
#[allow(clippy::print_stdout, reason = "what is skipped is said")]
fn signals_end_a_run_and_save_it() {
    let folder = TempDir::new().unwrap();
    for (signal, code) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
        if signal == "HUP" && hang_ups_are_ignored() {
            println!("skipped: HUP, since these tests were started by nohup, and a run so started goes on");
            continue;
        }
        let out = folder.path().join(signal);
        let running = long_run(&out, &["--schedule", "constant"]);
        kill(signal, &running);
        let output = running.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{signal}");
        let last = last_event(&output.stdout);
        assert_eq!((last["event"].as_str(), last["interrupted"].as_bool()), (Some("result"), Some(true)));
        assert_eq!(names(&out), WHOLE);
        assert_eq!(epochs(&out).len() as u64, last["epochs"].as_u64().unwrap());
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.contains("byhand train --resume"), "{told}");
    }
}

/// Whether this process was told to outlive its terminal: its children are, too.
#[cfg(unix)]
fn hang_ups_are_ignored() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.is_some_and(|mask| u64::from_str_radix(mask.trim(), 16).is_ok_and(|mask| mask & 1 == 1))
}

#[cfg(unix)]
fn kill(signal: &str, process: &Child) {
    let kill =
        std::process::Command::new("kill").args([&format!("-{signal}"), &process.id().to_string()]).status();
    assert!(kill.unwrap().success());
}

/// Ctrl-C, again and again, in a terminal that the view of a training has taken, in the middle of a step of seconds.
#[test]
#[cfg(target_os = "linux")]
#[allow(clippy::print_stdout, reason = "what is skipped is said")]
fn a_second_ctrl_c_gives_the_terminal_back() {
    use std::io::{Read, Write};
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("run");
    let slow = "conv(32,5,pad=2) relu conv(32,5,pad=2) relu dense(10)";
    let line = format!(
        "exec {} train --layers '{slow}' --tui --data digits --train-limit 1000 --test-limit 50 --batch-size 1000 --out {}",
        byhand(&[]).get_program().display(),
        out.display()
    );
    // It makes a terminal, types what it is given into it, and ends as the command ends.
    let script = std::process::Command::new("script")
        .args(["--quiet", "--return", "--command", &line, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut script) = script else {
        println!("skipped: expected the command script, of util-linux, found none");
        return;
    };
    let mut screen = script.stdout.take().unwrap();
    let mut shown = Vec::new();
    let place = |shown: &[u8], wanted: &[u8]| shown.windows(wanted.len()).rposition(|found| found == wanted);
    const TAKEN: &[u8] = b"\x1b[?1049h";
    // Then the program asks where the cursor is, which a terminal would tell.
    while place(&shown, b"\x1b[6n").is_none() {
        let mut part = [0; 4096];
        let read = screen.read(&mut part).unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&shown));
        shown.extend(&part[..read]);
    }
    let mut keys = script.stdin.take().unwrap();
    keys.write_all(b"\x1b[1;1R").unwrap();
    let begun = Instant::now();
    let ended = loop {
        if let Some(status) = script.try_wait().unwrap() {
            break status;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{}", String::from_utf8_lossy(&shown));
        let _ = keys.write_all(b"\x03");
        sleep(Duration::from_millis(50));
    };
    screen.read_to_end(&mut shown).unwrap();
    assert_eq!(ended.code(), Some(130), "{}", String::from_utf8_lossy(&shown));
    // At once: no model was saved first.
    assert!(!out.join("model.safetensors").exists());
    for given in [&b"\x1b[?1049l"[..], b"\x1b[?25h"] {
        assert!(place(&shown, given) > place(&shown, TAKEN), "{}", String::from_utf8_lossy(&shown));
    }
}

/// In the middle of an epoch, and of an evaluation, that take minutes.
#[test]
#[cfg(unix)]
fn signals_do_not_wait_for_an_epoch_or_an_evaluation() {
    let folder = TempDir::new().unwrap();
    let slow = "conv(32,5,pad=2) relu conv(32,5,pad=2) relu dense(10)";
    let cases: [&[&str]; 2] = [
        &["--layers", slow, "--train-limit", "20000", "--batch-size", "16"],
        &["--layers", slow, "--train-limit", "16", "--test-limit", "10000", "--batch-size", "16"],
    ];
    for (number, options) in cases.iter().enumerate() {
        let out = folder.path().join(number.to_string());
        let command = train(&out, options);
        let running = std::process::Command::new(command.get_program())
            .args(command.get_args())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        while fs::read(out.join("history.jsonl")).is_err() {
            sleep(Duration::from_millis(5));
        }
        sleep(Duration::from_millis(700));
        let sent = Instant::now();
        kill("TERM", &running);
        let output = running.wait_with_output().unwrap();
        assert!(sent.elapsed() < Duration::from_secs(20), "case {number}: {:?}", sent.elapsed());
        assert_eq!(output.status.code(), Some(143));
        assert!(last_event(&output.stdout)["test_accuracy"].is_null());
        let written: PathBuf = out.join("model.safetensors");
        assert!(written.exists());
    }
}

#[test]
fn a_preset_that_is_too_large_names_itself() {
    let folder = TempDir::new().unwrap();
    let data = tiny_images(folder.path());
    let words = ["--preset cnn", "8x8", "conv(32,5)", "expected cnn-3x3, dnn, mlp"];
    fails(byhand(&["train", "--preset", "cnn", "--data"]).arg(&data), 2, &words[..3]);
    fails(byhand(&["train-cnn", "--data"]).arg(&data), 2, &words[..3]);
    let output = byhand(&["train-cnn", "--data"]).arg(&data).output().unwrap();
    assert!(!String::from_utf8(output.stderr).unwrap().contains("--layers:"));
}

/// The path is remembered as it is from everywhere, and the bytes by their digest.
#[test]
fn a_run_finds_its_data_again_and_knows_other_data() {
    let folder = TempDir::new().unwrap();
    let [a, b, elsewhere] = ["a", "b", "elsewhere"].map(|name| folder.path().join(name));
    fs::create_dir(&elsewhere).unwrap();
    let data = tiny_images(folder.path());
    let layers = [
        "train",
        "--json",
        "--quiet",
        "--layers",
        "dense(10)",
        "--schedule",
        "constant",
        "--data",
        "tiny",
        "--out",
    ];
    let first = result(byhand(&layers).arg(&a).current_dir(&folder));
    let mut again = byhand(&["train", "--json", "--quiet", "--no-report", "--config"]);
    again.arg(a.join("config.toml")).arg("--out").arg(&b).current_dir(&elsewhere);
    assert_eq!(result(&mut again)["weights_sha256"], first["weights_sha256"]);
    let config = fs::read_to_string(a.join("config.toml")).unwrap();
    let notes = String::from_utf8_lossy(&fs::read(a.join("model.safetensors")).unwrap()).into_owned();
    assert!(config.contains(&format!("data = {:?}", data.display().to_string())), "{config}");
    assert!(config.contains("data-sha256") && notes.contains("data_sha256") && notes.contains("data_folder"));
    // Moved, the data are the same.
    let moved = folder.path().join("moved");
    fs::rename(&data, &moved).unwrap();
    let resume = |epochs: &str| {
        let mut command =
            byhand(&["train", "--json", "--quiet", "--no-report", "--epochs", epochs, "--data"]);
        command.arg(&moved).arg("--resume").arg(&a);
        command
    };
    result(&mut resume("6"));
    // Changed, in the test images alone, they are not.
    let images = moved.join("t10k-images-idx3-ubyte");
    let mut bytes = fs::read(&images).unwrap();
    bytes[100] ^= 1;
    fs::write(&images, bytes).unwrap();
    fails(&mut resume("7"), 2, &["cannot resume", "moved", "SHA-256", "--data"]);
    let output = byhand(&["train", "--quiet", "--config"])
        .arg(a.join("config.toml"))
        .arg("--out")
        .arg(&b)
        .output()
        .unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && told.contains("are not those of the run"), "{told}");
}

/// Ten images of 8x8 pixels for training, and the same for testing.
fn tiny_images(folder: &Path) -> PathBuf {
    let data = folder.join("tiny");
    fs::create_dir(&data).unwrap();
    let header = |code: u8, dims: &[u32]| {
        let mut bytes = vec![0, 0, code, dims.len() as u8];
        bytes.extend(dims.iter().flat_map(|dim| dim.to_be_bytes()));
        bytes
    };
    for part in ["train", "t10k"] {
        let images = (0..10 * 64).map(|i| (i * 37 % 256) as u8);
        let images: Vec<u8> = header(8, &[10, 8, 8]).into_iter().chain(images).collect();
        let labels: Vec<u8> = header(8, &[10]).into_iter().chain(0..10).collect();
        fs::write(data.join(format!("{part}-images-idx3-ubyte")), images).unwrap();
        fs::write(data.join(format!("{part}-labels-idx1-ubyte")), labels).unwrap();
    }
    data
}
