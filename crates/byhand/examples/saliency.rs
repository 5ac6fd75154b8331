//! Which pixels a network looks at: the gradient of a class's output by the input, drawn as text.
//!
//! `cargo run --release -p byhand --example saliency`
#![allow(clippy::print_stdout, reason = "an example may print")]

use byhand::prelude::*;

pub(crate) fn main() -> Result<(), Box<dyn std::error::Error>> {
    let train = digits::generate(digits::Part::Train, 1_000, 0);
    let spec: Spec = "conv(8,5) relu pool(2) dense(10)".parse()?;
    let network = spec.build::<f32>(Shape::new(1, 28, 28))?;
    let config =
        FitConfig { epochs: 3, optimizer: "adam".parse()?, learning_rate: 3e-3, ..FitConfig::default() };
    let mut fit = Fit::new(&network, init_network(&network, Init::HeNormal, 0), &train, None, config)?;
    fit.run(&mut Silent)?;
    let model = Model {
        spec,
        input: network.input(),
        class_names: train.class_names().to_vec(),
        preprocessing: Preprocessing::unit(),
        notes: Default::default(),
        theta: fit.into_theta(),
    };

    let test = digits::generate(digits::Part::Test, 1, 0);
    let class = test.labels()[0];
    let gradient = model.gradient_of_input(test.images(), class.into())?;
    let largest = gradient.iter().fold(0.0f32, |largest, g| largest.max(g.abs()));
    println!("what speaks for (#) and against (-) {class}, beside the picture:");
    let (map, picture) = (gradient.row(0), test.image(0));
    for (map, picture) in map.exact_chunks(28).into_iter().zip(picture.rows()) {
        let said = |g: &f32| match g / largest {
            g if g > 0.25 => '#',
            g if g < -0.25 => '-',
            _ => '.',
        };
        let seen = |&p: &u8| if p > 127 { '#' } else { '.' };
        let row: String = map.iter().map(said).chain([' ', ' ']).chain(picture.iter().map(seen)).collect();
        println!("{row}");
    }
    assert!(largest > 0.0 && gradient.iter().any(|&g| g < 0.0));
    Ok(())
}
