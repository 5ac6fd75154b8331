//! The commands, one a file: each has its `Options` (what clap parses) and `run`.

pub mod compare;
#[cfg(feature = "shell")]
pub mod completions;
pub mod data;
pub mod evaluate;
pub mod exercise;
pub mod export;
pub mod fold;
pub mod gradcheck;
pub mod import;
pub mod inspect;
#[cfg(feature = "shell")]
pub mod man;
pub mod museum;
pub mod notebooks;
pub mod parity;
pub mod predict;
pub mod replay;
pub mod report;
pub mod speedrun;
pub mod summary;
pub mod throughput;
pub mod train;
pub mod verify;
pub mod watch;
