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
use ndarray::{Array2, Array4};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use tempfile::TempDir;

/// Every layer of the grammar, in odd sizes, on pictures of 28x28.
const NETWORKS: [&str; 12] = [
    "conv(8,5) relu pool(2) conv(16,3,pad=1,stride=2) leaky_relu(slope=0.2) avgpool(2) flatten dense(10)",
    "conv(23,3) gelu conv(26,3,pad=1) silu pool(3,stride=2) conv(16,3,bias=false) globalavgpool dense(10,bias=false)",
    "flatten dense(50) tanh batchnorm dropout(0.5) dense(10) sigmoid linear",
    "conv(4,3x5,stride=2x1,pad=1x2,bias=false) batchnorm relu batchnorm globalmaxpool flatten dense(3)",
    "avgpool(3x2,stride=4x5) conv(3,1) relu flatten",
    "conv(3,3) tanh conv(3,5) sigmoid conv(3,5) silu conv(3,5) gelu conv(2,3) gelu(exact=true)",
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
    model_of(1, spec, preprocessing)
}

fn model_of(channels: usize, spec: &str, preprocessing: Preprocessing) -> Model {
    let spec: Spec = spec.parse().unwrap();
    let crop = preprocessing.crop_of(SIZE);
    let network = spec.build::<f32>(Shape::new(channels, crop.h, crop.w)).unwrap();
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
fn pictures(n: usize, channels: usize) -> Array4<u8> {
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let shape = (n, channels, SIZE.0, SIZE.1);
    Array4::from_shape_simple_fn(shape, || if random.random_bool(0.7) { 0 } else { random.random() })
}

fn logits(model: &Model, pictures: &Array4<u8>) -> Array2<f32> {
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
    for spec in NETWORKS {
        let model = model(spec, Preprocessing::unit());
        for opset in [19, 22] {
            let bytes = onnx::write(&model, onnx::Options { opset, pictures: None }).unwrap();
            let read = onnx::read(&bytes, "file").unwrap();
            let x = Preprocessing::unit().apply(pictures(3, 1).view());
            let network = read.spec.build::<f32>(read.input).unwrap();
            let (found, expected) = (network.predict(&read.theta, x.view()), logits(&model, &pictures(3, 1)));
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
        let x = Preprocessing::unit().apply(pictures(3, 1).view());
        let found = read.spec.build::<f32>(read.input).unwrap().predict(&read.theta, x.view());
        assert_eq!(found, logits(&model, &pictures(3, 1)), "{spec}");
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
            told.contains("(Add): expected inputs that the file's input or weights give")
                && told.contains(other),
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
    assert!(
        error.contains("expected an input of 32-bit floats (export writes one without --preprocess)"),
        "{error}"
    );
}

/// A field of a message: bytes with their length, or a number.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    assert!(bytes.len() < 128 * 128);
    [&[number << 3 | 2, bytes.len() as u8 & 127 | 128, (bytes.len() >> 7) as u8], bytes].concat()
}

fn varint(number: u8, value: i64) -> Vec<u8> {
    let mut bytes = vec![number << 3];
    let mut rest = value as u64;
    while rest >= 128 {
        bytes.push(rest as u8 | 128);
        rest >>= 7;
    }
    [bytes, vec![rest as u8]].concat()
}

/// Whole numbers, a text, a number with a point, or a tensor, as an attribute of a node.
enum Is<'a> {
    Int(i64),
    Ints(&'a [i64]),
    Float(f32),
    Text(&'a str),
}

fn node(operator: &str, inputs: &[&str], output: &str, attributes: &[(&str, Is<'_>)]) -> Vec<u8> {
    let mut node: Vec<u8> = inputs.iter().flat_map(|input| field(1, input.as_bytes())).collect();
    node.extend([field(2, output.as_bytes()), field(4, operator.as_bytes())].concat());
    for (name, is) in attributes {
        let value = match is {
            Is::Int(value) => varint(3, *value),
            Is::Ints(values) => values.iter().flat_map(|&value| varint(8, value)).collect(),
            Is::Float(value) => [&[2 << 3 | 5][..], &value.to_le_bytes()].concat(),
            Is::Text(text) => field(4, text.as_bytes()),
        };
        node.extend(field(5, &[field(1, name.as_bytes()), value].concat()));
    }
    field(1, &node)
}

/// A tensor of floats, or with `is_int` of whole numbers.
fn tensor(name: &str, dims: &[i64], numbers: &[f32], is_int: bool) -> Vec<u8> {
    let bytes: Vec<u8> = match is_int {
        true => numbers.iter().flat_map(|&number| (number as i64).to_le_bytes()).collect(),
        false => numbers.iter().flat_map(|number| number.to_le_bytes()).collect(),
    };
    let mut tensor: Vec<u8> = dims.iter().flat_map(|&dim| varint(1, dim)).collect();
    tensor.extend(
        [varint(2, if is_int { 7 } else { 1 }), field(8, name.as_bytes()), field(9, &bytes)].concat(),
    );
    field(5, &tensor)
}

/// A file with the input `x` and the output `y`.
fn file(opset: i64, input: &[i64], parts: &[Vec<u8>]) -> Vec<u8> {
    let value = |number, name: &str, dims: &[i64]| {
        let dims: Vec<u8> = dims.iter().flat_map(|&dim| field(1, &varint(1, dim))).collect();
        let kind = field(2, &field(1, &[varint(1, 1), field(2, &dims)].concat()));
        field(number, &[field(1, name.as_bytes()), kind].concat())
    };
    let graph = [parts.concat(), value(11, "x", input), value(12, "y", &[])].concat();
    [field(7, &graph), field(8, &varint(2, opset))].concat()
}

/// The spec of a file, and what its network makes of one sample.
fn imported(bytes: &[u8], x: Vec<f32>) -> (String, bool, Vec<f32>) {
    let read = onnx::read(bytes, "file").unwrap();
    let network = read.spec.build::<f32>(read.input).unwrap();
    let x = Array2::from_shape_vec((1, x.len()), x).unwrap();
    (
        read.spec.to_string(),
        read.has_softmax,
        network.predict(&read.theta, x.view()).into_raw_vec_and_offset().0,
    )
}

fn refusal(bytes: &[u8]) -> String {
    onnx::read(bytes, "file").unwrap_err().to_string()
}

/// Cases of ONNX's own (`onnx/backend/test/case/node`), with the numbers that are expected there.
#[test]
fn onnx_cases_have_the_expected_numbers() {
    let count = |n: i32| (1..=n).map(|i| i as f32).collect::<Vec<_>>();
    let window = |operator, size: i64, stride: i64, more: Vec<(&'static str, Is<'static>)>| {
        let (size, stride) = ([size; 2], [stride; 2]);
        let mut attributes = vec![("kernel_shape", Is::Ints(&size)), ("strides", Is::Ints(&stride))];
        attributes.extend(more);
        node(operator, &["x"], "y", &attributes)
    };
    let pads = || ("pads", Is::Ints(&[2, 2, 2, 2]));
    let cases = [
        (
            "same_upper",
            window("MaxPool", 3, 2, vec![("auto_pad", Is::Text("SAME_UPPER"))]),
            5,
            vec![7.0, 9.0, 10.0, 17.0, 19.0, 20.0, 22.0, 24.0, 25.0],
        ),
        ("ceil", window("MaxPool", 3, 2, vec![("ceil_mode", Is::Int(1))]), 4, vec![11.0, 12.0, 15.0, 16.0]),
        (
            "ceil_output_size_reduce_by_one",
            window("MaxPool", 1, 2, vec![("ceil_mode", Is::Int(1))]),
            2,
            vec![1.0],
        ),
        (
            "dilations",
            window("MaxPool", 2, 1, vec![("dilations", Is::Ints(&[2, 2]))]),
            4,
            vec![11.0, 12.0, 15.0, 16.0],
        ),
        (
            "precomputed_pads",
            window("AveragePool", 5, 1, vec![pads()]),
            5,
            vec![
                7.0, 7.5, 8.0, 8.5, 9.0, 9.5, 10.0, 10.5, 11.0, 11.5, 12.0, 12.5, 13.0, 13.5, 14.0, 14.5,
                15.0, 15.5, 16.0, 16.5, 17.0, 17.5, 18.0, 18.5, 19.0,
            ],
        ),
        (
            "precomputed_pads_count_include_pad",
            window("AveragePool", 5, 1, vec![pads(), ("count_include_pad", Is::Int(1))]),
            5,
            vec![
                2.52, 3.6, 4.8, 4.08, 3.24, 4.56, 6.4, 8.4, 7.04, 5.52, 7.2, 10.0, 13.0, 10.8, 8.4, 6.96,
                9.6, 12.4, 10.24, 7.92, 6.12, 8.4, 10.8, 8.88, 6.84,
            ],
        ),
        ("ceil", window("AveragePool", 3, 2, vec![("ceil_mode", Is::Int(1))]), 4, vec![6.0, 7.5, 12.0, 13.5]),
    ];
    for (name, node, side, expected) in cases {
        let bytes = file(22, &[1, 1, side, side], &[node]);
        let (spec, _, found) = imported(&bytes, count((side * side) as i32));
        assert_eq!(found.len(), expected.len(), "{name}: {spec}");
        assert!(found.iter().zip(&expected).all(|(f, e)| (f - e).abs() < 1e-5), "{name}: {spec}: {found:?}");
    }
    let ones = tensor("w", &[1, 1, 3, 3], &[1.0; 9], false);
    let attributes = [
        ("kernel_shape", Is::Ints(&[3, 3])),
        ("pads", Is::Ints(&[1, 0, 1, 0])),
        ("strides", Is::Ints(&[2, 2])),
    ];
    let conv = node("Conv", &["x", "w"], "y", &attributes);
    let x = (0..35).map(|i| i as f32).collect();
    let (spec, _, found) = imported(&file(22, &[1, 1, 7, 5], &[conv, ones]), x);
    assert_eq!(spec, "conv(1,3,stride=2,pad=1x0,bias=false)");
    assert_eq!(found, [21.0, 33.0, 99.0, 117.0, 189.0, 207.0, 171.0, 183.0]);
}

#[test]
fn numbers_behind_a_product_are_taken_into_it() {
    // 0.25 x W^T + 0.5 [1, 2], one time more and 3 more: W = [[1, 2, 3], [4, 5, 6]].
    let w = tensor("w", &[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], false);
    let parts = [
        node(
            "Gemm",
            &["x", "w", "b"],
            "g",
            &[("alpha", Is::Float(0.25)), ("beta", Is::Float(0.5)), ("transB", Is::Int(1))],
        ),
        node("Mul", &["g", "two"], "m", &[]),
        node("Add", &["three", "m"], "y", &[]),
        tensor("b", &[1, 2], &[1.0, 2.0], false),
        tensor("two", &[], &[2.0], false),
        tensor("three", &[2], &[3.0, -3.0], false),
        w.clone(),
    ];
    let (spec, _, found) = imported(&file(13, &[1, 3], &parts), vec![4.0, 8.0, 12.0]);
    assert_eq!((&spec[..], &found[..]), ("dense(2)", &[32.0, 63.0][..]));
    // The other way round is of no use: nothing before it has numbers to take it in.
    let alone =
        file(13, &[1, 2], &[node("Add", &["x", "b"], "y", &[]), tensor("b", &[2], &[1.0, 2.0], false)]);
    let error = refusal(&alone);
    assert!(
        error.contains("(Add)") && error.contains("expected a Conv, Gemm, MatMul or BatchNormalization"),
        "{error}"
    );
    let by_sample = [
        node("Gemm", &["x", "w", "b"], "y", &[("transB", Is::Int(1))]),
        tensor("b", &[3, 2], &[1.0; 6], false),
        w,
    ];
    let error = refusal(&file(13, &[3, 3], &by_sample));
    assert!(error.ends_with("expected one bias, or 2, the same for each sample, found [3, 2]"), "{error}");
}

#[test]
fn a_softmax_is_left_out_at_the_end_and_refused_elsewhere() {
    let softmax = |axis| node("Softmax", &["r"], "y", &[("axis", Is::Int(axis))]);
    let relu = || node("Relu", &["x"], "r", &[]);
    for axis in [1, -1] {
        let (spec, has_softmax, found) =
            imported(&file(13, &[1, 2], &[relu(), softmax(axis)]), vec![-1.0, 2.0]);
        assert_eq!((&spec[..], has_softmax, &found[..]), ("relu", true, &[0.0, 2.0][..]));
    }
    let error = refusal(&file(13, &[1, 2], &[relu(), softmax(0)]));
    assert!(error.ends_with("expected axis 1 of [samples, classes], found axis 0 of 2 axes"), "{error}");
    // Over the last axis of an image, that is; before operator set 13 it was over all of it.
    let log = || node("LogSoftmax", &["x"], "y", &[]);
    assert!(refusal(&file(13, &[1, 2, 3, 3], &[log()])).ends_with("found axis -1 of 4 axes"));
    assert_eq!(
        onnx::read(&file(11, &[1, 2, 3, 3], &[log()]), "file").unwrap().spec.to_string(),
        "log_softmax"
    );
    let inside = [node("Softmax", &["x"], "s", &[]), node("Relu", &["s"], "y", &[])];
    assert!(
        refusal(&file(13, &[1, 2], &inside)).contains("(Softmax): expected a softmax nowhere but at the end")
    );
}

#[test]
fn activations_are_known_by_what_they_compute() {
    let scalar = |name, number| tensor(name, &[], &[number], false);
    // x / (1 + e^-x).
    let silu = [
        node("Neg", &["x"], "n", &[]),
        node("Exp", &["n"], "e", &[]),
        node("Add", &["e", "one"], "d", &[]),
        node("Div", &["x", "d"], "y", &[]),
        scalar("one", 1.0),
    ];
    assert_eq!(onnx::read(&file(13, &[1, 4], &silu), "file").unwrap().spec.to_string(), "silu");
    let gelu = |erf: bool| {
        let [share, cube] = if erf { [0.5f32.sqrt(), 0.0] } else { [0.797_884_6, 0.797_884_6 * 0.044715] };
        [
            node("Pow", &["x", "three"], "p", &[]),
            node("Mul", &["p", "cube"], "c", &[]),
            node("Mul", &["x", "share"], "u", &[]),
            node("Add", &["c", "u"], "v", &[]),
            node(if erf { "Erf" } else { "Tanh" }, &["v"], "t", &[]),
            node("Add", &["t", "one"], "s", &[]),
            node("Mul", &["s", "x"], "z", &[]),
            node("Mul", &["half", "z"], "y", &[]),
            scalar("three", 3.0),
            scalar("cube", cube),
            scalar("share", share),
            scalar("one", 1.0),
            scalar("half", 0.5),
        ]
    };
    assert_eq!(onnx::read(&file(13, &[1, 4], &gelu(false)), "file").unwrap().spec.to_string(), "gelu");
    assert_eq!(
        onnx::read(&file(13, &[1, 4], &gelu(true)), "file").unwrap().spec.to_string(),
        "gelu(exact=true)"
    );
    let gate = [
        node("Sigmoid", &["x"], "s", &[]),
        node("Mul", &["x", "two"], "t", &[]),
        node("Mul", &["s", "t"], "y", &[]),
    ];
    let error = refusal(&file(13, &[1, 4], &[&gate[..], &[scalar("two", 2.0)]].concat()));
    assert!(
        error.contains("(Mul): expected a node that reads one value, or an Add or Concat of branches"),
        "{error}"
    );
}

#[test]
fn branches_are_read_and_what_is_shared_between_them_is_refused() {
    let join = |operator, inputs: &[&str], output| {
        let axis = [("axis", Is::Int(1))];
        node(operator, inputs, output, if operator == "Concat" { &axis } else { &[] })
    };
    let parts = [
        node("Relu", &["x"], "r", &[]),
        node("Tanh", &["r"], "t", &[]),
        join("Concat", &["t", "r"], "c"),
        node("Sigmoid", &["c"], "s", &[]),
        join("Add", &["c", "s"], "y"),
    ];
    let spec = onnx::read(&file(13, &[1, 4], &parts), "file").unwrap().spec.to_string();
    assert_eq!(spec, "relu concat(tanh | linear) residual(sigmoid)");
    // A dense block: the second Concat reads what branches of the first one read.
    let dense = [
        node("Relu", &["x"], "a", &[]),
        join("Concat", &["x", "a"], "b"),
        node("Tanh", &["b"], "c", &[]),
        join("Concat", &["x", "a", "c"], "y"),
    ];
    let error = refusal(&file(13, &[1, 4], &dense));
    assert!(error.contains("(Relu): expected branches of which each value is read by one node"), "{error}");
    let rows = node("Concat", &["x", "r"], "y", &[("axis", Is::Int(0))]);
    let error = refusal(&file(13, &[1, 4], &[node("Relu", &["x"], "r", &[]), rows]));
    assert!(error.ends_with("(Concat): expected axis 1, the channels, found 0"), "{error}");
}

#[test]
fn sides_and_statistics_are_read_as_they_are_meant() {
    let shape = |sides: &[f32]| tensor("shape", &[sides.len() as i64], sides, true);
    let reshape =
        |sides: &[f32]| file(13, &[1, 2, 3, 3], &[node("Reshape", &["x", "shape"], "y", &[]), shape(sides)]);
    for sides in [&[1.0, -1.0][..], &[0.0, 18.0], &[-1.0, 18.0]] {
        assert_eq!(onnx::read(&reshape(sides), "file").unwrap().spec.to_string(), "flatten", "{sides:?}");
    }
    let error = refusal(&reshape(&[2.0, 9.0]));
    assert!(error.ends_with("expected a reshape to [samples, 18], found one to [2, 9]"), "{error}");
    let of_channels = |name| tensor(name, &[2], &[1.0, 2.0], false);
    let norm = |more: (&'static str, Is<'static>)| {
        let inputs = ["x", "w", "b", "m", "v"];
        let node = node("BatchNormalization", &inputs, "y", &[("epsilon", Is::Float(0.01)), more]);
        file(
            15,
            &[1, 2, 3, 3],
            &[vec![node], inputs[1..].iter().map(|name| of_channels(name)).collect()].concat(),
        )
    };
    let read = onnx::read(&norm(("momentum", Is::Float(0.8))), "file").unwrap();
    assert_eq!(read.spec.to_string(), "batchnorm(eps=0.01,momentum=0.2)");
    let error = refusal(&norm(("training_mode", Is::Int(1))));
    assert!(error.ends_with("(BatchNormalization): expected training_mode=0, found 1"), "{error}");
    // A layer's weights may be one number, told by its sides: no memory is taken for more than a network may have.
    let weights = |side: f32| {
        let sides = tensor("shape", &[4], &[side, 2.0, 1.0, 1.0], true);
        [node("ConstantOfShape", &["shape"], "w", &[]), node("Conv", &["x", "w"], "y", &[]), sides]
    };
    assert_eq!(imported(&file(13, &[1, 2, 1, 1], &weights(3.0)), vec![1.0, 2.0]).2, [0.0; 3]);
    assert!(refusal(&file(13, &[1, 2, 1, 1], &weights(1e12))).contains("expected weights of at most"));
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
    let flat = model_of(3, "flatten dense(4)", Preprocessing::unit());
    for (model, channels) in [(&flat, 3), (&model("flatten dense(4)", Preprocessing::unit()), 1)] {
        assert_eq!(model.channels(), channels);
        onnx::write(model, onnx::Options { pictures: Some(SIZE), ..onnx::Options::default() }).unwrap();
    }
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
    let in_colour = model_of(3, "conv(4,3) pool(2) dense(7)", preprocessings()[3]);
    let grey = NETWORKS.iter().map(|spec| model(spec, Preprocessing::unit())).chain(preprocessed);
    grey.chain([in_colour]).collect()
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
            assert_bits(&place.join("program"), &logits(model, &pictures(5, model.channels())), model);
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
            assert_bits(
                &place.join("target/release/my_net"),
                &logits(model, &pictures(3, model.channels())),
                model,
            );
        }
    }
}

#[test]
fn whole_numbers_are_the_same_in_both_languages() {
    let folder = TempDir::new().unwrap();
    for (index, model) in models().iter().enumerate() {
        // Logarithms of probabilities are for floats.
        let Ok(quantized) = Quantized::new(model, pictures(50, model.channels()).view()) else {
            assert!(model.spec.to_string().ends_with("log_softmax"), "{}", model.spec);
            continue;
        };
        let options = source::Options { name: "net8", pictures: Some(SIZE), int8: Some(&quantized) };
        let five = pictures(5, model.channels());
        let expected = quantized.predict(model.preprocessing.apply(five.view()).view());
        // Near to what floats say: within a twentieth of the largest output.
        let (floats, largest) =
            (logits(model, &five), |all: &Array2<f32>| all.fold(0.0f32, |m, x| m.max(x.abs())));
        let difference = largest(&(&floats - &expected)) / largest(&floats);
        assert!(difference < 0.05, "{}: {difference}", model.spec);

        let place = folder.path().join(format!("c{index}"));
        let written = source::c(model, &options).unwrap();
        write(&written, &place);
        if compile_c(&place, &["-std=c99", "-O1", "-pedantic"]) {
            assert_bits(&place.join("program"), &expected, model);
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
        assert_bits(&place.join("target/release/net8"), &expected, model);
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
fn assert_bits(program: &Path, expected: &Array2<f32>, model: &Model) {
    let (spec, channels) = (&model.spec, model.channels());
    if !Isa::available().iter().any(|isa| isa.name() != "portable" && isa.name() != "wide") {
        // Without fused multiply-add `predict` has other bits.
        return;
    }
    let (n, classes) = expected.dim();
    let pictures = pictures(n, channels);
    // Grey pictures have no axis of channels.
    let dims: Vec<usize> = pictures.shape().iter().copied().filter(|&side| side > 1).collect();
    let mut idx = vec![0, 0, 8, dims.len() as u8];
    dims.iter().for_each(|&side| idx.extend((side as u32).to_be_bytes()));
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
