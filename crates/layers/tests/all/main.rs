//! Layers and networks from outside. One program, since each one compiles the generic code that it calls.

mod geometries;
mod golden;
mod network;
