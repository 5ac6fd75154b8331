//! `evaluate` from outside: the model's classes, its preprocessing and its data are those it was trained with.

use std::{
    fs::{self, File},
    path::Path,
};

use assert_cmd::Command;
use byhand_datasets::idx;
use byhand_layers::{Shape, init::init_network};
use byhand_models::{Crop, Model, Preprocessing, Spec};
use ndarray::Array3;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{byhand, events_of, fails};

fn events(command: &mut Command) -> Vec<Value> {
    events_of(&command.arg("--json").output().unwrap())
}

#[track_caller]
fn result(command: &mut Command) -> Value {
    events(command).pop().unwrap()
}

/// A folder of data with square pictures: `lit` says which pixels (row, column) of a label are bright.
fn write_data(
    folder: &Path,
    side: usize,
    labels: &[u16],
    names: &[String],
    lit: impl Fn(u16, usize, usize) -> bool,
) {
    fs::create_dir_all(folder).unwrap();
    let images =
        Array3::from_shape_fn(
            (labels.len(), side, side),
            |(i, y, x)| if lit(labels[i], y, x) { 230 } else { 0 },
        );
    for part in ["train", "t10k"] {
        let file = |kind: &str| File::create(folder.join(format!("{part}-{kind}-ubyte"))).unwrap();
        idx::write_images(file("images-idx3"), images.view()).unwrap();
        idx::write_labels(file("labels-idx1"), labels).unwrap();
    }
    if !names.is_empty() {
        fs::write(folder.join("classes.txt"), names.join("\n")).unwrap();
    }
}

/// Each class is a bar in a row of its own, so that a network learns it at once: class `k` in row `rows[k]`.
fn write_bars(folder: &Path, names: &[&str], rows: &[usize]) {
    let labels: Vec<u16> = (0..20 * rows.len()).map(|k| (k % rows.len()) as u16).collect();
    let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
    write_data(folder, 12, &labels, &names, |label, y, _| y == rows[usize::from(label)]);
}

fn train(data: &Path, out: &Path) -> Command {
    let mut command = byhand(&[]);
    command
        .args(["train", "--layers", "dense(2)", "--epochs", "40", "--quiet", "--data"])
        .arg(data)
        .arg("--out")
        .arg(out);
    command
}

fn evaluate(model: &Path) -> Command {
    let mut command = byhand(&[]);
    command.arg("evaluate").arg(model);
    command
}

#[test]
fn labels_are_matched_by_name() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    write_bars(&path("ab"), &["A", "B"], &[0, 1]);
    // The same pictures and names, numbered the other way round, and among others.
    write_bars(&path("ba"), &["B", "A"], &[1, 0]);
    write_bars(&path("bca"), &["B", "C", "A"], &[1, 5, 0]);
    write_bars(&path("xy"), &["X", "Y"], &[0, 1]);
    let run = path("run");
    let trained = result(&mut train(&path("ab"), &run));
    assert_eq!(trained["test_accuracy"], 1.0);
    for (data, samples) in [("ab", 40), ("ba", 40), ("bca", 40)] {
        let found = result(evaluate(&run).arg("--data").arg(path(data)));
        assert_eq!(
            (found["accuracy"].as_f64(), found["samples"].as_u64()),
            (Some(1.0), Some(samples)),
            "{data}"
        );
        assert_eq!(found["class_names"], serde_json::json!(["A", "B"]), "{data}");
    }
    fails(evaluate(&run).arg("--data").arg(path("xy")), 2, &["X", "Y", "A", "B"]);
}

#[test]
fn chosen_classes_keep_their_order() {
    let folder = TempDir::new().unwrap();
    let (data, run) = (folder.path().join("bars"), folder.path().join("run"));
    write_bars(&data, &[], &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    let trained = result(train(&data, &run).args(["--classes", "7,1"]));
    assert_eq!(trained["test_accuracy"], 1.0);
    let found = result(evaluate(&run).arg("--data").arg(&data));
    assert_eq!(
        (found["accuracy"].as_f64(), found["loss"].as_f64()),
        (Some(1.0), trained["test_loss"].as_f64())
    );
    assert_eq!(found["class_names"], serde_json::json!(["7", "1"]));

    // For people, rows and columns have the names.
    let output = evaluate(&run).arg("--data").arg(&data).output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    let rows: Vec<Vec<&str>> = told.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["true", "\\", "as", "7", "1", "recognised"], "{told}");
    assert_eq!(rows[1], ["7", "20", "0", "100.00", "%"], "{told}");
    assert_eq!(rows[2], ["1", "0", "20", "100.00", "%"], "{told}");
}

#[test]
fn two_hundred_and_fifty_six_classes() {
    let folder = TempDir::new().unwrap();
    let (data, run) = (folder.path().join("many"), folder.path().join("run"));
    let labels: Vec<u16> = (0..=255).collect();
    let names: Vec<String> = (0..256).map(|class| format!("class {class}")).collect();
    write_data(&data, 16, &labels, &names, |label, y, x| usize::from(label) == 16 * y + x);
    let mut command = byhand(&[]);
    command
        .args(["train", "--layers", "dense(256)", "--epochs", "30", "--lr", "0.03", "--quiet", "--data"])
        .arg(&data);
    let trained = result(command.arg("--out").arg(&run));
    assert_eq!(trained["test_accuracy"], 1.0);
    let found = result(evaluate(&run).arg("--data").arg(&data));
    assert_eq!(found["accuracy"], trained["test_accuracy"]);
    assert_eq!(found["confusion"].as_array().unwrap().len(), 256);
    let predicted = events(byhand(&[]).arg("predict").arg(&run).arg(data.join("t10k-images-idx3-ubyte")));
    for i in 0..100 {
        assert_eq!(predicted[i]["name"], names[i]);
    }
}

/// Trained on a folder named from where one stands, evaluated from elsewhere: the same data, or an error that says what to do.
#[test]
fn the_data_are_those_of_the_run() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    write_bars(&path("home/mine"), &["A", "B"], &[0, 1]);
    write_bars(&path("other/mine"), &["A", "B"], &[5, 6]);
    let run = path("run");
    assert!(train(Path::new("mine"), &run).current_dir(path("home")).output().unwrap().status.success());

    let elsewhere = || {
        let mut command = evaluate(&run);
        command.current_dir(path("other"));
        command
    };
    let found = result(&mut elsewhere());
    assert_eq!(found["accuracy"], 1.0);
    assert_eq!(found["data"].as_str(), path("home/mine").canonicalize().unwrap().to_str());

    // Other data are taken when asked for, and told.
    let output = elsewhere().args(["--data", "mine", "--json"]).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && told.contains("not the data that the model was trained on"), "{told}");
    // The same data elsewhere are the same.
    fs::rename(path("home"), path("moved")).unwrap();
    let output = elsewhere().arg("--data").arg(path("moved/mine")).output().unwrap();
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
    assert_eq!(result(elsewhere().arg("--data-dir").arg(path("moved/mine")))["accuracy"], 1.0);

    fails(&mut elsewhere(), 2, &["home/mine", "--data-dir", "--data"]);
    write_bars(&path("home/mine"), &["A", "B"], &[1, 0]);
    fails(&mut elsewhere(), 1, &["home/mine", "SHA-256", "--data"]);
}

/// `--data-dir` too, whatever there is of MNIST where one would look first.
#[test]
fn a_data_dir_is_remembered() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let labels: Vec<u16> = (0..100).map(|k| k % 10).collect();
    write_data(&path("data/mnist"), 28, &labels, &[], |label, y, _| y == usize::from(label));
    write_data(&path("env/mnist"), 28, &labels, &[], |label, y, _| y == 27 - usize::from(label));
    let run = path("run");
    let mut command = byhand(&[]);
    command
        .args(["train", "--layers", "dense(10)", "--epochs", "40", "--quiet", "--data-dir"])
        .arg(path("data"));
    assert_eq!(result(command.arg("--out").arg(&run))["test_accuracy"], 1.0);
    let found = result(evaluate(&run).env("BYHAND_DATA", path("env")).env("XDG_CACHE_HOME", path("cache")));
    assert_eq!((found["accuracy"].as_f64(), found["data"].as_str()), (Some(1.0), Some("mnist (unverified)")));
    fs::remove_dir_all(path("data")).unwrap();
    fails(&mut evaluate(&run), 2, &["data/mnist", "--data-dir"]);
}

/// A model whose description crops: of each picture it sees columns 2 to 7 of rows 1 to 8 (after halving), and says which
/// column is brightest.
#[test]
fn a_crop_is_part_of_the_model() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let spec: Spec = "avgpool(8x1) dense(6)".parse().unwrap();
    let input = Shape::new(1, 8, 6);
    let network = spec.build::<f32>(input).unwrap();
    let mut theta = init_network::<f32>(&network, "he-normal".parse().unwrap(), 0);
    theta.fill(0.0);
    (0..6).for_each(|k| theta[7 * k] = 100.0);
    let model = |halve| Model {
        spec: spec.clone(),
        input,
        class_names: (0..6).map(|class| class.to_string()).collect(),
        preprocessing: Preprocessing {
            halve,
            crop: Some(Crop { y: 1, x: 2, h: 8, w: 6 }),
            ..Preprocessing::unit()
        },
        notes: [("pictures".to_owned(), r#"{"ground":"any","framed":false,"fullest":100.0}"#.to_owned())]
            .into(),
        theta: theta.clone(),
    };
    for (halve, factor) in [(false, 1), (true, 2)] {
        model(halve).save(&path("model.safetensors")).unwrap();
        // Pictures of 10x10, or twice that: column 2 + label is bright.
        let labels: Vec<u16> = (0..12).map(|k| k % 6).collect();
        let names: Vec<String> = (0..6).map(|class| class.to_string()).collect();
        let side = 10 * factor;
        let lit = |label: u16, x: usize| x / factor == 2 + usize::from(label);
        write_data(&path("data"), side, &labels, &names, |label, _, x| lit(label, x));
        let found = result(evaluate(&path("model.safetensors")).arg("--data").arg(path("data")));
        assert_eq!(found["accuracy"], 1.0, "halve {halve}");

        let mut predict = byhand(&[]);
        predict.arg("predict").arg(path("model.safetensors")).arg(path("data/t10k-images-idx3-ubyte"));
        let picture = path("picture.png");
        let mut encoder = png::Encoder::new(File::create(&picture).unwrap(), side as u32, side as u32);
        encoder.set_color(png::ColorType::Grayscale);
        let pixels: Vec<u8> = (0..side * side).map(|i| if lit(3, i % side) { 230 } else { 0 }).collect();
        encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
        let told = events(predict.arg(&picture));
        for (i, &label) in labels.iter().enumerate() {
            assert_eq!(told[i]["class"], label, "halve {halve}");
        }
        assert_eq!(told[12]["probabilities"], told[3]["probabilities"], "halve {halve}");
    }
}

#[test]
fn several_models_are_asked_together() {
    let folder = TempDir::new().unwrap();
    let [a, b, c, other] = ["a", "b", "c", "other"].map(|name| folder.path().join(name));
    let train = |out: &Path, options: &[&str]| {
        let small =
            ["train", "--data", "digits", "--train-limit", "400", "--test-limit", "300", "--epochs", "2"];
        result(byhand(&[]).args(small).args(["--layers", "dense(10)"]).args(options).arg("--out").arg(out))
    };
    let shas: Vec<Value> = [&a, &b]
        .into_iter()
        .zip(["1", "2"])
        .map(|(out, seed)| train(out, &["--seed", seed])["weights_sha256"].clone())
        .collect();
    train(&c, &["--loss", "squared-error", "--lr", "0.01"]);
    train(&other, &["--classes", "0,1,2,3,4,5,6,7,9,8"]);
    let alone: Vec<Value> = [&a, &b].map(|run| result(byhand(&[]).arg("evaluate").arg(run))).to_vec();
    let together = result(byhand(&[]).arg("evaluate").args([&a, &b]));
    let members = together["members"].as_array().unwrap();
    assert_eq!(members.len(), 2);
    for ((member, alone), sha) in members.iter().zip(&alone).zip(&shas) {
        assert_eq!((&member["accuracy"], &member["loss"]), (&alone["accuracy"], &alone["loss"]));
        assert_eq!(&member["weights_sha256"], sha);
    }
    // The mean of two probabilities has no larger cross-entropy than the mean of theirs.
    let loss = |result: &Value| result["loss"].as_f64().unwrap();
    assert!(loss(&together) < (loss(&alone[0]) + loss(&alone[1])) / 2.0);
    // A model twice is the model.
    let twice = result(byhand(&[]).arg("evaluate").args([&a, &a]));
    assert_eq!(twice["accuracy"], alone[0]["accuracy"]);
    assert!((loss(&twice) - loss(&alone[0])).abs() < 1e-5);

    let views = result(byhand(&[]).arg("evaluate").arg(&a).args(["--tta", "shift"]));
    assert_eq!((&views["tta"], &alone[0]["tta"]), (&"shift".into(), &Value::Null));
    assert_ne!(views["loss"], alone[0]["loss"]);
    let threads = byhand(&[])
        .arg("evaluate")
        .arg(&a)
        .args(["--tta", "shift", "--threads", "3", "--json"])
        .output()
        .unwrap();
    let again: Value = serde_json::from_slice(&threads.stdout).unwrap();
    assert_eq!(again["loss"], views["loss"]);

    fails(byhand(&[]).arg("evaluate").arg(&a).args(["--tta", "turn"]), 2, &["shift, flip"]);
    fails(byhand(&[]).arg("evaluate").args([&a, &c]), 2, &["squared-error", "no probabilities"]);
    fails(byhand(&[]).arg("evaluate").args([&a, &other]), 2, &["its classes are", "in the same order"]);
    fails(byhand(&[]).arg("evaluate").arg(&a).arg(folder.path().join("none")), 2, &["no model here"]);
}
