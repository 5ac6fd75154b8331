//! The named networks: their sizes, and that each runs.

use byhand_layers::init::{Init, init_network};
use byhand_layers::{Isa, Network, Shape};
use byhand_models::{MODELS, NamedModel, Spec, find, registry};
use ndarray::{Array2, s};

#[test]
fn the_tables_of_the_documentation_are_those_of_the_networks() {
    let page = include_str!("../../src/registry.md");
    for model in MODELS {
        let table = table(model, &model.network());
        assert!(page.contains(&table), "src/registry.md should have, for {}:\n\n{table}", model.name);
    }
    assert_eq!(page.matches("\n## ").count(), MODELS.len());
}

#[test]
fn parameters_are_as_counted_by_hand() {
    let counts = [
        ("cnn-3x3", 8 * 9 + 8 + 1352 * 10 + 10),
        ("lenet", 8 * 25 + 8 + 16 * 8 * 25 + 16 + 256 * 256 + 256 + 256 * 10 + 10),
        ("cnn-14", 16 * 9 + 16 + 576 * 16 + 16 + 16 * 5 + 5),
        ("dnn-14", 196 * 16 + 16 + 16 * 5 + 5),
        ("mlp", 784 * 50 + 50 + 50 * 50 + 50 + 50 * 10 + 10),
    ];
    for (name, count) in counts {
        assert_eq!(find(name).unwrap().network::<f32>().param_len(), count, "{name}");
    }
}

#[test]
fn every_model_runs_for_any_number_of_classes() {
    for model in MODELS {
        for classes in [model.classes(), 3] {
            let network = model.spec_for(classes).unwrap().build::<f32>(model.input).unwrap();
            let theta = init_network(&network, model.init, 7);
            let x = Array2::from_shape_fn((3, model.input.features()), |(i, j)| {
                ((i * 31 + j * 7) % 11) as f32 / 11.0
            });
            let logits = network.predict(&theta, x.view());
            assert_eq!(logits.dim(), (3, classes), "{}", model.name);
            assert!(logits.iter().all(|z| z.is_finite()), "{}", model.name);
            assert_ne!(logits.row(0), logits.row(1), "{}: two images, one answer", model.name);
        }
    }
}

/// Large images are convolved by Winograd's filtering, small ones directly; dense layers have kernels of their own for one sample, for
/// few and for many.
#[test]
fn what_a_network_says_about_an_image_does_not_depend_on_the_others() {
    let large: Spec =
        "conv(32,3,pad=1) relu pool(2) conv(64,3,pad=1) relu pool(2) conv(64,3,pad=1) relu pool(2) dense(10)"
            .parse()
            .unwrap();
    let named = ["lenet", "cnn", "cnn-3x3", "mlp", "dnn"].map(|name| find(name).unwrap().network::<f32>());
    for network in named.into_iter().chain([large.build(Shape::new(3, 64, 64)).unwrap()]) {
        let theta = init_network(&network, Init::HeNormal, 7);
        let features = network.input().features();
        let x = Array2::from_shape_fn((33, features), |(i, j)| ((i * 131 + j * 71) % 97) as f32 / 96.0);
        for isa in Isa::available() {
            isa.with(|| {
                let all = network.predict(&theta, x.view());
                for samples in [1, 2, 3, 4, 5, 16, 17] {
                    let some = network.predict(&theta, x.slice(s![..samples, ..]));
                    assert_eq!(some, all.slice(s![..samples, ..]), "{samples} images on {isa}");
                }
                let reversed = network.predict(&theta, x.slice(s![..;-1, ..]));
                assert_eq!(reversed.slice(s![..;-1, ..]), all, "in reverse on {isa}");
            });
        }
    }
}

#[test]
fn the_input_is_what_preprocessing_makes_of_28_by_28() {
    for model in MODELS {
        let side = if model.preprocessing.halve { 14 } else { 28 };
        assert_eq!((model.input.c, model.input.h, model.input.w), (1, side, side), "{}", model.name);
    }
}

#[test]
fn names_are_found_and_commands_have_their_default() {
    for model in MODELS {
        assert_eq!(find(model.name).unwrap(), model);
    }
    for (command, name) in [("train-cnn", "cnn"), ("train-dnn", "dnn"), ("train-mlp", "mlp")] {
        assert_eq!(registry::default_of(command).unwrap().name, name);
    }
    assert_eq!(registry::default_of("train"), None);
    let error = find("zebra\n").unwrap_err().to_string();
    assert_eq!(error, "no model is called \"zebra\\n\" (cnn, cnn-3x3, lenet, cnn-14, dnn-14, dnn, mlp)");
}

fn table(model: &NamedModel, network: &Network) -> String {
    let about = model.about[..1].to_uppercase() + &model.about[1..];
    let rows: String = network
        .summary()
        .rows
        .iter()
        .map(|row| format!("| {} | {} | {} | {} |\n", row.index, row.spec, row.output, row.params))
        .collect();
    format!(
        "## `{}`\n\n{about}: `{}`, input {}.\n\n| | layer | output | parameters |\n|---|---|---|---|\n{rows}| | all | | {} |\n",
        model.name,
        model.layers,
        model.input,
        network.param_len()
    )
}
