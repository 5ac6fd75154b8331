//! Random geometries of every layer that has one, each through the whole check.

use byhand_layers::check::{Options, check_layer};
use byhand_layers::{AvgPool2d, Conv2d, ConvOptions, Dense, MaxPool2d, Shape};
use proptest::prelude::*;

fn options(seed: u64) -> Options {
    Options { seed, samples: vec![3, 17], ..Options::default() }
}

fn shapes() -> impl Strategy<Value = Shape> {
    (1usize..4, 1usize..12, 1usize..20).prop_map(|(c, h, w)| Shape::new(c, h, w))
}

fn pairs(range: std::ops::Range<usize>) -> impl Strategy<Value = [usize; 2]> {
    [range.clone(), range]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn convolutions(
        input in shapes(),
        c_out in 1usize..7,
        kernel in pairs(1..6),
        stride in pairs(1..4),
        pad in pairs(0..3),
        bias: bool,
        seed: u64,
    ) {
        if let Ok(layer) = Conv2d::new(input, c_out, ConvOptions { kernel, stride, pad, bias }) {
            check_layer(&layer, &options(seed)).assert();
        }
    }

    #[test]
    fn pools(input in shapes(), window in pairs(1..5), stride in pairs(1..5), seed: u64) {
        if let Ok(layer) = MaxPool2d::new(input, window, stride) {
            check_layer(&layer, &options(seed)).assert();
        }
        if let Ok(layer) = AvgPool2d::new(input, window, stride) {
            check_layer(&layer, &options(seed)).assert();
        }
    }

    #[test]
    fn dense(inputs in 1usize..70, outputs in 1usize..40, bias: bool, seed: u64) {
        check_layer(&Dense::new(inputs, outputs, bias).unwrap(), &options(seed)).assert();
    }
}
