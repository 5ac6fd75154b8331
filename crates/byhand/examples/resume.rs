//! Stops a training in the middle and goes on from its checkpoint: the weights have the bits of one that never stopped.
//!
//! `cargo run --release -p byhand --example resume`
#![allow(clippy::print_stdout, reason = "an example may print")]

use std::ops::ControlFlow;

use byhand::models::weights_sha256;
use byhand::prelude::*;

pub(crate) fn main() -> Result<(), Box<dyn std::error::Error>> {
    let train = digits::generate(digits::Part::Train, 640, 0);
    let network =
        "dense(32) relu dropout(0.1) dense(10)".parse::<Spec>()?.build::<f32>(Shape::new(1, 28, 28))?;
    let theta = init_network(&network, Init::HeNormal, 0);
    let config =
        FitConfig { epochs: 3, optimizer: "adam".parse()?, learning_rate: 1e-3, ..FitConfig::default() };

    let mut whole = Fit::new(&network, theta.clone(), &train, None, config.clone())?;
    whole.run(&mut Silent)?;

    // An observer says stop after 25 of 60 steps; what is needed to go on is one file.
    let mut stopped = Fit::new(&network, theta, &train, None, config.clone())?;
    let progress = stopped.run(&mut |event: &Event| match event {
        Event::Step { step: 25, .. } => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    })?;
    assert_eq!((progress, stopped.step()), (Progress::Stopped, 25));
    let folder = std::env::temp_dir().join(format!("byhand-resume-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let file = folder.join("checkpoint.safetensors");
    stopped.checkpoint().save(&file)?;

    let mut resumed = Fit::resume(&network, Checkpoint::load(&file)?, &train, None, config)?;
    resumed.run(&mut Silent)?;
    std::fs::remove_dir_all(&folder)?;
    println!("without a stop: {}", weights_sha256(whole.theta()));
    println!("stopped at 25:  {}", weights_sha256(resumed.theta()));
    assert_eq!(whole.theta(), resumed.theta());
    Ok(())
}
