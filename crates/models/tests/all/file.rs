//! Model files: what is written is read back bit for bit, and nothing else is read.

use std::path::Path;

use byhand_datasets::Dataset;
use byhand_layers::init::init_network;
use byhand_layers::loss::{SoftmaxCrossEntropy, SquaredError, Weighting};
use byhand_models::{
    Crop, MODELS, Model, ModelError, NamedModel, Normalize, Preprocessing, find, weights_sha256,
};
use ndarray::{Array2, Array3, s};
use proptest::prelude::*;

#[test]
fn every_model_comes_back_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    for named in MODELS {
        let mut model = model(named);
        model.theta[0] = -0.0;
        model.theta[1] = f32::MIN_POSITIVE / 3.0;
        let path = folder.path().join(named.name);
        model.save(&path).unwrap();
        let loaded = Model::load(&path).unwrap();
        assert_eq!(loaded, model);
        let bits = |theta: &[f32]| theta.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&loaded.theta), bits(&model.theta));
        assert_eq!(loaded.weights_sha256(), weights_sha256(&model.theta));
        assert_eq!(std::fs::read(&path).unwrap(), model.to_bytes().unwrap());
        assert_eq!(model.to_bytes().unwrap(), loaded.to_bytes().unwrap(), "the same model, the same bytes");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), MODELS.len(), "no temporary file is left");
}

#[test]
fn the_header_is_what_other_programs_expect() {
    let bytes = model(find("cnn-3x3").unwrap()).to_bytes().unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors: Vec<_> =
        file.tensors().into_iter().map(|(name, view)| (name, view.shape().to_vec())).collect();
    tensors.sort();
    let expected = [
        ("0.bias", vec![8]),
        ("0.weight", vec![8, 1, 3, 3]),
        ("3.bias", vec![10]),
        ("3.weight", vec![10, 1352]),
    ];
    assert_eq!(tensors, expected.map(|(name, shape)| (name.to_owned(), shape)));
}

#[test]
fn awkward_descriptions_come_back() {
    let mut model = small();
    model.preprocessing = Preprocessing {
        normalize: Normalize { scale: 0.1, shift: -1.0e-7 },
        halve: true,
        crop: Some(Crop { y: -2, x: 1, h: 2, w: 3 }),
    };
    model.class_names = vec!["T-shirt/\"top\"\n".into(), "été".into()];
    model.notes.insert("byhand".into(), "{\"sha256\":\"\\".into());
    assert_eq!(Model::from_bytes(&model.to_bytes().unwrap()).unwrap(), model);
}

/// A model of one sum over the upper and one over the lower half of halved images.
fn halves() -> Model {
    let theta = (0..16).map(|i| f32::from(u8::from(i / 4 % 2 == i / 8))).collect();
    Model {
        spec: "dense(2,bias=false)".parse().unwrap(),
        input: "8".parse().unwrap(),
        class_names: vec!["upper".to_owned(), "lower".to_owned()],
        preprocessing: Preprocessing {
            crop: Some(Crop { y: 0, x: 1, h: 4, w: 2 }),
            ..Preprocessing::unit().halved()
        },
        notes: Default::default(),
        theta,
    }
}

#[test]
fn images_are_answered_in_one_call() {
    let model = halves();
    // Image i is bright in its upper or its lower half, for odd i.
    let images = Array3::from_shape_fn((1500, 8, 8), |(i, y, _)| if y / 4 == i % 2 { 255 } else { 0 });
    let p = model.predict_proba(images.view()).unwrap();
    let sure = (4f32).exp() / ((4f32).exp() + 1.0);
    for (i, p) in p.rows().into_iter().enumerate() {
        assert!((p[i % 2] - sure).abs() < 1e-6 && (p.sum() - 1.0).abs() < 1e-6, "{p}");
    }
    let dx = model.gradient_of_input(images.slice(s![..3, .., ..]), 1).unwrap();
    assert_eq!(dx.dim(), (3, 8));
    assert!(dx.rows().into_iter().all(|row| row.to_vec() == [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0]));

    // Classes by name: this data set counts them the other way round, and has one more.
    let labels = (0..1500).map(|i| if i < 3 { 0 } else { 2 - i % 2 }).collect();
    let names = ["neither", "lower", "upper"].map(str::to_owned).to_vec();
    let data = Dataset::new("halves", images.clone(), labels, names).unwrap();
    let found = model.evaluate(&data, &SoftmaxCrossEntropy::default()).unwrap();
    assert_eq!((found.samples, found.accuracy()), (1497, 1.0));
    assert!((found.loss + f64::from(sure).ln()).abs() < 1e-6, "{}", found.loss);
    // The mean is over what samples count. From 1200 on all labels are of class 1, of weight 3, and every second one is wrong.
    let labels = (0..1500).map(|i| if i < 1200 { i % 2 } else { 1 }).collect();
    let own = Dataset::new("own", images.clone(), labels, model.class_names.clone()).unwrap();
    let weighting = Weighting { classes: vec![1.0, 3.0], ignore: None };
    let found =
        model.evaluate(&own, &SoftmaxCrossEntropy { weighting, ..SoftmaxCrossEntropy::default() }).unwrap();
    let [right, wrong] = [sure, 1.0 - sure].map(|p| -f64::from(p).ln());
    let expected = right + (wrong - right) * f64::from(3 * 150) / f64::from(600 + 3 * 900);
    assert!((found.loss - expected).abs() < 1e-5, "{} and {expected}", found.loss);

    let refused = data.keep_classes(&[0, 1]).unwrap();
    let error = model.evaluate(&refused, &SoftmaxCrossEntropy::default()).unwrap_err().to_string();
    assert!(error.contains("expected a class \"upper\""), "{error}");

    let targets = Array2::from_shape_fn((1500, 2), |(i, k)| if i % 2 == k { 5.0 } else { 0.0 });
    let data = Dataset::regression("sums", images, targets).unwrap();
    let found = model.evaluate(&data, &SquaredError).unwrap();
    assert!((found.loss - 0.5).abs() < 1e-6 && found.accuracy().is_nan());

    assert!(model.predict_proba(Array3::zeros((1, 6, 9)).view()).is_ok(), "the crop decides");
    let whole = Model { preprocessing: Preprocessing::unit(), ..model };
    let error = whole.predict_proba(Array3::zeros((1, 6, 9)).view()).unwrap_err().to_string();
    assert_eq!(error, "expected images that make an input of 8, found images of 6x9, which make 1x6x9");
}

#[test]
fn a_model_that_does_not_add_up_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model");
    let refused = |change: fn(&mut Model), message: &str| {
        let mut model = small();
        change(&mut model);
        assert_eq!(model.save(&path).unwrap_err().to_string(), message);
    };
    refused(|model| model.theta.truncate(37), "37 parameters, expected 38 for these layers");
    refused(|model| model.class_names.clear(), "0 class names, expected 2 for these layers");
    refused(
        |model| model.preprocessing.normalize.scale = f32::NAN,
        "preprocessing: scale NaN and shift 0, expected finite numbers",
    );
    refused(
        |model| model.preprocessing.crop = Some(Crop { y: 0, x: 0, h: usize::MAX, w: 6 }),
        "preprocessing: a crop of 18446744073709551615 rows and 6 columns, expected those of the input 6",
    );
    refused(
        |model| model.preprocessing.crop = Some(Crop { y: i32::MIN, x: 0, h: 1, w: 6 }),
        "preprocessing: a crop from row -2147483648 and column 0, expected 1048576 at most",
    );
    let mut wordy = small();
    wordy.notes.insert("long".into(), "-".repeat(5 << 20));
    let error = wordy.save(&path).unwrap_err().to_string();
    assert!(error.ends_with(" bytes, expected at most 4194304; shorten the notes"), "{error}");
    assert!(!path.exists());
}

#[test]
fn places_that_cannot_be_written_or_read_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let below_a_file = folder.path().join("file").join("model.safetensors");
    std::fs::write(folder.path().join("file"), "").unwrap();
    let error = small().save(&below_a_file).unwrap_err().to_string();
    assert!(
        error.starts_with(&format!("{}: cannot write the model file: ", below_a_file.display())),
        "{error}"
    );
    let error = small().save(folder.path()).unwrap_err().to_string();
    assert!(error.contains("cannot write the model file: "), "{error}");
    let error = Model::load(folder.path()).unwrap_err().to_string();
    assert!(error.ends_with("cannot read the model file: it is a folder"), "{error}");
    let error = Model::load(Path::new("/nowhere/model.safetensors")).unwrap_err().to_string();
    assert!(error.starts_with("/nowhere/model.safetensors: cannot read the model file: "), "{error}");
}

#[test]
fn a_failed_save_leaves_the_good_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model");
    small().save(&path).unwrap();
    let mut bad = small();
    bad.theta.clear();
    bad.save(&path).unwrap_err();
    assert_eq!(Model::load(&path).unwrap(), small());
}

#[test]
fn damage_is_told_apart_and_named() {
    let good = small().to_bytes().unwrap();
    let header = u64::from_le_bytes(good[..8].try_into().unwrap()) as usize;
    let data = 8 + header;
    let message = |bytes: &[u8]| Model::from_bytes(bytes).unwrap_err().to_string();
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        message(&bytes)
    };

    // 0.bias of 4, 0.weight of 4 x 6, 2.bias of 2, 2.weight of 2 x 4.
    let text = flipped(data + 4 * 4);
    assert!(
        text.starts_with(&format!(
            "model: at byte {}: tensor 0.weight is damaged: expected SHA-256 ",
            data + 16
        )),
        "{text}"
    );
    assert!(text.contains(", found "), "{text}");
    let text = flipped(good.len() - 1);
    assert!(text.contains("tensor 2.weight is damaged"), "{text}");
    let at = find_bytes(&good, b"relu");
    assert!(flipped(at).contains("the header's description of the network is damaged: expected SHA-256 "));

    assert_eq!(
        message(b""),
        "model: at byte 0: expected the 8 bytes of a header's length, found a file of 0 bytes"
    );
    let text = message(&good[..data - 1]);
    assert!(text.contains("this is none, or a cut one"), "{text}");
    let text = message(&good[..good.len() - 3]);
    assert!(
        text.contains(&format!("found a file of {} bytes, not {}", good.len() - 3, good.len())),
        "{text}"
    );
    let text = message(&[&good[..], b"\0"].concat());
    assert!(text.contains(&format!("at byte {}: expected the end of the file", good.len())), "{text}");
    let text = message(&u64::MAX.to_le_bytes());
    assert!(text.contains("expected a header's length of at most 0, found 18446744073709551615"), "{text}");
    let text = message(b"\x05\0\0\0\0\0\0\0{\"a\"}");
    assert!(text.starts_with("model: at byte 13: expected a safetensors header, found "), "{text}");
    let text = message(b"\x02\0\0\0\0\0\0\0{}");
    assert!(
        text.contains("expected a description of the network under the metadata key \"byhand\", found none"),
        "{text}"
    );
}

#[test]
fn a_description_that_contradicts_the_tensors_is_refused() {
    let message = |change: &dyn Fn(&str) -> String| {
        let bytes = rewritten(&small().to_bytes().unwrap(), change);
        Model::from_bytes(&bytes).unwrap_err().to_string()
    };
    let text = message(&|model| model.replace("dense(4)", "dense(5)"));
    assert!(
        text.ends_with("expected tensor 0.weight of F32 and shape [5, 6], found F32 and shape [4, 6]"),
        "{text}"
    );
    let text = message(&|model| model.replace("dense(4) relu", "dense(4)"));
    assert!(
        text.ends_with("expected tensor 1.weight of F32 and shape [2, 4], found no tensor of this name"),
        "{text}"
    );
    let text = message(&|model| model.replace("dense(4) relu dense(2)", "dense(4)"));
    assert!(text.contains("expected no tensors but those of the layers, found tensor 2."), "{text}");
    let text = message(&|model| model.replace("dense(4)", "dens(4)"));
    assert!(text.starts_with("model: layer spec, byte 0, \"dens\": no layer has this name"), "{text}");
    let text = message(&|model| model.replace("dense(4)", "pool(9)"));
    assert!(text.starts_with("model: layer spec, byte 0, \"pool(9)\": "), "{text}");
    let text = message(&|model| model.replace("\"input\":\"6\"", "\"input\":\"six\""));
    assert!(text.contains("expected the shape of a sample, found "), "{text}");
    let text = message(&|model| model.replace("[\"no\",\"yes\"]", "[\"no\"]"));
    assert_eq!(text, "model: 1 class names, expected 2 for these layers");
    let text = message(&|model| model.replace("\"format\":1", "\"format\":2,\"later\":0"));
    assert_eq!(text, "model: model format 2, expected 1; a newer byhand wrote it, and can read it");
    let text = message(&|model| model.replace("\"halve\"", "\"have\""));
    assert!(text.contains("unknown field `have`"), "{text}");
    let digest = small().weights_sha256();
    let text = message(&|model| model.replace(&digest, &"0".repeat(64)));
    assert!(text.contains("the weights as a whole are damaged: expected SHA-256 0000"), "{text}");
}

#[test]
fn a_huge_network_in_a_small_file_takes_no_memory() {
    let bytes = rewritten(&small().to_bytes().unwrap(), &|model| model.replace("dense(4)", "dense(65536)"));
    assert!(matches!(Model::from_bytes(&bytes), Err(ModelError::Format { .. })));
}

#[test]
fn every_flipped_bit_of_a_small_file_is_found() {
    let mut bytes = small().to_bytes().unwrap();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            bytes[at] ^= 1 << bit;
            let error = Model::from_bytes(&bytes).expect_err(&format!("bit {bit} of byte {at}")).to_string();
            assert!(error.starts_with("model: ") && !error.contains('\n'), "{error}");
            bytes[at] ^= 1 << bit;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_changed_byte_of_a_real_file_is_found(at in any::<prop::sample::Index>(), change in 1u8..) {
        let mut bytes = model(find("cnn-3x3").unwrap()).to_bytes().unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= change;
        prop_assert!(Model::from_bytes(&bytes).is_err(), "byte {at} changed by {change:#x}");
    }

    #[test]
    fn every_truncation_is_found(at in any::<prop::sample::Index>()) {
        let bytes = small().to_bytes().unwrap();
        prop_assert!(Model::from_bytes(&bytes[..at.index(bytes.len())]).is_err());
    }

    #[test]
    fn no_bytes_are_too_much(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Model::from_bytes(&bytes).is_err());
    }
}

fn model(named: &NamedModel) -> Model {
    let network = named.network();
    Model {
        spec: named.spec(),
        input: named.input,
        class_names: (0..named.classes()).map(|class| class.to_string()).collect(),
        preprocessing: named.preprocessing,
        notes: [("data".to_owned(), "digits".to_owned()), ("seed".to_owned(), "3".to_owned())].into(),
        theta: init_network(&network, named.init, 3),
    }
}

fn small() -> Model {
    let theta = (0..38).map(|i| i as f32 / 8.0 - 2.0).collect();
    Model {
        spec: "dense(4) relu dense(2)".parse().unwrap(),
        input: "6".parse().unwrap(),
        class_names: vec!["no".to_owned(), "yes".to_owned()],
        preprocessing: Preprocessing::unit(),
        notes: [("data".to_owned(), "made up".to_owned())].into(),
        theta,
    }
}

/// The file with the description changed, its digest and the header made right again.
fn rewritten(bytes: &[u8], change: &dyn Fn(&str) -> String) -> Vec<u8> {
    use sha2::Digest;
    let (_, metadata) = safetensors::SafeTensors::read_metadata(bytes).unwrap();
    let text = &metadata.metadata().as_ref().unwrap()["byhand"];
    let (start, end) = (text.find("\"model\":").unwrap() + 8, text.len() - 1);
    let model = change(&text[start..end]);
    assert_ne!(model, text[start..end], "the change changes something");
    let digest: String =
        sha2::Sha256::digest(model.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    let text = format!("{{\"sha256\":\"{digest}\",\"model\":{model}}}");
    let file = safetensors::SafeTensors::deserialize(bytes).unwrap();
    safetensors::serialize(file.tensors(), Some([("byhand".to_owned(), text)].into_iter().collect())).unwrap()
}

fn find_bytes(bytes: &[u8], wanted: &[u8]) -> usize {
    bytes.windows(wanted.len()).position(|window| window == wanted).unwrap()
}

/// Weights, biases and running statistics at random: outputs of the folded model are those of the model but for rounding.
#[test]
fn a_folded_model_says_the_same() {
    let layers = "conv(4,3,bias=false) batchnorm relu pool(2) residual(conv(4,3,pad=1) batchnorm(eps=0.01) | conv(4,1) batchnorm) \
                  concat(linear | batchnorm | conv(2,1,bias=false) batchnorm relu) tanh dense(6,bias=false) batchnorm relu batchnorm dense(3)";
    let spec = byhand_models::Spec::parse(layers).unwrap();
    let input = byhand_layers::Shape::new(1, 14, 14);
    let network = spec.build::<f32>(input).unwrap();
    let random = |i: usize| ((i * 2_654_435_761) % 1000) as f32 / 1000.0 - 0.5;
    let mut theta: Vec<f32> = (0..network.param_len()).map(random).collect();
    let variances = network.params().iter().filter(|param| param.name.ends_with("running_var"));
    variances.for_each(|param| theta[param.range.clone()].iter_mut().for_each(|v| *v = v.abs() + 0.5));
    let class_names = ["a", "b", "c"].map(String::from).into();
    let model = Model {
        spec,
        input,
        class_names,
        preprocessing: Default::default(),
        notes: Default::default(),
        theta,
    };
    let folded = model.folded().unwrap();
    assert_eq!(
        folded.spec.to_string(),
        "conv(4,3) relu pool(2) residual(conv(4,3,pad=1) | conv(4,1)) concat(linear | batchnorm | conv(2,1) relu) tanh flatten dense(6) \
         relu batchnorm dense(3)"
    );
    let x = ndarray::Array2::from_shape_fn((7, 196), |(i, j)| random(i * 196 + j));
    let [before, after] =
        [&model, &folded].map(|model| model.network().unwrap().predict(&model.theta, x.view()));
    let largest = before.iter().fold(0.0f32, |largest, y| largest.max(y.abs()));
    for (before, after) in before.iter().zip(&after) {
        assert!((before - after).abs() <= 1e-5 * largest, "{before} {after}");
    }
    // Nothing is left to fold.
    assert_eq!(folded.folded().unwrap(), folded);
}
