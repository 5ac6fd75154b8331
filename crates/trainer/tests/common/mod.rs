//! Networks and data that the tests share.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::sync::OnceLock;

use byhand_datasets::Dataset;
use byhand_datasets::digits::{self, Part};
use byhand_layers::init::{Init, init_network};
use byhand_layers::{
    BatchNorm, Conv2d, ConvOptions, Dense, Dropout, Flatten, Layer, MaxPool2d, Network, Relu, Shape,
};

use byhand_models::Spec;

type Layers = Vec<Box<dyn Layer<f32>>>;

/// conv 6 of 5x5, ReLU, pool 2, dense 32, ReLU, dense 10.
pub(crate) fn cnn() -> Network {
    let mut layers: Layers = Vec::new();
    let mut shape = Shape::new(1, 28, 28);
    let conv = Conv2d::new(shape, 6, ConvOptions::square(5)).unwrap();
    shape = Shape::new(6, 24, 24);
    layers.push(Box::new(conv));
    layers.push(Box::new(Relu::new(shape)));
    layers.push(Box::new(MaxPool2d::new(shape, [2, 2], [2, 2]).unwrap()));
    shape = Shape::new(6, 12, 12);
    layers.push(Box::new(Flatten::new(shape)));
    layers.push(Box::new(Dense::new(shape.features(), 32, true).unwrap()));
    layers.push(Box::new(Relu::new(Shape::flat(32))));
    layers.push(Box::new(Dense::new(32, 10, true).unwrap()));
    Network::new(layers).unwrap()
}

/// conv 6 of 5x5, batch normalisation, ReLU, pool 2, dense 32, batch normalisation, ReLU, dropout, dense 10.
pub(crate) fn normed() -> Network {
    let (wide, small, flat) = (Shape::new(6, 24, 24), Shape::new(6, 12, 12), Shape::flat(32));
    let without_bias = ConvOptions { bias: false, ..ConvOptions::square(5) };
    let norm = |shape| Box::new(BatchNorm::new(shape, BatchNorm::EPS, BatchNorm::MOMENTUM).unwrap());
    let layers: Layers = vec![
        Box::new(Conv2d::new(Shape::new(1, 28, 28), 6, without_bias).unwrap()),
        norm(wide),
        Box::new(Relu::new(wide)),
        Box::new(MaxPool2d::new(wide, [2, 2], [2, 2]).unwrap()),
        Box::new(Flatten::new(small)),
        Box::new(Dense::new(small.features(), 32, false).unwrap()),
        norm(flat),
        Box::new(Relu::new(flat)),
        Box::new(Dropout::new(flat, 0.2).unwrap()),
        Box::new(Dense::new(32, 10, true).unwrap()),
    ];
    Network::new(layers).unwrap()
}

/// A block with an identity and one with a projection, and branches side by side; batch normalisation and dropout inside.
pub(crate) fn residual() -> Network {
    let layers = "conv(6,5,stride=2) residual(conv(6,3,pad=1,bias=false) batchnorm relu dropout(0.2) conv(6,3,pad=1)) \
                  residual(conv(8,3,stride=2,pad=1) batchnorm | conv(8,1,stride=2)) relu concat(pool(2) | avgpool(2)) dense(10)";
    layers.parse::<Spec>().unwrap().build(Shape::new(1, 28, 28)).unwrap()
}

/// Two convolutions, of 8 and 16 channels, each with its pooling, dense 10: so much work that eight samples are cut in two.
pub(crate) fn large_cnn() -> Network {
    let mut layers: Layers = Vec::new();
    let mut shape = Shape::new(1, 28, 28);
    for channels in [8, 16] {
        layers.push(Box::new(Conv2d::new(shape, channels, ConvOptions::square(5)).unwrap()));
        shape = Shape::new(channels, shape.h - 4, shape.w - 4);
        layers.push(Box::new(MaxPool2d::new(shape, [2, 2], [2, 2]).unwrap()));
        shape = Shape::new(channels, shape.h / 2, shape.w / 2);
    }
    layers.push(Box::new(Flatten::new(shape)));
    layers.push(Box::new(Dense::new(shape.features(), 10, true).unwrap()));
    Network::new(layers).unwrap()
}

/// dense 64, ReLU, dropout, dense 10: enough parameters that the update is shared among threads.
pub(crate) fn mlp() -> Network {
    let layers: Layers = vec![
        Box::new(Flatten::new(Shape::new(1, 28, 28))),
        Box::new(Dense::new(784, 64, true).unwrap()),
        Box::new(Relu::new(Shape::flat(64))),
        Box::new(Dropout::new(Shape::flat(64), 0.2).unwrap()),
        Box::new(Dense::new(64, 10, true).unwrap()),
    ];
    Network::new(layers).unwrap()
}

/// Two layers behind the first that are too small for two ranks.
pub(crate) fn mlp3() -> Network {
    let layers: Layers = vec![
        Box::new(Dense::new(784, 50, true).unwrap()),
        Box::new(Relu::new(Shape::flat(50))),
        Box::new(Dense::new(50, 50, true).unwrap()),
        Box::new(Relu::new(Shape::flat(50))),
        Box::new(Dense::new(50, 10, true).unwrap()),
    ];
    Network::new(layers).unwrap()
}

/// Its first layers are large enough for two ranks.
pub(crate) fn wide() -> Network {
    let layers: Layers = vec![
        Box::new(Flatten::new(Shape::new(1, 28, 28))),
        Box::new(Dense::new(784, 256, true).unwrap()),
        Box::new(Relu::new(Shape::flat(256))),
        Box::new(Dense::new(256, 256, true).unwrap()),
        Box::new(Dense::new(256, 10, true).unwrap()),
    ];
    Network::new(layers).unwrap()
}

pub(crate) fn theta(network: &Network) -> Vec<f32> {
    init_network(network, Init::HeNormal, 3)
}

/// 2,000 digits to train on.
pub(crate) fn train() -> &'static Dataset {
    static TRAIN: OnceLock<Dataset> = OnceLock::new();
    TRAIN.get_or_init(|| digits::generate(Part::Train, 2_000, digits::SEED))
}

/// 500 digits to test on.
pub(crate) fn test() -> &'static Dataset {
    static TEST: OnceLock<Dataset> = OnceLock::new();
    TEST.get_or_init(|| digits::generate(Part::Test, 500, digits::SEED))
}
