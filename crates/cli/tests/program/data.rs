//! Data from outside: names of classes, files that are not what they should be, labels and images of other habits, splits,
//! and that the doctor says what training says.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use assert_cmd::Command;
use flate2::{Compression, write::GzEncoder};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::byhand;

/// Exit code, stdout, stderr.
fn run(command: &mut Command) -> (Option<i32>, String, String) {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(!err.contains("panicked"), "{err}");
    (output.status.code(), out, err)
}

/// The result of a command that succeeds, and what it said on stderr.
#[track_caller]
fn result(command: &mut Command) -> (Value, String) {
    let (code, out, err) = run(command);
    assert_eq!(code, Some(0), "{err}");
    (serde_json::from_str(out.lines().last().unwrap()).unwrap(), err)
}

fn idx(code: u8, dims: &[usize], data: &[u8]) -> Vec<u8> {
    let mut file = vec![0, 0, code, dims.len() as u8];
    file.extend(dims.iter().flat_map(|&dim| (dim as u32).to_be_bytes()));
    file.extend(data);
    file
}

/// The picture of class `k`: a bar in row `k`, or with `lying` in column `k`.
fn bar(k: u8, (h, w): (usize, usize), lying: bool) -> Vec<u8> {
    (0..h * w).map(|p| if usize::from(k) == (if lying { p % w } else { p / w }) { 230 } else { 0 }).collect()
}

/// Four files of one's own data, named by `part` and `kind`.
struct Own {
    folder: TempDir,
    name: fn(&str, &str) -> String,
}

impl Own {
    /// Labels `0, 1, ...` of `classes` classes in turn, 20 of each, for training and testing; images of 12x12.
    fn bars(classes: u8) -> Own {
        let labels: Vec<u8> = (0..20 * u32::from(classes)).map(|k| (k % u32::from(classes)) as u8).collect();
        Own::of(&labels, (12, 12), false)
    }

    fn of(labels: &[u8], size: (usize, usize), lying: bool) -> Own {
        let own = Own { folder: TempDir::new().unwrap(), name: |part, kind| format!("{part}-{kind}-ubyte") };
        for part in ["train", "t10k"] {
            own.put_images(part, labels, size, lying);
            own.put(part, "labels-idx1", &idx(8, &[labels.len()], labels));
        }
        own
    }

    fn put_images(&self, part: &str, labels: &[u8], (h, w): (usize, usize), lying: bool) {
        let pixels: Vec<u8> = labels.iter().flat_map(|&k| bar(k, (h, w), lying)).collect();
        self.put(part, "images-idx3", &idx(8, &[labels.len(), h, w], &pixels));
    }

    fn put(&self, part: &str, kind: &str, bytes: &[u8]) {
        fs::write(self.path().join((self.name)(part, kind)), bytes).unwrap();
    }

    fn classes(&self, names: &str) {
        fs::write(self.path().join("classes.txt"), names).unwrap();
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn out(&self, run: &str) -> PathBuf {
        self.path().join(run)
    }

    fn train(&self, run: &str, options: &[&str]) -> Command {
        let mut command = byhand(&["train", "--preset", "mlp", "--json", "--quiet", "--data"]);
        command.arg(self.path()).arg("--out").arg(self.out(run)).args(options);
        command
    }

    /// Training refuses with `words` in one line, and the doctor gives the same reason.
    #[track_caller]
    fn refused(&self, options: &[&str], words: &[&str]) {
        let (code, _, err) = run(&mut self.train("refused", options));
        assert_eq!((code, err.lines().count()), (Some(1), 1), "{err}");
        for word in words {
            assert!(err.contains(word), "'{word}' is missing in: {err}");
        }
        let reason = err.trim().split_once("cannot load the data '").unwrap().1.split_once("': ").unwrap().1;
        let mut doctor = byhand(&["data", "doctor"]);
        let (code, out, _) = run(doctor.args(options).arg(self.path()));
        assert_eq!(code, Some(1), "{out}");
        assert!(
            out.contains(&format!("problem: {reason}\n")),
            "{reason}\nis not what the doctor says:\n{out}"
        );
    }

    /// The doctor finds nothing wrong, and training goes through; what both say.
    #[track_caller]
    fn accepted(&self, options: &[&str]) -> (Value, String) {
        let mut doctor = byhand(&["data", "doctor"]);
        let (code, out, err) = run(doctor.args(options).arg(self.path()));
        assert_eq!(code, Some(0), "{out}{err}");
        assert!(out.ends_with("nothing wrong\n"), "{out}");
        let mut train = self.train("accepted", &[options, &["--epochs", "1"]].concat());
        let (result, said) = result(&mut train);
        fs::remove_dir_all(self.out("accepted")).unwrap();
        for line in said.lines() {
            assert!(out.contains(&format!("note: {line}")), "{line}\nis not what the doctor says:\n{out}");
        }
        (result, said)
    }
}

#[test]
fn names_of_classes() {
    let own = Own::bars(3);
    let refused = |names: &str, words: &[&str]| {
        own.classes(names);
        own.refused(&[], words);
    };
    refused("A\nB\nA\n", &["classes.txt, line 3", "expected a name of its own", "found \"A\"", "line 1"]);
    refused("A\n\nC\n", &["classes.txt, line 2", "expected the name of a class", "found an empty line"]);
    refused("A\nB\n", &["classes.txt, line 2", "expected 3 names", "label from 0 to 2", "found 2 names"]);
    refused("A\nB\nC\nD\n", &["classes.txt, line 4", "expected 3 names", "found 4 names", "\"D\""]);
    refused("", &["classes.txt, line 1", "found an empty file"]);
    own.classes("A\nB\nC\n");
    assert_eq!(own.accepted(&[]).1, "");
    // Without names there are ten classes; that seven of them have no image is said.
    fs::remove_file(own.path().join("classes.txt")).unwrap();
    let (_, said) = own.accepted(&[]);
    let missing = "no image of 3, 4, 5, 6, 7, 8, 9 for";
    assert_eq!(said.trim(), format!("classes are missing: {missing} training; {missing} testing"));
}

/// All that a byte can label, and more.
#[test]
fn as_many_classes_as_a_byte_has_and_more() {
    let labels: Vec<u8> = (0..=255).collect();
    let own = Own::of(&labels, (256, 2), false);
    own.classes(&(0..256).map(|k| format!("class {k}\n")).collect::<String>());
    let (trained, said) = own.accepted(&[]);
    assert_eq!((said.as_str(), &trained["train_images"]), ("", &256.into()));
    own.classes(&(0..257).map(|k| format!("class {k}\n")).collect::<String>());
    own.refused(&[], &["classes.txt, line 257", "expected 256 names", "found 257 names, here \"class 256\""]);

    let labels: Vec<u8> = (0..257u32).flat_map(u32::to_be_bytes).collect();
    for part in ["train", "t10k"] {
        own.put(part, "images-idx3", &idx(8, &[257, 2, 2], &[9; 4 * 257]));
        own.put(part, "labels-idx1", &idx(0x0c, &[257], &labels));
    }
    let (trained, said) = own.accepted(&[]);
    assert_eq!(trained["train_images"], 257);
    assert!(said.lines().all(|line| line.contains("labels are 32-bit whole numbers")), "{said}");
}

#[test]
fn files_that_are_not_the_published_ones_are_called_so() {
    let own = Own::bars(10);
    for (data, folder) in [("mnist", "BYHAND_DATA"), ("fashion-mnist", "--data-dir")] {
        let mut command = byhand(&["train-mlp", "--epochs", "1", "--json", "--quiet", "--data", data]);
        match folder {
            "BYHAND_DATA" => command.env("BYHAND_DATA", own.path()),
            option => command.arg(option).arg(own.path()),
        };
        let (found, said) = result(command.current_dir(own.path()));
        assert_eq!(found["data"], format!("{data} (unverified)"));
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains("not known as the published files of "), "{said}");
        // The run is named by the data, not by the doubt.
        assert_eq!(found["out"], format!("runs/mlp-{data}-seed0"));
    }
}

/// Sorted by class, as many people's own data are: every class is trained, validated and tested all the same.
#[test]
fn data_sorted_by_class() {
    let labels: Vec<u8> = (0..200).map(|k| (k / 20) as u8).collect();
    let own = Own::of(&labels, (12, 12), false);
    let options = ["--epochs", "30", "--train-limit", "150", "--test-limit", "50", "--validation", "30"];
    let train = |run: &str, more: &[&str]| result(&mut own.train(run, &[&options[..], more].concat()));
    let (stratified, said) = train("stratified", &[]);
    assert_eq!(said, "");
    assert_eq!((&stratified["train_images"], &stratified["test_accuracy"]), (&120.into(), &1.0.into()));
    let validated = |run: &str| {
        let history = fs::read_to_string(own.out(run).join("history.jsonl")).unwrap();
        let last: Value = serde_json::from_str(history.lines().last().unwrap()).unwrap();
        last["validation_accuracy"].as_f64().unwrap()
    };
    assert_eq!(validated("stratified"), 1.0);

    // By place, as before, with a word about what is missing.
    let (_, said) = train("range", &["--split", "range"]);
    assert_eq!(validated("range"), 0.0, "of classes that were never trained");
    assert_eq!(
        said.trim(),
        "classes are missing: no image of 6, 7, 8, 9 for training; no image of 3, 4, 5, 6, 7, 8, 9 for testing; \
         no image of 0, 1, 2, 3, 4, 5, 8, 9 for validation"
    );

    // The configuration repeats it. (Another seed of the split takes other images of a class, which here are all alike.)
    let weights = |found: &Value| found["weights_sha256"].clone();
    let mut again = byhand(&["train", "--json", "--quiet", "--config"]);
    again.arg(own.out("stratified").join("config.toml")).arg("--out").arg(own.out("again"));
    assert_eq!(weights(&result(&mut again).0), weights(&stratified));
    // Without limits there is nothing to choose.
    let whole = |split: &str| {
        weights(&result(&mut own.train(&format!("whole-{split}"), &["--epochs", "1", "--split", split])).0)
    };
    assert_eq!(whole("range"), whole("stratified"));
}

#[test]
fn the_doctor_says_what_training_says() {
    let spoilt = |part: &str, kind: &str, bytes: &[u8], words: &[&str]| {
        let own = Own::bars(10);
        own.put(part, kind, bytes);
        own.refused(&[], words);
    };
    let small = idx(8, &[200, 6, 6], &[0; 200 * 36]);
    spoilt(
        "t10k",
        "images-idx3",
        &idx(8, &[0, 12, 12], &[]),
        &["t10k-images", "at least one image", "0x12x12"],
    );
    spoilt("t10k", "images-idx3", &small, &["t10k-images", "12x12 like those for training", "6x6"]);
    spoilt(
        "train",
        "labels-idx1",
        &idx(8, &[199], &[0; 199]),
        &["train-labels", "expected 200 labels", "found 199"],
    );
    spoilt(
        "train",
        "images-idx3",
        &idx(8, &[200, 12, 12], &[0; 99]),
        &["train-images", "28816 bytes", "end of the file"],
    );
    spoilt("train", "images-idx3", b"", &["train-images", "empty file"]);
    spoilt(
        "train",
        "images-idx3",
        b"<!doctype html><title>404</title>",
        &["train-images", "web page (HTML)"],
    );
    spoilt(
        "t10k",
        "labels-idx1",
        b"version https://git-lfs.github.com/spec/v1\n",
        &["t10k-labels", "git lfs pull"],
    );
    spoilt("train", "images-idx3", b"PK\x03\x04....", &["zip", "unpack"]);
    spoilt("train", "images-idx3", b"\x89PNG\r\n\x1a\n", &["PNG"]);
    spoilt("train", "images-idx3", b"\x93NUMPY\x01\0", &["NumPy"]);
    spoilt(
        "train",
        "images-idx3",
        &idx(8, &[200, 12, 12, 3], &[0; 99]),
        &["number x 3 x rows x columns", "200x12x12x3"],
    );
    spoilt(
        "train",
        "images-idx3",
        &idx(0x0d, &[200, 12, 12], &[0; 99]),
        &["32-bit floating-point", "unsigned bytes"],
    );
    spoilt("train", "images-idx3", &idx(0x0b, &[200, 12, 12], &[0; 99]), &["16-bit whole", "unsigned bytes"]);
    spoilt(
        "train",
        "labels-idx1",
        &idx(8, &[200, 10], &[0; 2000]),
        &["one label an image", "200x10", "one-hot"],
    );
    spoilt(
        "train",
        "labels-idx1",
        &idx(8, &[200], &[10; 200]),
        &["from 0 to 9", "found 10", "labels run from 0 to 10", "classes.txt", "--first-label 0"],
    );

    let own = Own::bars(10);
    fs::remove_file(own.path().join("t10k-images-idx3-ubyte")).unwrap();
    own.refused(&[], &["t10k-images-idx3-ubyte (or with .gz) not found"]);
    fs::create_dir(own.path().join("t10k-images-idx3-ubyte")).unwrap();
    own.refused(&[], &["t10k-images-idx3-ubyte: expected a file, found a folder"]);

    // A file where the folder belongs is wrong usage.
    let file = own.path().join("train-images-idx3-ubyte");
    for option in ["--data", "--data-dir"] {
        let (code, _, err) = run(byhand(&["train-mlp", option]).arg(&file));
        assert_eq!((code, err.lines().count()), (Some(2), 1), "{err}");
        assert!(
            err.contains("train-images-idx3-ubyte") && err.contains("file") && err.contains("folder"),
            "{err}"
        );
    }
}

/// As QMNIST writes it: a prefix, `test`, eight columns of 32-bit numbers.
#[test]
fn qmnist_is_read() {
    let mut own = Own::bars(10);
    let names = ["train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"];
    for name in names {
        let to = format!("qmnist-{}-ubyte", name.replace("t10k", "test"));
        fs::rename(own.path().join(format!("{name}-ubyte")), own.path().join(to)).unwrap();
    }
    own.accepted(&[]);
    own.name = |part, kind| format!("qmnist-{part}-{kind}-int");
    for part in ["train", "test"] {
        fs::remove_file(own.path().join(format!("qmnist-{part}-labels-idx1-ubyte"))).unwrap();
        let rows = (0..200).flat_map(|k: i32| [k % 10, 4, 0, k, 11, 0, 0, 2]).flat_map(i32::to_be_bytes);
        own.put(part, "labels-idx2", &idx(0x0c, &[200, 8], &rows.collect::<Vec<u8>>()));
    }
    let (_, said) = own.accepted(&[]);
    assert_eq!(said.matches("the first of 8 columns is the label, as in QMNIST").count(), 2, "{said}");
    let (found, _) = result(&mut own.train("long", &["--epochs", "30"]));
    assert_eq!(found["test_accuracy"], 1.0);
}

/// As EMNIST writes its letters: labels from 1, rows and columns exchanged.
#[test]
fn emnist_is_read() {
    let labels: Vec<u8> = (0..260).map(|k| (k % 26) as u8).collect();
    let letters = ('a'..='z').map(|letter| format!("{letter}\n")).collect::<String>();
    let upright = Own::of(&labels, (28, 30), false);
    upright.classes(&letters);
    // The same, as a folder of EMNIST has it.
    let emnist = Own {
        folder: TempDir::new().unwrap(),
        name: |part, kind| format!("emnist-letters-{part}-{kind}-ubyte"),
    };
    for part in ["train", "test"] {
        emnist.put_images(part, &labels, (30, 28), true);
        let from_1: Vec<u8> = labels.iter().map(|label| label + 1).collect();
        emnist.put(part, "labels-idx1", &idx(8, &[260], &from_1));
    }
    emnist.refused(&[], &["from 0 to 9", "labels run from 1 to 26", "classes.txt", "--first-label 1"]);
    emnist.classes(&letters);
    emnist.refused(
        &[],
        &["emnist-letters-train-labels-idx1-ubyte", "from 0 to 25", "found 26", "give --first-label 1"],
    );
    let (_, said) = emnist.accepted(&["--first-label", "1"]);
    assert!(said.contains("--transpose") && said.lines().count() == 1, "{said}");

    let (wanted, _) = result(&mut upright.train("run", &["--epochs", "12"]));
    let options = ["--epochs", "12", "--first-label", "1", "--transpose"];
    let (found, said) = result(&mut emnist.train("run", &options));
    assert_eq!((said.as_str(), &found["weights_sha256"]), ("", &wanted["weights_sha256"]));
    // Both are part of the run: it repeats, and is evaluated on the same images.
    let mut again = byhand(&["train", "--json", "--quiet", "--config"]);
    again.arg(emnist.out("run").join("config.toml")).arg("--out").arg(emnist.out("again"));
    assert_eq!(result(&mut again).0["weights_sha256"], wanted["weights_sha256"]);
    let (evaluated, _) = result(byhand(&["evaluate", "--json"]).arg(emnist.out("run")));
    assert_eq!(evaluated["accuracy"], found["test_accuracy"]);
    let preview = |own: &Own, options: &[&str]| {
        let (code, out, err) =
            run(byhand(&["data", "preview", "--count", "3"]).args(options).arg(own.path()));
        assert_eq!(code, Some(0), "{err}");
        out
    };
    assert_eq!(preview(&emnist, &["--first-label", "1", "--transpose"]), preview(&upright, &[]));
    // The digits that the program draws are as they should be.
    let (code, _, err) = run(&mut byhand(&["train-mlp", "--data", "digits", "--transpose"]));
    assert_eq!((code, err.lines().count()), (Some(2), 1), "{err}");
    assert!(err.contains("--transpose"), "{err}");
}

#[test]
fn gzip_around_gzip_is_read() {
    let own = Own::bars(10);
    let path = own.path().join("train-images-idx3-ubyte");
    let mut bytes = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    for _ in 0..2 {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&bytes).unwrap();
        bytes = encoder.finish().unwrap();
    }
    fs::write(own.path().join("train-images-idx3-ubyte.gz"), bytes).unwrap();
    own.accepted(&[]);
}

/// A folder may be called anything that the file system allows, and a run remembers it.
#[test]
#[cfg(target_os = "linux")]
fn a_folder_whose_name_is_not_utf_8() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

    let own = Own::bars(10);
    let outer = TempDir::new().unwrap();
    let odd = outer.path().join(OsStr::from_bytes(b"n\xff%41"));
    fs::create_dir(&odd).unwrap();
    for entry in fs::read_dir(own.path()).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, odd.join(path.file_name().unwrap())).unwrap();
    }
    let train = |how: &str| {
        let run = own.out(how);
        let mut command =
            byhand(&["train", "--preset", "mlp", "--epochs", "1", "--json", "--quiet", "--out"]);
        command.arg(&run);
        match how {
            "--data" => command.arg(how).arg(&odd),
            "--data-dir" => command.args(["--data", "mnist", how]).arg(&odd),
            environment => command.args(["--data", "mnist"]).env(environment, &odd),
        };
        let (found, _) = result(&mut command);
        if how != "BYHAND_DATA" {
            let mut again = byhand(&["train", "--json", "--quiet", "--config"]);
            let again = result(again.arg(run.join("config.toml")).arg("--out").arg(own.out("again"))).0;
            assert_eq!(again["weights_sha256"], found["weights_sha256"], "{how}");
        }
        found["weights_sha256"].clone()
    };
    let wanted = result(&mut own.train("plain", &["--epochs", "1"])).0["weights_sha256"].clone();
    for how in ["--data", "--data-dir", "BYHAND_DATA"] {
        assert_eq!(train(how), wanted, "{how}");
    }
    let (found, _) = result(byhand(&["data", "doctor", "--json"]).arg(&odd));
    assert_eq!(found["problems"], 0);
    assert_eq!(run(byhand(&["data", "preview", "--json"]).arg(&odd)).0, Some(0));
    let evaluated = result(byhand(&["evaluate", "--json"]).arg(own.out("--data"))).0;
    assert_eq!(evaluated["samples"], 200);
}

/// The same data wherever the command is given.
#[test]
fn a_relative_folder_is_remembered_as_a_whole_path() {
    let own = Own::bars(10);
    let outer = own.path().parent().unwrap();
    let name = own.path().file_name().unwrap();
    let mut command = byhand(&["train", "--preset", "mlp", "--epochs", "1", "--json", "--quiet", "--data"]);
    let (found, _) = result(command.arg(name).arg("--out").arg(own.out("run")).current_dir(outer));
    let elsewhere = TempDir::new().unwrap();
    let mut again = byhand(&["train", "--json", "--quiet", "--config"]);
    again.arg(own.out("run").join("config.toml")).arg("--out").arg(own.out("again"));
    let (again, _) = result(again.current_dir(&elsewhere));
    assert_eq!(again["weights_sha256"], found["weights_sha256"]);
    let (evaluated, _) = result(byhand(&["evaluate", "--json"]).arg(own.out("run")).current_dir(&elsewhere));
    assert_eq!(evaluated["samples"], 200);
}
