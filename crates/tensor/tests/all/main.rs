//! The kernels from outside. One program, since each one compiles the generic code that it calls.

mod arrays;
mod elementary;
mod hostile;
mod least;
mod operations;
mod twins;
mod windows;
