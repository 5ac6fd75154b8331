//! What a network runs: its layers lowered to the few kinds of operation that a training step can divide. Whoever
//! adds a layer reads [`contract`](crate::contract), and nothing here.
//!
//! * [`Lowered`] is operations in turn, each on what earlier ones wrote: forward, and backward with [what else a step asks for](Backward).
//! * [`Product`] is a dense layer that takes samples as rows, and whose parameter gradient can wait for a whole minibatch.
//! * [`Split`] has the first layers on two ranks, each with half of their parameters.
//!
//! * [`Loop`] and [`vectorised`] compile a loop for the widest instruction set of the machine; [`fma_burst`] keeps it busy.
//!
//! However an operation is divided, its results have the bits of its layer, but for those of ranks, whose sums are two.

mod flow;
mod lowered;
mod product;
mod split;

pub use byhand_tensor::{Input, Kept, Loop, RowView, Tiles, peak::fma_burst, vectorised};
pub use lowered::{Backward, Lowered, Operation, Save};
pub use product::{Apply, Product};
pub use split::{Rank, Split};
