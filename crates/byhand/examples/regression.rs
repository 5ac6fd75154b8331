//! A regression: where in a picture the spot is, as two numbers. Squared error instead of classes.
//!
//! `cargo run --release -p byhand --example regression`
#![allow(clippy::print_stdout, reason = "an example may print")]

use byhand::layers::metrics::rmse;
use byhand::prelude::*;
use ndarray::{Array2, Array3};

pub(crate) fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A spot of 3x3 pixels somewhere in 16x16; its row and column, as parts of the height and width.
    let place = |sample: usize| [sample * 5 % 13 + 1, sample * 3 % 14 + 1];
    let images = Array3::from_shape_fn((910, 16, 16), |(sample, y, x)| {
        let [row, column] = place(sample);
        if y.abs_diff(row) <= 1 && x.abs_diff(column) <= 1 { 220 } else { (sample * 11 + y * x) as u8 % 40 }
    });
    let targets = Array2::from_shape_fn((910, 2), |(sample, k)| place(sample)[k] as f32 / 16.0);
    let (train, test) = Dataset::regression("spots", images, targets)?.split_random(110, 0)?;

    let network = "conv(8,5) relu pool(2) dense(2)".parse::<Spec>()?.build::<f32>(Shape::new(1, 16, 16))?;
    let config = FitConfig {
        epochs: 15,
        optimizer: "adam".parse()?,
        learning_rate: 3e-3,
        objective: "squared-error".parse()?,
        ..FitConfig::default()
    };
    let preprocessing = config.preprocessing;
    let mut fit = Fit::new(&network, init_network(&network, Init::HeNormal, 0), &train, Some(&test), config)?;
    fit.run(&mut |event: &Event| {
        if let Event::EpochFinished { epoch, train_loss, test_loss: Some(test_loss), .. } = event {
            println!("epoch {epoch:2}: loss {train_loss:.5}, on the test pictures {test_loss:.5}");
        }
        std::ops::ControlFlow::Continue(())
    })?;

    let found = network.predict(fit.theta(), preprocessing.apply(test.images()).view());
    let off = 16.0 * rmse(found.view(), test.targets().expect("a regression"));
    println!("off by {off:.2} pixels");
    assert!(off < 1.0, "{off}");
    Ok(())
}
