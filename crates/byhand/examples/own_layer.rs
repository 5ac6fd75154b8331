//! A layer of one's own: the softsign, proved by `check_layer` and trained in a network.
//!
//! `cargo run --release -p byhand --features proofs --example own_layer`
#![allow(clippy::print_stdout, reason = "an example may print")]

use byhand::layers::check::{Options, check_layer};
use byhand::layers::{Conv2d, ConvOptions, Dense, Flatten, Kind, Pass, Saved};
use byhand::prelude::*;

/// The softsign, `y = x / (1 + |x|)`; so `dx = dy / (1 + |x|)^2`.
#[derive(Debug)]
struct Softsign(Shape);

impl Describe for Softsign {
    fn name(&self) -> &'static str {
        "softsign"
    }
    fn kind(&self) -> Kind {
        Kind::Smooth
    }
    fn input(&self) -> Shape {
        self.0
    }
}

impl<T: Scalar> Layer<T> for Softsign {
    fn forward(&self, _: &Pass, _: &[T], x: &[T], y: &mut [T], _: &mut [T], _: &mut [T]) {
        y.iter_mut().zip(x).for_each(|(y, &x)| *y = x / (T::ONE + x.abs()));
    }

    fn backward(
        &self,
        _: &Pass,
        _: &[T],
        saved: Saved<'_, T>,
        dy: &[T],
        dx: Option<&mut [T]>,
        _: &mut [T],
        _: &mut [T],
    ) {
        for ((dx, &dy), &x) in dx.into_iter().flatten().zip(dy).zip(saved.x) {
            let divisor = T::ONE + x.abs();
            *dx = dy / (divisor * divisor);
        }
    }
}

pub(crate) fn main() -> Result<(), Box<dyn std::error::Error>> {
    let report = check_layer(&Softsign(Shape::new(3, 5, 7)), &Options::quick());
    report.assert();
    println!("{report}");

    let train = digits::generate(digits::Part::Train, 2_000, 0);
    let conv =
        Conv2d::new(Shape::new(1, 28, 28), 6, ConvOptions { stride: [2, 2], ..ConvOptions::square(5) })?;
    let shape = conv.output();
    let network: Network = Network::new(vec![
        Box::new(conv),
        Box::new(Softsign(shape)),
        Box::new(Flatten::new(shape)),
        Box::new(Dense::new(shape.features(), 10, true)?),
    ])?;
    let config =
        FitConfig { epochs: 5, optimizer: "adam".parse()?, learning_rate: 3e-3, ..FitConfig::default() };
    let mut fit = Fit::new(&network, init_network(&network, Init::HeNormal, 0), &train, None, config)?;
    fit.run(&mut Silent)?;
    let accuracy = fit.evaluate(&digits::generate(digits::Part::Test, 500, 0))?.accuracy();
    println!("with it, {:.1} % of the digits are right", 100.0 * accuracy);
    assert!(accuracy > 0.8, "{accuracy}");
    Ok(())
}
