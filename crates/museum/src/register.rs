//! The register of all pieces.

use crate::Piece;

/// Every piece: pools, convolutions, dense layers, element-wise layers, losses.
pub const PIECES: &[Piece] = &[
    crate::pool_index_without_stride::PIECE,
    crate::pool_all_ties::PIECE,
    crate::pool_assigns::PIECE,
    crate::pool_sentinel::PIECE,
    crate::pool_swaps_axes::PIECE,
    crate::avg_pool_without_area::PIECE,
    crate::conv_new_weights::PIECE,
    crate::conv_rotated_axes::PIECE,
    crate::conv_unflipped_kernel::PIECE,
    crate::conv_swapped_strides::PIECE,
    crate::dense_transposed::PIECE,
    crate::dense_bias_not_summed::PIECE,
    crate::dense_overwrites::PIECE,
    crate::dense_adds_to_dx::PIECE,
    crate::relu_mask_of_output::PIECE,
    crate::sigmoid_of_input::PIECE,
    crate::tanh_without_square::PIECE,
    crate::dropout_new_mask::PIECE,
    crate::softmax_without_maximum::PIECE,
    crate::softmax_over_batch::PIECE,
    crate::cross_entropy_of_zero::PIECE,
    crate::probabilities_overwritten::PIECE,
    crate::labels_broadcast::PIECE,
    crate::loss_counts_samples::PIECE,
    crate::loss_not_averaged::PIECE,
];

/// The piece of this name.
pub fn find(name: &str) -> Option<&'static Piece> {
    PIECES.iter().find(|piece| piece.name == name)
}
