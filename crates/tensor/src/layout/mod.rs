//! Where numbers lie: blocks of sixteen samples side by side (CHWN, as other libraries call `[channel][row][column][sample]`),
//! rows, parts of tiles.

mod block;
mod rows;
mod tiles;

pub(crate) use block::parts;
pub use block::{Block, LANES};
pub use rows::{Input, RowView};
pub use tiles::Tiles;
