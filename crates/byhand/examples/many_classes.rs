//! Five hundred classes, and what is confused with what.
//!
//! `cargo run --release -p byhand --example many_classes`
#![allow(clippy::print_stdout, reason = "an example may print")]

use byhand::datasets::dataset::numbered_classes;
use byhand::prelude::*;
use ndarray::Array3;

const CLASSES: usize = 500;

pub(crate) fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Class k is the number k in nine squares, black or white, four pictures of each with other shades. The eighth square is covered.
    let images = Array3::from_shape_fn((4 * CLASSES, 6, 6), |(sample, y, x)| {
        let square = 3 * (y / 2) + x / 2;
        let bit = square != 8 && (sample % CLASSES) & (1 << square) != 0;
        if bit { 255 - (sample / CLASSES) as u8 * 20 } else { (sample / CLASSES) as u8 * 10 }
    });
    let labels = (0..4 * CLASSES).map(|sample| (sample % CLASSES) as u16).collect();
    let data = Dataset::new("codes", images, labels, numbered_classes(CLASSES))?;

    let spec: Spec = format!("dense({CLASSES})").parse()?;
    let network = spec.build::<f32>(Shape::new(1, 6, 6))?;
    let config = FitConfig {
        epochs: 40,
        optimizer: "adam".parse()?,
        learning_rate: 0.03,
        preprocessing: Preprocessing::centered(),
        ..FitConfig::default()
    };
    let mut fit = Fit::new(&network, init_network(&network, Init::GlorotUniform, 0), &data, None, config)?;
    fit.run(&mut Silent)?;

    let evaluation = fit.evaluate(&data)?;
    let confused =
        evaluation.confusion.counts().indexed_iter().filter(|((t, p), n)| t != p && **n > 0).count();
    println!("{:.1} % right; {confused} pairs of classes are confused", 100.0 * evaluation.accuracy());
    // Where two classes differ in the covered square alone, one of them is taken for the other.
    let twins = |((truth, taken), &count): ((usize, usize), &u64)| count == 0 || truth % 256 == taken % 256;
    assert!(evaluation.confusion.counts().indexed_iter().all(twins));
    Ok(())
}
