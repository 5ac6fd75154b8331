//! Networks and data that the tests share.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::sync::OnceLock;

use byhand_datasets::Dataset;
use byhand_datasets::digits::{self, Part};
use byhand_layers::init::{Init, init_network};
use byhand_layers::{Network, Shape};
use byhand_models::Spec;

fn network(layers: &str, input: Shape) -> Network {
    layers.parse::<Spec>().unwrap().build(input).unwrap()
}

fn of_images(layers: &str) -> Network {
    network(layers, Shape::new(1, 28, 28))
}

pub(crate) fn cnn() -> Network {
    of_images("conv(6,5) relu pool(2) flatten dense(32) relu dense(10)")
}

pub(crate) fn normed() -> Network {
    of_images(
        "conv(6,5,bias=false) batchnorm relu pool(2) flatten dense(32,bias=false) batchnorm relu dropout(0.2) dense(10)",
    )
}

/// A block with an identity and one with a projection, and branches side by side; batch normalisation and dropout inside.
pub(crate) fn residual() -> Network {
    of_images(
        "conv(6,5,stride=2) residual(conv(6,3,pad=1,bias=false) batchnorm relu dropout(0.2) conv(6,3,pad=1)) \
         residual(conv(8,3,stride=2,pad=1) batchnorm | conv(8,1,stride=2)) relu concat(pool(2) | avgpool(2)) dense(10)",
    )
}

/// So much work that eight samples are cut in two.
pub(crate) fn large_cnn() -> Network {
    of_images("conv(8,5) pool(2) conv(16,5) pool(2) flatten dense(10)")
}

/// Enough parameters that the update is shared among threads.
pub(crate) fn mlp() -> Network {
    of_images("flatten dense(64) relu dropout(0.2) dense(10)")
}

/// Two layers behind the first that are too small for two ranks.
pub(crate) fn mlp3() -> Network {
    network("dense(50) relu dense(50) relu dense(10)", Shape::flat(784))
}

/// Its first layers are large enough for two ranks.
pub(crate) fn wide() -> Network {
    of_images("flatten dense(256) relu dense(256) dense(10)")
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
