//! Layers and losses in f64 against what PyTorch computes, stored in `golden/vectors.safetensors` by `golden/make.py`.
//!
//! `make.py` names the versions it ran with, and says where PyTorch's conventions are not those of this crate. Relative error: the
//! difference over the larger of the expected number and the root mean square of its tensor.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use byhand_layers::loss::{
    Labels, Loss, NegativeLogLikelihood, SoftmaxCrossEntropy, SquaredError, Target, TargetRows, Weighting,
};
use byhand_layers::{
    AvgPool2d, BatchNorm, Block, Conv2d, ConvOptions, Dense, ExactGelu, Gelu, GlobalAvgPool, GlobalMaxPool,
    Layer, LeakyRelu, LogSoftmax, MaxPool2d, Padding, ParamSpec, Pass, PoolOptions, Relu, Saved, Shape,
    Sigmoid, Silu, Tanh, pack_gradient, unpack,
};
use ndarray::ArrayView2;
use safetensors::{Dtype, SafeTensors};

/// The largest relative error of any number.
const LIMIT: f64 = 1e-12;

#[test]
fn layers_agree_with_pytorch() {
    for layer in layers() {
        let case = format!("{} of {}", layer.spec(), layer.input());
        let x = numbers(&format!("{case}/x"));
        let samples = x.len() / layer.input().features();
        for block in [Block::tiled(samples), Block::single(samples)] {
            let found = run(&*layer, block, &case);
            for (name, found) in ["y", "dx", "dw", "db"].iter().zip(found) {
                assert_close(&found, &format!("{case}/{name}"), block);
            }
        }
    }
}

#[test]
fn losses_agree_with_pytorch() {
    let weights = vec![0.5, 2.0, 0.0, 1.25, 3.0];
    let weighted = Weighting { classes: weights.clone(), ignore: None };
    let ignoring = Weighting { ignore: Some(9), ..Weighting::none() };
    let both = Weighting { classes: weights, ignore: Some(9) };
    let cross_entropy = |label_smoothing, weighting: &Weighting| SoftmaxCrossEntropy {
        label_smoothing,
        weighting: weighting.clone(),
    };
    let plain = SoftmaxCrossEntropy::default();
    let smoothed = SoftmaxCrossEntropy { label_smoothing: 0.1, ..Default::default() };
    let losses: [(&str, &dyn Loss<f64>); 12] = [
        ("cross-entropy of 5", &plain),
        ("cross-entropy of 10", &plain),
        ("cross-entropy, smoothing 0.1 of 5", &smoothed),
        ("cross-entropy on rows of 5", &plain),
        ("cross-entropy on rows, smoothing 0.1 of 5", &smoothed),
        ("squared error on rows of 5", &SquaredError),
        ("cross-entropy, weights of 5", &cross_entropy(0.0, &weighted)),
        ("cross-entropy, weights, smoothing 0.2, 9 ignored of 5", &cross_entropy(0.2, &both)),
        ("cross-entropy, smoothing 0.2, 9 ignored of 5", &cross_entropy(0.2, &ignoring)),
        ("cross-entropy on rows, weights, smoothing 0.2 of 5", &cross_entropy(0.2, &weighted)),
        ("negative log-likelihood, weights, 9 ignored of 5", &NegativeLogLikelihood { weighting: both }),
        ("negative log-likelihood of 5", &NegativeLogLikelihood::default()),
    ];
    for (case, loss) in losses {
        let (y, target) = (numbers(&format!("{case}/y")), numbers(&format!("{case}/target")));
        let labels: Vec<u16> = target.iter().map(|&label| label as u16).collect();
        let on_rows = target.len() == y.len();
        let samples = if on_rows { y.len() / 5 } else { labels.len() };
        let classes = y.len() / samples;
        for block in [Block::tiled(samples), Block::single(samples)] {
            let target: Target<'_, f64> =
                if on_rows { TargetRows(&target).into() } else { Labels(&labels).into() };
            let mut dy = vec![f64::NAN; block.len(classes)];
            let scale = 1.0 / loss.weighting().total(target, samples);
            let stats = loss.value_and_gradient(block, &laid(&y, block, classes), target, scale, &mut dy);
            assert_close(&[stats.loss * scale], &format!("{case}/loss"), block);
            assert_close(&rows(&dy, block, classes), &format!("{case}/dy"), block);
        }
    }
}

/// A file with a case that no test reads would prove less than it seems to.
#[test]
fn every_stored_case_is_read() {
    let stored: BTreeSet<String> = vectors().names().iter().map(|name| case(name)).collect();
    let layers: BTreeSet<String> =
        layers().iter().map(|layer| format!("{} of {}", layer.spec(), layer.input())).collect();
    let losses = stored
        .iter()
        .filter(|case| ["entropy", "squared", "likelihood"].iter().any(|word| case.contains(word)))
        .count();
    assert!(layers.is_subset(&stored), "not stored: {:?}", layers.difference(&stored));
    assert_eq!(stored.len(), layers.len() + losses, "{stored:?}");
    assert_eq!(losses, 12);
}

/// The cases of `make.py`: each layer's spec and input shape name its tensors.
fn layers() -> Vec<Box<dyn Layer<f64>>> {
    let conv = |input, channels, kernel, stride, pad, bias| -> Box<dyn Layer<f64>> {
        let options = ConvOptions { kernel, stride, pad: Padding::axes(pad), bias, ..ConvOptions::square(1) };
        Box::new(Conv2d::new(input, channels, options).unwrap())
    };
    let max = |input, window, stride| -> Box<dyn Layer<f64>> {
        Box::new(MaxPool2d::new(input, window, stride).unwrap())
    };
    let avg = |input, window, stride| -> Box<dyn Layer<f64>> {
        Box::new(AvgPool2d::new(input, window, stride).unwrap())
    };
    let pool = |window, stride, pad| PoolOptions { stride, pad, ..PoolOptions::new(window) };
    let ceil = |options| PoolOptions { ceil: true, ..options };
    let max_of = |input, options| -> Box<dyn Layer<f64>> {
        Box::new(MaxPool2d::with_options(input, options).unwrap())
    };
    let avg_of = |input, options, count_pad| -> Box<dyn Layer<f64>> {
        Box::new(AvgPool2d::with_options(input, options, count_pad).unwrap())
    };
    let conv_of = |input, channels, options| -> Box<dyn Layer<f64>> {
        Box::new(Conv2d::new(input, channels, options).unwrap())
    };
    let (axes, sides) = (Padding::axes, Padding::Sides([2, 0, 1, 2]));
    let kernel = |kernel, stride, pad| ConvOptions { kernel, stride, pad, ..ConvOptions::square(1) };
    let dense = |inputs, outputs, bias| -> Box<dyn Layer<f64>> {
        Box::new(Dense::new(inputs, outputs, bias).unwrap())
    };
    let shape = Shape::new;
    vec![
        conv(shape(1, 6, 6), 3, [3, 3], [1, 1], [0, 0], true),
        conv(shape(2, 5, 7), 4, [3, 3], [1, 1], [1, 1], true),
        conv(shape(3, 7, 5), 2, [3, 2], [2, 1], [1, 0], true),
        conv(shape(2, 9, 6), 2, [2, 3], [3, 2], [1, 2], true),
        conv(shape(2, 8, 6), 2, [5, 5], [1, 1], [0, 0], false),
        conv(shape(3, 2, 3), 17, [1, 1], [1, 1], [0, 0], true),
        conv(shape(1, 3, 4), 2, [2, 2], [1, 1], [0, 0], true),
        max(shape(2, 6, 4), [2, 2], [2, 2]),
        max(shape(1, 5, 7), [2, 2], [2, 2]),
        max(shape(2, 7, 6), [3, 3], [2, 1]),
        max(shape(1, 5, 8), [2, 3], [1, 2]),
        max(shape(3, 4, 4), [2, 2], [2, 2]),
        max(shape(1, 7, 9), [3, 3], [2, 2]),
        avg(shape(2, 6, 4), [2, 2], [2, 2]),
        avg(shape(2, 7, 5), [3, 2], [3, 2]),
        avg(shape(1, 7, 6), [3, 3], [2, 1]),
        dense(7, 5, true),
        dense(18, 20, true),
        dense(33, 4, false),
        dense(4, 3, true),
        Box::new(Relu::new(shape(2, 3, 4))),
        Box::new(Tanh::new(shape(2, 3, 4))),
        Box::new(Tanh::new(shape(3, 5, 2))),
        Box::new(Sigmoid::new(shape(2, 3, 4))),
        Box::new(Sigmoid::new(shape(3, 5, 2))),
        Box::new(LeakyRelu::new(shape(2, 3, 4), 0.01).unwrap()),
        Box::new(LeakyRelu::new(shape(3, 5, 2), 0.2).unwrap()),
        Box::new(Gelu::new(shape(3, 5, 2))),
        Box::new(ExactGelu::new(shape(3, 5, 2))),
        Box::new(Silu::new(shape(3, 5, 2))),
        Box::new(GlobalAvgPool::new(shape(3, 5, 2)).unwrap()),
        Box::new(GlobalMaxPool::new(shape(3, 5, 2)).unwrap()),
        Box::new(BatchNorm::new(shape(3, 5, 2), BatchNorm::EPS, BatchNorm::MOMENTUM).unwrap()),
        Box::new(BatchNorm::new(shape(7, 1, 1), 1e-3, BatchNorm::MOMENTUM).unwrap()),
        max_of(shape(2, 7, 6), pool([3, 3], [2, 2], axes([1, 1]))),
        max_of(shape(1, 6, 8), ceil(pool([3, 3], [2, 2], axes([1, 1])))),
        max_of(shape(1, 5, 7), ceil(pool([2, 2], [3, 3], Padding::NONE))),
        max_of(shape(2, 5, 6), PoolOptions { dilation: [2, 3], ..pool([3, 2], [1, 1], axes([1, 1])) }),
        max_of(shape(2, 5, 4), pool([3, 3], [2, 1], sides)),
        max_of(shape(2, 4, 5), pool([2, 2], [1, 1], Padding::Same)),
        max_of(shape(2, 4, 5), pool([2, 2], [1, 1], Padding::SameLower)),
        avg_of(shape(2, 7, 6), pool([3, 3], [2, 2], axes([1, 1])), true),
        avg_of(shape(2, 7, 6), pool([3, 3], [2, 2], axes([1, 1])), false),
        avg_of(shape(1, 6, 8), ceil(pool([3, 3], [2, 2], axes([1, 1]))), true),
        avg_of(shape(1, 6, 9), ceil(pool([3, 2], [2, 3], axes([1, 1]))), false),
        avg_of(shape(3, 2, 2), ceil(pool([3, 3], [3, 3], axes([1, 1]))), true),
        avg_of(shape(2, 5, 4), pool([3, 3], [2, 1], sides), true),
        conv_of(shape(2, 6, 5), 3, ConvOptions { dilation: [2, 2], ..kernel([3, 3], [1, 1], Padding::Same) }),
        conv_of(shape(2, 5, 7), 2, ConvOptions { bias: false, ..kernel([2, 4], [1, 1], Padding::Same) }),
        conv_of(shape(2, 8, 9), 2, ConvOptions { dilation: [2, 3], ..kernel([3, 2], [2, 3], axes([2, 1])) }),
        conv_of(shape(4, 5, 4), 6, ConvOptions { groups: 2, ..kernel([3, 3], [1, 1], axes([1, 1])) }),
        conv_of(shape(4, 7, 6), 8, ConvOptions { groups: 4, ..kernel([3, 3], [2, 2], Padding::NONE) }),
        conv_of(
            shape(3, 6, 4),
            3,
            ConvOptions { groups: 3, dilation: [2, 1], ..kernel([2, 2], [1, 1], Padding::NONE) },
        ),
        Box::new(LogSoftmax::new(Shape::flat(7))),
        conv_of(shape(1, 6, 6), 2, kernel([3, 3], [2, 2], Padding::Sides([0, 1, 2, 0]))),
    ]
}

/// y, dx, dw and db of a case, sample after sample; the last two as far as the layer has them.
fn run(layer: &dyn Layer<f64>, block: Block, case: &str) -> Vec<Vec<f64>> {
    let named = |name: &str| numbers(&format!("{case}/{name}"));
    let (inputs, outputs) = (layer.input().features(), layer.output().features());
    let params = layer.params();
    let tensor = |param: &ParamSpec| match param.is_state {
        true => vec![param.start.unwrap(); param.len()],
        false => named(&param.name[..1]),
    };
    let theta: Vec<f64> = params.iter().flat_map(tensor).collect();
    let (x, dy) = (laid(&named("x"), block, inputs), laid(&named("dy"), block, outputs));
    let mut y = vec![f64::NAN; block.len(outputs)];
    let mut dx = vec![f64::NAN; block.len(inputs)];
    let mut dtheta = vec![0.0; theta.len()];
    let mut tape = vec![f64::NAN; layer.tape_len(block)];
    let mut scratch = vec![f64::NAN; layer.scratch_len(block)];
    let pass = Pass::train(block, 0, 0, 0);
    layer.forward(&pass, &theta, &x, &mut y, &mut tape, &mut scratch);
    let saved = Saved { x: &x, y: &y, tape: &tape };
    layer.backward(&pass, &theta, saved, &dy, Some(&mut dx), &mut dtheta, &mut scratch);
    let mut found = vec![rows(&y, block, outputs), rows(&dx, block, inputs)];
    let mut rest = &dtheta[..];
    for param in params.iter().filter(|param| !param.is_state) {
        let (own, others) = rest.split_at(param.len());
        found.push(own.to_vec());
        rest = others;
    }
    found
}

/// Numbers sample after sample in the layout of a block, with zero in lanes without a sample.
fn laid(rows: &[f64], block: Block, features: usize) -> Vec<f64> {
    let mut out = vec![f64::NAN; block.len(features)];
    let rows = ArrayView2::from_shape((block.samples(), features), rows).expect("a row for each sample");
    pack_gradient(rows, block, &mut out);
    out
}

/// The way back.
fn rows(laid: &[f64], block: Block, features: usize) -> Vec<f64> {
    unpack(block, features, laid).into_raw_vec_and_offset().0
}

#[track_caller]
fn assert_close(found: &[f64], name: &str, block: Block) {
    let expected = numbers(name);
    assert_eq!(found.len(), expected.len(), "{name}: how many numbers");
    let typical = (expected.iter().map(|e| e * e).sum::<f64>() / expected.len() as f64).sqrt();
    for (i, (&found, &expected)) in found.iter().zip(&expected).enumerate() {
        let error = (found - expected).abs() / expected.abs().max(typical).max(f64::MIN_POSITIVE);
        assert!(
            error <= LIMIT,
            "{name}[{i}], {block:?}: expected {expected:e}, found {found:e}, relative error {error:e}"
        );
    }
}

fn vectors() -> &'static SafeTensors<'static> {
    static VECTORS: OnceLock<SafeTensors<'static>> = OnceLock::new();
    VECTORS.get_or_init(|| SafeTensors::deserialize(include_bytes!("../golden/vectors.safetensors")).unwrap())
}

/// A stored tensor, flat; labels as numbers.
#[track_caller]
fn numbers(name: &str) -> Vec<f64> {
    let tensor = vectors().tensor(name).unwrap_or_else(|error| panic!("{name}: {error}"));
    let words = tensor.data().chunks_exact(8).map(|word| word.try_into().unwrap());
    match tensor.dtype() {
        Dtype::F64 => words.map(f64::from_le_bytes).collect(),
        Dtype::I64 => words.map(|word| i64::from_le_bytes(word) as f64).collect(),
        other => panic!("{name}: {other:?}, expected F64 or I64"),
    }
}

/// The part of a tensor's name before its last slash.
fn case(name: &str) -> String {
    name.rsplit_once('/').unwrap().0.to_owned()
}
