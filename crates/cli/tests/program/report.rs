//! `report`, `compare`, `inspect`, `watch` and `summary --time` from outside: the figures are those of `evaluate`, the pages load nothing, and folders that are
//! not whole are told in words.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process,
    process::Stdio,
    sync::LazyLock,
    time::Duration,
};

use assert_cmd::Command;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{byhand, fails};

/// The events of a command that succeeds, and what it told besides.
#[track_caller]
fn events(command: &mut Command) -> (Vec<Value>, String) {
    let output = command.args(["--json"]).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{told}");
    let text = String::from_utf8(output.stdout).unwrap();
    (text.lines().map(|line| serde_json::from_str(line).unwrap()).collect(), told)
}

#[track_caller]
fn result(command: &mut Command) -> Value {
    events(command).0.pop().unwrap()
}

const SMALL: [&str; 9] =
    ["train", "--quiet", "--data", "digits", "--train-limit", "400", "--epochs", "3", "--layers"];

/// A run that all tests look at, and none changes.
fn run() -> PathBuf {
    static FOLDER: LazyLock<TempDir> = LazyLock::new(|| {
        let folder = TempDir::new().unwrap();
        let run = folder.path().join("a<b>");
        result(byhand(&SMALL).args(["conv(4,5) relu pool(2) dense(10)", "--out"]).arg(&run));
        folder
    });
    FOLDER.path().join("a<b>")
}

/// A copy of it, without its lock.
fn copy(to: &Path) -> PathBuf {
    let copy = to.join("copy");
    for folder in ["", "checkpoints"] {
        fs::create_dir_all(copy.join(folder)).unwrap();
        for entry in fs::read_dir(run().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() && !path.ends_with(".lock") {
                fs::copy(&path, copy.join(folder).join(path.file_name().unwrap())).unwrap();
            }
        }
    }
    copy
}

/// Every element is closed where it was opened, and nothing is loaded from anywhere.
#[track_caller]
fn check_page(page: &str) {
    assert!(page.starts_with("<!DOCTYPE html>"));
    let mut open: Vec<&str> = Vec::new();
    // Style and script have no elements in them.
    for tag in page.split('<').skip(2) {
        let tag = tag.split('>').next().unwrap();
        let name = tag.trim_start_matches('/').split_whitespace().next().unwrap();
        match tag.strip_prefix('/') {
            Some(closed) => assert_eq!(open.pop(), Some(closed), "of {open:?}"),
            None if ["meta", "img", "br"].contains(&name) => {}
            None => open.push(name),
        }
    }
    assert!(open.is_empty(), "{open:?}");
    // A picture's letters may be any.
    let parts = page.split("base64,").map(|part| part.split_once('"').map_or(part, |(_, rest)| rest));
    let words: String = parts.collect();
    for foreign in ["http:", "https:", "<link", "@import", "url(", "src=\"/", "srcset"] {
        assert!(!words.contains(foreign), "{foreign}");
    }
    assert_eq!(page.matches("src=").count(), page.matches("src=\"data:image/png;base64,").count());
    assert!(page.contains("prefers-color-scheme:dark") && page.contains("name=\"viewport\""));
    assert!(!words.contains("NaN") && !words.contains(">inf"));
}

/// The texts of the cells of a table, row by row.
fn table(page: &str, id: &str) -> Vec<Vec<String>> {
    let begin = page.find(&format!("id=\"{id}\"")).unwrap();
    let table = page[begin..].split("</table>").next().unwrap();
    let text = |cell: &str| cell.split_once('>').unwrap().1.split('<').next().unwrap().to_string();
    let cells =
        |row: &str| row.split("<t").skip(1).filter(|cell| cell.starts_with(['d', 'h'])).map(text).collect();
    table.split("<tr").skip(1).map(cells).collect()
}

#[test]
fn a_report_has_every_section_and_the_figures_of_evaluate() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("look.html");
    let found = result(byhand(&["report"]).arg(run()).arg("--out").arg(&file));
    let page = fs::read_to_string(&file).unwrap();
    check_page(&page);
    assert_eq!(found["bytes"], page.len());
    for id in [
        "curves",
        "confusion",
        "classes",
        "mistakes",
        "filters",
        "activations",
        "weights",
        "time",
        "settings",
        "repeat",
    ] {
        assert!(
            page.contains(&format!("<section id=\"{id}\">")) && page.contains(&format!("href=\"#{id}\"")),
            "{id}"
        );
    }
    assert!(page.contains("<title>byhand: a&lt;b&gt;</title>"));

    let evaluated = result(byhand(&["evaluate", "--quiet"]).arg(run()));
    let accuracy = evaluated["accuracy"].as_f64().unwrap();
    assert!(accuracy > 0.3, "{accuracy}");
    assert_eq!((&found["test_accuracy"], &found["test_loss"]), (&evaluated["accuracy"], &evaluated["loss"]));
    assert!(page.contains(&format!("<b>{:.2} %</b>", 100.0 * accuracy)));
    assert!(page.contains(&format!("<b>{:.4}</b>", evaluated["loss"].as_f64().unwrap())));
    assert!(page.contains(evaluated["weights_sha256"].as_str().unwrap()));
    let confusion = table(&page, "confusion-matrix");
    assert_eq!(confusion.len(), 11);
    for (row, expected) in confusion[1..].iter().zip(evaluated["confusion"].as_array().unwrap()) {
        let expected: Vec<String> = expected.as_array().unwrap().iter().map(Value::to_string).collect();
        assert_eq!(row[1..], expected);
    }
    let classes = table(&page, "class-figures");
    for (row, recall) in classes[1..].iter().zip(evaluated["per_class_accuracy"].as_array().unwrap()) {
        assert_eq!(row[3], format!("{:.2} %", 100.0 * recall.as_f64().unwrap()));
    }
    // 24 mistakes, each with where the network looked; four filters; four tensors, twice.
    assert_eq!(page.matches("where the network looked").count(), 24);
    assert_eq!(page.matches("alt=\"a filter\"").count(), 4);
    assert_eq!(page.matches("how the numbers are spread").count(), 8);
    for words in ["Loss", "conv(4,5)", "of peak", "train-limit", "train --config", "processor", "<polyline"] {
        assert!(page.contains(words), "{words}");
    }

    // Training wrote the same, but for what is measured anew.
    let written = fs::read_to_string(run().join("report.html")).unwrap();
    check_page(&written);
    let until_time = |page: &str| page.split("<section id=\"time\">").next().unwrap().to_string();
    assert!(until_time(&written) == until_time(&page));
}

#[test]
fn a_run_that_is_not_over_is_shown_from_its_checkpoint() {
    let folder = TempDir::new().unwrap();
    let copy = copy(folder.path());
    fs::remove_file(copy.join("model.safetensors")).unwrap();
    fs::remove_file(copy.join("result.json")).unwrap();
    let config = fs::read_to_string(copy.join("config.toml")).unwrap();
    fs::write(copy.join("config.toml"), config.replace("epochs = 3", "epochs = 9")).unwrap();
    // A line that was cut short, and one of an older version.
    let history = fs::read_to_string(copy.join("history.jsonl")).unwrap();
    let mut first: Value = serde_json::from_str(history.lines().next().unwrap()).unwrap();
    assert_eq!(first["tensors"].as_array().unwrap().len(), 4);
    first.as_object_mut().unwrap().remove("tensors");
    fs::write(copy.join("history.jsonl"), format!("{first}\n{{\"epoch\":")).unwrap();
    let (events, told) = events(byhand(&["report"]).arg(&copy));
    assert_eq!(events[0]["is_over"], false);
    assert!(told.contains("has not come to its end") && told.contains("1 lines of the history"), "{told}");
    let page = fs::read_to_string(copy.join("report.html")).unwrap();
    check_page(&page);
    for words in
        ["after 3 of 9 epochs", "Not recorded: the run has no epoch yet", "trained</th><td>not recorded"]
    {
        assert!(page.contains(words), "{words}");
    }
}

/// Images that are halved, cut and of some classes only are shown as the network saw them.
#[test]
fn a_report_is_of_the_images_of_the_run() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("run");
    let options = [
        "dense(3)",
        "--halve",
        "--crop",
        "12",
        "--classes",
        "0,1,7",
        "--test-limit",
        "90",
        "--validation",
        "30",
    ];
    let trained = result(byhand(&SMALL).args(options).arg("--out").arg(&out));
    assert_eq!(trained["report"].as_str(), out.join("report.html").to_str());
    let found = result(byhand(&["report"]).arg(&out));
    for field in ["test_accuracy", "test_loss", "weights_sha256"] {
        assert_eq!(found[field], trained[field], "{field}");
    }
    assert_eq!(found["samples"], 90);
    let page = fs::read_to_string(out.join("report.html")).unwrap();
    check_page(&page);
    assert!(page.contains(">validation</text>"));
    assert_eq!(table(&page, "confusion-matrix")[0], ["true \\ said", "0", "1", "7"]);
}

#[test]
fn folders_that_are_no_runs_are_told_in_words() {
    let folder = TempDir::new().unwrap();
    let report = |run: &Path| {
        let mut command = byhand(&["report", "--quiet"]);
        command.arg(run);
        command
    };
    fails(&mut report(Path::new("nowhere")), 2, &["nowhere", "expected a run folder"]);
    fails(
        &mut report(&run().join("model.safetensors")),
        2,
        &["expected a run folder, found a file", "inspect"],
    );
    fails(&mut report(folder.path()), 2, &["config.toml"]);
    let copy = copy(folder.path());
    let restored = |file: &str| fs::copy(run().join(file), copy.join(file)).unwrap();
    fails(report(&copy).args(["--out", "nowhere/x.html"]), 2, &["nowhere/x.html", "--out"]);

    let config = fs::read_to_string(copy.join("config.toml")).unwrap();
    fs::write(copy.join("config.toml"), format!("{config}colour = 3\n")).unwrap();
    fails(&mut report(&copy), 2, &["config.toml, line", "colour"]);
    fs::write(copy.join("config.toml"), config.replace("data-sha256 = \"", "data-sha256 = \"0")).unwrap();
    fails(&mut report(&copy), 2, &["the run was trained on digits", "--data-dir"]);
    restored("config.toml");

    fs::write(copy.join("result.json"), "{").unwrap();
    fails(&mut report(&copy), 1, &["result.json", "expected JSON"]);
    restored("result.json");

    let mut model = fs::read(copy.join("model.safetensors")).unwrap();
    let last = model.len() - 1;
    model[last] ^= 1;
    fs::write(copy.join("model.safetensors"), &model).unwrap();
    fails(&mut report(&copy), 1, &["model.safetensors", "damaged"]);
    fails(byhand(&["inspect"]).arg(&copy), 1, &["model.safetensors", "damaged"]);

    fs::remove_file(copy.join("model.safetensors")).unwrap();
    fs::remove_dir_all(copy.join("checkpoints")).unwrap();
    fails(&mut report(&copy), 2, &["expected model.safetensors or a checkpoint", "first epoch"]);
    // The model alone, without checkpoints, is enough.
    restored("model.safetensors");
    result(&mut report(&copy));
}

#[test]
fn runs_are_compared_picture_by_picture() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (other, few, page) = (path("other"), path("few"), path("both.html"));
    result(
        byhand(&SMALL).args(["dense(20) relu dense(10)", "--no-report", "--seed", "5", "--out"]).arg(&other),
    );
    let (events, _) = events(byhand(&["compare"]).arg(run()).arg(&other).arg("--out").arg(&page));
    let accuracy =
        |model: &Path| result(byhand(&["evaluate", "--quiet"]).arg(model))["accuracy"].as_f64().unwrap();
    let accuracies = [accuracy(&run()), accuracy(&other)];
    let told = events[events.len() - 1]["pairs"][0].clone();
    let count = |name: &str| told[name].as_u64().unwrap();
    let (both, only_a, only_b) = (count("both"), count("only_a"), count("only_b"));
    assert_eq!(both + only_a + only_b + count("neither"), 10_000);
    assert_eq!([both + only_a, both + only_b].map(|right| right as f64 / 10_000.0), accuracies);
    assert!((0.0..=1.0).contains(&told["mcnemar_p"].as_f64().unwrap()));
    let settings: Vec<&str> = events.iter().filter_map(|event| event["setting"].as_str()).collect();
    assert_eq!(settings, ["layers", "seed"]);
    let text = fs::read_to_string(&page).unwrap();
    check_page(&text);
    for words in [
        "a&lt;b&gt;",
        "McNemar",
        "conv(4,5) relu pool(2) dense(10)",
        &format!("Only other has right: {only_b}"),
    ] {
        assert!(text.contains(words), "{words}");
    }

    // Other test images: there is nothing to compare one by one.
    let mut fewer = byhand(&SMALL);
    result(fewer.args(["dense(10)", "--no-report", "--test-limit", "50", "--out"]).arg(&few));
    let last = result(byhand(&["compare"]).arg(run()).arg(&few).arg("--out").arg(&page));
    assert_eq!(last["pairs"].as_array().unwrap().len(), 0);
    assert!(fs::read_to_string(&page).unwrap().contains("cannot be compared one by one"));
    fails(byhand(&["compare"]).arg(run()), 2, &["2"]);
    fails(byhand(&["compare"]).arg(run()).arg("nowhere"), 2, &["nowhere"]);
}

#[test]
fn a_model_file_says_what_it_is() {
    let found = result(byhand(&["inspect"]).arg(run()));
    let evaluated = result(byhand(&["evaluate", "--quiet"]).arg(run()));
    let notes = &found["notes"];
    for (note, value) in
        [("run", "custom-digits-seed0"), ("data", "digits"), ("epochs", "3"), ("steps", "21"), ("seed", "0")]
    {
        assert_eq!(notes[note], value, "{notes}");
    }
    let number = |note: &str| notes[note].as_str().unwrap().parse::<f64>().unwrap();
    assert_eq!(Some(number("test_accuracy")), evaluated["accuracy"].as_f64());
    assert_eq!(Some(number("test_loss")), evaluated["loss"].as_f64());
    assert_eq!(found["weights_sha256"], evaluated["weights_sha256"]);
    assert_eq!(found["classes"].as_array().unwrap().len(), 10);
    let output = byhand(&["inspect"]).arg(run().join("model.safetensors")).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for words in ["custom-digits-seed0", "conv(4,5)", "digits", "on 10000 test images", "pixel x 0.003921569"]
    {
        assert!(text.contains(words), "{words}: {text}");
    }

    // A file that says less.
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("old.safetensors");
    let mut model = byhand_models::Model::load(&run().join("model.safetensors")).unwrap();
    model.notes.retain(|key, _| key == "seed");
    model.save(&file).unwrap();
    let output = byhand(&["inspect"]).arg(&file).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.matches("not recorded").count(), 3, "{text}");
    fails(&mut byhand(&["inspect", "nowhere"]), 2, &["nowhere"]);
}

/// What a server on this machine answers to a request.
fn ask(port: u16, path: &str, host: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    stream
}

#[test]
fn a_run_is_watched_while_it_trains() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("run");
    let program = Command::cargo_bin("byhand").unwrap().get_program().to_owned();
    let mut serving = process::Command::new(program)
        .args(["watch", "--port", "0", "--json"])
        .arg(&out)
        .env_remove("BYHAND_DATA")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(serving.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = serde_json::from_str::<Value>(&line).unwrap()["address"].as_str().unwrap().to_string();
    let port: u16 = address.trim_end_matches('/').rsplit(':').next().unwrap().parse().unwrap();
    let host = format!("127.0.0.1:{port}");
    let page = |path: &str, host: &str| {
        let mut text = String::new();
        ask(port, path, host).read_to_string(&mut text).unwrap();
        text
    };
    assert!(page("/", &host).contains("has not written a checkpoint yet"));
    assert!(page("/", "example.org").starts_with("HTTP/1.1 403"));
    assert!(page("/etc/passwd", &host).starts_with("HTTP/1.1 404"));
    // A browser that listens is told of the run.
    let mut news = BufReader::new(ask(port, "/events", &host));
    result(byhand(&SMALL).args(["dense(10)", "--no-report", "--out"]).arg(&out));
    let told = loop {
        let mut line = String::new();
        assert!(news.read_line(&mut line).unwrap() > 0, "the server went away");
        let page = page("/", &host);
        if line.starts_with("data: ") && page.contains("confusion-matrix") {
            break page;
        }
    };
    assert!(told.contains("new EventSource('events')") && told.contains("confusion-matrix"));
    serving.kill().unwrap();
    serving.wait().unwrap();
}

#[test]
fn layers_are_timed() {
    let mut command = byhand(&[
        "summary",
        "--layers",
        "conv(4,3) relu pool(2) tanh dense(10)",
        "--time",
        "--batch-size",
        "20",
    ]);
    let (events, _) = events(&mut command);
    let layers: Vec<&Value> = events.iter().filter(|event| event["event"] == "layer_time").collect();
    let specs: Vec<&Value> = layers.iter().map(|layer| &layer["layer"]).collect();
    assert_eq!(specs, ["conv(4,3) relu pool(2)", "tanh", "dense(10)"], "layers that run as one are one line");
    let number = |value: &Value, field: &str| value[field].as_f64().unwrap();
    let sum: f64 =
        layers.iter().map(|layer| number(layer, "forward_us") + number(layer, "backward_us")).sum();
    let shares: f64 = layers.iter().map(|layer| number(layer, "share")).sum();
    let last = &events[events.len() - 1];
    assert!((sum / number(last, "layers_us") - 1.0).abs() < 1e-6 && (shares - 1.0).abs() < 1e-6);
    assert!(number(last, "step_us") > 0.0 && number(last, "peak_gflops") > 0.0);
    assert!(layers[0]["percent_of_peak"].is_number() && layers[1]["percent_of_peak"].is_null());
    // 4x13x13 numbers for 32 lanes of 20 images, and no tape.
    assert_eq!(layers[1]["activation_bytes"], 4 * 13 * 13 * 32 * 4);
    assert_eq!(layers[2]["parameter_bytes"], (4 * 13 * 13 * 10 + 10) * 4);
}

/// The framing here; what is in the records, `byhand-report`'s tests hold, and `benches/peers/event_files.py` with TensorBoard's reader.
#[test]
fn event_files_are_rows_of_whole_records() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("run");
    result(
        byhand(&SMALL)
            .args(["dense(10)", "--no-report", "--batch-size", "2", "--tensorboard", "--out"])
            .arg(&out),
    );
    let files: Vec<PathBuf> =
        fs::read_dir(out.join("tensorboard")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() == 1 && files[0].to_string_lossy().contains("events.out.tfevents."), "{files:?}");
    let bytes = fs::read(&files[0]).unwrap();
    let (mut rest, mut records) = (&bytes[..], Vec::new());
    while !rest.is_empty() {
        let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
        records.push(&rest[12..12 + length]);
        rest = &rest[16 + length..];
    }
    // The version, the graph; of each of three epochs four numbers of 50 steps, and scalars, spreads and filters.
    assert_eq!(records.len(), 2 + 3 * (4 + 3));
    let has = |words: &str| {
        records.iter().any(|record| record.windows(words.len()).any(|part| part == words.as_bytes()))
    };
    for words in [
        "brain.Event:2",
        "1_dense",
        "loss/minibatches",
        "accuracy/test",
        "gradients/1.weight",
        "first filters",
    ] {
        assert!(has(words), "{words}");
    }
}
