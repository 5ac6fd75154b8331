//! Every wrong layer can be trained in its example, in place of a right one, to other weights: unless the network hides its mistake.

use byhand_datasets::digits::{self, Part};
use byhand_layers::init::{Init, init_network};
use byhand_layers::{Network, Relu, Shape};
use byhand_models::Spec;
use byhand_museum::PIECES;
use byhand_trainer::{Fit, FitConfig, Silent};

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
    let mut trained = 0;
    for piece in PIECES {
        let spec: Spec = piece.example.layers.parse().unwrap();
        let right: Network = spec.build(Shape::new(1, 28, 28)).unwrap();
        let Some(layer) = piece.example.layer else {
            assert!(piece.in_place_of(&Relu::new(Shape::flat(1))).is_none(), "{} is no loss", piece.name);
            continue;
        };
        let there = &*right.layers()[layer];
        let stand_in = piece.in_place_of(there).unwrap().unwrap();
        assert_eq!((stand_in.spec(), stand_in.output()), (there.spec(), there.output()));
        let [wrong, right] = [&right.with_layer(layer, stand_in).unwrap(), &right].map(weights);
        assert!(wrong.iter().all(|w| w.is_finite()), "{} diverges", piece.name);
        // Moderate numbers, and minibatches of one part: that is why they survive.
        let hidden = ["pool-sentinel", "dense-overwrites"];
        let far = wrong.iter().zip(&right).any(|(wrong, right)| (wrong - right).abs() > 1e-6);
        assert_eq!(far, !hidden.contains(&piece.name), "{}", piece.name);
        trained += 1;
    }
    assert!(trained >= 17, "only {trained} layers were trained");
}

#[test]
fn a_layer_of_another_kind_is_refused() {
    let relu = Relu::new(Shape::new(1, 4, 4));
    let refused = byhand_museum::find("dense-transposed").unwrap().in_place_of(&relu).unwrap();
    assert!(refused.unwrap_err().to_string().contains("relu"));
}
