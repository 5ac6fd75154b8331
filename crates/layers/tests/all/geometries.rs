//! Random geometries of every layer that has one, each through the whole check.

use byhand_layers::check::{Options, check_layer};
use byhand_layers::{AvgPool2d, Conv2d, ConvOptions, Dense, MaxPool2d, Padding, PoolOptions, Shape};
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

fn paddings() -> impl Strategy<Value = Padding> {
    let sides = prop::array::uniform4(0usize..5).prop_map(Padding::Sides);
    prop_oneof![3 => sides, 1 => Just(Padding::Same), 1 => Just(Padding::SameLower)]
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
        let pad = Padding::axes(pad);
        let conv = ConvOptions { kernel, stride, pad, bias, ..ConvOptions::square(1) };
        if let Ok(layer) = Conv2d::new(input, c_out, conv) {
            check_layer(&layer, &options(seed)).assert();
        }
    }

    #[test]
    fn convolutions_made_of_parts(
        (channels, groups) in ([1usize..4, 1usize..4], 1usize..4),
        size in (1usize..12, 1usize..20),
        kernel in pairs(1..5),
        stride in pairs(1..4),
        dilation in pairs(1..4),
        pad in paddings(),
        bias: bool,
        seed: u64,
    ) {
        let input = Shape::new(channels[0] * groups, size.0, size.1);
        let conv = ConvOptions { kernel, stride, pad, dilation, groups, bias };
        if let Ok(layer) = Conv2d::new(input, channels[1] * groups, conv) {
            check_layer(&layer, &options(seed)).assert();
        }
    }

    #[test]
    fn pools(
        input in shapes(),
        window in pairs(1..5),
        stride in pairs(1..5),
        dilation in pairs(1..4),
        pad in paddings(),
        (ceil, plain, count_pad) in any::<(bool, bool, bool)>(),
        seed: u64,
    ) {
        let plain_windows = PoolOptions { stride, ..PoolOptions::new(window) };
        let pool = if plain { plain_windows } else { PoolOptions { dilation, pad, ceil, ..plain_windows } };
        if let Ok(layer) = MaxPool2d::with_options(input, pool) {
            check_layer(&layer, &options(seed)).assert();
        }
        if let Ok(layer) = AvgPool2d::with_options(input, pool, count_pad) {
            check_layer(&layer, &options(seed)).assert();
        }
    }

    #[test]
    fn dense(inputs in 1usize..70, outputs in 1usize..40, bias: bool, seed: u64) {
        check_layer(&Dense::new(inputs, outputs, bias).unwrap(), &options(seed)).assert();
    }
}
