//! Training from outside. One program, since each one compiles the generic code that it calls.

mod common;
mod equal_bits;
mod fit;
mod golden;
mod golden_steps;
mod plan;
mod step;
