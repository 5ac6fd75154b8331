//! Integer labels taken for one-hot rows.

use byhand_layers::check::Clause;
use byhand_layers::loss::{Labels, Loss, LossStats, SoftmaxCrossEntropy, Target};
use byhand_layers::{Block, Scalar};

use crate::piece::{Check, Piece, StandIn, examine_loss, target_of};

/// Softmax cross-entropy that subtracts the integer labels themselves, which NumPy spreads over the samples.
///
/// # Wrong
/// ```text
/// dz = p - labels            with labels of shape [N], spread to [N x C] when N = C
/// ```
/// # Right
/// ```text
/// dz = p - one_hot(labels)
/// ```
/// # Symptom
/// An error about shapes for every size of minibatch but one: when the batch equals the number of classes it runs, and the
/// gradient is nonsense: the label of sample `j` is subtracted from class `j` of every sample.
///
/// # Caught by
/// Labels against their one-hot rows; differences, with as many samples as classes.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct LabelsBroadcast;

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
        let classes = logits.len() / block.len(1);
        // Any other number of samples is an error in NumPy, and no mistake.
        if let Target::Labels(Labels(labels)) = target
            && labels.len() == classes
        {
            for sample in 0..block.samples() {
                for class in 0..classes {
                    let q = target_of(target, sample, class, classes);
                    let wrong = T::from_f64(f64::from(labels[class]));
                    dlogits[block.index(classes, sample, class)] += scale * (q - wrong);
                }
            }
        }
        stats
    }
}

pub(crate) const PIECE: Piece = Piece {
    name: "labels-broadcast",
    notebook: "E",
    wrong_line: "integer labels are subtracted as numbers, which fits when the batch equals the number of classes",
    symptom: "with that one size of minibatch the gradient is nonsense",
    caught_by: &[
        Check::Clause(Clause::Targets),
        Check::Clause(Clause::SampleIndependence),
        Check::Clause(Clause::CentralDifference),
        Check::Clause(Clause::FourPointDifference),
    ],
    examine: |options| examine_loss(&LabelsBroadcast, &SoftmaxCrossEntropy::default(), options),
    stand_in: StandIn::Loss(|| Box::new(LabelsBroadcast)),
};
