#![doc = include_str!("../README.md")]
//!
//! # Tour
//!
//! * [`PIECES`] is the register: every piece with its notebook, its wrong line in words, its symptom and the checks that
//!   find it. [`find`] looks one up by name.
//! * One piece a file; see the types below.
//! * [`NotebookStep`] trains as the notebooks do.
//! * [`Mutant`] and [`MutantLoss`] make wrong layers and losses of any right one: signs flipped, numbers scaled, zeroed, transposed, one element off.

mod geometry;
mod mutant;
mod notebook_step;
mod piece;
mod register;
mod twin;

mod avg_pool_without_area;
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
mod sigmoid_of_input;
mod softmax_over_batch;
mod softmax_without_maximum;
mod tanh_without_square;

pub use avg_pool_without_area::AvgPoolWithoutArea;
pub use conv_new_weights::ConvNewWeights;
pub use conv_rotated_axes::ConvRotatedAxes;
pub use conv_swapped_strides::ConvSwappedStrides;
pub use conv_unflipped_kernel::ConvUnflippedKernel;
pub use cross_entropy_of_zero::CrossEntropyOfZero;
pub use dense_adds_to_dx::DenseAddsToDx;
pub use dense_bias_not_summed::DenseBiasNotSummed;
pub use dense_overwrites::DenseOverwrites;
pub use dense_transposed::DenseTransposed;
pub use dropout_new_mask::DropoutNewMask;
pub use labels_broadcast::LabelsBroadcast;
pub use loss_counts_samples::LossCountsSamples;
pub use loss_not_averaged::LossNotAveraged;
pub use mutant::{Gradient, Mutant, MutantLoss, Mutation, mutants};
pub use notebook_step::NotebookStep;
pub use piece::{Check, Finding, Piece, Replaced};
pub use pool_all_ties::PoolAllTies;
pub use pool_assigns::PoolAssigns;
pub use pool_index_without_stride::PoolIndexWithoutStride;
pub use pool_sentinel::PoolSentinel;
pub use pool_swaps_axes::PoolSwapsAxes;
pub use probabilities_overwritten::ProbabilitiesOverwritten;
pub use register::{PIECES, find};
pub use relu_mask_of_output::ReluMaskOfOutput;
pub use sigmoid_of_input::SigmoidOfInput;
pub use softmax_over_batch::SoftmaxOverBatch;
pub use softmax_without_maximum::SoftmaxWithoutMaximum;
pub use tanh_without_square::TanhWithoutSquare;
