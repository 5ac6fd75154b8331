//! `parity` from outside, without Python: the test writes the file of PyTorch itself, from byhand's own steps.

use std::{fs, path::Path};

use assert_cmd::Command;
use byhand_layers::{Network, Shape};
use byhand_models::{Spec, weights_sha256};
use byhand_trainer::{Rows, StepConfig, Trainer};
use ndarray::{Array2, Axis};
use safetensors::{
    Dtype, SafeTensors,
    tensor::{TensorView, serialize},
};
use serde_json::Value;
use tempfile::TempDir;

const LAYERS: &str = "conv(3,3,stride=2) relu pool(2) dense(10)";
const SGD: &str = "sgd(momentum=0.9)";
const STEPS: usize = 4;
const BATCH: usize = 20;

/// What `compare` gave: its events, and its code.
struct Answer {
    events: Vec<Value>,
    code: Option<i32>,
    stderr: String,
}

#[test]
fn equal_steps_agree_exactly() {
    let folder = TempDir::new().unwrap();
    export(folder.path());
    write_pytorch(folder.path(), Dtype::F32, |_, _| {});
    for options in [&["--threads", "1"], &["--tolerance", "0"]] {
        let answer = compare(folder.path(), options);
        assert_eq!(answer.code, Some(0), "{}", answer.stderr);
        let names: Vec<&str> = answer.events.iter().map(|event| event["event"].as_str().unwrap()).collect();
        assert_eq!(names, ["step", "step", "step", "step", "result"]);
        let result = answer.events.last().unwrap();
        assert_eq!(result["largest_weight_difference"], 0.0);
        assert_eq!(result["largest_loss_difference"], 0.0);
        assert_eq!((result["steps"].as_u64(), result["agrees"].as_bool()), (Some(4), Some(true)));
        assert_eq!(result["pytorch"], "a test");
        let (losses, theta) = train(folder.path());
        assert_eq!(answer.events[1]["loss"], losses[1]);
        assert_eq!(result["weights_sha256"], weights_sha256(theta.last().unwrap()));
        assert!(losses[3] < losses[0], "nothing was learnt: {losses:?}");
    }
}

#[test]
fn one_wrong_weight_in_one_step_is_found() {
    let folder = TempDir::new().unwrap();
    export(folder.path());
    // The second number of the dense layer's bias after the third step; its index is 4, after conv, relu, pool, flatten.
    write_pytorch(folder.path(), Dtype::F64, |theta, _| {
        let (step, params) = (&mut theta[2], 10);
        let at = step.len() - params + 1;
        step[at] += 0.5;
    });
    let answer = compare(folder.path(), &[]);
    assert_eq!(answer.code, Some(1));
    for part in ["4.bias, after step 3", "expected at most 1e-3", "found more from step 3 on"] {
        assert!(answer.stderr.contains(part), "{part}: {}", answer.stderr);
    }
    let result = answer.events.iter().find(|event| event["event"] == "result").unwrap();
    assert_eq!(
        (result["agrees"].as_bool(), result["pytorch_dtype"].as_str()),
        (Some(false), Some("float64"))
    );
    assert_eq!(
        (&result["largest_loss_difference"], &result["first_step_beyond_tolerance"]),
        (&0.0.into(), &3.into())
    );
    assert_eq!(answer.events[1]["weight_difference"], 0.0);
    assert_eq!(compare(folder.path(), &["--tolerance", "1e6"]).code, Some(0));
}

/// A pixel that is 0 in every image has weights with a gradient of 0, or of a rounding error: Adam may move these by the learning rate.
#[test]
fn adam_may_move_a_weight_without_a_gradient_but_no_other() {
    for (optimizer, verdict) in [("adamw", 0), ("adam", 0), (SGD, 1)] {
        let folder = TempDir::new().unwrap();
        export_as(folder.path(), "dense(10)", optimizer);
        let bytes = fs::read(folder.path().join("bundle.safetensors")).unwrap();
        let x = floats(&SafeTensors::deserialize(&bytes).unwrap(), "x");
        let ink = |pixel: usize| x.iter().skip(pixel).step_by(784).sum::<f32>();
        let dead = (0..784).find(|&pixel| ink(pixel) == 0.0).expect("a pixel without ink");
        let alive = (0..784).max_by(|&a, &b| ink(a).total_cmp(&ink(b))).unwrap();
        let compared = |class: usize, pixel: usize, rate: f64| {
            write_pytorch_as(folder.path(), "dense(10)", optimizer, Dtype::F32, |theta, _| {
                let steps = theta.iter_mut().zip(1..);
                steps.for_each(|(theta, step)| theta[class * 784 + pixel] += rate * f64::from(step));
            });
            compare(folder.path(), &[]).code
        };
        assert_eq!(compared(3, dead, 0.0), Some(0), "{optimizer}");
        assert_eq!(compared(3, dead, 0.05), Some(verdict), "{optimizer}");
        assert_eq!(compared(3, alive, 0.05), Some(1), "{optimizer}");
    }
}

#[test]
fn a_wrong_loss_and_a_nan_are_found() {
    let folder = TempDir::new().unwrap();
    export(folder.path());
    write_pytorch(folder.path(), Dtype::F32, |_, losses| losses[1] *= 1.01);
    let answer = compare(folder.path(), &[]);
    assert_eq!(answer.code, Some(1));
    assert!(answer.stderr.contains("of a loss (step 2)"), "{}", answer.stderr);
    write_pytorch(folder.path(), Dtype::F32, |theta, _| theta[0][3] = f64::NAN);
    let answer = compare(folder.path(), &["--tolerance", "1e6"]);
    assert_eq!(answer.code, Some(1));
    assert!(
        answer
            .stderr
            .contains("up to NaN of a weight beyond what rounding explains (0.weight, after step 1)"),
        "{}",
        answer.stderr
    );
}

#[test]
fn the_script_is_pytorch() {
    let folder = TempDir::new().unwrap();
    export(folder.path());
    let script = fs::read_to_string(folder.path().join("train.py")).unwrap();
    for part in [
        "    nn.Conv2d(1, 3, (3, 3), stride=(2, 2), padding=(0, 0), bias=True),\n    nn.ReLU(),\n",
        "    nn.Flatten(),\n    nn.Linear(108, 10, bias=True),\n)\n",
        "optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9, nesterov=False, weight_decay=0.0)",
        "criterion = nn.CrossEntropyLoss(label_smoothing=0.0)",
    ] {
        assert!(script.contains(part), "{part} is missing in {script}");
    }
}

#[test]
fn what_is_missing_is_named_with_the_command_that_makes_it() {
    let folder = TempDir::new().unwrap();
    let answer = compare(folder.path(), &[]);
    assert_eq!(answer.code, Some(1));
    assert!(answer.stderr.contains("byhand parity export"), "{}", answer.stderr);

    export(folder.path());
    let answer = compare(folder.path(), &[]);
    assert_eq!(answer.code, Some(1));
    for part in ["pytorch.safetensors", "python3 ", "train.py", "pip install"] {
        assert!(answer.stderr.contains(part), "{part}: {}", answer.stderr);
    }

    // Another network's file, and then no file at all of an earlier bundle.
    write_pytorch(folder.path(), Dtype::F32, |theta, losses| {
        theta.pop();
        losses.pop();
    });
    let answer = compare(folder.path(), &[]);
    assert_eq!(answer.code, Some(1));
    assert!(
        answer.stderr.contains("loss: expected F32 or F64 of [4], found F64 of [3]"),
        "{}",
        answer.stderr
    );
    export(folder.path());
    assert!(!folder.path().join("pytorch.safetensors").exists());

    fs::write(folder.path().join("bundle.safetensors"), b"no bundle").unwrap();
    let answer = compare(folder.path(), &[]);
    assert_eq!(answer.code, Some(1));
    assert!(answer.stderr.contains("is not what `byhand parity export` writes"), "{}", answer.stderr);
}

#[test]
fn random_layers_are_wrong_usage() {
    let folder = TempDir::new().unwrap();
    let options = ["parity", "export", "--data", "digits", "--train-limit", "20", "--batch-size", "20"];
    let mut command = Command::cargo_bin("byhand").unwrap();
    let output = command.args(options).args(["--layers", "dropout(0.5) dense(10)"]).arg(folder.path());
    assert_eq!(output.output().unwrap().status.code(), Some(2));
}

fn export(folder: &Path) {
    export_as(folder, LAYERS, SGD);
}

fn export_as(folder: &Path, layers: &str, optimizer: &str) {
    let (steps, batch) = (STEPS.to_string(), BATCH.to_string());
    let mut command = Command::cargo_bin("byhand").unwrap();
    command.args(["parity", "export", "--layers", layers, "--data", "digits", "--train-limit", "50"]);
    command.args(["--steps", &steps, "--batch-size", &batch, "--optimizer", optimizer, "--quiet"]);
    let output = command.arg(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn compare(folder: &Path, options: &[&str]) -> Answer {
    let mut command = Command::cargo_bin("byhand").unwrap();
    let output = command.args(["parity", "compare", "--json"]).arg(folder).args(options).output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    Answer {
        events: stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
        code: output.status.code(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn network(layers: &str) -> Network<f32> {
    layers.parse::<Spec>().unwrap().build(Shape::new(1, 28, 28)).unwrap()
}

fn floats(bundle: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    let words = bundle.tensor(name).unwrap().data().chunks_exact(4);
    words.map(|word| f32::from_le_bytes(word.try_into().unwrap())).collect()
}

/// The steps of the bundle, done here: the loss of each, and all weights after each.
fn train(folder: &Path) -> (Vec<f64>, Vec<Vec<f32>>) {
    train_as(folder, LAYERS, SGD)
}

fn train_as(folder: &Path, layers: &str, optimizer: &str) -> (Vec<f64>, Vec<Vec<f32>>) {
    let bytes = fs::read(folder.join("bundle.safetensors")).unwrap();
    let bundle = SafeTensors::deserialize(&bytes).unwrap();
    let floats = |name: &str| floats(&bundle, name);
    let integers = |name: &str| -> Vec<usize> {
        let words = bundle.tensor(name).unwrap().data().chunks_exact(8);
        words.map(|word| i64::from_le_bytes(word.try_into().unwrap()) as usize).collect()
    };
    let (labels, order) = (integers("labels"), integers("order"));
    assert_eq!(bundle.tensor("order").unwrap().shape(), [STEPS, BATCH]);
    // Four minibatches of 20 of 50 images: the second epoch sees images of the first again.
    assert!(labels.len() <= 50 && order.iter().all(|&row| row < labels.len()));
    let x = Array2::from_shape_vec((labels.len(), 784), floats("x")).unwrap();
    let network = network(layers);
    let theta: Vec<f32> = network.params().iter().flat_map(|param| floats(&param.name)).collect();
    let config =
        StepConfig { optimizer: optimizer.parse().unwrap(), batch_size: BATCH, ..StepConfig::default() };
    let mut trainer = Trainer::new(&network, theta, config).unwrap();
    let steps = order.chunks_exact(BATCH).map(|rows| {
        let labels: Vec<u16> = rows.iter().map(|&row| labels[row] as u16).collect();
        let x = x.select(Axis(0), rows);
        let stats = trainer.step(0.05, &Rows::new(x.view(), &labels)).unwrap();
        (stats.loss, trainer.theta().to_vec())
    });
    steps.unzip()
}

/// Writes what `train.py` would, changed by `change` (weights a step, losses).
fn write_pytorch(folder: &Path, dtype: Dtype, change: impl FnOnce(&mut Vec<Vec<f64>>, &mut Vec<f64>)) {
    write_pytorch_as(folder, LAYERS, SGD, dtype, change);
}

fn write_pytorch_as(
    folder: &Path,
    layers: &str,
    optimizer: &str,
    dtype: Dtype,
    change: impl FnOnce(&mut Vec<Vec<f64>>, &mut Vec<f64>),
) {
    let (mut losses, theta) = train_as(folder, layers, optimizer);
    let mut theta: Vec<Vec<f64>> =
        theta.iter().map(|step| step.iter().map(|&value| f64::from(value)).collect()).collect();
    change(&mut theta, &mut losses);
    let double =
        |values: &[f64]| -> Vec<u8> { values.iter().flat_map(|value| value.to_le_bytes()).collect() };
    let tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = network(layers)
        .params()
        .iter()
        .map(|param| {
            let values: Vec<f64> = theta.iter().flat_map(|step| step[param.range.clone()].to_vec()).collect();
            let bytes = match dtype {
                Dtype::F64 => double(&values),
                _ => values.iter().flat_map(|&value| (value as f32).to_le_bytes()).collect(),
            };
            let shape = [theta.len()].into_iter().chain(param.shape.iter().copied()).collect();
            (param.name.clone(), dtype, shape, bytes)
        })
        .chain([("loss".to_string(), Dtype::F64, vec![losses.len()], double(&losses))])
        .collect();
    let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
        (name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    let metadata = [("torch".to_string(), "a test".to_string())].into_iter().collect();
    fs::write(folder.join("pytorch.safetensors"), serialize(views, Some(metadata)).unwrap()).unwrap();
}
