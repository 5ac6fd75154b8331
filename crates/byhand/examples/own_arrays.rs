//! Trains on arrays of one's own: pictures as bytes, a label each, and the names of the classes.
//!
//! `cargo run --release -p byhand --example own_arrays`
#![allow(clippy::print_stdout, reason = "an example may print")]

use byhand::prelude::*;
use ndarray::Array3;

pub(crate) fn main() -> Result<(), Box<dyn std::error::Error>> {
    // 600 pictures of 12x12 bytes: a bright row, or a bright column, somewhere on grey ground.
    let labels: Vec<u16> = (0..600).map(|sample| sample % 2).collect();
    let images = Array3::from_shape_fn((600, 12, 12), |(sample, y, x)| {
        let (place, along) = (sample / 2 % 12, if labels[sample] == 0 { y } else { x });
        if along == place { 230 } else { (sample * 7 + y * 5 + x * 3) as u8 % 60 }
    });
    let names = vec!["row".to_owned(), "column".to_owned()];
    let (train, test) = Dataset::new("lines", images, labels, names)?.split_stratified(100, 0)?;

    let network = "conv(4,3) relu pool(2) dense(2)".parse::<Spec>()?.build::<f32>(Shape::new(1, 12, 12))?;
    let config =
        FitConfig { epochs: 20, optimizer: "adam".parse()?, learning_rate: 3e-3, ..FitConfig::default() };
    let mut fit = Fit::new(&network, init_network(&network, Init::HeNormal, 0), &train, None, config)?;
    fit.run(&mut Silent)?;

    let evaluation = fit.evaluate(&test)?;
    // A row for each true class, a column for each predicted one.
    println!("{}", evaluation.confusion.counts());
    assert!(evaluation.accuracy() > 0.95, "{}", evaluation.accuracy());
    Ok(())
}
