//! Data sets in memory: splits, subsets, down-sampling, normalising, one-hot, and the built-in digits.

use byhand_datasets::dataset::{missing_line, numbered_classes};
use byhand_datasets::digits::{self, Part};
use byhand_datasets::transform::one_hot;
use byhand_datasets::{Crop, Dataset, Error, Normalize, Preprocessing, idx};
use ndarray::{Array2, Array3, Array4, Axis, array};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

/// Sample `i` is a 4x4 image of the byte `i`.
fn data(labels: &[u16]) -> Dataset {
    let images = Array3::from_shape_fn((labels.len(), 4, 4), |(i, _, _)| i as u8);
    Dataset::new("t", images, labels.to_vec(), numbered_classes(10)).unwrap()
}

/// Which samples of [`data`] these are.
fn ids(data: &Dataset) -> Vec<u8> {
    data.images().outer_iter().map(|image| image[[0, 0, 0]]).collect()
}

#[test]
fn bad_data_are_refused() {
    let new = |images: Array3<u8>, labels: &[u16], classes| {
        Dataset::new("t", images, labels.to_vec(), numbered_classes(classes)).unwrap_err().to_string()
    };
    let one = || Array3::zeros((1, 2, 2));
    assert_eq!(new(one(), &[], 10), "t: expected as many labels as images, found 1 images and 0 labels");
    assert_eq!(new(one(), &[3], 3), "t: label 0: expected a class below 3, found 3");
    assert_eq!(new(one(), &[3], 0), "t: expected 1 to 65536 classes, found 0");
    let named = |names: [&str; 2]| {
        Dataset::new("t", one(), vec![0], names.map(String::from).to_vec()).unwrap_err().to_string()
    };
    assert_eq!(named(["a", "a"]), "t: expected a name of its own for each class, found \"a\" for 0 and 1");
    assert_eq!(named(["a", ""]), "t: expected a name for class 1, found an empty one");
    assert_eq!(
        new(Array3::zeros((1, 0, 2)), &[0], 10),
        "t: expected images of at least 1x1 pixels, found 0x2"
    );
}

#[test]
fn images_in_another_memory_order_are_put_in_order() {
    let images = Array3::from_shape_fn((2, 3, 4), |(i, y, x)| (i * 12 + y * 4 + x) as u8);
    let mut reversed = Array3::zeros((4, 3, 2)).reversed_axes();
    reversed.assign(&images);
    let data = Dataset::new("t", reversed, vec![0, 1], numbered_classes(2)).unwrap();
    assert_eq!(data.images().as_slice().unwrap(), images.as_slice().unwrap());
}

#[test]
fn ranges_share_their_bytes() {
    let all = data(&[0, 1, 2, 3, 4, 5, 6]);
    let (train, validation) = all.split_at(5).unwrap();
    assert_eq!((ids(&train), ids(&validation)), (vec![0, 1, 2, 3, 4], vec![5, 6]));
    assert_eq!(validation.labels(), [5, 6]);
    assert_eq!(train.images().as_ptr(), all.images().as_ptr(), "no copy");
    assert_eq!(validation.images().as_slice().unwrap().len(), 2 * 16, "contiguous");
    assert_eq!(ids(&validation.take(1)), [5]);
    assert_eq!(all.take(100).len(), 7);
    let text = all.split_at(8).unwrap_err().to_string();
    assert_eq!(text, "t: expected a part of at most 7 samples, found 8");
}

#[test]
fn classes_are_kept_and_relabelled() {
    let all = data(&[0, 4, 7, 4, 9, 0]);
    let kept = all.keep_classes(&[4, 0]).unwrap();
    assert_eq!((ids(&kept), kept.labels()), (vec![0, 1, 3, 5], &[1, 0, 0, 1][..]));
    assert_eq!(kept.class_names(), ["4", "0"]);
    assert_eq!(all.labels(), [0, 4, 7, 4, 9, 0], "the original is as it was");
    assert!(matches!(all.keep_classes(&[4, 4]), Err(Error::Request(_))));
    assert!(matches!(all.keep_classes(&[]), Err(Error::Request(_))));
    assert_eq!(all.keep_classes(&[10]).unwrap_err().to_string(), "t: expected classes 0 to 9, found 10");
}

/// Names decide, whatever order they stand in.
#[test]
fn labels_are_matched_by_name() {
    let all = data(&[0, 4, 7, 4, 9, 0]);
    let names = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
    let matched = all.match_classes(&names(&["7", "0"])).unwrap();
    assert_eq!((ids(&matched), matched.labels()), (vec![0, 2, 5], &[1, 0, 1][..]));
    assert_eq!(matched.class_names(), ["7", "0"]);
    let reversed: Vec<String> = (0..10).rev().map(|class| class.to_string()).collect();
    let back = all.match_classes(&reversed).unwrap();
    assert_eq!((back.labels(), back.class_names()), (&[9, 5, 2, 5, 0, 9][..], &reversed[..]));
    assert_eq!(back.match_classes(all.class_names()).unwrap(), all);
    assert_eq!(all.match_classes(all.class_names()).unwrap(), all);
    let text = all.match_classes(&names(&["7", "seven"])).unwrap_err().to_string();
    assert_eq!(text, "t: expected a class \"seven\", found the classes 0, 1, 2, 3, 4, 5, 6, 7, 8, 9");
    assert!(all.match_classes(&names(&["7", "7"])).is_err());
    assert!(all.match_classes(&[]).is_err());
}

#[test]
fn a_thousand_classes() {
    let labels: Vec<u16> = (0..1000).collect();
    let all = Dataset::new("t", Array3::zeros((1000, 1, 1)), labels.clone(), numbered_classes(1000)).unwrap();
    let reversed: Vec<String> = numbered_classes(1000).into_iter().rev().collect();
    let matched = all.match_classes(&reversed).unwrap();
    assert_eq!(matched.labels(), labels.iter().rev().copied().collect::<Vec<_>>());
    assert_eq!(all.split_stratified(1000, 0).unwrap().1.missing_classes(), [""; 0]);
    assert!(Dataset::new("t", Array3::zeros((1, 1, 1)), vec![0], numbered_classes(65_537)).is_err());
}

#[test]
fn rows_of_a_regression_stay_with_their_images() {
    let images = Array3::from_shape_fn((40, 4, 4), |(i, _, _)| i as u8);
    let rows = Array2::from_shape_fn((40, 3), |(i, k)| (10 * i + k) as f32);
    let all = Dataset::regression("t", images.clone(), rows.clone()).unwrap();
    let agree = |data: &Dataset, n: usize| {
        assert_eq!((data.len(), data.labels().len(), data.classes()), (n, 0, 0));
        for (i, row) in ids(data).into_iter().zip(data.targets().unwrap().rows()) {
            assert_eq!(row, rows.row(i.into()));
        }
    };
    agree(&all, 40);
    agree(&all.take(7), 7);
    agree(&all.select(&[3, 39, 3]), 3);
    agree(&all.cap_per_class(1), 40);
    agree(&all.halve().unwrap().transpose(), 40);
    for split in [Dataset::split_random, Dataset::split_stratified] {
        let (first, second) = split(&all, 11, 5).unwrap();
        agree(&first, 29);
        agree(&second, 11);
    }
    assert!(all.keep_classes(&[0]).is_err());
    let refused = |images: &Array3<u8>, rows: Array2<f32>| {
        Dataset::regression("t", images.clone(), rows).unwrap_err().to_string()
    };
    assert_eq!(
        refused(&images, Array2::zeros((39, 3))),
        "t: expected as many rows as images, found 40 images and 39 rows"
    );
    assert!(refused(&images, Array2::zeros((40, 0))).contains("at least one number"));
    let nan = refused(&images, Array2::from_elem((40, 1), f32::NAN));
    assert_eq!(nan, "t: row 0, number 0: expected a finite number, found NaN");
}

#[test]
fn missing_classes_are_named() {
    let (few, all) = (data(&[0, 1, 2, 4, 5, 6, 7, 9]), data(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]));
    assert_eq!(few.missing_classes(), ["3", "8"]);
    assert_eq!(missing_line(&[("training", &all)]), None);
    assert_eq!(
        missing_line(&[("training", &few), ("validation", &all), ("testing", &all.take(9))]).unwrap(),
        "classes are missing: no image of 3, 8 for training; no image of 9 for testing"
    );
    let none = Dataset::new("t", Array3::zeros((0, 1, 1)), vec![], numbered_classes(12)).unwrap();
    assert!(
        missing_line(&[("testing", &none)])
            .unwrap()
            .ends_with("of 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more for testing")
    );
}

#[test]
fn transposing_exchanges_rows_and_columns() {
    let images = array![[[1, 2, 3], [4, 5, 6]]];
    let data = Dataset::new("t", images, vec![0], numbered_classes(1)).unwrap();
    assert_eq!(data.transpose().images(), array![[[[1, 4], [2, 5], [3, 6]]]]);
    assert_eq!(data.transpose().transpose(), data);
}

#[test]
fn classes_are_capped() {
    assert_eq!(ids(&data(&[0, 0, 1, 0, 1, 1, 2]).cap_per_class(2)), [0, 1, 2, 4, 6]);
}

#[test]
fn halving_floors_the_mean_of_each_block() {
    let images =
        array![[[0, 1, 255, 255, 9], [1, 1, 255, 254, 9], [8, 0, 1, 0, 9], [0, 0, 0, 0, 9], [7, 7, 7, 7, 7]]];
    let data = Dataset::new("t", images, vec![0], numbered_classes(1)).unwrap().halve().unwrap();
    assert_eq!(data.images(), array![[[[0, 254], [2, 0]]]]);
    let tiny = Dataset::new("t", Array3::zeros((1, 1, 9)), vec![0], numbered_classes(1)).unwrap();
    assert!(tiny.halve().is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn splits_are_partitions_and_functions_of_the_seed(
        labels in prop::collection::vec(0u16..10, 1..200),
        share in 0.0f64..=1.0,
        seed: u64,
    ) {
        let all = data(&labels);
        let second = (share * labels.len() as f64) as usize;
        for split in [Dataset::split_random, Dataset::split_stratified] {
            let (first_part, second_part) = split(&all, second, seed).unwrap();
            prop_assert_eq!(second_part.len(), second);
            let (a, b) = (ids(&first_part), ids(&second_part));
            prop_assert!(a.is_sorted() && b.is_sorted(), "the original order");
            let mut both = [a, b].concat();
            both.sort_unstable();
            prop_assert_eq!(both, (0..labels.len() as u8).collect::<Vec<_>>());
            prop_assert_eq!((first_part, second_part), split(&all, second, seed).unwrap());
        }
        let (_, part) = all.split_stratified(second, seed).unwrap();
        for (whole, part) in all.class_counts().iter().zip(part.class_counts()) {
            let exact = second as f64 * *whole as f64 / labels.len() as f64;
            prop_assert!((part as f64 - exact).abs() < 1.0, "{} of {}", part, whole);
        }
    }
}

#[test]
fn another_seed_is_another_split() {
    let all = data(&[1; 100]);
    assert_ne!(all.split_random(30, 1).unwrap(), all.split_random(30, 2).unwrap());
    assert_ne!(all.split_stratified(30, 1).unwrap(), all.split_stratified(30, 2).unwrap());
}

#[test]
fn normalising() {
    assert_eq!((Normalize::unit().apply(0), Normalize::unit().apply(255)), (0.0, 1.0));
    assert_eq!((Normalize::centered().apply(0), Normalize::centered().apply(255)), (-0.5, 0.5));
    let n = Normalize::mean_std(0.1307, 0.3081);
    assert!((n.apply(255) - (1.0 - 0.1307) / 0.3081).abs() < 1e-6);
    let digits = digits::generate(Part::Train, 500, 1);
    let n = Normalize::fit(&digits);
    let values: Vec<f64> = digits.images().iter().map(|&p| f64::from(n.apply(p))).collect();
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let std = (values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / values.len() as f64).sqrt();
    assert!(mean.abs() < 1e-6 && (std - 1.0).abs() < 1e-6, "{mean} {std}");
    assert_eq!(Normalize::fit(&digits.take(0)), Normalize::unit());
}

/// What is done to images is done to each channel.
#[test]
fn channels_stay_apart() {
    let images = Array4::from_shape_fn((4, 3, 6, 8), |(i, c, y, x)| (i * 150 + c * 50 + y * 8 + x) as u8);
    let data = Dataset::new("t", images.clone(), vec![0, 1, 2, 1], numbered_classes(3)).unwrap();
    assert_eq!((data.channels(), data.image_size()), (3, (6, 8)));
    let of = |images: ndarray::ArrayView4<'_, u8>, channel: usize| {
        let plane = images.index_axis(Axis(1), channel).to_owned();
        Dataset::new("t", plane, vec![0; images.dim().0], numbered_classes(1)).unwrap()
    };
    for (changed, change) in [
        (data.halve().unwrap(), &(|plane: Dataset| plane.halve().unwrap()) as &dyn Fn(Dataset) -> Dataset),
        (data.transpose(), &|plane| plane.transpose()),
        (data.mirror(), &|plane| plane.mirror()),
        (data.select(&[3, 0, 3]), &|plane| plane.select(&[3, 0, 3])),
        (data.split_at(1).unwrap().1, &|plane| plane.split_at(1).unwrap().1),
    ] {
        assert_eq!(changed.channels(), 3);
        for channel in 0..3 {
            let plane = change(of(images.view(), channel));
            assert_eq!(of(changed.images(), channel).images(), plane.images());
        }
    }
    let pixels = Dataset::new(
        "t",
        array![[[[255]], [[0]], [[0]]], [[[9]], [[9]], [[9]]]],
        vec![0, 0],
        numbered_classes(1),
    );
    let grey = pixels.unwrap().grey().unwrap();
    assert_eq!(grey.images(), array![[[[76]]], [[[9]]]]);
    assert_eq!(grey.grey().unwrap(), grey);
    let two = Dataset::new("t", Array4::zeros((1, 2, 1, 1)), vec![0], numbered_classes(1)).unwrap();
    assert_eq!(two.grey().unwrap_err().to_string(), "t: expected 1 or 3 channels to make grey, found 2");
    assert!(Dataset::new("t", Array4::zeros((1, 0, 1, 1)), vec![0], numbered_classes(1)).is_err());
    // The numbers of a network are those of the planes, one after the other.
    let middle =
        Preprocessing { crop: Some(Crop { y: -1, x: 1, h: 4, w: 2 }), ..Preprocessing::unit().halved() };
    for preprocessing in [Preprocessing::centered(), middle] {
        let x = preprocessing.apply(images.view());
        let planes: Vec<_> =
            (0..3).map(|channel| preprocessing.apply(images.index_axis(Axis(1), channel))).collect();
        let planes: Vec<_> = planes.iter().map(|plane| plane.view()).collect();
        assert_eq!(x, ndarray::concatenate(Axis(1), &planes).unwrap());
    }
}

#[test]
fn one_hot_rows() {
    assert_eq!(one_hot(&[2, 0], 3), array![[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]);
}

#[test]
fn built_in_digits_are_pinned() {
    // What decides a byte is IEEE arithmetic and ChaCha8 alone: this hash is the same on every machine.
    let hash = |data: &Dataset| {
        let mut file = Vec::new();
        idx::write_images(&mut file, data.images()).unwrap();
        idx::write_labels(&mut file, data.labels()).unwrap();
        Sha256::digest(&file).iter().map(|b| format!("{b:02x}")).collect::<String>()
    };
    assert_eq!(
        hash(&digits::generate(Part::Train, 1000, digits::SEED)),
        "b83e0bd0f00882dc0661477449d26589d5fcd53e08e413d5c1b0b50aea0e9f45"
    );
    assert_eq!(
        hash(&digits::generate(Part::Test, 1000, digits::SEED)),
        "c671301f00c57e70a33eb8a1c2fdd922267fe353d1e31733127be035147683b5"
    );
}

#[test]
fn a_built_in_digit_is_a_function_of_seed_part_and_index() {
    let long = digits::generate(Part::Train, 60, 3);
    assert_eq!(long.take(20), digits::generate(Part::Train, 20, 3));
    let mut pixels = [0; 784];
    let label = digits::draw_into(Part::Train, 40, 3, &mut pixels);
    assert_eq!((label, &pixels[..]), (long.labels()[40], long.image(40).as_slice().unwrap()));
    assert_ne!(long, digits::generate(Part::Train, 60, 4));
    assert_ne!(long, digits::generate(Part::Test, 60, 3));
}

#[test]
fn built_in_digits_look_like_data() {
    let digits = digits::generate(Part::Train, 5000, 0);
    // Six standard deviations of a binomial(5000, 1/10) are 127.
    assert!(digits.class_counts().iter().all(|c| c.abs_diff(500) < 127), "{:?}", digits.class_counts());
    for image in digits.images().outer_iter() {
        let ink = image.iter().filter(|&&p| p > 100).count();
        assert!((15..400).contains(&ink), "{ink} dark pixels");
    }
    let zeros = digits.images().iter().filter(|&&p| p == 0).count() as f64 / (5000.0 * 784.0);
    assert!((0.7..0.9).contains(&zeros), "a share of {zeros} is background");
}
