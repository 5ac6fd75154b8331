//! Softmax cross-entropy whose reported loss is the number of samples.

use byhand_layers::loss::SoftmaxCrossEntropy;

use super::prelude::*;

#[derive(Debug, Default)]
struct LossCountsSamples;

impl<T: Scalar> Loss<T> for LossCountsSamples {
    fn value_and_gradient(
        &self,
        block: Block,
        logits: &[T],
        target: Target<'_, T>,
        scale: T,
        dlogits: &mut [T],
    ) -> LossStats {
        let stats = SoftmaxCrossEntropy::default().value_and_gradient(block, logits, target, scale, dlogits);
        // <wrong>
        LossStats { loss: block.samples() as f64, ..stats }
        // </wrong>
    }
}

pub(super) const PIECE: Piece = Piece {
    name: "loss-counts-samples",
    notebook: "A",
    mistake: "the loss counter adds 1 for every sample instead of the sample's loss",
    wrong: "loss += 1",
    right: "loss += -ln(p[label])",
    symptom: "the average loss prints 1.000 for ever, while the accuracy rises",
    caught_by: &[
        Check::Clause(Clause::CentralDifference),
        Check::Clause(Clause::FourPointDifference),
        Check::Clause(Clause::NanTravels),
        Check::Twin,
    ],
    example: Example { layers: "dense(64) relu dense(10)", layer: None, batch_size: 32, parts: 1 },
    source: include_str!("loss_counts_samples.rs"),
    make: Make::loss::<LossCountsSamples>(),
};
