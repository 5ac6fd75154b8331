//! Bad input of every kind: one line that names the thing, the place, what was expected and what was found; the
//! documented exit code; no panic.

use std::{
    fs::{self, File},
    io::Write,
};

use assert_cmd::Command;
use byhand_datasets::Preprocessing;
use byhand_layers::Shape;
use byhand_models::Model;
use flate2::{Compression, write::GzEncoder};
use tempfile::TempDir;

use crate::support::byhand;

const IMAGES: &str = "train-images-idx3-ubyte";
const LABELS: &str = "train-labels-idx1-ubyte";

/// Runs, and holds that it fails as documented with all `words` in its one line.
#[track_caller]
fn fails(command: &mut Command, code: i32, words: &[&str]) {
    let output = command.output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{told}");
    let lines: Vec<&str> = told.lines().collect();
    let is_error =
        matches!(lines[..], [error] if error.starts_with("error: ")) || is_shown_with_carets(&lines);
    assert!(is_error && !told.contains("panicked"), "{told}");
    for word in words {
        assert!(told.contains(word), "'{word}' is missing in: {told}");
    }
}

/// A wrong layer spec, the place of the mistake, and the error.
fn is_shown_with_carets(lines: &[&str]) -> bool {
    let is_place = |line: &str| line.contains('^') && line.chars().all(|c| " ^".contains(c));
    matches!(lines, [_, place, error] if is_place(place) && error.starts_with("error: "))
}

/// A folder with four good files of ten images each, one of which is then replaced.
struct Folder(TempDir);

impl Folder {
    fn good() -> Self {
        let folder = Self(TempDir::new().unwrap());
        for part in ["train", "t10k"] {
            folder.write(&format!("{part}-images-idx3-ubyte"), &images(10));
            folder.write(&format!("{part}-labels-idx1-ubyte"), &labels(10));
        }
        folder
    }

    fn with(file: &str, bytes: &[u8]) -> Self {
        let folder = Self::good();
        folder.write(file, bytes);
        folder
    }

    fn write(&self, file: &str, bytes: &[u8]) {
        fs::write(self.0.path().join(file), bytes).unwrap();
    }

    fn train(&self) -> Command {
        let mut command = byhand(&[]);
        command.args(["train", "--layers", "dense(10)", "--data"]).arg(self.0.path());
        command.arg("--out").arg(self.0.path().join("run"));
        command
    }
}

fn header(code: u8, dims: &[u32]) -> Vec<u8> {
    let mut bytes = vec![0, 0, code, dims.len() as u8];
    bytes.extend(dims.iter().flat_map(|dim| dim.to_be_bytes()));
    bytes
}

fn images(n: u32) -> Vec<u8> {
    let pixels = (0..n * 784).map(|i| (i * 31 % 251) as u8);
    header(8, &[n, 28, 28]).into_iter().chain(pixels).collect()
}

fn labels(n: u32) -> Vec<u8> {
    header(8, &[n]).into_iter().chain((0..n).map(|i| (i % 10) as u8)).collect()
}

#[test]
fn the_good_folder_trains() {
    let output = Folder::good().train().output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn truncated_file() {
    fails(&mut Folder::with(IMAGES, &images(10)[..5000]).train(), 1, &[IMAGES, "7856", "5000"]);
}

#[test]
fn wrong_magic() {
    let mut bytes = images(10);
    bytes[0] = 7;
    fails(&mut Folder::with(IMAGES, &bytes).train(), 1, &[IMAGES, "expected", "found"]);
}

#[test]
fn labels_and_images_swapped() {
    let folder = Folder::with(IMAGES, &labels(10));
    folder.write(LABELS, &images(10));
    fails(&mut folder.train(), 1, &[IMAGES, "label", "images"]);
}

#[test]
fn dimensions_whose_product_overflows() {
    let bytes = header(8, &[u32::MAX, u32::MAX, u32::MAX]);
    fails(&mut Folder::with(IMAGES, &bytes).train(), 1, &[IMAGES, "4294967295"]);
}

#[test]
fn fifteen_byte_file() {
    fails(&mut Folder::with(IMAGES, &images(10)[..15]).train(), 1, &[IMAGES, "15"]);
}

#[test]
fn label_out_of_range() {
    let mut bytes = labels(10);
    bytes[8 + 3] = 10;
    fails(&mut Folder::with(LABELS, &bytes).train(), 1, &[LABELS, "11", "10"]);
}

/// Unpacked it would be 600 MB; the process may not have half of that.
#[test]
#[cfg(target_os = "linux")]
fn gzip_bomb() {
    let folder = Folder::good();
    fs::remove_file(folder.0.path().join(IMAGES)).unwrap();
    let file = File::create(folder.0.path().join(format!("{IMAGES}.gz"))).unwrap();
    let mut bomb = GzEncoder::new(file, Compression::fast());
    bomb.write_all(&images(10)).unwrap();
    let zeros = vec![0; 1 << 20];
    (0..600).for_each(|_| bomb.write_all(&zeros).unwrap());
    bomb.finish().unwrap();
    let mut limited = Command::new("sh");
    limited.env_remove("BYHAND_DATA").args(["-c", "ulimit -v 300000; exec \"$@\"", "sh"]);
    let command = folder.train();
    limited.arg(command.get_program()).args(command.get_args());
    fails(&mut limited, 1, &[IMAGES, "expected", "found"]);
}

#[test]
fn spec_with_a_typo() {
    fails(byhand(&[]).args(["train", "--layers", "conv(8,5) rellu dense(10)"]), 2, &["rellu", "relu", "10"]);
}

#[test]
fn a_wrong_spec_is_shown_with_carets_by_every_command_that_takes_one() {
    let folder = TempDir::new().unwrap();
    let bundle = folder.path().join("bundle");
    let export = ["parity", "export", bundle.to_str().unwrap(), "--data", "digits", "--train-limit", "50"];
    for command in [&["train"][..], &["train-cnn"], &["summary"], &["throughput"], &export] {
        for (spec, place) in [
            ("conv(8,5) rellu dense(10)", "          ^^^^^"),
            ("relu pool(29) dense(10)", "     ^^^^^^^^"),
            ("conv(8,5", "^^^^^^^^"),
        ] {
            let output = byhand(&[]).args(command).args(["--layers", spec]).output().unwrap();
            let told = String::from_utf8(output.stderr).unwrap();
            assert!(told.contains(&format!("{spec}\n{place}\nerror: ")), "{command:?}: {told}");
            assert_eq!(output.status.code(), Some(2), "{told}");
        }
    }
}

#[test]
fn pool_larger_than_its_input() {
    fails(byhand(&[]).args(["train", "--layers", "pool(29) dense(10)"]), 2, &["pool(29)", "28"]);
}

#[test]
fn a_last_layer_of_another_width() {
    fails(byhand(&[]).args(["train", "--layers", "dense(7)"]), 2, &["dense(7)", "expected 10", "found 7"]);
}

#[test]
fn batch_size_zero() {
    fails(
        byhand(&[]).args(["train-cnn", "--batch-size", "0"]),
        2,
        &["--batch-size", "at least 1", "found 0"],
    );
}

#[test]
fn numbers_below_zero() {
    fails(byhand(&[]).args(["train-cnn", "--epochs", "-1"]), 2, &["--epochs", "at least 1", "found -1"]);
    fails(byhand(&[]).args(["train-cnn", "--lr", "-1"]), 2, &["--lr", "above 0", "found -1"]);
    fails(byhand(&[]).args(["train-cnn", "--seed", "-1"]), 2, &["--seed", "-1"]);
}

#[test]
fn unknown_model() {
    fails(byhand(&[]).args(["train", "--preset", "lennet"]), 2, &["lennet", "lenet"]);
}

#[test]
fn unknown_option() {
    fails(byhand(&[]).args(["train-cnn", "--epoch", "3"]), 2, &["--epoch", "--epochs"]);
}

#[test]
fn nothing_to_train() {
    fails(byhand(&[]).arg("train"), 2, &["--layers", "--preset", "--config"]);
}

#[test]
fn learning_rate_zero() {
    fails(byhand(&[]).args(["train-cnn", "--lr", "0"]), 2, &["--lr", "0"]);
}

#[test]
fn unknown_optimizer() {
    fails(byhand(&[]).args(["train-cnn", "--optimizer", "adamm"]), 2, &["adamm", "adam"]);
}

#[test]
fn run_folder_that_cannot_be_written() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "in the way").unwrap();
    let out = file.join("run");
    let words = [out.to_str().unwrap(), "cannot write"];
    fails(byhand(&[]).args(["train-cnn", "--data", "digits", "--out"]).arg(&out), 1, &words);
}

#[test]
fn configuration_with_an_unknown_key() {
    let folder = TempDir::new().unwrap();
    let config = folder.path().join("config.toml");
    fs::write(&config, "preset = \"mlp\"\nepoch = 3\n").unwrap();
    fails(
        byhand(&[]).args(["train", "--config"]).arg(&config),
        2,
        &["config.toml", "line 2", "epoch", "epochs"],
    );
}

#[test]
fn configuration_that_is_not_there() {
    fails(byhand(&[]).args(["train", "--config", "nowhere.toml"]), 2, &["nowhere.toml"]);
}

#[test]
fn folders_that_are_not_there() {
    fails(
        byhand(&[]).args(["train", "--preset", "dnn-14", "--data-dir", "nowhere"]),
        2,
        &["nowhere", "folder"],
    );
    fails(byhand(&[]).args(["speedrun", "--data-dir", "nowhere"]), 2, &["nowhere", "folder"]);
    fails(byhand(&[]).args(["data", "doctor", "nowhere"]), 2, &["nowhere", "a file or a folder"]);
    fails(byhand(&[]).args(["parity", "compare", "nowhere"]), 2, &["nowhere", "byhand parity export"]);
}

#[test]
fn resume_without_a_checkpoint() {
    fails(byhand(&[]).args(["train", "--resume", "nowhere"]), 2, &["nowhere", "checkpoint"]);
}

/// And the refused setting leaves no trace: the run goes on without it.
#[test]
fn resume_with_another_setting() {
    let folder = Folder::good();
    assert!(folder.train().output().unwrap().status.success());
    let run = folder.0.path().join("run");
    let config = fs::read(run.join("config.toml")).unwrap();
    let mut resume = byhand(&[]);
    resume.args(["train", "--lr", "0.5", "--quiet", "--resume"]).arg(&run);
    fails(&mut resume, 2, &["cannot resume", "--lr 0.5", "0.003"]);
    assert_eq!(fs::read(run.join("config.toml")).unwrap(), config);
}

#[test]
fn model_that_is_not_there() {
    fails(byhand(&[]).args(["evaluate", "nowhere"]), 2, &["nowhere", "model.safetensors"]);
}

#[test]
fn model_with_a_flipped_bit() {
    let folder = Folder::good();
    let run = folder.0.path().join("run");
    assert!(folder.train().output().unwrap().status.success());
    let model = run.join("model.safetensors");
    let mut bytes = fs::read(&model).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(&model, bytes).unwrap();
    fails(byhand(&[]).arg("evaluate").arg(&run), 1, &["model.safetensors", "expected", "found"]);
}

/// A small file may name a thousand activations of 16 MB each. The shell lets the program have 4 GB.
#[cfg(target_os = "linux")]
#[test]
fn model_whose_activations_no_memory_holds() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("model.safetensors");
    let model = Model {
        spec: format!("{} conv(1,1,stride=255) conv(1,1,stride=255) dense(2)", "relu ".repeat(990))
            .parse()
            .unwrap(),
        input: Shape::new(1, 2048, 2048),
        class_names: vec!["no".into(), "yes".into()],
        preprocessing: Preprocessing::default(),
        notes: Default::default(),
        theta: vec![0.5; 2 + 2 + 4],
    };
    model.save(&file).unwrap();
    let image = folder.path().join("image");
    fs::write(&image, images(1)).unwrap();
    for (command, data) in [("predict", image.to_str().unwrap()), ("evaluate", "--data=digits")] {
        let mut limited = Command::new("sh");
        limited
            .args(["-c", "ulimit -v 4000000; exec \"$0\" \"$@\""])
            .arg(assert_cmd::cargo::cargo_bin("byhand"));
        limited.arg(command).arg(&file).arg(data);
        fails(&mut limited, 2, &["model.safetensors", "memory", "needed", "free"]);
    }
}

#[test]
fn divergence_names_the_step_and_the_remedy() {
    let folder = Folder::good();
    let mut command = folder.train();
    command.args(["--quiet", "--optimizer", "sgd", "--schedule", "constant", "--lr", "1e39"]);
    command.args(["--batch-size", "1"]);
    fails(&mut command, 3, &["diverged", "step", "learning rate"]);
    assert!(!folder.0.path().join("run/model.safetensors").exists());
}

#[test]
fn errors_are_events_under_json() {
    let output = byhand(&[]).args(["train-cnn", "--batch-size", "0", "--json"]).output().unwrap();
    let event: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((event["event"].as_str(), event["code"].as_u64()), (Some("error"), Some(2)));
}

#[test]
fn an_instruction_set_that_is_not_there() {
    let mut command = byhand(&[]);
    command.env("BYHAND_ISA", "avx9").args(["summary", "mlp"]);
    fails(&mut command, 2, &["BYHAND_ISA", "avx9", "portable"]);
}
