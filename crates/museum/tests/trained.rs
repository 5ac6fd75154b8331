//! Every wrong layer can be trained, in place of a right one, to other weights: unless the network hides its mistake.

use byhand_datasets::digits::{self, Part};
use byhand_layers::init::{Init, init_network};
use byhand_layers::{
    AvgPool2d, Conv2d, ConvOptions, Dense, Dropout, Flatten, Layer, MaxPool2d, Network, Relu, Shape, Sigmoid,
    Tanh,
};
use byhand_museum::PIECES;
use byhand_trainer::{Fit, FitConfig, Silent};

/// Every kind of layer that a piece stands in for.
fn right_layers() -> Vec<Box<dyn Layer<f32>>> {
    let conv = |input, c_out| Conv2d::new(input, c_out, ConvOptions::square(3)).unwrap();
    vec![
        Box::new(conv(Shape::new(1, 28, 28), 2)),
        Box::new(MaxPool2d::new(Shape::new(2, 26, 26), [2, 2], [2, 2]).unwrap()),
        Box::new(conv(Shape::new(2, 13, 13), 3)),
        Box::new(Relu::new(Shape::new(3, 11, 11))),
        Box::new(AvgPool2d::new(Shape::new(3, 11, 11), [2, 2], [1, 1]).unwrap()),
        Box::new(MaxPool2d::new(Shape::new(3, 10, 10), [3, 3], [2, 2]).unwrap()),
        Box::new(Tanh::new(Shape::new(3, 4, 4))),
        Box::new(Sigmoid::new(Shape::new(3, 4, 4))),
        Box::new(Dropout::new(Shape::new(3, 4, 4), 0.25).unwrap()),
        Box::new(Flatten::new(Shape::new(3, 4, 4))),
        Box::new(Dense::new(48, 48, true).unwrap()),
        Box::new(Dense::new(48, 10, true).unwrap()),
    ]
}

#[test]
fn every_wrong_layer_trains_in_place_of_a_right_one() {
    let train = digits::generate(Part::Train, 48, 1);
    let config = FitConfig { epochs: 2, batch_size: 16, threads: 1, ..FitConfig::default() };
    let weights = |network: &Network| {
        let theta = init_network(network, Init::LeCunNormal, 1);
        let mut fit = Fit::new(network, theta, &train, None, config.clone()).unwrap();
        fit.run(&mut Silent).unwrap();
        fit.into_theta()
    };
    let right = weights(&Network::new(right_layers()).unwrap());
    let mut trained = 0;
    for piece in PIECES {
        let mut layers = right_layers();
        // The last that it fits: what is wrong with its dx reaches the layers below.
        let found = layers.iter().enumerate().rev().find_map(|(place, layer)| {
            let layer = piece.in_place_of(&**layer)?.ok()?;
            Some((place, layer))
        });
        let Some((place, wrong)) = found else {
            assert!(piece.in_place_of(&Relu::new(Shape::flat(1))).is_none(), "{} fits nowhere", piece.name);
            continue;
        };
        assert_eq!((wrong.spec(), wrong.output()), (layers[place].spec(), layers[place].output()));
        layers[place] = wrong;
        let network = Network::new(layers).unwrap();
        let theta = weights(&network);
        assert!(theta.iter().all(|w| w.is_finite()), "{} diverges", piece.name);
        // Nothing to see on square images, moderate numbers, equal strides, one block: that is why they survive.
        let hidden = ["pool-swaps-axes", "pool-sentinel", "conv-swapped-strides", "dense-overwrites"];
        let far = theta.iter().zip(&right).any(|(wrong, right)| (wrong - right).abs() > 1e-6);
        assert_eq!(far, !hidden.contains(&piece.name), "{}", piece.name);
        trained += 1;
    }
    assert!(trained >= 17, "only {trained} layers were trained");
}
