//! The networks that are measured: every registered one, and two larger ones.

use byhand_layers::{Network, Shape};
use byhand_models::{MODELS, Spec};

/// Larger than any registered network: a perceptron bound by its matrix products, and a convolutional network of the size
/// that frameworks are made for.
const LARGER: [(&str, &str); 2] = [
    ("mlp-512", "dense(512) relu dense(512) relu dense(10)"),
    (
        "cnn-32-64",
        "conv(32,3,pad=1) relu conv(32,3,pad=1) relu pool(2) conv(64,3,pad=1) relu conv(64,3,pad=1) relu pool(2) \
         dense(128) relu dense(10)",
    ),
];

/// Each network and its name.
pub fn all() -> Vec<(&'static str, Network<f32>)> {
    let image = Shape::new(1, 28, 28);
    let larger = LARGER.iter().map(|(name, layers)| {
        let spec: Spec = layers.parse().expect("a test builds it");
        (*name, spec.build(image).expect("a test builds it"))
    });
    MODELS.iter().map(|model| (model.name, model.network())).chain(larger).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_network_can_be_built_and_has_a_name_of_its_own() {
        let mut names: Vec<_> = super::all().into_iter().map(|(name, _)| name).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
