//! The commands, one a file: each has its `Options` (what clap parses) and `run`.

pub mod data;
pub mod evaluate;
pub mod exercise;
pub mod gradcheck;
pub mod museum;
pub mod notebooks;
pub mod parity;
pub mod predict;
pub mod speedrun;
pub mod summary;
pub mod throughput;
pub mod train;
