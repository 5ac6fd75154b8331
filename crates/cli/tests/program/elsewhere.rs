//! What goes out to other programs and what comes in from them, from outside: `export`, `import`, pictures and tables as data.

use std::{
    fs::{self, File},
    path::Path,
    process::Command as Program,
};

use assert_cmd::Command;
use byhand_datasets::{
    Dataset,
    digits::{self, Part},
    idx,
};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{byhand, events_of, fails};

/// The last event of a command that succeeds.
#[track_caller]
fn result(command: &mut Command) -> Value {
    let output = command.arg("--json").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A small network of the built-in digits, trained into `folder/run`.
fn train(folder: &Path) -> Value {
    let layers = "conv(6,5,stride=2) relu pool(2) dense(10)";
    let run = folder.join("run");
    let words =
        ["train", "--layers", layers, "--data", "digits", "--train-limit", "3000", "--test-limit", "500"];
    result(byhand(&words).args(["--epochs", "3", "--out", text(&run)]))
}

#[test]
fn a_model_goes_out_and_comes_back() {
    let folder = TempDir::new().unwrap();
    let place = |name: &str| folder.path().join(name);
    let trained = train(folder.path());
    let run = place("run");

    let (onnx, c, rust, torch) = (place("net.onnx"), place("source/net.c"), place("net-rs"), place("torch"));
    let mut export = byhand(&["export", text(&run), "--onnx", text(&onnx), "--c", text(&c)]);
    let exported = result(export.args(["--rust", text(&rust), "--torch", text(&torch)]));
    assert_eq!(exported["weights_sha256"], trained["weights_sha256"]);
    let formats: Vec<&Value> =
        exported["written"].as_array().unwrap().iter().map(|one| &one["format"]).collect();
    assert_eq!(formats, ["onnx", "c", "rust", "torch"]);
    for file in [c.with_extension("h"), rust.join("Cargo.toml"), torch.join("model.safetensors")] {
        assert!(file.is_file(), "{}", file.display());
    }
    let script = fs::read_to_string(torch.join("model.py")).unwrap();
    assert!(
        script.contains("nn.Conv2d(1, 6, (5, 5), stride=(2, 2), padding=(0, 0), bias=True),"),
        "{script}"
    );

    // Into model files again: the same weights, and from our own ONNX file the same everything.
    let back = place("back.safetensors");
    let read = result(&mut byhand(&["import", text(&onnx), text(&back)]));
    assert_eq!(read["weights_sha256"], trained["weights_sha256"]);
    assert_eq!(read["layers"], "conv(6,5,stride=2) relu pool(2) flatten dense(10)");
    let evaluated = result(&mut byhand(&["evaluate", text(&back), "--data", "digits"]));
    let own = result(&mut byhand(&["evaluate", text(&run), "--data", "digits"]));
    assert_eq!((&evaluated["loss"], &evaluated["accuracy"]), (&own["loss"], &own["accuracy"]));
    let weights = text(&torch.join("model.safetensors")).to_string();
    let layers = "conv(6,5,stride=2) relu pool(2) dense(10)";
    let read = result(&mut byhand(&["import", &weights, text(&back), "--layers", layers]));
    assert_eq!(read["weights_sha256"], trained["weights_sha256"]);

    // The C program says of pictures what `predict` says.
    let pictures = place("pictures");
    let images = digits::generate(Part::Test, 20, 0);
    idx::write_images(File::create(&pictures).unwrap(), images.images()).unwrap();
    let logits = predicted(&mut byhand(&["predict", text(&run), text(&pictures)]));
    let program = place("net");
    let compile = ["-std=c99", "-O2", "-DNET_MAIN", text(&c), "-lm", "-o", text(&program)];
    if Program::new("cc").args(compile).status().is_ok_and(|status| status.success()) {
        let said = Program::new(&program).stdin(File::open(&pictures).unwrap()).output().unwrap();
        let said = String::from_utf8(said.stdout).unwrap();
        let numbers = |line: &str| line.split(' ').skip(1).map(|word| word.parse().unwrap()).collect();
        assert_eq!(said.lines().map(numbers).collect::<Vec<Vec<f32>>>(), logits);
    }

    // In whole numbers it is nearly as right.
    let exported = result(&mut byhand(&["export", text(&run), "--int8", "--c", text(&place("net8.c"))]));
    let accuracy = |name: &str| exported[name].as_f64().unwrap();
    assert!(accuracy("int8_accuracy") > accuracy("accuracy") - 0.01, "{exported}");
    assert!(accuracy("accuracy") > 0.6, "{exported}");

    fails(&mut byhand(&["export", text(&run)]), 2, &["--onnx"]);
    fails(&mut byhand(&["export", text(&run), "--onnx", text(&onnx), "--int8"]), 2, &["--c or --rust"]);
    fails(&mut byhand(&["export", text(&run), "--onnx", text(&onnx), "--opset", "9"]), 2, &["11..=22"]);
    fails(&mut byhand(&["export", text(&run), "--onnx", text(folder.path())]), 2, &["found a folder"]);
    fails(&mut byhand(&["export", text(&run), "--c", text(&place("1.c"))]), 2, &["begins with a letter"]);
    fails(&mut byhand(&["export", text(&run), "--c", text(&place("net.cpp"))]), 2, &["ends in .c"]);
    fails(&mut byhand(&["export", text(&run), "--rust", env!("CARGO_MANIFEST_DIR")]), 2, &["found a crate"]);
    fails(&mut byhand(&["import", text(&c), text(&back)]), 1, &["net.c: at byte "]);
    fails(&mut byhand(&["import", &weights, text(&back)]), 2, &["--layers"]);
    fails(&mut byhand(&["import", &weights, text(&back), "--layers", "dense(10)"]), 1, &["tensor 1.weight"]);
    fails(&mut byhand(&["import", text(&onnx), text(&back), "--names", "a,b"]), 2, &["10 names, found 2"]);
    fails(&mut byhand(&["import", text(&onnx), text(&back), "--mean", "0", "--std", "0"]), 2, &["above 0"]);
    fails(&mut byhand(&["import", "nowhere.onnx", text(&back)]), 2, &["found nothing there"]);
}

/// An image `[channels, h, w]`, grey or in colour.
fn write_png(path: &Path, image: ndarray::ArrayView3<'_, u8>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let (c, h, w) = image.dim();
    let mut encoder = png::Encoder::new(File::create(path).unwrap(), w as u32, h as u32);
    encoder.set_color(if c == 1 { png::ColorType::Grayscale } else { png::ColorType::Rgb });
    let pixels: Vec<u8> = image.permuted_axes([1, 2, 0]).iter().copied().collect();
    encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
}

/// Digits as pictures, in a folder for each class.
fn lay_out(folder: &Path, data: &Dataset) {
    for (index, &label) in data.labels().iter().enumerate() {
        write_png(&folder.join(format!("class {label}/{index:04}.png")), data.image(index));
    }
}

#[test]
fn a_folder_of_pictures_is_data() {
    let folder = TempDir::new().unwrap();
    let place = |name: &str| folder.path().join(name);
    let (train, test) = (digits::generate(Part::Train, 300, 0), digits::generate(Part::Test, 60, 0));
    lay_out(&place("digits/train"), &train);
    lay_out(&place("digits/test"), &test);
    fs::write(place("digits/train/class 0/notes.txt"), "not a picture").unwrap();
    let data = place("digits");

    let run = place("run");
    let mut command = byhand(&["train-mlp", "--data", text(&data), "--epochs", "2", "--out", text(&run)]);
    let trained = result(&mut command);
    assert_eq!(trained["data"], text(&data));
    // The same run finds them again, and the same data as IDX have the same digest.
    let evaluated = result(&mut byhand(&["evaluate", text(&run)]));
    assert_eq!(evaluated["samples"], 60);
    assert_eq!(evaluated["class_names"][3], "class 3");
    let out = place("idx");
    let imported = result(&mut byhand(&["data", "import", text(&data), text(&out)]));
    assert_eq!((&imported["train"], &imported["test"]), (&300.into(), &60.into()));
    assert_eq!(imported["data_sha256"], evaluated["data_sha256"]);
    let again = result(&mut byhand(&["evaluate", text(&run), "--data", text(&out)]));
    assert_eq!((&again["data_sha256"], &again["loss"]), (&evaluated["data_sha256"], &evaluated["loss"]));

    // Without train/ and test/ some are set aside; --size makes all of one size, --drawings prepares them.
    lay_out(&place("flat"), &train);
    write_png(&place("flat/class 0/large.png"), ndarray::Array3::from_elem((1, 40, 30), 9).view());
    fails(
        &mut byhand(&["data", "preview", text(&place("flat"))]),
        1,
        &["28x28 pixels", "found 30x40", "--size"],
    );
    let scaled = place("scaled");
    let imported =
        result(&mut byhand(&["data", "import", text(&place("flat")), text(&scaled), "--size", "14"]));
    assert_eq!(
        (&imported["train"], &imported["test"], &imported["rows"]),
        (&251.into(), &50.into(), &14.into())
    );
    fs::remove_file(place("flat/class 0/large.png")).unwrap();
    let drawn = place("drawn");
    let imported = result(&mut byhand(&["data", "import", text(&place("flat")), text(&drawn), "--drawings"]));
    assert_eq!(imported["columns"], 28);

    fails(&mut byhand(&["data", "import", text(&data), text(&out)]), 2, &["new or an empty folder"]);
    fails(
        &mut byhand(&["data", "import", text(&out), text(&place("x")), "--size", "9"]),
        2,
        &["folder of pictures"],
    );
    fails(&mut byhand(&["data", "import", "mnist", text(&place("x"))]), 2, &["found nothing there"]);
    fs::write(place("flat/class 1/bad.png"), b"\x89PNG\r\n\x1a\nrubbish").unwrap();
    fails(
        &mut byhand(&["data", "preview", text(&place("flat"))]),
        1,
        &["bad.png", "expected a whole PNG file"],
    );
    // Training stops at the first of them; the doctor names each.
    fs::write(place("flat/class 2/empty.png"), "").unwrap();
    write_png(&place("flat/class 3/large.png"), ndarray::Array3::from_elem((1, 40, 30), 9).view());
    let output = byhand(&["data", "doctor", text(&place("flat"))]).output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{told}");
    for name in ["bad.png", "empty.png", "large.png"] {
        assert_eq!(told.matches(name).count(), 1, "{name}: {told}");
    }
    fs::create_dir_all(place("digits/test/class 10")).unwrap();
    write_png(&place("digits/test/class 10/1.png"), test.image(0));
    fails(&mut byhand(&["evaluate", text(&run)]), 1, &["class \"class 10\" for testing alone"]);

    // Predictions of folders and of standard input, with bars and a sheet.
    let mut command = byhand(&["predict", text(&run), text(&place("digits/test")), "--top", "3"]);
    let output = command.args(["--show", text(&place("seen"))]).output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && told.lines().count() == 4 * 61, "{told}");
    assert!(told.contains('█') && told.contains(" % "), "{told}");
    let sheet = png::Decoder::new(std::io::BufReader::new(File::open(place("seen/sheet.png")).unwrap()));
    let info = sheet.read_info().unwrap().info().size();
    assert_eq!(info, (10 * 30 - 2, 7 * 30 - 2));
    let picture = fs::read(place("digits/test/class 10/1.png")).unwrap();
    let read = result(byhand(&["predict", text(&run), "-"]).write_stdin(picture));
    assert_eq!(read["images"], 1);
    fails(byhand(&["predict", text(&run), "-"]).write_stdin(""), 1, &["standard input"]);
}

/// The logits that `predict` says of files.
#[track_caller]
fn predicted(command: &mut Command) -> Vec<Vec<f32>> {
    let events = events_of(&command.arg("--json").output().unwrap()).into_iter();
    events
        .filter(|event| event["event"] == "prediction")
        .map(|event| serde_json::from_value(event["logits"].clone()).unwrap())
        .collect()
}

/// CIFAR-10's files, and what becomes of such data: a run and its report, predictions, source code, IDX files, a folder of pictures.
#[test]
fn pictures_in_colour_go_everywhere() {
    let folder = TempDir::new().unwrap();
    let place = |name: &str| folder.path().join(name);
    let cifar = place("cifar");
    fs::create_dir(&cifar).unwrap();
    for (file, name) in
        (1..=5).map(|n| format!("data_batch_{n}.bin")).chain(["test_batch.bin".into()]).enumerate()
    {
        let image = |i: usize| {
            // Three kinds of hue, which grey levels hardly tell.
            let level =
                move |at: usize| if at / 1024 == i % 3 { 200 } else { (i * 31 + file * 17 + at) % 90 } as u8;
            [(i % 3) as u8].into_iter().chain((0..3072).map(level))
        };
        fs::write(cifar.join(name), (0..24).flat_map(image).collect::<Vec<u8>>()).unwrap();
    }
    fs::write(cifar.join("batches.meta.txt"), "red\ngreen\nblue\n3\n4\n5\n6\n7\n8\n9\n").unwrap();

    let run = place("run");
    let layers = "conv(4,5,stride=2) relu pool(2) dense(10)";
    let mut command = byhand(&["train", "--layers", layers, "--data", text(&cifar), "--out", text(&run)]);
    let trained = result(command.args([
        "--epochs",
        "8",
        "--batch-size",
        "12",
        "--flip",
        "--shift",
        "2",
        "--rotate",
        "5",
    ]));
    assert!(trained["test_accuracy"].as_f64().unwrap() > 0.9, "{trained}");
    let report = fs::read_to_string(run.join("report.html")).unwrap();
    assert!(report.contains("input 3x32x32") && report.contains("green"));
    let evaluated = result(&mut byhand(&["evaluate", text(&run), "--tta", "flip"]));
    assert_eq!((&evaluated["samples"], &evaluated["class_names"][2]), (&24.into(), &"blue".into()));

    // As IDX files the data are the same, and a picture in colour is answered as its twin there.
    let idx_folder = place("idx");
    let imported = result(&mut byhand(&["data", "import", text(&cifar), text(&idx_folder)]));
    assert_eq!((&imported["channels"], &imported["data_sha256"]), (&3.into(), &evaluated["data_sha256"]));
    let pictures = idx_folder.join("t10k-images-idx4-ubyte");
    let images = idx::read_images(File::open(&pictures).unwrap(), "pictures", 1 << 20).unwrap();
    let (one, large) = (place("photos/one.png"), place("photos/two.png"));
    write_png(&one, images.index_axis(ndarray::Axis(0), 4));
    // Twice as large, and wider by an edge that is cut off.
    let twice = |(c, y, x): (usize, usize, usize)| {
        if (3..67).contains(&x) { images[[4, c, y / 2, (x - 3) / 2]] } else { 255 }
    };
    write_png(&large, ndarray::Array3::from_shape_fn((3, 64, 70), twice).view());
    let mut command = byhand(&["predict", text(&run), text(&pictures), text(&one), text(&large)]);
    let logits = predicted(command.args(["--show", text(&place("seen"))]));
    assert_eq!((&logits[24], &logits[25]), (&logits[4], &logits[4]));
    let sheet = png::Decoder::new(std::io::BufReader::new(File::open(place("seen/sheet.png")).unwrap()));
    assert_eq!(sheet.read_info().unwrap().info().color_type, png::ColorType::Rgb);
    fails(
        &mut byhand(&["predict", text(&run), "--as-is", text(&large)]),
        1,
        &["32x32 pixels", "found 70x64"],
    );
    let drawn = byhand(&["data", "preview", text(&cifar), "--limit", "4"]).output().unwrap();
    assert!(String::from_utf8(drawn.stdout).unwrap().contains("1: green"));

    // The C program reads such a file, and says the same bits.
    let c = place("net.c");
    result(&mut byhand(&[
        "export",
        text(&run),
        "--c",
        text(&c),
        "--onnx",
        text(&place("net.onnx")),
        "--preprocess",
    ]));
    let net = place("net");
    let compile = ["-std=c99", "-O2", "-DNET_MAIN", text(&c), "-lm", "-o", text(&net)];
    if Program::new("cc").args(compile).status().is_ok_and(|status| status.success()) {
        let said = Program::new(net).stdin(File::open(&pictures).unwrap()).output().unwrap();
        let said = String::from_utf8(said.stdout).unwrap();
        let numbers = |line: &str| line.split(' ').skip(1).map(|word| word.parse().unwrap()).collect();
        assert_eq!(said.lines().map(numbers).collect::<Vec<Vec<f32>>>(), logits[..24]);
    }

    // A folder of pictures keeps its colours, unless they are not wanted; a model of grey ones is shown grey ones.
    for (i, image) in images.outer_iter().enumerate() {
        write_png(&place(&format!("hues/{}/{i}.png", ["red", "green", "blue"][i % 3])), image);
    }
    let hues = place("hues");
    let train = |out: &Path, more: &[&str]| {
        let mut command = byhand(&["train", "--layers", "pool(4) dense(3)", "--epochs", "1", "--no-report"]);
        result(command.args(["--data", text(&hues), "--out", text(out)]).args(more))
    };
    assert_eq!(train(&place("colour"), &[])["parameters"], 3 * 64 * 3 + 3);
    let grey = train(&place("grey"), &["--grey"]);
    assert_eq!(grey["parameters"], 64 * 3 + 3);
    let evaluated = result(&mut byhand(&["evaluate", text(&place("grey"))]));
    assert_eq!(evaluated["loss"], grey["test_loss"]);
    result(&mut byhand(&["evaluate", text(&place("grey")), "--data", text(&hues)]));
    let told = ["3x32x32", "1x32x32"];
    fails(
        byhand(&["evaluate", text(&place("colour")), "--data", text(&hues), "--grey"]).arg("--quiet"),
        1,
        &told,
    );
}

#[test]
fn a_table_is_data() {
    let folder = TempDir::new().unwrap();
    let place = |name: &str| folder.path().join(name);
    let data = digits::generate(Part::Train, 120, 0);
    let heading: Vec<String> = (0..784).map(|pixel| format!("pixel{pixel}")).collect();
    let row = |index: usize| data.image(index).iter().map(u8::to_string).collect::<Vec<_>>().join(",");
    let mut table = format!("label,{}\r\n", heading.join(","));
    (0..120).for_each(|index| table += &format!("{},{}\r\n", data.labels()[index], row(index)));
    let unlabelled: String = (0..20).map(|index| row(index) + "\n").collect();
    fs::create_dir(place("kaggle")).unwrap();
    fs::write(place("kaggle/train.csv"), &table).unwrap();
    fs::write(place("kaggle/test.csv"), format!("{}\n{unlabelled}", heading.join(","))).unwrap();

    let run = place("run");
    let words = ["train-mlp", "--data", text(&place("kaggle")), "--epochs", "1", "--out", text(&run)]
        .map(String::from);
    let output = byhand(&words.each_ref().map(String::as_str)).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.success() && told.contains("no labels, as Kaggle's") && told.contains("20 of 120"),
        "{told}"
    );
    let evaluated = result(&mut byhand(&["evaluate", text(&run)]));
    assert_eq!(evaluated["samples"], 20);

    // A table itself, and wrong ones with their line.
    let imported =
        result(&mut byhand(&["data", "import", text(&place("kaggle/train.csv")), text(&place("idx"))]));
    assert_eq!(imported["data_sha256"], evaluated["data_sha256"]);
    for (name, wrong, words) in [
        ("pixel", table.replacen("\r\n5,", "\r\n5,x", 1), ["line ", "a pixel from 0 to 255"]),
        ("columns", table.clone() + "1,2,3\n", ["line 122", "785 columns"]),
        ("square", "label,a,b\n1,2,3\n".into(), ["line 1", "pixels of a square"]),
        ("empty", String::new(), ["line 1", "a line for each picture"]),
        (
            "label",
            table.clone() + &table.lines().nth(1).unwrap().replacen(|c: char| c.is_ascii_digit(), "-1", 1),
            ["line 122", "a label"],
        ),
    ] {
        let file = place(&format!("{name}.csv"));
        fs::write(&file, wrong).unwrap();
        fails(&mut byhand(&["data", "preview", text(&file)]), 1, &words);
    }
}
