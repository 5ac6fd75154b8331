//! Winograd's minimal filtering F(2x2, 3x3): convolutions by 3x3 with stride 1 from four ninths of the multiplications.
//!
//! One row of two outputs of three taps needs six products; with sums of pixels and sums of taps it needs four:
//!
//! ```text
//! [y0]   [d0 d1 d2] [g0]    y0 = m0 + m1 + m2        m0 = (d0 - d2) g0           m1 = (d1 + d2) (g0 + g1 + g2) / 2
//! [y1] = [d1 d2 d3] [g1]    y1 = m1 - m2 + m3        m3 = (d3 - d1) g2           m2 = (d2 - d1) (g0 - g1 + g2) / 2
//!                   [g2]
//! ```
//!
//! that is `y = A^T ((G g) . (B^T d))`. Nested along rows and columns, an output tile of 2x2 outputs is `Y = A^T M A` with
//! `M = U . V`, `U = G g G^T` and `V = B^T d B`: sixteen products instead of 36. Over channels `M` is a sum of products
//! `U . V`, so each of the sixteen places is a matrix product `[tiles x c_out] = [tiles x c_in] * [c_in x c_out]`.
//!
//! - *Forward*: `y = A^T (sum over c of U . V) A`.
//! - *Input gradient*: the same with dy as the source, the kernel turned by 180 degrees, channels exchanged, and padding
//!   `2 - pad`.
//! - *Weight gradient*: the adjoint in `g`: `dg = G^T (sum over tiles of V . D) G` with `D = A dY A^T`.
//!
//! Inside, images have their channels last, so that a vector is a run of channels. Where the image ends an output tile reads zeros,
//! and outputs that do not exist are thrown away. Bands of output tiles are transformed and multiplied while they stay in the
//! second cache.
//!
//! The transforms add and subtract, and halve, so integers stay exact; other sums round otherwise than the direct kernels',
//! with errors of the same size: fewer terms add up, of larger numbers. `y` and `dx` read the numbers that the formula reads, so
//! what is made of zeros alone is 0. `dw` reads others too, whose products cancel to a rounding error: see
//! [`KeepZeros`](zeros::KeepZeros). A NaN may reach all outputs of its output tile.
//!
//! Source: Lavin and Gray, "Fast algorithms for convolutional neural networks", 2015; Winograd, "Arithmetic complexity of
//! computations", 1980.

mod image;
mod passes;
mod products;
mod transform;
mod zeros;

pub(super) use passes::{Operands, Winograd, scratch_len};
