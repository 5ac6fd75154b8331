//! The pieces, one a file, and the register of all of them.

mod avg_pool_without_area;
mod batchnorm_biased_variance;
mod batchnorm_constants;
mod conv_new_weights;
mod conv_rotated_axes;
mod conv_swapped_strides;
mod conv_unflipped_kernel;
mod cross_entropy_of_zero;
mod dense_adds_to_dx;
mod dense_bias_not_summed;
mod dense_overwrites;
mod dense_transposed;
mod dropout_new_mask;
mod labels_broadcast;
mod loss_counts_samples;
mod loss_not_averaged;
mod pool_all_ties;
mod pool_assigns;
mod pool_index_without_stride;
mod pool_sentinel;
mod pool_swaps_axes;
mod probabilities_overwritten;
mod relu_mask_of_output;
mod residual_forgets_sum;
mod sigmoid_of_input;
mod softmax_over_batch;
mod softmax_without_maximum;
mod tanh_without_square;

use byhand_layers::check::Clause;

use crate::{Check, Piece};

/// Every piece: pools, convolutions, dense layers, element-wise layers, losses.
pub const PIECES: &[Piece] = &[
    pool_index_without_stride::PIECE,
    pool_all_ties::PIECE,
    pool_assigns::PIECE,
    pool_sentinel::PIECE,
    pool_swaps_axes::PIECE,
    avg_pool_without_area::PIECE,
    conv_new_weights::PIECE,
    conv_rotated_axes::PIECE,
    conv_unflipped_kernel::PIECE,
    conv_swapped_strides::PIECE,
    dense_transposed::PIECE,
    dense_bias_not_summed::PIECE,
    dense_overwrites::PIECE,
    dense_adds_to_dx::PIECE,
    relu_mask_of_output::PIECE,
    sigmoid_of_input::PIECE,
    tanh_without_square::PIECE,
    dropout_new_mask::PIECE,
    batchnorm_constants::PIECE,
    batchnorm_biased_variance::PIECE,
    residual_forgets_sum::PIECE,
    softmax_without_maximum::PIECE,
    softmax_over_batch::PIECE,
    cross_entropy_of_zero::PIECE,
    probabilities_overwritten::PIECE,
    labels_broadcast::PIECE,
    loss_counts_samples::PIECE,
    loss_not_averaged::PIECE,
];

/// The piece of this name.
pub fn find(name: &str) -> Option<&'static Piece> {
    PIECES.iter().find(|piece| piece.name == name)
}

/// What the files of pieces share.
mod prelude {
    pub(super) use byhand_layers::check::Clause;
    pub(super) use byhand_layers::loss::{Labels, Loss, LossStats, Target};
    pub(super) use byhand_layers::{Block, Describe, LayerError, Mode, Pass, Saved, Scalar, Shape};

    pub(super) use super::EVERY_GRADIENT_CHECK;
    pub(super) use crate::mistake::{Backward, Forward, Mistake};
    pub(super) use crate::piece::{Check, Example, Make, Piece};
}

/// The checks that no wrong gradient of a linear layer passes.
const EVERY_GRADIENT_CHECK: &[Check] = &[
    Check::Clause(Clause::Adjoint),
    Check::Clause(Clause::CentralDifference),
    Check::Clause(Clause::FourPointDifference),
    Check::Clause(Clause::DualNumbers),
    Check::Twin,
];
