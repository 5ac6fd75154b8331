//! Softmax cross-entropy that subtracts the integer labels themselves, which NumPy spreads over the samples.

use byhand_layers::loss::SoftmaxCrossEntropy;

use super::prelude::*;
use crate::cross_entropy::{classes, target_of};

#[derive(Debug, Default)]
struct LabelsBroadcast;

impl<T: Scalar> Loss<T> for LabelsBroadcast {
    fn value_and_gradient(
        &self,
        block: Block,
        logits: &[T],
        target: Target<'_, T>,
        scale: T,
        dlogits: &mut [T],
    ) -> LossStats {
        let stats = SoftmaxCrossEntropy::default().value_and_gradient(block, logits, target, scale, dlogits);
        let classes = classes(block, logits);
        // Any other number of samples is an error in NumPy, and no mistake.
        if let Target::Labels(Labels(labels)) = target
            && labels.len() == classes
        {
            for sample in 0..block.samples() {
                for class in 0..classes {
                    let q = target_of(target, sample, class, classes);
                    // <wrong>
                    let label = T::from_f64(f64::from(labels[class]));
                    dlogits[block.index(classes, sample, class)] += scale * (q - label);
                    // </wrong>
                }
            }
        }
        stats
    }
}

pub(super) const PIECE: Piece = Piece {
    name: "labels-broadcast",
    notebook: "E",
    mistake: "integer labels are subtracted as numbers, which fits when the batch equals the number of classes",
    wrong: "dz = p - labels            with labels of shape [N], spread to [N x C] when N = C",
    right: "dz = p - one_hot(labels)",
    symptom: "an error about shapes for every size of minibatch but one; with that one the gradient is nonsense",
    caught_by: &[
        Check::Clause(Clause::Targets),
        Check::Clause(Clause::SampleIndependence),
        Check::Clause(Clause::CentralDifference),
        Check::Clause(Clause::FourPointDifference),
    ],
    example: Example { layers: "dense(64) relu dense(10)", layer: None, batch_size: 10, parts: 1 },
    source: include_str!("labels_broadcast.rs"),
    make: Make::loss::<LabelsBroadcast>(),
};
