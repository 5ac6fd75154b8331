//! The networks that are measured: every registered one, two larger ones, and two with batch normalisation.

use byhand_layers::{Network, Shape};
use byhand_models::{MODELS, Spec};

/// Two convolutions with batch normalisation. Larger than any registered network: a perceptron bound by its matrix products, and a
/// convolutional network of the size that frameworks are made for.
const LARGER: [(&str, &str); 3] = [
    ("conv-norm-pool", "conv(16,3) batchnorm relu pool(2) conv(32,3) batchnorm relu pool(2) dense(10)"),
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
    let resnet = resnet_20();
    let larger = LARGER.into_iter().chain([("resnet-20", &*resnet)]).map(|(name, layers)| {
        let spec: Spec = layers.parse().expect("a test builds it");
        (name, spec.build(image).expect("a test builds it"))
    });
    MODELS.iter().map(|model| (model.name, model.network())).chain(larger).collect()
}

/// ResNet-20 (He and others, 2016) for images of one channel: three stages of three residual blocks.
fn resnet_20() -> String {
    let mut layers = "conv(16,3,pad=1) batchnorm relu".to_owned();
    for (channels, is_first) in [16, 32, 64].into_iter().flat_map(|c| [(c, c > 16), (c, false), (c, false)]) {
        let (stride, shortcut) = if is_first {
            (",stride=2", format!(" | conv({channels},1,stride=2) batchnorm"))
        } else {
            ("", String::new())
        };
        let main =
            format!("conv({channels},3,pad=1{stride}) batchnorm relu conv({channels},3,pad=1) batchnorm");
        layers += &format!(" residual({main}{shortcut}) relu");
    }
    layers + " globalavgpool dense(10)"
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
