//! A small network with a wrong piece in it, trained beside the right one: same weights, same images, same order.

use anyhow::Result;
use byhand_datasets::{
    Dataset, Preprocessing,
    batches::epoch_order,
    digits::{self, Part},
};
use byhand_layers::{
    Block, Network, Pass, Shape, Workspace,
    init::{Init, init_network},
    loss::{Loss, LossStats, SoftmaxCrossEntropy},
};
use byhand_models::{Spec, weights_sha256};
use byhand_museum::{Example, NotebookStep, Piece};
use byhand_trainer::{BatchSource, ImageBatch, Objective, TargetRoom, evaluate};
use comfy_table::CellAlignment::{Left, Right};
use serde_json::json;

use super::Train;
use crate::{exit::usage, output::Output};

/// Built-in digits to train on, and to test on.
const IMAGES: [(Part, usize); 2] = [(Part::Train, 2000), (Part::Test, 1000)];

/// Trains both and prints one table.
pub fn train(piece: &Piece, options: &Train, output: &Output) -> Result<()> {
    let rate = options.lr;
    if !(rate > 0.0 && rate.is_finite()) {
        return Err(usage(format!("--lr: expected a number above 0, found {rate}")));
    }
    let [train, test] = IMAGES.map(|(part, images)| digits::generate(part, images, digits::SEED));
    let example = piece.example;
    let spec: Spec = example.layers.parse()?;
    let right: Network<f32> = spec.build(Shape::new(1, 28, 28))?;
    let (mut wrong, mut place) = (right.clone(), "the loss".to_string());
    if let Some(layer) = example.layer {
        let there = &*right.layers()[layer];
        place = format!("layer {layer}, {}", there.spec());
        if let Some(stand_in) = piece.in_place_of(there) {
            wrong = right.with_layer(layer, stand_in?)?;
        }
    }
    output.note(format!("{spec}, and the same with {} for {place}", piece.name));

    let softmax = || Box::new(SoftmaxCrossEntropy::default()) as Box<dyn Loss<f32>>;
    let wrong_loss = piece.loss().unwrap_or_else(softmax);
    let mut sides = [(wrong, wrong_loss), (right, softmax())].map(|side| Side::new(side, example, options));
    let row = |name: String, [(a, b), (c, d)]: [(f64, f64); 2]| {
        [name, format!("{a:.4}"), format!("{b:.3}"), format!("{c:.4}"), format!("{d:.3}")]
    };
    let mut rows = Vec::new();
    let told = |(loss, accuracy): (f64, f64)| json!({"loss": loss, "accuracy": accuracy});
    let mut is_told_alike = true;
    for epoch in 0..options.epochs.get() as u64 {
        let found = sides.each_mut().map(|side| side.epoch(epoch, &train, options.seed.seed));
        rows.push(row(format!("epoch {}", epoch + 1), found));
        is_told_alike &= found[0] == found[1];
        output.event("epoch", json!({"epoch": epoch + 1, "wrong": told(found[0]), "right": told(found[1])}));
    }
    let mut tested = [(0.0, 0.0); 2];
    for (Side { network, step, .. }, tested) in sides.iter().zip(&mut tested) {
        let found = evaluate(network, step.theta(), &test, &Preprocessing::unit(), Objective::default(), 1)?;
        *tested = (found.loss, found.accuracy());
    }
    rows.push(row("test images".to_string(), tested));
    let [loss, accuracy, right_loss, right_accuracy] =
        ["wrong: loss", "accuracy", "right: loss", "accuracy"].map(|head| (head, Right));
    output.table([("", Left), loss, accuracy, right_loss, right_accuracy], rows);
    let [wrong, right] = sides.map(|side| weights_sha256(side.step.theta()));
    let same = wrong == right;
    if same {
        let why = if is_told_alike {
            "these images, in this network, hide the mistake"
        } else {
            "only the printed loss is wrong"
        };
        output.print(format!("The weights are equal, bit for bit: {why}."));
    }
    output.print(format!("What one sees: {}.", piece.symptom));
    output.result(
        json!({"piece": piece.name, "layers": spec.to_string(), "layer": example.layer, "data": "digits",
        "train_images": train.len(), "batch_size": example.batch_size, "lr": rate, "seed": options.seed.seed,
        "wrong": told(tested[0]), "right": told(tested[1]), "same_weights": same}),
    );
    Ok(())
}

/// One of the two, in training.
struct Side {
    network: Network<f32>,
    loss: Box<dyn Loss<f32>>,
    step: NotebookStep,
    block: Block,
    parts: usize,
}

impl Side {
    fn new((network, loss): (Network<f32>, Box<dyn Loss<f32>>), example: Example, options: &Train) -> Self {
        let block = Block::for_samples(example.batch_size / example.parts);
        let theta = init_network(&network, Init::HeNormal, options.seed.seed);
        let step = NotebookStep::new(Workspace::new(&network, block), theta, options.lr, false);
        Self { network, loss, step, block, parts: example.parts }
    }

    /// Loss and accuracy over the epoch, each image as it is met.
    fn epoch(&mut self, epoch: u64, images: &Dataset, seed: u64) -> (f64, f64) {
        let part = self.block.samples();
        let batch = part * self.parts;
        let order = epoch_order(seed, epoch, images.len());
        let steps = images.len() / batch;
        let mut room = TargetRoom::new(part, 0);
        let mut stats = LossStats::default();
        for (step, minibatch) in order.chunks_exact(batch).enumerate() {
            for (index, samples) in minibatch.chunks_exact(part).enumerate() {
                let source = ImageBatch::new(images, samples, Preprocessing::unit());
                source.fill(0..part, self.block, self.step.input_mut(), &mut []);
                let target = source.target(0..part, &mut room);
                let number = epoch * steps as u64 + step as u64;
                let pass = Pass::train(self.block, seed, number, (index * part) as u64);
                stats += self.step.add(&self.network, &*self.loss, &pass, target, 1.0 / batch as f32);
            }
            self.step.update();
        }
        let n = (steps * batch) as f64;
        (stats.loss / n, stats.correct as f64 / n)
    }
}
