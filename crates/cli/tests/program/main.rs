//! The program from outside, as a person meets it. One test program holds all, since each would link everything again.

mod bad_input;
mod data;
mod elsewhere;
mod evaluate;
mod exercise;
mod notebooks;
mod outside;
mod parity;
mod predict;
mod reliability;
mod report;
mod runs;
mod speedrun;
mod support;
mod training;
