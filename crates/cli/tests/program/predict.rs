//! `predict` from outside: pictures of every kind of the same drawing get one answer, what is no drawing gets none.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::LazyLock,
    time::Duration,
};

use assert_cmd::Command;
use byhand_datasets::{
    Dataset,
    digits::{self, Part},
    idx,
};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{byhand, events_of, events_on, fails};

type Rgba = [u8; 4];

const BLACK: Rgba = [0, 0, 0, 255];
const WHITE: Rgba = [255, 255, 255, 255];
const NOTHING: Rgba = [0, 0, 0, 0];
const WHITE_NOTHING: Rgba = [255, 255, 255, 0];

/// Digits as strokes in a square of 100 by 100, as people write them.
const ONE: &[&[(f32, f32)]] = &[&[(52.0, 5.0), (48.0, 95.0)]];
const FOUR: &[&[(f32, f32)]] = &[&[(40.0, 5.0), (20.0, 60.0), (80.0, 60.0)], &[(65.0, 25.0), (60.0, 95.0)]];
const TWO: &[&[(f32, f32)]] =
    &[&[(20.0, 25.0), (40.0, 5.0), (70.0, 15.0), (70.0, 35.0), (20.0, 92.0), (85.0, 92.0)]];

/// A model of the built-in digits, good enough for a clear hand; trained once for all tests.
fn model() -> &'static Path {
    static RUN: LazyLock<PathBuf> = LazyLock::new(|| {
        let run = Path::new(env!("CARGO_TARGET_TMPDIR")).join("predict");
        let _ = fs::remove_dir_all(&run);
        let mut command = byhand(&[]);
        command.args(["train-cnn", "--preset", "cnn-3x3", "--data", "digits", "--train-limit", "8000"]);
        command.args(["--test-limit", "100", "--epochs", "3", "--quiet", "--out"]).arg(&run);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        run
    });
    &RUN
}

/// The events of a command that succeeds, and their last one.
#[track_caller]
fn events(command: &mut Command) -> Vec<Value> {
    events_of(&command.arg("--json").output().unwrap())
}

/// A drawing in the square of `side` pixels at (x, y), on a sheet of w by h.
struct Sheet {
    size: (u32, u32),
    at: (f32, f32),
    side: f32,
    ground: Rgba,
    ink: Rgba,
}

impl Sheet {
    fn pixels(&self, strokes: &[&[(f32, f32)]]) -> Vec<Rgba> {
        let ((w, h), pen) = (self.size, 0.06 * self.side);
        let place =
            |(x, y): (f32, f32)| (self.at.0 + x * self.side / 100.0, self.at.1 + y * self.side / 100.0);
        let segments: Vec<_> = strokes
            .iter()
            .flat_map(|stroke| stroke.windows(2))
            .map(|ends| (place(ends[0]), place(ends[1])))
            .collect();
        let pixel = |x: u32, y: u32| {
            let point = (x as f32 + 0.5, y as f32 + 0.5);
            let near = segments.iter().map(|&segment| distance(point, segment)).fold(f32::MAX, f32::min);
            let share = (pen - near + 0.5).clamp(0.0, 1.0);
            std::array::from_fn(|c| {
                (f32::from(self.ink[c]) * share + f32::from(self.ground[c]) * (1.0 - share)).round() as u8
            })
        };
        (0..h).flat_map(|y| (0..w).map(move |x| (x, y))).map(|(x, y)| pixel(x, y)).collect()
    }
}

fn distance((x, y): (f32, f32), ((ax, ay), (bx, by)): ((f32, f32), (f32, f32))) -> f32 {
    let (dx, dy) = (bx - ax, by - ay);
    let t = (((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy)).clamp(0.0, 1.0);
    (x - ax - t * dx).hypot(y - ay - t * dy)
}

fn write_png(path: &Path, (w, h): (u32, u32), color: png::ColorType, depth: png::BitDepth, bytes: &[u8]) {
    let mut encoder = png::Encoder::new(File::create(path).unwrap(), w, h);
    encoder.set_color(color);
    encoder.set_depth(depth);
    encoder.write_header().unwrap().write_image_data(bytes).unwrap();
}

fn write_rgba(path: &Path, size: (u32, u32), pixels: &[Rgba]) {
    write_png(path, size, png::ColorType::Rgba, png::BitDepth::Eight, pixels.as_flattened());
}

fn write_grey(path: &Path, size: (u32, u32), pixels: &[u8]) {
    write_png(path, size, png::ColorType::Grayscale, png::BitDepth::Eight, pixels);
}

#[test]
fn one_drawing_on_any_sheet_gets_one_answer() {
    let folder = TempDir::new().unwrap();
    let large = |ground, ink| Sheet { size: (280, 280), at: (70.0, 60.0), side: 140.0, ground, ink };
    let sheets = [
        ("black on white", large(WHITE, BLACK)),
        ("white on black", large(BLACK, WHITE)),
        ("black on transparent", large(NOTHING, BLACK)),
        ("white on transparent", large(WHITE_NOTHING, WHITE)),
        ("red on transparent", large(NOTHING, [220, 20, 20, 255])),
        ("blue on yellow", large([250, 240, 120, 255], [20, 40, 200, 255])),
        ("yellow on blue", large([20, 40, 120, 255], [250, 240, 120, 255])),
        ("red on green of the same grey", large([0, 130, 0, 255], [255, 0, 0, 255])),
        ("faint pencil", large([235, 232, 228, 255], [120, 120, 125, 255])),
        ("off centre", Sheet { at: (2.0, 130.0), ..large(WHITE, BLACK) }),
        ("wide", Sheet { size: (100, 40), at: (60.0, 5.0), side: 30.0, ..large(WHITE, BLACK) }),
        ("tall", Sheet { size: (60, 300), at: (5.0, 200.0), side: 50.0, ..large(BLACK, WHITE) }),
        ("small", Sheet { size: (20, 20), at: (2.0, 2.0), side: 16.0, ..large(WHITE, BLACK) }),
        (
            "exact, black on white",
            Sheet { size: (28, 28), at: (4.0, 4.0), side: 20.0, ..large(WHITE, BLACK) },
        ),
        (
            "exact, white on black",
            Sheet { size: (28, 28), at: (4.0, 4.0), side: 20.0, ..large(BLACK, WHITE) },
        ),
        (
            "exact, black on transparent",
            Sheet { size: (28, 28), at: (4.0, 4.0), side: 20.0, ..large(NOTHING, BLACK) },
        ),
    ];
    for (digit, strokes) in [(1, ONE), (4, FOUR), (2, TWO)] {
        let mut command = byhand(&[]);
        command.arg("predict").arg(model());
        for (name, sheet) in &sheets {
            let path = folder.path().join(format!("{digit} {name}.png"));
            write_rgba(&path, sheet.size, &sheet.pixels(strokes));
            command.arg(path);
        }
        let told = events(&mut command);
        assert_eq!(told.len(), sheets.len() + 1);
        for (event, (name, _)) in told.iter().zip(&sheets) {
            assert_eq!(event["class"], digit, "{name}: {}", event["probabilities"]);
        }
    }
}

/// Grey with alpha, a palette with a transparent colour, 16 bits, 1 bit, interlaced: the same drawing.
#[test]
fn every_kind_of_png() {
    let folder = TempDir::new().unwrap();
    let size = (64, 64);
    let sheet = Sheet { size, at: (12.0, 12.0), side: 40.0, ground: BLACK, ink: WHITE };
    // Ink or none, so that every kind can hold it.
    let ink: Vec<bool> = sheet.pixels(FOUR).iter().map(|pixel| pixel[0] >= 128).collect();
    let file = |name: &str| folder.path().join(name);
    let each = |of: &dyn Fn(bool) -> Vec<u8>| ink.iter().flat_map(|&ink| of(ink)).collect::<Vec<u8>>();
    use png::{BitDepth, ColorType};
    let kinds: [(&str, ColorType, BitDepth, Vec<u8>); 5] = [
        ("rgb", ColorType::Rgb, BitDepth::Eight, each(&|ink| vec![if ink { 0 } else { 255 }; 3])),
        (
            "grey-alpha",
            ColorType::GrayscaleAlpha,
            BitDepth::Eight,
            each(&|ink| vec![0, if ink { 255 } else { 0 }]),
        ),
        ("grey16", ColorType::Grayscale, BitDepth::Sixteen, each(&|ink| vec![if ink { 0 } else { 255 }; 2])),
        ("rgba16", ColorType::Rgba, BitDepth::Sixteen, each(&|ink| vec![if ink { 255 } else { 0 }; 8])),
        (
            "bits",
            ColorType::Grayscale,
            BitDepth::One,
            ink.chunks(8).map(|bits| bits.iter().fold(0, |byte, &ink| byte << 1 | u8::from(!ink))).collect(),
        ),
    ];
    let mut command = byhand(&[]);
    command.arg("predict").arg(model());
    for (name, color, depth, bytes) in &kinds {
        write_png(&file(name), size, *color, *depth, bytes);
        command.arg(file(name));
    }
    // Two blacks, one of them transparent.
    let mut encoder = png::Encoder::new(File::create(file("palette")).unwrap(), 64, 64);
    encoder.set_color(ColorType::Indexed);
    encoder.set_palette(vec![0; 6]);
    encoder.set_trns(vec![0, 255]);
    encoder.write_header().unwrap().write_image_data(&each(&|ink| vec![u8::from(ink)])).unwrap();
    command.arg(file("palette"));
    let told = events(&mut command);
    assert_eq!(told.len(), 7);
    for event in &told[..6] {
        assert_eq!(event["class"], 4, "{event}");
        assert_eq!(event["probabilities"], told[0]["probabilities"], "{event}");
    }
}

/// An image of the data as PNG is answered as in its IDX file, to the last bit.
#[test]
fn a_png_is_answered_as_its_idx_twin() {
    let folder = TempDir::new().unwrap();
    let digits = digits::generate(Part::Test, 20, 7);
    for (i, image) in digits.images().outer_iter().enumerate() {
        let (one, twin) =
            (folder.path().join(format!("{i}-idx3-ubyte")), folder.path().join(format!("{i}.png")));
        idx::write_images(File::create(&one).unwrap(), image.insert_axis(ndarray::Axis(0))).unwrap();
        write_grey(&twin, (28, 28), image.as_slice().unwrap());
        let told = events(byhand(&[]).arg("predict").arg(model()).arg(one).arg(twin));
        assert_eq!(told[0]["probabilities"], told[1]["probabilities"], "image {i}");
    }
}

/// A model of bright pictures takes a bright picture as it is, and a drawing on a dark ground the other way round.
#[test]
fn the_ground_is_that_of_the_training_pictures() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("bright");
    fs::create_dir(&data).unwrap();
    let write = |part: &str, digits: &Dataset| {
        let file = |kind: &str| File::create(data.join(format!("{part}-{kind}-ubyte"))).unwrap();
        idx::write_images(file("images-idx3"), digits.images().mapv(|p| 255 - p).view()).unwrap();
        idx::write_labels(file("labels-idx1"), digits.labels()).unwrap();
    };
    write("train", &digits::generate(Part::Train, 3000, 0));
    write("t10k", &digits::generate(Part::Test, 100, 0));
    let run = folder.path().join("run");
    let mut train = byhand(&[]);
    train.args(["train-mlp", "--epochs", "4", "--quiet", "--data"]).arg(&data).arg("--out").arg(&run);
    assert!(train.output().unwrap().status.success());

    let mut command = byhand(&[]);
    command.arg("predict").arg(&run).args(["--limit", "1"]).arg(data.join("t10k-images-idx3-ubyte"));
    let digit = digits::generate(Part::Test, 1, 0);
    let path = |name: &str| folder.path().join(name);
    let dark: Vec<u8> = digit.images().iter().copied().collect();
    let bright: Vec<u8> = dark.iter().map(|p| 255 - p).collect();
    for (name, pixels) in [("dark.png", dark), ("bright.png", bright)] {
        write_grey(&path(name), (28, 28), &pixels);
        command.arg(path(name));
    }
    let told = events(&mut command);
    assert_eq!(told.len(), 4);
    assert_eq!(told[0]["probabilities"], told[1]["probabilities"]);
    assert_eq!(told[0]["probabilities"], told[2]["probabilities"]);
}

/// Files whose rows and columns are exchanged, as EMNIST's, are read so by whoever was trained so.
#[test]
fn transposed_files() {
    let folder = TempDir::new().unwrap();
    let labels: Vec<u16> = (0..40).map(|k| k % 2).collect();
    let images = ndarray::Array3::from_shape_fn((40, 6, 9), |(i, y, x)| {
        if (if labels[i] == 0 { y } else { x }) == 0 { 220 } else { 0 }
    });
    for part in ["train", "t10k"] {
        let file = |kind: &str| File::create(folder.path().join(format!("{part}-{kind}-ubyte"))).unwrap();
        idx::write_images(file("images-idx3"), images.view()).unwrap();
        idx::write_labels(file("labels-idx1"), &labels).unwrap();
    }
    fs::write(folder.path().join("classes.txt"), "row\ncolumn\n").unwrap();
    let run = folder.path().join("run");
    let mut train = byhand(&[]);
    train.args(["train", "--layers", "dense(2)", "--epochs", "400", "--transpose", "--quiet", "--data"]);
    assert!(train.arg(folder.path()).arg("--out").arg(&run).output().unwrap().status.success());
    let evaluated = events(byhand(&[]).arg("evaluate").arg(&run)).pop().unwrap();
    assert_eq!(evaluated["accuracy"], 1.0);
    let told = events(byhand(&[]).arg("predict").arg(&run).arg(folder.path().join("t10k-images-idx3-ubyte")));
    for (event, &label) in told.iter().zip(&labels) {
        assert_eq!(event["class"], label);
    }
}

/// One picture without a drawing does not keep the others from their answers, but the exit code says it.
#[test]
fn no_drawing_is_no_answer() {
    let folder = TempDir::new().unwrap();
    let file = |name: &str| folder.path().join(name);
    let predict = |name: &str| {
        let mut command = byhand(&[]);
        command.arg("predict").arg(model()).arg(file(name));
        command
    };
    write_grey(&file("white.png"), (280, 280), &vec![255; 280 * 280]);
    write_grey(&file("black.png"), (28, 28), &[0; 784]);
    write_grey(&file("dark.png"), (50, 50), &(0..2500).map(|i| (i % 20) as u8).collect::<Vec<_>>());
    write_rgba(&file("clear.png"), (28, 28), &[WHITE_NOTHING; 784]);
    let square = |side: u32| {
        let inside = 2..side - 2;
        let level = |i| if inside.contains(&(i / side)) && inside.contains(&(i % side)) { 255 } else { 0 };
        (0..side * side).map(level).collect::<Vec<u8>>()
    };
    write_grey(&file("full-90.png"), (90, 90), &square(90));
    write_grey(&file("full-28.png"), (28, 28), &square(28));
    for (name, word) in [
        ("white.png", "one value"),
        ("black.png", "one value"),
        ("clear.png", "one value"),
        ("dark.png", "10 of 255"),
        ("full-90.png", "%"),
        ("full-28.png", "%"),
    ] {
        fails(&mut predict(name), 1, &[name, "one drawing", word]);
    }

    let sheet = Sheet { size: (90, 90), at: (5.0, 5.0), side: 80.0, ground: WHITE, ink: BLACK };
    write_rgba(&file("two.png"), sheet.size, &sheet.pixels(TWO));
    let output = predict("white.png").arg(file("two.png")).arg("--json").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = events_on(&output.stdout);
    let names: Vec<&str> = told.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(names, ["failed", "prediction", "result", "error"]);
    assert_eq!((told[1]["class"].as_u64(), told[2]["failed"].as_u64()), (Some(2), Some(1)));
}

#[test]
fn as_is_is_for_pictures_of_the_right_size() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("two.png");
    let as_is = || {
        let mut command = byhand(&[]);
        command.arg("predict").arg(model()).arg(&file).arg("--as-is");
        command
    };
    let sheet = |size| Sheet { size, at: (4.0, 4.0), side: 20.0, ground: WHITE, ink: BLACK };
    write_rgba(&file, (30, 60), &sheet((30, 60)).pixels(TWO));
    fails(&mut as_is(), 1, &["two.png", "28x28", "found 30x60", "width x height"]);
    write_rgba(&file, (28, 28), &sheet((28, 28)).pixels(TWO));
    let found = events(&mut as_is());
    assert_eq!(found[0]["class"], 2);
    let inverted = events(as_is().arg("--invert"));
    assert_eq!(found[0]["probabilities"], inverted[0]["probabilities"]);
}

#[test]
fn what_is_no_picture_is_named() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("picture.png");
    let predict = || {
        let mut command = byhand(&[]);
        command.arg("predict").arg(model()).arg(&file);
        command
    };
    let starts: [(&[u8], &str); 9] = [
        (b"BM\x36\0\0\0", "BMP"),
        (b"GIF89a", "GIF"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "WebP"),
        (b"II*\0\x08\0\0\0", "TIFF"),
        (b"MM\0*\0\0\0\x08", "TIFF"),
        (b"\0\0\0\x18ftypheic", "HEIC"),
        (b"%PDF-1.7", "PDF"),
        (b"<svg xmlns=", "SVG"),
        (b"<!DOCTYPE html>", "HTML"),
    ];
    for (start, name) in starts {
        fs::write(&file, [start, &[0; 64]].concat()).unwrap();
        fails(&mut predict(), 1, &["picture.png", name, "PNG or IDX"]);
    }
    fs::write(&file, b"\x89PNG\r\n\x1a\nrubbish").unwrap();
    fails(&mut predict(), 1, &["picture.png", "whole PNG file"]);
    fs::write(&file, b"\xff\xd8\xff\xe0\0\x10JFIF\0rubbish").unwrap();
    fails(&mut predict(), 1, &["picture.png", "whole JPEG file"]);
    fs::write(&file, b"rubbish of another kind").unwrap();
    fails(&mut predict(), 1, &["picture.png", "images"]);
    fs::remove_file(&file).unwrap();
    fails(&mut predict(), 2, &["picture.png", "PNG or IDX"]);
    fs::create_dir(&file).unwrap();
    fails(&mut predict(), 1, &["picture.png", "folder"]);
    fails(
        byhand(&[]).arg("predict").arg(model()).arg("x.png").args(["--limit", "0"]),
        2,
        &["--limit", "at least 1"],
    );
}

/// Its pixels would take 3.6 GB; the process may not have a third of that.
#[test]
#[cfg(target_os = "linux")]
fn a_picture_that_is_too_large_takes_no_memory() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("huge.png");
    // The header of a small picture, and its checksum, made those of a huge one.
    write_grey(&file, (1, 1), &[0]);
    let mut bytes = fs::read(&file).unwrap();
    bytes[16..24].copy_from_slice(&[0, 0, 0xea, 0x60, 0, 0, 0xea, 0x60]);
    let checksum = crc32(&bytes[12..29]);
    bytes[29..33].copy_from_slice(&checksum.to_be_bytes());
    fs::write(&file, bytes).unwrap();
    let mut limited = Command::new("sh");
    limited.env_remove("BYHAND_DATA").args(["-c", "ulimit -v 1000000; exec \"$@\"", "sh"]);
    limited.arg(byhand(&[]).get_program()).arg("predict").arg(model()).arg(&file);
    fails(&mut limited, 1, &["huge.png", "60000x60000", "at most 32 million pixels"]);
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[test]
#[cfg(unix)]
fn names_that_are_not_utf8() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
    let folder = TempDir::new().unwrap();
    let run = folder.path().join(OsStr::from_bytes(b"run\xff"));
    fs::create_dir(&run).unwrap();
    fs::copy(model().join("model.safetensors"), run.join("model.safetensors")).unwrap();
    let file = folder.path().join(OsStr::from_bytes(b"two\xff.png"));
    let sheet = Sheet { size: (90, 90), at: (5.0, 5.0), side: 80.0, ground: WHITE, ink: BLACK };
    write_rgba(&file, sheet.size, &sheet.pixels(TWO));
    let told = events(byhand(&[]).arg("predict").arg(&run).arg(&file));
    assert_eq!(told[0]["class"], 2);
    assert!(byhand(&[]).arg("evaluate").arg(&run).output().unwrap().status.success());
}

/// A pipe cannot be rewound, and nobody knows how much it will give.
#[test]
#[cfg(unix)]
fn a_pipe_is_read_as_the_file_whose_bytes_it_gives() {
    const PIPE: &str = "/dev/stdin";
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let digits = digits::generate(Part::Test, 3, 7);
    write_grey(&path("digit.png"), (28, 28), digits.images().as_slice().unwrap().split_at(784).0);
    idx::write_images(File::create(path("digits-idx3-ubyte")).unwrap(), digits.images()).unwrap();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    idx::write_images(&mut packed, digits.images()).unwrap();
    fs::write(path("digits-idx3-ubyte.gz"), packed.finish().unwrap()).unwrap();
    let answers = |command: &mut Command| -> Vec<Value> {
        events(command)
            .iter()
            .filter(|event| event["event"] == "prediction")
            .map(|event| event["logits"].clone())
            .collect()
    };
    for (name, count) in [("digit.png", 1), ("digits-idx3-ubyte", 3), ("digits-idx3-ubyte.gz", 3)] {
        let expected = answers(byhand(&["predict"]).arg(model()).arg(path(name)));
        let bytes = fs::read(path(name)).unwrap();
        let found = answers(byhand(&["predict"]).arg(model()).arg(PIPE).write_stdin(bytes));
        assert_eq!((found.len(), found), (count, expected), "{name}");
    }
    // The model, whose length a pipe does not say.
    let expected = answers(byhand(&["predict"]).arg(model()).arg(path("digit.png")));
    let bytes = fs::read(model().join("model.safetensors")).unwrap();
    let mut from_pipe = byhand(&["predict", PIPE]);
    from_pipe.arg(path("digit.png")).write_stdin(bytes.clone());
    assert_eq!(answers(&mut from_pipe), expected);
    let mut cut = byhand(&["predict", PIPE]);
    cut.arg(path("digit.png")).write_stdin(&bytes[..bytes.len() - 1]);
    fails(&mut cut, 1, &[PIPE, "expected"]);
    // A named one in a folder of pictures, into which nobody writes, is not waited for.
    assert!(std::process::Command::new("mkfifo").arg(path("nobody.png")).status().unwrap().success());
    let in_folder =
        answers(byhand(&["predict"]).arg(model()).arg(folder.path()).timeout(Duration::from_secs(20)));
    assert_eq!(in_folder, expected);
}
