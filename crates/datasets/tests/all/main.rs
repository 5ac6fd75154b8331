//! Data sets from outside. One program, since each one compiles the generic code that it calls.

mod dataset;
#[cfg(feature = "download")]
mod download;
mod idx;
mod memory;
mod source;
mod unpack;
