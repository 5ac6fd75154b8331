//! Each format from outside: every layer of the registry, files read back, and source that is compiled and run to the bits of `predict`.

use std::{
    collections::BTreeSet,
    env, fs,
    path::Path,
    process::{Command, Stdio},
};

use byhand_export::{
    ExportError, onnx,
    source::{self, Quantized, Source},
};
use byhand_layers::{
    Isa, Shape,
    init::{Init, init_network},
};
use byhand_models::{BranchKind, Crop, LayerKind, Model, Normalize, Preprocessing, Spec, spec::Token};
use ndarray::{Array2, Array3};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tempfile::TempDir;

/// Every layer of the grammar, in odd sizes, on pictures of 28x28.
const NETWORKS: [&str; 12] = [
    "conv(8,5) relu pool(2) conv(16,3,pad=1,stride=2) leaky_relu(slope=0.2) avgpool(2) flatten dense(10)",
    "conv(17,3) gelu conv(18,3,pad=1) silu pool(3,stride=2) conv(16,3,bias=false) globalavgpool dense(10,bias=false)",
    "flatten dense(50) tanh batchnorm dropout(0.5) dense(10) sigmoid linear",
    "conv(4,3x5,stride=2x1,pad=1x2,bias=false) batchnorm relu batchnorm globalmaxpool flatten dense(3)",
    "avgpool(3x2,stride=4x5) conv(3,1) relu flatten",
    "conv(3,3) tanh conv(3,5) sigmoid conv(3,5) silu conv(3,5) gelu",
    "conv(16,3) residual(conv(16,3,pad=1) batchnorm relu conv(16,3,pad=1) batchnorm) relu residual(conv(20,3,stride=2,pad=1) | \
     conv(20,1,stride=2) batchnorm) residual(relu) globalavgpool dense(9)",
    "concat(conv(3,3) relu | conv(2,3) pool(1) | concat(linear | residual(silu)) conv(4,3)) pool(2) concat(dense(4) | flatten dense(3)) tanh",
    "conv(4,3,pad=same,stride=2) conv(6,3x2,pad=2x0x1x1,groups=2) conv(6,3,dilation=2x3,groups=6) pool(3,stride=2,pad=1,ceil=true) \
     avgpool(2,pad=1,count_pad=false) dense(10) log_softmax",
    "conv(32,3) conv(32,3,groups=2,pad=1) relu conv(16,3,dilation=2,pad=2x1x2x1) conv(16,3,pad=same_lower,dilation=2,stride=2) \
     avgpool(3,pad=1,ceil=true,stride=2) pool(2,dilation=2) dense(10)",
    "avgpool(2,dilation=2) dense(10)",
    "linear",
];
const SIZE: (usize, usize) = (28, 28);

fn model(spec: &str, preprocessing: Preprocessing) -> Model {
    let spec: Spec = spec.parse().unwrap();
    let crop = preprocessing.crop_of(SIZE);
    let network = spec.build::<f32>(Shape::new(1, crop.h, crop.w)).unwrap();
    let mut theta = init_network(&network, Init::HeNormal, 1);
    let mut random = ChaCha8Rng::seed_from_u64(2);
    for param in network.params().iter().filter(|param| param.shape.len() == 1) {
        let least = if param.name.ends_with("running_var") { 0.3 } else { -0.5 };
        theta[param.range.clone()].iter_mut().for_each(|value| *value = random.random_range(least..1.0));
    }
    Model {
        input: network.input(),
        class_names: (0..network.classes()).map(|class| format!("\"{class}\\ ?? ü")).collect(),
        preprocessing,
        notes: [].into(),
        theta,
        spec,
    }
}

/// Pictures as strokes are: mostly nothing.
fn pictures(n: usize) -> Array3<u8> {
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let shape = (n, SIZE.0, SIZE.1);
    Array3::from_shape_simple_fn(shape, || if random.random_bool(0.7) { 0 } else { random.random() })
}

fn logits(model: &Model, pictures: &Array3<u8>) -> Array2<f32> {
    let x = model.preprocessing.apply(pictures.view());
    model.network().unwrap().predict(&model.theta, x.view())
}

/// The words of layers, and of those in their branches.
fn words_of(tokens: &[Token]) -> Vec<&'static str> {
    let inner =
        |token: &Token| token.branches().iter().flat_map(|branch| words_of(branch)).collect::<Vec<_>>();
    tokens.iter().flat_map(|token| [vec![token.name()], inner(token)].concat()).collect()
}

#[test]
fn every_layer_of_the_registry_is_exported() {
    let mut words = BTreeSet::new();
    for spec in NETWORKS {
        let model = model(spec, Preprocessing::unit());
        words.extend(words_of(model.spec.tokens()));
        let dilated_mean = spec.contains("avgpool(2,dilation");
        for opset in onnx::OPSETS.filter(|&opset| opset >= 19 || !dilated_mean) {
            onnx::write(&model, onnx::Options { opset, pictures: Some(SIZE) }).unwrap();
        }
    }
    let all: BTreeSet<&str> = LayerKind::<f32>::ALL.iter().map(|kind| kind.name).collect();
    let branches = BranchKind::<f32>::ALL.iter().map(|kind| kind.name);
    let all: BTreeSet<&str> = all.into_iter().chain(branches).collect();
    assert_eq!(words, all, "a layer of the registry stands in no network of this test");
}

#[test]
fn an_onnx_file_is_read_back_to_the_bit() {
    // Nothing at all is no layer.
    for spec in NETWORKS.iter().filter(|&&spec| spec != "linear") {
        let model = model(spec, Preprocessing::unit());
        for opset in [19, 22] {
            let bytes = onnx::write(&model, onnx::Options { opset, pictures: None }).unwrap();
            let read = onnx::read(&bytes, "file").unwrap();
            let x = Preprocessing::unit().apply(pictures(3).view());
            let network = read.spec.build::<f32>(read.input).unwrap();
            let (found, expected) = (network.predict(&read.theta, x.view()), logits(&model, &pictures(3)));
            assert_eq!(found, expected, "{spec}");
            assert_eq!(read.notes["byhand.classes"], model.class_names.join("\n"));
        }
    }
}

/// Branches that stand in each other, end in each other's joins, are the same value, or are not branches at all.
#[test]
fn branches_are_found_by_what_reads_what() {
    for (spec, expected) in [
        ("residual(relu | silu) flatten dense(2)", ""),
        // A sum has no order: what does something is the main branch.
        ("concat(residual(gelu) | linear | silu) flatten dense(2)", ""),
        ("residual(residual(residual(gelu) relu) concat(silu | tanh) conv(1,1)) flatten dense(2)", ""),
        ("residual(linear) concat(linear | linear) flatten dense(2)", ""),
        ("flatten residual(dense(784,bias=false) relu) dense(2)", ""),
        ("residual(linear | relu) flatten dense(2)", "residual(relu) flatten dense(2)"),
        (
            "residual(dropout(0.5) relu | conv(1,1) batchnorm) flatten dense(2)",
            "residual(relu | conv(1,1) batchnorm) flatten dense(2)",
        ),
    ] {
        let model = model(spec, Preprocessing::unit());
        let bytes = onnx::write(&model, onnx::Options { opset: 17, pictures: None }).unwrap();
        let read = onnx::read(&bytes, "file").unwrap();
        assert_eq!(read.spec.to_string(), if expected.is_empty() { spec } else { expected });
        let x = Preprocessing::unit().apply(pictures(3).view());
        let found = read.spec.build::<f32>(read.input).unwrap().predict(&read.theta, x.view());
        assert_eq!(found, logits(&model, &pictures(3)), "{spec}");
    }
    // A sum whose other input comes from elsewhere, or from behind it.
    let bytes = onnx::write(
        &model("relu residual(tanh) flatten dense(2)", Preprocessing::unit()),
        onnx::Options::default(),
    );
    let bytes = bytes.unwrap();
    let input = |name: &str| [&[0x0a, name.len() as u8], name.as_bytes()].concat();
    let own = [input("1.main.0.tanh"), input("0.relu")].concat();
    let at = bytes.windows(own.len()).position(|found| found == own).unwrap();
    for other in ["input2", "logits"] {
        let changed =
            [&bytes[..at], &input("1.main.0.tanh"), &input(other), &bytes[at + own.len()..]].concat();
        let told = onnx::read(&changed, "file").unwrap_err().to_string();
        assert!(
            told.contains("(Add): expected branches that begin at one value") && told.contains(other),
            "{told}"
        );
    }
}

#[test]
fn what_is_no_such_file_is_an_error_with_a_place() {
    let bytes = onnx::write(&model(NETWORKS[3], Preprocessing::unit()), onnx::Options::default()).unwrap();
    for len in (0..bytes.len()).step_by(7) {
        match onnx::read(&bytes[..len], "a file") {
            Err(error) => assert!(error.to_string().starts_with("a file: "), "{error}"),
            // Nothing is missing but notes at its end.
            Ok(_) => assert!(bytes.len() - len < 700, "{len} of {}", bytes.len()),
        }
    }
    // Whatever single byte is wrong, an answer comes, and none takes more memory than the file.
    for at in 0..bytes.len().min(4000) {
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x5a;
        let _ = onnx::read(&bytes, "a file");
    }
    let error = onnx::read(b"<!doctype html>", "page.onnx").unwrap_err().to_string();
    assert!(error.starts_with("page.onnx: at byte "), "{error}");
    let pictures = onnx::write(
        &model(NETWORKS[0], Preprocessing::unit()),
        onnx::Options { pictures: Some(SIZE), ..onnx::Options::default() },
    );
    let error = onnx::read(&pictures.unwrap(), "file").unwrap_err().to_string();
    assert!(error.contains("(Cast)") && error.contains("expected Conv, "), "{error}");
}

#[test]
fn what_cannot_be_exported_is_refused() {
    let mut diverged = model(NETWORKS[0], Preprocessing::unit());
    diverged.theta[3] = f32::NAN;
    let error = onnx::write(&diverged, onnx::Options::default()).unwrap_err();
    assert!(matches!(error, ExportError::NotFinite { ref tensor } if tensor == "0.weight"), "{error}");
    for opset in [0, 10, 23] {
        let error =
            onnx::write(&model("linear", Preprocessing::unit()), onnx::Options { opset, pictures: None });
        assert_eq!(error.unwrap_err().to_string(), format!("opset {opset}: expected 11 to 22"));
    }
    let error = onnx::write(
        &model("linear", Preprocessing::unit()),
        onnx::Options { pictures: Some((28, 29)), ..onnx::Options::default() },
    );
    assert!(matches!(error.unwrap_err(), ExportError::Pictures { .. }));
}

/// Preprocessings of 28x28: whole, halved, the middle, with a border, and all at once.
fn preprocessings() -> [Preprocessing; 4] {
    let unit = Preprocessing::unit();
    [
        unit,
        Preprocessing { normalize: Normalize::mean_std(0.1307, 0.3081), ..unit }.halved(),
        Preprocessing { crop: Some(Crop { y: 3, x: -2, h: 20, w: 31 }), ..Preprocessing::centered() },
        Preprocessing {
            crop: Some(Crop { y: -1, x: 1, h: 14, w: 12 }),
            ..Preprocessing::centered().halved()
        },
    ]
}

/// Networks as source, each with the model that it comes from.
fn models() -> Vec<Model> {
    let preprocessed =
        preprocessings().map(|preprocessing| model("conv(4,3) pool(2) dense(7)", preprocessing));
    NETWORKS.iter().map(|spec| model(spec, Preprocessing::unit())).chain(preprocessed).collect()
}

#[test]
fn c_gives_the_bits_of_predict() {
    let folder = TempDir::new().unwrap();
    for (index, model) in models().iter().enumerate() {
        let options = source::Options { name: "my_net", pictures: Some(SIZE), int8: None };
        let place = folder.path().join(format!("float{index}"));
        write(&source::c(model, &options).unwrap(), &place);
        for flags in [&["-std=c99", "-O1", "-pedantic"][..], &["-std=gnu17", "-O3", "-march=native"]] {
            if !compile_c(&place, flags) {
                return;
            }
            assert_bits(&place.join("program"), &logits(model, &pictures(5)), &model.spec);
        }
    }
}

#[test]
fn rust_gives_the_bits_of_predict() {
    let folder = TempDir::new().unwrap();
    for (index, model) in models().iter().enumerate() {
        let options = source::Options { name: "my_net", pictures: Some(SIZE), int8: None };
        let place = folder.path().join(format!("float{index}"));
        write(&source::rust(model, &options).unwrap(), &place);
        // Without `std` the first few: what is another there is one function.
        let ways = [&[][..], &["--no-default-features"]];
        for features in ways.into_iter().take(if index < 3 { 2 } else { 1 }) {
            compile_rust(&place, features);
            assert_bits(&place.join("target/release/my_net"), &logits(model, &pictures(3)), &model.spec);
        }
    }
}

#[test]
fn whole_numbers_are_the_same_in_both_languages() {
    let folder = TempDir::new().unwrap();
    for (index, model) in models().iter().enumerate() {
        // Logarithms of probabilities are for floats.
        let Ok(quantized) = Quantized::new(model, pictures(50).view()) else {
            assert!(model.spec.to_string().ends_with("log_softmax"), "{}", model.spec);
            continue;
        };
        let options = source::Options { name: "net8", pictures: Some(SIZE), int8: Some(&quantized) };
        let expected = quantized.predict(model.preprocessing.apply(pictures(5).view()).view());
        // Near to what floats say: within a twentieth of the largest output.
        let (floats, largest) =
            (logits(model, &pictures(5)), |all: &Array2<f32>| all.fold(0.0f32, |m, x| m.max(x.abs())));
        let difference = largest(&(&floats - &expected)) / largest(&floats);
        assert!(difference < 0.05, "{}: {difference}", model.spec);

        let place = folder.path().join(format!("c{index}"));
        let written = source::c(model, &options).unwrap();
        write(&written, &place);
        if compile_c(&place, &["-std=c99", "-O1", "-pedantic"]) {
            assert_bits(&place.join("program"), &expected, &model.spec);
        }
        let place = folder.path().join(format!("rust{index}"));
        let crate_of_rust = source::rust(model, &options).unwrap();
        assert_eq!((crate_of_rust.weights, crate_of_rust.memory), (written.weights, written.memory));
        // Preprocessing is the floats'.
        if index > NETWORKS.len() {
            continue;
        }
        write(&crate_of_rust, &place);
        compile_rust(&place, &[]);
        assert_bits(&place.join("target/release/net8"), &expected, &model.spec);
    }
}

fn write(source: &Source, folder: &Path) {
    for file in &source.files {
        let path = folder.join(&file.path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, &file.text).unwrap();
    }
}

/// Compiles the only C file of a folder to `program`; false where there is no compiler.
fn compile_c(folder: &Path, flags: &[&str]) -> bool {
    let name = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let name = name.filter(|name| name.ends_with(".c")).collect::<String>();
    let main = format!("-D{}_MAIN", name.trim_end_matches(".c").to_uppercase());
    let mut command = Command::new(env::var("CC").unwrap_or("cc".into()));
    command
        .current_dir(folder)
        .args(flags)
        .args(["-Wall", "-Wextra", "-Werror", &main, &name, "-lm", "-o", "program"]);
    match command.output() {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => {
            // A machine without one: the Rust crate is held to the same bits.
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}");
            return false;
        }
    }
    true
}

fn compile_rust(folder: &Path, features: &[&str]) {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(folder).args(["build", "--release", "--offline", "--quiet"]).args(features);
    command.env("CARGO_TARGET_DIR", folder.join("target")).env("RUSTFLAGS", "-D warnings");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Feeds pictures to a program and compares what it prints.
fn assert_bits(program: &Path, expected: &Array2<f32>, spec: &Spec) {
    if !Isa::available().iter().any(|isa| isa.name() != "portable" && isa.name() != "wide") {
        // Without fused multiply-add `predict` has other bits.
        return;
    }
    let (n, classes) = expected.dim();
    let pictures = pictures(n);
    let mut idx = vec![0, 0, 8, 3];
    pictures.shape().iter().for_each(|&side| idx.extend((side as u32).to_be_bytes()));
    idx.extend(pictures.iter());
    let file = program.with_extension("idx");
    fs::write(&file, idx).unwrap();
    let output = Command::new(program).stdin(Stdio::from(fs::File::open(&file).unwrap())).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), n, "{spec}");
    for (line, expected) in text.lines().zip(expected.rows()) {
        let words: Vec<&str> = line.split(' ').collect();
        let found: Vec<f32> =
            words[words.len() - classes..].iter().map(|word| word.parse().unwrap()).collect();
        let best = (1..classes).fold(0, |best, i| if found[i] > found[best] { i } else { best });
        assert!(line.starts_with(&format!("\"{best}\\ ?? ü")), "{line}");
        // Numbers that are equal have the same bits, but for the sign of zero.
        assert_eq!(found, expected.to_vec(), "{spec}");
    }
    // What is no IDX file is refused.
    let output = Command::new(program).stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
}
