//! What the products of all kernels share: blocks of results in registers, inner loops, sums, transposes, packing.

mod cover;
mod lanes;
mod micro_kernel;
mod pack;
mod reduce;
mod transpose;

pub(crate) use cover::{best_shape, cover, rest_shape};
pub(crate) use lanes::vector_parts;
pub(crate) use micro_kernel::{add_product, opaque, operand, product};
pub(crate) use pack::{Pack, pack_features};
pub(crate) use reduce::{add_row, add_sums};
pub(crate) use transpose::{Transpose, transpose_planes};
