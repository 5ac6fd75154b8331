//! Named networks, layer specs and model files from outside. One program, since each one compiles the generic code that it calls.

mod file;
mod registry;
mod spec;
