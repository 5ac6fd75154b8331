//! Minibatches that are made while training runs: a source of one's own that draws each sample when a thread asks for it.
//!
//! `cargo run --release -p byhand --example own_batches`
#![allow(clippy::print_stdout, reason = "an example may print")]

use std::ops::Range;

use byhand::layers::loss::{Labels, Target};
use byhand::layers::metrics::Evaluation;
use byhand::prelude::*;
use byhand::trainer::{BatchSource, StepConfig, TargetRoom, Trainer};

/// Fresh digits in every step: no data set is ever in memory.
struct Endless {
    step: u64,
}

const BATCH: usize = 64;

impl Endless {
    /// Sample `sample` of the minibatch: its label, its pixels in `pixels`.
    fn draw(&self, sample: usize, pixels: &mut [u8; 784]) -> u16 {
        digits::draw_into(digits::Part::Train, self.step * BATCH as u64 + sample as u64, 1, pixels)
    }
}

impl BatchSource for Endless {
    fn len(&self) -> usize {
        BATCH
    }

    fn target<'a>(&'a self, samples: Range<usize>, room: &'a mut TargetRoom) -> Target<'a, f32> {
        let labels = room.labels(samples.len());
        for (label, sample) in labels.iter_mut().zip(samples) {
            *label = self.draw(sample, &mut [0; 784]);
        }
        Labels(labels).into()
    }

    fn fill(&self, samples: Range<usize>, block: Block, x: &mut [f32], _scratch: &mut [u8]) {
        let mut pixels = [0; 784];
        // Lanes without a sample repeat the last one.
        for place in 0..block.tiles() * block.lanes() {
            self.draw((samples.start + place).min(samples.end - 1), &mut pixels);
            for (feature, &pixel) in pixels.iter().enumerate() {
                x[block.index(784, place, feature)] = f32::from(pixel) / 255.0;
            }
        }
    }
}

pub(crate) fn main() -> Result<(), Box<dyn std::error::Error>> {
    let network = "conv(8,5) relu pool(2) dense(10)".parse::<Spec>()?.build::<f32>(Shape::new(1, 28, 28))?;
    let config = StepConfig { batch_size: BATCH, optimizer: "adam".parse()?, ..StepConfig::default() };
    let mut trainer = Trainer::new(&network, init_network(&network, Init::HeNormal, 0), config)?;
    trainer
        .session(|trainer| (0..100).try_for_each(|step| trainer.step(3e-3, &Endless { step }).map(|_| ())))?;

    let test = digits::generate(digits::Part::Test, 500, 0);
    let evaluation: Evaluation =
        evaluate(&network, trainer.theta(), &test, &Preprocessing::unit(), Objective::default(), 0)?;
    println!("after 100 steps: {:.1} % right", 100.0 * evaluation.accuracy());
    assert!(evaluation.accuracy() > 0.8, "{}", evaluation.accuracy());
    Ok(())
}
